//! `/v2/metadefs/namespaces` and `/v2/metadefs/namespaces/{namespace}`.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::get;

use super::paging::{self, Listing};
use super::shown::{self, Detail};
use super::{InNamespace, READ_ONLY_LINKED, call, created, read_body};
use crate::api::caller::Caller;
use crate::api::router::{NoBody, Shared, resource};
use crate::api::schemas::MetadefBody;
use crate::api::status::Fault;
use crate::api::{address, wire};
use crate::catalog::metadefs::Belongings;
use crate::metadefs::document;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/metadefs/namespaces", resource("GET, POST", get(list).post(create)))
        .route(
            "/metadefs/namespaces/{namespace}",
            resource("GET, PUT, DELETE", get(show).put(update).delete(delete)),
        )
}

async fn list(State(api): State<Shared>, Caller(ctx): Caller, uri: Uri) -> Result<Response, Fault> {
    let listing = Listing::parse(uri.query().unwrap_or_default(), &ctx, api.images.options())?;
    let query = listing.query.clone();
    let found = call(&api, move |metadefs| metadefs.list(&ctx, &query)).await?;
    let shown = found.into_iter().map(|(namespace, associations)| {
        let belongings = Belongings { associations, ..Belongings::default() };
        shown::namespace(&namespace, &belongings, Detail::Full)
    });
    Ok(wire::json(&listing.page(shown.collect())))
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Namespace, READ_ONLY_LINKED).await?;
    let fields = document::fields(&body)?;
    let belongings = document::Reader::of_requests().belongings(&body)?;
    let (namespace, belongings) =
        call(&api, move |metadefs| metadefs.create(&ctx, fields, belongings)).await?;
    let mut response = created(&shown::namespace(&namespace, &belongings, Detail::AsGiven));
    let url = address::url_of(&headers, &api.settings) + &shown::href(&namespace.name);
    // A name that fits into no header has no address in one.
    if let Ok(url) = HeaderValue::try_from(url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    Ok(response)
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(name): InNamespace,
    uri: Uri,
    _: NoBody,
) -> Result<Response, Fault> {
    let resource_type = paging::resource_type(uri.query().unwrap_or_default())?;
    let found = call(&api, move |metadefs| metadefs.show(&ctx, &name, resource_type.as_deref()));
    let (namespace, belongings) = found.await?;
    Ok(wire::json(&shown::namespace(&namespace, &belongings, Detail::Full)))
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(name): InNamespace,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = read_body(&api, &headers, body, MetadefBody::Namespace, READ_ONLY_LINKED).await?;
    let fields = document::fields(&body)?;
    let changed = call(&api, move |metadefs| metadefs.change(&ctx, &name, fields)).await?;
    Ok(wire::json(&shown::namespace(&changed, &Belongings::default(), Detail::Full)))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    InNamespace(name): InNamespace,
    _: NoBody,
) -> Result<Response, Fault> {
    call(&api, move |metadefs| metadefs.remove(&ctx, &name)).await?;
    Ok(wire::no_content())
}
