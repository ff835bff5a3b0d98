//! `/v2/metadefs/resource_types` and `/v2/metadefs/namespaces/{namespace}/resource_types`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{delete, get};
use serde_json::{Value, json};

use super::shown::{self, Detail};
use super::{InNamespace, Named, READ_ONLY, call, created, read_body};
use crate::api::caller::Caller;
use crate::api::router::{NoBody, Shared, resource};
use crate::api::schemas::MetadefBody;
use crate::api::status::Fault;
use crate::api::wire;
use crate::metadefs::document::Reader;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/metadefs/resource_types", resource("GET", get(list)))
        .route(
            "/metadefs/namespaces/{namespace}/resource_types",
            resource("GET, POST", get(associations).post(associate)),
        )
        .route(
            "/metadefs/namespaces/{namespace}/resource_types/{name}",
            resource("DELETE", delete(dissociate)),
        )
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    _: NoBody,
) -> Result<Response, Fault> {
    let found = call(&api, move |metadefs| metadefs.resource_types(&ctx)).await?;
    let shown: Value = found.iter().map(shown::resource_type).collect();
    Ok(wire::json(&json!({"resource_types": shown})))
}

async fn associations(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    _: NoBody,
) -> Result<Response, Fault> {
    let found = call(&api, move |metadefs| metadefs.associations(&ctx, &namespace)).await?;
    let shown: Value = found.iter().map(|item| shown::association(item, Detail::Full)).collect();
    Ok(wire::json(&json!({"resource_type_associations": shown})))
}

async fn associate(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Association, READ_ONLY).await?;
    let association = Reader::of_requests().association(&body)?;
    let shown = shown::association(&association, Detail::Full);
    call(&api, move |metadefs| metadefs.associate(&ctx, &namespace, &association)).await?;
    Ok(created(&shown))
}

async fn dissociate(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.dissociate(&ctx, &namespace, &name)).await?;
    Ok(wire::no_content())
}
