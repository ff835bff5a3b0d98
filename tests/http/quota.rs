//! Limits on how much may be uploaded.

use std::io::Write;

use glancefs::api::Settings;
use glancefs::images::Options;

use super::{Server, put, read_all};

fn with_quota(bytes: u64) -> Server {
    let options = Options { user_storage_quota: Some(bytes), ..Options::default() };
    Server::with(Settings::default(), options)
}

/// Uploads without saying how much.
fn upload(server: &Server, id: &str, length: usize) -> String {
    let mut stream = server.connect();
    stream.write_all(put(id, "Transfer-Encoding: chunked\r\n").as_bytes()).unwrap();
    for chunk in vec![7; length].chunks(1000) {
        let head = format!("{:x}\r\n", chunk.len());
        // The server may have had enough.
        let _ = stream.write_all(&[head.as_bytes(), chunk, b"\r\n"].concat());
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    read_all(&mut stream)
}

#[test]
fn an_upload_of_unknown_size_is_stopped_at_the_byte() {
    let server = with_quota(10_000);
    let id = server.queued_image();
    let refused = upload(&server, &id, 10_001);
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert!(refused.contains("Image exceeds the storage quota"), "{refused}");
    assert!(server.show(&id).contains("\"status\":\"queued\""));
    assert!(upload(&server, &id, 10_000).starts_with("HTTP/1.1 204"));
    // Nothing is left, so that the next is not even begun.
    let next = server.queued_image();
    assert!(upload(&server, &next, 1).starts_with("HTTP/1.1 413"));
    server.request("DELETE", &format!("/v2/images/{id}"), "");
    assert!(upload(&server, &next, 10_000).starts_with("HTTP/1.1 204"));
}

#[test]
fn an_announced_size_that_is_too_large_is_refused_before_the_first_byte() {
    let options =
        Options { user_storage_quota: Some(2000), image_size_cap: 1000, ..Options::default() };
    let server = Server::with(Settings::default(), options);
    let id = server.queued_image();
    let announce = |size: u64| {
        let more = format!("Content-Length: {size}\r\nExpect: 100-continue\r\n");
        server.ask(&put(&id, &more))
    };
    assert!(announce(1001).contains("image_size_cap"));
    let first =
        server.ask(&format!("{}{}", put(&id, "Content-Length: 1000\r\n"), "x".repeat(1000)));
    assert!(first.starts_with("HTTP/1.1 204"), "{first}");
    let server = with_quota(999);
    let id = server.queued_image();
    let more = "Content-Length: 1000\r\nExpect: 100-continue\r\n";
    assert!(server.ask(&put(&id, more)).contains("999 bytes remaining"));
}

#[test]
fn many_uploads_at_once_take_no_more_than_the_quota() {
    let server = with_quota(100_000);
    let ids: Vec<_> = (0..8).map(|_| server.queued_image()).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let uploads: Vec<_> =
            ids.iter().map(|id| scope.spawn(|| upload(&server, id, 30_000))).collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    let stored = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 204")).count();
    assert!(stored <= 3, "{answers:?}");
    // Some were refused for what others did not use in the end.
    let waiting = ids.iter().filter(|id| server.show(id).contains("queued"));
    let later = waiting.filter(|id| upload(&server, id, 30_000).starts_with("HTTP/1.1 204"));
    assert_eq!(stored + later.count(), 3);
}

#[test]
fn without_limits_of_keystone_no_usage_is_told() {
    let server = Server::start(Settings::default());
    assert!(server.request("GET", "/v2/info/usage", "").ends_with("{\"usage\":{}}"));
}

#[test]
fn an_image_has_no_more_tags_properties_and_members_than_it_may() {
    let limited = Options {
        image_tag_quota: 1,
        image_property_quota: 1,
        image_member_quota: 1,
        ..Options::default()
    };
    let unlimited = Options {
        image_tag_quota: -1,
        image_property_quota: -1,
        image_member_quota: -1,
        ..Options::default()
    };
    for (options, second) in [(limited, "HTTP/1.1 413"), (unlimited, "HTTP/1.1 20")] {
        let server = Server::with(Settings::default(), options);
        let id = server.queued_image();
        let send = |method: &str, path: &str, kind: &str, body: &str| {
            let more = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            let head =
                format!("{method} /v2/images{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
            server.ask(&format!("{head}{more}\r\n{body}"))
        };
        let json = "application/json";
        let tag = |tag: &str| server.request("PUT", &format!("/v2/images/{id}/tags/{tag}"), "");
        assert!(tag("a").starts_with("HTTP/1.1 204"));
        assert!(tag("b").starts_with(second));
        let member = |project: &str| {
            let body = format!("{{\"member\":\"{project}\"}}");
            send("POST", &format!("/{id}/members"), json, &body)
        };
        assert!(member("p").starts_with("HTTP/1.1 200"));
        assert!(member("q").starts_with(second));
        let patch = "application/openstack-images-v2.1-json-patch";
        let add = |name: &str| {
            let body = format!("[{{\"op\":\"add\",\"path\":\"/{name}\",\"value\":\"x\"}}]");
            send("PATCH", &format!("/{id}"), patch, &body)
        };
        assert!(add("one").starts_with("HTTP/1.1 200"));
        assert!(add("two").starts_with(second));
        let made = send("POST", "", json, "{\"a\":\"1\",\"b\":\"2\"}");
        assert!(made.starts_with(second), "{made}");
    }
}
