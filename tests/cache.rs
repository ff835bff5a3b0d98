//! The disk cache, with a real mount over a real Ceph cluster.
//!
//! Each test has a cluster of its own: where one is killed, what can still be read was on the disk.
//! They need Ceph's packages (see `scripts/test`), and so are ignored unless asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a failed test")]

#[path = "cache/bound.rs"]
mod bound;
#[path = "cache/commands.rs"]
mod commands;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "cache/life.rs"]
mod life;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use harness::{Cluster, Finished, Glancefs, Running, Start, eventually};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// What the cache keeps for itself (`OVERHEAD` there), and a little more for each file.
const OVERHEAD: u64 = 3 * MIB;

/// A mount on the pool `images`, with a disk cache of so many bytes.
fn mount_with_cache(cluster: &Cluster, max_size: u64) -> Glancefs {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let text = format!(
        "[DEFAULT]\nimage_cache_dir = {}\nimage_cache_max_size = {max_size}\n\
         [glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_user = glance\n\
         rbd_store_ceph_conf = {}\nrados_connect_timeout = 10\n",
        glancefs.directory().join("cache").display(),
        cluster.conf().display()
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs
}

/// Adds an image of so many bytes of noise from a file of its name; returns its id.
fn add(glancefs: &Glancefs, name: &str, length: u64) -> String {
    glancefs.noise(name, length as usize);
    glancefs.sh(&format!("cp {name} $M/"));
    glancefs.image(name).id
}

/// Runs `glancefs cache`.
fn cache(glancefs: &Glancefs, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.arg("cache").args(arguments).arg("--state-dir").arg(glancefs.state_dir());
    Running::start(&mut command).wait()
}

/// Has an image cached.
#[track_caller]
fn prefetch(glancefs: &Glancefs, image: &str) {
    let done = cache(glancefs, &["prefetch", image]);
    assert!(done.ok(), "{done:?}");
}

fn list(glancefs: &Glancefs) -> Value {
    let done = cache(glancefs, &["list", "--json"]);
    assert!(done.ok(), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// The ids of what is cached, the one that was used last first.
fn cached(glancefs: &Glancefs) -> Vec<String> {
    let list = list(glancefs);
    let images = list["cached"].as_array().unwrap();
    images.iter().map(|image| image["id"].as_str().unwrap().to_owned()).collect()
}

/// Where a cached image's file is.
fn file_of(glancefs: &Glancefs, id: &str) -> PathBuf {
    glancefs.directory().join("cache/glancefs").join(id)
}

/// Bytes that all of the cache takes on the disk.
fn taken(glancefs: &Glancefs) -> u64 {
    let files = std::fs::read_dir(glancefs.directory().join("cache/glancefs")).unwrap();
    let blocks =
        |file: std::io::Result<std::fs::DirEntry>| Some(file.ok()?.metadata().ok()?.blocks());
    files.filter_map(blocks).sum::<u64>() * 512
}

/// Downloads an image, which no page that the kernel kept can answer.
fn download(glancefs: &Glancefs, id: &str) -> Finished {
    let api = glancefs.api.unwrap();
    glancefs.try_sh(&format!("curl -sSf -o down http://{api}/v2/images/{id}/file"))
}

/// The image reads as the file of this name, through the mount and by the API.
#[track_caller]
fn assert_reads(glancefs: &Glancefs, id: &str, file: &str) {
    glancefs.sh(&format!("cmp {file} $M/.by-id/{id}"));
    let done = download(glancefs, id);
    assert!(done.ok(), "{done:?}");
    glancefs.sh(&format!("cmp {file} down"));
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_image_that_is_opened_twice_needs_no_cluster_the_third_time() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_with_cache(&cluster, 1 << 30);
    let id = add(&glancefs, "a.raw", 37 * MIB + 5);
    let other = add(&glancefs, "b.raw", 3 * MIB);
    glancefs.sh("ls -l $M && stat $M/a.raw && cmp a.raw $M/a.raw && cmp b.raw $M/b.raw");
    assert!(download(&glancefs, &id).ok());
    eventually("it is cached", || cached(&glancefs) == [id.clone()]);
    assert_eq!(glancefs.sh("ls ../cache/glancefs"), format!("{id}\nindex\nlock\n"));
    glancefs.sh(&format!("cmp a.raw ../cache/glancefs/{id}"));

    cluster.act("kill-osd");
    assert_reads(&glancefs, &id, "a.raw");
    // Neither the kernel nor the block cache has anything of it now.
    glancefs.restart();
    assert_reads(&glancefs, &id, "a.raw");
    assert!(!download(&glancefs, &other).ok(), "the cluster is not there");
    let python = "
f = os.open(M + '/a.raw', os.O_RDONLY)
assert len(os.pread(f, 100, 37 * 1048576 - 10)) == 15
print('reads', flush=True)
time.sleep(20)
";
    let reading = glancefs.spawn_python(python);
    eventually("it reads", || reading.printed().contains("reads"));
    assert_eq!(list(&glancefs)["cached"][0]["open"], true);
    assert_eq!(list(&glancefs)["cached"][0]["hits"], 5);
    let log = glancefs.log();
    assert!(!log.contains("the kernel does not read local images"), "{log}");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn holes_and_zeros_take_no_room_and_read_as_zeros() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount_with_cache(&cluster, 64 * MIB);
    glancefs.sh("truncate -s 600M a.raw && printf head | dd of=a.raw conv=notrunc status=none &&
         dd if=/dev/urandom of=a.raw bs=1M seek=299 count=5 conv=notrunc status=none &&
         dd if=/dev/zero of=a.raw bs=1M seek=410 count=8 conv=notrunc status=none &&
         cp --sparse=always a.raw $M/");
    let id = glancefs.image("a.raw").id;
    prefetch(&glancefs, &id);
    cluster.act("kill-osd");
    glancefs.sh(&format!("cmp a.raw $M/.by-id/{id}"));
    assert!(taken(&glancefs) < 7 * MIB, "{}", taken(&glancefs));
}
