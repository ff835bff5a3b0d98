//! Delayed delete on one catalog, by the real Glance and its scrubber and by glancefs: each scrubs, and
//! brings back, what the other has deleted.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::glance_api::{ENVIRONMENT, GlanceApi, configure};
use crate::harness::{Glancefs, Start, eventually};
use crate::program;
use crate::shared_catalog::comparable;

/// What both programs read.
fn options(glancefs: &Glancefs) -> String {
    let datadir = glancefs.datadir();
    fs::create_dir_all(&datadir).unwrap();
    format!(
        "[DEFAULT]\nenabled_backends = file:file\ndelayed_delete = True\n\
         [glance_store]\ndefault_backend = file\n\
         [file]\nfilesystem_store_datadir = {}\n",
        datadir.display()
    )
}

/// A mount, and a glance-api beside it.
fn both() -> (Glancefs, GlanceApi) {
    let mut glancefs = Start::default().with_api().prepare();
    let options = options(&glancefs);
    glancefs.configure(&options);
    glancefs.start_again();
    let glance = GlanceApi::start(&configure(&glancefs, &options));
    (glancefs, glance)
}

/// Runs the real glance-scrubber once.
#[track_caller]
fn glance_scrubber(glancefs: &Glancefs, arguments: &[&str]) {
    let config = configure(glancefs, &options(glancefs)).join("glance-api.conf");
    let done = Command::new(program(ENVIRONMENT, "glance-scrubber"))
        .arg("--config-file")
        .arg(config)
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "glance-scrubber {arguments:?}: {stderr}");
}

#[test]
#[ignore = "needs the real Glance"]
fn glance_scrubs_what_glancefs_deleted() {
    let (glancefs, glance) = both();
    glancefs.noise("data", 1_000_003);
    glancefs.sh("cp data $M/a && cp data $M/kept");
    let id = glancefs.image("a").id;
    glancefs.sh("rm $M/a");
    assert!(glancefs.is_pending(&id) && glancefs.has_data(&id));
    assert_eq!(glance.api.names(), ["kept"]);
    glance_scrubber(&glancefs, &[]);
    assert!(glancefs.is_scrubbed(&id) && !glancefs.has_data(&id));
    assert!(glancefs.scrub("--list").contains("0 waiting"));
    glancefs.scrub_refused(&format!("--restore {id}"), "cannot be brought back");
    glancefs.assert_same("kept", "data", "raw");
}

#[test]
#[ignore = "needs the real Glance"]
fn glancefs_brings_back_and_scrubs_what_glance_deleted() {
    let (glancefs, glance) = both();
    let data = glancefs.noise("data", 1_000_003);
    let fields = json!({
        "name": "a", "disk_format": "raw", "container_format": "bare", "visibility": "shared",
        "hw_disk_bus": "scsi", "tags": ["x", "y"],
    });
    let id = glance.api.create(&fields, &data);
    let members = format!("/v2/images/{id}/members");
    glance.api.post(&members, &json!({"member": "other"}));
    let shown = |api: &crate::http::ImageApi| {
        let mut image = comparable(api.show(&id));
        image.as_object_mut().unwrap().remove("updated_at");
        let member: Value = api.get(&members)["members"][0]["member_id"].clone();
        (image, member)
    };
    let before = shown(&glance.api);
    assert_eq!(before.1, "other");
    glance.api.delete(&id);
    assert!(glancefs.is_pending(&id) && glancefs.has_data(&id));
    eventually("the mount sees it go", || glancefs.sh("ls $M").is_empty());
    assert!(glancefs.scrub("--list").contains(&id));

    glancefs.scrub(&format!("--restore {id}"));
    assert_eq!(glancefs.sh("ls $M; cmp data $M/a"), "a\n");
    assert_eq!(shown(&glance.api), before);
    glance.api.download(&id, &glancefs.scratch().join("from-glance"));
    glancefs.sh("cmp data from-glance");

    glance.api.delete(&id);
    assert!(glancefs.scrub("--once").contains(&format!("scrubbed  {id}")));
    assert!(glancefs.is_scrubbed(&id) && !glancefs.has_data(&id));
    glance_scrubber(&glancefs, &[]);
    assert!(glancefs.is_scrubbed(&id));
}

#[test]
#[ignore = "needs the real Glance"]
fn glances_own_way_back_loses_the_data() {
    let (glancefs, glance) = both();
    glancefs.noise("data", 1_000_003);
    glancefs.sh("cp data $M/a && rm $M/a");
    let waiting: Value = serde_json::from_str(&glancefs.scrub("--list --json")).unwrap();
    let id = waiting["waiting"][0]["id"].as_str().unwrap().to_owned();
    glance_scrubber(&glancefs, &["--restore", &id]);
    assert_eq!(glance.api.show(&id)["status"], "active");
    assert_eq!(glancefs.fate(&id), ("active".into(), false, vec!["pending_delete".into()]));
    eventually("glancefs sees it", || glancefs.sh("ls $M") == "a\n");
    glancefs.refused("cat $M/a", "error");
}
