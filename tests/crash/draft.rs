//! Files that were being written in the mount: they are complete, or as if they had never been.

use crate::harness::eventually;
use crate::{
    Doomed, KEPT, assert_data_of, assert_nothing_else, names_in, recovery_dies,
    with_a_complete_image,
};

/// Dies while a file is copied in; the start after that must leave nothing of it.
#[track_caller]
fn dies_at(step: &str) {
    let mut glancefs = with_a_complete_image();
    glancefs.noise("new.raw", 5 << 20);
    let doomed = Doomed::start(&glancefs, step);
    assert!(!glancefs.try_sh("cp new.raw $M/").ok(), "cp must hear of it");
    doomed.dies();
    glancefs.start_again();
    assert_nothing_else(&glancefs);
    // The name is free, and everything works as before.
    glancefs.sh("cp new.raw $M/");
    glancefs.assert_same("new.raw", "new.raw", "raw");
    glancefs.assert_only(&[KEPT, "new.raw"]);
}

#[test]
fn dying_before_the_record_leaves_nothing() {
    dies_at("journaled");
}

#[test]
fn dying_with_a_record_and_no_data_leaves_nothing() {
    dies_at("record");
}

#[test]
fn dying_half_written_leaves_nothing() {
    dies_at("written");
}

#[test]
fn dying_before_the_data_has_its_name_leaves_nothing() {
    dies_at("sealed");
}

#[test]
fn dying_before_the_record_is_active_leaves_nothing() {
    dies_at("finished");
}

#[test]
fn dying_after_the_record_is_active_leaves_the_whole_image() {
    let mut glancefs = with_a_complete_image();
    glancefs.noise("new.raw", 5 << 20);
    let doomed = Doomed::start(&glancefs, "committed");
    glancefs.try_sh("cp new.raw $M/");
    doomed.dies();
    glancefs.start_again();
    glancefs.assert_same(KEPT, KEPT, "raw");
    glancefs.assert_same("new.raw", "new.raw", "raw");
    glancefs.assert_only(&[KEPT, "new.raw"]);
}

#[test]
fn a_daemon_killed_while_files_are_half_written_leaves_nothing() {
    let mut glancefs = with_a_complete_image();
    glancefs.start_again();
    let writer = glancefs.spawn_python(
        "made = [open(f'{M}/{name}', 'wb', buffering=0) for name in ('a', 'b', 'c')]\n\
         for file in made: file.write(os.urandom(3 << 20))\n\
         os.fsync(made[0].fileno())\n\
         print('half', flush=True)\n\
         time.sleep(60)",
    );
    eventually("half is written", || writer.printed().contains("half"));
    assert_eq!(names_in(&glancefs, "journal").len(), 3);
    glancefs.kill();
    drop(writer);
    glancefs.start_again();
    assert_nothing_else(&glancefs);
}

#[test]
fn a_file_that_is_held_back_goes_with_the_daemon() {
    let mut glancefs = with_a_complete_image();
    glancefs.start_again();
    // Made for reading and writing: its maker may come back, so it is no image yet.
    let maker = glancefs.spawn_python(
        "for _ in range(200):\n\
         \x20   with open(f'{M}/held', 'a+b' if os.path.exists(f'{M}/held') else 'w+b') as file:\n\
         \x20       file.write(b'x' * 4096)\n\
         \x20   print('closed', flush=True)\n\
         \x20   time.sleep(0.1)",
    );
    eventually("it was closed", || maker.printed().contains("closed"));
    glancefs.kill();
    drop(maker);
    glancefs.start_again();
    assert_nothing_else(&glancefs);
}

#[test]
fn dying_twice_while_undoing_changes_nothing() {
    for step in ["written", "finished"] {
        let mut glancefs = with_a_complete_image();
        glancefs.noise("new.raw", 5 << 20);
        let doomed = Doomed::start(&glancefs, step);
        assert!(!glancefs.try_sh("cp new.raw $M/").ok());
        doomed.dies();
        recovery_dies(&glancefs, "discarded");
        recovery_dies(&glancefs, "undone");
        glancefs.start_again();
        assert_nothing_else(&glancefs);
        let kept = glancefs.image(KEPT).id;
        assert_data_of(&glancefs, &[&kept]);
    }
}
