//! Deleted images in a Ceph pool: clones keep their data, and what only goes to the trash is purged.

use crate::harness::{Cluster, Glancefs, Start, eventually};
use crate::{pool_is_the_catalog, rbd};

/// A mount on the pool `images`, with one image that is a Ceph user's like any other.
fn mount(cluster: &Cluster, options: &str) -> Glancefs {
    let config = format!(
        "[DEFAULT]\ndelayed_delete = true\n{options}\n\
         [glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_user = glance\n\
         rbd_store_ceph_conf = {}\nrados_connect_timeout = 10\n",
        cluster.conf().display()
    );
    let glancefs = Start::default().config(&config).with_api().mount();
    glancefs.noise("a.raw", 4 << 20);
    glancefs.sh("cp a.raw $M/");
    glancefs
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_image_with_clones_waits_until_they_are_gone() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount(&cluster, "scrub_time = 0\nwakeup_time = 1");
    let id = glancefs.image("a.raw").id;
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), "images/volume"]);
    // With clones, or not: it is gone for all who ask for it.
    glancefs.sh("rm $M/a.raw");
    assert_eq!(glancefs.sh("ls $M"), "");
    eventually("it is tried", || glancefs.log().contains("rbd children"));
    let done = glancefs.scrub("--once");
    assert!(done.contains(&format!("stays     {id}")) && done.contains("has clones"), "{done}");
    assert!(glancefs.is_pending(&id));
    let snapshots = cluster.rbd_json(&["snap", "ls", &format!("images/{id}")]);
    assert_eq!(snapshots[0]["protected"], "true", "{snapshots}");
    // Said once, however often it is tried.
    assert_eq!(glancefs.log().matches("rbd children").count(), 1, "{}", glancefs.log());
    // Brought back, it is what it was, clones and all.
    glancefs.scrub(&format!("--restore {id}"));
    glancefs.assert_same("a.raw", "a.raw", "raw");
    glancefs.sh("rm $M/a.raw");
    cluster.run("rbd", &["flatten", "images/volume"]);
    cluster.run("rbd", &["rm", "images/volume"]);
    eventually("it is scrubbed", || glancefs.is_scrubbed(&id));
    eventually("so is its data", || pool_is_the_catalog(&cluster, &glancefs));
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn what_was_moved_to_the_trash_is_purged_in_time() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount(&cluster, "wakeup_time = 1\n[glancefs]\npurge_trash_after = 1s");
    let id = glancefs.image("a.raw").id;
    // A stranger's, by hand.
    cluster.run("rbd", &["create", "--size", "1", "images/5a8d8b6c-4f9e-4a50-9f59-7a5c1d3f0e11"]);
    cluster.run("rbd", &["trash", "mv", "images/5a8d8b6c-4f9e-4a50-9f59-7a5c1d3f0e11"]);
    cluster.run("rbd", &["snap", "create", &format!("images/{id}@backup")]);
    glancefs.sh("rm $M/a.raw");
    assert!(glancefs.scrub("--once").contains("1 scrubbed"));
    assert!(!rbd(&cluster, &["ls"]).contains(&id));
    eventually("it is purged", || !rbd(&cluster, &["trash", "ls"]).contains(&id));
    assert!(rbd(&cluster, &["trash", "ls"]).contains("5a8d8b6c"), "it is not ours");
}
