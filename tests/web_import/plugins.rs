//! What the operator has done to images, by both methods.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::client::Image;
use super::harness::{Glancefs, Start};
use super::server::Server;
use super::{nothing_is_staged, start};

/// All plugins: images are unpacked, become raw, and say where they are from.
pub const ALL: &str = "[image_import_opts]\n\
    image_import_plugins = [image_decompression, image_conversion, inject_image_metadata]\n\
    [inject_metadata_properties]\ninject = origin:imported, os_distro:debian\n";

/// For a member of a project: an administrator's images get no properties.
fn daemon() -> Glancefs {
    start(ALL).project("project").mount()
}

/// A disk, the same as QCOW2, and that packed.
pub fn disk(glancefs: &Glancefs) -> (Vec<u8>, PathBuf, PathBuf) {
    glancefs.noise("disk.raw", 2 << 20);
    let raw = glancefs.scratch().join("disk.raw");
    let mut disk = fs::read(&raw).unwrap();
    disk.resize(5 << 20, 0);
    fs::write(&raw, &disk).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "qcow2", "disk.raw", "disk.qcow2"];
    for (program, arguments) in [("qemu-img", &convert[..]), ("gzip", &["-k", "disk.qcow2"])] {
        let mut command = Command::new(program);
        assert!(
            command.args(arguments).current_dir(glancefs.scratch()).status().unwrap().success()
        );
    }
    (disk, glancefs.scratch().join("disk.qcow2"), glancefs.scratch().join("disk.qcow2.gz"))
}

#[track_caller]
fn assert_is_raw(glancefs: &Glancefs, image: &Image<'_>, record: &Value, disk: &[u8]) {
    assert_eq!(record["status"], "active", "{record}\n{}", glancefs.log());
    assert_eq!(record["disk_format"], "raw");
    assert_eq!(record["container_format"], "bare");
    assert_eq!(
        (&record["size"], &record["virtual_size"]),
        (&disk.len().into(), &disk.len().into())
    );
    assert_eq!((&record["origin"], &record["os_distro"]), (&"imported".into(), &"debian".into()));
    assert!(image.data() == disk);
    assert!(nothing_is_staged(glancefs));
}

#[test]
fn what_is_downloaded_is_unpacked_converted_and_marked() {
    let glancefs = daemon();
    let (disk, _, packed) = disk(&glancefs);
    let server = Server::with(&[("/disk.qcow2.gz", &fs::read(packed).unwrap())]);
    let image = Image::create(&glancefs, "qcow2");
    image.download(&server.uri("/disk.qcow2.gz"));
    let record = image.settled();
    assert_is_raw(&glancefs, &image, &record, &disk);
}

#[test]
fn what_is_staged_is_unpacked_converted_and_marked() {
    let glancefs = daemon();
    let (disk, qcow2, packed) = disk(&glancefs);
    for source in [qcow2, packed] {
        let image = Image::create(&glancefs, "qcow2");
        image.stage(&fs::read(source).unwrap());
        assert_eq!(image.import(&serde_json::json!({ "name": "glance-direct" })).0, 202);
        let record = image.settled();
        assert_is_raw(&glancefs, &image, &record, &disk);
    }
}

#[test]
fn what_a_plugin_does_not_take_leaves_the_record_as_it_was() {
    let glancefs = daemon();
    let (disk, qcow2, packed) = disk(&glancefs);
    let cut = &fs::read(&packed).unwrap()[..100_000];
    let backed = glancefs.scratch().join("backed.qcow2");
    let arguments = ["create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw"];
    let made = Command::new("qemu-img").args(arguments).arg(&backed).arg("1M").status().unwrap();
    assert!(made.success());
    let server = Server::with(&[
        ("/cut.gz", cut),
        ("/backed", &fs::read(backed).unwrap()),
        ("/raw", &disk),
        ("/right", &fs::read(qcow2).unwrap()),
    ]);
    let image = Image::create(&glancefs, "qcow2");
    for path in ["/cut.gz", "/backed", "/raw"] {
        image.download(&server.uri(path));
        let record = image.settled();
        assert_eq!(
            (&record["status"], &record["disk_format"]),
            (&"queued".into(), &"qcow2".into())
        );
        assert_eq!((&record["size"], record.get("origin")), (&Value::Null, None), "{path}");
        assert!(nothing_is_staged(&glancefs));
    }
    image.download(&server.uri("/right"));
    let record = image.settled();
    assert_is_raw(&glancefs, &image, &record, &disk);
}

#[test]
fn a_conversion_without_qemu_img_is_said_at_the_start() {
    let glancefs = Start::default().config(ALL).environment("PATH", "/nonexistent").prepare();
    let ended = glancefs.command().output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("install qemu-utils"), "{said}");
}
