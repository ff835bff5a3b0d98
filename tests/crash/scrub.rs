//! Scrubbing that is cut short: a deleted image waits as before, or what is left of it goes.

use crate::harness::{Glancefs, Start, eventually};
use crate::{KEPT, assert_nothing_else, names_in, recovery_dies};

const BY_HAND: &str = "[DEFAULT]\ndelayed_delete = true\n";
const AT_ONCE: &str = "[DEFAULT]\ndelayed_delete = true\nscrub_time = 0\nwakeup_time = 1\n";

/// A deleted image that waits, beside a complete one; the daemon has ended.  Returns its id.
fn with_a_deleted_image() -> (Glancefs, String) {
    let glancefs = Start::default().with_api().config(BY_HAND).mount();
    for name in [KEPT, "old.raw"] {
        glancefs.noise(name, 2 << 20);
        glancefs.sh(&format!("cp {name} $M/"));
    }
    let id = glancefs.image("old.raw").id;
    glancefs.sh("rm $M/old.raw");
    assert!(glancefs.is_pending(&id));
    let mut glancefs = glancefs;
    assert!(glancefs.terminate().success());
    (glancefs, id)
}

#[test]
fn dying_before_the_record_says_so_leaves_an_image_that_can_be_brought_back() {
    let (mut glancefs, id) = with_a_deleted_image();
    glancefs.configure(AT_ONCE);
    recovery_dies(&glancefs, "withdrawn");
    assert!(glancefs.is_pending(&id) && glancefs.has_data(&id));
    glancefs.configure(BY_HAND);
    glancefs.start_again();
    assert_eq!(names_in(&glancefs, "journal"), [""; 0]);
    glancefs.scrub(&format!("--restore {id}"));
    glancefs.assert_same("old.raw", "old.raw", "raw");
}

#[test]
fn dying_at_any_step_leaves_what_the_next_start_finishes() {
    for step in ["withdrawn", "record-deleted", "data-deleted"] {
        let (mut glancefs, id) = with_a_deleted_image();
        glancefs.configure(AT_ONCE);
        recovery_dies(&glancefs, step);
        assert_eq!(glancefs.has_data(&id), step != "data-deleted", "{step}");
        glancefs.start_again();
        eventually("it is scrubbed", || glancefs.is_scrubbed(&id) && !glancefs.has_data(&id));
        eventually("nothing is left to do", || glancefs.has_an_empty_journal());
        assert_nothing_else(&glancefs);
    }
}

#[test]
fn a_command_that_dies_leaves_what_the_next_one_finishes() {
    let (glancefs, id) = with_a_deleted_image();
    let dies = |step: &str| {
        let script = format!(
            "GLANCEFS_CRASH_AT={step} {} scrub --once --state-dir {} --config-file {}",
            env!("CARGO_BIN_EXE_glancefs"),
            glancefs.state_dir().display(),
            glancefs.directory().join("glance-api.conf").display()
        );
        assert!(!glancefs.try_sh(&script).ok());
    };
    dies("record-deleted");
    assert!(glancefs.is_scrubbed(&id) && glancefs.has_data(&id));
    dies("discarded");
    assert!(glancefs.scrub("--once").contains("0 scrubbed"));
    assert!(!glancefs.has_data(&id) && glancefs.has_an_empty_journal());
}
