//! An image is imported once, whoever is asked to.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::harness::{Glancefs, eventually};
use crate::{Site, api};

/// The pool under the name `fast`, and another one as `slow`.
fn two_pools(site: &mut Site) {
    site.cluster.run("ceph", &["osd", "pool", "create", "slow", "1", "1"]);
    site.cluster.run("rbd", &["pool", "init", "slow"]);
    let section = |name: &str, pool: &str| {
        let conf = site.cluster.conf().display().to_string();
        format!(
            "[{name}]\nrbd_store_pool = {pool}\nrbd_store_ceph_conf = {conf}\n\
             rados_connect_timeout = 10\n"
        )
    };
    let text = format!(
        "[DEFAULT]\nenabled_backends = fast:rbd, slow:rbd\n\
         enabled_import_methods = copy-image\n[glance_store]\ndefault_backend = fast\n{}{}",
        section("fast", "images"),
        section("slow", "slow")
    );
    for node in [&mut site.zeus, &mut site.hades] {
        node.configure(&text);
        node.restart();
    }
}

/// Asks a controller to copy an image to the other pool; says how it answered.
fn copy(glancefs: &Glancefs, id: &str) -> u16 {
    let body = json!({"method": {"name": "copy-image"}, "stores": ["slow"]});
    api(glancefs).try_post(&format!("/v2/images/{id}/import"), &body)
}

#[test]
#[ignore = "needs Ceph and MariaDB; scripts/test runs it"]
fn of_two_that_import_an_image_at_once_one_does() {
    let mut site = Site::start();
    two_pools(&mut site);
    let data = site.zeus.noise("data", 2_000_003);
    let fields = json!({"name": "x", "disk_format": "raw", "container_format": "bare"});
    for _ in 0..8 {
        let id = api(&site.zeus).create(&fields, &data);
        let start = Barrier::new(2);
        let ask = |glancefs| {
            start.wait();
            copy(glancefs, &id)
        };
        let mut answers = thread::scope(|scope| {
            let other = scope.spawn(|| ask(&site.hades));
            [ask(&site.zeus), other.join().unwrap()]
        });
        answers.sort_unstable();
        // Who comes when the other is done already is told that it is there.
        let expected = [[202, 409], [202, 400]].map(|mut pair| {
            pair.sort_unstable();
            pair
        });
        assert!(expected.contains(&answers), "{answers:?}");
        let api = api(&site.hades);
        eventually("it is copied", || api.show(&id)["stores"] == "fast,slow");
        eventually("the task lets go", || api.show(&id).get("os_glance_import_task").is_none());
        api.delete(&id);
    }
    eventually("no data is left", || {
        site.pool().is_empty() && site.cluster.run("rbd", &["ls", "slow"]).is_empty()
    });
}
