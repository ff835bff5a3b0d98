//! What a crash left is put right while the images are served.

use crate::harness::{Cluster, Glancefs, eventually};
use crate::{mount_in_haste, pool_is_the_catalog, rbd};

/// A daemon that was killed while it was writing an image, beside a complete one; returns the
/// unfinished image's name in the pool.
fn killed_in_an_upload(cluster: &Cluster) -> (Glancefs, String) {
    let mut glancefs = mount_in_haste(cluster);
    glancefs.noise("kept.raw", 5 << 20);
    glancefs.sh("cp kept.raw $M/");
    let kept = glancefs.image("kept.raw").id;
    let writer = glancefs.spawn_python(
        "
f = os.open(M + '/new.raw', os.O_WRONLY | os.O_CREAT)
os.write(f, os.urandom(9 << 20))
os.fsync(f)
print('begun', flush=True)
time.sleep(60)
",
    );
    eventually("it writes", || writer.printed().contains("begun"));
    glancefs.kill();
    drop(writer);
    let listed = rbd(cluster, &["ls"]);
    let orphan = listed.lines().find(|name| *name != kept).unwrap().to_owned();
    (glancefs, orphan)
}

fn is_watched(cluster: &Cluster, image: &str) -> bool {
    rbd(cluster, &["status", image]).contains("watcher=")
}

/// Whether a complete image can be read, and nothing else is shown.
fn assert_serves(glancefs: &Glancefs) {
    assert_eq!(glancefs.sh("ls $M"), "kept.raw\n");
    glancefs.sh("cmp kept.raw $M/kept.raw");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn the_watch_of_a_dead_daemon_delays_nothing() {
    // Its watches last as long as everywhere: 30 s.
    let cluster = Cluster::start("memstore");
    let (mut glancefs, orphan) = killed_in_an_upload(&cluster);
    glancefs.start_again();
    assert!(is_watched(&cluster, &orphan), "mounted only when the watch had ended");
    assert_serves(&glancefs);
    glancefs.sh("cp kept.raw $M/second.raw && rm $M/second.raw");
    // Ending and starting meanwhile changes nothing.
    glancefs.restart();
    assert!(is_watched(&cluster, &orphan), "ended only when the watch had");
    assert_serves(&glancefs);
    eventually("its watch ends", || !is_watched(&cluster, &orphan));
    eventually("its data goes", || !rbd(&cluster, &["ls"]).contains(&orphan));
    eventually("its record goes", || pool_is_the_catalog(&cluster, &glancefs));
    assert_eq!(std::fs::read_dir(glancefs.state_dir().join("journal")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_cluster_that_is_away_at_the_start_is_waited_for_in_the_background() {
    let cluster = Cluster::start("bluestore");
    cluster.run("ceph", &["config", "set", "osd", "osd_client_watch_timeout", "5"]);
    let (mut glancefs, orphan) = killed_in_an_upload(&cluster);
    cluster.act("down");
    // Mounting, listing and ending ask nobody.
    glancefs.start_again();
    assert_eq!(glancefs.sh("ls $M"), "kept.raw\n");
    glancefs.restart();
    assert_eq!(glancefs.sh("ls $M"), "kept.raw\n");
    cluster.act("up");
    eventually("its data goes", || !rbd(&cluster, &["ls"]).contains(&orphan));
    eventually("its record goes", || pool_is_the_catalog(&cluster, &glancefs));
    assert_serves(&glancefs);
}
