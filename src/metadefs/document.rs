//! Definitions out of JSON: of requests, whose schema was checked before, and of Glance's files.

use serde_json::{Map, Value};

use super::{Fields, property_type};
use crate::catalog::metadefs::{Association, Belongings, Object, Property, Tag};
use crate::catalog::model::Timestamp;
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// The fields of a namespace.
///
/// # Errors
/// `Invalid` when it has no name, or a field is of the wrong type.
pub fn fields(document: &Map<String, Value>) -> Result<Fields> {
    let visibility = text(document, "visibility")?;
    let public = match visibility.as_deref() {
        None | Some("private") => false,
        Some("public") => true,
        Some(_) => return Err(wrong("visibility", "'public' or 'private'")),
    };
    Ok(Fields {
        name: name(document, "namespace")?,
        display_name: text(document, "display_name")?,
        description: text(document, "description")?,
        public,
        protected: match document.get("protected") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(protected)) => *protected,
            Some(_) => return Err(wrong("protected", "true or false")),
        },
        owner: text(document, "owner")?.map(ProjectId::new),
    })
}

/// How definitions are read.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    created_at: Timestamp,
    updated_at: Option<Timestamp>,
    /// Take no definition of a property that Glance could not show again.
    strict: bool,
}

impl Reader {
    /// For what a client sends.
    pub fn of_requests() -> Self {
        let now = Timestamp::now();
        Self { created_at: now, updated_at: Some(now), strict: true }
    }

    /// For files.  What they bring counts as never changed.
    pub fn of_files() -> Self {
        Self { created_at: Timestamp::now(), updated_at: None, strict: false }
    }

    /// All that a namespace has.
    ///
    /// # Errors
    /// `Invalid`
    pub fn belongings(&self, document: &Map<String, Value>) -> Result<Belongings> {
        let properties = optional_map(document, "properties")?;
        let properties = properties.iter().map(|(name, schema)| self.property(name, schema));
        Ok(Belongings {
            associations: each(document, "resource_type_associations", |item| {
                self.association(item)
            })?,
            properties: properties.collect::<Result<_>>()?,
            objects: each(document, "objects", |item| self.object(item))?,
            tags: each(document, "tags", |item| Ok(self.tag(name(item, "name")?)))?,
        })
    }

    /// A type of resources that a namespace applies to.
    ///
    /// # Errors
    /// `Invalid`
    pub fn association(&self, document: &Map<String, Value>) -> Result<Association> {
        Ok(Association {
            resource_type: name(document, "name")?,
            prefix: text(document, "prefix")?,
            properties_target: text(document, "properties_target")?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    /// A property.
    ///
    /// # Errors
    /// `Invalid`
    pub fn property(&self, name: &str, schema: &Value) -> Result<Property> {
        Ok(Property {
            name: name.to_string(),
            schema: self.schema(name, schema)?.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    /// An object.
    ///
    /// # Errors
    /// `Invalid`
    pub fn object(&self, document: &Map<String, Value>) -> Result<Object> {
        let properties = optional_map(document, "properties")?;
        for (name, schema) in &properties {
            self.schema(name, schema)?;
        }
        let required = match document.get("required") {
            None | Some(Value::Null) => Vec::new(),
            Some(names) => texts("required", names)?,
        };
        Ok(Object {
            name: name(document, "name")?,
            description: text(document, "description")?,
            required,
            properties,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    /// A tag.
    pub fn tag(&self, name: String) -> Tag {
        Tag { name, created_at: self.created_at, updated_at: self.updated_at }
    }

    fn schema<'a>(&self, name: &str, schema: &'a Value) -> Result<&'a Map<String, Value>> {
        let schema = schema.as_object().ok_or_else(|| wrong(name, "an object"))?;
        if self.strict {
            property_type::check(schema)?;
        }
        Ok(schema)
    }
}

/// The texts of a list under `key`, each the `name` of an object.
///
/// # Errors
/// `Invalid`
pub fn names(document: &Map<String, Value>, key: &str) -> Result<Vec<String>> {
    each(document, key, |item| name(item, "name"))
}

fn wrong(key: &str, wanted: &str) -> Error {
    Error::Invalid(format!("'{key}' must be {wanted}."))
}

fn name(document: &Map<String, Value>, key: &str) -> Result<String> {
    text(document, key)?.ok_or_else(|| Error::Invalid(format!("'{key}' is a required property")))
}

fn text(document: &Map<String, Value>, key: &str) -> Result<Option<String>> {
    match document.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(key, "a text")),
    }
}

fn texts(key: &str, list: &Value) -> Result<Vec<String>> {
    let list = list.as_array().ok_or_else(|| wrong(key, "a list of texts"))?;
    let text = |item: &Value| item.as_str().map(str::to_string);
    list.iter().map(|item| text(item).ok_or_else(|| wrong(key, "a list of texts"))).collect()
}

fn optional_map(document: &Map<String, Value>, key: &str) -> Result<Map<String, Value>> {
    match document.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(wrong(key, "an object")),
    }
}

fn each<T>(
    document: &Map<String, Value>,
    key: &str,
    read: impl Fn(&Map<String, Value>) -> Result<T>,
) -> Result<Vec<T>> {
    let list = match document.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list.as_array().ok_or_else(|| wrong(key, "a list"))?,
    };
    let object = |item: &'_ Value| match item {
        Value::Object(item) => read(item),
        _ => Err(wrong(key, "a list of objects")),
    };
    list.iter().map(object).collect()
}
