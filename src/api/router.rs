//! From a request to the file that answers it: version, identity, resource, method.
//!
//! The order is Glance's: the version is looked at before the identity, the identity before the
//! path, so that a stranger learns nothing from a 404.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use axum::{Router, http};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tracing::Instrument;

use super::caller::Caller;
use super::cors::{self, Origin};
use super::fault::{self, Asked};
use super::status::Fault;
use super::versions::{self, Destination};
use super::{
    Api, actions, bridge, cache, data, head, health, images, import, locations, members, metadefs,
    schemas, stores, tags, tasks, v1,
};
use crate::catalog::model::ImageId;
use crate::telemetry::metrics;

/// The state that handlers share.
pub(super) type Shared = Arc<Api>;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
/// Glance: `max_request_id_length`.
const MAX_REQUEST_ID: usize = 64;

/// Answers requests.  Cheap to clone.
#[derive(Clone)]
pub(super) struct Dispatcher {
    api: Shared,
    resources: TowerToHyperService<Router>,
}

impl Dispatcher {
    pub(super) fn new(api: Shared) -> Self {
        let v2 = Router::new()
            .merge(images::routes())
            .merge(data::routes())
            .merge(actions::routes())
            .merge(tags::routes())
            .merge(members::routes())
            .merge(stores::routes())
            .merge(cache::routes())
            .merge(schemas::routes())
            .merge(tasks::routes())
            .merge(import::routes())
            .merge(locations::routes())
            .merge(metadefs::routes());
        let mut router = Router::new().nest("/v2", v2);
        if api.settings.v1 {
            router = router.nest("/v1", v1::routes());
        }
        let router = router.fallback(no_resource).with_state(api.clone());
        Self { api, resources: TowerToHyperService::new(router) }
    }

    /// Answers one request, errors included.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        let (name, begun) = (method_name(request.method()), Instant::now());
        let method = request.method().clone();
        let origin = Origin::of(&method, request.headers());
        let mut response = match head::check(request.uri(), request.headers()) {
            Ok(()) => self.respond(request).await,
            Err(status) => {
                let asked = Asked::new(&method, request.headers());
                bridge::drain(request.into_body());
                fault::page(Fault::head(status), &asked)
            }
        };
        self.api.settings.cors.apply(&origin, &method, &mut response);
        metrics::request_answered(name, response.status().as_u16(), begun.elapsed());
        response
    }

    async fn respond(&self, mut request: Request<Body>) -> Response {
        if request.method() == Method::OPTIONS && request.uri().path() != "/healthcheck" {
            return match request.uri().path() {
                "/" => health::probe(&self.api).await,
                _ => cors::options(),
            };
        }
        match versions::negotiate(request.uri().path(), request.headers(), &self.api.versions) {
            Destination::Versions(status) => {
                return versions::list(status, &request, &self.api);
            }
            Destination::Health => {
                let (method, uri) = (request.method(), request.uri());
                return health::answer(&self.api, method, uri, request.headers()).await;
            }
            Destination::Resource(path) => *request.uri_mut() = with_path(request.uri(), &path),
        }
        let asked = Asked::new(request.method(), request.headers());
        let mut context = match self.api.identity.of(request.headers()).await {
            Ok(context) => context,
            Err(stranger) => {
                bridge::drain(request.into_body());
                return fault::page(stranger.into(), &asked);
            }
        };
        if self.api.identity.is_proved() {
            // Which roles make an administrator is up to the policy.
            context.admin = self.api.images.policy().is_admin(&context);
        }
        let id = request_id(request.headers());
        context.request_id = id.to_str().ok().map(str::to_string);
        request.extensions_mut().insert(Caller(context));
        let span = tracing::info_span!("request", id = id.to_str().unwrap_or_default());
        let mut response = self.route(request).instrument(span).await;
        if let Some(fault) = response.extensions_mut().remove::<Fault>() {
            response = fault::page(fault, &asked);
        }
        response.headers_mut().insert(&REQUEST_ID, id);
        response
    }

    async fn route(&self, request: Request<Body>) -> Response {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.find(request).await;
        // Without the query, which may hold what is nobody's business.
        tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
        response
    }

    async fn find(&self, request: Request<Body>) -> Response {
        if request.uri().path() == "/v2" {
            return versions::redirect(&request, &self.api.settings);
        }
        match self.resources.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The method, for counting: whatever else clients may send is one.
fn method_name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The same URI with another path.  The new path was made of the old one, so it is well formed; a
/// path that is not stays as it was, and is found nowhere.
fn with_path(uri: &Uri, path: &str) -> Uri {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = format!("{path}{query}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// The client's own request id when it is well formed, else a new one.  It ends up in logs and
/// headers, so nothing but letters, digits and `-_.` is taken.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(harmless)
    });
    let id = match given {
        Some(id) if id.starts_with("req-") => id.to_string(),
        Some(id) => format!("req-{id}"),
        None => format!("req-{}", uuid::Uuid::new_v4()),
    };
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("req-"))
}

async fn no_resource() -> Fault {
    Fault::no_resource()
}

/// A resource with exactly these methods.  `allow` lists them as Glance's `Allow` does.  HEAD is
/// never among them, although axum would answer it as a GET.
pub(super) fn resource(allow: &'static str, methods: MethodRouter<Shared>) -> MethodRouter<Shared> {
    let refuse = move || async move { Fault::method_not_allowed(allow) };
    let methods = methods.fallback(refuse);
    if allow.contains("GET") { methods.on(MethodFilter::HEAD, refuse) } else { methods }
}

/// A fault travels in the response's extensions to the dispatcher, which knows what the client
/// accepts.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The image id in a path, as it was written: what is not a UUID is simply not found.
pub(super) struct PathId {
    pub(super) text: String,
}

impl PathId {
    /// The id, or the fault for an image that cannot be there.
    pub(super) fn parse(&self, missing: impl Fn(&str) -> String) -> Result<ImageId, Fault> {
        self.text.parse().map_err(|_| Fault::not_found(missing(&self.text)))
    }

    /// The id of an image that is shown, changed, read or written.
    pub(super) fn image(&self) -> Result<ImageId, Fault> {
        self.parse(|id| format!("No image found with ID {id}"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match path_parts(parts, state).await?.into_iter().next() {
            Some((_, text)) => Ok(Self { text }),
            None => Err(Fault::no_resource()),
        }
    }
}

/// The named parts of the path, decoded.  Glance decodes before it routes, so a part with a slash
/// in it is another, unknown path.
pub(super) async fn path_parts<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<Vec<(String, String)>, Fault> {
    let named = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
    match named {
        Ok(Path(named)) if named.iter().any(|(_, text)| text.contains('/')) => {
            Err(Fault::no_resource())
        }
        Ok(Path(named)) => Ok(named),
        Err(_) => Err(Fault::bad_request(
            "Error decoding your request. Either the URL or the request body contained \
             characters that could not be decoded by Glance",
        )),
    }
}

/// A request that must not bring a body.  Glance: `body_reject`.
pub(super) struct NoBody;

impl<S: Sync> FromRequestParts<S> for NoBody {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let takes_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        let chunked = takes_body && parts.headers.contains_key(header::TRANSFER_ENCODING);
        if chunked || content_length(&parts.headers).is_some_and(|length| length > 0) {
            return Err(Fault::bad_request("A body is not expected with this request."));
        }
        Ok(Self)
    }
}

/// The announced length of the body.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_only_when_it_is_harmless() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&REQUEST_ID, HeaderValue::from_str(given).unwrap());
            request_id(&headers).to_str().unwrap().to_string()
        };
        assert_eq!(id("req-1"), "req-1");
        assert_eq!(id("abc"), "req-abc");
        for bad in ["", "a b", "<x>", &"x".repeat(65)] {
            assert_eq!(id(bad).len(), 40, "{bad}");
        }
    }

    #[test]
    fn a_path_keeps_its_query() {
        let uri: Uri = "/v2.7/images?a=%20b".parse().unwrap();
        assert_eq!(with_path(&uri, "/v2/images").to_string(), "/v2/images?a=%20b");
    }
}
