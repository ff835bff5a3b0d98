//! What is told on a message bus, by the real glance-api and by glancefs, of the same calls: event by event
//! and field by field, with ids and times aside.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::rabbitmq::{Delivered, RabbitMq};
use crate::harness::{DEADLINE, Keystone, Start};
use crate::matrix::sides::{Body, Identities, Side, real_glance};

const MEMBER: &str = "project-a-member";
const OTHER: &str = "project-b-member";
const ADMIN: &str = "admin";
const REFUSED: &str = "bad";
const END: &str = "the end";

#[test]
#[ignore = "needs a real Keystone, a real RabbitMQ and the real Glance"]
fn glancefs_tells_what_glance_tells() {
    let rabbit = RabbitMq::start();
    let keystone = Keystone::start();
    let people = Identities::of(&keystone);
    let start = |topic: &str| {
        let config = keystone.config(300);
        let prepared = Start::default().config(&config).with_api().prepare();
        let directory = prepared.directory().display().to_string();
        let text = format!(
            "{config}[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
             enabled_import_methods = [glance-direct,copy-image]\n\
             worker_self_reference_url = http://127.0.0.1:1\n\
             transport_url = {}\n\
             [glance_store]\ndefault_backend = fast\n\
             [fast]\nfilesystem_store_datadir = {directory}/fast\n\
             [slow]\nfilesystem_store_datadir = {directory}/slow\n\
             [os_glance_staging_store]\nfilesystem_store_datadir = {directory}/staging\n\
             [oslo_messaging_notifications]\ndriver = messagingv2\ntopics = {topic}\n",
            rabbit.plain_url()
        );
        std::fs::write(prepared.directory().join("glance-api.conf"), text).unwrap();
        prepared
    };
    let mut ours = start("ours");
    ours.start_again();
    let theirs = real_glance(start("theirs"));
    let sides = [Side::of_glancefs(&ours, &people), Side::of_glance(&theirs, &people)];
    // One after the other: each logs in, which Keystone's SQLite takes from one at a time.
    for side in &sides {
        for who in [MEMBER, OTHER, ADMIN] {
            side.must(who, "GET", "/v2/info/import", None);
        }
    }
    thread::scope(|scope| {
        for side in &sides {
            scope.spawn(|| do_all(side));
        }
    });
    let [ours, theirs] = ["ours", "theirs"].map(|topic| {
        let is_end = |message: &Value| message["payload"]["name"] == END;
        let info = rabbit.read_until(&format!("{topic}.info"), is_end);
        let error = rabbit.read(&format!("{topic}.error"));
        [settled(told(&info)), told(&error)]
    });
    for (ours, theirs) in ours.iter().zip(&theirs) {
        compare(ours, theirs);
    }
}

fn compare(ours: &[Value], theirs: &[Value]) {
    let mut wrong = Vec::new();
    for number in 0..ours.len().max(theirs.len()) {
        let [one, other] = [ours, theirs].map(|told| told.get(number).cloned().unwrap_or_default());
        if one != other {
            wrong.push(format!("{number}\n    glance:   {other}\n    glancefs: {one}"));
        }
    }
    println!("{} notifications, {} of them differ", theirs.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Messages in an order and in words that do not depend on who sent them.
fn told(delivered: &[Delivered]) -> Vec<Value> {
    let mut ids = Vec::new();
    delivered
        .iter()
        .map(|delivered| {
            let properties = format!("{:?}", delivered.properties);
            let mut message = delivered.message();
            for made_up in ["message_id", "_unique_id", "timestamp"] {
                assert!(message[made_up].is_string(), "{message}");
                message[made_up] = Value::Null;
            }
            mask(&mut message, &mut ids);
            message["properties"] = json!(properties);
            message["exchange"] = json!(delivered.exchange);
            message
        })
        .collect()
}

/// What need not be the same: Glance tells that a task runs when it has ended, and of the record of an
/// import twice at its end; and it leaves the checksum of data that it has refused in the record.
fn settled(told: Vec<Value>) -> Vec<Value> {
    let (late, mut told): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|message| message["event_type"] == "task.run");
    let is_of_import =
        |message: &Value| message["payload"]["properties"]["os_glance_import_task"].is_string();
    for message in told.iter_mut().filter(|message| message["payload"]["name"] == REFUSED) {
        message["payload"]["checksum"] = Value::Null;
    }
    for message in &mut told {
        // Where it is staged matters to a Glance of several hosts alone.
        if let Some(properties) = message["payload"]["properties"].as_object_mut() {
            properties.remove("os_glance_stage_host");
        }
    }
    told.dedup_by(|one, other| is_of_import(one) && one == other);
    told.extend(late);
    told
}

/// Ids are numbered as they come, times are only known to be some, and tags are a set.
fn mask(value: &mut Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                mask(field, ids);
                if name == "tags" {
                    let tags: BTreeSet<_> =
                        field.as_array().unwrap().iter().map(ToString::to_string).collect();
                    *field = json!(tags);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, ids)),
        Value::String(text) => *text = masked(text, ids),
        _ => {}
    }
}

fn masked(text: &str, ids: &mut Vec<String>) -> String {
    let is_time = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    if is_time {
        return "<time>".to_string();
    }
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let separators = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    let mut masked = text.to_string();
    for word in text.split(separators).filter(|word| is_id(word)) {
        let number = ids.iter().position(|id| id == word).unwrap_or_else(|| {
            ids.push(word.to_string());
            ids.len() - 1
        });
        masked = masked.replace(word, &format!("<id {number}>"));
    }
    masked
}

fn do_all(side: &Side<'_>) {
    let id = records(side);
    data(side, &id);
    members(side, &id);
    let path = format!("/v2/images/{id}");
    for action in ["deactivate", "deactivate", "reactivate"] {
        side.must(ADMIN, "POST", &format!("{path}/actions/{action}"), None);
    }
    side.must(MEMBER, "DELETE", &path, None);
    refused_data(side);
    imports(side);
    definitions(side);
    create(side, END);
}

fn create(side: &Side<'_>, name: &str) -> String {
    let fields = json!({"name": name, "disk_format": "raw", "container_format": "bare",
                        "tags": ["b", "a"], "os_distro": "debian", "min_ram": 64});
    let image = side.must(MEMBER, "POST", "/v2/images", Some(Body::Json(&fields)));
    image["id"].as_str().unwrap().to_string()
}

fn records(side: &Side<'_>) -> String {
    let id = create(side, "äöü \"1\"");
    let path = format!("/v2/images/{id}");
    let patch = json!([
        {"op": "replace", "path": "/name", "value": "two"},
        {"op": "add", "path": "/k", "value": "v"},
        {"op": "replace", "path": "/protected", "value": true},
    ]);
    side.must(MEMBER, "PATCH", &path, Some(Body::Json(&patch)));
    side.must(MEMBER, "PATCH", &path, Some(Body::Json(&json!([]))));
    let patch = json!([{"op": "replace", "path": "/protected", "value": false}]);
    side.must(MEMBER, "PATCH", &path, Some(Body::Json(&patch)));
    for method in ["PUT", "PUT", "DELETE"] {
        side.must(MEMBER, method, &format!("{path}/tags/c"), None);
    }
    id
}

fn data(side: &Side<'_>, id: &str) {
    let path = format!("/v2/images/{id}/file");
    side.must(MEMBER, "PUT", &path, Some(Body::Data(&[7; 200_000])));
    assert_eq!(side.send(MEMBER, "PUT", &path, Some(Body::Data(&[7]))).status, 409);
    side.must(MEMBER, "GET", &path, None);
    side.must(ADMIN, "GET", &path, None);
}

fn members(side: &Side<'_>, id: &str) {
    let path = format!("/v2/images/{id}/members");
    let project = &side.people.projects[1];
    side.must(MEMBER, "POST", &path, Some(Body::Json(&json!({"member": project}))));
    let accepted = json!({"status": "accepted"});
    side.must(OTHER, "PUT", &format!("{path}/{project}"), Some(Body::Json(&accepted)));
    side.must(OTHER, "GET", &format!("/v2/images/{id}/file"), None);
    side.must(MEMBER, "DELETE", &format!("{path}/{project}"), None);
}

fn refused_data(side: &Side<'_>) {
    let fields = json!({"name": REFUSED, "disk_format": "qcow2", "container_format": "bare"});
    let image = side.must(MEMBER, "POST", "/v2/images", Some(Body::Json(&fields)));
    let path = format!("/v2/images/{}", image["id"].as_str().unwrap());
    let put = side.send(MEMBER, "PUT", &format!("{path}/file"), Some(Body::Data(&[7; 1000])));
    assert_eq!(put.status, 415);
    side.must(MEMBER, "DELETE", &path, None);
}

/// Staged data into two stores, and a copy into the second one of an image that is in the first.
fn imports(side: &Side<'_>) {
    let into = |who: &str, id: &str, method: &str, stores: &[&str]| {
        let import = json!({"method": {"name": method}, "stores": stores,
                            "all_stores_must_succeed": false});
        side.must(who, "POST", &format!("/v2/images/{id}/import"), Some(Body::Json(&import)));
        until(side, who, &format!("/v2/images/{id}"), |image| {
            image["status"] == "active"
                && image["os_glance_importing_to_stores"] == ""
                && image["stores"].as_str().unwrap().contains(stores.last().unwrap())
        });
        until(side, who, &format!("/v2/images/{id}/tasks"), |tasks| {
            tasks["tasks"].as_array().unwrap().iter().all(|task| task["status"] == "success")
        });
    };
    let id = create(side, "staged");
    side.must(MEMBER, "PUT", &format!("/v2/images/{id}/stage"), Some(Body::Data(&[7; 1000])));
    into(MEMBER, &id, "glance-direct", &["fast", "slow"]);
    side.must(MEMBER, "DELETE", &format!("/v2/images/{id}"), None);
    let id = create(side, "copied");
    side.must(MEMBER, "PUT", &format!("/v2/images/{id}/file"), Some(Body::Data(&[7; 1000])));
    into(ADMIN, &id, "copy-image", &["slow"]);
}

fn definitions(side: &Side<'_>) {
    let ask = |method: &str, path: &str, body: Value| {
        let body = Some(Body::Json(&body)).filter(|_| !body.is_null());
        side.must(ADMIN, method, &format!("/v2/metadefs/namespaces{path}"), body);
    };
    let schema = json!({"type": "string", "title": "t", "enum": ["a"], "minLength": 0});
    let object =
        json!({"name": "O", "description": "d", "properties": {"p": schema}, "required": ["p"]});
    let property =
        json!({"name": "P", "type": "integer", "title": "t", "minimum": 0, "maximum": 5});
    let image = "OS::Glance::Image";
    let association = json!({"name": image, "prefix": "x:", "properties_target": "image"});
    ask("POST", "", json!({"namespace": "N", "display_name": "d", "visibility": "public"}));
    ask("PUT", "/N", json!({"namespace": "M", "description": "e"}));
    ask("POST", "/M/objects", object);
    ask("PUT", "/M/objects/O", json!({"name": "O2", "properties": {}}));
    ask("POST", "/M/properties", property);
    ask("PUT", "/M/properties/P", json!({"name": "P2", "type": "string", "title": "t"}));
    ask("POST", "/M/tags/T", Value::Null);
    ask("PUT", "/M/tags/T", json!({"name": "T2"}));
    ask("POST", "/M/tags", json!({"tags": [{"name": "U"}, {"name": "V"}]}));
    ask("POST", "/M/resource_types", association);
    for path in [
        "resource_types/OS::Glance::Image",
        "tags/U",
        "tags",
        "objects/O2",
        "objects",
        "properties/P2",
        "properties",
    ] {
        ask("DELETE", &format!("/M/{path}"), Value::Null);
    }
    ask("DELETE", "/M", Value::Null);
}

/// Waits for something in the background.
fn until(side: &Side<'_>, who: &str, path: &str, fits: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !fits(&side.must(who, "GET", path, None)) {
        assert!(Instant::now() < deadline, "{path}");
        thread::sleep(Duration::from_millis(50));
    }
}
