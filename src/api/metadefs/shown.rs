//! Definitions as clients see them.  What is not set is not shown.

use serde_json::{Map, Value, json};

use crate::catalog::metadefs::{
    Association, Belongings, Namespace, Object, Property, ResourceType, Tag,
};
use crate::catalog::model::Timestamp;

/// How much of what a namespace has is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What a client just said.
    AsGiven,
    /// With times and links.
    Full,
}

/// The path of a namespace.
pub(super) fn href(namespace: &str) -> String {
    format!("/v2/metadefs/namespaces/{namespace}")
}

pub(super) fn namespace(
    namespace: &Namespace,
    belongings: &Belongings,
    detail: Detail,
) -> Map<String, Value> {
    let mut map = Map::new();
    put(&mut map, "namespace", &namespace.name);
    put_some(&mut map, "display_name", namespace.display_name.as_deref());
    put_some(&mut map, "description", namespace.description.as_deref());
    put(&mut map, "visibility", if namespace.public { "public" } else { "private" });
    map.insert("protected".to_string(), namespace.protected.into());
    put(&mut map, "owner", namespace.owner.as_str());
    put_times(&mut map, namespace.created_at, namespace.updated_at);
    let Belongings { associations, properties: owned, objects, tags: words } = belongings;
    if !associations.is_empty() {
        let shown = associations.iter().map(|item| association(item, detail)).collect();
        map.insert("resource_type_associations".to_string(), shown);
    }
    if !owned.is_empty() {
        map.insert("properties".to_string(), properties(owned));
    }
    if !objects.is_empty() {
        let shown = objects.iter().map(|item| object(&namespace.name, item, detail)).collect();
        map.insert("objects".to_string(), shown);
    }
    if !words.is_empty() {
        map.insert("tags".to_string(), tags(words));
    }
    put(&mut map, "self", &href(&namespace.name));
    put(&mut map, "schema", "/v2/schemas/metadefs/namespace");
    map
}

pub(super) fn association(association: &Association, detail: Detail) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", &association.resource_type);
    put_some(&mut map, "prefix", association.prefix.as_deref());
    put_some(&mut map, "properties_target", association.properties_target.as_deref());
    if detail == Detail::Full {
        put_times(&mut map, association.created_at, association.updated_at);
    }
    Value::Object(map)
}

pub(super) fn resource_type(resource_type: &ResourceType) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", &resource_type.name);
    put_times(&mut map, resource_type.created_at, resource_type.updated_at);
    Value::Object(map)
}

pub(super) fn object(namespace: &str, object: &Object, detail: Detail) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", &object.name);
    map.insert("required".to_string(), json!(object.required));
    put_some(&mut map, "description", object.description.as_deref());
    map.insert("properties".to_string(), Value::Object(object.properties.clone()));
    if detail == Detail::Full {
        put_times(&mut map, object.created_at, object.updated_at);
        put(&mut map, "self", &format!("{}/objects/{}", href(namespace), object.name));
        put(&mut map, "schema", "/v2/schemas/metadefs/object");
    }
    Value::Object(map)
}

/// One property, with its name among its fields.
pub(super) fn property(property: &Property) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", &property.name);
    let fields = property.schema.iter().filter(|(field, _)| *field != "name");
    map.extend(fields.map(|(field, value)| (field.clone(), value.clone())));
    Value::Object(map)
}

/// Properties by their names.
pub(super) fn properties(properties: &[Property]) -> Value {
    let each = properties.iter();
    Value::Object(
        each.map(|property| (property.name.clone(), Value::Object(property.schema.clone())))
            .collect(),
    )
}

pub(super) fn tag(tag: &Tag) -> Value {
    let mut map = Map::new();
    put(&mut map, "name", &tag.name);
    put_times(&mut map, tag.created_at, tag.updated_at);
    Value::Object(map)
}

/// Tags by name alone.
pub(super) fn tags(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| json!({"name": tag.name})).collect()
}

fn put(map: &mut Map<String, Value>, key: &str, text: &str) {
    map.insert(key.to_string(), text.into());
}

fn put_some(map: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        put(map, key, text);
    }
}

fn put_times(map: &mut Map<String, Value>, created_at: Timestamp, updated_at: Option<Timestamp>) {
    put(map, "created_at", &created_at.to_wire());
    if let Some(updated_at) = updated_at {
        put(map, "updated_at", &updated_at.to_wire());
    }
}
