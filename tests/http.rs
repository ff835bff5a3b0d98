//! How the server treats connections: clients that are slow, rude, old, or gone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glancefs::api::{Api, Identity, Settings, serve};
use glancefs::identity::RequestContext;
use glancefs::images::Options;
use tokio::sync::oneshot;

#[path = "http/cache.rs"]
mod cache;
#[path = "harness/core.rs"]
mod core;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/openapi.rs"]
mod openapi;
#[path = "http/proxies.rs"]
mod proxies;
#[path = "http/quota.rs"]
mod quota;
#[path = "http/tls.rs"]
mod tls;
#[path = "http/v1.rs"]
mod v1;

struct Server {
    /// Outlives the server.
    _directory: tempfile::TempDir,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(settings: Settings) -> Self {
        Self::with(settings, Options::default())
    }

    fn with(settings: Settings, options: Options) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let identity = Identity::Fixed(RequestContext::operator());
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let images = core::images(directory.path(), options);
        let api = Arc::new(Api::new(images, core::metadefs(directory.path()), identity, settings));
        let thread = std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(listener, api, async { drop(stopped.await) }).await.unwrap();
            });
        });
        Self { _directory: directory, address, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends a whole request on a connection of its own and reads until the server closes it.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        read_all(&mut stream)
    }

    /// A request without a body, and more headers, each with its line end.
    fn request(&self, method: &str, path: &str, more: &str) -> String {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        self.ask(&head)
    }

    fn queued_image(&self) -> String {
        let body = r#"{"disk_format": "raw", "container_format": "bare"}"#;
        let answer = self.ask(&format!(
            "POST /v2/images HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let at = answer.find("\"id\":\"").unwrap() + 6;
        answer[at..at + 36].to_string()
    }

    fn show(&self, id: &str) -> String {
        self.ask(&format!("GET /v2/images/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    fn wait_for_status(&self, id: &str, status: &str) {
        let wanted = format!("\"status\":\"{status}\"");
        let until = Instant::now() + Duration::from_secs(60);
        while !self.show(id).contains(&wanted) {
            assert!(Instant::now() < until, "the image is not {status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn put(id: &str, more: &str) -> String {
    format!(
        "PUT /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/octet-stream\r\n{more}\r\n"
    )
}

#[test]
fn a_bare_health_check_of_http_1_0_is_answered() {
    let server = Server::start(Settings::default());
    assert!(server.ask("OPTIONS / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
    assert!(server.ask("GET /healthcheck HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nOK"));
}

#[test]
fn a_file_takes_the_server_out_of_rotation() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("disabled");
    let settings = Settings {
        disabling_files: vec![scratch.path().join("other"), file.clone()],
        health_details: true,
        ..Settings::default()
    };
    let server = Server::start(settings);
    let ask =
        |what: &str| server.ask(&format!("{what} HTTP/1.0\r\nAccept: application/json\r\n\r\n"));
    let assert_statuses = |expected: [&str; 6]| {
        let asked = ["GET /healthcheck", "HEAD /healthcheck", "OPTIONS /healthcheck"];
        let asked = asked.into_iter().chain(["OPTIONS /", "OPTIONS /v2/images", "GET /"]);
        for (asked, status) in asked.zip(expected) {
            assert_eq!(&ask(asked)[9..12], status, "{asked}");
        }
    };
    assert_statuses(["200", "204", "200", "200", "200", "300"]);
    assert!(ask("GET /healthcheck").contains("\"platform\""));
    std::fs::write(&file, "").unwrap();
    assert_statuses(["503", "503", "503", "503", "200", "300"]);
    assert!(server.ask("GET /healthcheck HTTP/1.0\r\n\r\n").ends_with("DISABLED BY FILE"));
    std::fs::remove_file(&file).unwrap();
    assert_statuses(["200", "204", "200", "200", "200", "300"]);
}

#[test]
fn a_client_that_breaks_off_leaves_a_queued_image() {
    let server = Server::start(Settings::default());
    let id = server.queued_image();
    let mut stream = server.connect();
    stream.write_all(put(&id, "Content-Length: 1000\r\n").as_bytes()).unwrap();
    stream.write_all(b"only this").unwrap();
    server.wait_for_status(&id, "saving");
    drop(stream);
    server.wait_for_status(&id, "queued");
}

#[test]
fn a_client_that_falls_asleep_is_told_and_leaves_a_queued_image() {
    let settings = Settings { idle_timeout: Duration::from_millis(100), ..Settings::default() };
    let server = Server::start(settings);
    let id = server.queued_image();
    let mut stream = server.connect();
    stream.write_all(put(&id, "Content-Length: 1000\r\n").as_bytes()).unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 408"));
    assert!(server.show(&id).contains("\"status\":\"queued\""));
}

#[test]
fn a_refused_upload_is_answered_although_the_client_sends_it_all() {
    let server = Server::start(Settings::default());
    let size = 32 << 20;
    let mut stream = server.connect();
    let head = put("00000000-0000-0000-0000-000000000000", &format!("Content-Length: {size}\r\n"));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![0; size]).unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 404"));
}

#[test]
fn nobody_is_told_to_continue_with_an_upload_that_is_refused() {
    let server = Server::start(Settings::default());
    let mut stream = server.connect();
    let more = "Content-Length: 10\r\nExpect: 100-continue\r\n";
    stream.write_all(put("00000000-0000-0000-0000-000000000000", more).as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
}

#[test]
fn a_chunked_upload_comes_back_whole() {
    let server = Server::start(Settings::default());
    let id = server.queued_image();
    let mut stream = server.connect();
    stream.write_all(put(&id, "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    let data: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    for chunk in data.chunks(70_001) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 204"));
    let mut stream = server.connect();
    let request =
        format!("GET /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&data));
}

#[test]
fn json_has_a_limit_of_size_and_of_depth() {
    let server = Server::start(Settings::default());
    let post = |body: &str| {
        server.ask(&format!(
            "POST /v2/images HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    assert!(
        post(&format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20))).starts_with("HTTP/1.1 413")
    );
    assert!(post(&"[".repeat(100_000)).starts_with("HTTP/1.1 400"));
}

#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let settings = Settings { head_timeout: Duration::from_millis(100), ..Settings::default() };
    let server = Server::start(settings);
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    // The server closes the connection; with or without an answer.
    read_all(&mut stream);
}

#[test]
fn an_idle_connection_is_closed() {
    let settings = Settings { head_timeout: Duration::from_millis(100), ..Settings::default() };
    let server = Server::start(settings);
    let mut stream = server.connect();
    stream.write_all(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_that_does_not_take_its_download_is_dropped() {
    let settings = Settings { idle_timeout: Duration::from_millis(200), ..Settings::default() };
    let server = Server::start(settings);
    let id = server.queued_image();
    let size = 64 << 20;
    let mut stream = server.connect();
    stream.write_all(put(&id, &format!("Content-Length: {size}\r\n")).as_bytes()).unwrap();
    stream.write_all(&vec![7; size]).unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 204"));
    let mut stream = server.connect();
    let request = format!("GET /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.len() < size, "the whole image was taken by nobody");
}

#[test]
fn stopping_waits_for_requests_in_progress_but_not_for_ever() {
    let settings = Settings { shutdown_grace: Duration::from_millis(200), ..Settings::default() };
    let server = Server::start(settings);
    let id = server.queued_image();
    let mut stream = server.connect();
    stream.write_all(put(&id, "Content-Length: 1000\r\n").as_bytes()).unwrap();
    server.wait_for_status(&id, "saving");
    // Joins the server's thread.
    drop(server);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
