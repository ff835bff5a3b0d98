//! `/v2/metadefs/…`: the catalog of metadata definitions.
//!
//! A file for each kind of resource, and what they share: names out of paths, bodies, and
//! definitions as clients see them (`shown`).

mod namespaces;
mod objects;
mod paging;
mod properties;
mod resource_types;
mod shown;
mod tags;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};

use super::router::{Shared, path_parts};
use super::schemas::MetadefBody;
use super::status::Fault;
use super::wire;
use crate::error::{Error, Result};
use crate::metadefs::Metadefs;

/// What the server says about everything, and about what has links.
const READ_ONLY: &[&str] = &["created_at", "updated_at"];
const READ_ONLY_LINKED: &[&str] = &["self", "schema", "created_at", "updated_at"];

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .merge(namespaces::routes())
        .merge(objects::routes())
        .merge(properties::routes())
        .merge(tags::routes())
        .merge(resource_types::routes())
}

/// The namespace that a path names.
struct InNamespace(String);

impl<S: Send + Sync> FromRequestParts<S> for InNamespace {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match path_parts(parts, state).await?.into_iter().next() {
            Some((_, namespace)) => Ok(Self(namespace)),
            None => Err(Fault::no_resource()),
        }
    }
}

/// What a path names in a namespace.
struct Named {
    namespace: String,
    name: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let mut texts = path_parts(parts, state).await?.into_iter().map(|(_, text)| text);
        match (texts.next(), texts.next()) {
            (Some(namespace), Some(name)) => Ok(Self { namespace, name }),
            _ => Err(Fault::no_resource()),
        }
    }
}

/// Reads a body and holds it against its schema.
async fn read_body(
    api: &Shared,
    headers: &HeaderMap,
    body: Body,
    kind: MetadefBody,
    read_only: &[&str],
) -> Result<Map<String, Value>, Fault> {
    let body = wire::read_json(headers, body, &api.settings).await?;
    let Value::Object(fields) = &body else {
        return Err(Fault::bad_request("The request body must be a JSON object."));
    };
    if let Some(name) = read_only.iter().find(|name| fields.contains_key(**name)) {
        return Err(Error::Immutable(format!("Attribute '{name}' is read-only.")).into());
    }
    api.schemas.check_metadef(kind, &body)?;
    Ok(fields.clone())
}

/// Runs one call into the core.
async fn call<T: Send + 'static>(
    api: &Shared,
    work: impl FnOnce(&Metadefs) -> Result<T> + Send + 'static,
) -> Result<T> {
    let metadefs = Arc::clone(&api.metadefs);
    api.bridge.call(move || work(&metadefs)).await
}

/// The answer to something made.
fn created(value: &impl Serialize) -> Response {
    let mut response = wire::json(value);
    *response.status_mut() = StatusCode::CREATED;
    response
}
