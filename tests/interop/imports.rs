//! Imports: asked for by the real `openstack` client, and seen by the real Glance.

use serde_json::{Value, json};

use crate::client::openstack;
use crate::glance_api::GlanceApi;
use crate::harness::{Glancefs, Start, eventually};
use crate::shared_catalog::ours;

/// Two stores beside each other, `fast` and `slow`.
fn two_stores() -> Glancefs {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let at = |name| glancefs.directory().join(name).display().to_string();
    let text = format!(
        "[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
         [fast]\nfilesystem_store_datadir = {}\n[slow]\nfilesystem_store_datadir = {}\n",
        at("fast"),
        at("slow")
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs
}

fn json_of(glancefs: &Glancefs, arguments: &str) -> Value {
    serde_json::from_str(&openstack(glancefs, &format!("{arguments} -f json"))).unwrap()
}

#[test]
#[ignore = "needs the real openstack client"]
fn the_client_stages_imports_and_copies() {
    let glancefs = two_stores();
    glancefs.noise("data", 3_000_001);
    let methods = json_of(&glancefs, "import info");
    assert!(methods.to_string().contains("glance-direct"), "{methods}");
    // The client itself would take its standard input for data.
    ours(&glancefs).post(
        "/v2/images",
        &json!({"name": "one", "disk_format": "raw", "container_format": "bare"}),
    );
    openstack(&glancefs, "stage --file data one");
    openstack(&glancefs, "import --method glance-direct --store slow --wait one");
    let made = glancefs.assert_same("one", "data", "raw");
    openstack(&glancefs, "import --method copy-image --all-stores --wait one");
    eventually("it is copied", || glancefs.image("one").locations.len() == 2);
    glancefs.sh(&format!("cmp ../fast/{0} data && cmp ../slow/{0} data", made.id));
    eventually("both tasks have ended", || {
        let tasks = json_of(&glancefs, "task list");
        let ended = |task: &Value| task["Status"] == "success";
        tasks.as_array().is_some_and(|tasks| tasks.len() == 2 && tasks.iter().all(ended))
    });
    openstack(&glancefs, "delete one");
    assert_eq!(
        glancefs.sh("ls ../fast ../slow ../state/staging | grep -c '^.\\{36\\}$' || true").trim(),
        "0"
    );
}

#[test]
#[ignore = "needs the real Glance"]
fn glance_shows_what_glancefs_imported() {
    let glancefs = Start::default().with_api().mount();
    glancefs.noise("data", 3_000_001);
    let api = ours(&glancefs);
    let fields = json!({"name": "one", "disk_format": "raw", "container_format": "bare"});
    api.post("/v2/images", &fields);
    let id = glancefs.image("one").id;
    let address = glancefs.api.unwrap();
    glancefs.sh(&format!(
        "curl -sS --fail-with-body -T data -H 'Content-Type: application/octet-stream' \
         http://{address}/v2/images/{id}/stage"
    ));
    api.post(&format!("/v2/images/{id}/import"), &json!({"method": {"name": "glance-direct"}}));
    eventually("it is imported", || glancefs.image("one").status == "active");
    let path = format!("/v2/images/{id}/tasks");
    eventually("its task has ended", || api.get(&path)["tasks"][0]["status"] == "success");
    let glance = GlanceApi::beside(&glancefs);
    glance.api.download(&id, &glancefs.scratch().join("from-glance"));
    glancefs.sh("cmp from-glance data");
    assert_eq!(glance.api.get(&path), api.get(&path));
    let task = api.get(&path)["tasks"][0]["id"].as_str().unwrap().to_string();
    let path = format!("/v2/tasks/{task}");
    assert_eq!(glance.api.get(&path), api.get(&path));
    assert_eq!(glance.api.get("/v2/tasks?limit=1"), api.get("/v2/tasks?limit=1"));
}
