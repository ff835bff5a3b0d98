//! The cache by the API: where there is none, and what goes with an image.

use std::time::{Duration, Instant};

use glancefs::api::Settings;
use glancefs::images::{ImageCache, Options};

use super::{Server, put};

fn with_cache(directory: &tempfile::TempDir) -> Server {
    let cache = ImageCache { directory: directory.path().to_path_buf(), max_size: 1 << 30 };
    let node = Some("http://node.example:9292".to_string());
    let options =
        Options { image_cache: Some(cache), worker_self_reference_url: node, ..Options::default() };
    Server::with(Settings::default(), options)
}

fn active_image(server: &Server) -> String {
    let id = server.queued_image();
    let stored = server.ask(&format!("{}data", put(&id, "Content-Length: 4\r\n")));
    assert!(stored.starts_with("HTTP/1.1 204"), "{stored}");
    id
}

fn eventually(server: &Server, path: &str, wanted: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while !server.request("GET", path, "").contains(wanted) {
        assert!(Instant::now() < until, "{path} never has {wanted}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_a_cache_the_site_does_not_support_it() {
    let server = Server::start(Settings::default());
    for path in ["/v2/cache", "/v2/cached_images", "/v2/queued_images"] {
        let answer = server.request("GET", path, "");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.contains("Caching via API is not supported at this site."), "{answer}");
    }
    assert!(!server.request("GET", "/", "").contains("v2.14"));
}

#[test]
fn a_cached_image_has_a_node_and_goes_with_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let server = with_cache(&directory);
    assert!(server.request("GET", "/", "").contains("\"v2.18\",\"status\":\"CURRENT\""));
    let id = active_image(&server);
    let path = format!("/v2/cache/{id}");
    assert!(server.request("PUT", &path, "").starts_with("HTTP/1.1 202"));
    eventually(&server, "/v2/cache", &format!("\"image_id\":\"{id}\""));
    let nodes = server.request("GET", &format!("/v2/cache/nodes/{id}"), "");
    assert!(nodes.ends_with("[\"http://node.example:9292\"]"), "{nodes}");
    assert!(directory.path().join("glancefs").join(&id).exists());
    assert!(server.request("DELETE", &format!("/v2/images/{id}"), "").starts_with("HTTP/1.1 204"));
    eventually(&server, "/v2/cache", "\"cached_images\":[]");
    assert!(server.request("DELETE", &path, "").starts_with("HTTP/1.1 404"));
}

#[test]
fn the_older_resources_count_what_they_remove() {
    let directory = tempfile::tempdir().unwrap();
    let server = with_cache(&directory);
    let id = active_image(&server);
    assert!(server.request("PUT", &format!("/v2/queued_images/{id}"), "").contains("200 OK"));
    eventually(&server, "/v2/cached_images", &id);
    assert!(server.request("DELETE", "/v2/cached_images", "").ends_with("{\"num_deleted\":1}"));
    assert!(server.request("DELETE", "/v2/queued_images", "").ends_with("{\"num_deleted\":0}"));
    assert!(server.request("POST", "/v2/cache/prune", "").contains("\"total_files_pruned\":0"));
    assert!(server.request("POST", "/v2/cache/clean", "").starts_with("HTTP/1.1 200"));
}
