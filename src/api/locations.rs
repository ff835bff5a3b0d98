//! `/v2/images/{id}/locations`: where an image's data is, told to services and by them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::wire;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/images/{id}/locations", resource("GET, POST", get(list).post(add)))
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    let image = api.bridge.call(move || images.locations(&ctx, id)).await?;
    Ok(wire::json(&wire::shown_locations(&image)))
}

async fn add(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = wire::read_json(&headers, body, &api.settings).await?;
    api.schemas.check_location(&json!({ "add_location": body }))?;
    let url = body["url"].as_str().unwrap_or_default().to_string();
    let validation = body["validation_data"].as_object().cloned().unwrap_or_default();
    check_whole(&validation)?;
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    api.bridge.call(move || images.begin_location(&ctx, id, &url, &validation)).await?;
    // Glance sends WebOb's default type with it.
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, kind)]).into_response())
}

/// A hash has a value and a name.
fn check_whole(validation: &Map<String, Value>) -> Result<(), Fault> {
    let names = ["os_hash_algo", "os_hash_value"];
    let there = names.map(|name| validation.contains_key(name));
    let text = match there {
        [true, false] => "'os_hash_value' is a dependency of 'os_hash_algo'",
        [false, true] => "'os_hash_algo' is a dependency of 'os_hash_value'",
        _ => return Ok(()),
    };
    Err(Fault::bad_request(format!("Provided object does not match schema 'location': {text}")))
}
