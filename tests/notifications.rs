//! Who is told of what is done: on a bus that is there, away or silent, in a file, at a URL and in the log.
//!
//! What is told is held against the real Glance's words in `interop`.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "recorded/client.rs"]
mod bare_client;
#[path = "notifications/bus.rs"]
mod bus;
mod harness;
#[path = "notifications/places.rs"]
mod places;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::bare_client::send;
use crate::harness::{Glancefs, Start, eventually};

/// Sends a request with JSON or other bytes; returns the answer, which is good.
#[track_caller]
fn call(fs: &Glancefs, method: &str, path: &str, body: &Body<'_>) -> Value {
    let (kind, bytes) = match body {
        Body::None => ("", None),
        Body::Json(value) => ("application/json", Some(value.to_string().into_bytes())),
        Body::Patch(value) => {
            ("application/openstack-images-v2.1-json-patch", Some(value.to_string().into_bytes()))
        }
        Body::Data(data) => ("application/octet-stream", Some(data.to_vec())),
    };
    let mut headers = vec![("Host".to_string(), "x".to_string())];
    if !kind.is_empty() {
        headers.push(("Content-Type".to_string(), kind.to_string()));
    }
    let answer = send(fs.api.unwrap(), method, path, &headers, bytes.as_deref());
    assert!(answer.status < 300, "{method} {path}: {} {:?}", answer.status, answer.json());
    answer.json()
}

enum Body<'a> {
    None,
    Json(Value),
    Patch(Value),
    Data(&'a [u8]),
}

/// Makes a record; returns its id.
fn create(fs: &Glancefs, name: &str) -> String {
    let fields = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
    let image = call(fs, "POST", "/v2/images", &Body::Json(fields));
    image["id"].as_str().unwrap().to_string()
}

/// The notifications in a file.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Events with what was done to which name.
fn told(messages: &[Value]) -> Vec<String> {
    let name = |message: &Value| message["payload"]["name"].as_str().unwrap_or("-").to_string();
    let told = |m: &Value| format!("{} {}", m["event_type"].as_str().unwrap(), name(m));
    messages.iter().map(told).collect()
}

/// A figure of `/metrics`; 0 where it is not shown.
fn figure(port: u16, name: &str) -> u64 {
    let answer = ureq::get(format!("http://127.0.0.1:{port}/metrics")).call();
    let text = answer.unwrap().body_mut().read_to_string().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const DROPPED: &str = r#"glancefs_notifications_total{to="bus",outcome="dropped"}"#;
const SENT: &str = r#"glancefs_notifications_total{to="bus",outcome="sent"}"#;

#[test]
fn a_bus_that_never_answers_delays_nothing_and_what_finds_no_room_is_counted() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (bus, metrics) = (silent.local_addr().unwrap(), free_port());
    let mut fs = Start::default()
        .with_api()
        .config(&format!(
            "[DEFAULT]\ntransport_url = rabbit://guest:s3cret@{bus}/\n\
             [oslo_messaging_notifications]\ndriver = messagingv2\n\
             [glancefs]\nnotification_backlog = 5\nmetrics_listen = 127.0.0.1:{metrics}\n"
        ))
        .mount();
    for number in 0..20 {
        create(&fs, &format!("image-{number}"));
    }
    fs.sh("echo data >$M/file; mv $M/file $M/renamed; cat $M/renamed; rm $M/renamed");
    // 20 records, and what became of the file; some wait, or are being tried.
    eventually("the rest is dropped", || figure(metrics, DROPPED) >= 10);
    assert_eq!(figure(metrics, SENT), 0);
    let waiting = figure(metrics, r#"glancefs_notifications_waiting{to="bus"}"#);
    assert!((5..15).contains(&waiting), "{waiting}");
    let status = fs.terminate();
    assert!(status.success(), "{status}");
    let log = fs.log();
    assert!(log.contains("notifications are lost") && !log.contains("s3cret"), "{log}");
}
