//! `/v2/metadefs/namespaces/{namespace}/objects`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::shown::{self, Detail};
use super::{InNamespace, Named, READ_ONLY_LINKED, call, created, paging, read_body};
use crate::api::caller::Caller;
use crate::api::router::{NoBody, Shared, resource};
use crate::api::schemas::MetadefBody;
use crate::api::status::Fault;
use crate::api::wire;
use crate::catalog::metadefs::Object;
use crate::metadefs::document::Reader;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/objects",
            resource("GET, POST, DELETE", get(list).post(create).delete(clear)),
        )
        .route(
            "/metadefs/namespaces/{namespace}/objects/{name}",
            resource("GET, PUT, DELETE", get(show).put(update).delete(delete)),
        )
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    uri: Uri,
) -> Result<Response, Fault> {
    paging::check_objects(uri.query().unwrap_or_default(), api.images.options())?;
    let name = namespace.clone();
    let found = call(&api, move |metadefs| metadefs.contents_of::<Object>(&ctx, &name)).await?;
    let objects = found.iter().map(|object| shown::object(&namespace, object, Detail::Full));
    let objects: Value = objects.collect();
    // Glance leaves the first slash out.
    Ok(wire::json(&json!({"objects": objects, "schema": "v2/schemas/metadefs/objects"})))
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Object, READ_ONLY_LINKED).await?;
    for property in body.get("properties").and_then(Value::as_object).into_iter().flatten() {
        api.schemas.check_metadef(MetadefBody::ObjectProperty, property.1)?;
    }
    let object = Reader::of_requests().object(&body)?;
    let name = namespace.clone();
    let made = call(&api, move |metadefs| metadefs.add_content(&ctx, &name, object)).await?;
    Ok(created(&shown::object(&namespace, &made, Detail::Full)))
}

async fn clear(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.clear_contents::<Object>(&ctx, &namespace)).await?;
    Ok(wire::no_content())
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    let place = namespace.clone();
    let found = call(&api, move |metadefs| metadefs.content::<Object>(&ctx, &place, &name)).await?;
    Ok(wire::json(&shown::object(&namespace, &found, Detail::Full)))
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Object, READ_ONLY_LINKED).await?;
    let object = Reader::of_requests().object(&body)?;
    let place = namespace.clone();
    let changed =
        call(&api, move |metadefs| metadefs.change_content(&ctx, &place, &name, object)).await?;
    Ok(wire::json(&shown::object(&namespace, &changed, Detail::Full)))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.remove_content::<Object>(&ctx, &namespace, &name)).await?;
    Ok(wire::no_content())
}
