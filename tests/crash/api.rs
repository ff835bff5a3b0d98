//! Uploads through the API: the record was there before, so it goes back to `queued`.

use crate::harness::{Glancefs, eventually};
use crate::{Doomed, KEPT, assert_data_of, names_in, recovery_dies, with_a_complete_image};

/// The name of the record that data is sent for.
const NAME: &str = "sent.raw";

/// Makes a record through the API; returns its id.
#[track_caller]
fn create(glancefs: &Glancefs) -> String {
    let url = format!("http://{}/v2/images", glancefs.api.unwrap());
    let body = format!(r#"{{"name": "{NAME}", "disk_format": "raw", "container_format": "bare"}}"#);
    glancefs.sh(&format!(
        "curl -sS --fail-with-body -H 'Content-Type: application/json' -d '{body}' {url}"
    ));
    glancefs.image(NAME).id
}

/// The command that sends the data.
fn put(api: std::net::SocketAddr, id: &str, source: &str) -> String {
    format!(
        "curl -sS --fail-with-body -H 'Content-Type: application/octet-stream' -X PUT \
         -T {source} http://{api}/v2/images/{id}/file"
    )
}

/// A complete image and a queued record; the daemon has ended.
fn with_a_queued_record() -> (Glancefs, String) {
    let mut glancefs = with_a_complete_image();
    glancefs.noise(NAME, 5 << 20);
    glancefs.start_again();
    let id = create(&glancefs);
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    (glancefs, id)
}

/// The record waits for its data, of which there is nothing; and the same request works now.
#[track_caller]
fn assert_can_be_sent_again(glancefs: &Glancefs, id: &str) {
    let record = glancefs.image(NAME);
    assert_eq!((record.id.as_str(), record.status.as_str()), (id, "queued"));
    assert!(record.locations.is_empty(), "{record:?}");
    assert_eq!((record.size, record.checksum, record.os_hash_value), (None, None, None));
    let kept = glancefs.assert_same(KEPT, KEPT, "raw").id;
    assert_data_of(glancefs, &[&kept]);
    glancefs.sh(&put(glancefs.api.unwrap(), id, NAME));
    assert_eq!(glancefs.assert_same(NAME, NAME, "raw").id, id);
    glancefs.assert_only(&[KEPT, NAME]);
}

/// Dies at a step of an upload, and, with more steps, of undoing it.
#[track_caller]
fn dies_at(step: &str, recoveries: &[&str]) {
    let (mut glancefs, id) = with_a_queued_record();
    let doomed = Doomed::start(&glancefs, step);
    assert!(!glancefs.try_sh(&put(doomed.api, &id, NAME)).ok(), "curl must hear of it");
    doomed.dies();
    for step in recoveries {
        recovery_dies(&glancefs, step);
    }
    glancefs.start_again();
    assert_can_be_sent_again(&glancefs, &id);
}

#[test]
fn dying_before_the_record_says_saving_leaves_it_queued() {
    dies_at("journaled", &[]);
}

#[test]
fn dying_with_no_data_yet_leaves_it_queued() {
    dies_at("record", &[]);
}

#[test]
fn dying_half_written_leaves_it_queued() {
    dies_at("written", &[]);
}

#[test]
fn dying_before_the_data_has_its_name_leaves_it_queued() {
    dies_at("sealed", &[]);
}

#[test]
fn dying_before_the_record_is_active_leaves_it_queued() {
    dies_at("finished", &[]);
}

#[test]
fn dying_twice_while_undoing_leaves_it_queued() {
    dies_at("finished", &["discarded", "undone"]);
    dies_at("written", &["discarded", "discarded", "undone"]);
}

#[test]
fn dying_after_the_record_is_active_leaves_the_whole_image() {
    let (mut glancefs, id) = with_a_queued_record();
    let doomed = Doomed::start(&glancefs, "committed");
    assert!(!glancefs.try_sh(&put(doomed.api, &id, NAME)).ok(), "no answer came");
    doomed.dies();
    glancefs.start_again();
    assert_eq!(glancefs.assert_same(NAME, NAME, "raw").id, id);
    glancefs.assert_only(&[KEPT, NAME]);
}

#[test]
fn a_daemon_killed_while_data_comes_leaves_the_record_queued() {
    let (mut glancefs, id) = with_a_queued_record();
    glancefs.start_again();
    // Chunked: nobody says how much is to come.
    let send = put(glancefs.api.unwrap(), &id, "-");
    let sender = glancefs.spawn(&format!("(head -c 3000000 {NAME}; sleep 60) | {send}"));
    let file = glancefs.datadir().join(format!(".tmp-{id}"));
    eventually("half is written", || file.metadata().is_ok_and(|file| file.len() > 1 << 20));
    assert_eq!(names_in(&glancefs, "journal"), [id.as_str()]);
    glancefs.kill();
    drop(sender);
    glancefs.start_again();
    assert_can_be_sent_again(&glancefs, &id);
}
