//! One catalog, served by glance-api and by glancefs: each shows what the other made.

use serde_json::{Value, json};

use crate::glance_api::{GlanceApi, glance_manage};
use crate::harness::{Glancefs, Start, eventually};
use crate::http::ImageApi;

/// What our own API serves.
pub(crate) fn ours(glancefs: &Glancefs) -> ImageApi {
    ImageApi::at(&format!("http://{}", glancefs.api.expect("it serves")))
}

/// The image's data, as both APIs, the mount and the file say it is.
#[track_caller]
fn assert_same_everywhere(glancefs: &Glancefs, glance: &GlanceApi, name: &str, file: &str) {
    let id = glancefs.image(name).id;
    glance.api.download(&id, &glancefs.scratch().join("from-glance"));
    ours(glancefs).download(&id, &glancefs.scratch().join("from-glancefs"));
    glancefs
        .sh(&format!("cmp from-glance {file}; cmp from-glancefs {file}; cmp \"$M/{name}\" {file}"));
}

/// An image's fields, in words that do not depend on who serves it.
pub(crate) fn comparable(mut image: Value) -> Value {
    // Which stores hold it is told by servers that have several.
    image.as_object_mut().unwrap().remove("stores");
    image
}

#[track_caller]
fn assert_same_list(glancefs: &Glancefs, glance: &GlanceApi) {
    let of = |api: &ImageApi| api.list().into_iter().map(comparable).collect::<Vec<_>>();
    assert_eq!(of(&ours(glancefs)), of(&glance.api));
}

#[test]
#[ignore = "needs the real Glance"]
fn glance_serves_what_glancefs_made() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("plain.raw", 3_000_001);
    glancefs.sh("cp plain.raw $M/\n\
         qemu-img create -q -f qcow2 small.qcow2 64M\n\
         cp small.qcow2 $M/\n\
         cp plain.raw \"$M/größer 100%2F.raw\"\n\
         setfattr -n user.glance.property.os_distro -v debian $M/small.qcow2\n\
         setfattr -n user.glance.min_ram -v 512 $M/small.qcow2\n\
         setfattr -n user.glance.protected -v true $M/small.qcow2\n\
         setfattr -n user.glance.visibility -v public $M/plain.raw");
    let id = glancefs.image("small.qcow2").id;
    ours(&glancefs).tag(&id, "small");
    let glance = GlanceApi::beside(&glancefs);
    assert_same_list(&glancefs, &glance);
    assert_same_everywhere(&glancefs, &glance, "plain.raw", "plain.raw");
    assert_same_everywhere(&glancefs, &glance, "small.qcow2", "small.qcow2");
    let shown = glance.api.show(&id);
    assert_eq!(shown["os_distro"], "debian");
    assert_eq!(shown["tags"], json!(["small"]));
    assert_eq!(shown["virtual_size"], 64 << 20);
    assert_eq!(shown["protected"], true);
}

#[test]
#[ignore = "needs the real Glance"]
fn glancefs_serves_what_glance_made() {
    let mut glancefs = Start::default().with_api().prepare();
    std::fs::create_dir(glancefs.state_dir()).unwrap();
    glance_manage(&glancefs, &["db", "sync"]);
    let glance = GlanceApi::beside(&glancefs);
    let data = glancefs.noise("data", 2_345_678);
    let fields = json!({
        "name": "made by glance", "disk_format": "raw", "container_format": "bare",
        "visibility": "community", "min_disk": 3, "hw_disk_bus": "scsi", "tags": ["b", "a"],
    });
    let id = glance.api.create(&fields, &data);
    glance.api.patch(&id, &json!([{"op": "add", "path": "/note", "value": "größer"}]));
    glance.api.tag(&id, "later");

    glancefs.start_again();
    assert_same_list(&glancefs, &glance);
    assert_same_everywhere(&glancefs, &glance, "made by glance", "data");
    let attribute = |name: &str| {
        let script = format!("getfattr --only-values -n user.glance.{name} \"$M/made by glance\"");
        glancefs.sh(&script)
    };
    assert_eq!(attribute("id"), id);
    assert_eq!(attribute("min_disk"), "3");
    assert_eq!(attribute("property.note"), "größer");
    assert_eq!(attribute("property.hw_disk_bus"), "scsi");
    assert_eq!(attribute("visibility"), "community");

    // What it changes later is seen, too.
    glance.api.patch(&id, &json!([{"op": "replace", "path": "/name", "value": "renamed"}]));
    eventually("the new name is seen", || glancefs.sh("ls $M") == "renamed\n");
    glance.api.delete(&id);
    eventually("it is gone", || glancefs.sh("ls $M").is_empty());
    assert!(!glancefs.try_sh("cat $M/renamed").ok());
}

#[test]
#[ignore = "needs the real Glance"]
fn both_work_on_one_catalog_at_the_same_time() {
    let glancefs = Start::default().with_api().mount();
    let glance = GlanceApi::beside(&glancefs);
    let data = glancefs.noise("data", 1_000_003);
    // In turns: Glance reads and then writes in one transaction, which SQLite refuses (as it does
    // among Glance's own threads) if somebody else has written in between.
    for n in 1..=8 {
        glancefs.sh(&format!("cp data $M/fs-{n}"));
        let name = format!("glance-{n}");
        let fields = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
        glance.api.create(&fields, &data);
    }
    eventually("all are seen", || glancefs.sh("ls $M | wc -l").trim() == "16");
    assert_same_list(&glancefs, &glance);
    for n in 1..=8 {
        glancefs.assert_same(&format!("fs-{n}"), "data", "raw");
        glancefs.assert_same(&format!("glance-{n}"), "data", "raw");
    }

    // Each removes what the other made, with the data.
    for n in 1..=8 {
        glance.api.delete(&glancefs.image(&format!("fs-{n}")).id);
    }
    glancefs.sh("rm $M/glance-*");
    assert_eq!(glance.api.names(), [""; 0]);
    eventually("all are gone", || glancefs.sh("ls $M").is_empty());
    glancefs.assert_only(&[]);
}

#[test]
#[ignore = "needs the real Glance"]
fn glance_has_nothing_to_upgrade_in_our_database() {
    let mut glancefs = Glancefs::mount();
    glancefs.noise("data", 4096);
    glancefs.sh("cp data $M/kept");
    assert!(glancefs.terminate().success());
    let theirs = glance_manage(&glancefs, &["db", "version"]);
    let ours = glancefs.database().rows("SELECT version_num FROM alembic_version", &[]);
    assert_eq!(Some(theirs.trim()), ours[0][0].as_deref());
    glance_manage(&glancefs, &["db", "sync"]);
    glancefs.start_again();
    glancefs.assert_same("kept", "data", "raw");
}
