//! What is written is read back, and looks as Glance's own does.

use std::sync::Arc;

use glancefs::store::ImageWriter;
use glancefs::store::rbd::{RbdOptions, RbdStore};
use proptest::prelude::*;

use super::*;
use crate::harness::Cluster;

#[test]
#[ignore = "needs Ceph's packages"]
fn what_is_written_is_read_back() {
    let store = Cluster::shared().store();
    for length in [0, 1, 65_536, 5 * MIB as usize + 3, 21 * MIB as usize] {
        let data = pattern(length, 1);
        let (id, url) = put(&store, &data);
        let reader = store.open(&url).unwrap();
        assert_eq!(reader.size(), length as u64);
        assert!(read_all(reader.as_ref()).unwrap() == data, "{length}");
        // Beyond the end there is nothing; across it, the rest.
        assert_eq!(reader.read_at(length as u64, &mut [1]).unwrap(), 0);
        assert_eq!(reader.read_at(u64::MAX, &mut [1]).unwrap(), 0);
        if length > 10 {
            let mut end = [0; 10];
            assert_eq!(reader.read_at(length as u64 - 4, &mut end).unwrap(), 4);
            assert_eq!(end[..4], data[length - 4..]);
        }
        assert!(matches!(store.create(id, None), Err(Error::Conflict(_))));
    }
}

#[test]
#[ignore = "needs Ceph's packages"]
fn writes_may_come_in_any_order_and_be_read_meanwhile() {
    let store = Cluster::shared().store();
    let data = pattern(9 * MIB as usize + 77, 2);
    let mut writer = store.create(ImageId::random(), None).unwrap();
    let piece = 300_000;
    let mut starts: Vec<usize> = (0..data.len()).step_by(piece).collect();
    starts.reverse();
    starts.swap(1, 20);
    for start in starts {
        let end = data.len().min(start + piece);
        writer.write_at(start as u64, &data[start..end]).unwrap();
    }
    let mut read = vec![0; 70_000];
    assert_eq!(writer.read_at(4_000_000, &mut read).unwrap(), 70_000);
    assert!(read == data[4_000_000..4_070_000]);
    // The last to write wins, however close.
    for round in 0..20_u8 {
        writer.write_at(5_000_000, &vec![round; 2 * MIB as usize]).unwrap();
    }
    writer.sync().unwrap();
    let url = writer.finish().unwrap();
    let mut expected = data;
    expected[5_000_000..5_000_000 + 2 * MIB as usize].fill(19);
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == expected);
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_image_looks_as_glance_makes_it() {
    let cluster = Cluster::shared();
    let options = RbdOptions { chunk_mib: 8, ..cluster.options() };
    let store = RbdStore::open("ceph", options).unwrap();
    let (id, url) = put(&store, &pattern(9_000_001, 3));
    let fsid = cluster.run("ceph", &["fsid"]);
    assert_eq!(url, format!("rbd://{}/images/{id}/snap", fsid.trim()));
    assert!(store.owns(&url));
    assert!(store.owns(&format!("rbd://{id}")), "the old kind");
    for other in
        [url.replace("images", "volumes"), url.replace(fsid.trim(), ImageId::random().as_str())]
    {
        assert!(!store.owns(&other), "{other}");
        assert!(is_not_found(store.open(&other)));
    }

    let image = format!("images/{id}");
    let info = cluster.rbd_json(&["info", &image]);
    assert_eq!(info["order"], 23, "{info}");
    assert_eq!(info["size"], 9_000_001);
    assert_eq!(info["format"], 2);
    // Ceph's own default, as Glance asks for it (`interop` compares with the real Glance).
    let features = ["layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"];
    assert_eq!(info["features"], serde_json::json!(features), "{info}");
    let snapshots = cluster.rbd_json(&["snap", "ls", &image]);
    assert_eq!(snapshots.as_array().unwrap().len(), 1, "{snapshots}");
    assert_eq!(snapshots[0]["name"], "snap");
    assert_eq!(snapshots[0]["protected"], "true");
    assert_eq!(snapshots[0]["size"], 9_000_001);
    assert_eq!(cluster.rbd_json(&["status", &image])["watchers"], serde_json::json!([]));

    // The old kind of location reads the same.
    let reader = store.open(&format!("rbd://{id}")).unwrap();
    assert_eq!(reader.size(), 9_000_001);
    // Readers leave no trace either.
    assert_eq!(cluster.rbd_json(&["status", &image])["watchers"], serde_json::json!([]));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn features_are_those_of_the_configuration() {
    let cluster = Cluster::shared();
    // Of this name: the default keyring's name depends on it.
    let conf = cluster.directory().join("crash/ceph.conf");
    let text = std::fs::read_to_string(cluster.conf()).unwrap();
    std::fs::write(&conf, format!("{text}\n[client.glance]\nrbd_default_features = 1\n")).unwrap();
    let options = RbdOptions { conf: Some(conf), ..cluster.options() };
    let store = RbdStore::open("ceph", options).unwrap();
    let (id, url) = put(&store, &pattern(3 * MIB as usize, 4));
    let features = |id| cluster.rbd_json(&["info", &format!("images/{id}")])["features"].clone();
    assert_eq!(features(id), serde_json::json!(["layering"]));
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == pattern(3 * MIB as usize, 4));

    // As the monitors keep it for every client of this name.
    cluster.add_user("central", &["mon", "profile rbd", "osd", "profile rbd"]);
    for (value, expected) in
        [("layering,exclusive-lock", vec!["layering", "exclusive-lock"]), ("0", vec!["layering"])]
    {
        cluster.run("ceph", &["config", "set", "client.central", "rbd_default_features", value]);
        let options = RbdOptions { user: Some("central".into()), ..cluster.options() };
        let (id, _) = put(&RbdStore::open("ceph", options).unwrap(), &pattern(4096, 4));
        assert_eq!(features(id), serde_json::json!(expected), "{value}");
    }
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_image_grows_as_it_must_and_is_trimmed() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let id = ImageId::random();
    let mut writer = store.create(id, None).unwrap();
    let size = || cluster.rbd_json(&["info", &format!("images/{id}")])["size"].as_u64().unwrap();
    assert_eq!(size(), 0);
    let mut sizes = Vec::new();
    let block = pattern(256 * KIB as usize, 5);
    for at in 0..40 {
        writer.write_at(at * 256 * KIB, &block).unwrap();
        sizes.push(size());
    }
    sizes.dedup();
    assert_eq!(sizes, [MIB, 3 * MIB, 7 * MIB, 15 * MIB], "by twice as much each time");
    writer.write_at(10 * MIB, b"end").unwrap();
    let url = writer.finish().unwrap();
    assert_eq!(size(), 10 * MIB + 3);
    let reader = store.open(&url).unwrap();
    let data = read_all(reader.as_ref()).unwrap();
    assert!(data.chunks(block.len()).take(40).all(|chunk| chunk == block));
    assert!(data.ends_with(b"end"));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn zeros_take_no_room_when_thin_and_holes_are_known() {
    let cluster = Cluster::shared();
    for thin in [false, true] {
        let options = RbdOptions { thin_provisioning: thin, ..cluster.options() };
        let store = RbdStore::open("ceph", options).unwrap();
        let id = ImageId::random();
        let mut writer = store.create(id, Some(64 * MIB)).unwrap();
        let mut data = vec![0; 8 * MIB as usize];
        data[300_000] = 1;
        data[5_000_000..5_100_000].fill(2);
        writer.write_at(16 * MIB, &data).unwrap();
        // Zeros over data are data.
        writer.write_at(16 * MIB + 5_000_000, &[0; 10]).unwrap();
        data[5_000_000..5_000_010].fill(0);
        // What was never written is a hole, to 4 KiB.
        writer.write_at(40 * MIB + 5000, b"lone").unwrap();
        let lone = (40 * MIB + 4 * KIB, 40 * MIB + 8 * KIB);
        writer.set_len(64 * MIB).unwrap();
        let url = writer.finish().unwrap();
        let reader = store.open(&url).unwrap();
        let found = extents(&reader);
        let granules = |from: u64, to: u64| {
            (16 * MIB + from / (64 * KIB) * 64 * KIB, 16 * MIB + to.next_multiple_of(64 * KIB))
        };
        if thin {
            assert_eq!(found, [granules(300_000, 300_001), granules(5_000_000, 5_100_000), lone]);
            assert_eq!(objects(cluster, &id), 3);
        } else {
            assert_eq!(found, [(16 * MIB, 24 * MIB), lone]);
            assert_eq!(objects(cluster, &id), 9);
        }
        let bytes: u64 = found.iter().map(|(start, end)| end - start).sum();
        assert_eq!(store.allocated(&url), Some(bytes));
        // Another node reads the same from the record.
        let other = cluster.store();
        assert_eq!(other.allocated(&url), None, "not known without asking");
        assert_eq!(extents(&other.open(&url).unwrap()), found);
        assert_eq!(other.allocated(&url), Some(bytes));
        let all = read_all(reader.as_ref()).unwrap();
        assert!(all[16 * MIB as usize..24 * MIB as usize] == data);
        assert!(all[..16 * MIB as usize].iter().all(|byte| *byte == 0));
    }
}

/// How many data objects an image has.
fn objects(cluster: &Cluster, id: &ImageId) -> usize {
    let info = cluster.rbd_json(&["info", &format!("images/{id}")]);
    let prefix = info["block_name_prefix"].as_str().unwrap();
    let all = cluster.run("rados", &["-p", "images", "ls"]);
    all.lines().filter(|object| object.starts_with(prefix)).count()
}

#[test]
#[ignore = "needs Ceph's packages"]
fn images_of_others_are_read_with_their_holes() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let file = cluster.directory().join("sparse.img");
    let data = pattern(2 * MIB as usize, 6);
    {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(&file).unwrap();
        file.set_len(100 * MIB).unwrap();
        file.write_all_at(&data, 40 * MIB).unwrap();
    }
    let id = ImageId::random();
    let image = format!("images/{id}");
    cluster.run("rbd", &["import", file.to_str().unwrap(), &image]);
    let head = store.open(&format!("rbd://{id}")).unwrap();
    assert_eq!(extents(&head), [(40 * MIB, 42 * MIB)], "without a snapshot");
    cluster.run("rbd", &["snap", "create", &format!("{image}@snap")]);
    let url = format!("rbd://{}/images/{id}/snap", store.fsid().unwrap());
    let reader = cluster.store().open(&url).unwrap();
    assert_eq!(reader.size(), 100 * MIB);
    let found = extents(&reader);
    // Ceph tells whole objects up to the last byte.
    assert!(
        found.first().unwrap().0 >= 40 * MIB && found.last().unwrap().1 <= 44 * MIB,
        "{found:?}"
    );
    let all = read_all(reader.as_ref()).unwrap();
    assert!(all[40 * MIB as usize..42 * MIB as usize] == data);
    assert!(all[42 * MIB as usize..].iter().all(|byte| *byte == 0));
}

#[test]
#[ignore = "needs Ceph's packages"]
fn a_clones_copy_of_the_record_is_not_believed() {
    let cluster = Cluster::shared();
    let store = cluster.store();
    let (id, _) = put(&store, &pattern(MIB as usize, 7));
    let copy = ImageId::random();
    let copied = format!("images/{copy}");
    cluster.run("rbd", &["clone", &format!("images/{id}@snap"), &copied]);
    cluster.run("rbd", &["flatten", &copied]);
    cluster.run("rbd", &["resize", "--size", "3M", &copied]);
    let metadata = cluster.run("rbd", &["image-meta", "list", &copied]);
    assert!(metadata.contains("_glancefs_extents"), "Ceph copies it: {metadata}");
    cluster.run(
        "rbd",
        &[
            "bench",
            "--io-type",
            "write",
            "--io-size",
            "1M",
            "--io-total",
            "3M",
            "--io-threads",
            "1",
            &copied,
        ],
    );
    cluster.run("rbd", &["snap", "create", &format!("{copied}@snap")]);
    let url = format!("rbd://{}/images/{copy}/snap", store.fsid().unwrap());
    assert_eq!(extents(&store.open(&url).unwrap()), [(0, 3 * MIB)]);
}

#[test]
#[ignore = "needs Ceph's packages"]
fn many_reads_may_be_under_way() {
    let store = Cluster::shared().store();
    let data = pattern(20 * MIB as usize + 5, 9);
    let (_, url) = put(&store, &data);
    let reader = store.open_reader(&url).unwrap();
    assert!(Arc::ptr_eq(&reader, &store.open_reader(&url).unwrap()), "one handle for all");
    let (sender, receiver) = std::sync::mpsc::channel();
    let piece = 1_000_000;
    let starts: Vec<u64> = (0..data.len() as u64 + piece).step_by(piece as usize).collect();
    for &start in &starts {
        let sender = sender.clone();
        let done = Box::new(move |outcome| sender.send((start, outcome)).unwrap());
        Arc::clone(&reader).start_read(start..start + piece, done);
    }
    drop(reader);
    for _ in &starts {
        let (start, outcome) = receiver.recv().unwrap();
        let end = data.len().min((start + piece) as usize);
        assert!(outcome.unwrap() == data[(start as usize).min(end)..end], "{start}");
    }
}

#[test]
#[ignore = "needs Ceph's packages"]
fn data_may_go_to_a_pool_of_its_own() {
    let cluster = Cluster::shared();
    cluster.run("ceph", &["osd", "pool", "create", "bulk", "8"]);
    cluster.add_user("bulk", &["mon", "profile rbd", "osd", "profile rbd"]);
    let options = RbdOptions {
        user: Some("bulk".into()),
        data_pool: Some("bulk".into()),
        ..cluster.options()
    };
    let store = RbdStore::open("ceph", options).unwrap();
    let (id, url) = put(&store, &pattern(3 * MIB as usize, 10));
    assert_eq!(cluster.rbd_json(&["info", &format!("images/{id}")])["data_pool"], "bulk");
    let objects = || cluster.run("rados", &["-p", "bulk", "ls"]);
    assert_eq!(objects().matches("rbd_data").count(), 3, "{}", objects());
    assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == pattern(3 * MIB as usize, 10));
    store.delete(&url).unwrap();
    assert_eq!(objects().matches("rbd_data").count(), 0, "{}", objects());
}

#[test]
#[ignore = "needs Ceph's packages"]
fn there_is_room() {
    let cluster = Cluster::start_with_manager();
    let store = cluster.store();
    // The manager needs some seconds until it has counted.
    let capacity = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        store.capacity()
    });
    let capacity = capacity.take(200).find_map(Result::ok).unwrap();
    assert!(capacity.total >= capacity.available && capacity.available > 0, "{capacity:?}");
    assert!(capacity.total <= 40 << 30, "{capacity:?}");
}

#[test]
#[ignore = "needs Ceph's packages"]
fn an_end_that_no_image_can_have_is_an_error() {
    let store = Cluster::shared().store();
    let mut writer = store.create(ImageId::random(), None).unwrap();
    for offset in [i64::MAX as u64, u64::MAX] {
        assert!(matches!(writer.write_at(offset, b"xx"), Err(Error::StoreFull(_))));
    }
    assert!(matches!(writer.set_len(u64::MAX), Err(Error::StoreFull(_))));
    assert_eq!(writer.len(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, usize, u8),
    Punch(usize, usize),
    SetLen(usize),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_000_000_usize, 1..1_500_000_usize, 0..2_u8)
            .prop_map(|(start, length, value)| Step::Write(start, length, value)),
        2 => (0..3_000_000_usize, 0..1_500_000_usize)
            .prop_map(|(start, length)| Step::Punch(start, length)),
        1 => (0..5_000_000_usize).prop_map(Step::SetLen),
        1 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 0..12)
}

fn apply(step: &Step, writer: &mut dyn ImageWriter, model: &mut Vec<u8>) {
    match *step {
        Step::Write(start, length, value) => {
            writer.write_at(start as u64, &vec![value; length]).unwrap();
            model.resize(model.len().max(start + length), 0);
            model[start..start + length].fill(value);
        }
        Step::Punch(start, length) => {
            writer.punch(start as u64..(start + length) as u64).unwrap();
            let end = model.len().min(start + length);
            if start < end {
                model[start..end].fill(0);
            }
        }
        Step::SetLen(length) => {
            writer.set_len(length as u64).unwrap();
            model.resize(length, 0);
        }
        Step::Sync => writer.sync().unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    #[ignore = "needs Ceph's packages"]
    fn any_order_of_steps_gives_the_same_bytes(steps in steps(), thin_provisioning: bool) {
        let cluster = Cluster::shared();
        let options = RbdOptions { thin_provisioning, ..cluster.options() };
        let store = RbdStore::open("ceph", options).unwrap();
        let mut writer = store.create(ImageId::random(), None).unwrap();
        let mut model = Vec::new();
        for step in &steps {
            apply(step, writer.as_mut(), &mut model);
        }
        prop_assert_eq!(writer.len(), model.len() as u64);
        let mut outside = model.clone();
        for extent in writer.data_extents(0..u64::MAX).unwrap() {
            outside[extent.start as usize..extent.end as usize].fill(0);
        }
        prop_assert!(outside.iter().all(|byte| *byte == 0), "outside the extents all is zero");
        let url = writer.finish().unwrap();
        prop_assert!(read_all(store.open(&url).unwrap().as_ref()).unwrap() == model);
        store.delete(&url).unwrap();
    }
}
