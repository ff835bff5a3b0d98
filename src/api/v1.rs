//! `/v1`: the Image API of 2010 to 2018, for scripts of that time; off unless `enable_v1_api`.
//!
//! An image is made and filled with one request, and what is known of it travels in headers
//! (`meta`).  Glance's recorded behaviour ends with its release of 2018; this follows what its client
//! (python-glanceclient 2.17) sends and reads.  Data that is somewhere else is never taken over
//! (`location`), nor fetched (`copy_from`): that let every user have the server read what only it may.

mod listing;
mod meta;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head};
use serde_json::json;

use super::caller::Caller;
use super::patch::media_type;
use super::router::{NoBody, PathId, Shared, content_length, resource};
use super::status::Fault;
use super::{address, bridge, data, wire};
use crate::catalog::model::{Image, ImageId, Status};
use crate::error::Error;
use crate::identity::RequestContext;
use crate::images::OpenImage;
use crate::images::fields::{self, Edit};
use crate::images::upload::UploadOptions;
use meta::Meta;

pub(super) fn routes() -> Router<Shared> {
    let refuse = || async { Fault::method_not_allowed("GET, HEAD, PUT, DELETE") };
    let image = head(show).get(download).put(update).delete(delete).fallback(refuse);
    Router::new()
        .route("/images", resource("GET, POST", get(listing::index).post(create)))
        .route("/images/detail", resource("GET", get(listing::detail)))
        .route("/images/{id}", image)
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Fault> {
    let made = create_from(&api, &ctx, &headers, &mut body).await;
    let image = heard(made, body)?;
    let location = format!("{}/v1/images/{}", address::url_of(&headers, &api.settings), image.id);
    let mut response = wire::json(&json!({"image": meta::shown(&image)}));
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn create_from(
    api: &Shared,
    ctx: &RequestContext,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Image, Fault> {
    let meta = Meta::of(headers)?;
    let described = meta.for_new_image();
    api.schemas.check_image(&described.clone().into())?;
    let image = fields::new_image(&described, ctx, api.images.options())?;
    let upload = upload_options(api, headers, &meta)?;
    if upload.is_some() {
        meta::check_formats(&image)?;
    }
    let (images, creator) = (Arc::clone(&api.images), ctx.clone());
    let image = api.bridge.call(move || images.create(&creator, image)).await?;
    let Some(upload) = upload else { return Ok(image) };
    match store(api, ctx, image.id, upload, &meta, body).await {
        Ok(image) => Ok(image),
        Err(fault) => {
            // One request makes an image, or none.
            remove(api, ctx, image.id).await;
            Err(fault)
        }
    }
}

async fn update(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Fault> {
    let updated = update_from(&api, &ctx, &id, &headers, &mut body).await;
    let image = heard(updated, body)?;
    Ok(wire::json(&json!({"image": meta::shown(&image)})))
}

async fn update_from(
    api: &Shared,
    ctx: &RequestContext,
    id: &PathId,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Image, Fault> {
    let id = id.image()?;
    let meta = Meta::of(headers)?;
    let upload = upload_options(api, headers, &meta)?;
    let (images, reader) = (Arc::clone(&api.images), ctx.clone());
    let image = api.bridge.call(move || images.get(&reader, id)).await?;
    if upload.is_some() && image.status != Status::Queued {
        let status = image.status;
        return Err(
            Error::Conflict(format!("Cannot upload to an image that is {status}: {id}")).into()
        );
    }
    let edits: Vec<Edit> = meta.edits(&image, meta::purges(headers) && upload.is_none());
    let (images, writer) = (Arc::clone(&api.images), ctx.clone());
    let image = api.bridge.call(move || images.update(&writer, id, &edits)).await?;
    let Some(upload) = upload else { return Ok(image) };
    meta::check_formats(&image)?;
    store(api, ctx, id, upload, &meta, body).await
}

/// The outcome; of a body that nobody wants any more, the rest is taken so that the client hears it.
fn heard<T>(outcome: Result<T, Fault>, body: Body) -> Result<T, Fault> {
    if let Err(fault) = &outcome
        && fault.status != StatusCode::REQUEST_TIMEOUT
    {
        bridge::drain(body);
    }
    outcome
}

/// What the request's data is to be stored with; `None` for a request without data.
fn upload_options(
    api: &Shared,
    headers: &HeaderMap,
    meta: &Meta,
) -> Result<Option<UploadOptions>, Fault> {
    let length = content_length(headers).filter(|length| *length > 0);
    if length.is_none() && !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    if media_type(headers) != Some("application/octet-stream") {
        return Err(Fault::bad_request("Content-Type must be application/octet-stream"));
    }
    let several = !api.images.options().enabled_backends.is_empty();
    let store = meta.store.clone().filter(|_| several);
    Ok(Some(UploadOptions { size: meta.size.or(length), store }))
}

async fn store(
    api: &Shared,
    ctx: &RequestContext,
    id: ImageId,
    options: UploadOptions,
    meta: &Meta,
    body: &mut Body,
) -> Result<Image, Fault> {
    let mut image = data::store(api, ctx.clone(), id, options, body).await?;
    api.images.policy().hide_properties(ctx, &mut image);
    match (&meta.checksum, &image.checksum) {
        (Some(told), Some(found)) if !told.eq_ignore_ascii_case(found) => {
            remove(api, ctx, id).await;
            Err(Fault::bad_request(format!(
                "Supplied checksum ({told}) and checksum generated from uploaded image ({found}) \
                 did not match."
            )))
        }
        _ => Ok(image),
    }
}

/// Takes back what a request began.
async fn remove(api: &Shared, ctx: &RequestContext, id: ImageId) {
    let (images, ctx) = (Arc::clone(&api.images), ctx.clone());
    if let Err(error) = api.bridge.call(move || images.delete(&ctx, id)).await {
        tracing::warn!(image = %id, %error, "the record of a failed upload stays");
    }
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    let image = api.bridge.call(move || images.get(&ctx, id)).await?;
    let mut response = StatusCode::OK.into_response();
    meta::write(&image, response.headers_mut());
    Ok(response)
}

async fn download(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let (images, to) = (Arc::clone(&api.images), ctx.clone());
    let OpenImage { image, reader } = api.bridge.call(move || images.open(&ctx, id)).await?;
    let missing = || Fault::not_found(format!("Image {id} has no data: it is {}", image.status));
    let reader = reader.ok_or_else(missing)?;
    let mut response = data::deliver(&api, to, image.clone(), reader, &headers)?;
    meta::write(&image, response.headers_mut());
    Ok(response)
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    api.bridge.call(move || images.delete(&ctx, id)).await?;
    Ok(StatusCode::OK.into_response())
}
