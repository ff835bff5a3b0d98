//! The real `openstack` client against our API.

use serde_json::Value;

use crate::harness::{Glancefs, Running, Start};
use crate::program;

/// Runs `openstack image …` in the scratch directory; returns what it prints.
#[track_caller]
pub(crate) fn openstack(glancefs: &Glancefs, arguments: &str) -> String {
    let client = program("GLANCEFS_TEST_OPENSTACK", "openstack");
    let script = format!(
        "exec {} --os-auth-type none --os-endpoint http://{} image {arguments}",
        client.display(),
        glancefs.api.unwrap()
    );
    // It keeps what it learnt of servers below its home.
    let mut command = glancefs.script(&script);
    let done = Running::start(command.env("HOME", glancefs.scratch())).wait();
    assert!(done.ok(), "{arguments}: {}{}", done.stdout, done.stderr);
    done.stdout
}

#[track_caller]
fn openstack_json(glancefs: &Glancefs, arguments: &str) -> Value {
    let text = openstack(glancefs, &format!("{arguments} -f json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments}: {error}: {text}"))
}

#[test]
#[ignore = "needs the real openstack client"]
fn an_image_from_its_making_to_its_end() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("data", 3_000_001);
    openstack(
        &glancefs,
        "create --file data --disk-format raw --container-format bare \
         --property os_distro=debian --tag first one",
    );
    let made = glancefs.assert_same("one", "data", "raw");
    glancefs.sh("cmp data $M/one");

    let listed = openstack_json(&glancefs, "list --long");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["ID"], made.id.as_str());
    assert_eq!(listed[0]["Name"], "one");
    assert_eq!(listed[0]["Status"], "active");
    assert_eq!(listed[0]["Size"], 3_000_001);

    // By name, which the client looks up.
    let shown = openstack_json(&glancefs, "show one");
    assert_eq!(shown["id"], made.id.as_str());
    assert_eq!(shown["checksum"], made.checksum.as_deref().unwrap());
    assert_eq!(shown["properties"]["os_distro"], "debian");
    assert_eq!(shown["tags"], serde_json::json!(["first"]));

    openstack(&glancefs, "set --property note='two words' --property os_distro=ubuntu one");
    openstack(&glancefs, "set --name two --public --tag second --min-ram 64 one");
    openstack(&glancefs, "unset --tag first --property note two");
    let shown = openstack_json(&glancefs, "show two");
    assert_eq!(shown["visibility"], "public");
    assert_eq!(shown["min_ram"], 64);
    assert_eq!(shown["tags"], serde_json::json!(["second"]));
    assert_eq!(shown["properties"]["os_distro"], "ubuntu");
    assert_eq!(shown["properties"].get("note"), None);
    assert_eq!(glancefs.sh("ls -l $M | tail -n 1 | cut -c 1-10; ls $M"), "-rw-r--r--\ntwo\n");

    openstack(&glancefs, "save --file saved two");
    glancefs.sh("cmp data saved");
    openstack(&glancefs, "delete two");
    assert_eq!(glancefs.sh("ls $M"), "");
    glancefs.assert_only(&[]);
}

#[test]
#[ignore = "needs the real openstack client"]
fn an_image_made_in_the_mount_is_like_any_other() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("data", 100_000);
    glancefs.sh("qemu-img create -q -f qcow2 $M/disk.qcow2 32M; cp data $M/data.raw");
    let shown = openstack_json(&glancefs, "show disk.qcow2");
    assert_eq!(shown["disk_format"], "qcow2");
    assert_eq!(shown["virtual_size"], 32 << 20);
    openstack(&glancefs, "save --file saved data.raw");
    glancefs.sh("cmp data saved");
    openstack(&glancefs, "set --protected data.raw");
    glancefs.refused("rm -f $M/data.raw", "Operation not permitted");
    openstack(&glancefs, "set --unprotected --name renamed.raw data.raw");
    glancefs.sh("cmp data $M/renamed.raw; rm $M/renamed.raw");
    let listed = openstack_json(&glancefs, "list");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}
