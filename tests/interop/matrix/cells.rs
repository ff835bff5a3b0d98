//! The operations, and the images that they are tried on.

use serde_json::{Value, json};

use super::sides::{Body, Side};
use super::{Answers, comparable};

/// A kind of image: who owns it, who sees it, with whom it is shared and what that one made of it.
struct Kind {
    name: &'static str,
    owned: bool,
    visibility: &'static str,
    member: Option<&'static str>,
}

const fn kind(
    name: &'static str,
    owned: bool,
    visibility: &'static str,
    member: Option<&'static str>,
) -> Kind {
    Kind { name, owned, visibility, member }
}

const KINDS: &[Kind] = &[
    kind("private", true, "private", None),
    kind("shared", true, "shared", Some("pending")),
    kind("shared and accepted", true, "shared", Some("accepted")),
    kind("community", true, "community", None),
    kind("public", true, "public", None),
    kind("nobody's private", false, "private", None),
    kind("nobody's shared", false, "shared", None),
];

/// The real Glance takes its time.
const SAMPLE: usize = 4;

/// What state of life an operation wants its image in.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Queued,
    Active,
    Deactivated,
    Staged,
    Protected,
}

/// Something that is tried on an image; `{id}`, `{b}` and `{c}` stand for it and two projects.
struct Operation {
    name: &'static str,
    state: State,
    method: &'static str,
    path: &'static str,
    body: Option<Value>,
    /// The image is another one when it was done.
    consumes: bool,
    /// What is answered on success depends on more than who asked.
    status_only: bool,
}

fn operations() -> Vec<Operation> {
    use State::{Active, Deactivated, Protected, Queued, Staged};
    let mut all = Vec::new();
    let mut op = |name, state, method, path, body: Option<Value>, marks: &str| {
        let (consumes, status_only) = (marks.contains('c'), marks.contains('s'));
        all.push(Operation { name, state, method, path, body, consumes, status_only });
    };
    let patch = |op: &str, path: &str, value: Value| {
        Some(json!([{"op": op, "path": path, "value": value}]))
    };
    const IMAGE: &str = "/v2/images/{id}";
    op("show", Active, "GET", IMAGE, None, "");
    op("show tasks", Active, "GET", "/v2/images/{id}/tasks", None, "s");
    op("patch name", Active, "PATCH", IMAGE, patch("replace", "/name", json!("n")), "");
    op("patch property", Active, "PATCH", IMAGE, patch("add", "/added", json!("x")), "");
    op("patch missing", Active, "PATCH", IMAGE, patch("replace", "/missing", json!("x")), "");
    op("patch owner", Active, "PATCH", IMAGE, patch("replace", "/owner", json!("x")), "c");
    op("patch owner by add", Active, "PATCH", IMAGE, patch("add", "/owner", json!("x")), "c");
    for visibility in ["private", "shared", "community", "public"] {
        let name = ["patch to private", "patch to shared", "patch to community", "patch to public"];
        let name = name.into_iter().find(|name| name.ends_with(visibility)).unwrap();
        op(name, Active, "PATCH", IMAGE, patch("replace", "/visibility", json!(visibility)), "c");
    }
    op("locations", Active, "GET", "/v2/images/{id}/locations", None, "s");
    let location = json!({"url": "http://127.0.0.1:1/x", "metadata": {}});
    op("patch add location", Active, "PATCH", IMAGE, patch("add", "/locations/-", location), "cs");
    op("patch no location", Active, "PATCH", IMAGE, patch("replace", "/locations", json!([])), "");
    op(
        "patch last location",
        Active,
        "PATCH",
        IMAGE,
        Some(json!([{"op": "remove", "path": "/locations/0"}])),
        "c",
    );
    op(
        "add location",
        Queued,
        "POST",
        "/v2/images/{id}/locations",
        Some(json!({"url": "http://127.0.0.1:1/x"})),
        "cs",
    );
    op("upload", Queued, "PUT", "/v2/images/{id}/file", None, "c");
    op("upload again", Active, "PUT", "/v2/images/{id}/file", None, "");
    op("download", Active, "GET", "/v2/images/{id}/file", None, "");
    op("download deactivated", Deactivated, "GET", "/v2/images/{id}/file", None, "");
    op("show deactivated", Deactivated, "GET", IMAGE, None, "");
    op("deactivate", Active, "POST", "/v2/images/{id}/actions/deactivate", None, "c");
    op("deactivate queued", Queued, "POST", "/v2/images/{id}/actions/deactivate", None, "");
    op("reactivate", Deactivated, "POST", "/v2/images/{id}/actions/reactivate", None, "c");
    op("tag", Active, "PUT", "/v2/images/{id}/tags/added", None, "");
    op("untag", Active, "DELETE", "/v2/images/{id}/tags/there", None, "c");
    op("members", Active, "GET", "/v2/images/{id}/members", None, "");
    op("member", Active, "GET", "/v2/images/{id}/members/{b}", None, "s");
    op("other member", Active, "GET", "/v2/images/{id}/members/{c}", None, "s");
    op(
        "add member",
        Active,
        "POST",
        "/v2/images/{id}/members",
        Some(json!({"member": "{c}"})),
        "cs",
    );
    op(
        "accept",
        Active,
        "PUT",
        "/v2/images/{id}/members/{b}",
        Some(json!({"status": "accepted"})),
        "cs",
    );
    op("remove member", Active, "DELETE", "/v2/images/{id}/members/{b}", None, "c");
    op("delete", Active, "DELETE", IMAGE, None, "c");
    op("delete protected", Protected, "DELETE", IMAGE, None, "");
    op("stage", Queued, "PUT", "/v2/images/{id}/stage", None, "c");
    op("delete from store", Active, "DELETE", "/v2/stores/fast/{id}", None, "");
    op("queue", Queued, "PUT", "/v2/queued_images/{id}", None, "cs");
    // These fail right after the policy was asked: what they begin in the background would keep
    // Glance's SQLite busy.
    let import = |method: &str| Some(json!({"method": {"name": method}, "stores": ["nowhere"]}));
    op("import", Staged, "POST", "/v2/images/{id}/import", import("glance-direct"), "");
    op("copy", Active, "POST", "/v2/images/{id}/import", import("copy-image"), "");
    op("cache", Queued, "PUT", "/v2/cache/{id}", None, "");
    op("uncache", Queued, "DELETE", "/v2/cache/{id}", None, "");
    all
}

/// What is asked about nothing in particular: name, method, path, body, whether the answer of a
/// success counts.
fn general() -> Vec<(String, &'static str, String, Option<Value>, bool)> {
    let mut all = Vec::new();
    let mut ask = |name: &str, method, path: &str, body: Option<Value>, whole: bool| {
        all.push((name.to_string(), method, path.to_string(), body, whole));
    };
    for filter in [
        "",
        "&visibility=public",
        "&visibility=private",
        "&visibility=shared",
        "&visibility=community",
        "&visibility=all",
        "&member_status=all",
        "&member_status=pending",
        "&member_status=rejected",
        "&visibility=shared&member_status=all",
        "&os_hidden=true",
        "&owner={a}",
        "&visibility=all&owner={a}",
    ] {
        ask(&format!("list{filter}"), "GET", &format!("/v2/images?limit=1000{filter}"), None, true);
    }
    ask("list after a private one", "GET", "/v2/images?marker={private}", None, true);
    for visibility in ["private", "shared", "community", "public"] {
        let body = json!({"name": "made", "visibility": visibility});
        ask(&format!("create {visibility}"), "POST", "/v2/images", Some(body), true);
        let body = json!({"name": "made", "visibility": visibility, "owner": "{a}"});
        ask(&format!("create {visibility} for a"), "POST", "/v2/images", Some(body), true);
    }
    ask("create for nobody", "POST", "/v2/images", Some(json!({"owner": null})), true);
    for path in [
        "/v2/info/stores",
        "/v2/info/import",
        "/v2/info/stores/detail",
        "/v2/schemas/image",
        "/v2/cache",
        "/v2/cached_images",
        "/v2/queued_images",
        "/v2/tasks",
        "/v2/metadefs/namespaces",
        "/v2/metadefs/resource_types",
        "/v2/tasks/00000000-0000-4000-8000-000000000000",
        "/v2/images/00000000-0000-4000-8000-000000000000",
    ] {
        ask(&format!("get {path}"), "GET", path, None, path.contains("namespaces"));
    }
    for (method, path) in [
        ("DELETE", "/v2/cache"),
        ("POST", "/v2/cache/clean"),
        ("POST", "/v2/cache/prune"),
        ("DELETE", "/v2/cached_images"),
        ("DELETE", "/v2/queued_images"),
        ("DELETE", "/v2/tasks/00000000-0000-4000-8000-000000000000"),
        ("PUT", "/v2/cache/00000000-0000-4000-8000-000000000000"),
        ("DELETE", "/v2/images/00000000-0000-4000-8000-000000000000"),
    ] {
        ask(&format!("{method} {path}"), method, path, None, false);
    }
    let task = json!({"type": "import", "input": {"import_from": "file:///x",
        "import_from_format": "raw", "image_properties": {}}});
    ask("create task", "POST", "/v2/tasks", Some(task), false);
    for namespace in ["of-a-public", "of-a-private"] {
        let base = format!("/v2/metadefs/namespaces/{namespace}");
        for below in [
            "",
            "/objects",
            "/properties",
            "/tags",
            "/resource_types",
            "/objects/o",
            "/properties/p",
            "/tags/t",
            "/objects/none",
        ] {
            ask(&format!("get {namespace}{below}"), "GET", &format!("{base}{below}"), None, false);
        }
        let mut change = |what: &str, method, below: &str, body: Option<Value>| {
            ask(&format!("{what} {namespace}"), method, &format!("{base}{below}"), body, false);
        };
        let object = json!({"name": "o", "properties": {}});
        let property = json!({"name": "p", "title": "p", "type": "string"});
        change("update object", "PUT", "/objects/o", Some(object.clone()));
        change("add object", "POST", "/objects", Some(object));
        change("update property", "PUT", "/properties/p", Some(property.clone()));
        change("add property", "POST", "/properties", Some(property));
        change("add tag", "POST", "/tags/t", None);
        change("update tag", "PUT", "/tags/t", Some(json!({"name": "t"})));
        change("add tags", "POST", "/tags", Some(json!({"tags": [{"name": "t"}]})));
        change("remove missing object", "DELETE", "/objects/none", None);
        change("remove missing property", "DELETE", "/properties/none", None);
        change("remove missing tag", "DELETE", "/tags/none", None);
        change("associate", "POST", "/resource_types", Some(json!({"name": "OS::Glance::Image"})));
        change("dissociate", "DELETE", "/resource_types/OS::None", None);
        let visibility = namespace.rsplit_once('-').unwrap().1;
        let same = json!({"namespace": namespace, "visibility": visibility, "owner": "{a}"});
        change("update", "PUT", "", Some(same));
    }
    ask(
        "add namespace",
        "POST",
        "/v2/metadefs/namespaces",
        Some(json!({"namespace": "{who}"})),
        false,
    );
    ask("remove namespace", "DELETE", "/v2/metadefs/namespaces/{who}", None, false);
    all
}

/// Asks everything of one server.
///
/// Of the cells about images one in [`SAMPLE`], so that every operation, kind and person has its share;
/// all of them, in some minutes, with `GLANCEFS_TEST_WHOLE_MATRIX`.
pub fn ask_all(side: &Side<'_>) -> Answers {
    let mut answers = Answers::new();
    let scene = set_scene(side);
    for (name, method, path, body, whole) in general() {
        for (who, _) in &side.people.everybody {
            let fill = |text: &str| fill(side, text, &scene).replace("{who}", who);
            let body = body.as_ref().map(|body| fill(&body.to_string()).parse::<Value>().unwrap());
            let answer = side.send(who, method, &fill(&path), body.as_ref().map(Body::Json));
            let words = if whole || answer.status >= 300 {
                comparable(answer.status, &answer.body)
            } else {
                answer.status.to_string()
            };
            let words = words.replace(&scene, "<id>");
            answers.insert(format!("{name} | {who} | -"), words);
        }
    }
    let whole = std::env::var_os("GLANCEFS_TEST_WHOLE_MATRIX").is_some();
    for (first, kind) in KINDS.iter().enumerate() {
        for (second, operation) in operations().into_iter().enumerate() {
            let mut image = None;
            // Who proves no identity is asked for one whatever the image is.
            let all = kind.name == KINDS[0].name;
            let everybody = side.people.everybody.iter().enumerate();
            for (third, (who, _)) in everybody.filter(|(_, (_, token))| all || token.is_some()) {
                if !whole && (first + second + third) % SAMPLE != 0 {
                    continue;
                }
                let id = image.take().unwrap_or_else(|| make(side, kind, operation.state));
                let answer = operation.ask(side, who, &id);
                let done = answer.status < 300;
                let words = if done && operation.status_only {
                    answer.status.to_string()
                } else {
                    comparable(answer.status, &answer.body)
                };
                answers.insert(format!("{} | {who} | {}", operation.name, kind.name), words);
                image = (!done || !operation.consumes).then_some(id);
            }
        }
    }
    answers
}

impl Operation {
    fn ask(&self, side: &Side<'_>, who: &str, id: &str) -> crate::bare_client::Answer {
        let path = fill(side, self.path, id);
        let body = self.body.as_ref();
        let body = body.map(|body| fill(side, &body.to_string(), id).parse::<Value>().unwrap());
        let body = match (&body, self.method, self.path.rsplit('/').next()) {
            (Some(json), ..) => Some(Body::Json(json)),
            (None, "PUT", Some("file" | "stage")) => Some(Body::Data(b"data")),
            _ => None,
        };
        side.send(who, self.method, &path, body)
    }
}

fn fill(side: &Side<'_>, text: &str, id: &str) -> String {
    let [a, b, c] = &side.people.projects;
    text.replace("{id}", id)
        .replace("{private}", id)
        .replace("{a}", a)
        .replace("{b}", b)
        .replace("{c}", c)
}

/// An image of each kind, and definitions; gives the id of the private one.
fn set_scene(side: &Side<'_>) -> String {
    let mut private = None;
    for kind in KINDS {
        let id = make(side, kind, State::Active);
        private.get_or_insert(id);
    }
    for visibility in ["public", "private"] {
        let namespace = json!({
            "namespace": format!("of-a-{visibility}"),
            "visibility": visibility,
            "owner": side.people.projects[0],
            "objects": [{"name": "o", "properties": {}}],
            "properties": {"p": {"title": "p", "type": "string"}},
            "tags": [{"name": "t"}],
            "resource_type_associations": [{"name": "OS::Nova::Server"}],
        });
        side.must("admin", "POST", "/v2/metadefs/namespaces", Some(Body::Json(&namespace)));
    }
    private.unwrap()
}

/// Has the administrator make an image.
fn make(side: &Side<'_>, kind: &Kind, state: State) -> String {
    let [a, b, _] = &side.people.projects;
    let image = json!({
        "name": kind.name,
        "owner": kind.owned.then_some(a),
        "visibility": kind.visibility,
        "disk_format": "raw",
        "container_format": "bare",
        "tags": ["there"],
        "protected": state == State::Protected,
    });
    let made = side.must("admin", "POST", "/v2/images", Some(Body::Json(&image)));
    let id = made["id"].as_str().unwrap().to_string();
    let base = format!("/v2/images/{id}");
    if let Some(status) = kind.member {
        let member = json!({"member": b});
        side.must("admin", "POST", &format!("{base}/members"), Some(Body::Json(&member)));
        if status != "pending" {
            let path = format!("{base}/members/{b}");
            let answer = json!({"status": status});
            side.must("project-b-member", "PUT", &path, Some(Body::Json(&answer)));
        }
    }
    let data = Some(Body::Data(b"data"));
    match state {
        State::Queued | State::Protected => {}
        State::Staged => drop(side.must("admin", "PUT", &format!("{base}/stage"), data)),
        State::Active | State::Deactivated => {
            side.must("admin", "PUT", &format!("{base}/file"), data);
            if state == State::Deactivated {
                side.must("admin", "POST", &format!("{base}/actions/deactivate"), None);
            }
        }
    }
    id
}
