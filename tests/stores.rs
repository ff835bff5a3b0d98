//! Several stores at once, through both faces, and `glancefs adopt`.
//!
//! With two directories here; with a pool of a real Ceph cluster in `ceph`.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "stores/adopt.rs"]
mod adopt;
#[path = "stores/ceph.rs"]
mod ceph;
#[path = "stores/locations.rs"]
mod locations;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Glancefs, Start};
use serde_json::Value;

/// Directories beside the state directory.
fn directory(glancefs: &Glancefs, name: &str) -> PathBuf {
    glancefs.directory().join(name)
}

/// A mount of two file stores, `slow` and the default `fast`.
fn two_stores() -> Glancefs {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let at = |name| directory(&glancefs, name).display().to_string();
    let text = format!(
        "[DEFAULT]\nenabled_backends = slow:file, fast:file\nshow_multiple_locations = true\n\
         [glance_store]\ndefault_backend = fast\n\
         [fast]\nfilesystem_store_datadir = {}\nstore_description = Quick\n\
         [slow]\nfilesystem_store_datadir = {}\n",
        at("fast"),
        at("slow")
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs
}

fn url(glancefs: &Glancefs, path: &str) -> String {
    format!("http://{}/v2/{path}", glancefs.api.expect("with the API"))
}

fn get(glancefs: &Glancefs, path: &str) -> Value {
    let answer = glancefs.sh(&format!("curl -sS --fail-with-body {}", url(glancefs, path)));
    serde_json::from_str(&answer).unwrap()
}

/// Makes a record by the API; returns its id.
fn create(glancefs: &Glancefs, name: &str) -> String {
    let body = format!(r#"{{"name":"{name}","disk_format":"raw","container_format":"bare"}}"#);
    let images = url(glancefs, "images");
    let script = format!(
        "curl -sS --fail-with-body -H 'Content-Type: application/json' -d '{body}' {images}"
    );
    let image: Value = serde_json::from_str(&glancefs.sh(&script)).unwrap();
    image["id"].as_str().unwrap().to_string()
}

/// Uploads a file of the scratch directory; returns the status of the answer.
fn upload(glancefs: &Glancefs, id: &str, file: &str, store: &str) -> String {
    let url = url(glancefs, &format!("images/{id}/file"));
    glancefs.sh(&format!(
        "curl -sS -o answer -w '%{{http_code}}' -T {file} \
         -H 'Content-Type: application/octet-stream' -H 'X-Image-Meta-Store: {store}' {url}"
    ))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_goes_to_the_default_store_and_an_upload_to_the_one_it_names() {
    let glancefs = two_stores();
    glancefs.noise("a.raw", 3 << 20);
    glancefs.sh("cp a.raw $M/");
    let copied = glancefs.assert_same("a.raw", "a.raw", "raw").id;
    let uploaded = create(&glancefs, "b.raw");
    assert_eq!(upload(&glancefs, &uploaded, "a.raw", "slow"), "204");
    glancefs.assert_same("b.raw", "a.raw", "raw");
    assert_eq!(names_in(&directory(&glancefs, "fast")), [copied.as_str()]);
    assert_eq!(names_in(&directory(&glancefs, "slow")), [uploaded.as_str()]);
    for (id, store) in [(&copied, "fast"), (&uploaded, "slow")] {
        let image = get(&glancefs, &format!("images/{id}"));
        assert_eq!(image["stores"], *store);
        assert_eq!(image["locations"][0]["metadata"]["store"], *store);
        let path = directory(&glancefs, store).join(id);
        assert_eq!(image["locations"][0]["url"], format!("file://{}", path.display()));
    }
    glancefs.sh("rm $M/a.raw $M/b.raw");
    assert_eq!(names_in(&directory(&glancefs, "fast")), [""; 0]);
    assert_eq!(names_in(&directory(&glancefs, "slow")), [""; 0]);
}

#[test]
fn an_unknown_store_is_refused_and_the_image_stays_queued() {
    let glancefs = two_stores();
    glancefs.noise("a.raw", 1 << 20);
    let id = create(&glancefs, "a.raw");
    assert_eq!(upload(&glancefs, &id, "a.raw", "nope"), "400");
    assert!(glancefs.sh("cat answer").contains("nope"));
    assert_eq!(glancefs.image("a.raw").status, "queued");
    assert_eq!(upload(&glancefs, &id, "a.raw", "fast"), "204");
}

#[test]
fn the_stores_are_listed_for_clients() {
    let glancefs = two_stores();
    let stores = get(&glancefs, "info/stores");
    let expected = serde_json::json!({"stores": [
        {"id": "slow"},
        {"id": "fast", "description": "Quick", "default": "true"},
    ]});
    assert_eq!(stores, expected);
    let headers = glancefs.sh(&format!(
        "curl -sS -D - -o /dev/null -H 'Content-Type: application/json' -d '{{}}' {}",
        url(&glancefs, "images")
    ));
    assert!(headers.to_lowercase().contains("openstack-image-store-ids: slow,fast"), "{headers}");
}

#[test]
fn one_store_has_no_name_for_clients() {
    let glancefs =
        Start::default().with_api().config("[DEFAULT]\nshow_multiple_locations = true\n").mount();
    glancefs.noise("a.raw", 1 << 20);
    glancefs.sh("cp a.raw $M/");
    let image = get(&glancefs, &format!("images/{}", glancefs.image("a.raw").id));
    assert_eq!(image["stores"], Value::Null);
    assert_eq!(image["locations"][0]["metadata"], serde_json::json!({}));
    let script = format!("curl -sS -w '%{{http_code}}' {}", url(&glancefs, "info/stores"));
    assert!(glancefs.sh(&script).ends_with("404"));
}

#[test]
fn an_image_from_before_stores_had_names_shows_the_one_that_holds_it() {
    let mut glancefs = Start::default().with_api().config("").mount();
    glancefs.noise("a.raw", 1 << 20);
    glancefs.sh("cp a.raw $M/");
    let datadir = glancefs.datadir().display().to_string();
    glancefs.configure(&format!(
        "[DEFAULT]\nenabled_backends = new:file, old:file\n\
         [old]\nfilesystem_store_datadir = {datadir}\n"
    ));
    glancefs.restart();
    let id = glancefs.image("a.raw").id;
    assert_eq!(get(&glancefs, &format!("images/{id}"))["stores"], "old");
    assert_eq!(get(&glancefs, "images")["images"][0]["stores"], "old");
    glancefs.sh("mv $M/a.raw $M/b.raw && cmp a.raw $M/b.raw && rm $M/b.raw");
    // What is left is the directory of the other store.
    assert_eq!(names_in(&glancefs.datadir()), ["new"]);
}

#[test]
fn an_upload_cut_short_leaves_nothing_in_the_store_that_it_named() {
    let mut glancefs = two_stores();
    glancefs.noise("a.raw", 8 << 20);
    let id = create(&glancefs, "a.raw");
    let target = url(&glancefs, &format!("images/{id}/file"));
    let slow = directory(&glancefs, "slow");
    let client = glancefs.spawn(&format!(
        "curl -sS --limit-rate 2M -T a.raw -H 'Content-Type: application/octet-stream' \
         -H 'X-Image-Meta-Store: slow' {target}"
    ));
    harness::eventually("some of it is there", || !names_in(&slow).is_empty());
    glancefs.kill();
    drop(client);
    glancefs.start_again();
    assert_eq!(names_in(&slow), [""; 0]);
    assert_eq!(names_in(&glancefs.state_dir().join("journal")), [""; 0]);
    assert_eq!(glancefs.image("a.raw").status, "queued");
}
