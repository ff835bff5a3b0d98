//! The web server of the recordings, `http://files.example`, which has one image.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use glancefs::images::import::web::WebRules;
use glancefs::images::import::web::uri::TargetHost;

use super::compare::Names;

/// What the recordings call the server.
const NAME: &str = "http://files.example";

/// Bytes of `/img.raw`.  What they were, the recordings do not say: here they are zeros.
pub const LENGTH: usize = 1 << 20;

/// The digests of the recorded image, and those of as many zeros.
const DIGESTS: [(&str, &str); 2] = [
    ("53a2f84207cf123f1d84d218c7c253b5", "b6d81b360a5672d80c27430f39153e2c"),
    (
        "d4660bd0e0911d2c75dd4473689d8e8248d56af4f634ef56091133bb4bcf6ac0\
         1fb03f059228f86ac678c6487f9c7feba4284e1110ad123b6981f75785290b57",
        "d6292685b380e338e025b3415a90fe8f9d39a46e7bdba8cb78c50a338cefca74\
         1f69e4e46411c32de1afdedfb268e579a51f81ff85e56f55b0ee7c33fe8c25c9",
    ),
];

/// The recorded server let web-download ask this one only.
pub fn rules() -> WebRules {
    let mut rules = WebRules::default();
    rules.hosts.allowed = vec![TargetHost::Address("127.0.0.1".parse().unwrap())];
    rules.ports.allowed.clear();
    rules
}

/// Serves until the process ends, and says what is called otherwise here.
pub fn serve(names: &mut Names) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    names.pair(NAME, &format!("http://{}", listener.local_addr().unwrap()));
    for (recorded, ours) in DIGESTS {
        names.pair(recorded, ours);
    }
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap()).unwrap();
        }
    });
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().unwrap()?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    if !asked.starts_with("GET /img.raw ") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").as_bytes())?;
    stream.write_all(&vec![0; LENGTH])
}
