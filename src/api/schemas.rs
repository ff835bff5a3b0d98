//! `/v2/schemas/…`: the JSON schemas of what the API takes and gives, and checking against them.
//!
//! The image schema is made from the table of fields, so that what is announced, what is checked
//! and what can be set are one.

mod check;
mod location;
mod metadefs;
mod python;
mod tasks;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};

pub(super) use metadefs::Body as MetadefBody;

use super::router::{NoBody, Shared, resource};
use super::status::Fault;
use super::wire;
use crate::catalog::model::MemberStatus;
use crate::images::fields::{FIELDS, Field, Kind};
use crate::images::options::Options;

const UUID_PATTERN: &str =
    "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";

/// Every schema.
pub(super) struct Schemas {
    image: Value,
    images: Value,
    location: Value,
    metadefs: metadefs::Schemas,
    task: Value,
}

impl Schemas {
    pub(super) fn new(options: &Options) -> Self {
        let image = image_schema(options);
        let images = collection_schema("images", &image);
        Self {
            image,
            images,
            location: location::location(),
            metadefs: metadefs::Schemas::new(),
            task: tasks::task(),
        }
    }

    /// Checks a whole image, or some of its fields.
    ///
    /// # Errors
    /// 400 with the message that Glance (python-jsonschema) gives.
    pub(super) fn check_image(&self, body: &Value) -> Result<(), Fault> {
        check::check("image", &self.image, body).map_err(Fault::bad_request)
    }

    /// Checks a location that is to be added, as `add_location`.
    ///
    /// # Errors
    /// 400, as above.
    pub(super) fn check_location(&self, body: &Value) -> Result<(), Fault> {
        check::check("location", &self.location, body).map_err(Fault::bad_request)
    }

    /// Checks what a request says about metadata definitions.
    ///
    /// # Errors
    /// 400, as above.
    pub(super) fn check_metadef(&self, kind: MetadefBody, body: &Value) -> Result<(), Fault> {
        self.metadefs.check(kind, body).map_err(Fault::bad_request)
    }

    /// Checks a task that is asked for.
    ///
    /// # Errors
    /// 400, as above.
    pub(super) fn check_task(&self, body: &Value) -> Result<(), Fault> {
        check::check("task", &self.task, body).map_err(Fault::bad_request)
    }

    /// Whether a field of images is a list.
    pub(super) fn is_list(&self, field: &str) -> bool {
        self.image["properties"][field]["type"] == "array"
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/schemas/image", resource("GET", get(image)))
        .route("/schemas/images", resource("GET", get(images)))
        .route("/schemas/member", resource("GET", get(member)))
        .route("/schemas/members", resource("GET", get(members)))
        .route("/schemas/task", resource("GET", get(task)))
        .route("/schemas/tasks", resource("GET", get(tasks)))
        .route("/schemas/metadefs/{name}", resource("GET", get(metadef)))
}

async fn image(State(api): State<Shared>, _: NoBody) -> Response {
    wire::json(&api.schemas.image)
}

async fn images(State(api): State<Shared>, _: NoBody) -> Response {
    wire::json(&api.schemas.images)
}

async fn member(_: NoBody) -> Response {
    wire::json(&member_schema())
}

async fn members(_: NoBody) -> Response {
    wire::json(&json!({
        "name": "members",
        "properties": {
            "members": {"type": "array", "items": member_schema()},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }))
}

async fn task(State(api): State<Shared>, _: NoBody) -> Response {
    wire::json(&api.schemas.task)
}

async fn tasks(_: NoBody) -> Response {
    wire::json(&tasks::tasks())
}

fn member_schema() -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let statuses: Vec<_> = MemberStatus::ALL.iter().map(|status| status.as_str()).collect();
    let mut image_id = text("An identifier for the image");
    image_id["pattern"] = UUID_PATTERN.into();
    let mut status = text("The status of this image member");
    status["enum"] = statuses.into();
    json!({
        "name": "member",
        "properties": {
            "member_id": text("An identifier for the image member (tenantId)"),
            "image_id": image_id,
            "created_at": text("Date and time of image member creation"),
            "updated_at": text("Date and time of last modification of image member"),
            "status": status,
            "schema": {"readOnly": true, "type": "string"},
        },
    })
}

async fn metadef(
    State(api): State<Shared>,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Fault> {
    let schema = api.schemas.metadefs.shown(&name).ok_or_else(Fault::no_resource)?;
    Ok(wire::json(schema))
}

fn image_schema(options: &Options) -> Value {
    let properties: Map<_, _> =
        FIELDS.iter().map(|field| (field.name.to_string(), field_schema(field, options))).collect();
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

/// One field.  The order of the keys is Glance's: messages quote it.
fn field_schema(field: &Field, options: &Options) -> Value {
    use crate::images::fields::Access;
    if field.kind == Kind::Locations {
        return locations_schema(field);
    }
    let base = match field.kind {
        Kind::Flag => "boolean",
        Kind::Number => "integer",
        Kind::Tags => "array",
        _ => "string",
    };
    let mut schema = Map::new();
    let kind = if field.nullable { json!(["null", base]) } else { json!(base) };
    schema.insert("type".to_string(), kind);
    if matches!(field.access, Access::ReadOnly | Access::Shown) {
        schema.insert("readOnly".to_string(), true.into());
    }
    schema.insert("description".to_string(), field.description.into());
    let with_null = |words: &[String]| {
        let words = words.iter().map(|word| Value::from(word.as_str()));
        std::iter::once(Value::Null).chain(words).collect::<Value>()
    };
    let more = match field.kind {
        Kind::Id => Some(("pattern", json!(UUID_PATTERN))),
        Kind::Text(Some(most)) => Some(("maxLength", json!(most))),
        Kind::Word(words) => Some(("enum", json!(words))),
        Kind::DiskFormat => Some(("enum", with_null(&options.disk_formats))),
        Kind::ContainerFormat => Some(("enum", with_null(&options.container_formats))),
        Kind::Tags => Some(("items", json!({"type": "string", "maxLength": 255}))),
        Kind::Text(None) | Kind::Flag | Kind::Number | Kind::Locations => None,
    };
    schema.extend(more.map(|(key, value)| (key.to_string(), value)));
    Value::Object(schema)
}

fn locations_schema(field: &Field) -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "maxLength": 255},
                "metadata": {"type": "object"},
                "validation_data": {
                    "description": "Values to be used to populate the corresponding image \
                        properties. If the image status is not 'queued', values must exactly \
                        match those already contained in the image properties.",
                    "type": "object",
                    "writeOnly": true,
                    "additionalProperties": false,
                    "properties": {
                        "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                        "os_hash_algo": {"type": "string", "maxLength": 64},
                        "os_hash_value": {"type": "string", "maxLength": 128},
                    },
                    "required": ["os_hash_algo", "os_hash_value"],
                },
            },
            "required": ["url", "metadata"],
        },
        "description": field.description,
    })
}

fn collection_schema(name: &str, item: &Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_quotes_the_schema_as_python_prints_it() {
        let schemas = Schemas::new(&Options::default());
        let fault = schemas.check_image(&json!({"visibility": "secret"})).unwrap_err();
        assert_eq!(
            fault.explanation(),
            "Provided object does not match schema 'image': 'secret' is not one of \
             ['community', 'public', 'private', 'shared']\n\n\
             Failed validating 'enum' in schema['properties']['visibility']:\n    \
             {'type': 'string',\n     'description': 'Scope of image accessibility',\n     \
             'enum': ['community', 'public', 'private', 'shared']}\n\n\
             On instance['visibility']:\n    'secret'"
        );
    }

    #[test]
    fn what_the_table_allows_passes() {
        let schemas = Schemas::new(&Options::default());
        let body = json!({
            "name": null, "disk_format": null, "tags": [""], "min_ram": 1, "custom": "x",
            "id": "0d4f9760-fad5-43e8-b768-1d60caefd2a2",
        });
        assert!(schemas.check_image(&body).is_ok());
        assert!(schemas.check_image(&json!({"custom": 1})).is_err());
    }
}
