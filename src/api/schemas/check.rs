//! The part of JSON Schema that Glance's schemas use, with python-jsonschema's messages.
//!
//! Clients and tests read these messages, and they are regular: the text is made from the schema
//! and the value.  Of several errors the one is told that `best_match` of python-jsonschema picks.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::python::{pretty, repr};
use crate::catalog::model::ImageId;

/// A step into a value or a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// One thing that is wrong.
struct Violation<'a> {
    message: String,
    keyword: &'static str,
    schema: &'a Map<String, Value>,
    schema_path: Vec<Step>,
    value: &'a Value,
    path: Vec<Step>,
}

/// Checks `value` against the schema called `name`.
///
/// # Errors
/// The message.
pub(super) fn check(name: &str, schema: &Value, value: &Value) -> Result<(), String> {
    let mut walk =
        Walk { root: schema, schema_path: Vec::new(), path: Vec::new(), found: Vec::new() };
    walk.descend(schema, value);
    let found = walk.found;
    // The first of the greatest, as Python's max() has it.
    let best = found
        .into_iter()
        .reduce(|best, next| if next.relevance() > best.relevance() { next } else { best });
    match best {
        None => Ok(()),
        Some(violation) => {
            Err(format!("Provided object does not match schema '{name}': {}", violation.describe()))
        }
    }
}

impl Violation<'_> {
    /// Shallow ones first, then the later sibling, then those of the wrong type.
    fn relevance(&self) -> (std::cmp::Reverse<usize>, &[Step], bool) {
        let right_type = self.schema.get("type").is_some_and(|kind| is_type(self.value, kind));
        (std::cmp::Reverse(self.path.len()), &self.path, !right_type)
    }

    fn describe(&self) -> String {
        format!(
            "{}\n\nFailed validating '{}' in {}:\n    {}\n\nOn {}:\n    {}",
            self.message,
            self.keyword,
            subscript("schema", &self.schema_path),
            indent(&pretty(&Value::Object(self.schema.clone()))),
            subscript("instance", &self.path),
            indent(&pretty(self.value)),
        )
    }
}

fn indent(text: &str) -> String {
    text.replace('\n', "\n    ")
}

fn subscript(container: &str, path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Index(index) => format!("[{index}]"),
        Step::Key(key) => format!("[{}]", repr(&Value::from(key.as_str()))),
    });
    std::iter::once(container.to_string()).chain(steps).collect()
}

fn is_type(value: &Value, kind: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| is_type(value, kind)),
        Value::String(kind) => match kind.as_str() {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "number" => value.is_number(),
            "integer" => {
                value.is_i64()
                    || value.is_u64()
                    || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            _ => false,
        },
        _ => false,
    }
}

/// A walk through a schema and a value.  Its depth is that of the schema, not of the value: no
/// schema of Glance's refers to itself.
struct Walk<'a> {
    root: &'a Value,
    schema_path: Vec<Step>,
    path: Vec<Step>,
    found: Vec<Violation<'a>>,
}

impl<'a> Walk<'a> {
    /// Applies every keyword of `schema` to `value`, in the schema's order.
    fn descend(&mut self, schema: &'a Value, value: &'a Value) {
        let Some(schema) = schema.as_object() else {
            return;
        };
        for (keyword, rule) in schema {
            if keyword == "$ref" {
                // Where a reference is followed is not part of the path.
                if let Some(target) = self.definition(rule) {
                    self.descend(target, value);
                }
                continue;
            }
            if let Some((keyword, message)) = violated(keyword, rule, schema, value) {
                self.found.push(Violation {
                    message,
                    keyword,
                    schema,
                    schema_path: self.schema_path.clone(),
                    value,
                    path: self.path.clone(),
                });
            }
            self.schema_path.push(Step::Key(keyword.clone()));
            self.descend_parts(keyword, rule, schema, value);
            self.schema_path.pop();
        }
    }

    fn descend_parts(
        &mut self,
        keyword: &str,
        rule: &'a Value,
        schema: &'a Map<String, Value>,
        value: &'a Value,
    ) {
        if let ("allOf", Value::Array(rules)) = (keyword, rule) {
            for (at, rule) in rules.iter().enumerate() {
                self.schema_path.push(Step::Index(at));
                self.descend(rule, value);
                self.schema_path.pop();
            }
        }
        for (step, into, part) in parts(keyword, rule, schema, value) {
            if keyword == "properties" {
                self.schema_path.push(step.clone());
            }
            self.path.push(step);
            self.descend(into, part);
            self.path.pop();
            if keyword == "properties" {
                self.schema_path.pop();
            }
        }
    }

    /// What `#/definitions/…` refers to.
    fn definition(&self, reference: &Value) -> Option<&'a Value> {
        self.root.pointer(reference.as_str()?.strip_prefix('#')?)
    }
}

/// The parts of `value` that a keyword sends to a schema of their own.
fn parts<'a>(
    keyword: &str,
    rule: &'a Value,
    schema: &'a Map<String, Value>,
    value: &'a Value,
) -> Vec<(Step, &'a Value, &'a Value)> {
    match (keyword, rule, value) {
        ("properties", Value::Object(rules), Value::Object(object)) => rules
            .iter()
            .filter_map(|(key, rule)| Some((Step::Key(key.clone()), rule, object.get(key)?)))
            .collect(),
        ("additionalProperties", Value::Object(_), Value::Object(object)) => {
            extras(schema, object).map(|(key, part)| (Step::Key(key.clone()), rule, part)).collect()
        }
        ("items", Value::Object(_), Value::Array(list)) => {
            list.iter().enumerate().map(|(at, part)| (Step::Index(at), rule, part)).collect()
        }
        _ => Vec::new(),
    }
}

fn extras<'a>(
    schema: &'a Map<String, Value>,
    object: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let known = schema.get("properties").and_then(Value::as_object);
    object.iter().filter(move |(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
}

/// The keyword's name for ever, and its message, when it is violated by the value itself.
fn violated(
    keyword: &str,
    rule: &Value,
    schema: &Map<String, Value>,
    value: &Value,
) -> Option<(&'static str, String)> {
    let length = |value: &Value| value.as_str().map(|text| text.chars().count() as u64);
    let shown = || repr(value);
    match keyword {
        "type" if !is_type(value, rule) => {
            let kinds = match rule {
                Value::Array(kinds) => kinds.iter().map(repr).collect::<Vec<_>>().join(", "),
                kind => repr(kind),
            };
            Some(("type", format!("{} is not of type {kinds}", shown())))
        }
        "enum" if !rule.as_array()?.contains(value) => {
            Some(("enum", format!("{} is not one of {}", shown(), repr(rule))))
        }
        "maxLength" if length(value)? > rule.as_u64()? => {
            Some(("maxLength", format!("{} is too long", shown())))
        }
        "minLength" if length(value)? < rule.as_u64()? => {
            Some(("minLength", format!("{} is too short", shown())))
        }
        "minimum" if value.as_f64()? < rule.as_f64()? => {
            let message = format!("{} is less than the minimum of {}", shown(), repr(rule));
            Some(("minimum", message))
        }
        "minItems" if (value.as_array()?.len() as u64) < rule.as_u64()? => {
            let wanted = if rule == 1 { "should be non-empty" } else { "is too short" };
            Some(("minItems", format!("{} {wanted}", shown())))
        }
        "uniqueItems" if *rule == Value::Bool(true) && repeats(value.as_array()?) => {
            Some(("uniqueItems", format!("{} has non-unique elements", shown())))
        }
        // The one pattern that Glance's image schemas have is that of a UUID.
        "pattern" if ImageId::from_str(value.as_str()?).is_err() => {
            Some(("pattern", format!("{} does not match {}", shown(), repr(rule))))
        }
        "required" => {
            let object = value.as_object()?;
            let missing = rule
                .as_array()?
                .iter()
                .find(|key| !object.contains_key(key.as_str().unwrap_or("")))?;
            Some(("required", format!("{} is a required property", repr(missing))))
        }
        "additionalProperties" if *rule == Value::Bool(false) => {
            let mut keys: Vec<_> = extras(schema, value.as_object()?).map(|(key, _)| key).collect();
            keys.sort();
            let verb = match keys.len() {
                0 => return None,
                1 => "was",
                _ => "were",
            };
            let keys = keys.into_iter().map(|key| repr(&Value::from(key.as_str())));
            let keys = keys.collect::<Vec<_>>().join(", ");
            let message =
                format!("Additional properties are not allowed ({keys} {verb} unexpected)");
            Some(("additionalProperties", message))
        }
        _ => None,
    }
}

fn repeats(list: &[Value]) -> bool {
    list.iter().enumerate().any(|(at, item)| list.iter().take(at).any(|before| before == item))
}
