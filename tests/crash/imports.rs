//! Staging and imports that were cut short: what a client was told stays, and nothing else does.

use std::net::SocketAddr;

use crate::Doomed;
use crate::harness::{Glancefs, Start, eventually};

const NAME: &str = "imported.raw";

/// What is known of an import's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// The data is staged, and waits.
    Staged,
    /// The record waits for data.
    Queued,
    /// The image is complete in the stores.
    Active(&'static [&'static str]),
}

/// Two stores beside each other, `fast` and `slow`, and a queued record.
fn with_a_queued_record() -> (Glancefs, String) {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let at = |name| glancefs.directory().join(name).display().to_string();
    let text = format!(
        "[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
         [fast]\nfilesystem_store_datadir = {}\n[slow]\nfilesystem_store_datadir = {}\n",
        at("fast"),
        at("slow")
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs.noise(NAME, 5 << 20);
    let body = format!(r#"{{"name": "{NAME}", "disk_format": "raw", "container_format": "bare"}}"#);
    post(&glancefs, glancefs.api.unwrap(), "images", &body);
    let id = glancefs.image(NAME).id;
    (glancefs, id)
}

fn post(glancefs: &Glancefs, api: SocketAddr, path: &str, body: &str) -> bool {
    let send = format!(
        "curl -sS --fail-with-body -H 'Content-Type: application/json' -d '{body}' http://{api}/v2/{path}"
    );
    glancefs.try_sh(&send).ok()
}

/// The command that stages data.
fn stage(api: SocketAddr, id: &str, source: &str) -> String {
    format!(
        "curl -sS --fail-with-body -H 'Content-Type: application/octet-stream' -X PUT \
         -T {source} http://{api}/v2/images/{id}/stage"
    )
}

fn import(glancefs: &Glancefs, api: SocketAddr, id: &str, method: &str, more: &str) -> bool {
    let body = format!(r#"{{"method": {{"name": "{method}"}}{more}}}"#);
    post(glancefs, api, &format!("images/{id}/import"), &body)
}

const BOTH: &str = r#", "stores": ["fast", "slow"]"#;
const ANY: &str = r#", "stores": ["fast", "slow"], "all_stores_must_succeed": false"#;

/// Everything that is left is what `left` says, and the image can still be had.
#[track_caller]
fn assert_left(glancefs: &Glancefs, id: &str, left: Left) {
    eventually("it is recovered", || {
        crate::names_in(glancefs, "journal").is_empty() && lock_of(glancefs).is_none()
    });
    let (status, staged, stores): (_, _, &[&str]) = match left {
        Left::Staged => ("uploading", true, &[]),
        Left::Queued => ("queued", false, &[]),
        Left::Active(stores) => ("active", false, stores),
    };
    let record = glancefs.image(NAME);
    assert_eq!(record.status, status, "{record:?}");
    assert_eq!(record.locations.len(), stores.len(), "{record:?}");
    let importing = record.properties.get("os_glance_importing_to_stores");
    assert!(importing.is_none_or(|stores| stores.is_empty()), "{record:?}");
    let names = |there: bool| if there { vec![id.to_string()] } else { Vec::new() };
    assert_eq!(crate::names_in(glancefs, "staging"), names(staged), "what is staged");
    for store in ["fast", "slow"] {
        let path = format!("../{store}");
        assert_eq!(crate::names_in(glancefs, &path), names(stores.contains(&store)), "{store}");
    }
    let unfinished = "SELECT count(*) FROM tasks WHERE status IN ('pending', 'processing')";
    let unfinished: i64 = glancefs.database().number(unfinished);
    assert_eq!(unfinished, 0, "tasks");
    complete(glancefs, id, left);
}

fn lock_of(glancefs: &Glancefs) -> Option<String> {
    glancefs.image(NAME).properties.remove("os_glance_import_task")
}

/// Goes on from what is left to a complete image.
#[track_caller]
fn complete(glancefs: &Glancefs, id: &str, left: Left) {
    let api = glancefs.api.unwrap();
    if left == Left::Queued {
        glancefs.sh(&stage(api, id, NAME));
    }
    if matches!(left, Left::Staged | Left::Queued) {
        assert!(import(glancefs, api, id, "glance-direct", BOTH), "it is imported again");
        eventually("it is imported", || lock_of(glancefs).is_none());
    }
    assert_eq!(glancefs.assert_same(NAME, NAME, "raw").id, id);
}

/// Dies at a step of staging.
#[track_caller]
fn staging_dies_at(step: &str, left: Left, recoveries: &[&str]) {
    let (mut glancefs, id) = with_a_queued_record();
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    let doomed = Doomed::start(&glancefs, step);
    assert!(!glancefs.try_sh(&stage(doomed.api, &id, NAME)).ok(), "curl must hear of it");
    doomed.dies();
    recoveries.iter().for_each(|step| crate::recovery_dies(&glancefs, step));
    glancefs.start_again();
    assert_left(&glancefs, &id, left);
}

#[test]
fn staging_that_dies_leaves_a_queued_record() {
    for step in ["journaled", "record", "written", "finished"] {
        staging_dies_at(step, Left::Queued, &[]);
    }
    staging_dies_at("written", Left::Queued, &["discarded", "undone"]);
}

#[test]
fn data_that_was_staged_survives() {
    staging_dies_at("committed", Left::Staged, &[]);
    let (mut glancefs, id) = with_a_queued_record();
    glancefs.sh(&stage(glancefs.api.unwrap(), &id, NAME));
    glancefs.restart();
    assert_left(&glancefs, &id, Left::Staged);
}

#[test]
fn a_daemon_killed_while_data_is_staged_leaves_a_queued_record() {
    let (mut glancefs, id) = with_a_queued_record();
    // Chunked: nobody says how much is to come.
    let send = stage(glancefs.api.unwrap(), &id, "-");
    let sender = glancefs.spawn(&format!("(head -c 3000000 {NAME}; sleep 60) | {send}"));
    let file = glancefs.state_dir().join(format!("staging/.tmp-{id}"));
    eventually("half is written", || file.metadata().is_ok_and(|file| file.len() > 1 << 20));
    glancefs.kill();
    drop(sender);
    glancefs.start_again();
    assert_left(&glancefs, &id, Left::Queued);
}

#[test]
fn a_client_that_breaks_off_while_it_stages_leaves_a_queued_record() {
    let (glancefs, id) = with_a_queued_record();
    let send = stage(glancefs.api.unwrap(), &id, "-");
    let sender = glancefs.spawn(&format!("(head -c 3000000 {NAME}; sleep 60) | {send}"));
    let file = glancefs.state_dir().join(format!("staging/.tmp-{id}"));
    eventually("half is written", || file.metadata().is_ok_and(|file| file.len() > 1 << 20));
    drop(sender);
    eventually("it is queued again", || glancefs.image(NAME).status == "queued");
    assert_left(&glancefs, &id, Left::Queued);
}

#[test]
fn what_is_staged_goes_with_its_image() {
    let (glancefs, id) = with_a_queued_record();
    let api = glancefs.api.unwrap();
    glancefs.sh(&stage(api, &id, NAME));
    glancefs.sh(&format!("curl -sS --fail-with-body -X DELETE http://{api}/v2/images/{id}"));
    assert_eq!(crate::names_in(&glancefs, "staging"), [""; 0]);
}

#[test]
fn what_is_staged_for_an_image_that_somebody_else_deleted_goes_at_the_next_start() {
    let (mut glancefs, id) = with_a_queued_record();
    glancefs.sh(&stage(glancefs.api.unwrap(), &id, NAME));
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    glancefs.glance_sets(&id, "deleted = 1, status = 'deleted'");
    glancefs.start_again();
    assert_eq!(crate::names_in(&glancefs, "staging"), [""; 0]);
}

/// Dies at a step of an import of staged data.
#[track_caller]
fn import_dies_at(step: &str, more: &str, left: Left, recoveries: &[&str]) {
    let (mut glancefs, id) = with_a_queued_record();
    glancefs.sh(&stage(glancefs.api.unwrap(), &id, NAME));
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    let doomed = Doomed::start(&glancefs, step);
    // The answer may come before the end.
    import(&glancefs, doomed.api, &id, "glance-direct", more);
    doomed.dies();
    recoveries.iter().for_each(|step| crate::recovery_dies(&glancefs, step));
    glancefs.start_again();
    assert_left(&glancefs, &id, left);
}

#[test]
fn an_import_that_dies_before_it_begins_leaves_what_is_staged() {
    import_dies_at("import-journaled", BOTH, Left::Staged, &[]);
    import_dies_at("import-accepted", BOTH, Left::Staged, &["undone"]);
}

#[test]
fn an_import_that_dies_before_it_is_complete_leaves_a_queued_record() {
    import_dies_at("importing", BOTH, Left::Queued, &[]);
    import_dies_at("import-written", BOTH, Left::Queued, &["discarded", "undone"]);
    import_dies_at("import-stored", BOTH, Left::Queued, &[]);
    import_dies_at("import-stored", ANY, Left::Queued, &["discarded", "discarded"]);
}

#[test]
fn an_import_that_dies_when_it_is_complete_leaves_the_image() {
    const FAST: Left = Left::Active(&["fast"]);
    const ALL: Left = Left::Active(&["fast", "slow"]);
    import_dies_at("import-committed", BOTH, ALL, &["undone"]);
    import_dies_at("import-ended", BOTH, ALL, &[]);
    // The other store had not been written.
    import_dies_at("import-committed", ANY, FAST, &[]);
}

#[test]
fn a_copy_that_dies_leaves_the_image_where_it_was() {
    for (step, left) in [
        ("importing", Left::Active(&["fast"])),
        ("import-written", Left::Active(&["fast"])),
        ("import-stored", Left::Active(&["fast"])),
        ("import-committed", Left::Active(&["fast", "slow"])),
    ] {
        let (mut glancefs, id) = with_a_queued_record();
        let put = stage(glancefs.api.unwrap(), &id, NAME).replace("/stage", "/file");
        glancefs.sh(&put);
        assert!(glancefs.terminate().success(), "{}", glancefs.log());
        let doomed = Doomed::start(&glancefs, step);
        import(&glancefs, doomed.api, &id, "copy-image", r#", "all_stores": true"#);
        doomed.dies();
        glancefs.start_again();
        assert_left(&glancefs, &id, left);
    }
}
