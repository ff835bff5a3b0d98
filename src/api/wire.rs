//! JSON in and out: request bodies, and images as clients see them.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::router::content_length;
use super::status::Fault;
use super::{Settings, bridge};
use crate::catalog::model::{Image, Location, Status};
use crate::images::fields;
use crate::images::options::Options;

/// Properties that are the server's own business.  Glance: `_hidden_properties`.
const HIDDEN: &[&str] = &["os_glance_stage_host", "os_glance_hash_op_host"];

/// A JSON answer with status 200.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// What a change answers that has nothing to show.  Glance sends WebOb's default type with it.
pub(super) fn no_content() -> Response {
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    (StatusCode::NO_CONTENT, [(header::CONTENT_TYPE, kind)]).into_response()
}

/// Reads a JSON body: an object or a list.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    settings: &Settings,
) -> Result<Value, Fault> {
    let length = content_length(headers);
    if !headers.contains_key(header::TRANSFER_ENCODING) && length.unwrap_or(0) == 0 {
        return Err(Fault::bad_request("Body expected in request."));
    }
    if length.is_some_and(|length| length > settings.json_limit as u64) {
        bridge::drain(body);
        return Err(too_large(settings));
    }
    // A document is small: it has to be there as a whole in the time that an upload may pause.
    let bytes = tokio::time::timeout(settings.idle_timeout, collect(body, settings));
    let bytes = bytes.await.unwrap_or_else(|_| Err(Fault::timed_out()))?;
    match serde_json::from_slice(&bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(value),
        Ok(_) => Err(Fault::bad_request("Unexpected body type. Expected list/dict.")),
        Err(_) => Err(Fault::bad_request("Malformed JSON in request body.")),
    }
}

async fn collect(mut body: Body, settings: &Settings) -> Result<Bytes, Fault> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = next_frame(&mut body, settings.idle_timeout).await? {
        if bytes.len() + frame.len() > settings.json_limit {
            bridge::drain(body);
            return Err(too_large(settings));
        }
        bytes.extend_from_slice(&frame);
    }
    Ok(bytes.freeze())
}

fn too_large(settings: &Settings) -> Fault {
    let limit = settings.json_limit;
    Fault::too_large(format!("The request body must not exceed {limit} bytes."))
}

/// The next piece of a body; an end that comes too early, or too long nothing, is a fault.
pub(super) async fn next_frame(body: &mut Body, idle: Duration) -> Result<Option<Bytes>, Fault> {
    loop {
        match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(Fault::timed_out()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(Fault::bad_request("The request body broke off.")),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                // Trailers: nothing to us.
                Err(_) => continue,
            },
        }
    }
}

/// An image as clients see it, in Glance's order: properties, then fields.
pub(super) struct View<'a> {
    pub(super) image: &'a Image,
    pub(super) options: &'a Options,
    /// The client may know where the data of a deactivated image is.
    pub(super) admin: bool,
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { image, options, .. } = *self;
        let locations = self.locations();
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &image.properties {
            // A field always wins over a property that another program gave its name.
            if fields::find(name).is_none() && !HIDDEN.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        self.fields(&mut map)?;
        if options.show_multiple_locations {
            let shown: Vec<_> = locations.iter().copied().map(ShownLocation::from).collect();
            map.serialize_entry("locations", &shown)?;
        }
        if let Some(first) = self.first_location().filter(|_| options.show_image_direct_url) {
            map.serialize_entry("direct_url", &first.url)?;
        }
        map.serialize_entry("tags", &image.tags)?;
        let href = self.href();
        map.serialize_entry("self", &href)?;
        map.serialize_entry("file", &format!("{href}/file"))?;
        map.serialize_entry("schema", "/v2/schemas/image")?;
        let stores: Vec<_> = locations.iter().filter_map(|location| location.store()).collect();
        if !options.enabled_backends.is_empty() && !stores.is_empty() {
            map.serialize_entry("stores", &stores.join(","))?;
        }
        map.end()
    }
}

impl View<'_> {
    /// The image's path.
    pub(super) fn href(&self) -> String {
        format!("/v2/images/{}", self.image.id)
    }

    /// Whether the client may know where the data is.
    fn shows_locations(&self) -> bool {
        self.image.status != Status::Deactivated || self.admin
    }

    /// The location that is read first.
    fn first_location(&self) -> Option<&Location> {
        let by_weight = || self.options.by_weight(self.image).into_iter().next();
        self.shows_locations().then(by_weight).flatten()
    }

    /// Where the data is, as far as the client may know.
    fn locations(&self) -> Vec<&Location> {
        if !self.shows_locations() {
            return Vec::new();
        }
        self.image.locations.iter().filter(|location| location.status == "active").collect()
    }

    fn fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let image = self.image;
        map.serialize_entry("name", &image.name)?;
        map.serialize_entry("disk_format", &image.disk_format)?;
        map.serialize_entry("container_format", &image.container_format)?;
        map.serialize_entry("visibility", image.visibility.as_str())?;
        map.serialize_entry("size", &image.size)?;
        map.serialize_entry("virtual_size", &image.virtual_size)?;
        map.serialize_entry("status", image.status.as_str())?;
        map.serialize_entry("checksum", &image.checksum)?;
        map.serialize_entry("protected", &image.protected)?;
        map.serialize_entry("min_ram", &image.min_ram)?;
        map.serialize_entry("min_disk", &image.min_disk)?;
        map.serialize_entry("owner", &image.owner.as_ref().map(|owner| owner.as_str()))?;
        map.serialize_entry("os_hidden", &image.os_hidden)?;
        map.serialize_entry("os_hash_algo", &image.os_hash_algo)?;
        map.serialize_entry("os_hash_value", &image.os_hash_value)?;
        map.serialize_entry("id", image.id.as_str())?;
        map.serialize_entry("created_at", &image.created_at.to_wire())?;
        map.serialize_entry("updated_at", &image.updated_at.to_wire())
    }
}

/// Where an image's data is, as `locations` shows it.
pub(super) fn shown_locations(image: &Image) -> impl Serialize {
    let active = image.locations.iter().filter(|location| location.status == "active");
    active.map(ShownLocation::from).collect::<Vec<_>>()
}

#[derive(Serialize)]
struct ShownLocation<'a> {
    url: &'a str,
    metadata: &'a serde_json::Map<String, Value>,
}

impl<'a> From<&'a Location> for ShownLocation<'a> {
    fn from(location: &'a Location) -> Self {
        Self { url: &location.url, metadata: &location.metadata }
    }
}
