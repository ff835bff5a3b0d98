//! `/v2/images/{id}/actions/…`: taking an image out of use and back.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::wire;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/images/{id}/actions/deactivate", resource("POST", post(deactivate)))
        .route("/images/{id}/actions/reactivate", resource("POST", post(reactivate)))
}

async fn deactivate(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    api.bridge.call(move || images.deactivate(&ctx, id)).await?;
    Ok(wire::no_content())
}

async fn reactivate(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    api.bridge.call(move || images.reactivate(&ctx, id)).await?;
    Ok(wire::no_content())
}
