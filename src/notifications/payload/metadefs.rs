//! What Glance says of metadata definitions.

use serde_json::{Map, Value, json};

use crate::catalog::metadefs::{Association, Namespace, Object, Property, Tag};
use crate::catalog::model::Timestamp;

/// What is said of a property's definition, where it says it.
const OF_PROPERTIES: &[&str] = &[
    "type",
    "title",
    "description",
    "default",
    "minimum",
    "maximum",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "confidential",
    "items",
    "uniqueItems",
    "minItems",
    "maxItems",
    "additionalItems",
];

/// A namespace, which had this name before.
pub fn namespace(namespace: &Namespace, old_name: &str) -> Value {
    json!({
        "namespace": namespace.name,
        "namespace_old": old_name,
        "display_name": namespace.display_name,
        "protected": namespace.protected,
        "visibility": if namespace.public { "public" } else { "private" },
        "owner": namespace.owner.as_str(),
        "description": namespace.description,
        "created_at": namespace.created_at.to_wire(),
        "updated_at": changed(namespace.updated_at),
        "deleted": false,
        "deleted_at": null,
    })
}

/// An object.  Glance: of one that is gone, nothing that must be there is an empty list.
pub fn object(namespace: &str, object: &Object, old_name: &str, gone: bool) -> Value {
    let properties: Vec<_> = object
        .properties
        .iter()
        .map(|(name, schema)| {
            let mut described = json!({"name": name});
            for word in OF_PROPERTIES {
                // Python: what is empty, zero or false is none.
                let said = schema.get(word).filter(|value| !is_nothing(value));
                described[word] = said.cloned().unwrap_or_default();
            }
            described
        })
        .collect();
    let required = Some(&object.required).filter(|names| gone || !names.is_empty());
    json!({
        "namespace": namespace,
        "name": object.name,
        "name_old": old_name,
        "properties": properties,
        "required": required,
        "description": object.description,
        "created_at": object.created_at.to_wire(),
        "updated_at": changed(object.updated_at),
        "deleted": false,
        "deleted_at": null,
    })
}

/// A property.
pub fn property(namespace: &str, property: &Property, old_name: &str) -> Value {
    let mut described = Map::new();
    for (name, text) in [("namespace", namespace), ("name", &property.name), ("name_old", old_name)]
    {
        described.insert(name.to_owned(), text.into());
    }
    for word in OF_PROPERTIES {
        let said = property.schema.get(*word).cloned().unwrap_or_default();
        described.insert((*word).to_owned(), said);
    }
    described.insert("deleted".to_owned(), false.into());
    described.insert("deleted_at".to_owned(), Value::Null);
    described.into()
}

/// A tag.
pub fn tag(namespace: &str, tag: &Tag, old_name: &str) -> Value {
    json!({
        "namespace": namespace,
        "name": tag.name,
        "name_old": old_name,
        "created_at": tag.created_at.to_wire(),
        "updated_at": changed(tag.updated_at),
        "deleted": false,
        "deleted_at": null,
    })
}

/// A type of resources that a namespace applies to.
pub fn resource_type(namespace: &str, association: &Association) -> Value {
    json!({
        "namespace": namespace,
        "name": association.resource_type,
        "name_old": association.resource_type,
        "prefix": association.prefix,
        "properties_target": association.properties_target,
        "created_at": association.created_at.to_wire(),
        "updated_at": changed(association.updated_at),
        "deleted": false,
        "deleted_at": null,
    })
}

/// Glance: a time that nobody noted is now.
fn changed(at: Option<Timestamp>) -> String {
    at.unwrap_or_else(Timestamp::now).to_wire()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    }
}
