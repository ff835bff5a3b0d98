//! Images that were being removed: once the record is gone, the data goes too.

use crate::harness::Glancefs;
use crate::{
    Doomed, KEPT, assert_data_of, assert_nothing_else, names_in, recovery_dies,
    with_a_complete_image,
};

/// A second image beside the complete one; the daemon has ended.
fn with_an_image_to_remove() -> Glancefs {
    let mut glancefs = with_a_complete_image();
    glancefs.start_again();
    glancefs.noise("old.raw", 2 << 20);
    glancefs.sh("cp old.raw $M/");
    assert!(glancefs.terminate().success());
    glancefs
}

#[test]
fn dying_before_the_record_is_deleted_leaves_the_image() {
    let mut glancefs = with_an_image_to_remove();
    let doomed = Doomed::start(&glancefs, "withdrawn");
    glancefs.try_sh("rm $M/old.raw");
    doomed.dies();
    glancefs.start_again();
    glancefs.assert_same("old.raw", "old.raw", "raw");
    assert_eq!(names_in(&glancefs, "journal"), [""; 0]);
    glancefs.sh("rm $M/old.raw");
    assert_nothing_else(&glancefs);
}

#[test]
fn dying_after_the_record_is_deleted_removes_the_data_at_the_next_start() {
    let mut glancefs = with_an_image_to_remove();
    let doomed = Doomed::start(&glancefs, "record-deleted");
    glancefs.try_sh("rm $M/old.raw");
    doomed.dies();
    assert_eq!(names_in(&glancefs, "images").len(), 2, "the data is still there");
    glancefs.start_again();
    assert_nothing_else(&glancefs);
}

#[test]
fn dying_after_the_data_is_deleted_leaves_nothing_to_do() {
    let mut glancefs = with_an_image_to_remove();
    let doomed = Doomed::start(&glancefs, "data-deleted");
    glancefs.try_sh("rm $M/old.raw");
    doomed.dies();
    glancefs.start_again();
    assert_nothing_else(&glancefs);
}

#[test]
fn dying_in_a_removal_through_the_api_is_the_same() {
    let mut glancefs = with_an_image_to_remove();
    let id = glancefs.image("old.raw").id;
    let doomed = Doomed::start(&glancefs, "record-deleted");
    let url = format!("http://{}/v2/images/{id}", doomed.api);
    assert!(!glancefs.try_sh(&format!("curl -sS -X DELETE {url}")).ok(), "no answer came");
    doomed.dies();
    recovery_dies(&glancefs, "discarded");
    recovery_dies(&glancefs, "undone");
    glancefs.start_again();
    assert_nothing_else(&glancefs);
    let kept = glancefs.image(KEPT).id;
    assert_data_of(&glancefs, &[&kept]);
}
