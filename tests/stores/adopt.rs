//! Data that is in a store, or in any directory, and in no catalog.

use std::fs;
use std::process::Command;

use crate::harness::{Finished, Glancefs, Running, eventually};
use crate::{directory, names_in, two_stores};

const A_UUID: &str = "0b4ee8d2-55f4-4a6f-9f4a-6d3e0f1c2b3a";

/// Runs `glancefs adopt` with the mount's configuration.
pub(crate) fn adopt(glancefs: &Glancefs, arguments: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.arg("adopt").arg("--state-dir").arg(glancefs.state_dir());
    command.arg("--config-file").arg(directory(glancefs, "glance-api.conf"));
    command.args(arguments).current_dir(glancefs.scratch());
    Running::start(&mut command).wait()
}

#[test]
fn files_of_a_store_are_adopted_where_they_are_while_it_is_mounted() {
    let glancefs = two_stores();
    let slow = directory(&glancefs, "slow");
    glancefs.noise("known.raw", 1 << 20);
    glancefs.sh("cp known.raw $M/");
    glancefs.noise("one", 5 << 20);
    glancefs.sh("qemu-img create -q -f qcow2 two.qcow2 7G");
    fs::copy(glancefs.scratch().join("one"), slow.join(A_UUID)).unwrap();
    fs::copy(glancefs.scratch().join("two.qcow2"), slow.join("two.qcow2")).unwrap();
    let would = adopt(&glancefs, &["--dry-run"]);
    assert!(would.ok() && would.stdout.contains("2 to adopt"), "{would:?}");
    assert_eq!(glancefs.records().len(), 1, "a dry run changes nothing");
    let done = adopt(&glancefs, &[]);
    assert!(done.ok() && done.stdout.contains("2 adopted"), "{done:?}");
    eventually("the mount shows them", || glancefs.sh("ls $M").lines().count() == 3);
    let one = glancefs.assert_same(A_UUID, "one", "raw");
    assert_eq!(one.id, A_UUID);
    assert_eq!(one.locations, [format!("file://{}", slow.join(A_UUID).display())]);
    let two = glancefs.assert_same("two.qcow2", "two.qcow2", "qcow2");
    assert_eq!(two.virtual_size, Some(7 << 30));
    let again = adopt(&glancefs, &[]);
    assert!(again.stdout.contains("0 adopted, 0 left alone"), "{again:?}");
    // It is an image like any other: its data goes with it, whatever it is called.
    glancefs.sh("rm $M/two.qcow2");
    assert_eq!(names_in(&slow), [A_UUID]);
}

#[test]
fn adopted_data_goes_with_its_record_although_a_crash_comes_between() {
    let mut glancefs = two_stores();
    let slow = directory(&glancefs, "slow");
    glancefs.noise("one.raw", 1 << 20);
    fs::copy(glancefs.scratch().join("one.raw"), slow.join("one.raw")).unwrap();
    assert!(adopt(&glancefs, &[]).stdout.contains("1 adopted"));
    assert!(glancefs.terminate().success());
    glancefs.doomed_at("record-deleted");
    glancefs.try_sh("rm $M/one.raw");
    glancefs.wait();
    assert_eq!(names_in(&slow), ["one.raw"]);
    glancefs.restart_clean();
    assert_eq!(names_in(&slow), [""; 0]);
    assert_eq!(names_in(&glancefs.state_dir().join("journal")), [""; 0]);
}

#[test]
fn what_is_not_complete_or_was_deleted_is_left_alone() {
    let glancefs = two_stores();
    let fast = directory(&glancefs, "fast");
    glancefs.noise("old.raw", 1 << 20);
    glancefs.sh("cp old.raw $M/");
    let old = glancefs.image("old.raw").id;
    glancefs.sh("rm $M/old.raw");
    fs::write(fast.join(format!(".tmp-{A_UUID}")), "half").unwrap();
    fs::write(fast.join(&old), "left over").unwrap();
    fs::write(fast.join("empty"), "").unwrap();
    let done = adopt(&glancefs, &["--store", "fast"]);
    assert!(done.ok() && done.stdout.contains("0 adopted, 3 left alone"), "{done:?}");
    assert!(done.stdout.contains("not complete") && done.stdout.contains("was deleted"));
    assert_eq!(glancefs.records().len(), 0);
}

#[test]
fn files_of_a_directory_are_copied_once() {
    let mut glancefs = two_stores();
    let source = directory(&glancefs, "source");
    fs::create_dir(&source).unwrap();
    glancefs.noise("one.raw", 3 << 20);
    glancefs.sh("cp one.raw ../source/; truncate -s 64M hollow.raw");
    glancefs.sh("printf x | dd of=hollow.raw bs=1 seek=33554432 conv=notrunc status=none");
    glancefs.sh("cp hollow.raw ../source/; cp one.raw ../source/two.raw.part");
    let source = source.display().to_string();
    let busy = adopt(&glancefs, &["--directory", &source]);
    assert!(!busy.ok() && busy.stderr.contains("another glancefs"), "{busy:?}");
    assert!(glancefs.terminate().success());
    for (adopted, left) in [(2, 1), (0, 3)] {
        let done = adopt(&glancefs, &["--directory", &source, "--store", "slow"]);
        let expected = format!("{adopted} adopted, {left} left alone, 0 failed");
        assert!(done.ok() && done.stdout.contains(&expected), "{done:?}");
    }
    assert_eq!(names_in(&directory(&glancefs, "source")).len(), 3, "they are still there");
    assert_eq!(names_in(&directory(&glancefs, "slow")).len(), 2);
    glancefs.start_again();
    glancefs.assert_same("one.raw", "one.raw", "raw");
    glancefs.assert_same("hollow.raw", "hollow.raw", "raw");
}

#[test]
fn a_store_that_is_not_configured_is_refused() {
    let glancefs = two_stores();
    let done = adopt(&glancefs, &["--pool", "images"]);
    assert!(!done.ok() && done.stderr.contains("fast ("), "{done:?}");
}
