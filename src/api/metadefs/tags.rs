//! `/v2/metadefs/namespaces/{namespace}/tags`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{InNamespace, Named, READ_ONLY, call, created, paging, read_body, shown};
use crate::api::caller::Caller;
use crate::api::router::{NoBody, Shared, resource};
use crate::api::schemas::MetadefBody;
use crate::api::status::Fault;
use crate::api::wire;
use crate::catalog::metadefs::Tag;
use crate::metadefs::document::{self, Reader};

/// Says that tags are to be added to those that are there.
const APPEND: &str = "x-openstack-append";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/metadefs/namespaces/{namespace}/tags",
            resource("GET, POST, DELETE", get(list).post(create_many).delete(clear)),
        )
        .route(
            "/metadefs/namespaces/{namespace}/tags/{name}",
            resource("GET, POST, PUT, DELETE", get(show).post(create).put(update).delete(delete)),
        )
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    uri: Uri,
) -> Result<Response, Fault> {
    let page = paging::tags(uri.query().unwrap_or_default(), api.images.options())?;
    let found = call(&api, move |metadefs| metadefs.tags_of(&ctx, &namespace, &page)).await?;
    Ok(wire::json(&json!({"tags": shown::tags(&found)})))
}

async fn create_many(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Tags, READ_ONLY).await?;
    if !body.contains_key("tags") {
        return Err(Fault::bad_request("'tags' is a required property"));
    }
    let reader = Reader::of_requests();
    let names = document::names(&body, "tags")?;
    let tags: Vec<_> = names.into_iter().map(|name| reader.tag(name)).collect();
    let append = headers.get(APPEND).and_then(|word| word.to_str().ok()).is_some_and(is_true);
    let shown = shown::tags(&tags);
    call(&api, move |metadefs| metadefs.add_tags(&ctx, &namespace, &tags, append)).await?;
    Ok(created(&json!({"tags": shown})))
}

/// oslo.utils: `bool_from_string`.
fn is_true(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    ["1", "t", "true", "on", "y", "yes"].contains(&word.as_str())
}

async fn clear(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(namespace): InNamespace,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.clear_contents::<Tag>(&ctx, &namespace)).await?;
    Ok(wire::no_content())
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    let found = call(&api, move |metadefs| metadefs.content(&ctx, &namespace, &name)).await?;
    Ok(wire::json(&shown::tag(&found)))
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    api.schemas.check_metadef(MetadefBody::Tag, &json!({"name": name}))?;
    let tag = Reader::of_requests().tag(name);
    let made = call(&api, move |metadefs| metadefs.add_content(&ctx, &namespace, tag)).await?;
    Ok(created(&shown::tag(&made)))
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Tag, READ_ONLY).await?;
    // Its schema has said that it is there, and a text.
    let new_name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
    let tag = Reader::of_requests().tag(new_name);
    let changed = call(&api, move |metadefs| metadefs.change_content(&ctx, &namespace, &name, tag));
    Ok(wire::json(&shown::tag(&changed.await?)))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    Named { namespace, name }: Named,
    _: NoBody,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.remove_content::<Tag>(&ctx, &namespace, &name)).await?;
    Ok(wire::no_content())
}
