//! A real HAProxy in front of the controllers, as the first of the write-ups has it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::eventually;

/// The write-up's words for a listener and for each of its servers, but for the addresses.
pub const LISTENER: &str =
    "balance source\n    option tcpka\n    option httpchk\n    maxconn 10000";
pub const SERVER: &str = "check inter 2000 rise 2 fall 5";

/// A running HAProxy.
pub struct Haproxy {
    child: Child,
    directory: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Haproxy {
    /// Starts one in front of controllers, by their names and addresses, and waits until it has found them.
    pub fn start(controllers: &[(&str, SocketAddr)], listener: &str, server: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = |(name, at): &(&str, SocketAddr)| format!("    server {name} {at} {server}\n");
        let servers: String = controllers.iter().map(server).collect();
        let text = format!(
            "global\n    stats socket {socket} level admin\n\
             defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    \
             timeout server 30s\n\
             listen glance-api\n    bind {address}\n    {listener}\n{servers}",
            socket = directory.path().join("stats").display(),
        );
        let config = directory.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy: {error}"));
        let haproxy = Self { child, directory, address };
        eventually("it listens", || TcpStream::connect(address).is_ok());
        for (name, _) in controllers {
            eventually("the controllers are found", || haproxy.is_up(name));
        }
        haproxy
    }

    /// Whether it sends requests to a controller.
    pub fn is_up(&self, name: &str) -> bool {
        self.status(name).starts_with("UP")
    }

    /// What it thinks of a controller: the column `status` of its statistics.
    pub fn status(&self, name: &str) -> String {
        let mut stream = UnixStream::connect(self.stats()).unwrap();
        stream.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        stream.read_to_string(&mut table).unwrap();
        let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row.get(1) == Some(&name));
        row.and_then(|row| row.get(17).map(ToString::to_string)).unwrap_or_default()
    }

    fn stats(&self) -> PathBuf {
        self.directory.path().join("stats")
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- what haproxy said ---\n{log}---");
        }
    }
}
