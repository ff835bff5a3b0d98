//! What the definition of a property may say, beyond what its schema checks.
//!
//! A definition is stored as it was given.  When it is shown, fields come in one order and values
//! in one type each (Glance: the model `PropertyType`, where every default is a text).

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// A text, or what is left as it is.
    Plain,
    /// Whatever; scalars become text.
    Text,
    /// A whole number.
    Whole,
    /// Texts.
    Texts,
    /// What the elements of a list are: type and choices.
    Items,
}

/// Every field, in the order in which it is shown.
const FIELDS: &[(&str, Holds)] = &[
    ("name", Holds::Plain),
    ("type", Holds::Plain),
    ("title", Holds::Plain),
    ("description", Holds::Plain),
    ("operators", Holds::Texts),
    ("default", Holds::Text),
    ("readonly", Holds::Plain),
    ("minimum", Holds::Whole),
    ("maximum", Holds::Whole),
    ("enum", Holds::Texts),
    ("pattern", Holds::Plain),
    ("minLength", Holds::Whole),
    ("maxLength", Holds::Whole),
    ("confidential", Holds::Plain),
    ("items", Holds::Items),
    ("uniqueItems", Holds::Plain),
    ("minItems", Holds::Whole),
    ("maxItems", Holds::Whole),
    ("additionalItems", Holds::Plain),
];

/// The fields of `items`.
const ITEM_FIELDS: &[(&str, Holds)] = &[("type", Holds::Plain), ("enum", Holds::Texts)];

/// Checks a definition that a client gave, and that its schema allows.
///
/// # Errors
/// `Invalid`: Glance fails with 500 on these.
pub fn check(definition: &Map<String, Value>) -> Result<()> {
    check_fields(FIELDS, definition)
}

fn check_fields(fields: &[(&str, Holds)], given: &Map<String, Value>) -> Result<()> {
    for (name, value) in given {
        let Some((_, holds)) = fields.iter().find(|(known, _)| known == name) else {
            return Err(Error::Invalid(format!("Unknown attribute: {name}")));
        };
        let wrong = |wanted: &str| Error::Invalid(format!("'{name}' must be {wanted}."));
        match (holds, value) {
            (Holds::Texts, Value::Array(list)) if list.iter().all(Value::is_string) => {}
            (Holds::Texts, _) => return Err(wrong("a list of texts")),
            (Holds::Items, Value::Object(items)) => {
                if !items.contains_key("type") {
                    return Err(wrong("an object with a type"));
                }
                check_fields(ITEM_FIELDS, items)?;
            }
            (Holds::Items, _) => return Err(wrong("an object")),
            _ => {}
        }
    }
    Ok(())
}

/// A stored definition as clients see it.  Whoever wrote it: what is not understood is left out.
pub fn shown(stored: &Map<String, Value>) -> Map<String, Value> {
    shown_fields(FIELDS, stored)
}

/// The same, of what should be a definition.
pub fn shown_value(stored: Value) -> Value {
    match &stored {
        Value::Object(definition) => Value::Object(shown(definition)),
        _ => stored,
    }
}

fn shown_fields(fields: &[(&str, Holds)], stored: &Map<String, Value>) -> Map<String, Value> {
    let value = |holds, value: &Value| match (holds, value) {
        (Holds::Text, Value::Number(number)) => Value::from(number.to_string()),
        (Holds::Text, Value::Bool(true)) => Value::from("True"),
        (Holds::Text, Value::Bool(false)) => Value::from("False"),
        (Holds::Whole, Value::Number(number)) if number.is_f64() => {
            number.as_f64().map_or(Value::Null, |number| Value::from(number as i64))
        }
        (Holds::Items, Value::Object(items)) => Value::Object(shown_fields(ITEM_FIELDS, items)),
        (_, value) => value.clone(),
    };
    let known = fields
        .iter()
        .filter_map(|(name, holds)| Some((name.to_string(), value(*holds, stored.get(*name)?))));
    known.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_shown_has_one_order_and_one_type_each() {
        let stored = map(json!({
            "default": true, "minimum": 1.9, "title": "t", "type": "integer", "new": 1,
            "items": {"enum": ["a"], "type": "string", "more": 1},
        }));
        let shown = shown(&stored);
        let names: Vec<_> = shown.keys().map(String::as_str).collect();
        assert_eq!(names, ["type", "title", "default", "minimum", "items"]);
        assert_eq!(shown["default"], "True");
        assert_eq!(shown["minimum"], 1);
        assert_eq!(shown["items"], json!({"type": "string", "enum": ["a"]}));
    }

    #[test]
    fn what_glance_could_not_show_again_is_refused() {
        for bad in [
            json!({"required": ["a"]}),
            json!({"enum": ["a", 1]}),
            json!({"items": {"enum": ["a"]}}),
            json!({"items": {"type": "string", "more": 1}}),
        ] {
            assert!(matches!(check(&map(bad.clone())), Err(Error::Invalid(_))), "{bad}");
        }
        let good = json!({"type": "array", "title": "t", "items": {"type": "string"}});
        assert!(check(&map(good)).is_ok());
    }
}
