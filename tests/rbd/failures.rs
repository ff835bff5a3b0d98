//! A cluster that is not there, not there any more, or does not let us.

use std::time::Duration;

use glancefs::store::rbd::{RbdOptions, RbdStore};

use super::*;
use crate::harness::Cluster;

fn words<T>(outcome: Result<T>) -> String {
    match outcome {
        Err(error @ (Error::StoreUnavailable(_) | Error::Config(_))) => error.to_string(),
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
#[ignore = "needs Ceph's packages"]
fn what_is_missing_is_said() {
    let cluster = Cluster::shared();
    let store = |options| RbdStore::open("ceph", options).unwrap();

    let no_pool =
        words(store(RbdOptions { pool: "pictures".into(), ..cluster.options() }).capacity());
    assert!(no_pool.contains("ceph osd pool create pictures"), "{no_pool}");

    let no_key =
        words(store(RbdOptions { user: Some("nobody".into()), ..cluster.options() }).capacity());
    assert!(no_key.contains("client.nobody") && no_key.contains("keyring"), "{no_key}");

    let conf = Some(cluster.directory().join("no.conf"));
    let no_conf = words(RbdStore::open("ceph", RbdOptions { conf, ..cluster.options() }));
    assert!(no_conf.contains("rbd_store_ceph_conf") && no_conf.contains("no.conf"), "{no_conf}");

    // Of this name: the default keyring's name depends on it.
    let conf = cluster.directory().join("run/ceph.conf");
    let text = std::fs::read_to_string(cluster.conf()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("mon_host"));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    std::fs::write(&conf, text.replacen("[global]\n", "[global]\nmon_host = 127.0.0.1:9\n", 1))
        .unwrap();
    let options = RbdOptions {
        conf: Some(conf),
        connect_timeout: Some(Duration::from_secs(1)),
        ..cluster.options()
    };
    let nobody = words(store(options).capacity());
    assert!(nobody.contains("no monitor answered within 1 s"), "{nobody}");
    assert!(nobody.contains("127.0.0.1:9"), "{nobody}");

    let odd = RbdOptions { chunk_mib: 3, ..cluster.options() };
    assert!(words(RbdStore::open("ceph", odd)).contains("rbd_store_chunk_size"));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn users_without_the_right_to_write_are_told_so() {
    let cluster = Cluster::shared();
    cluster.add_user("viewer", &["mon", "allow r", "osd", "allow rx pool=images"]);
    let options = RbdOptions { user: Some("viewer".into()), ..cluster.options() };
    let viewer = RbdStore::open("ceph", options).unwrap();
    let refused = words(viewer.create(ImageId::random(), None));
    assert!(refused.contains("caps"), "{refused}");
    // Reading needs no more.
    let (_, url) = put(&cluster.store(), &pattern(MIB as usize, 1));
    assert!(read_all(viewer.open(&url).unwrap().as_ref()).unwrap() == pattern(MIB as usize, 1));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn the_caps_of_the_rbd_profile_are_enough() {
    let cluster = Cluster::shared();
    cluster.add_user(
        "modern",
        &["mon", "profile rbd", "osd", "profile rbd pool=images", "mgr", "profile rbd pool=images"],
    );
    let options = RbdOptions { user: Some("modern".into()), ..cluster.options() };
    let store = RbdStore::open("ceph", options).unwrap();
    let (id, url) = put(&store, &pattern(2 * MIB as usize, 1));
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == pattern(2 * MIB as usize, 1));
    let volume = format!("images/volume-{id}");
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), &volume]);
    assert!(is_in_use(store.delete(&url)));
    cluster.run("rbd", &["rm", &volume]);
    store.delete(&url).unwrap();
    assert!(!cluster.lists(id.as_str()));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_lost_osd_is_an_error_in_time_and_comes_back() {
    // Not in memory: its data has to survive.
    let cluster = Cluster::start("bluestore");
    let options = RbdOptions { connect_timeout: Some(Duration::from_secs(3)), ..cluster.options() };
    let store = RbdStore::open("ceph", options).unwrap();
    let data = pattern(12 * MIB as usize, 1);
    let (_, url) = put(&store, &data);
    let reader = store.open(&url).unwrap();
    let half = ImageId::random();
    let mut writer = store.create(half, None).unwrap();
    writer.write_at(0, &data).unwrap();

    cluster.act("kill-osd");
    assert!(is_unavailable(reader.read_at(0, &mut [0; 100])));
    assert!(is_unavailable(store.open(&url.replace("/snap", "/other"))));
    assert!(store.owns(&url) && store.allocated(&url).is_some(), "needs nobody");
    let failed = (0..).find_map(|at| writer.write_at(at * 12 * MIB, &data).err());
    assert!(is_unavailable(Err::<(), _>(failed.unwrap())));
    assert!(is_unavailable(writer.sync()), "it stays failed");
    assert!(is_unavailable(writer.finish()));
    assert!(is_unavailable(store.discard(half)), "it cannot be removed now");

    cluster.act("start-osd");
    assert!(read_all(reader.as_ref()).unwrap() == data, "the same handle goes on");
    // The watch of the handle that was lost has to end.
    discard_in_the_end(&store, half);
    assert!(!cluster.lists(half.as_str()));
    let (_, url) = put(&store, &data);
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == data);
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_osd_that_hangs_for_a_moment_only_delays() {
    let cluster = Cluster::start("memstore");
    let store = cluster.store();
    let data = pattern(8 * MIB as usize, 2);
    let mut writer = store.create(ImageId::random(), Some(16 * MIB)).unwrap();
    writer.write_at(0, &data).unwrap();
    cluster.act("pause-osd");
    writer.write_at(8 * MIB, &data).unwrap();
    cluster.act("resume-osd");
    let url = writer.finish().unwrap();
    let all = read_all(store.open(&url).unwrap().as_ref()).unwrap();
    assert!(all[..8 * MIB as usize] == data && all[8 * MIB as usize..] == data);
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_full_cluster_is_an_error_and_leaves_nothing() {
    let cluster = Cluster::start("memstore");
    let store = cluster.store();
    // Ceph removes images by way of the trash, which it could not make any more.
    let (_, url) = put(&store, b"something");
    store.delete(&url).unwrap();
    for (ratio, value) in [("nearfull", "0.008"), ("backfillfull", "0.009"), ("full", "0.01")] {
        cluster.run("ceph", &["osd", &format!("set-{ratio}-ratio"), value]);
    }
    let id = ImageId::random();
    let mut writer = store.create(id, Some(4096 * MIB)).unwrap();
    let data = pattern(8 * MIB as usize, 3);
    let failed = (0..500).find_map(|at| {
        // The OSD looks at its own room about once a second.
        std::thread::sleep(Duration::from_millis(20));
        writer.write_at(at * 8 * MIB, &data).err()
    });
    assert!(matches!(failed, Some(Error::StoreFull(_))), "{failed:?}");
    drop(writer);
    assert!(!cluster.lists(id.as_str()));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_client_that_was_shut_out_connects_anew() {
    let cluster = Cluster::start("memstore");
    let store = cluster.store();
    let data = pattern(4 * MIB as usize, 4);
    let (_, url) = put(&store, &data);
    let old = store.open(&url).unwrap();
    let id = ImageId::random();
    let mut writer = store.create(id, Some(64 * MIB)).unwrap();
    let status = cluster.rbd_json(&["status", &format!("images/{id}")]);
    let address = status["watchers"][0]["address"].as_str().unwrap().to_owned();
    cluster.run("ceph", &["osd", "blocklist", "add", &address]);
    // The client hears of it with the next map.
    let failed =
        (0..1000).find_map(|_| writer.write_at(0, &data).and_then(|()| writer.sync()).err());
    assert!(is_unavailable(Err::<(), _>(failed.unwrap())));
    drop(writer);
    let reader = store.open(&url).unwrap();
    assert!(read_all(reader.as_ref()).unwrap() == data);
    drop(old);
    put(&store, &data);
    discard_in_the_end(&store, id);
    assert!(!cluster.lists(id.as_str()));
}
