//! Versions of the API: which one a request means, and the list of them.

use axum::body::Body;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Api, Settings, wire};

/// The versions that are served, which depends on the features.
pub(super) struct Versions {
    minors: Vec<&'static str>,
    current: &'static str,
}

impl Versions {
    /// Glance: the same versions for `image_cache_dir` and `enabled_backends`, in the same order.
    pub(super) fn with(cache: bool, several_stores: bool) -> Self {
        let newest: &[_] =
            if cache { &["2.18", "2.17", "2.16", "2.15", "2.14"] } else { &["2.15"] };
        let stores: &[_] =
            if several_stores { &["2.13", "2.12", "2.11", "2.10", "2.9", "2.8"] } else { &["2.9"] };
        let current: &[_] = if cache { &[] } else { &["2.17"] };
        let always = &["2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"];
        Self {
            minors: [newest, stores, current, always].concat(),
            current: if cache { "2.18" } else { "2.17" },
        }
    }

    fn has(&self, version: &str) -> bool {
        match version.strip_prefix('v') {
            Some("2") => true,
            Some(minor) => self.minors.contains(&minor),
            None => false,
        }
    }
}

/// A client may name the version in `Accept` instead of the path.
const VENDOR_TYPE: &str = "application/vnd.openstack.images-";

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// The list of versions: asked for, or because the version is unknown.
    Versions(StatusCode),
    /// "Are you there?"
    Health,
    /// The API, under this path that begins with `/v2`.
    V2(String),
}

/// Finds the version in the `Accept` header or the path.
pub(super) fn negotiate(path: &str, headers: &HeaderMap, versions: &Versions) -> Destination {
    let inner = path.trim_start_matches('/');
    let (first, rest) = match inner.find('/') {
        Some(at) => inner.split_at(at),
        None => (inner, ""),
    };
    if first == "versions" {
        return Destination::Versions(StatusCode::OK);
    }
    if path == "/healthcheck" {
        return Destination::Health;
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let (version, rest) = match accept.and_then(|accept| accept.strip_prefix(VENDOR_TYPE)) {
        Some(version) => (version, path),
        None => (first, rest),
    };
    if versions.has(version) {
        Destination::V2(format!("/v2{rest}"))
    } else {
        Destination::Versions(StatusCode::MULTIPLE_CHOICES)
    }
}

/// The list of versions.
pub(super) fn list(status: StatusCode, request: &Request<Body>, api: &Api) -> Response {
    let href = format!("{}/v2/", base_url(request, &api.settings));
    let version = |id: &&str| {
        let status = if *id == api.versions.current { "CURRENT" } else { "SUPPORTED" };
        let links = json!([{"rel": "self", "href": href}]);
        json!({"id": format!("v{id}"), "status": status, "links": links})
    };
    let versions: Value = api.versions.minors.iter().map(version).collect();
    let mut response = wire::json(&json!({"versions": versions}));
    *response.status_mut() = status;
    response
}

/// `/v2` is `/v2/`, where there is nothing either.
pub(super) fn redirect(request: &Request<Body>, settings: &Settings) -> Response {
    let location = format!("{}/v2/", base_url(request, settings));
    let headers = [
        (header::LOCATION, location),
        (header::CONTENT_TYPE, "text/plain; charset=utf8".to_string()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// The daemon answers; whether its stores do is asked elsewhere.  An operator takes it out of
/// rotation by making a file.  oslo.middleware: `disable_by_file_path`, and its words.
pub(super) async fn health(api: &Api) -> Response {
    let disabled = match api.settings.disable_by_file.clone() {
        Some(file) => api.bridge.call(move || Ok(file.exists())).await,
        None => Ok(false),
    };
    let kind = HeaderValue::from_static("text/plain; charset=UTF-8");
    let (status, words) = match disabled {
        Ok(false) => (StatusCode::OK, "OK"),
        Ok(true) => (StatusCode::SERVICE_UNAVAILABLE, "DISABLED BY FILE"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "BUSY"),
    };
    (status, [(header::CONTENT_TYPE, kind)], words).into_response()
}

/// The URL under which the client sees this server, without a slash at the end.
pub(super) fn base_url<T>(request: &Request<T>, settings: &Settings) -> String {
    url_of(request.headers(), settings)
}

/// The same, from the headers.  `Host` and `X-Forwarded-Proto` come from outside, and what they say
/// goes back to the one who said it; anything but a plain host and port is not repeated.
pub(super) fn url_of(headers: &HeaderMap, settings: &Settings) -> String {
    if let Some(endpoint) = &settings.public_endpoint {
        return endpoint.trim_end_matches('/').to_string();
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    let plain = |host: &&str| host.parse::<Authority>().is_ok() && !host.contains('@');
    let host = text("host").filter(plain).unwrap_or("localhost");
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(path: &str, accept: Option<&str>) -> Destination {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        negotiate(path, &headers, &Versions::with(false, false))
    }

    #[test]
    fn versions_follow_features() {
        let few = Versions::with(false, false);
        assert_eq!(few.minors[..3], ["2.15", "2.9", "2.17"]);
        assert!(few.has("v2.17") && !few.has("v2.14") && !few.has("v2.8") && !few.has("v2.18"));
        let all = Versions::with(true, true);
        assert_eq!(all.minors.len(), 19);
        assert!(all.minors.is_sorted_by_key(|minor| {
            std::cmp::Reverse(minor.strip_prefix("2.").and_then(|minor| minor.parse::<u32>().ok()))
        }));
    }

    #[test]
    fn every_known_version_is_the_same_api() {
        let images = Destination::V2("/v2/images".to_string());
        for path in ["/v2/images", "/v2.0/images", "/v2.17/images", "//v2/images"] {
            assert_eq!(go(path, None), images, "{path}");
        }
        assert_eq!(go("/images", Some("application/vnd.openstack.images-v2.1")), images);
        assert_eq!(go("/v2", None), Destination::V2("/v2".to_string()));
    }

    #[test]
    fn an_unknown_version_gets_the_list() {
        for path in ["/", "/v1", "/v1/images", "/v2.99/images", "/v2.8/images", "/nonexistent"] {
            assert_eq!(go(path, None), Destination::Versions(StatusCode::MULTIPLE_CHOICES));
        }
        assert_eq!(go("/versions/", None), Destination::Versions(StatusCode::OK));
    }

    #[test]
    fn a_strange_host_is_not_repeated() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("images.example:9292"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let settings = Settings::default();
        assert_eq!(url_of(&headers, &settings), "https://images.example:9292");
        headers.insert(header::HOST, HeaderValue::from_static("a\"><script>"));
        assert_eq!(url_of(&headers, &settings), "https://localhost");
    }
}
