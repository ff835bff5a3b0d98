//! `/v2/images/{id}/file`: bytes in and out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::BytesMut;

use super::bridge::{self, UploadPipe};
use super::caller::Caller;
use super::download::Account;
use super::patch::media_type;
use super::router::{NoBody, PathId, Shared, content_length, resource};
use super::status::Fault;
use super::{download, range, wire};
use crate::catalog::model::{Image, ImageId};
use crate::identity::RequestContext;
use crate::images::OpenImage;
use crate::images::upload::{Incoming, UploadOptions};
use crate::store::ImageReader;

/// What a piece of an upload should have at least: small enough to be soon, large enough that
/// handing it over costs nothing.
const PIECE: usize = 512 << 10;
/// From here on a frame is handed over as it came, not copied together with others.
const LARGE_FRAME: usize = 128 << 10;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/images/{id}/file", resource("GET, PUT", get(send).put(upload)))
}

async fn upload(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let several_stores = !api.images.options().enabled_backends.is_empty();
    let asked = upload_options(&headers, several_stores).and_then(|asked| Ok((asked, id.image()?)));
    let (options, id) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            bridge::drain(body);
            return Err(fault);
        }
    };
    let images = Arc::clone(&api.images);
    receive(&api, body, move || images.begin_upload(&ctx, id, &options)).await
}

/// Takes a body in, once the core has agreed to it.
pub(super) async fn receive<U: Incoming>(
    api: &Shared,
    mut body: Body,
    begin: impl FnOnce() -> crate::error::Result<U> + Send + 'static,
) -> Result<Response, Fault> {
    match take_in(api, &mut body, begin).await {
        Ok(_) => Ok(wire::no_content()),
        Err(fault) => {
            if fault.status != StatusCode::REQUEST_TIMEOUT {
                bridge::drain(body);
            }
            Err(fault)
        }
    }
}

/// Stores a body as the data of an image.
pub(super) async fn store(
    api: &Shared,
    ctx: RequestContext,
    id: ImageId,
    options: UploadOptions,
    body: &mut Body,
) -> Result<Image, Fault> {
    let images = Arc::clone(&api.images);
    take_in(api, body, move || images.begin_upload(&ctx, id, &options)).await
}

async fn take_in<U: Incoming>(
    api: &Shared,
    body: &mut Body,
    begin: impl FnOnce() -> crate::error::Result<U> + Send + 'static,
) -> Result<Image, Fault> {
    // Nothing of the body is asked for yet: a client that waits for "100 Continue" sends none.
    let pipe = api.bridge.upload(begin).await?;
    pour(body, pipe, api.settings.idle_timeout).await
}

/// What the headers say of the data that comes.
pub(super) fn upload_options(
    headers: &HeaderMap,
    several_stores: bool,
) -> Result<UploadOptions, Fault> {
    match media_type(headers) {
        Some("application/octet-stream") => {}
        Some(other) => {
            return Err(Fault::unsupported_media_type(format!("Invalid content type {other}")));
        }
        None => return Err(Fault::unsupported_media_type("Invalid content type None")),
    }
    let size = match headers.get("x-openstack-image-size") {
        None => content_length(headers).filter(|length| *length > 0),
        Some(size) => {
            let size = size.to_str().ok().and_then(|size| size.trim().parse().ok());
            Some(size.ok_or_else(|| {
                Fault::bad_request("Invalid or missing image size in request headers.")
            })?)
        }
    };
    let store = headers.get("x-image-meta-store").filter(|_| several_stores);
    let store = store.map(|store| String::from_utf8_lossy(store.as_bytes()).into_owned());
    Ok(UploadOptions { size, store })
}

/// What has to come of an upload in the time that it may pause.  Who sends less does not upload: it
/// holds a place.
const LEAST: usize = 1 << 10;

/// Sends the body down the pipe.  If the client breaks off or falls asleep, so does the upload: the
/// image is queued again before the client hears of it.
async fn pour(body: &mut Body, mut pipe: UploadPipe, idle: Duration) -> Result<Image, Fault> {
    let mut gathered = BytesMut::new();
    let mut pace = Pace { since: Instant::now(), bytes: 0 };
    loop {
        let frame = wire::next_frame(body, idle).await;
        let frame = match frame.and_then(|frame| pace.check(frame, idle)) {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(fault) => {
                let _ = pipe.outcome().await;
                return Err(fault);
            }
        };
        if let Some(piece) = gather(&mut gathered, frame)
            && !pipe.send(piece).await
        {
            // The core has had enough: it says why.
            return pipe.outcome().await;
        }
        if gathered.len() >= PIECE && !pipe.send(gathered.split().freeze()).await {
            return pipe.outcome().await;
        }
    }
    if !gathered.is_empty() && !pipe.send(gathered.freeze()).await {
        return pipe.outcome().await;
    }
    pipe.finish().await
}

/// How much came lately.
struct Pace {
    since: Instant,
    bytes: usize,
}

impl Pace {
    /// Counts a frame.
    fn check(&mut self, frame: Option<Bytes>, idle: Duration) -> Result<Option<Bytes>, Fault> {
        self.bytes += frame.as_ref().map_or(0, Bytes::len);
        if self.since.elapsed() > idle {
            if frame.is_some() && self.bytes < LEAST {
                return Err(Fault::timed_out());
            }
            *self = Self { since: Instant::now(), bytes: 0 };
        }
        Ok(frame)
    }
}

/// A large frame is a piece of its own when nothing waits before it; others are gathered.
fn gather(gathered: &mut BytesMut, frame: Bytes) -> Option<Bytes> {
    if gathered.is_empty() && frame.len() >= LARGE_FRAME {
        return Some(frame);
    }
    if gathered.capacity() - gathered.len() < frame.len() {
        gathered.reserve(PIECE.max(frame.len()));
    }
    gathered.extend_from_slice(&frame);
    None
}

async fn send(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Fault> {
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    let to = ctx.clone();
    let OpenImage { image, reader } = api.bridge.call(move || images.open(&ctx, id)).await?;
    let Some(reader) = reader else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    deliver(&api, to, image, reader, &headers)
}

/// The data of an image, or the part of it that was asked for.
pub(super) fn deliver(
    api: &Shared,
    to: RequestContext,
    image: Image,
    reader: Arc<dyn ImageReader>,
    headers: &HeaderMap,
) -> Result<Response, Fault> {
    let size = reader.size();
    let asked = range::requested(headers, size)?;
    let bytes = asked.clone().unwrap_or(0..size);
    let length = bytes.end - bytes.start;
    let last = bytes.end.saturating_sub(1);
    let content_range = asked.map(|range| format!("bytes {}-{last}/{size}", range.start));
    let checksum = image.checksum.clone();
    let images = Arc::clone(&api.images);
    let account = Account { images, to, image, wanted: length, bytes: 0, failed: false };
    let body = match length {
        0 => Body::empty(),
        _ => Body::from_stream(download::stream(Arc::clone(&api.bridge), reader, bytes, account)),
    };
    let mut response = Response::new(body);
    let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fields.insert(header::CONTENT_LENGTH, length.into());
    // Glance: the checksum as it stands in the record, of the whole image even for a part.
    for (name, value) in [("content-md5", checksum), ("content-range", content_range)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            fields.insert(name, value);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_gathered_and_large_ones_pass() {
        let mut gathered = BytesMut::new();
        assert!(gather(&mut gathered, Bytes::from(vec![1; LARGE_FRAME])).is_some());
        assert!(gather(&mut gathered, Bytes::from_static(b"ab")).is_none());
        assert!(gather(&mut gathered, Bytes::from(vec![1; LARGE_FRAME])).is_none());
        assert_eq!(gathered.len(), LARGE_FRAME + 2);
    }

    #[test]
    fn the_size_header_wins_over_the_length() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/octet-stream; x=y".parse().unwrap());
        headers.insert("content-length", "7".parse().unwrap());
        assert_eq!(upload_options(&headers, false).unwrap().size, Some(7));
        headers.insert("x-openstack-image-size", "9".parse().unwrap());
        assert_eq!(upload_options(&headers, false).unwrap().size, Some(9));
        headers.insert("x-openstack-image-size", "abc".parse().unwrap());
        assert!(upload_options(&headers, false).is_err());
    }
}
