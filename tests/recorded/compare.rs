//! Whether two answers are the same, when what must differ is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::client::Answer;

/// Headers that have to be equal.  Glance's `Content-Length` is compared where a client could rely
/// on it: on parts.  What create announces of stores and import depends on the features.
const HEADERS: &[&str] = &[
    "content-type",
    "allow",
    "accept-patch",
    "content-md5",
    "content-range",
    "location",
    "www-authenticate",
];

/// Texts of ours (ids, times) and what the recordings have in their place.
#[derive(Default)]
pub struct Names(BTreeMap<String, String>);

impl Names {
    /// `recorded` is called `ours` here.
    pub fn pair(&mut self, recorded: &str, ours: &str) {
        self.0.insert(recorded.to_string(), ours.to_string());
    }

    pub fn to_ours(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    fn to_recorded(&self, text: &str) -> String {
        self.0.iter().fold(text.to_string(), |text, (recorded, ours)| text.replace(ours, recorded))
    }
}

/// What differs.
pub fn differences(recorded: &Value, answer: &Answer, names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, theirs: Value, ours: Value| {
        if theirs != ours {
            found.push(format!("{what}: recorded {theirs}, ours {ours}"));
        }
    };
    compare("status", recorded["status"].clone(), answer.status.into());
    let theirs = headers(recorded);
    for name in HEADERS {
        let ours = answer.header(name).map(|value| names.to_recorded(value));
        compare(name, json!(theirs.get(*name)), json!(ours));
    }
    let id = "x-openstack-request-id";
    compare(id, theirs.contains_key(id).into(), answer.header(id).is_some().into());
    if answer.status == 206 {
        let length = "content-length";
        compare(length, json!(theirs.get(length)), json!(answer.header(length)));
    }
    compare("body", their_body(&recorded["body"]), our_body(&recorded["body"], answer, names));
    found
}

fn headers(recorded: &Value) -> BTreeMap<String, String> {
    let list = recorded["headers"].as_array().unwrap().iter();
    list.map(|pair| {
        (pair[0].as_str().unwrap().to_lowercase(), pair[1].as_str().unwrap().to_string())
    })
    .collect()
}

fn their_body(body: &Value) -> Value {
    match body.get("json") {
        Some(body) => normal(body),
        None => match body.get("bytes") {
            Some(_) => json!({"bytes": body["bytes"], "first": body["first_base64"]}),
            None => body.get("text").cloned().unwrap_or_else(|| "".into()),
        },
    }
}

fn our_body(recorded: &Value, answer: &Answer, names: &Names) -> Value {
    let text = || names.to_recorded(&String::from_utf8_lossy(&answer.body));
    if recorded.get("json").is_some() {
        let body: Value = serde_json::from_str(&text()).unwrap_or_else(|_| text().into());
        return normal(&body);
    }
    if recorded.get("bytes").is_some() {
        let first = base64(&answer.body[..answer.body.len().min(32)]);
        return json!({"bytes": answer.body.len(), "first": first});
    }
    text().into()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word =
            (0..3).fold(0_u32, |word, at| word << 8 | three.get(at).map_or(0, |b| *b as u32));
        for at in 0..4 {
            match at <= three.len() {
                true => text.push(LETTERS[(word >> (18 - 6 * at)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

/// JSON without what differs from run to run (times), from store to store (locations, their number
/// stays), or has no order (tags).
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(normal).collect(),
        Value::Object(object) if object.contains_key("disk_format") => image(object),
        Value::Object(object) if object.contains_key("last_accessed") => cached(object),
        Value::Object(object) => {
            let shown = object.iter().map(|(key, value)| {
                let shown = match key.as_str() {
                    "created_at" | "updated_at" | "expires_at" if value.is_string() => {
                        "a time".into()
                    }
                    "request_id" if value.is_string() => "a request".into(),
                    _ => normal(value),
                };
                (key.clone(), shown)
            });
            shown.collect()
        }
        other => other.clone(),
    }
}

fn image(object: &Map<String, Value>) -> Value {
    let shown = object.iter().filter(|(key, _)| *key != "stores");
    let normal = shown.map(|(key, value)| {
        let value = match key.as_str() {
            "created_at" | "updated_at" if value.is_string() => "a time".into(),
            "direct_url" if value.is_string() => "a url".into(),
            "locations" if value.is_array() => value.as_array().map_or(0, Vec::len).into(),
            "tags" => tags(value),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(normal.collect())
}

/// Tags have no order.  What served the recorded Glance decoded paths as Latin-1, so that a tag `é`
/// was recorded as `Ã©` (Glance behind a WSGI server that follows PEP 3333 has `é`).
fn tags(value: &Value) -> Value {
    let Some(list) = value.as_array() else { return value.clone() };
    let texts = list.iter().map(|tag| tag.as_str().unwrap().replace("Ã©", "é"));
    json!(texts.collect::<BTreeSet<_>>())
}

/// A file of the cache: when it was made and used, and which number it has, is its own.
fn cached(object: &Map<String, Value>) -> Value {
    let own = ["id", "last_accessed", "last_modified"];
    let shown = object.iter().map(|(key, value)| {
        let own = own.contains(&&**key) && value.is_number();
        (key.clone(), if own { "its own".into() } else { value.clone() })
    });
    Value::Object(shown.collect())
}
