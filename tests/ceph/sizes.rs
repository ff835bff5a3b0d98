//! What an image really takes is shown without asking the cluster, also after a restart.

use crate::harness::{Cluster, eventually};
use crate::{mount_in_haste, rbd};

/// Blocks of 512 bytes.
const DATA: &str = "8192\n";
const ALL: &str = "131072\n";

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn sizes_survive_a_restart_and_are_found_again_when_they_are_lost() {
    let cluster = Cluster::start("bluestore");
    let mut glancefs = mount_in_haste(&cluster);
    // 64 MiB, of which 4 hold data.
    glancefs.noise("a.raw", 4 << 20);
    glancefs.sh("truncate -s 64M a.raw; cp a.raw $M/; cp a.raw $M/b.raw");
    let file = glancefs.state_dir().join("cache/rbd.sizes");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("both are kept", || kept().lines().count() == 3);
    let id = glancefs.image("b.raw").id;
    glancefs.sh("rm $M/b.raw");
    eventually("one is forgotten", || kept().lines().count() == 2 && !kept().contains(&id));

    assert!(glancefs.terminate().success());
    cluster.act("down");
    glancefs.start_again();
    assert_eq!(glancefs.sh("stat -c %b $M/a.raw"), DATA, "without the cluster");

    // It is lost, and the cluster is away: the full size, until somebody can look.
    assert!(glancefs.terminate().success());
    std::fs::write(&file, "damaged").unwrap();
    glancefs.start_again();
    assert_eq!(glancefs.sh("ls $M; stat -c %b $M/a.raw"), format!("a.raw\n{ALL}"));
    assert!(glancefs.terminate().success());
    cluster.act("up");
    glancefs.start_again();
    eventually("it is looked at", || glancefs.sh("stat -c %b $M/a.raw") == DATA);
    let id = glancefs.image("a.raw").id;
    assert!(rbd(&cluster, &["status", &id]).contains("Watchers: none"));
    eventually("it is kept again", || kept().lines().count() == 2);
}
