//! `PATCH /v2/images/{id}`: the two JSON-patch formats, as Glance reads them.
//!
//! Everything that can be said without the image is said here, for the whole patch, before the
//! image is looked at.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use super::status::Fault;
use crate::images::fields::{self, Edit};

const V20: &str = "application/openstack-images-v2.0-json-patch";
const V21: &str = "application/openstack-images-v2.1-json-patch";
const OPERATIONS: &[&str] = &["add", "remove", "replace"];

/// Which drafts of JSON-patch the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `{"replace": "/name", "value": "x"}`
    V20,
    /// `{"op": "replace", "path": "/name", "value": "x"}`
    V21,
}

impl Dialect {
    /// From the `Content-Type`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        match media_type(headers) {
            Some(V20) => Ok(Self::V20),
            Some(V21) => Ok(Self::V21),
            _ => {
                let wanted = format!("{V20}, {V21}");
                let text = format!("Image PATCH expects Content-Type one of: {wanted}");
                let fault = Fault::unsupported_media_type(text);
                Err(match HeaderValue::try_from(wanted) {
                    Ok(wanted) => fault.with(HeaderName::from_static("accept-patch"), wanted),
                    Err(_) => fault,
                })
            }
        }
    }
}

/// The media type without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split_once(';').map_or(kind, |(kind, _)| kind).trim())
}

/// The changes that a patch asks for.
pub(super) fn parse(body: &Value, dialect: Dialect, schemas: &Schemas) -> Result<Vec<Edit>, Fault> {
    let Value::Array(operations) = body else {
        return Err(Fault::bad_request("Request body must be a JSON array of operation objects."));
    };
    operations.iter().map(|operation| edit(operation, dialect, schemas)).collect()
}

fn edit(operation: &Value, dialect: Dialect, schemas: &Schemas) -> Result<Edit, Fault> {
    let Value::Object(operation) = operation else {
        return Err(Fault::bad_request("Operations must be JSON objects."));
    };
    let (op, pointer) = match dialect {
        Dialect::V20 => v20_operation(operation)?,
        Dialect::V21 => v21_operation(operation)?,
    };
    let pointer = pointer.as_str().ok_or_else(|| Fault::bad_request("Pointers must be texts."))?;
    let path = decode_pointer(pointer)?;
    check_depth(op, &path)?;
    let value = match op {
        "remove" => None,
        _ => Some(operation.get("value").ok_or_else(|| {
            Fault::bad_request(format!("Operation \"{op}\" requires a member named \"value\"."))
        })?),
    };
    let name = path.first().cloned().unwrap_or_default();
    fields::settable(&name)?;
    let position = path.get(1).cloned();
    let Some(value) = value.cloned() else {
        return Ok(match position {
            Some(position) => Edit::RemoveLocation { position },
            None => Edit::Remove { name },
        });
    };
    check_value(&name, path.len(), &value, schemas)?;
    if let Some(position) = position {
        return Ok(Edit::AddLocation { position, value });
    }
    Ok(match op {
        "add" => Edit::Add { name, value, fresh: dialect == Dialect::V20 },
        _ => Edit::Replace { name, value },
    })
}

fn v20_operation(operation: &Map<String, Value>) -> Result<(&'static str, &Value), Fault> {
    let mut named = OPERATIONS.iter().filter_map(|op| Some((*op, operation.get(*op)?)));
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(Fault::bad_request(
            "Operation objects must contain only one member named \"add\", \"remove\", or \
             \"replace\".",
        )),
        (None, _) => Err(Fault::bad_request(
            "Operation objects must contain exactly one member named \"add\", \"remove\", or \
             \"replace\".",
        )),
    }
}

fn v21_operation(operation: &Map<String, Value>) -> Result<(&'static str, &Value), Fault> {
    let available = OPERATIONS.join(", ");
    let op = match operation.get("op") {
        None | Some(Value::Null) => {
            return Err(Fault::bad_request(format!(
                "Unable to find `op` in JSON Schema change. It must be one of the following: \
                 {available}."
            )));
        }
        Some(Value::String(op)) => op.clone(),
        Some(other) => other.to_string(),
    };
    let known = OPERATIONS.iter().find(|known| **known == op).ok_or_else(|| {
        Fault::bad_request(format!(
            "Invalid operation: `{op}`. It must be one of the following: {available}."
        ))
    })?;
    let path = operation
        .get("path")
        .ok_or_else(|| Fault::bad_request("Unable to find 'path' in JSON Schema change"))?;
    Ok((known, path))
}

/// A JSON pointer's parts.  Glance is laxer than RFC 6901: leading slashes are one, and blanks
/// around a part are not part of it.
fn decode_pointer(pointer: &str) -> Result<Vec<String>, Fault> {
    check_pointer(pointer)?;
    let parts = pointer.trim_start_matches('/').split('/');
    Ok(parts.map(|part| part.replace("~1", "/").replace("~0", "~").trim().to_string()).collect())
}

fn check_pointer(pointer: &str) -> Result<(), Fault> {
    let fault = |what: &str| Err(Fault::bad_request(format!("Pointer `{pointer}` {what}.")));
    let Some(inner) = pointer.strip_prefix('/') else {
        return fault("does not start with \"/\"");
    };
    // Two slashes with nothing but blanks between, where the first one has something before it or
    // is the pointer's second.
    let mut parts = inner.split('/').skip(1).collect::<Vec<_>>();
    let last = parts.pop();
    if parts.iter().any(|part| part.trim().is_empty()) {
        return fault("contains adjacent \"/\"");
    }
    if last == Some("") {
        return fault("end with \"/\"");
    }
    let mut characters = pointer.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '~' && !matches!(characters.peek(), Some('0' | '1')) {
            return fault("contains \"~\" not part of a recognized escape sequence");
        }
    }
    Ok(())
}

/// Only locations are changed one by one.
fn check_depth(op: &str, path: &[String]) -> Result<(), Fault> {
    let inside = path.first().is_some_and(|name| name == "locations") && op != "replace";
    if path.len() == if inside { 2 } else { 1 } {
        return Ok(());
    }
    let path = path.join("/");
    Err(Fault::bad_request(format!("Invalid JSON pointer for this resource: '/{path}'")))
}

fn check_value(name: &str, depth: usize, value: &Value, schemas: &Schemas) -> Result<(), Fault> {
    match depth {
        1 => schemas.check_image(&json!({name: value})),
        _ if schemas.is_list(name) => schemas.check_image(&json!({name: [value]})),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_glance_reads_them() {
        let good = [
            ("/name", vec!["name"]),
            ("/", vec![""]),
            ("//x", vec!["x"]),
            ("/a~1b~0c", vec!["a/b~c"]),
            ("/ a b ", vec!["a b"]),
            ("/x/y", vec!["x", "y"]),
        ];
        for (pointer, parts) in good {
            assert_eq!(decode_pointer(pointer).unwrap(), parts, "{pointer}");
        }
        for pointer in ["", "x", "/x/", "/x//y", "/~2", "/a~", "/x/ /y"] {
            assert!(decode_pointer(pointer).is_err(), "{pointer}");
        }
    }

    #[test]
    fn both_dialects_say_the_same() {
        let schemas = Schemas::new(&crate::images::options::Options::default());
        let new = json!([{"op": "replace", "path": "/name", "value": "x"}]);
        let old = json!([{"replace": "/name", "value": "x"}]);
        let edits = parse(&new, Dialect::V21, &schemas).unwrap();
        assert_eq!(edits, parse(&old, Dialect::V20, &schemas).unwrap());
        assert!(parse(&old, Dialect::V21, &schemas).is_err());
    }

    #[test]
    fn one_bad_operation_refuses_the_patch() {
        let schemas = Schemas::new(&crate::images::options::Options::default());
        let patch = json!([
            {"op": "add", "path": "/p", "value": "x"},
            {"op": "replace", "path": "/status", "value": "active"},
        ]);
        let fault = parse(&patch, Dialect::V21, &schemas).unwrap_err();
        assert_eq!(fault.explanation(), "Attribute 'status' is read-only.");
    }
}
