//! A real RabbitMQ: away, started, killed, silent; found by several names, with a password and TLS.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::{Body, DROPPED, SENT, call, create, eventually, figure, free_port, told};
use crate::harness::rabbitmq::RabbitMq;
use crate::harness::{Glancefs, Start};

/// A daemon that tells this bus, in durable queues, and tries it again soon.
fn start(url: &str, more: &str) -> Glancefs {
    Start::default()
        .with_api()
        .config(&format!(
            "[DEFAULT]\ntransport_url = {url}\n[oslo_messaging_notifications]\ndriver = messagingv2\n\
             [oslo_messaging_rabbit]\namqp_durable_queues = true\nrabbit_retry_backoff = 0\n{more}"
        ))
        .mount()
}

fn is_of(name: &str) -> impl Fn(&Value) -> bool {
    move |message| message["payload"]["name"] == name
}

#[test]
#[ignore = "needs a real RabbitMQ"]
fn a_broker_may_come_late_go_and_come_back() {
    let mut rabbit = RabbitMq::prepare();
    let metrics = free_port();
    let more = format!("[glancefs]\nmetrics_listen = 127.0.0.1:{metrics}\n");
    let mut fs = start(&rabbit.url(), &more);
    create(&fs, "before");
    assert_eq!((figure(metrics, SENT), figure(metrics, DROPPED)), (0, 0));
    rabbit.start_again();
    create(&fs, "then");
    let first = rabbit.read_until("notifications.info", is_of("then"));
    let messages: Vec<_> = first.iter().map(|delivered| delivered.message()).collect();
    assert_eq!(told(&messages), ["image.create before", "image.create then"]);
    let (exchange, properties) = (&first[0].exchange, &first[0].properties);
    assert_eq!(exchange, "glance");
    let content_type = properties.content_type().as_ref().unwrap().to_string();
    assert_eq!((content_type.as_str(), *properties.delivery_mode()), ("application/json", Some(2)));

    rabbit.kill();
    create(&fs, "meanwhile");
    let id = create(&fs, "gone meanwhile");
    call(&fs, "DELETE", &format!("/v2/images/{id}"), &Body::None);
    rabbit.start_again();
    let later =
        rabbit.read_until("notifications.info", |message| message["event_type"] == "image.delete");
    // The broker was killed before it had noted that the first ones were taken.
    let known: Vec<_> = messages.iter().map(|message| &message["message_id"]).collect();
    let later = later.iter().map(|delivered| delivered.message());
    let new: Vec<_> = later.filter(|message| !known.contains(&&message["message_id"])).collect();
    let expected =
        ["image.create meanwhile", "image.create gone meanwhile", "image.delete gone meanwhile"];
    assert_eq!(told(&new), expected);

    // What is told at the end still goes.
    create(&fs, "at last");
    assert!(fs.terminate().success());
    rabbit.read_until("notifications.info", is_of("at last"));
    assert!(!fs.log().contains("are lost"), "{}", fs.log());
    assert!(!fs.log().contains("p@ss") && !fs.log().contains("p%40ss"), "{}", fs.log());
}

#[test]
#[ignore = "needs a real RabbitMQ"]
fn the_next_broker_is_asked_when_one_is_away_and_oslo_s_other_ways_work() {
    let mut rabbit = RabbitMq::start();
    let away = format!("127.0.0.1:{}", free_port());
    let here = rabbit.url();
    let (scheme, here) = here.split_once("://").unwrap();
    let (here, virtual_host) = here.split_once('/').unwrap();
    let url = format!("{scheme}://u:p@{away},{here}/{virtual_host}");
    let fs = start(&url, "[DEFAULT]\ncontrol_exchange = images\n");
    create(&fs, "by the second");
    let read = rabbit.read_until("notifications.info", is_of("by the second"));
    assert_eq!(read[0].exchange, "images");
    drop(fs);

    // TLS, by a name that the certificate has, and whom to believe.
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/authority.pem");
    let url = rabbit.url_at(&format!("localhost:{}", rabbit.tls_port()));
    let more = format!("ssl = true\nssl_ca_file = {authority}\n");
    let fs = start(&url, &more);
    create(&fs, "by TLS");
    rabbit.read_until("notifications.info", is_of("by TLS"));
    drop(fs);
    let mut fs = start(&format!("{url}?ssl=1"), "");
    create(&fs, "to a stranger");
    eventually("it is refused", || fs.log().contains("invalid peer certificate"));
    fs.terminate();

    // Without the envelope, to two topics; and what is wrong is told under another key.
    let url = rabbit.url();
    let more = "[oslo_messaging_notifications]\ndriver = messaging\ntopics = one,two\n";
    let config = format!("[DEFAULT]\ntransport_url = {url}\n{more}");
    let fs = Start::default().with_api().config(&config).mount();
    let fields = json!({"name": "bad", "disk_format": "qcow2", "container_format": "bare"});
    let id = call(&fs, "POST", "/v2/images", &Body::Json(fields))["id"].clone();
    let headers = [("Host", "x"), ("Content-Type", "application/octet-stream")]
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let path = format!("/v2/images/{}/file", id.as_str().unwrap());
    let refused =
        crate::bare_client::send(fs.api.unwrap(), "PUT", &path, &headers, Some(&[7; 1000]));
    assert_eq!(refused.status, 415);
    drop_terminated(fs);
    for topic in ["one", "two"] {
        let errors = rabbit.read(&format!("{topic}.error"));
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].body["event_type"], "image.upload");
        let text = errors[0].body["payload"].as_str().unwrap();
        assert!(text.starts_with("Failed to upload image data for image"), "{text}");
        assert_eq!(rabbit.read(&format!("{topic}.info")).len(), 4);
    }
    rabbit.kill();
}

fn drop_terminated(mut fs: Glancefs) {
    let status = fs.terminate();
    assert!(status.success(), "{status}\n{}", fs.log());
}

#[test]
#[ignore = "needs a real RabbitMQ"]
fn a_broker_that_falls_silent_is_given_up_and_found_again() {
    let rabbit = RabbitMq::start();
    let fs = start(&rabbit.url(), "");
    create(&fs, "one");
    rabbit.read_until("notifications.info", is_of("one"));
    let broker = rabbit.process();
    kill_process(broker, Signal::STOP).unwrap();
    create(&fs, "two");
    fs.sh("echo data >$M/three; mv $M/three $M/four");
    eventually("it is given up", || fs.log().contains("do not arrive"));
    create(&fs, "five");
    kill_process(broker, Signal::CONT).unwrap();
    let read = rabbit.read_until("notifications.info", is_of("five"));
    let names: Vec<_> = read.iter().map(|delivered| delivered.message()).collect();
    for name in ["two", "four", "five"] {
        assert!(names.iter().any(is_of(name)), "{name}: {:?}", told(&names));
    }
}
