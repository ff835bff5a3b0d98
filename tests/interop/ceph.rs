//! A pool of a real Ceph cluster that the real Glance and its client share with a glancefs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::openstack;
use crate::glance_api::{GlanceApi, glance_manage};
use crate::harness::{Cluster, Glancefs, Running, Start, eventually};
use crate::http::ImageApi;

/// What both programs read, of one file's options: the store `ceph`.
pub(crate) fn store(cluster: &Cluster) -> String {
    format!(
        "[DEFAULT]\nenabled_backends = ceph:rbd\n[glance_store]\ndefault_backend = ceph\n\
         [ceph]\nrbd_store_user = glance\nrbd_store_pool = images\nrbd_store_ceph_conf = {}\n",
        cluster.conf().display()
    )
}

/// What `rbd` prints, as the user of the store.
fn rbd(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.run("rbd", &[&["--id", "glance", "-p", "images"], arguments].concat())
}

/// What Ceph says of an image and its snapshots that does not depend on when it was made and how
/// it is called.
fn description(cluster: &Cluster, id: &str) -> (Value, Value) {
    let image = format!("images/{id}");
    let mut info = cluster.rbd_json(&["info", &image]);
    let mut snapshots = cluster.rbd_json(&["snap", "ls", &image]);
    let changing =
        ["name", "id", "block_name_prefix", "create_timestamp", "access_timestamp", "timestamp"];
    let objects = [&mut info].into_iter().chain(snapshots.as_array_mut().unwrap());
    for object in objects {
        let object = object.as_object_mut().unwrap();
        changing.iter().chain(&["modify_timestamp"]).for_each(|key| drop(object.remove(*key)));
    }
    (info, snapshots)
}

/// QEMU reads the same from the snapshot and from the file in the mount.
#[track_caller]
fn assert_same_for_qemu(cluster: &Cluster, glancefs: &Glancefs, name: &str) {
    let id = glancefs.image(name).id;
    let same = glancefs.sh(&format!(
        "qemu-img compare -f raw -F raw rbd:images/{id}@snap:id=glance:conf={} $M/{name}",
        cluster.conf().display()
    ));
    assert_eq!(same, "Images are identical.\n");
}

#[test]
#[ignore = "needs the real openstack client and Ceph"]
fn what_the_client_creates_is_in_the_pool_as_the_instructions_print_it() {
    let cluster = Cluster::start("memstore");
    let glancefs = Start::default().config(&store(&cluster)).with_api().mount();
    // In whole sectors, for QEMU.
    glancefs.noise("data", 20_000_256);
    openstack(&glancefs, "create --file data --disk-format raw --container-format bare one");
    let image = glancefs.assert_same("one", "data", "raw");

    let info = rbd(&cluster, &["info", &image.id]);
    assert!(info.contains("size 19 MiB in 3 objects"), "{info}");
    assert!(info.contains("order 23 (8 MiB objects)"), "{info}");
    assert!(info.contains("features: layering"), "{info}");
    let listed = rbd(&cluster, &["ls", "-l"]);
    let rows: Vec<Vec<_>> =
        listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let snapshot = format!("{}@snap", image.id);
    assert_eq!(rows[0][..4], [&image.id, "19", "MiB", "2"]);
    assert_eq!(rows[1][..5], [&snapshot, "19", "MiB", "2", "yes"]);
    assert_eq!(rows.len(), 2, "{listed}");
    let snapshots = rbd(&cluster, &["snap", "ls", &image.id]);
    let row: Vec<_> = snapshots.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[1..5], ["snap", "19", "MiB", "yes"], "{snapshots}");

    assert_same_for_qemu(&cluster, &glancefs, "one");
    glancefs.sh("qemu-img convert -f raw -O qcow2 data $M/two.qcow2
                 qemu-img compare data $M/two.qcow2");
    assert_same_for_qemu(&cluster, &glancefs, "two.qcow2");
    openstack(&glancefs, "save --file saved one");
    glancefs.sh("cmp data saved");
    openstack(&glancefs, "delete one two.qcow2");
    assert_eq!(rbd(&cluster, &["ls"]), "");
}

#[test]
#[ignore = "needs the real Glance and Ceph"]
fn glance_and_glancefs_use_each_others_images_in_one_pool() {
    let cluster = Cluster::start("memstore");
    let glancefs = Start::default().config(&store(&cluster)).with_api().mount();
    let glance = GlanceApi::on_ceph(&glancefs, &cluster);
    let ours = ImageApi::at(&format!("http://{}", glancefs.api.unwrap()));
    let data = glancefs.noise("data", 17_000_003);
    glancefs.sh("cp data $M/copied");
    let fields = |name| json!({"name": name, "disk_format": "raw", "container_format": "bare"});
    let made_by_glance = glance.api.create(&fields("glance"), &data);
    let made_by_us = ours.create(&fields("uploaded"), &data);
    eventually("the mount shows all", || glancefs.sh("ls $M") == "copied\nglance\nuploaded\n");

    for name in ["copied", "glance", "uploaded"] {
        let id = glancefs.assert_same(name, "data", "raw").id;
        for (api, file) in [(&glance.api, "from-glance"), (&ours, "from-glancefs")] {
            api.download(&id, &glancefs.scratch().join(file));
            glancefs.sh(&format!("cmp data {file}"));
            assert_eq!(api.show(&id)["stores"], "ceph", "{name}");
        }
        // Features included.
        let theirs = description(&cluster, &made_by_glance);
        assert_eq!(description(&cluster, &id), theirs, "{name}");
        let status = rbd(&cluster, &["status", &id]);
        assert!(status.contains("Watchers: none"), "{name}: {status}");
    }

    // Each removes what the other made.
    glance.api.delete(&glancefs.image("copied").id);
    glance.api.delete(&made_by_us);
    glancefs.sh("rm $M/glance");
    eventually("nothing is left", || glancefs.sh("ls $M").is_empty());
    assert_eq!(rbd(&cluster, &["ls"]), "");
    assert_eq!(rbd(&cluster, &["trash", "ls"]), "");
}

#[test]
#[ignore = "needs the real Glance and Ceph"]
fn what_another_glance_stored_is_adopted_into_a_catalog_of_ours() {
    let cluster = Cluster::start("memstore");
    // Nothing but a place for Glance's own catalog.
    let theirs = Start::default().prepare();
    fs::create_dir(theirs.state_dir()).unwrap();
    glance_manage(&theirs, &["db", "sync"]);
    let glance = GlanceApi::on_ceph(&theirs, &cluster);
    let mut glancefs = Start::default().config(&store(&cluster)).prepare();
    let data = glancefs.noise("data", 9_000_001);
    let fields = json!({"name": "theirs", "disk_format": "raw", "container_format": "bare"});
    let id = glance.api.create(&fields, &data);
    glancefs.start_again();

    let done = adopt(&glancefs, &["--pool", "images"]);
    assert!(done.contains("1 adopted, 0 left alone"), "{done}");
    eventually("the mount shows it", || glancefs.sh("ls $M").trim() == id);
    let adopted = glancefs.assert_same(&id, "data", "raw");
    assert_eq!(adopted.id, id);
    let original = theirs.image("theirs");
    assert_eq!(adopted.locations, original.locations);
    assert_eq!(adopted.os_hash_value, original.os_hash_value);
    // Glance has noticed nothing.
    glance.api.download(&id, &glancefs.scratch().join("from-glance"));
    glancefs.sh("cmp data from-glance");
}

/// Runs `glancefs adopt` with the mount's configuration; returns what it prints.
#[track_caller]
fn adopt(glancefs: &Glancefs, arguments: &[&str]) -> String {
    let config: &Path = &glancefs.directory().join("glance-api.conf");
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.arg("adopt").arg("--state-dir").arg(glancefs.state_dir());
    command.arg("--config-file").arg(config).args(arguments);
    let done = Running::start(&mut command).wait();
    assert!(done.ok(), "{done:?}");
    done.stdout
}
