//! For those without a bus: a file, a URL, the log.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

use super::{Body, call, create, eventually, lines, told};
use crate::harness::{DEADLINE, Start};

#[test]
fn what_is_done_in_the_mount_is_told_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notifications.json");
    let config = format!("[glancefs]\nnotification_file = {}\n", path.display());
    let mut fs = Start::default().config(&config).mount();
    fs.sh("echo data >$M/.new.X1; mv $M/.new.X1 $M/new");
    fs.sh("setfattr -n user.glance.property.os -v linux $M/new; cat $M/new; rm $M/new");
    // Only who makes it sees it.
    fs.sh("python3 -c 'import os, sys; f = open(sys.argv[1], \"w\"); os.unlink(sys.argv[1])' $M/given-up");
    assert!(fs.terminate().success());
    let messages = lines(&path);
    let made = ["image.create .new.X1", "image.prepare .new.X1"];
    let complete = ["image.upload .new.X1", "image.activate .new.X1", "image.update .new.X1"];
    let changed = ["image.update new", "image.update new", "image.delete new"];
    let given_up = ["image.create given-up", "image.prepare given-up", "image.delete given-up"];
    let expected = [&made[..], &complete, &changed, &given_up].concat();
    assert_eq!(told(&messages), expected);
    let uploaded = &messages[2]["payload"];
    assert_eq!((&uploaded["size"], &uploaded["status"]), (&json!(5), &json!("active")));
    let altered = &messages[6]["payload"];
    assert_eq!(altered["properties"]["os"], "linux");
    let removed = &messages[7];
    assert_eq!(removed["payload"]["deleted"], true);
    assert_eq!(
        (&removed["priority"], &removed["publisher_id"]),
        (&json!("INFO"), &json!("image.localhost"))
    );
}

#[test]
fn a_file_that_is_moved_away_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notifications.json");
    let config = format!(
        "[DEFAULT]\ndefault_publisher_id = image.host1\ndisabled_notifications = image.create,task\n\
         [glancefs]\nnotification_file = {}\n",
        path.display()
    );
    let fs = Start::default().with_api().config(&config).mount();
    let id = create(&fs, "one");
    let rename = |name: &str| {
        let patch = json!([{"op": "replace", "path": "/name", "value": name}]);
        call(&fs, "PATCH", &format!("/v2/images/{id}"), &Body::Patch(patch));
    };
    rename("two");
    eventually("it is told", || lines(&path).len() == 1);
    fs::rename(&path, directory.path().join("notifications.1")).unwrap();
    rename("three");
    eventually("it is told in a new file", || lines(&path).len() == 1);
    let message = lines(&path).remove(0);
    assert_eq!(told(std::slice::from_ref(&message)), ["image.update three"]);
    assert_eq!(message["publisher_id"], "image.host1");
}

#[test]
fn a_download_is_told_of_when_all_of_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notifications.json");
    let config = format!(
        "[DEFAULT]\ndisabled_notifications = image.create,image.update,image.upload,image.prepare\n\
         [glancefs]\nnotification_file = {}\n",
        path.display()
    );
    let mut fs = Start::default().with_api().project("p1").config(&config).mount();
    let id = create(&fs, "one");
    let file = format!("/v2/images/{id}/file");
    call(&fs, "PUT", &file, &Body::Data(&[7; 100_000]));
    call(&fs, "GET", &file, &Body::None);
    let headers =
        [("Host", "x"), ("Range", "bytes=10-19")].map(|(n, v)| (n.to_string(), v.to_string()));
    let part = crate::bare_client::send(fs.api.unwrap(), "GET", &file, &headers, None);
    assert_eq!(part.status, 206);
    assert!(fs.terminate().success());
    let sent: Vec<_> =
        lines(&path).into_iter().filter(|m| m["event_type"] == "image.send").collect();
    let payload = |bytes: u64| {
        json!({"bytes_sent": bytes, "image_id": id, "owner_id": "p1",
               "receiver_tenant_id": "p1", "receiver_user_id": null})
    };
    let payloads: Vec<_> = sent.iter().map(|message| message["payload"].clone()).collect();
    assert_eq!(payloads, [payload(100_000), payload(10)]);
}

#[test]
fn the_driver_log_puts_notifications_into_the_log() {
    let config = "[DEFAULT]\nnotification_driver = glance.openstack.common.notifier.log_notifier\n";
    let fs = Start::default().with_api().config(config).mount();
    let id = create(&fs, "logged");
    eventually("it is logged", || {
        let log = fs.log();
        let line = log.lines().find(|line| line.contains("image.create")).map(str::to_string);
        line.is_some_and(|line| line.contains(&id) && line.contains("\"priority\":\"INFO\""))
    });
}

#[test]
fn a_file_that_cannot_be_written_is_named_at_start() {
    let config = "[glancefs]\nnotification_file = /no/such/directory/file\n";
    let fs = Start::default().config(config).prepare();
    let done = fs.command().output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success());
    assert!(said.contains("notification_file") && said.contains("/no/such/directory"), "{said}");
}

/// Answers requests with these statuses, one after the other; gives their bodies.
fn webhook(statuses: &'static [u16]) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hooks/s3cret?key=s3cret", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let line = line.trim_end().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer =
                format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
        }
    });
    (url, bodies)
}

#[test]
fn a_url_is_sent_one_after_the_other_and_again_what_it_did_not_take() {
    // The first one is sent again, the second one not.
    let (url, bodies) = webhook(&[503, 200, 400, 204]);
    let config = format!("[glancefs]\nnotification_webhook = {url}\n");
    let mut fs = Start::default().with_api().config(&config).mount();
    for name in ["one", "two", "three"] {
        create(&fs, name);
    }
    let names = [(); 4].map(|()| {
        let message = bodies.recv_timeout(DEADLINE).unwrap();
        message["payload"]["name"].as_str().unwrap().to_string()
    });
    assert_eq!(names, ["one", "one", "two", "three"]);
    assert!(fs.terminate().success());
    let log = fs.log();
    assert!(log.contains("503") && log.contains("400") && !log.contains("s3cret"), "{log}");
}
