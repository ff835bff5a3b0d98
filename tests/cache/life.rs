//! What a cached file outlives, and what it does not.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::harness::{Cluster, Glancefs, eventually};
use crate::{MIB, add, assert_reads, cached, download, file_of, mount_with_cache, prefetch};

/// Changes one byte, and sets the time of modification back.
fn flip_a_byte(glancefs: &Glancefs, id: &str) {
    let file = File::options().read(true).write(true).open(file_of(glancefs, id)).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1_234_567).unwrap();
    file.write_all_at(&[!byte[0]], 1_234_567).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_file_that_was_changed_is_never_read() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_with_cache(&cluster, 1 << 30);
    let [a, b] = ["a.raw", "b.raw"].map(|name| add(&glancefs, name, 9 * MIB));
    prefetch(&glancefs, &a);
    prefetch(&glancefs, &b);
    let is_cached_anew = |glancefs: &Glancefs, id: &str, file: &str| {
        let same = format!("cmp {file} {}", file_of(glancefs, id).display());
        eventually("it is copied again", || glancefs.try_sh(&same).ok());
        eventually("and in use", || cached(glancefs).iter().any(|cached| cached == id));
    };
    // While it runs: twice is hot, too.
    flip_a_byte(&glancefs, &a);
    assert_reads(&glancefs, &a, "a.raw");
    is_cached_anew(&glancefs, &a, "a.raw");
    // Between two runs.
    assert!(glancefs.terminate().success());
    flip_a_byte(&glancefs, &b);
    fs::write(file_of(&glancefs, ".tmp-left"), "of a crash").unwrap();
    glancefs.start_again();
    eventually("it is found without being opened", || cached(&glancefs) == [a.clone()]);
    let files = format!("{a}\nindex\nlock\n");
    eventually("its file is gone", || glancefs.sh("ls -A ../cache/glancefs | sort") == files);
    assert_reads(&glancefs, &b, "b.raw");
    is_cached_anew(&glancefs, &b, "b.raw");
    cluster.act("kill-osd");
    assert_reads(&glancefs, &b, "b.raw");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_file_that_fails_while_it_is_read_is_replaced_by_the_store() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount_with_cache(&cluster, 1 << 30);
    let id = add(&glancefs, "a.raw", 60 * MIB);
    prefetch(&glancefs, &id);
    let api = glancefs.api.unwrap();
    let url = format!("http://{api}/v2/images/{id}/file");
    let slow = glancefs.spawn(&format!("curl -sSf --limit-rate 20M -o slow {url}"));
    let got = glancefs.scratch().join("slow");
    eventually("it reads", || got.metadata().is_ok_and(|got| got.len() > MIB));
    File::options().write(true).open(file_of(&glancefs, &id)).unwrap().set_len(0).unwrap();
    let done = slow.wait();
    assert!(done.ok(), "{done:?}");
    glancefs.sh("cmp a.raw slow");
    assert!(cached(&glancefs).is_empty());
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn images_that_are_deleted_or_deactivated_are_dropped() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_with_cache(&cluster, 1 << 30);
    let names = ["a.raw", "b.raw", "c.raw", "d.raw", "e.raw"];
    let ids = names.map(|name| add(&glancefs, name, 5 * MIB));
    ids.iter().for_each(|id| prefetch(&glancefs, id));
    let [removed, switched, removed_later, switched_later, kept] = &ids;
    let reader = glancefs.spawn_python(
        "
f = os.open(M + '/a.raw', os.O_RDONLY)
print('open', flush=True)
while os.path.exists(M + '/a.raw'): time.sleep(0.01)
data = b''
while part := os.read(f, 1 << 20): data += part
print(data == open('a.raw', 'rb').read())
",
    );
    eventually("it is open", || reader.printed().contains("open"));
    glancefs.sh("rm $M/a.raw");
    assert!(reader.wait().stdout.contains("True"), "who has it open reads on");
    let gone = |id: &str| !file_of(&glancefs, id).exists();
    eventually("it went with its image", || gone(removed));
    glancefs.glance_sets(switched, "status = 'deactivated'");
    eventually("it went when somebody else deactivated it", || gone(switched));
    assert_eq!(cached(&glancefs).len(), 3);

    assert!(glancefs.terminate().success());
    glancefs.glance_sets(removed_later, "status = 'deleted', deleted = 1");
    glancefs.glance_sets(switched_later, "status = 'deactivated'");
    glancefs.start_again();
    eventually("what went meanwhile is dropped", || cached(&glancefs) == [kept.clone()]);
    let gone = |id: &str| !file_of(&glancefs, id).exists();
    eventually("files, too", || gone(removed_later) && gone(switched_later));
    assert!(!download(&glancefs, removed_later).ok());
    assert_reads(&glancefs, kept, "e.raw");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn data_that_is_not_the_images_is_never_cached() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount_with_cache(&cluster, 1 << 30);
    let [wrong, without] = ["a.raw", "b.raw"].map(|name| add(&glancefs, name, 5 * MIB));
    let other = "0".repeat(128);
    glancefs.glance_sets(&wrong, &format!("os_hash_value = '{other}'"));
    glancefs.glance_sets(&without, "os_hash_algo = NULL, os_hash_value = NULL, checksum = NULL");
    let done = crate::cache(&glancefs, &["prefetch", &wrong, &without]);
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stdout.contains(&other) && done.stdout.contains("no hash"), "{done:?}");
    assert!(done.stderr.contains("2 could not be cached"), "{done:?}");
    for _ in 0..4 {
        assert!(download(&glancefs, &wrong).ok() && download(&glancefs, &without).ok());
    }
    let log = glancefs.log();
    assert_eq!(log.matches(&other).count(), 1, "both hashes, and once: {log}");
    assert!(cached(&glancefs).is_empty());
    assert_eq!(glancefs.sh("ls -A ../cache/glancefs | grep -v index"), "lock\n");
}
