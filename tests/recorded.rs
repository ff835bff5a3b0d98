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
#[path = "recorded/files.rs"]
mod files;
#[path = "recorded/imports.rs"]
mod imports;
#[path = "recorded/limits.rs"]
mod limits;
#[path = "recorded/metadefs.rs"]
mod metadefs;
#[path = "recorded/scene.rs"]
mod scene;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compare::Names;
use glancefs::api::{Api, Identity, Settings, Stranger, serve};
use glancefs::identity::{ProjectId, RequestContext};
use glancefs::images::{Backend, ImageCache, ImportOptions, Options};
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
    "12-import",
    "13-tasks",
    "14-cache",
    "15-locations",
    "16-metadefs",
    "17-error-format-by-accept",
    "18-import-admin",
    "19-locations-more",
    "20-quotas",
];

/// Exchanges that are not replayed: (area, beginning of the name or number, why).
const SKIPPED: &[(&str, &str, &str)] = &[
    ("12", "right after", "shows a moment of the import that nobody can wait for"),
    ("12", "show right after", "shows a moment of the import that nobody can wait for"),
    ("15", "right after", "shows a moment of the task that nobody can wait for"),
    ("15", "POST extra key", "nobody can be sure to be in time"),
    ("15", "POST with validation_data", "nobody can be sure to be in time"),
    ("18", "immediately again", "nobody can be sure to be in time"),
    ("14", "list queued", "whether it is copied by then is chance"),
];

/// Differences that are meant: (area, beginning of the name, why).
const MEANT: &[(&str, &str, &str)] = &[
    ("03", "array body", "Glance fails with 500; the client's mistake is a 400"),
    ("06", "replace stores", "Glance takes `stores` for a property here; it is read-only"),
    ("06", "locations add dup", "one place once: else removing one would take the other's data"),
    ("06", "locations add 2nd", "shows one that is there twice"),
    ("07", "POST file", "a refused method does not read the body first"),
    ("07", "image after mismatch", "digests of refused data are not kept"),
    ("07", "PUT read-only http store", "what a store cannot do for anybody is a 400 here"),
    ("10", "create non-string", "a project's id is text"),
    ("10", "create long", "more than the column of a MySQL catalog holds"),
    ("10", "list owner", "shows the two that are refused here"),
    ("10", "reader list", "shows the two that are refused here"),
    ("12", "usage", "other images are there than when it was recorded"),
    ("12", "stores info", "there is no http store here"),
    ("12", "stores detail admin", "there is no http store here"),
    ("12", "import method string", "Glance fails with 500; the client's mistake is a 400"),
    ("14", "list after hit", "hits are counted; Glance's server did not get to it"),
    ("16", "ns list bad sort", "Glance fails with 500; the client's mistake is a 400"),
    ("16", "tag bad", "Glance fails with 500; the client's mistake is a 400"),
    ("17", "500 array body", "Glance fails with 500; the client's mistake is a 400"),
];

const DEMO: &str = "2b2880b8bc3347569e3c0888cc111d51";
const ALT_DEMO: &str = "5306a2ce707e48abaf0340810b2800fe";
const ADMIN: &str = "5e9ea9fe55234b5688a473489a964223";

fn who(token: Option<&str>) -> Result<RequestContext, Stranger> {
    let member = |project| RequestContext::member_of(ProjectId::new(project));
    match token {
        Some("TOKEN-demo") => Ok(RequestContext {
            user: Some("3579f7d3d98a4a65ae3267e99bf55b1e".to_string()),
            ..member(DEMO)
        }),
        Some("TOKEN-alt_demo") => Ok(member(ALT_DEMO)),
        Some("TOKEN-demo_reader") => {
            Ok(RequestContext { roles: vec!["reader".to_string()], ..member(DEMO) })
        }
        Some("TOKEN-admin") => {
            let project = Some(ProjectId::new(ADMIN));
            let user = Some("2b1617369de94d718a91594774ae565b".to_string());
            let roles = ["admin", "member", "reader"].map(String::from).to_vec();
            Ok(RequestContext { project, user, roles, ..RequestContext::operator() })
        }
        _ => Err(Stranger::Unauthenticated {
            challenge: "Keystone uri=\"http://keystone.example:5000/v3\"".parse().ok(),
        }),
    }
}

fn backend(name: &str) -> Backend {
    let (description, weight) = match name {
        "fast" => ("Fast file store", 200),
        _ => ("Slow file store", 100),
    };
    Backend { name: name.to_string(), description: Some(description.to_string()), weight }
}

/// A server on a free port, until the process ends.
fn start() -> SocketAddr {
    let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
    let cache = ImageCache { directory: directory.path().join("cache"), max_size: 1 << 30 };
    let options = Options {
        show_image_direct_url: true,
        show_multiple_locations: true,
        enabled_backends: ["fast", "slow"].map(backend).to_vec(),
        import: ImportOptions {
            enabled_methods: ["glance-direct", "web-download", "copy-image", "glance-download"]
                .map(String::from)
                .into(),
            web: files::rules(),
            ..ImportOptions::default()
        },
        image_cache: Some(cache),
        project_limits: Some(limits::stand_in()),
        ..Options::default()
    };
    let identity = Identity::FromHeaders(Arc::new(|headers| {
        let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok());
        let context = who(token);
        Box::pin(async move { context })
    }));
    let images = imports::images(directory.path(), options);
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
    files::serve(&mut replay.names);
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

fn entry(
    table: Table,
    area: &str,
    number: usize,
    name: &str,
) -> Option<(&'static str, &'static str)> {
    let number = format!("#{number}");
    let named = |entry: &str| name.starts_with(entry) || number == entry;
    let found = table.iter().find(|(a, n, _)| area.starts_with(a) && named(n));
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
                let verb = if prop.staged { "stage" } else { "file" };
                let path = format!("/v2/images/{ours}/{verb}");
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
        let until = Instant::now() + Duration::from_secs(60);
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
        if entry(SKIPPED, area, number, name).is_some() {
            return;
        }
        self.wait_until_cached(area, name);
        limits::before(area, number);
        self.set_scene(&format!("before {area} #{number}"));
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
        self.pair_tasks(recorded, &answer);
        for background in ["/import", "/locations"] {
            if path.ends_with(background) && answer.status == 202 {
                self.wait_for_import(path.trim_end_matches(background));
            }
        }
        let differences = compare::differences(recorded, &answer, &self.names);
        self.replayed += 1;
        if differences.is_empty() {
            self.matching += 1;
            return;
        }
        let line = format!("{area} #{number} [{name}]: ");
        match entry(MEANT, area, number, name) {
            Some((key, reason)) => {
                self.used.insert(key);
                self.meant.push(line + reason);
            }
            None => self.wrong.push(line + &differences.join("\n    ")),
        }
    }

    /// Lists of tasks are in the same order, or differ anyhow.
    fn pair_tasks(&mut self, recorded: &Value, answer: &client::Answer) {
        let ours = answer.json();
        let lists = (recorded["body"]["json"]["tasks"].as_array(), ours["tasks"].as_array());
        let (Some(theirs), Some(ours)) = lists else { return };
        for (theirs, ours) in theirs.iter().zip(ours) {
            self.names.pair(theirs["id"].as_str().unwrap(), ours["id"].as_str().unwrap());
        }
    }

    /// The recordings were made by somebody who waits.
    fn wait_for_import(&self, image: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        let imported = || {
            let shown = self.send("admin", "GET", image, &[], None).json();
            shown.get("os_glance_import_task").is_none()
        };
        while !imported() {
            assert!(Instant::now() < until, "the import of {image} does not end");
            std::thread::sleep(Duration::from_millis(5));
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
