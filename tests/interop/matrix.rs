//! Who may do what, asked of the real glance-api and of glancefs with the same Keystone: every role in
//! the owner's project and in others, images of every visibility, and every operation.
//!
//! Each server has a catalog of its own, on which the same is done in the same order; a cell is an
//! operation on a kind of image by somebody, and agrees when status and words are the same.

#[path = "matrix/cells.rs"]
mod cells;
#[path = "matrix/sides.rs"]
pub mod sides;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Glancefs, Keystone, Start};
use sides::{Identities, Side};

/// Differences that are meant: (operation, who, kind of image, why); empty means any.
const MEANT: &[(&str, &str, &str, &str)] = &[
    ("patch owner by add", "", "", "Glance lets `add` give an image away, and `replace` not"),
    (
        "list after a private one",
        "",
        "",
        "Glance tells that there is an image that one may not see",
    ),
    ("get /v2/cached_images", "", "", OLDER),
    ("get /v2/queued_images", "", "", OLDER),
    ("DELETE /v2/cached_images", "", "", OLDER),
    ("DELETE /v2/queued_images", "", "", OLDER),
    ("queue", "", "", OLDER),
];

/// The other tests hold them against recordings.
const OLDER: &str = "Glance has the older resources of its cache in one of its pipelines only";

/// Cell and answer.
pub type Answers = BTreeMap<String, String>;

#[test]
#[ignore = "needs a real Keystone and the real Glance"]
fn glancefs_lets_everybody_do_what_glance_does() {
    let keystone = Keystone::start();
    let people = Identities::of(&keystone);
    let config = keystone.config(300);
    let stores = "[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
                  enabled_import_methods = [glance-direct,copy-image]\n\
                  show_multiple_locations = true\n\
                  worker_self_reference_url = http://127.0.0.1:1\n\
                  [glance_store]\ndefault_backend = fast\n";
    let start = |more: &str| {
        let prepared = Start::default().config(&config).with_api().prepare();
        let directory = prepared.directory().display().to_string();
        let own = format!(
            "{config}{stores}[fast]\nfilesystem_store_datadir = {directory}/fast\n\
             [slow]\nfilesystem_store_datadir = {directory}/slow\n\
             [os_glance_staging_store]\nfilesystem_store_datadir = {directory}/staging\n\
             [DEFAULT]\nimage_cache_dir = {directory}/cache\n{more}"
        );
        std::fs::write(prepared.directory().join("glance-api.conf"), own).unwrap();
        prepared
    };
    let mut ours = start("");
    ours.start_again();
    let theirs = sides::real_glance(start(""));
    let (glancefs, glance) = thread::scope(|scope| {
        let (ours, theirs) = (Side::of_glancefs(&ours, &people), Side::of_glance(&theirs, &people));
        // One after the other: each logs in, which Keystone's SQLite takes from one at a time.
        ours.log_in();
        theirs.log_in();
        let glancefs = scope.spawn(move || cells::ask_all(&ours));
        let glance = scope.spawn(move || cells::ask_all(&theirs));
        (glancefs.join().unwrap(), glance.join().unwrap())
    });
    compare(&glancefs, &glance);
    drop::<Glancefs>(ours);
}

fn compare(glancefs: &Answers, glance: &Answers) {
    let cells: BTreeSet<&String> = glancefs.keys().chain(glance.keys()).collect();
    let mut meant = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for cell in &cells {
        if glancefs.get(*cell) == glance.get(*cell) {
            continue;
        }
        let [operation, who, image] = cell.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{cell}")
        };
        let matches = |pattern: &str, text: &str| pattern.is_empty() || pattern == text;
        let known = MEANT
            .iter()
            .find(|(o, w, i, _)| matches(o, operation) && matches(w, who) && matches(i, image));
        match known {
            Some((.., why)) => *meant.entry(why).or_default() += 1,
            None => wrong.push(format!(
                "{cell}\n    glance:   {}\n    glancefs: {}",
                glance.get(*cell).map_or("-", String::as_str),
                glancefs.get(*cell).map_or("-", String::as_str)
            )),
        }
    }
    let differing: usize = meant.values().sum();
    for (why, count) in &meant {
        println!("meant, {count} cells: {why}");
    }
    println!("{} of {} cells agree", cells.len() - differing - wrong.len(), cells.len());
    assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// An answer in words that do not depend on who gave it: what was made up is masked.
pub fn comparable(status: u64, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status >= 300 {
        let message = body["message"].as_str().unwrap_or_default();
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        return format!("{status} {}", without_ids(&message));
    }
    match &body {
        Value::Object(_) => format!("{status} {}", masked(&body)),
        _ => status.to_string(),
    }
}

/// Lists show which; records which fields, and what they say where that does not depend on chance.
fn masked(body: &Value) -> Value {
    let names = |list: &Value, field: &str| {
        let items = list.as_array().unwrap().iter();
        let mut names: Vec<_> = items.map(|item| item[field].to_string()).collect();
        names.sort();
        json!(names)
    };
    for (list, field) in [
        ("images", "name"),
        ("namespaces", "namespace"),
        ("members", "status"),
        ("objects", "name"),
        ("tags", "name"),
        ("resource_types", "name"),
        ("stores", "id"),
    ] {
        if body[list].is_array() && (list != "tags" || body.get("visibility").is_none()) {
            return names(&body[list], field);
        }
    }
    let Value::Object(fields) = body else { return Value::Null };
    let shown = ["visibility", "owner", "status", "name", "tags", "protected", "added"];
    let known = fields.iter().filter(|(name, _)| shown.contains(&name.as_str()));
    let mut keys: Vec<&String> = fields.keys().collect();
    keys.sort();
    json!({"fields": keys, "values": known.collect::<BTreeMap<_, _>>()})
}

fn without_ids(text: &str) -> String {
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let separators = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let mut masked = text.to_string();
    for word in text.split(separators).filter(|word| is_id(word)) {
        masked = masked.replace(word, "<id>");
    }
    masked
}
