//! Removing images, and what those see who still use them.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use glancefs::store::rbd::RbdStore;

use super::*;
use crate::harness::Cluster;

#[test]
#[ignore = "needs Ceph's packages"]
fn an_image_with_clones_is_in_use_and_stays_as_it_is() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    assert_eq!(store.children(&url).unwrap(), 0);
    let volume = format!("images/volume-{id}");
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), &volume]);
    assert_eq!(store.children(&url).unwrap(), 1);
    assert!(is_in_use(store.delete(&url)));
    let snapshots = cluster.rbd_json(&["snap", "ls", &format!("images/{id}")]);
    assert_eq!(snapshots[0]["protected"], "true", "{snapshots}");
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == pattern(MIB as usize, 1));

    cluster.run("rbd", &["flatten", &volume]);
    store.delete(&url).unwrap();
    assert!(!cluster.lists(id.as_str()));
    assert!(is_not_found(store.delete(&url)));
    assert!(is_not_found(store.open(&url)));
    assert!(is_not_found(store.children(&url)));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn clones_that_need_no_protection_count_as_well() {
    let cluster = Cluster::start("memstore");
    cluster.run("ceph", &["osd", "set-require-min-compat-client", "mimic"]);
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), "images/volume"]);
    assert_eq!(store.children(&url).unwrap(), 1);
    assert!(is_in_use(store.delete(&url)));
    let snapshots = cluster.rbd_json(&["snap", "ls", &format!("images/{id}")]);
    assert_eq!(snapshots[0]["protected"], "true", "{snapshots}");
}

#[test]
#[ignore = "needs Ceph's packages"]
fn clones_in_pools_of_others_are_respected() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    let _ = cluster.try_run("ceph", &["osd", "pool", "create", "volumes", "8"]);
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), "volumes/vol"]);
    assert!(is_in_use(store.delete(&url)));
    assert_eq!(store.children(&url).unwrap(), 1);
    let snapshots = cluster.rbd_json(&["snap", "ls", &format!("images/{id}")]);
    assert_eq!(snapshots[0]["protected"], "true", "{snapshots}");
    cluster.run("rbd", &["rm", "volumes/vol"]);
    store.delete(&url).unwrap();
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_image_with_snapshots_of_others_goes_to_the_trash() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    cluster.run("rbd", &["snap", "create", &format!("images/{id}@backup")]);
    store.delete(&url).unwrap();
    assert!(!cluster.lists(id.as_str()));
    let trash = cluster.run("rbd", &["trash", "ls", "images"]);
    assert!(trash.contains(id.as_str()), "{trash}");
    assert!(is_not_found(store.open(&url)));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_image_that_somebody_writes_to_is_in_use() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    // `watch` keeps it open for writing.
    let mut watch = Command::new("rbd")
        .arg("--conf")
        .arg(cluster.conf())
        .args(["watch", &format!("images/{id}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let watchers = || cluster.rbd_json(&["status", &format!("images/{id}")])["watchers"].clone();
    while watchers() == serde_json::json!([]) {
        thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(is_in_use(store.delete(&url)));
    let snapshots = cluster.rbd_json(&["snap", "ls", &format!("images/{id}")]);
    assert_eq!(snapshots[0]["protected"], "true", "{snapshots}");
    drop(watch.stdin.take());
    watch.wait().unwrap();
    store.delete(&url).unwrap();
}

/// Removes an image as an operator would.
fn remove_by_hand(cluster: &Cluster, id: &ImageId) {
    let snapshot = format!("images/{id}@snap");
    cluster.run("rbd", &["snap", "unprotect", &snapshot]);
    cluster.run("rbd", &["snap", "rm", &snapshot]);
    cluster.run("rbd", &["rm", &format!("images/{id}")]);
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_reader_never_sees_zeros_of_an_image_that_was_removed() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let data = pattern(64 * MIB as usize, 2);
    let (id, url) = put(&store, &data);
    let reader = store.open_reader(&url).unwrap();
    // Read while it is removed: each answer is right or an error, and the errors come.
    let failed = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|part| {
                let (reader, data) = (&reader, &data);
                scope.spawn(move || {
                    let mut buffer = vec![0; 3_000_000];
                    for round in 0.. {
                        let at = (round * 7_919 + part * 31) * 4_096 % (60 * MIB as usize);
                        match reader.read_at(at as u64, &mut buffer) {
                            Ok(count) => assert!(buffer[..count] == data[at..at + count], "{at}"),
                            Err(error) => return error,
                        }
                    }
                    unreachable!()
                })
            })
            .collect();
        remove_by_hand(cluster, &id);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    for error in failed {
        let Error::StoreUnavailable(words) = error else { panic!("{error}") };
        assert!(words.contains("was removed"), "{words}");
    }
    assert!(is_unavailable(reader.read_at(0, &mut [0])), "from then on always");
    let (sender, receiver) = std::sync::mpsc::channel();
    Arc::clone(&reader).start_read(0..10, Box::new(move |outcome| sender.send(outcome).unwrap()));
    assert!(is_unavailable(receiver.recv().unwrap()));
    assert!(is_not_found(store.open(&url)), "nobody gets the old handle");
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_removed_image_is_noticed_without_a_record_of_its_extents() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    for snapshot in [true, false] {
        let (id, url) = put(&store, &pattern(4 * MIB as usize, 3));
        let image = format!("images/{id}");
        cluster.run("rbd", &["image-meta", "remove", &image, "_glancefs_extents"]);
        let url = if snapshot {
            url
        } else {
            cluster.run("rbd", &["snap", "unprotect", &format!("{image}@snap")]);
            cluster.run("rbd", &["snap", "rm", &format!("{image}@snap")]);
            format!("rbd://{id}")
        };
        let reader = store.open(&url).unwrap();
        assert!(reader.read_at(MIB, &mut [0; 100]).is_ok());
        if snapshot {
            remove_by_hand(cluster, &id);
        } else {
            cluster.run("rbd", &["rm", &image]);
        }
        assert!(is_unavailable(reader.read_at(0, &mut [0; 100])), "{snapshot}");
        assert!(is_unavailable(reader.next_data(0)));
    }
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_removed_clone_does_not_show_what_it_was_cloned_from() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (parent, _) = put(&store, &pattern(2 * MIB as usize, 4));
    let id = ImageId::random();
    let image = format!("images/{id}");
    cluster.run("rbd", &["clone", &format!("images/{parent}@snap"), &image]);
    cluster.run(
        "rbd",
        &["bench", "--io-type", "write", "--io-size", "1M", "--io-total", "2M", &image],
    );
    cluster.run("rbd", &["snap", "create", &format!("{image}@snap")]);
    cluster.run("rbd", &["snap", "protect", &format!("{image}@snap")]);
    let reader = store.open(&format!("rbd://{}/images/{id}/snap", store.fsid().unwrap())).unwrap();
    let mut before = vec![0; MIB as usize];
    reader.read_at(0, &mut before).unwrap();
    assert!(before != pattern(2 * MIB as usize, 4)[..MIB as usize]);
    remove_by_hand(cluster, &id);
    assert!(is_unavailable(reader.read_at(0, &mut before)));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn readers_of_an_image_that_we_remove_get_an_error() {
    let store = Cluster::shared().store();
    let (_, url) = put(&store, &pattern(MIB as usize, 5));
    let reader = store.open(&url).unwrap();
    store.delete(&url).unwrap();
    assert!(is_unavailable(reader.read_at(0, &mut [0; 10])));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_upload_that_is_given_up_leaves_nothing() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    writer.write_at(0, &pattern(5 * MIB as usize, 6)).unwrap();
    assert!(cluster.lists(id.as_str()));
    drop(writer);
    assert!(!cluster.lists(id.as_str()));
    store.discard(id).unwrap();
}

#[test]
#[ignore = "needs Ceph's packages"]
fn discarding_removes_finished_data_too() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 7));
    store.discard(id).unwrap();
    assert!(!cluster.lists(id.as_str()));
    assert!(is_not_found(store.open(&url)));
}

/// Names the image that a process of its own begins to upload, and never finishes.
const UPLOAD: &str = "GLANCEFS_TEST_RBD_UPLOAD";

/// Not a test: what [`an_upload_whose_daemon_was_killed_can_be_discarded`] starts.
#[test]
#[ignore = "part of another test"]
fn upload_until_killed() {
    let Ok(upload) = std::env::var(UPLOAD) else { return };
    let (conf, id) = upload.split_once('=').unwrap();
    let options = glancefs::store::rbd::RbdOptions {
        conf: Some(conf.into()),
        user: Some("glance".into()),
        chunk_mib: 1,
        ..Default::default()
    };
    let store = RbdStore::open("ceph", options).unwrap();
    let mut writer = store.create(id.parse().unwrap(), None).unwrap();
    writer.write_at(0, &pattern(9 * MIB as usize, 8)).unwrap();
    writer.sync().unwrap();
    println!("\nwritten");
    thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_upload_whose_daemon_was_killed_can_be_discarded() {
    use std::io::BufRead as _;

    let cluster = Cluster::shared();
    let id = ImageId::random();
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "--exact", "removal::upload_until_killed"])
        .env(UPLOAD, format!("{}={id}", cluster.conf().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(daemon.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "written"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(cluster.lists(id.as_str()));
    // Its watch, and its lock, outlive it.
    assert!(is_in_use(cluster.store().discard(id)));
    discard_in_the_end(&cluster.store(), id);
    assert!(!cluster.lists(id.as_str()));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn what_a_killed_removal_left_is_removed() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    // The header goes before the name.
    let internal = internal_id(cluster, id);
    cluster.run("rados", &["-p", "images", "rm", &format!("rbd_header.{internal}")]);
    assert!(cluster.lists(id.as_str()));
    store.delete(&url).unwrap();
    assert!(!cluster.lists(id.as_str()));
    assert!(matches!(store.delete(&url), Err(Error::NotFound(_))));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_snapshot_that_was_cut_short_does_not_keep_an_upload_from_being_discarded() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, _) = put(&store, &pattern(MIB as usize, 1));
    // The snapshot is in the header before there is a map of its objects.
    let internal = internal_id(cluster, id);
    let map = format!("rbd_object_map.{internal}.");
    cluster.run("rbd", &["snap", "unprotect", &format!("images/{id}@snap")]);
    let objects = cluster.run("rados", &["-p", "images", "ls"]);
    let map = objects.lines().find(|name| name.starts_with(&map)).expect(&objects);
    cluster.run("rados", &["-p", "images", "rm", map]);
    store.discard(id).unwrap();
    assert!(!cluster.lists(id.as_str()));
}

/// What Ceph calls an image in the names of its objects.
fn internal_id(cluster: &Cluster, id: ImageId) -> String {
    let info = cluster.run("rbd", &["info", &format!("images/{id}")]);
    info.lines().find_map(|line| line.trim().strip_prefix("id: ")).unwrap().to_owned()
}

/// Names of what is in the pool's trash.
fn in_trash(cluster: &Cluster) -> String {
    cluster.run("rbd", &["trash", "ls", "images"])
}

/// What purging the trash says of one image.
fn purged(store: &RbdStore, id: ImageId, age: u64, ours: bool) -> Option<Result<()>> {
    let is_ours = |other: ImageId| Ok(ours && other == id);
    let purged = store.purge_trash(Duration::from_secs(age), &is_ours).unwrap();
    purged.into_iter().find(|purged| purged.id == id).map(|purged| purged.outcome)
}

#[test]
#[ignore = "needs Ceph's packages"]
fn what_went_to_the_trash_is_purged_when_no_clone_needs_it() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, url) = put(&store, &pattern(MIB as usize, 1));
    let backup = format!("images/{id}@backup");
    let volume = format!("images/volume-{id}");
    cluster.run("rbd", &["snap", "create", &backup]);
    cluster.run("rbd", &["snap", "protect", &backup]);
    cluster.run("rbd", &["clone", &backup, &volume]);
    store.delete(&url).unwrap();
    assert!(in_trash(cluster).contains(id.as_str()));
    assert!(purged(&store, id, 3600, true).is_none(), "not long enough");
    assert!(purged(&store, id, 0, false).is_none(), "not the catalog's");
    let refused = purged(&store, id, 0, true).unwrap().unwrap_err();
    assert!(matches!(&refused, Error::InUse(why) if why.contains("clones")), "{refused}");
    assert!(in_trash(cluster).contains(id.as_str()));
    cluster.run("rbd", &["flatten", &volume]);
    purged(&store, id, 0, true).unwrap().unwrap();
    assert!(!in_trash(cluster).contains(id.as_str()));
    assert!(purged(&store, id, 0, true).is_none());
}

#[test]
#[ignore = "needs Ceph's packages"]
fn what_others_moved_to_the_trash_stays_there() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    // By hand, under the id of an image.
    let (by_hand, _) = put(&store, &pattern(MIB as usize, 1));
    cluster.run("rbd", &["trash", "mv", &format!("images/{by_hand}")]);
    assert!(purged(&store, by_hand, 0, true).is_none());
    assert!(in_trash(cluster).contains(by_hand.as_str()));
    // By glancefs; and then brought back by somebody, who threw it away himself, much later.
    let (back, url) = put(&store, &pattern(MIB as usize, 1));
    cluster.run("rbd", &["snap", "create", &format!("images/{back}@backup")]);
    store.delete(&url).unwrap();
    let entries = cluster.rbd_json(&["trash", "ls", "images"]);
    let entry = entries.as_array().unwrap().iter().find(|entry| entry["name"] == back.as_str());
    let internal = entry.unwrap()["id"].as_str().unwrap().to_owned();
    cluster.run("rbd", &["trash", "restore", "-p", "images", &internal]);
    let image = format!("images/{back}");
    cluster.run("rbd", &["image-meta", "set", &image, "_glancefs_moved_to_trash", "1000000000"]);
    cluster.run("rbd", &["trash", "mv", &image]);
    assert!(purged(&store, back, 0, true).is_none());
    assert!(in_trash(cluster).contains(back.as_str()));
}
