//! Protected properties, by whatever way they are seen and set.

use std::fs;
use std::sync::Arc;

use glancefs::images::policy::Policy;
use glancefs::images::policy::file::Sources;
use glancefs::images::policy::protections::Format;
use glancefs::images::{Images, Options};
use serde_json::{Value, json};

use super::{Face, identity};

const FILE: &str = "[^billing_]\ncreate = accountant\nread = accountant, auditor\n\
                    update = accountant\ndelete = !\n[^free]\ncreate = @\nread = @\nupdate = @\n\
                    delete = @\n";

const ACCOUNTANT: (&str, &str) = ("a", "accountant");
const AUDITOR: (&str, &str) = ("a", "auditor");
const OTHER: (&str, &str) = ("a", "other");

fn protected() -> Options {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("property-protections.conf");
    fs::write(&file, FILE).unwrap();
    let sources = Sources { protections: Some((file, Format::Roles)), ..Sources::default() };
    Options { policy: Arc::new(Policy::load(&sources).unwrap()), ..Options::default() }
}

/// Makes an image that has a property of each kind.
fn image(face: &Face) -> String {
    let body = json!({"name": "i", "billing_code": "7", "free": "1"});
    let made = face.send(ACCOUNTANT, "POST", "/v2/images", Some(&body));
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["billing_code"], "7");
    made.json()["id"].as_str().unwrap().to_string()
}

#[test]
fn who_may_not_create_a_property_makes_no_image_with_it() {
    let face = Face::start(protected());
    for name in ["billing_code", "unnamed"] {
        let refused = face.send(OTHER, "POST", "/v2/images", Some(&json!({name: "7"})));
        let message = refused.json()["message"].to_string();
        assert_eq!(refused.status, 403);
        assert!(message.contains(&format!("Attribute '{name}' is reserved.")), "{message}");
    }
    assert_eq!(face.send(OTHER, "POST", "/v2/images", Some(&json!({"free": "7"}))).status, 201);
}

#[test]
fn who_may_not_read_a_property_never_sees_it() {
    let face = Face::start(protected());
    let id = image(&face);
    let shown = |who| {
        let one = face.send(who, "GET", &format!("/v2/images/{id}"), None).json();
        let list = face.send(who, "GET", "/v2/images", None).json();
        assert_eq!(one.get("billing_code"), list["images"][0].get("billing_code"));
        assert_eq!(one["free"], "1");
        let patched = json!([{"op": "replace", "path": "/name", "value": "j"}]);
        let patched = face.send(who, "PATCH", &format!("/v2/images/{id}"), Some(&patched)).json();
        assert_eq!(one.get("billing_code"), patched.get("billing_code"));
        one.get("billing_code").cloned()
    };
    assert_eq!(shown(AUDITOR), Some(json!("7")));
    assert_eq!(shown(OTHER), None);
    assert_eq!(shown(ACCOUNTANT), Some(json!("7")), "it is still there");
}

#[test]
fn each_change_is_asked_about() {
    let face = Face::start(protected());
    let id = image(&face);
    let patch = |who, op: &str, path: &str, value: Value| {
        let body = json!([{"op": op, "path": path, "value": value}]);
        face.send(who, "PATCH", &format!("/v2/images/{id}"), Some(&body)).status
    };
    assert_eq!(patch(AUDITOR, "replace", "/billing_code", json!("8")), 403);
    assert_eq!(patch(AUDITOR, "add", "/billing_other", json!("8")), 403);
    assert_eq!(patch(AUDITOR, "remove", "/billing_code", Value::Null), 403);
    // What is not seen is not there; and may not be made either.
    assert_eq!(patch(OTHER, "replace", "/billing_code", json!("8")), 409);
    assert_eq!(patch(OTHER, "remove", "/billing_code", Value::Null), 409);
    assert_eq!(patch(OTHER, "add", "/billing_code", json!("8")), 403);
    assert_eq!(patch(ACCOUNTANT, "replace", "/billing_code", json!("8")), 200);
    assert_eq!(patch(ACCOUNTANT, "remove", "/billing_code", Value::Null), 403, "nobody");
    assert_eq!(patch(OTHER, "remove", "/free", Value::Null), 200);
    let after = face.send(ACCOUNTANT, "GET", &format!("/v2/images/{id}"), None).json();
    assert_eq!((&after["billing_code"], after.get("free")), (&json!("8"), None));
}

#[test]
fn the_old_api_protects_them_too() {
    let face = Face::start(protected());
    let id = image(&face);
    let send = |roles: &str, method: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("Host", "x"), ("X-Project", "a"), ("X-Roles", roles)];
        headers.extend(more);
        face.send_with(method, &format!("/v1/images/{id}"), &headers, None)
    };
    let seen = |roles| {
        let shown = send(roles, "HEAD", &[]);
        shown.header("x-image-meta-property-billing_code").map(str::to_string)
    };
    assert_eq!(seen("member,reader"), None);
    assert_eq!(seen("member,reader,auditor").as_deref(), Some("7"));
    let set = [("x-image-meta-property-billing_code", "9")];
    assert_eq!(send("member,reader", "PUT", &set).status, 403);
    // What is not named goes, but not what is not seen.
    let renamed = [("x-image-meta-name", "j"), ("x-image-meta-property-free", "1")];
    assert_eq!(send("member,reader", "PUT", &renamed).status, 200);
    assert_eq!(seen("member,reader,auditor").as_deref(), Some("7"));
}

#[test]
fn a_file_in_the_mount_has_the_properties_that_one_may_see() {
    let face = Face::start(protected());
    let id = image(&face).parse().unwrap();
    let names = |images: &Images, role| {
        let image = images.get(&identity("a", &["member", "reader", role]), id).unwrap();
        glancefs::images::fields::names(&image, images.options())
    };
    assert!(!names(&face.images, "x").contains(&"property.billing_code".to_string()));
    assert!(names(&face.images, "auditor").contains(&"property.billing_code".to_string()));
    // Nor may one be given to a file that is being written.
    let writer = identity("a", &["member", "reader"]);
    let mut draft = face.images.begin_draft(&writer, "f", None).unwrap();
    let set = |name: &str| {
        let name = name.to_string();
        move |image: &mut glancefs::catalog::model::Image| {
            image.properties.insert(name, "x".to_string());
            Ok(())
        }
    };
    assert!(draft.alter(set("billing_code")).is_err());
    assert!(draft.alter(set("free")).is_ok());
}
