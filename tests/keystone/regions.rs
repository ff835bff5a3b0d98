//! `glance-download`: from the Image API of another region, as Keystone's catalog has it.

use serde_json::{Value, json};

use crate::face::{assert_silent, get, send, start};
use crate::harness::{Keystone, eventually};

#[test]
#[ignore = "needs a real Keystone"]
fn an_image_comes_from_where_the_tokens_catalog_says() {
    let keystone = Keystone::start();
    let there = start(&keystone, 300, "");
    let here = start(&keystone, 300, "[DEFAULT]\nenabled_import_methods = glance-download\n");
    keystone.images_are_at(there.api.unwrap());
    let token = keystone.token("project-a-member");
    let made = |glancefs, format: &str| {
        let body = json!({"name": "one", "disk_format": format, "container_format": "bare"});
        let made = send(glancefs, "POST", "/v2/images", &[("X-Auth-Token", &token)], Some(&body));
        assert_eq!(made.status, 201, "{}", made.body);
        let made: Value = serde_json::from_str(&made.body).unwrap();
        made["id"].as_str().unwrap().to_string()
    };
    let (source, id) = (made(&there, "raw"), made(&here, "qcow2"));
    let data = there.noise("data", 3_000_001);
    there.sh(&format!(
        "curl -sSf -X PUT -H 'X-Auth-Token: {token}' -H 'Content-Type: application/octet-stream' \
         -T {} http://{}/v2/images/{source}/file",
        data.display(),
        there.api.unwrap()
    ));
    // The case of a region does not matter.
    let body = json!({"method": {
        "name": "glance-download", "glance_region": "regionone", "glance_image_id": source,
    }});
    let path = format!("/v2/images/{id}/import");
    let begun = send(&here, "POST", &path, &[("X-Auth-Token", &token)], Some(&body));
    assert_eq!(begun.status, 202, "{}", begun.body);
    eventually("it is imported", || {
        let shown = get(&here, &format!("/v2/images/{id}"), &token).body;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["status"] == "active" && shown["disk_format"] == "raw"
    });
    here.sh(&format!("cmp {} $M/one", data.display()));
    assert_silent(&here, &[&token]);
}
