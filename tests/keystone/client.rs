//! The real `openstack` client with a `clouds.yaml` and passwords, from a token to a share.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::face::{assert_silent, get, start};
use crate::harness::{Finished, Glancefs, Keystone, Running};

/// The users, each a cloud of their name.
fn write_clouds(glancefs: &Glancefs, keystone: &Keystone, users: &[&str]) {
    let mut text = "clouds:\n".to_string();
    for user in users {
        let project = user.rsplit_once('-').unwrap().0;
        text += &format!(
            "  {user}:\n    auth:\n      auth_url: {}/v3\n      username: {user}\n      \
             password: secret-of-{user}\n      project_name: {project}\n      \
             user_domain_id: default\n      project_domain_id: default\n    \
             region_name: RegionOne\n",
            keystone.url()
        );
    }
    fs::write(glancefs.scratch().join("clouds.yaml"), text).unwrap();
}

/// Runs `openstack` as a user.
#[track_caller]
fn try_as(glancefs: &Glancefs, user: &str, arguments: &str) -> Finished {
    let directory = std::env::var_os("GLANCEFS_TEST_OPENSTACK").expect("see scripts/test");
    let client = PathBuf::from(directory).join("bin/openstack");
    let script = format!("exec {} --os-cloud {user} {arguments}", client.display());
    // It keeps what it learnt of servers below its home.
    Running::start(glancefs.script(&script).env("HOME", glancefs.scratch())).wait()
}

#[track_caller]
fn run_as(glancefs: &Glancefs, user: &str, arguments: &str) -> String {
    let done = try_as(glancefs, user, arguments);
    assert!(done.ok(), "{user}: {arguments}: {}{}", done.stdout, done.stderr);
    done.stdout
}

#[track_caller]
fn names_for(glancefs: &Glancefs, user: &str) -> Vec<String> {
    let listed = run_as(glancefs, user, "image list -f json");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let images = listed.as_array().unwrap().iter();
    images.map(|image| image["Name"].as_str().unwrap().to_string()).collect()
}

#[test]
#[ignore = "needs a real Keystone and the openstack client"]
fn an_image_is_made_shared_accepted_deactivated_and_deleted() {
    let (owner, other) = ("project-a-member", "project-b-member");
    let keystone = Keystone::start();
    let glancefs = start(&keystone, 300, "");
    keystone.images_are_at(glancefs.api.unwrap());
    write_clouds(&glancefs, &keystone, &[owner, other]);
    glancefs.noise("data", 300_000);
    let create = "image create --file data --disk-format raw --container-format bare --shared one";
    run_as(&glancefs, owner, create);
    let id = glancefs.image("one").id;
    let project = keystone.id("project", "project-b");

    assert_eq!(names_for(&glancefs, other), [""; 0]);
    run_as(&glancefs, owner, &format!("image add project one {project}"));
    assert_eq!(names_for(&glancefs, other), [""; 0], "not accepted yet");
    run_as(&glancefs, other, &format!("image set --accept {id}"));
    assert_eq!(names_for(&glancefs, other), ["one"]);
    run_as(&glancefs, other, "image save --file saved one");
    glancefs.sh("cmp data saved");
    let refused = try_as(&glancefs, other, "image delete one");
    assert!(!refused.ok() && refused.stderr.contains("403"), "{}", refused.stderr);

    run_as(&glancefs, owner, "image set --deactivate one");
    // The client takes the refusal for the image, and finds its hash wrong.
    assert!(!try_as(&glancefs, other, "image save --file denied one").ok());
    let refused = get(&glancefs, &format!("/v2/images/{id}/file"), &keystone.token(other));
    assert!(refused.status == 403 && refused.body.contains("deactivated"), "{}", refused.body);
    run_as(&glancefs, owner, "image delete one");
    assert_eq!(names_for(&glancefs, owner), [""; 0]);
    assert_silent(&glancefs, &[]);
}
