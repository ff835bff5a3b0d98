//! What others have under way on the same database and in the same directory is none of ours.

use crate::harness::{Stored, eventually};
use crate::{Doomed, assert_killed, names_in};
use crate::{KEPT, assert_data_of, recovery_dies, run_to, with_a_complete_image};

#[test]
fn what_another_daemon_is_saving_is_left_alone() {
    let mut glancefs = with_a_complete_image();
    // glance-api writes its data under the final name.
    let theirs =
        glancefs.glance_stores(&Stored { name: "theirs", status: "saving", ..Stored::default() });
    glancefs.glance_sets(&theirs, "size = NULL");
    glancefs.noise("new.raw", 5 << 20);
    let doomed = Doomed::start(&glancefs, "finished");
    glancefs.try_sh("cp new.raw $M/");
    doomed.dies();
    recovery_dies(&glancefs, "discarded");
    glancefs.start_again();
    let record = glancefs.image("theirs");
    assert_eq!((record.id.as_str(), record.status.as_str()), (theirs.as_str(), "saving"));
    let kept = glancefs.assert_same(KEPT, KEPT, "raw").id;
    assert_data_of(&glancefs, &[&kept, &theirs]);
    assert_eq!(glancefs.records().len(), 2);
    assert_eq!(glancefs.sh("ls $M").trim(), KEPT, "what is being saved is not listed");
    // The other one goes on, and is seen when it is done.
    glancefs.glance_sets(&theirs, "status = 'active', size = 6");
    let look = || glancefs.sh("ls $M").contains("theirs");
    eventually("their image is seen", look);
    assert_eq!(glancefs.sh("cat $M/theirs"), "stored");
}

#[test]
fn an_image_that_another_deleted_meanwhile_leaves_no_data() {
    let mut glancefs = with_a_complete_image();
    glancefs.noise("new.raw", 5 << 20);
    let doomed = Doomed::start(&glancefs, "sealed");
    glancefs.try_sh("cp new.raw $M/");
    doomed.dies();
    let id = glancefs.image("new.raw").id;
    glancefs.glance_sets(&id, "status = 'deleted', deleted = 1");
    glancefs.start_again();
    crate::assert_nothing_else(&glancefs);
}

#[test]
fn a_start_that_dies_while_it_undoes_leaves_the_rest_to_the_next() {
    let mut glancefs = with_a_complete_image();
    glancefs.noise("new.raw", 5 << 20);
    let doomed = Doomed::start(&glancefs, "written");
    glancefs.try_sh("cp new.raw $M/");
    doomed.dies();
    let before = (names_in(&glancefs, "journal"), glancefs.records());
    assert_killed(&run_to(&glancefs, "discarded").wait());
    assert_eq!((names_in(&glancefs, "journal"), glancefs.records()), before);
    glancefs.start_again();
    crate::assert_nothing_else(&glancefs);
}
