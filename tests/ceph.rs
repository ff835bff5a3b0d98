//! glancefs on a real Ceph cluster, as its users are promised: what other programs of the cluster
//! find there, what happens when a daemon or an image goes away, many images, sparse ones.
//!
//! Each test has a cluster of its own, which takes three seconds: most break it.  They need Ceph's
//! packages (see `scripts/test`), and so are ignored unless asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a failed test")]

#[path = "ceph/deadlines.rs"]
mod deadlines;
#[path = "ceph/failures.rs"]
mod failures;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "ceph/listing.rs"]
mod listing;
#[path = "ceph/monitor.rs"]
mod monitor;
#[path = "ceph/reading.rs"]
mod reading;
#[path = "ceph/recovery.rs"]
mod recovery;
#[path = "ceph/removal.rs"]
mod removal;
#[path = "ceph/scrub.rs"]
mod scrub;
#[path = "ceph/sizes.rs"]
mod sizes;
#[path = "ceph/sparse.rs"]
mod sparse;
#[path = "ceph/uploads.rs"]
mod uploads;

use harness::{Cluster, Glancefs, Start};

/// A mount on the pool `images`, as the user with the caps that Glance's documentation gives it.
fn mount_on(cluster: &Cluster) -> Glancefs {
    mount_as("glance", cluster)
}

/// A mount on the pool `images`, as this user.
fn mount_as(user: &str, cluster: &Cluster) -> Glancefs {
    mount_with(user, cluster, 20)
}

/// A mount that waits in vain for no longer than three seconds, for tests in which it does.
fn mount_in_haste(cluster: &Cluster) -> Glancefs {
    mount_with("glance", cluster, 3)
}

fn mount_with(user: &str, cluster: &Cluster, seconds: u32) -> Glancefs {
    let config = format!(
        "[glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_user = {user}\n\
         rbd_store_ceph_conf = {}\nrados_connect_timeout = {seconds}\nrbd_thin_provisioning = true\n",
        cluster.conf().display()
    );
    Start::default().config(&config).with_api().mount()
}

/// What `rbd` prints, as the user of the store.
fn rbd(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.run("rbd", &[&["--id", "glance", "-p", "images"], arguments].concat())
}

/// The pool holds the data of the catalog's images, and nothing else.
fn pool_is_the_catalog(cluster: &Cluster, glancefs: &Glancefs) -> bool {
    let listed = rbd(cluster, &["ls"]);
    let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
    let mut ids: Vec<_> = glancefs.records().into_iter().map(|record| record.id).collect();
    names.sort();
    ids.sort();
    names == ids
}
