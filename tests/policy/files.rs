//! An operator's own rules, from files to answers.

use std::fs;
use std::sync::Arc;

use glancefs::error::Error;
use glancefs::images::Options;
use glancefs::images::policy::Policy;
use glancefs::images::policy::file::Sources;
use serde_json::json;

use super::{Face, active, identity, member};

fn load(files: &[(&str, &str)]) -> Result<Policy, Error> {
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path();
    fs::create_dir(own.join("policy.d")).unwrap();
    for (name, text) in files {
        fs::write(own.join(name), text).unwrap();
    }
    Policy::load(&Sources {
        file: own.join("policy.yaml").is_file().then(|| own.join("policy.yaml")),
        directories: vec![own.join("policy.d")],
        protections: None,
    })
}

fn face(text: &str) -> Face {
    let policy = Arc::new(load(&[("policy.yaml", text)]).unwrap());
    Face::start(Options { policy, ..Options::default() })
}

#[test]
fn later_files_win_in_the_order_of_their_names() {
    let policy = load(&[
        ("policy.yaml", "mine: role:first\n"),
        ("policy.d/20.yaml", "mine: role:third\n"),
        ("policy.d/10.json", "{\"mine\": \"role:second\"}"),
        ("policy.d/.hidden", "not: [a policy"),
    ]);
    let policy = policy.unwrap();
    let nothing = glancefs::images::policy::Nothing;
    let holds = |role| policy.allows_rule(&identity("p", &[role]), "mine", &nothing);
    assert_eq!(["first", "second", "third"].map(holds), [false, false, true]);
}

#[test]
fn a_mistake_is_told_with_file_and_line() {
    for (text, line, reason) in [
        ("a: '@'\nget_image: rule:nowhere\n", 2, "rule:nowhere"),
        ("get_image: 'role:a or'\n", 1, "ends where"),
        ("get_image: http://example/\n", 1, "another server"),
        ("a: '@'\n\tb: '@'\n", 2, "not YAML"),
    ] {
        let Err(Error::Config(error)) = load(&[("policy.yaml", text)]) else { panic!("{text}") };
        let place = format!("policy.yaml:{line}: ");
        assert!(error.contains(&place) && error.contains(reason), "{error}");
    }
}

#[test]
fn who_may_not_see_an_image_is_told_that_there_is_none() {
    let face = face("get_image: role:seer\ndownload_image: role:seer\n");
    let id = active(&face.images, &member("a"), |_| {});
    let path = format!("/v2/images/{id}");
    for (method, path) in [("GET", path.clone()), ("GET", format!("{path}/file"))] {
        let answer = face.send(("a", "x"), method, &path, None);
        assert_eq!(answer.status, 404);
        assert!(answer.json()["message"].to_string().contains("could not be found"));
        assert_eq!(face.send(("a", "seer"), method, &path, None).status, 200);
    }
    // What is allowed otherwise stays so.
    let rename = json!([{"op": "replace", "path": "/name", "value": "n"}]);
    assert_eq!(face.send(("a", "x"), "PATCH", &path, Some(&rename)).status, 200);
    let listed = |role| face.send(("a", role), "GET", "/v2/images", None).json()["images"].clone();
    assert_eq!(listed("x"), json!([]));
    assert_eq!(listed("seer").as_array().unwrap().len(), 1);
    let rows = |roles: &[&str]| face.images.rows(&identity("a", roles), None).unwrap().len();
    assert_eq!((rows(&["member"]), rows(&["seer"])), (0, 1), "nor is there a file");
}

#[test]
fn pages_are_full_although_some_images_are_not_shown() {
    let face = face("get_image: \"'yes':%(shown)s\"\n");
    for number in 0..9 {
        active(&face.images, &member("a"), |image| {
            let shown = if number % 3 == 0 { "yes" } else { "no" };
            image.properties.insert("shown".to_string(), shown.to_string());
        });
    }
    let first = face.send(("a", "x"), "GET", "/v2/images?limit=2", None).json();
    assert_eq!(first["images"].as_array().unwrap().len(), 2);
    let next = face.send(("a", "x"), "GET", first["next"].as_str().unwrap(), None).json();
    assert_eq!(next["images"].as_array().unwrap().len(), 1);
    assert_eq!(next.get("next"), None);
    let rows = face.images.rows(&member("a"), None).unwrap();
    assert_eq!(rows.len(), 3, "a directory asks about properties, too");
}

#[test]
fn roles_make_administrators_as_the_policy_says() {
    let face = face("context_is_admin: role:cloud_admin\n");
    let id = active(&face.images, &member("a"), |_| {});
    let path = format!("/v2/images/{id}");
    assert_eq!(face.send(("b", "admin"), "GET", &path, None).status, 404);
    assert_eq!(face.send(("b", "cloud_admin"), "GET", &path, None).status, 200);
}
