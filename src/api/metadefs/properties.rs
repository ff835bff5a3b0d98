//! `/v2/metadefs/namespaces/{namespace}/properties`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::{InNamespace, Named, READ_ONLY, call, created, paging, read_body, shown};
use crate::api::caller::Caller;
use crate::api::router::{Shared, resource};
use crate::api::schemas::MetadefBody;
use crate::api::status::Fault;
use crate::api::wire;
use crate::catalog::metadefs::Property;
use crate::error::Result;
use crate::metadefs::document::Reader;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/properties",
            resource("GET, POST, DELETE", get(list).post(create).delete(clear)),
        )
        .route(
            "/metadefs/namespaces/{namespace}/properties/{name}",
            resource("GET, PUT, DELETE", get(show).put(update).delete(delete)),
        )
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Fault> {
    let found = call(&api, move |metadefs| metadefs.contents_of(&ctx, &namespace)).await?;
    Ok(wire::json(&json!({"properties": shown::properties(&found)})))
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Property, READ_ONLY).await?;
    let property = read(body)?;
    let made = call(&api, move |metadefs| metadefs.add_content(&ctx, &namespace, property)).await?;
    Ok(created(&shown::property(&made)))
}

async fn clear(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.clear_contents::<Property>(&ctx, &namespace)).await?;
    Ok(wire::no_content())
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    uri: Uri,
) -> Result<Response, Fault> {
    let resource_type = paging::resource_type(uri.query().unwrap_or_default())?;
    let found = call(&api, move |metadefs| match resource_type {
        Some(kind) => metadefs.property_on(&ctx, &namespace, &name, &kind),
        None => metadefs.content(&ctx, &namespace, &name),
    });
    Ok(wire::json(&shown::property(&found.await?)))
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Property, READ_ONLY).await?;
    let property = read(body)?;
    let changed =
        call(&api, move |metadefs| metadefs.change_content(&ctx, &namespace, &name, property));
    Ok(wire::json(&shown::property(&changed.await?)))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.remove_content::<Property>(&ctx, &namespace, &name))
        .await?;
    Ok(wire::no_content())
}

/// The name is one of the fields.  Its schema has said that it is a text.
fn read(body: Map<String, Value>) -> Result<Property> {
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
    Reader::of_requests().property(&name, &Value::Object(body))
}
