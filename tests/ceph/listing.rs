//! Many images: a listing is a matter of the catalog alone.

use crate::harness::{Cluster, eventually};
use crate::{mount_in_haste, rbd};

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_listing_of_five_hundred_images_asks_the_cluster_nothing() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_in_haste(&cluster);
    glancefs.sh("for n in 1 2 3; do echo $n >$M/real-$n; done");
    glancefs.glance_records((0..497).map(|n| format!("image-{n:03}")));
    let fsid = cluster.run("ceph", &["fsid"]);
    glancefs.sql(&format!(
        "UPDATE image_locations SET meta_data = '{{\"store\": \"rbd\"}}', \
         value = 'rbd://{}/images/' || image_id || '/snap' WHERE value LIKE 'file:%'",
        fsid.trim()
    ));
    glancefs.restart();
    eventually("all are seen", || glancefs.sh("ls $M | wc -l").trim() == "500");
    glancefs.restart();
    let started = std::time::Instant::now();
    assert_eq!(glancefs.sh("ls -l $M | tail -n +2 | wc -l").trim(), "500");
    println!("ls -l of 500 images: {:?}", started.elapsed());
    for n in 1..=3 {
        let id = glancefs.image(&format!("real-{n}")).id;
        assert!(rbd(&cluster, &["status", &id]).contains("Watchers: none"));
    }
    // Nobody would answer now.
    cluster.act("down");
    glancefs.restart();
    assert_eq!(glancefs.sh("ls -l $M | tail -n +2 | wc -l").trim(), "500");
    assert_eq!(glancefs.sh("stat -c %s $M/real-1"), "2\n");
}
