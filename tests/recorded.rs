//! Replays what was recorded from a real Glance against a listening server, and compares.
//!
//! Requests go in the recorded order, as the recorded actors.  Ids that the server makes up are
//! followed through later paths and bodies.  A difference that is meant is in [`MEANT`] with its
//! reason; any other fails the test.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "recorded/client.rs"]
mod client;
#[path = "recorded/compare.rs"]
mod compare;
#[path = "harness/core.rs"]
mod core;
#[path = "recorded/metadefs.rs"]
mod metadefs;
#[path = "recorded/scene.rs"]
mod scene;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compare::Names;
use glancefs::api::{Api, Identity, Settings, Unauthenticated, serve};
use glancefs::identity::{ProjectId, RequestContext};
use glancefs::images::{Backend, ImageCache, Options};
use serde_json::Value;

const AREAS: &[&str] = &[
    "01-versions",
    "02-schemas",
    "03-create",
    "04-list",
    "05-show",
    "06-patch",
    "07-file",
    "08-actions",
    "09-tags",
    "10-members",
    "11-delete",
    "14-cache",
    "16-metadefs",
    "17-error-format-by-accept",
    "20-quotas",
];

/// Exchanges that are not replayed: (area, beginning of the name, why).
const SKIPPED: &[(&str, &str, &str)] = &[
    ("02", "schema task", "tasks come later"),
    ("14", "list queued", "whether it is copied by then is chance"),
    ("17", "403 Accept", "asks for /v2/tasks, which come later"),
    ("20", "usage", "shows Keystone's unified limits, which come later"),
    ("20", "PUT over size quota", "a limit of Keystone's"),
    ("20", "create over count", "a limit of Keystone's"),
    ("20", "stage", "staging comes later, and one is a limit of Keystone's"),
    ("20", "upload over image_count_uploading", "of an image that was staged"),
    ("20", "import web-download", "imports come later"),
];

/// Differences that are meant: (area, beginning of the name, why).
const MEANT: &[(&str, &str, &str)] = &[
    ("03", "array body", "Glance fails with 500; the client's mistake is a 400"),
    ("06", "replace stores", "Glance takes `stores` for a property here; it is read-only"),
    ("06", "locations", "locations cannot be changed by PATCH yet"),
    ("07", "POST file", "a refused method does not read the body first"),
    ("07", "image after mismatch", "digests of refused data are not kept"),
    ("07", "PUT X-Image-Meta-Store slow", "there is one store, and the header names others"),
    ("07", "image in slow", "there is one store, and the header names others"),
    ("07", "PUT read-only http store", "there is one store, and the header names others"),
    ("09", "show", "Glance's server reads the path as Latin-1: the tag é is recorded as Ã©"),
    ("10", "create non-string", "a project's id is text"),
    ("10", "create long", "more than the column of a MySQL catalog holds"),
    ("10", "list owner", "shows the two that are refused here"),
    ("10", "reader list", "shows the two that are refused here"),
    ("10", "member show image", "shows the tag é"),
    ("10", "member list images pending", "shows the tag é"),
    ("10", "member list images accepted", "shows the tag é"),
    ("11", "protect", "shows the tag é"),
    ("11", "unprotect", "shows the tag é"),
    ("14", "list after hit", "hits are counted; Glance's server did not get to it"),
    ("16", "ns list bad sort", "Glance fails with 500; the client's mistake is a 400"),
    ("16", "tag bad", "Glance fails with 500; the client's mistake is a 400"),
    ("17", "500 array body", "Glance fails with 500; the client's mistake is a 400"),
    ("17", "200 list", "shows a location that PATCH made"),
    ("17", "gzip", "shows a location that PATCH made"),
];

const DEMO: &str = "2b2880b8bc3347569e3c0888cc111d51";
const ALT_DEMO: &str = "5306a2ce707e48abaf0340810b2800fe";
const ADMIN: &str = "5e9ea9fe55234b5688a473489a964223";

fn who(token: Option<&str>) -> Result<RequestContext, Unauthenticated> {
    let member = |project| RequestContext::member_of(ProjectId::new(project));
    match token {
        Some("TOKEN-demo") => Ok(member(DEMO)),
        Some("TOKEN-alt_demo") => Ok(member(ALT_DEMO)),
        Some("TOKEN-demo_reader") => {
            Ok(RequestContext { roles: vec!["reader".to_string()], ..member(DEMO) })
        }
        Some("TOKEN-admin") => {
            let project = Some(ProjectId::new(ADMIN));
            Ok(RequestContext { project, ..RequestContext::operator() })
        }
        _ => Err(Unauthenticated {
            challenge: "Keystone uri=\"http://keystone.example:5000/v3\"".parse().ok(),
        }),
    }
}

/// A server on a free port, until the process ends.
fn start() -> SocketAddr {
    let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
    let cache = ImageCache { directory: directory.path().join("cache"), max_size: 1 << 30 };
    let options = Options {
        show_image_direct_url: true,
        show_multiple_locations: true,
        image_cache: Some(cache),
        enabled_backends: vec![Backend { name: "file".to_string(), description: None }],
        ..Options::default()
    };
    let identity = Identity::FromHeaders(Arc::new(|headers| {
        let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok());
        let context = who(token);
        Box::pin(async move { context })
    }));
    let images = core::images(directory.path(), options);
    metadefs::load(directory.path());
    let metadefs = core::metadefs(directory.path());
    // The recorded server had a proxy before it, and believed it.
    let settings = Settings { behind_proxy: true, ..Settings::default() };
    let api = Arc::new(Api::new(images, metadefs, identity, settings));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, api, std::future::pending()).await.unwrap();
        });
        drop(directory);
    });
    address
}

struct Replay {
    server: SocketAddr,
    names: Names,
    matching: usize,
    replayed: usize,
    meant: Vec<String>,
    used: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

#[test]
fn glance_would_have_said_the_same() {
    let mut replay = Replay {
        server: start(),
        names: Names::default(),
        matching: 0,
        replayed: 0,
        meant: Vec::new(),
        used: BTreeSet::new(),
        wrong: Vec::new(),
    };
    for area in AREAS {
        replay.set_scene(area);
        replay.wait_until_cached(area, "");
        let path = format!("{}/tests/data/glance-api/{area}.json", env!("CARGO_MANIFEST_DIR"));
        let exchanges: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for (number, exchange) in exchanges.as_array().unwrap().iter().enumerate() {
            replay.exchange(area, number, exchange);
        }
    }
    for line in &replay.meant {
        println!("meant: {line}");
    }
    for line in &replay.wrong {
        println!("DIFFERENT: {line}");
    }
    for (area, name, _) in MEANT.iter().filter(|(_, name, _)| !replay.used.contains(name)) {
        println!("no longer different: {area} {name}");
    }
    println!("{} of {} match", replay.matching, replay.replayed);
    assert!(replay.wrong.is_empty(), "{} exchanges differ", replay.wrong.len());
}

type Table = &'static [(&'static str, &'static str, &'static str)];

fn entry(table: Table, area: &str, name: &str) -> Option<(&'static str, &'static str)> {
    let found = table.iter().find(|(a, n, _)| area.starts_with(a) && name.starts_with(n));
    found.map(|(_, name, reason)| (*name, *reason))
}

impl Replay {
    /// Creates the images that an area takes for granted.
    fn set_scene(&mut self, area: &str) {
        for prop in scene::props().into_iter().filter(|prop| area.starts_with(prop.area)) {
            if prop.id == scene::LIST_MIDDLE {
                self.next_second();
            }
            let body = prop.body.to_string();
            let created = self.send(prop.actor, "POST", "/v2/images", &[], Some(body.as_bytes()));
            assert_eq!(created.status, 201, "{}", String::from_utf8_lossy(&created.body));
            let ours = created.json()["id"].as_str().unwrap().to_string();
            self.names.pair(prop.id, &ours);
            if let Some(data) = prop.data {
                let kind = [("Content-Type".to_string(), "application/octet-stream".to_string())];
                let path = format!("/v2/images/{ours}/file");
                let stored = self.send(prop.actor, "PUT", &path, &kind, Some(data));
                assert_eq!(stored.status, 204, "{}", String::from_utf8_lossy(&stored.body));
            }
            if prop.id == scene::LIST_MIDDLE {
                let created = created.json()["created_at"].as_str().unwrap().to_string();
                let encoded = |time: &str| time.replace(':', "%3A");
                self.names.pair(&encoded(scene::LIST_TIME), &encoded(&created));
                self.names.pair(scene::LIST_TIME, &created);
            }
        }
    }

    /// Whatever is in the cache when an exchange begins is so here, too.
    fn wait_until_cached(&self, area: &str, exchange: &str) {
        let cached = scene::CACHED.iter().find(|(name, _)| area == "14-cache" && exchange == *name);
        let Some((_, recorded)) = cached else { return };
        let id = self.names.to_ours(recorded);
        let queued = self.send("admin", "PUT", &format!("/v2/cache/{id}"), &[], None);
        assert_eq!(queued.status, 202, "{}", String::from_utf8_lossy(&queued.body));
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let state = self.send("admin", "GET", "/v2/cache", &[], None).json();
            let images = state["cached_images"].as_array().unwrap().iter();
            if images.map(|image| &image["image_id"]).any(|image| *image == id) {
                return;
            }
            assert!(Instant::now() < until, "{id} is not cached: {state}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Times are shown in seconds, and the filters are about whole ones.
    fn next_second(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        std::thread::sleep(Duration::from_nanos(1_001_000_000 - u64::from(since.subsec_nanos())));
    }

    fn send(
        &self,
        actor: &str,
        method: &str,
        path: &str,
        more: &[(String, String)],
        body: Option<&[u8]>,
    ) -> client::Answer {
        let mut headers = more.to_vec();
        let mut add = |name: &str, value: String| {
            if !more.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                headers.push((name.to_string(), value));
            }
        };
        add("Host", "glance.example:9292".to_string());
        if actor != "anonymous" {
            add("X-Auth-Token", format!("TOKEN-{actor}"));
        }
        client::send(self.server, method, path, &headers, body)
    }

    fn exchange(&mut self, area: &str, number: usize, exchange: &Value) {
        let name = exchange["name"].as_str().unwrap();
        if entry(SKIPPED, area, name).is_some() {
            return;
        }
        self.wait_until_cached(area, name);
        let request = &exchange["request"];
        let recorded = &exchange["response"];
        let path = self.names.to_ours(request["path"].as_str().unwrap());
        let headers: Vec<_> = request["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string()))
            .collect();
        let body = self.body(&request["body"]);
        let (actor, method) = (&exchange["actor"], request["method"].as_str().unwrap());
        let answer = self.send(actor.as_str().unwrap(), method, &path, &headers, body.as_deref());
        if answer.status == 201
            && let Some(recorded) = recorded["body"]["json"]["id"].as_str()
        {
            self.names.pair(recorded, answer.json()["id"].as_str().unwrap());
        }
        let differences = compare::differences(recorded, &answer, &self.names);
        self.replayed += 1;
        if differences.is_empty() {
            self.matching += 1;
            return;
        }
        let line = format!("{area} #{number} [{name}]: ");
        match entry(MEANT, area, name) {
            Some((key, reason)) => {
                self.used.insert(key);
                self.meant.push(line + reason);
            }
            None => self.wrong.push(line + &differences.join("\n    ")),
        }
    }

    fn body(&self, body: &Value) -> Option<Vec<u8>> {
        if let Some(json) = body.get("json") {
            return Some(self.names.to_ours(&json.to_string()).into_bytes());
        }
        if let Some(text) = body.get("text") {
            return Some(text.as_str().unwrap().as_bytes().to_vec());
        }
        Some(scene::upload(body.get("bytes")?.as_u64().unwrap()))
    }
}
