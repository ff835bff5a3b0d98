//! An OSD, an image or the daemon that goes away while somebody reads or writes.

use crate::harness::{Cluster, Glancefs, Running, eventually};
use crate::{mount_in_haste, pool_is_the_catalog, rbd};

/// A cluster whose data survives its OSD, and that soon forgets the watches of those who died.
fn lasting_cluster() -> Cluster {
    let cluster = Cluster::start("bluestore");
    cluster.run("ceph", &["config", "set", "osd", "osd_client_watch_timeout", "5"]);
    cluster
}

/// Starts a `dd` that takes some ten seconds for `$M/a.raw`: `got` is what it read, `dd.err` what it
/// said.
fn slow_dd(glancefs: &Glancefs) -> Running {
    let running = glancefs.spawn(
        "dd if=$M/a.raw bs=64k 2>dd.err | python3 -c '
import os, time
out = open(\"got\", \"wb\", buffering=0)
while data := os.read(0, 65536):
    out.write(data)
    time.sleep(0.01)
'",
    );
    let got = glancefs.scratch().join("got");
    eventually("it reads", || got.metadata().is_ok_and(|got| got.len() > 1 << 20));
    running
}

/// The `dd` got a part of the image and then an error: nothing wrong, and no false end.
fn assert_failed_after_a_part(glancefs: &Glancefs, messages: &[&str]) {
    let said = glancefs.sh("cat dd.err");
    assert!(messages.iter().any(|message| said.contains(message)), "{said}");
    glancefs.sh("n=$(stat -c %s got); test $n -lt $(stat -c %s a.raw); cmp -n $n got a.raw");
}

/// Starts an upload of a new image that goes on until it is told to stop, or fails.
fn slow_upload(glancefs: &Glancefs) -> Running {
    let running = glancefs.spawn_python(
        "
f = os.open(M + '/new.raw', os.O_WRONLY | os.O_CREAT)
data = os.urandom(1 << 20)
try:
    for n in range(60):
        os.write(f, data)
        if n == 12: print('begun', flush=True)
        time.sleep(0.05)
    os.close(f)
    print('complete')
except OSError as e:
    print(e.strerror)
",
    );
    eventually("it writes", || running.printed().contains("begun"));
    running
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_lost_osd_is_an_error_in_time_and_reads_go_on_when_it_is_back() {
    let cluster = lasting_cluster();
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.noise("a.raw", 64 << 20);
    glancefs.sh("cp a.raw $M/");
    // So that the kernel has nothing of it.
    glancefs.restart();
    let reader = slow_dd(&glancefs);
    let writer = slow_upload(&glancefs);
    cluster.act("kill-osd");
    let killed = std::time::Instant::now();
    assert!(glancefs.sh("ls -l $M").contains("a.raw"));
    reader.wait();
    println!("the reader ended {:?} after the OSD", killed.elapsed());
    assert_failed_after_a_part(&glancefs, &["Input/output error"]);
    let outcome = writer.wait().stdout;
    println!("the writer ended {:?} after the OSD: {outcome}", killed.elapsed());
    assert!(outcome.contains("Input/output error"), "{outcome}");
    assert_eq!(glancefs.sh("ls $M"), "a.raw\n");

    cluster.act("start-osd");
    eventually("it is read again", || glancefs.try_sh("cmp a.raw $M/a.raw").ok());
    glancefs.sh("cp a.raw $M/b.raw");
    glancefs.assert_same("b.raw", "a.raw", "raw");
    // What was left of the upload goes at the next start at the latest.
    glancefs.restart();
    eventually("no orphan is left", || pool_is_the_catalog(&cluster, &glancefs));
    assert_eq!(glancefs.sh("ls $M"), "a.raw\nb.raw\n");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_image_that_somebody_removes_is_an_error_to_who_reads_it() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.noise("a.raw", 64 << 20);
    glancefs.sh("cp a.raw $M/");
    glancefs.restart();
    let reader = slow_dd(&glancefs);
    let id = glancefs.image("a.raw").id;
    rbd(&cluster, &["snap", "unprotect", &format!("{id}@snap")]);
    rbd(&cluster, &["snap", "rm", "--no-progress", &format!("{id}@snap")]);
    rbd(&cluster, &["rm", "--no-progress", &id]);
    reader.wait();
    assert_failed_after_a_part(&glancefs, &["Stale file handle", "Input/output error"]);
    glancefs.refused("dd if=$M/a.raw bs=64k skip=900 of=tail", "error");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn daemon_and_osd_killed_in_an_upload_leave_no_orphan() {
    let cluster = lasting_cluster();
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.noise("kept.raw", 9 << 20);
    glancefs.sh("cp kept.raw $M/");
    let writer = slow_upload(&glancefs);
    assert_eq!(rbd(&cluster, &["ls"]).lines().count(), 2);
    cluster.act("kill-osd");
    glancefs.kill();
    drop(writer);
    cluster.act("start-osd");
    glancefs.start_again();
    eventually("no orphan is left", || pool_is_the_catalog(&cluster, &glancefs));
    assert_eq!(glancefs.sh("ls $M"), "kept.raw\n");
    glancefs.assert_same("kept.raw", "kept.raw", "raw");
}
