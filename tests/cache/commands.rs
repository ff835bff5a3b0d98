//! `glancefs cache`.

use std::fs;

use crate::harness::{Cluster, Glancefs, Start, eventually, skipped_on_rbd};
use crate::{MIB, add, cache, cached, file_of, list, mount_with_cache};

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn images_are_prefetched_listed_and_evicted() {
    let cluster = Cluster::start("memstore");
    let glancefs = mount_with_cache(&cluster, 1 << 30);
    let [a, b] = ["a.raw", "b.raw"].map(|name| add(&glancefs, name, 5 * MIB));
    add(&glancefs, "twin.raw", MIB);
    glancefs.sh(&format!(
        "curl -sSf -X POST -H 'Content-Type: application/json' \
         -d '{{\"name\": \"twin.raw\"}}' http://{}/v2/images",
        glancefs.api.unwrap()
    ));
    let done = cache(&glancefs, &["prefetch", &a, "b.raw", "nothing", "twin.raw"]);
    assert_eq!(done.status.code(), Some(1));
    for part in [
        format!("cached  {a}  a.raw"),
        format!("cached  {b}  b.raw"),
        "failed  nothing: no image has this id or name".to_string(),
        "failed  twin.raw: several images have this name".to_string(),
    ] {
        assert!(done.stdout.contains(&part), "{part} in {}", done.stdout);
    }
    assert!(done.stderr.contains("2 could not be cached"), "{done:?}");
    assert!(cache(&glancefs, &["prefetch", &a]).ok(), "it is there already");
    assert_eq!(cached(&glancefs), [b.clone(), a.clone()]);
    let shown = cache(&glancefs, &["list"]).stdout;
    assert!(shown.contains(&a) && shown.contains("b.raw") && shown.contains("2 cached"), "{shown}");
    let state = glancefs.state_dir().display().to_string();
    let status =
        glancefs.sh(&format!("{} status --state-dir {state}", env!("CARGO_BIN_EXE_glancefs")));
    assert!(status.contains("on disk  2 images"), "{status}");

    let done = cache(&glancefs, &["evict", &a]);
    assert!(done.ok() && !file_of(&glancefs, &a).exists(), "{done:?}");
    let again = cache(&glancefs, &["evict", &a, "nonsense"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.stdout.contains("it is not cached"), "{again:?}");
    assert_eq!(cached(&glancefs), [b]);
    assert!(cache(&glancefs, &["evict", "--all"]).stdout.contains("1 evicted"));
    assert!(cached(&glancefs).is_empty());
    assert!(cache(&glancefs, &["list"]).stdout.contains("0 cached"));
    assert_eq!(list(&glancefs)["limit"], 1 << 30);
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_fill_that_is_evicted_stops_and_one_that_is_cut_short_leaves_nothing() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_with_cache(&cluster, 1 << 30);
    let id = add(&glancefs, "a.raw", 64 * MIB);
    let prefetch = |glancefs: &Glancefs| {
        // So that it takes as long as the test needs.
        cluster.act("pause-osd");
        let state = glancefs.state_dir().display().to_string();
        let program = env!("CARGO_BIN_EXE_glancefs");
        let running =
            glancefs.spawn(&format!("{program} cache prefetch a.raw --state-dir {state}"));
        eventually("it is being copied", || !list(glancefs)["filling"].is_null());
        running
    };
    let running = prefetch(&glancefs);
    let evicted = cache(&glancefs, &["evict", "--all"]);
    cluster.act("resume-osd");
    let done = running.wait();
    assert!(evicted.ok() && done.stdout.contains("meanwhile"), "{evicted:?} {done:?}");
    assert!(cached(&glancefs).is_empty());

    let running = prefetch(&glancefs);
    glancefs.kill();
    cluster.act("resume-osd");
    assert!(!running.wait().ok());
    fs::write(file_of(&glancefs, &format!(".tmp-{id}")), "a part").unwrap();
    glancefs.start_again();
    eventually("the part is gone", || !glancefs.sh("ls -A ../cache/glancefs").contains(".tmp"));
    assert!(cache(&glancefs, &["prefetch", "a.raw"]).ok());
    assert_eq!(cached(&glancefs), [id]);
}

#[test]
fn without_a_daemon_or_a_cache_it_says_so() {
    let mut glancefs = Start::default().mount();
    let done = cache(&glancefs, &["list"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("image_cache_dir is not set"), "{done:?}");
    let done = cache(&glancefs, &["evict"]);
    assert_eq!(done.status.code(), Some(2), "neither ids nor --all: {done:?}");
    assert!(glancefs.terminate().success());
    for arguments in [&["list"][..], &["prefetch", "a"], &["evict", "--all"]] {
        let done = cache(&glancefs, arguments);
        assert_eq!(done.status.code(), Some(1));
        assert!(done.stderr.contains("no glancefs is running"), "{done:?}");
    }
}

#[test]
fn a_mount_of_local_files_needs_no_cache_directory() {
    if skipped_on_rbd("it is about local files") {
        return;
    }
    let text = "[DEFAULT]\nimage_cache_dir = /proc/none\n";
    let glancefs = Start::default().config(text).mount();
    glancefs.noise("a.raw", 100_000);
    glancefs.sh("cp a.raw $M/ && cmp a.raw $M/a.raw");
}
