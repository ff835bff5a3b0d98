//! Uploads of a controller that does not come back, and of one that is only slow.

use serde_json::json;

use crate::harness::{Glancefs, Running, eventually};
use crate::{Site, api};

/// Sends `data` to an image, two megabytes a second.
fn slow_upload(node: &Glancefs, id: &str) -> Running {
    node.spawn(&format!(
        "curl -sS --fail --limit-rate 2M -X PUT -T data -H 'Expect:' \
         -H 'Content-Type: application/octet-stream' http://{}/v2/images/{id}/file",
        node.api.unwrap()
    ))
}

#[test]
#[ignore = "needs Ceph and MariaDB; scripts/test runs it"]
fn uploads_of_one_that_does_not_come_back_are_given_up_and_slow_ones_are_not() {
    let mut site = Site::with(|start, _| {
        // The watch of the dead one is forgotten after five seconds, too.
        start.more_config("[glancefs]\ngive_up_uploads_after = 6\n")
    });
    let fields = json!({"name": "a", "disk_format": "raw", "container_format": "bare"});
    let [lost, slow] = [(); 2].map(|()| api(&site.hades).record(&fields));
    site.zeus.noise("data", 30 << 20);
    site.hades.noise("data", 30 << 20);
    let broken_off = slow_upload(&site.zeus, &lost);
    let goes_on = slow_upload(&site.hades, &slow);
    let written = site.zeus.spawn("exec 3>$M/file; cat data >&3; echo written; sleep 600");
    eventually("a file is being written", || written.printed().contains("written"));
    eventually("all are under way", || site.pool().len() == 3);
    site.zeus.kill();
    assert!(!broken_off.wait().ok());
    let status = |id: &str| api(&site.hades).show(id)["status"].clone();
    eventually("it is given up", || status(&lost) == "queued");
    eventually("and the file", || {
        site.hades.records().iter().all(|record| record.id == slow || record.status == "queued")
    });
    let slow_one = goes_on.wait();
    assert!(slow_one.ok(), "{slow_one:?}");
    site.hades.sh(&format!("cmp data $M/.by-id/{slow}"));
    assert_eq!(site.pool(), [slow]);
    let again = slow_upload(&site.hades, &lost).wait();
    assert!(again.ok(), "{again:?}");
    // It comes back after all: what has been done since is left alone.
    site.zeus.start_again();
    eventually("nothing is in progress", || {
        std::fs::read_dir(site.zeus.state_dir().join("journal")).unwrap().count() == 0
    });
    eventually("it is shown", || site.zeus.try_sh(&format!("test -f $M/.by-id/{lost}")).ok());
    site.hades.sh(&format!("cmp data $M/.by-id/{lost}"));
}
