//! `/v2/cache` and the older `/v2/cached_images` and `/v2/queued_images`: which images are kept on a
//! local disk.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde_json::{Value, json};

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::wire;
use crate::cache::disk::CachedFile;
use crate::catalog::model::ImageId;
use crate::error::Result as CoreResult;
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::caching::{CacheState, ClearTarget};
use crate::images::policy::Action;

/// The policy of the older resources.
const MANAGE: Action = Action::ManageImageCache;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/cache", resource("GET, DELETE", get(show).delete(clear)))
        .route("/cache/clean", resource("POST", post(clean)))
        .route("/cache/prune", resource("POST", post(prune)))
        .route("/cache/nodes/{id}", resource("GET", get(nodes)))
        .route("/cache/{id}", resource("DELETE, PUT", put(queue).delete(remove)))
        .route("/cached_images", resource("GET, DELETE", get(cached).delete(clear_cached)))
        .route("/cached_images/{id}", resource("DELETE", delete(remove_cached)))
        .route("/queued_images", resource("GET, DELETE", get(queued).delete(clear_queued)))
        .route("/queued_images/{id}", resource("PUT, DELETE", put(queue_old).delete(remove_cached)))
}

/// Asks the core, on a thread that may block.
async fn ask<T: Send + 'static>(
    api: &Shared,
    question: impl FnOnce(&Images) -> CoreResult<T> + Send + 'static,
) -> Result<T, Fault> {
    let images = Arc::clone(&api.images);
    Ok(api.bridge.call(move || question(&images)).await?)
}

/// The id in the path, or Glance's words for one that cannot be.
fn image_of(id: &PathId) -> Result<ImageId, Fault> {
    id.parse(|id| format!("Image {id} not found."))
}

async fn state_of(api: &Shared, ctx: RequestContext, action: Action) -> Result<CacheState, Fault> {
    ask(api, move |images| images.cache_state(&ctx, action)).await
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    _: NoBody,
) -> Result<Response, Fault> {
    let state = state_of(&api, ctx, Action::CacheList).await?;
    let cached: Vec<Value> = state.cached.iter().map(shown).collect();
    Ok(wire::json(&json!({"cached_images": cached, "queued_images": ids(&state.queued)})))
}

async fn cached(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    let state = state_of(&api, ctx, MANAGE).await?;
    let cached: Vec<Value> = state.cached.iter().map(shown).collect();
    Ok(wire::json(&json!({ "cached_images": cached })))
}

async fn queued(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    let state = state_of(&api, ctx, MANAGE).await?;
    Ok(wire::json(&json!({"queued_images": ids(&state.queued)})))
}

/// A cached image, as Glance's `centralized_db` shows it, whose `checksum` is always null.
fn shown(file: &CachedFile) -> Value {
    let seconds = |micros: i64| micros as f64 / 1e6;
    json!({
        "id": file.number,
        "image_id": file.image.as_str(),
        "last_accessed": seconds(file.used_at.as_micros()),
        "last_modified": seconds(file.cached_at.as_micros()),
        "size": file.size,
        "hits": file.hits,
        "checksum": null,
    })
}

fn ids(ids: &[ImageId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

async fn queue(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
) -> Result<Response, Fault> {
    let id = image_of(&id)?;
    ask(&api, move |images| images.cache_image(&ctx, id, Action::CacheImage)).await?;
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, kind)]).into_response())
}

async fn queue_old(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
) -> Result<Response, Fault> {
    let id = image_of(&id)?;
    ask(&api, move |images| images.cache_image(&ctx, id, MANAGE)).await?;
    Ok(wire::json(&Value::Null))
}

async fn remove(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
) -> Result<Response, Fault> {
    let id = image_of(&id)?;
    ask(&api, move |images| images.uncache_image(&ctx, id, Action::CacheDelete)).await?;
    Ok(wire::no_content())
}

async fn remove_cached(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
) -> Result<Response, Fault> {
    let id = image_of(&id)?;
    ask(&api, move |images| images.uncache_image(&ctx, id, MANAGE)).await?;
    Ok(wire::json(&Value::Null))
}

async fn clear(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let target = headers.get("x-image-cache-clear-target").map(HeaderValue::as_bytes);
    let target = match target.unwrap_or_default().to_ascii_lowercase().as_slice() {
        b"" => Some(ClearTarget::All),
        b"cache" => Some(ClearTarget::Cache),
        b"queue" => Some(ClearTarget::Queue),
        _ => None,
    };
    let Some(target) = target else {
        // Who may not ask at all hears that first.
        ask(&api, move |images| images.tidy_cache(&ctx, Action::CacheDelete)).await?;
        return Err(Fault::bad_request(
            "If provided 'x-image-cache-clear-target' must be 'cache', 'queue' or empty string.",
        ));
    };
    ask(&api, move |images| images.clear_cache(&ctx, target, Action::CacheDelete)).await?;
    Ok(wire::no_content())
}

async fn clear_cached(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    let clear = move |images: &Images| images.clear_cache(&ctx, ClearTarget::Cache, MANAGE);
    let (files, _) = ask(&api, clear).await?;
    Ok(wire::json(&json!({ "num_deleted": files })))
}

async fn clear_queued(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    let clear = move |images: &Images| images.clear_cache(&ctx, ClearTarget::Queue, MANAGE);
    let (_, waiting) = ask(&api, clear).await?;
    Ok(wire::json(&json!({ "num_deleted": waiting })))
}

async fn clean(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    ask(&api, move |images| images.tidy_cache(&ctx, Action::CacheClean)).await?;
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)]).into_response())
}

async fn prune(State(api): State<Shared>, Caller(ctx): Caller) -> Result<Response, Fault> {
    ask(&api, move |images| images.tidy_cache(&ctx, Action::CachePrune)).await?;
    Ok(wire::json(&json!({"total_files_pruned": 0, "total_bytes_pruned": 0})))
}

async fn nodes(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = image_of(&id)?;
    Ok(wire::json(&ask(&api, move |images| images.cached_nodes(&ctx, id)).await?))
}
