//! What one client can take from the others.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use glancefs::api::Settings;

use super::{Server, put, read_all};

#[test]
fn a_head_is_refused_when_any_part_of_it_is_too_large() {
    let server = Server::start(Settings::default());
    let long = |length| "a".repeat(length);
    let uri = server.request("GET", &format!("/v2/images?name={}", long(20_000)), "");
    assert!(uri.starts_with("HTTP/1.1 414"), "{uri}");
    let token = server.request("GET", "/v2/images", &format!("X-Auth-Token: {}\r\n", long(30_000)));
    assert!(token.starts_with("HTTP/1.1 200"), "{token}");
    let line = server.request("GET", "/v2/images", &format!("X-Auth-Token: {}\r\n", long(40_000)));
    assert!(line.starts_with("HTTP/1.1 431"), "{line}");
    let many: String = (0..7).map(|at| format!("X-{at}: {}\r\n", long(10_000))).collect();
    assert!(server.request("GET", "/v2/images", &many).starts_with("HTTP/1.1 431"));
    let count: String = (0..200).map(|at| format!("X-{at}: 1\r\n")).collect();
    assert!(server.request("GET", "/v2/images", &count).starts_with("HTTP/1.1 431"));
}

#[test]
fn a_head_without_end_is_not_kept() {
    let server = Server::start(Settings::default());
    for first in ["", "GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = server.connect();
        stream.write_all(first.as_bytes()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
        let sent = (0..16).take_while(|_| stream.write_all(&[b'a'; 64 << 10]).is_ok()).count();
        // Before the time for a head has run out; the connection may be reset.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let timed_out = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!timed_out, "still open after {sent} pieces");
    }
}

#[test]
fn large_uploads_after_one_another_on_a_connection_are_no_head() {
    let server = Server::start(Settings::default());
    let ids = [server.queued_image(), server.queued_image(), server.queued_image()];
    let mut stream = server.connect();
    for id in &ids {
        let head = put(id, "Content-Length: 3000000\r\n").replace("close", "keep-alive");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![5; 3_000_000]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 204");
        // The rest of the answer's head.
        let mut last = [0; 4];
        while &last != b"\r\n\r\n" {
            last.rotate_left(1);
            stream.read_exact(&mut last[3..]).unwrap();
        }
    }
}

#[test]
fn an_upload_that_trickles_holds_no_place() {
    let idle_timeout = Duration::from_millis(300);
    let server = Server::start(Settings { idle_timeout, ..Settings::default() });
    let id = server.queued_image();
    let mut stream = server.connect();
    stream.write_all(put(&id, "Content-Length: 1000000\r\n").as_bytes()).unwrap();
    for _ in 0..20 {
        let _ = stream.write_all(b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 408"));
    assert!(server.show(&id).contains("\"status\":\"queued\""));
}

#[test]
fn connections_beyond_the_bound_wait() {
    let server = Server::start(Settings { max_connections: 1, ..Settings::default() });
    let first = server.connect();
    // It is accepted by now, or will be before the other.
    let mut second = server.connect();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    second.write_all(b"GET /healthcheck HTTP/1.0\r\n\r\n").unwrap();
    let waiting = second.read(&mut [0; 64]).unwrap_err();
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(read_all(&mut second).starts_with("HTTP/1.0 200"));
}

#[test]
fn uploads_beyond_the_bound_are_told_to_come_again() {
    let settings = Settings {
        max_uploads: 1,
        turn_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let server = Server::start(settings);
    let (first, second) = (server.queued_image(), server.queued_image());
    let mut stream = server.connect();
    stream.write_all(put(&first, "Content-Length: 1000\r\n").as_bytes()).unwrap();
    server.wait_for_status(&first, "saving");
    let refused = server.ask(&format!("{}x", put(&second, "Content-Length: 1\r\n")));
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    drop(stream);
    server.wait_for_status(&first, "queued");
    assert!(
        server
            .ask(&format!("{}x", put(&second, "Content-Length: 1\r\n")))
            .starts_with("HTTP/1.1 204")
    );
}
