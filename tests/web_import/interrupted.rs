//! Imports that end before they are done: called off, stopped, killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::client::Image;
use super::harness::{Glancefs, Record, eventually};
use super::plugins::{ALL, disk};
use super::server::Server;
use super::{nothing_is_staged, start};

#[test]
fn an_image_that_is_deleted_is_not_downloaded_any_more() {
    let glancefs = start("").mount();
    let server = Server::with(&[]);
    let image = Image::create(&glancefs, "raw");
    image.download(&server.uri("/stuck"));
    eventually("the server is asked", || server.requests() == 1);
    assert_eq!(image.delete(), 204);
    eventually("the server is left", || server.was_left());
    assert!(nothing_is_staged(&glancefs));
}

#[test]
fn a_daemon_that_ends_does_not_wait_for_a_server() {
    let mut glancefs = start("").mount();
    let server = Server::with(&[]);
    let id = {
        let image = Image::create(&glancefs, "raw");
        image.download(&server.uri("/stuck"));
        image.id
    };
    eventually("the server is asked", || server.requests() == 1);
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    glancefs.start_again();
    let record = glancefs.image("imported");
    assert_eq!((record.id, record.status.as_str()), (id, "queued"));
    assert!(nothing_is_staged(&glancefs));
}

/// The record, when what a crash has left is undone: of a distant store, that is in the background.
fn queued_again(glancefs: &Glancefs) -> Record {
    eventually("it is queued again", || glancefs.image("imported").status == "queued");
    eventually("nothing is left", || nothing_is_staged(glancefs));
    glancefs.image("imported")
}

/// Dies at a step while a packed QCOW2 is imported by a method; what is there afterwards.
fn dies_at(step: &str, method: &str) {
    let mut glancefs = start(ALL).prepare();
    glancefs.start_again();
    let (disk, _, packed) = disk(&glancefs);
    let packed = fs::read(packed).unwrap();
    let server = Server::with(&[("/disk.qcow2.gz", &packed)]);
    assert!(glancefs.terminate().success());
    glancefs.doomed_at(step);
    {
        let image = Image::create(&glancefs, "qcow2");
        if method == "glance-direct" {
            image.stage(&packed);
        }
        let uri = server.uri("/disk.qcow2.gz");
        assert_eq!(image.import(&json!({ "name": method, "uri": uri })).0, 202);
    }
    glancefs.wait();
    glancefs.restart_clean();
    let record = queued_again(&glancefs);
    assert_eq!(record.disk_format.as_deref(), Some("qcow2"));
    let image = Image::of(&glancefs, &record.id);
    let again = json!({ "name": "web-download", "uri": server.uri("/disk.qcow2.gz") });
    eventually("it can be imported again", || image.import(&again).0 == 202);
    assert_eq!(image.settled()["status"], "active");
    assert!(image.data() == disk);
}

#[test]
fn dying_with_converted_data_leaves_nothing_of_a_download() {
    dies_at("import-prepared", "web-download");
}

#[test]
fn dying_with_converted_data_leaves_nothing_of_what_was_staged() {
    dies_at("import-prepared", "glance-direct");
}

#[test]
fn dying_half_written_leaves_nothing_of_a_download() {
    dies_at("import-written", "web-download");
}

/// A daemon whose qemu-img never ends, and an image that is being converted by it; the number of
/// its process.
fn converting(slow: &Path) -> (Glancefs, String) {
    let program = slow.join("qemu-img");
    let mark = slow.join("mark");
    let script =
        format!("#!/bin/sh\necho $$ >{0}.new; mv {0}.new {0}; exec sleep 600\n", mark.display());
    fs::write(&program, script).unwrap();
    // Where the tests run as root, it runs as nobody.
    for (path, mode) in [(slow, 0o777), (&program, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = format!("{}:{}", slow.display(), std::env::var("PATH").unwrap());
    let glancefs = start(ALL).environment("PATH", &path).mount();
    let (_, qcow2, _) = disk(&glancefs);
    let image = Image::create(&glancefs, "qcow2");
    image.stage(&fs::read(qcow2).unwrap());
    assert_eq!(image.import(&json!({ "name": "glance-direct" })).0, 202);
    eventually("it is being converted", || mark.exists());
    let process = fs::read_to_string(mark).unwrap().trim().to_owned();
    (glancefs, process)
}

fn runs(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

#[test]
fn a_conversion_does_not_outlive_a_daemon_that_is_killed() {
    let slow = tempfile::tempdir().unwrap();
    let (mut glancefs, process) = converting(slow.path());
    assert!(runs(&process));
    glancefs.kill();
    eventually("the conversion has ended", || !runs(&process));
    glancefs.restart_clean();
    queued_again(&glancefs);
}

#[test]
fn a_conversion_ends_with_its_image_and_with_the_daemon() {
    let slow = tempfile::tempdir().unwrap();
    let (glancefs, process) = converting(slow.path());
    let id = glancefs.image("imported").id;
    assert_eq!(Image::of(&glancefs, &id).delete(), 204);
    eventually("the conversion has ended", || !runs(&process));
    assert!(nothing_is_staged(&glancefs));
    let slow = tempfile::tempdir().unwrap();
    let (mut glancefs, process) = converting(slow.path());
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    assert!(!runs(&process));
}
