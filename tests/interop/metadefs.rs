//! Metadata definitions: Glance's own files, and what either makes, look the same by both APIs.

use std::process::Command;

use serde_json::{Value, json};

use crate::glance_api::{GlanceApi, glance_files, glance_manage};
use crate::harness::{Glancefs, Start};
use crate::shared_catalog::ours;

/// Compares every namespace and all that it has; returns how many there are.
#[track_caller]
fn assert_same_definitions(glancefs: &Glancefs, glance: &GlanceApi) -> usize {
    assert_alike_definitions(glancefs, glance, |shown| shown)
}

/// The same, of what `comparable` leaves of each answer.
#[track_caller]
pub(crate) fn assert_alike_definitions(
    glancefs: &Glancefs,
    glance: &GlanceApi,
    comparable: impl Fn(Value) -> Value,
) -> usize {
    let ours = ours(glancefs);
    let assert_same = |path: &str| -> Value {
        let shown = comparable(ours.get(path));
        assert_eq!(shown, comparable(glance.api.get(path)), "{path}");
        shown
    };
    let list = "/v2/metadefs/namespaces?limit=1000&sort_key=namespace&sort_dir=asc";
    let namespaces = assert_same(list)["namespaces"].as_array().unwrap().clone();
    for namespace in &namespaces {
        let path = namespace["self"].as_str().unwrap();
        assert_same(path);
        assert_same(&format!("{path}?resource_type=OS::Glance::Image"));
        for kind in ["objects", "properties", "tags", "resource_types"] {
            assert_same(&format!("{path}/{kind}"));
        }
    }
    assert_same("/v2/metadefs/resource_types");
    for page in ["limit=7", "resource_types=OS::Nova::Flavor,OS::Cinder::Volume", "sort_key=owner"]
    {
        assert_same(&format!("/v2/metadefs/namespaces?{page}"));
    }
    namespaces.len()
}

fn everything(namespace: &str) -> Value {
    let property = json!({
        "title": "P", "type": "array", "items": {"type": "string", "enum": ["x"]},
        "default": "x", "operators": ["<or>"], "maxItems": 3, "readonly": false,
    });
    json!({
        "namespace": namespace, "display_name": "Größe", "visibility": "public", "owner": "me",
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "x_"}],
        "properties": {"p": property, "q": {"title": "Q", "type": "string", "minLength": 1}},
        "objects": [{"name": "o", "required": ["p"], "properties": {"p": property}}],
        "tags": [{"name": "a"}, {"name": "b"}],
    })
}

#[test]
#[ignore = "needs the real Glance"]
fn glances_own_definitions_are_loaded_as_glance_loads_them() {
    let glancefs = Start::default().with_api().mount();
    let files = glance_files("metadefs");
    let mut load = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    load.args(["db", "load-metadefs", "--state-dir"]).arg(glancefs.state_dir()).arg(&files);
    let loaded = load.output().unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    let glance = GlanceApi::beside(&glancefs);
    let count = assert_same_definitions(&glancefs, &glance);
    assert!(count > 25, "only {count} were loaded");

    // Glance finds nothing new, and what it replaces looks as before.
    let files = files.display().to_string();
    glance_manage(&glancefs, &["db", "load_metadefs", "--path", &files]);
    glance_manage(&glancefs, &["db", "load_metadefs", "--path", &files, "--merge", "--overwrite"]);
    assert_eq!(assert_same_definitions(&glancefs, &glance), count);
}

#[test]
#[ignore = "needs the real Glance"]
fn definitions_that_either_makes_look_the_same() {
    let glancefs = Start::default().with_api().mount();
    let glance = GlanceApi::beside(&glancefs);
    ours(&glancefs).post("/v2/metadefs/namespaces", &everything("Made::by::glancefs"));
    glance.api.post("/v2/metadefs/namespaces", &everything("Made::by::glance"));
    for (api, namespace) in [(&glance.api, "glancefs"), (&ours(&glancefs), "glance")] {
        let path = format!("/v2/metadefs/namespaces/Made::by::{namespace}");
        let property = json!({"name": "late", "title": "L", "type": "integer", "minimum": 0});
        api.post(&format!("{path}/properties"), &property);
        api.post(&format!("{path}/objects"), &json!({"name": "late", "properties": {}}));
        api.post(&format!("{path}/tags"), &json!({"tags": [{"name": "c"}, {"name": "d"}]}));
    }
    assert_eq!(assert_same_definitions(&glancefs, &glance), 2);
}
