//! `/v2/info` and `/v2/stores`: the stores that an upload may name, what they are, taking an image
//! out of one of several, and what a project uses of its limits.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{delete, get};
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::router::{NoBody, Shared, path_parts, resource};
use super::status::Fault;
use super::wire;
use crate::images::policy::Action;
use crate::images::quota::limits::Usage;
use crate::images::{Backend, Images};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/info/stores", resource("GET", get(list)))
        .route("/info/stores/detail", resource("GET", get(detail)))
        .route("/info/usage", resource("GET", get(usage)))
        .route("/stores/{store}/{id}", resource("DELETE", delete(remove)))
}

/// What a project has of what Keystone limits.  Glance: without `use_keystone_limits`, nothing.
async fn usage(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    let images = Arc::clone(&api.images);
    let usage = api.bridge.call(move || images.usage(&ctx)).await?;
    let shown =
        |of: Usage| (of.resource.to_string(), json!({"usage": of.usage, "limit": of.limit}));
    let usage: Map<String, Value> = usage.into_iter().map(shown).collect();
    Ok(wire::json(&json!({ "usage": usage })))
}

async fn list(State(api): State<Shared>, _: Caller, _: NoBody) -> Result<Response, Fault> {
    let stores = backends(&api.images)?.iter().map(|backend| shown(&api.images, backend));
    Ok(wire::json(&json!({ "stores": stores.collect::<Vec<_>>() })))
}

async fn detail(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    _: NoBody,
) -> Result<Response, Fault> {
    let backends = backends(&api.images)?;
    api.images.policy().check_service(&ctx, Action::StoresInfoDetail)?;
    let stores = backends.iter().map(|backend| {
        let mut shown = shown(&api.images, backend);
        let store = api.images.stores().iter().find(|store| store.name() == backend.name);
        if let Some(store) = store {
            shown.insert("type".to_string(), store.kind().into());
            shown.insert("properties".to_string(), store.properties().into());
        }
        shown.insert("weight".to_string(), backend.weight.into());
        shown
    });
    Ok(wire::json(&json!({ "stores": stores.collect::<Vec<_>>() })))
}

fn backends(images: &Images) -> Result<&[Backend], Fault> {
    let backends = &images.options().enabled_backends;
    if backends.is_empty() {
        return Err(Fault::not_found("Multi backend is not supported at this site."));
    }
    Ok(backends)
}

/// A store as everybody sees it.
fn shown(images: &Images, backend: &Backend) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".to_string(), backend.name.as_str().into());
    if let Some(description) = &backend.description {
        shown.insert("description".to_string(), description.as_str().into());
    }
    let default = images.stores().first().map(|store| store.name());
    if default == Some(backend.name.as_str()) {
        // Glance: a text.
        shown.insert("default".to_string(), "true".into());
    }
    shown
}

/// The store and the image in the path.
struct PathCopy {
    store: String,
    image: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PathCopy {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let named: Result<[_; 2], _> = path_parts(parts, state).await?.try_into();
        let [(_, store), (_, image)] = named.map_err(|_| Fault::no_resource())?;
        Ok(Self { store, image })
    }
}

async fn remove(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    PathCopy { store, image }: PathCopy,
    _: NoBody,
) -> Result<Response, Fault> {
    if api.images.options().enabled_backends.is_empty() {
        return Err(Fault::no_resource());
    }
    let images = Arc::clone(&api.images);
    let missing = |_| Fault::not_found(format!("Failed to find image {image}"));
    let id = image.parse().map_err(missing)?;
    api.bridge.call(move || images.delete_from_store(&ctx, &store, id)).await?;
    Ok(wire::no_content())
}
