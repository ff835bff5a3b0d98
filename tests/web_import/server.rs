//! A web server with a few files.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

pub struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
    left: Arc<AtomicBool>,
}

impl Server {
    /// Serves these; at `/stuck`, part of an answer and then nothing for as long as the client
    /// waits.
    pub fn with(files: &[(&'static str, &[u8])]) -> Self {
        let files: HashMap<_, _> =
            files.iter().map(|(path, data)| (*path, data.to_vec())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, requests: Arc::default(), left: Arc::default() };
        let (requests, left, files) =
            (Arc::clone(&server.requests), Arc::clone(&server.left), Arc::new(files));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                requests.fetch_add(1, Ordering::SeqCst);
                let (files, left) = (Arc::clone(&files), Arc::clone(&left));
                // Whoever leaves early is what some tests are about.
                thread::spawn(move || serve(stream, &files, &left));
            }
        });
        server
    }

    pub fn uri(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Whether somebody has left `/stuck`.
    pub fn was_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    files: &HashMap<&str, Vec<u8>>,
    left: &AtomicBool,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().unwrap()?;
    let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    if path == "/stuck" {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")?;
        // Ends when the client does.
        let _ = stream.read(&mut [0]);
        left.store(true, Ordering::SeqCst);
        return Ok(());
    }
    let Some(data) = files.get(path.as_str()) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    stream.write_all(
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", data.len()).as_bytes(),
    )?;
    stream.write_all(data)
}
