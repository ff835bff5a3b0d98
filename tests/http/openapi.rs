//! `src/api/openapi.json` describes what is served: every path of the router with its methods, and
//! nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use glancefs::api::Settings;
use serde_json::Value;

use super::Server;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")
}

fn description() -> Value {
    serde_json::from_slice(&fs::read(root().join("openapi.json")).unwrap()).unwrap()
}

/// The methods that are described for a path.
fn methods(item: &Value) -> BTreeSet<String> {
    let keys = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
    keys.map(|key| key.to_uppercase()).collect()
}

/// The same path whatever its parts are called.
fn shape(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Paths that sources below a directory name in a `.route(…)`.
fn routes(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let old = path.strip_prefix(root()).unwrap().starts_with("v1.rs");
        let version = if old { "/v1" } else { "/v2" };
        for (_, rest) in text.match_indices(".route(").map(|(at, _)| text.split_at(at + 7)) {
            let Some(route) = rest.trim_start().strip_prefix('"') else { continue };
            let (route, _) = route.split_once('"').unwrap();
            found.insert(shape(&format!("{version}{route}")));
        }
    }
}

#[test]
fn every_route_is_described() {
    let mut served = BTreeSet::new();
    routes(&root(), &mut served);
    assert!(served.len() > 30, "the sources were not understood: {served:?}");
    let description = description();
    let paths = description["paths"].as_object().unwrap().keys();
    let versioned = paths.filter(|path| path.starts_with("/v"));
    let described: BTreeSet<_> =
        versioned.filter(|path| *path != "/versions").map(|path| shape(path)).collect();
    assert_eq!(described, served);
}

#[test]
fn every_description_is_what_the_router_does() {
    let server = Server::start(Settings { v1: true, ..Settings::default() });
    for (path, item) in description()["paths"].as_object().unwrap() {
        let real = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let real = real.collect::<Vec<_>>().join("/");
        if !path.starts_with("/v1/") && !path.starts_with("/v2/") {
            // Answered before there is a router.
            let answer = server.request("GET", &format!("/{}", real.trim_start_matches('/')), "");
            let status = answer.split(' ').nth(1).unwrap();
            assert!(item["get"]["responses"].get(status).is_some(), "{path}: {answer}");
            continue;
        }
        let refused = server.request("PROPFIND", &real, "");
        assert!(refused.starts_with("HTTP/1.1 405"), "{path}: {refused}");
        let allow = refused.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        let allowed: BTreeSet<_> = allow.split(", ").map(str::to_owned).collect();
        assert_eq!(methods(item), allowed, "{path}");
    }
}
