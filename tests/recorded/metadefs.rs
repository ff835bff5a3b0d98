//! What was in the catalog before the recordings of metadata definitions began: some of Glance's
//! own definitions, loaded from files.  What matters of them is in the recordings themselves.

use std::path::Path;

use glancefs::catalog::metadefs::Existing;
use glancefs::metadefs::load;
use serde_json::{Value, json};

/// Makes files of what the recorded lists show, and loads them.
pub fn load(directory: &Path) {
    let path = format!("{}/tests/data/glance-api/16-metadefs.json", env!("CARGO_MANIFEST_DIR"));
    let exchanges: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let answer = |name: &str| {
        let exchanges = exchanges.as_array().unwrap();
        exchanges.iter().find(|exchange| exchange["name"] == name).unwrap()["response"]["body"]
            ["json"]
            .clone()
    };
    let types = &answer("rt list")["resource_types"];
    // Sorts behind those that the lists show, and is the oldest.
    let first = json!({"namespace": "Z", "resource_type_associations": types});
    let listed = answer("ns list")["namespaces"].clone();
    let by_name = answer("ns list member")["namespaces"].clone();
    // The oldest first.
    let namespaces = [&first, &by_name[0], &listed[1], &listed[0]];
    let files = directory.join("metadefs");
    std::fs::create_dir(&files).unwrap();
    for (at, namespace) in namespaces.into_iter().enumerate() {
        std::fs::write(files.join(format!("{at}.json")), namespace.to_string()).unwrap();
    }
    let catalog = crate::core::catalog(directory).metadefs;
    for (file, outcome) in load::path(&*catalog, &files, Existing::Keep).unwrap() {
        outcome.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
