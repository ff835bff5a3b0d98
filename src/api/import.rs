//! `/v2/images/{id}/stage` and `/v2/images/{id}/import`: data in two steps; and `/v2/info/import`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::{bridge, data, wire};
use crate::images::import::{ImportRequest, Method, PeerImage};
use crate::images::options::Options;

/// For whom the endpoint is that a peer is asked at.
const INTERFACE: &str = "glance_service_interface";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/images/{id}/stage", resource("PUT", put(stage)))
        .route("/images/{id}/import", resource("POST", post(import)))
        .route("/info/import", resource("GET", get(info)))
}

async fn info(State(api): State<Shared>, _: Caller, _: NoBody) -> Response {
    let methods = &api.images.options().import.enabled_methods;
    wire::json(&json!({
        "import-methods": {
            "description": "Import methods available.",
            "type": "array",
            "value": methods,
        },
    }))
}

async fn stage(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let direct = Method::Direct.name();
    let available = is_enabled(api.images.options(), direct).then_some(()).ok_or_else(|| {
        Fault::not_found(format!("'{direct}' method is not available at this site."))
    });
    let asked = available.and_then(|()| data::upload_options(&headers, false));
    let (options, id) = match asked.and_then(|asked| Ok((asked, id.image()?))) {
        Ok(asked) => asked,
        Err(fault) => {
            bridge::drain(body);
            return Err(fault);
        }
    };
    let images = Arc::clone(&api.images);
    data::receive(&api, body, move || images.begin_staging(&ctx, id, options.size)).await
}

async fn import(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = wire::read_json(&headers, body, &api.settings).await?;
    let Value::Object(body) = body else {
        return Err(Fault::bad_request("The request body must be a JSON object."));
    };
    let mut request = read(body, &headers, api.images.options())?;
    if let Method::GlanceDownload(peer) = &mut request.method {
        peer.credentials = api.identity.credentials(&headers).await;
    }
    let id = id.image()?;
    let images = Arc::clone(&api.images);
    api.bridge.call(move || images.begin_import(&ctx, id, &request)).await?;
    // Glance sends WebOb's default type with it.
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, kind)]).into_response())
}

fn is_enabled(options: &Options, method: &str) -> bool {
    options.import.enabled_methods.iter().any(|enabled| enabled == method)
}

/// What a request asks for, in the order in which Glance looks at it.
fn read(
    mut body: Map<String, Value>,
    headers: &HeaderMap,
    options: &Options,
) -> Result<ImportRequest, Fault> {
    let method = method(&body, options)?;
    if let (Method::GlanceDownload(peer), Some(Value::Object(said))) =
        (&method, body.get_mut("method"))
    {
        // Glance: the task's record says it, too.
        said.insert(INTERFACE.to_string(), peer.interface.clone().into());
    }
    let all_must_succeed = flag(&body, "all_stores_must_succeed")?.unwrap_or(true);
    let all_stores = flag(&body, "all_stores")?.unwrap_or(false);
    let stores = body.get("stores").map(names).transpose()?;
    let header_store = headers.get("x-image-meta-store");
    let header_store =
        header_store.map(|store| String::from_utf8_lossy(store.as_bytes()).into_owned());
    Ok(ImportRequest { method, stores, header_store, all_stores, all_must_succeed, body })
}

fn method(body: &Map<String, Value>, options: &Options) -> Result<Method, Fault> {
    let missing =
        |field: &str| Fault::bad_request(format!("Import request requires a '{field}' field."));
    let method = match body.get("method").ok_or_else(|| missing("method"))? {
        Value::Object(method) => method,
        _ => return Err(Fault::bad_request("'method' must be an object.")),
    };
    let name = method.get("name").ok_or_else(|| missing("name"))?;
    let unknown = || {
        let shown = name.as_str().map_or_else(|| name.to_string(), str::to_string);
        Fault::bad_request(format!("Unknown import method name '{shown}'."))
    };
    let uri = match method.get("uri") {
        None | Some(Value::Null) => None,
        Some(Value::String(uri)) => Some(uri.clone()),
        Some(_) => return Err(Fault::bad_request("'uri' must be a text.")),
    };
    let peer = Method::GlanceDownload(peer(method)?);
    let known = [Method::Direct, Method::Copy, Method::WebDownload { uri }, peer];
    known
        .into_iter()
        .find(|known| name == known.name() && is_enabled(options, known.name()))
        .ok_or_else(unknown)
}

/// The image of another Glance that a request names.
fn peer(method: &Map<String, Value>) -> Result<PeerImage, Fault> {
    let text = |name: &str| match method.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::bad_request(format!("'{name}' must be a text."))),
    };
    Ok(PeerImage {
        region: text("glance_region")?,
        image: text("glance_image_id")?,
        interface: text(INTERFACE)?.unwrap_or_else(|| "public".to_string()),
        credentials: None,
    })
}

fn flag(body: &Map<String, Value>, name: &str) -> Result<Option<bool>, Fault> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(Fault::bad_request(format!("'{name}' must be boolean value only"))),
    }
}

fn names(stores: &Value) -> Result<Vec<String>, Fault> {
    let names =
        stores.as_array().map(|list| list.iter().map(|name| name.as_str().map(String::from)));
    let names = names.and_then(Iterator::collect);
    names.ok_or_else(|| Fault::bad_request("'stores' must be a list of names"))
}
