//! `/v2/images/{id}/tags/{tag}`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::put;
use serde_json::json;

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, path_parts, resource};
use super::status::Fault;
use super::wire;
use crate::error::Error;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/images/{id}/tags/{tag}", resource("PUT, DELETE", put(add).delete(remove)))
}

/// The tag in the path.
struct Tag(String);

impl<S: Send + Sync> FromRequestParts<S> for Tag {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match path_parts(parts, state).await?.pop() {
            Some((_, tag)) => Ok(Self(tag)),
            None => Err(Fault::no_resource()),
        }
    }
}

async fn add(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    Tag(tag): Tag,
    _: NoBody,
) -> Result<Response, Fault> {
    api.schemas.check_image(&json!({"tags": [tag]}))?;
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let added = api.bridge.call(move || images.add_tag(&ctx, image, &tag)).await;
    added.map_err(|error| match error {
        Error::NotFound(_) => Fault::not_found(missing(&id.text)),
        Error::OverQuota(text) => {
            Fault::too_large(format!("Image tag limit exceeded for image {}: {text}:", id.text))
        }
        other => other.into(),
    })?;
    Ok(wire::no_content())
}

async fn remove(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    Tag(tag): Tag,
    _: NoBody,
) -> Result<Response, Fault> {
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let removed = api.bridge.call(move || images.remove_tag(&ctx, image, &tag)).await;
    removed.map_err(|error| match error {
        Error::NotFound(_) => Fault::not_found(missing(&id.text)),
        Error::Missing(_) => Fault::no_resource(),
        other => other.into(),
    })?;
    Ok(wire::no_content())
}

fn missing(id: &str) -> String {
    format!("Image {id} not found.")
}
