//! `/v2/info`: the stores that an upload may name, and what a project uses of its limits.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value};

use super::caller::Caller;
use super::router::{NoBody, Shared, resource};
use super::status::Fault;
use super::wire;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/info/stores", resource("GET", get(list)))
        .route("/info/usage", resource("GET", get(usage)))
}

/// Limits of Keystone's, of which there are none: Glance without `use_keystone_limits`.
async fn usage(_: Caller) -> Response {
    wire::json(&serde_json::json!({"usage": {}}))
}

async fn list(State(api): State<Shared>, _: Caller, _: NoBody) -> Result<Response, Fault> {
    let backends = &api.images.options().enabled_backends;
    if backends.is_empty() {
        return Err(Fault::not_found("Multi backend is not supported at this site."));
    }
    let default = api.images.stores().first().map(|store| store.name());
    let stores: Vec<Value> = backends
        .iter()
        .map(|backend| {
            let mut store = Map::new();
            store.insert("id".to_string(), backend.name.as_str().into());
            if let Some(description) = &backend.description {
                store.insert("description".to_string(), description.as_str().into());
            }
            if default == Some(backend.name.as_str()) {
                // Glance: a text.
                store.insert("default".to_string(), "true".into());
            }
            store.into()
        })
        .collect();
    Ok(wire::json(&serde_json::json!({ "stores": stores })))
}
