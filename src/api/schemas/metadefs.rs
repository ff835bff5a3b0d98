//! The schemas of metadata definitions, in Glance's words and order: messages quote them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{check, collection_schema};

/// What a request's body says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::api) enum Body {
    Namespace,
    Object,
    Property,
    /// A property of an object, which has its name elsewhere.
    ObjectProperty,
    Association,
    Tag,
    Tags,
}

/// All of them, ready to be checked against and to be shown.
pub(super) struct Schemas {
    bodies: BTreeMap<Body, Value>,
    shown: BTreeMap<&'static str, Value>,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let bodies = BTreeMap::from([
            (Body::Namespace, namespace()),
            (Body::Object, object()),
            (Body::Property, property(&["type", "title", "name"])),
            (Body::ObjectProperty, property(&["type", "title"])),
            (Body::Association, association()),
            (Body::Tag, tag()),
            (Body::Tags, tags()),
        ]);
        let one = |body| bodies.get(&body).cloned().unwrap_or_default();
        let shown = BTreeMap::from([
            ("namespace", one(Body::Namespace)),
            ("namespaces", many("namespaces", one(Body::Namespace))),
            ("object", one(Body::Object)),
            ("objects", many("objects", one(Body::Object))),
            ("property", one(Body::Property)),
            ("properties", by_name("properties", one(Body::ObjectProperty))),
            ("resource_type", one(Body::Association)),
            ("resource_types", many("resource_type_associations", one(Body::Association))),
            ("tag", one(Body::Tag)),
            ("tags", many("tags", one(Body::Tag))),
        ]);
        Self { bodies, shown }
    }

    /// The schema shown under `/v2/schemas/metadefs/` by this name.
    pub(super) fn shown(&self, name: &str) -> Option<&Value> {
        self.shown.get(name)
    }

    /// Checks a body.
    ///
    /// # Errors
    /// The message.
    pub(super) fn check(&self, kind: Body, body: &Value) -> Result<(), String> {
        match self.bodies.get(&kind) {
            Some(schema) => check::check(schema["name"].as_str().unwrap_or(""), schema, body),
            None => Ok(()),
        }
    }
}

/// A schema that allows nothing but `properties`.
fn strict(name: &str, properties: Value, definitions: Option<Value>, required: &[&str]) -> Value {
    let mut schema = Map::new();
    schema.insert("name".to_string(), name.into());
    schema.insert("properties".to_string(), properties);
    schema.insert("additionalProperties".to_string(), false.into());
    schema.extend(definitions.map(|definitions| ("definitions".to_string(), definitions)));
    if !required.is_empty() {
        schema.insert("required".to_string(), required.into());
    }
    Value::Object(schema)
}

/// A list.  Definitions are found at the top of a schema.
fn many(name: &str, mut item: Value) -> Value {
    let definitions = take_definitions(&mut item);
    with_definitions(collection_schema(name, &item), definitions)
}

/// The same, with names for keys.
fn by_name(name: &str, mut item: Value) -> Value {
    let definitions = take_definitions(&mut item);
    let mut schema = collection_schema(name, &item);
    schema["properties"][name] = json!({"type": "object", "additionalProperties": item});
    with_definitions(schema, definitions)
}

fn take_definitions(schema: &mut Value) -> Option<Value> {
    // The order of the rest stays.
    schema.as_object_mut()?.shift_remove("definitions")
}

fn with_definitions(mut schema: Value, definitions: Option<Value>) -> Value {
    if let Some(definitions) = definitions {
        schema["definitions"] = definitions;
    }
    schema
}

fn text(most: u32) -> Value {
    json!({"type": "string", "maxLength": most})
}

fn described(description: &str, most: u32) -> Value {
    json!({"type": "string", "description": description, "maxLength": most})
}

fn generated() -> Value {
    json!({"readOnly": true, "type": "string"})
}

fn time(description: &str) -> Value {
    json!({
        "type": "string",
        "readOnly": true,
        "description": description,
        "format": "date-time",
    })
}

fn namespace() -> Value {
    let properties = json!({
        "namespace": described("The unique namespace text.", 80),
        "display_name":
            described("The user friendly name for the namespace. Used by UI if available.", 80),
        "description": described("Provides a user friendly description of the namespace.", 500),
        "visibility": {
            "type": "string",
            "description": "Scope of namespace accessibility.",
            "enum": ["public", "private"],
        },
        "protected": {
            "type": "boolean",
            "description": "If true, namespace will not be deletable.",
        },
        "owner": described("Owner of the namespace.", 255),
        "created_at": time("Date and time of namespace creation"),
        "updated_at": time("Date and time of the last namespace modification"),
        "schema": generated(),
        "self": generated(),
        "resource_type_associations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "prefix": {"type": "string"},
                    "properties_target": {"type": "string"},
                },
            },
        },
        "properties": {"$ref": "#/definitions/property"},
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "description": {"type": "string"},
                    "required": {"$ref": "#/definitions/stringArray"},
                    "properties": {"$ref": "#/definitions/property"},
                },
            },
        },
        "tags": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    });
    strict("namespace", properties, Some(definitions_of_objects()), &["namespace"])
}

fn object() -> Value {
    let properties = json!({
        "name": text(80),
        "description": {"type": "string"},
        "required": {"$ref": "#/definitions/stringArray"},
        "properties": {"$ref": "#/definitions/property"},
        "schema": generated(),
        "self": generated(),
        "created_at": time("Date and time of object creation"),
        "updated_at": time("Date and time of the last object modification"),
    });
    strict("object", properties, Some(definitions_of_objects()), &["name"])
}

fn property(required: &[&str]) -> Value {
    let mut texts = json!({"type": "array", "items": {"type": "string"}});
    texts["minItems"] = 1.into();
    texts["uniqueItems"] = true.into();
    strict("property", property_fields(), Some(definitions(texts)), required)
}

fn association() -> Value {
    let properties = json!({
        "name": described(
            "Resource type names should be aligned with Heat resource types whenever possible: \
             https://docs.openstack.org/heat/latest/template_guide/openstack.html",
            80,
        ),
        "prefix": described(
            "Specifies the prefix to use for the given resource type. Any properties in the \
             namespace should be prefixed with this prefix when being applied to the specified \
             resource type. Must include prefix separator (e.g. a colon :).",
            80,
        ),
        "properties_target": described(
            "Some resource types allow more than one key / value pair per instance.  For example, \
             Cinder allows user and image metadata on volumes. Only the image properties metadata \
             is evaluated by Nova (scheduling or drivers). This property allows a namespace \
             target to remove the ambiguity.",
            80,
        ),
        "created_at": time("Date and time of resource type association"),
        "updated_at": time("Date and time of the last resource type association modification"),
    });
    strict("resource_type_association", properties, None, &["name"])
}

fn tag() -> Value {
    let properties = json!({
        "name": text(80),
        "created_at": time("Date and time of tag creation"),
        "updated_at": time("Date and time of the last tag modification"),
    });
    strict("tag", properties, None, &["name"])
}

fn tags() -> Value {
    let properties = json!({
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
                "additionalProperties": false,
            },
        },
    });
    strict("tags", properties, None, &[])
}

fn definitions(texts: Value) -> Value {
    json!({
        "positiveInteger": {"type": "integer", "minimum": 0},
        "positiveIntegerDefault0": {
            "allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}],
        },
        "stringArray": texts,
    })
}

fn definitions_of_objects() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true});
    let mut definitions = definitions(texts);
    definitions["property"] = json!({
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["title", "type"],
            "properties": property_fields(),
        },
    });
    definitions
}

fn property_fields() -> Value {
    let kind = json!({
        "type": "string",
        "enum": ["array", "boolean", "integer", "number", "object", "string", null],
    });
    let count = json!({"$ref": "#/definitions/positiveInteger"});
    let count_or_none = json!({"$ref": "#/definitions/positiveIntegerDefault0"});
    json!({
        "name": text(80),
        "title": {"type": "string"},
        "description": {"type": "string"},
        "operators": {"type": "array", "items": {"type": "string"}},
        "type": kind,
        "required": {"$ref": "#/definitions/stringArray"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "maxLength": count,
        "minLength": count_or_none,
        "pattern": {"type": "string", "format": "regex"},
        "enum": {"type": "array"},
        "readonly": {"type": "boolean"},
        "default": {},
        "items": {
            "type": "object",
            "properties": {"type": kind, "enum": {"type": "array"}},
        },
        "maxItems": count,
        "minItems": count_or_none,
        "uniqueItems": {"type": "boolean", "default": false},
        "additionalItems": {"type": "boolean"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_followed() {
        let schemas = Schemas::new();
        let error = |kind, body| schemas.check(kind, &body).unwrap_err();
        let nested = json!({"name": "o", "properties": {"p": {"title": "t"}}});
        let message = error(Body::Object, nested);
        assert!(message.contains("schema 'object': 'type' is a required property"), "{message}");
        let place = "in schema['properties']['properties']['additionalProperties']:";
        assert!(message.contains(place), "{message}");
        let property = |more: Value| {
            let mut body = json!({"name": "p", "title": "t", "type": "array"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let message = error(Body::Property, property(json!({"minItems": -1})));
        let place = "'minimum' in schema['properties']['minItems']['allOf'][0]:";
        assert!(message.contains("-1 is less than the minimum of 0"), "{message}");
        assert!(message.contains(place), "{message}");
        let message = error(Body::Property, property(json!({"required": []})));
        assert!(message.contains("[] should be non-empty"), "{message}");
        let message = error(Body::Property, property(json!({"required": ["a", "a"]})));
        assert!(message.contains("['a', 'a'] has non-unique elements"), "{message}");
    }
}
