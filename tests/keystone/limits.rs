//! Keystone's unified limits, for the API and for the mount.

use std::time::Duration;

use serde_json::json;

use crate::face::{assert_silent, get, send, start_as};
use crate::harness::{Keystone, eventually};

/// Gives a project these limits, beside the registered ones, which are none.
fn limit(keystone: &Keystone, project: &str, limits: &[(&str, i64)]) {
    let service = keystone.id("service", "glance");
    let limit = |(resource, limit): &(&str, i64)| {
        json!({"service_id": service, "region_id": "RegionOne", "project_id": project,
               "resource_name": resource, "resource_limit": limit})
    };
    let limits: Vec<_> = limits.iter().map(limit).collect();
    keystone.ask("POST", "limits", &json!({ "limits": limits }));
}

/// What a `glance-api.conf` says to have limits.
fn config(keystone: &Keystone) -> String {
    format!(
        "[DEFAULT]\nuse_keystone_limits = true\n[oslo_limit]\nauth_url = {}\n\
         auth_type = password\nusername = glance\npassword = secret-of-glance\n\
         user_domain_id = default\nsystem_scope = all\nendpoint_id = {}\n",
        keystone.url(),
        keystone.image_endpoint()
    )
}

#[test]
#[ignore = "needs a real Keystone"]
fn a_project_has_no_byte_and_no_image_too_many_by_the_api_and_by_the_mount() {
    let mut keystone = Keystone::start();
    let project = keystone.id("project", "project-a");
    limit(&keystone, &project, &[("image_size_total", 1), ("image_count_total", 2)]);
    let glancefs = start_as(&keystone, &project, &config(&keystone));
    let token = keystone.token("project-a-member");
    let made = |token: &str, name: &str| {
        let body = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
        send(&glancefs, "POST", "/v2/images", &[("X-Auth-Token", token)], Some(&body))
    };
    let first = made(&token, "first");
    assert_eq!(first.status, 201, "{}", first.body);
    glancefs.noise("much", 600_000);
    let id = first.json()["id"].as_str().unwrap().to_string();
    let upload = |file: &str| {
        glancefs.sh(&format!(
            "curl -s -o /dev/null -w '%{{http_code}}' -T {file} -H 'X-Auth-Token: {token}' \
             -H 'Content-Type: application/octet-stream' http://{}/v2/images/{id}/file",
            glancefs.api.unwrap()
        ))
    };
    glancefs.noise("too-much", (1 << 20) + 1);
    assert_eq!(upload("too-much"), "413");
    assert_eq!(upload("much"), "204");
    // 448576 bytes are left, and one image.
    glancefs.refused("cp much $M/second", "Disk quota exceeded");
    glancefs.sh("head -c 448576 much > fits; cp fits $M/second; cmp fits $M/second");
    glancefs.refused("touch $M/third", "Disk quota exceeded");
    let refused = made(&token, "third");
    assert_eq!(refused.status, 413);
    let words = format!(
        "Project {project} is over a limit for [Resource image_count_total is over limit of 2 due to \
         current usage 2 and delta 1]"
    );
    assert!(refused.body.contains(&words), "{}", refused.body);
    let usage = get(&glancefs, "/v2/info/usage", &token).json();
    let of = |usage: u64, limit: i64| json!({"usage": usage, "limit": limit});
    assert_eq!(usage["usage"]["image_size_total"], of(1, 1));
    assert_eq!(usage["usage"]["image_count_total"], of(2, 2));
    assert_eq!(usage["usage"]["image_count_uploading"], of(0, -1));
    // Another project has no limit of its own.
    let other = keystone.token("project-b-member");
    assert_eq!(made(&other, "one").status, 201);

    // What was said holds for a few seconds; then nothing is let in that nobody has counted.
    keystone.stop();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(made(&other, "two").status, 503);
    glancefs.refused("touch $M/third", "Input/output error");
    keystone.start_again();
    eventually("limits are known again", || made(&other, "two").status == 201);
    assert_silent(&glancefs, &[&token, &other]);
}
