//! `/healthcheck`: whether a proxy in front should send requests here.
//!
//! oslo.middleware's: its options, answers and words.  The daemon answers; whether its stores do is
//! told to those who want details, but is no reason to take the daemon out of rotation: others'
//! images are there.  An operator takes it out by making a file.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Api, cors, wire};
use crate::catalog::model::Timestamp;

/// Answers the question.
pub(super) async fn answer(api: &Api, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let (status, words) = condition(api).await;
    if *method == Method::HEAD {
        let empty = if status.is_success() { StatusCode::NO_CONTENT } else { status };
        return plain(empty, "");
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let json = accept.is_some_and(|accept| accept.starts_with("application/json"));
    let asked = uri.query().is_some_and(|query| query.split('&').any(|one| one == "detailed"));
    if asked || (json && api.settings.health_details) {
        let body = details(words, api.bridge.stores().await);
        return (status, wire::json(&body)).into_response();
    }
    if json {
        let body = json!({"detailed": false, "reasons": [words]});
        return (status, wire::json(&body)).into_response();
    }
    plain(status, words)
}

/// What haproxy's `option httpchk` asks when it is told nothing else, `OPTIONS /`: who is out of
/// rotation is so for it, too.  (Glance: only for `/healthcheck`.)
pub(super) async fn probe(api: &Api) -> Response {
    match condition(api).await {
        (StatusCode::OK, _) => cors::options(),
        (status, words) => plain(status, words),
    }
}

fn plain(status: StatusCode, words: &'static str) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=UTF-8");
    (status, [(header::CONTENT_TYPE, kind)], words).into_response()
}

async fn condition(api: &Api) -> (StatusCode, &'static str) {
    let files = api.settings.disabling_files.clone();
    let disabled = match files.is_empty() {
        true => Ok(false),
        false => api.bridge.call(move || Ok(files.iter().any(|file| file.exists()))).await,
    };
    match disabled {
        Ok(false) => (StatusCode::OK, "OK"),
        Ok(true) => (StatusCode::SERVICE_UNAVAILABLE, "DISABLED BY FILE"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
    }
}

/// The check's own result, and of each store whether it answers.
fn details(words: &str, stores: Vec<(String, Option<Timestamp>)>) -> Value {
    let own = json!({"class": "HealthcheckResult", "reason": words, "details": ""});
    let store = |(name, silent): (String, Option<Timestamp>)| {
        let details = match silent {
            None => format!("store {name} answers"),
            Some(since) => format!("store {name} has not answered since {}", since.to_wire()),
        };
        let reason = if silent.is_some() { "SILENT" } else { "OK" };
        json!({"class": "StoreResult", "reason": reason, "details": details})
    };
    let reasons: Vec<_> = std::iter::once(own).chain(stores.into_iter().map(store)).collect();
    json!({
        "detailed": true,
        "now": Timestamp::now().to_wire(),
        "platform": concat!("glancefs ", env!("CARGO_PKG_VERSION")),
        "reasons": reasons,
    })
}
