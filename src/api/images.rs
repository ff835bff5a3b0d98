//! `/v2/images` and `/v2/images/{id}`: create, list, show, change, delete.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;

use super::caller::Caller;
use super::listing::Listing;
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::wire::{self, View};
use super::{address, patch};
use crate::catalog::model::Image;
use crate::error::Error;
use crate::images::fields;

static IMPORT_METHODS: HeaderName = HeaderName::from_static("openstack-image-import-methods");
static STORE_IDS: HeaderName = HeaderName::from_static("openstack-image-store-ids");

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/images", resource("GET, POST", get(list).post(create))).route(
        "/images/{id}",
        resource("GET, PATCH, DELETE", get(show).patch(update).delete(delete)),
    )
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = wire::read_json(&headers, body, &api.settings).await?;
    let Value::Object(fields) = &body else {
        return Err(Fault::bad_request("The request body must be a JSON object."));
    };
    fields::refuse_shown_only(fields)?;
    api.schemas.check_image(&body)?;
    let image = fields::new_image(fields, &ctx, api.images.options())?;
    let images = Arc::clone(&api.images);
    let admin = ctx.admin;
    let image = api.bridge.call(move || images.create(&ctx, image)).await?;
    Ok(created(&api, &headers, &image, admin))
}

fn created(api: &Shared, headers: &HeaderMap, image: &Image, admin: bool) -> Response {
    let options = api.images.options();
    let view = View { image, options, admin };
    let location = format!("{}{}", address::url_of(headers, &api.settings), view.href());
    let store_ids: Vec<_> = options.enabled_backends.iter().map(|store| &*store.name).collect();
    let mut response = wire::json(&view);
    *response.status_mut() = StatusCode::CREATED;
    for (name, value) in [
        (&header::LOCATION, location),
        (&IMPORT_METHODS, options.import.enabled_methods.join(",")),
        (&STORE_IDS, store_ids.join(",")),
    ] {
        // RFC 9110 has no use for an empty field.
        if let Some(value) = HeaderValue::try_from(value).ok().filter(|value| !value.is_empty()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn list(State(api): State<Shared>, Caller(ctx): Caller, uri: Uri) -> Result<Response, Fault> {
    let listing = Listing::parse(uri.query().unwrap_or_default(), &ctx, api.images.options())?;
    let query = listing.query.clone();
    let images = Arc::clone(&api.images);
    let found = api.bridge.call(move || images.list(&ctx, query)).await;
    let found = found.map_err(|error| match error {
        // The one thing that a listing can miss is its marker, and that was the client's.
        Error::NotFound(text) => Error::Invalid(text),
        other => other,
    })?;
    Ok(wire::json(&listing.page(&found, api.images.options())))
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    let admin = ctx.admin;
    let image = api.bridge.call(move || images.get(&ctx, id)).await?;
    Ok(wire::json(&View { image: &image, options: api.images.options(), admin }))
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let dialect = patch::Dialect::of(&headers)?;
    let body = wire::read_json(&headers, body, &api.settings).await?;
    let edits = patch::parse(&body, dialect, &api.schemas)?;
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    let admin = ctx.admin;
    let image = api.bridge.call(move || images.update(&ctx, id, &edits)).await?;
    Ok(wire::json(&View { image: &image, options: api.images.options(), admin }))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let missing = |id: &str| format!("Failed to find image {id} to delete");
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let deleted = api.bridge.call(move || images.delete(&ctx, image)).await;
    deleted.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound(missing(&id.text)),
        other => other,
    })?;
    Ok(wire::no_content())
}
