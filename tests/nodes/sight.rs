//! What one controller does is seen at the other, by its API at once and in its directory within a
//! second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Start, eventually};
use crate::{Site, api};

/// Waits for something to be seen at the other controller, and remembers what took longest.
struct Watch {
    longest: Cell<Duration>,
}

impl Watch {
    #[track_caller]
    fn sees(&self, what: &str, condition: impl Fn() -> bool) {
        let since = Instant::now();
        eventually(what, condition);
        self.longest.set(self.longest.get().max(since.elapsed()));
    }
}

#[test]
#[ignore = "needs Ceph and MariaDB; scripts/test runs it"]
fn each_sees_what_the_other_does() {
    let site = Site::start();
    let watch = Watch { longest: Cell::default() };
    for (one, other) in [(&site.zeus, &site.hades), (&site.hades, &site.zeus)] {
        let (mine, theirs) = (api(one), api(other));
        let data = one.noise("data", 3_000_001);
        let fields = json!({
            "name": "made", "disk_format": "raw", "container_format": "bare", "visibility": "private",
        });
        assert_eq!(other.sh("ls $M"), "");
        let id = mine.create(&fields, &data);
        assert_eq!(theirs.show(&id), mine.show(&id));
        watch.sees("made", || other.sh("ls $M") == "made\n");
        other.sh(&format!("cmp {} $M/made", data.display()));
        mine.patch(&id, &json!([{"op": "replace", "path": "/name", "value": "renamed"}]));
        assert_eq!(theirs.show(&id)["name"], "renamed");
        watch.sees("renamed", || other.sh("ls $M") == "renamed\n");
        let mode = || other.sh("stat -c %a $M/renamed");
        assert_eq!(mode(), "640\n");
        mine.patch(&id, &json!([{"op": "replace", "path": "/visibility", "value": "public"}]));
        watch.sees("public", || mode() == "644\n");
        mine.patch(&id, &json!([{"op": "add", "path": "/os_distro", "value": "debian"}]));
        let distro = "getfattr --only-values -n user.glance.property.os_distro $M/renamed";
        watch.sees("described", || other.try_sh(distro).stdout == "debian");
        one.sh("setfattr -n user.glance.property.os_distro -v alpine $M/renamed");
        assert_eq!(theirs.show(&id)["os_distro"], "alpine");
        watch.sees("described again", || other.try_sh(distro).stdout == "alpine");
        one.sh("mv $M/renamed $M/moved");
        watch.sees("moved", || other.sh("ls $M") == "moved\n");
        one.sh("cp data $M/copied");
        watch.sees("copied", || other.sh("ls $M") == "copied\nmoved\n");
        other.sh(&format!("cmp {} $M/copied", data.display()));
        mine.delete(&id);
        watch.sees("deleted", || other.sh("ls $M") == "copied\n");
        one.sh("rm $M/copied");
        watch.sees("removed", || other.sh("ls $M").is_empty());
        assert_eq!(theirs.list(), [json!(null); 0]);
        assert_eq!(site.pool(), [""; 0]);
    }
    println!("at the latest after {:?}", watch.longest.get());
}

#[test]
#[ignore = "needs Ceph and MariaDB; scripts/test runs it"]
fn an_image_that_is_shared_comes_and_goes_at_the_other() {
    let consumer = |start: Start, name: &str| match name {
        "hades" => start.project("consumer"),
        _ => start,
    };
    let site = Site::with(consumer);
    let (mine, theirs) = (api(&site.zeus), api(&site.hades));
    let data = site.zeus.noise("data", 100_003);
    let fields = json!({
        "name": "shared", "disk_format": "raw", "container_format": "bare", "visibility": "shared",
        "owner": "producer",
    });
    let id = mine.create(&fields, &data);
    assert_eq!(site.hades.sh("ls $M"), "");
    let members = format!("/v2/images/{id}/members");
    for _ in 0..2 {
        mine.post(&members, &json!({"member": "consumer"}));
        assert_eq!(theirs.get(&members)["members"][0]["status"], "pending");
        theirs.put(&format!("{members}/consumer"), &json!({"status": "accepted"}));
        assert_eq!(mine.get(&members)["members"][0]["status"], "accepted");
        eventually("it is listed", || site.hades.sh("ls $M") == "shared\n");
        site.hades.sh(&format!("cmp {} $M/shared", data.display()));
        mine.remove(&format!("{members}/consumer"));
        eventually("it is listed no more", || site.hades.sh("ls $M").is_empty());
    }
}
