//! Versions of the API: which one a request means, and the list of them.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Api, Settings, address, wire};

/// The versions that are served, which depends on the features.
pub(super) struct Versions {
    minors: Vec<&'static str>,
    current: &'static str,
    /// Whether there is the old API, too.
    v1: bool,
}

impl Versions {
    /// Glance: the same versions for `image_cache_dir` and `enabled_backends`, in the same order.
    pub(super) fn with(cache: bool, several_stores: bool, v1: bool) -> Self {
        let newest: &[_] =
            if cache { &["2.18", "2.17", "2.16", "2.15", "2.14"] } else { &["2.15"] };
        let stores: &[_] =
            if several_stores { &["2.13", "2.12", "2.11", "2.10", "2.9", "2.8"] } else { &["2.9"] };
        let current: &[_] = if cache { &[] } else { &["2.17"] };
        let always = &["2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0"];
        Self {
            minors: [newest, stores, current, always].concat(),
            current: if cache { "2.18" } else { "2.17" },
            v1,
        }
    }

    /// Where a version's resources are.
    fn root_of(&self, version: &str) -> Option<&'static str> {
        let number = version.strip_prefix('v')?;
        if number == "2" || self.minors.contains(&number) {
            return Some("/v2");
        }
        (self.v1 && ["1", "1.0", "1.1"].contains(&number)).then_some("/v1")
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
    /// A resource, under this path that begins with `/v2` or `/v1`.
    Resource(String),
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
    match versions.root_of(version) {
        Some(root) => Destination::Resource(format!("{root}{rest}")),
        None => Destination::Versions(StatusCode::MULTIPLE_CHOICES),
    }
}

/// The list of versions.
pub(super) fn list(status: StatusCode, request: &Request<Body>, api: &Api) -> Response {
    let url = address::url_of(request.headers(), &api.settings);
    let version = |(id, root): (&&str, &str)| {
        let status = if *id == api.versions.current { "CURRENT" } else { "SUPPORTED" };
        let links = json!([{"rel": "self", "href": format!("{url}{root}/")}]);
        json!({"id": format!("v{id}"), "status": status, "links": links})
    };
    let old: &[&str] = if api.versions.v1 { &["1.1", "1.0"] } else { &[] };
    let all = api.versions.minors.iter().map(|id| (id, "/v2"));
    let versions: Value = all.chain(old.iter().map(|id| (id, "/v1"))).map(version).collect();
    let mut response = wire::json(&json!({"versions": versions}));
    *response.status_mut() = status;
    response
}

/// `/v2` is `/v2/`, where there is nothing either.
pub(super) fn redirect(request: &Request<Body>, settings: &Settings) -> Response {
    let location = format!("{}/v2/", address::url_of(request.headers(), settings));
    let headers = [
        (header::LOCATION, location),
        (header::CONTENT_TYPE, "text/plain; charset=utf8".to_string()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(path: &str, accept: Option<&str>) -> Destination {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        negotiate(path, &headers, &Versions::with(false, false, false))
    }

    #[test]
    fn versions_follow_features() {
        let few = Versions::with(false, false, false);
        assert_eq!(few.minors[..3], ["2.15", "2.9", "2.17"]);
        assert_eq!(few.root_of("v2.17"), Some("/v2"));
        for unknown in ["v2.14", "v2.8", "v2.18", "v1", "2", "v"] {
            assert_eq!(few.root_of(unknown), None, "{unknown}");
        }
        let all = Versions::with(true, true, true);
        assert_eq!(all.root_of("v1.1"), Some("/v1"));
        assert_eq!(all.minors.len(), 19);
        assert!(all.minors.is_sorted_by_key(|minor| {
            std::cmp::Reverse(minor.strip_prefix("2.").and_then(|minor| minor.parse::<u32>().ok()))
        }));
    }

    #[test]
    fn every_known_version_is_the_same_api() {
        let images = Destination::Resource("/v2/images".to_string());
        for path in ["/v2/images", "/v2.0/images", "/v2.17/images", "//v2/images"] {
            assert_eq!(go(path, None), images, "{path}");
        }
        assert_eq!(go("/images", Some("application/vnd.openstack.images-v2.1")), images);
        assert_eq!(go("/v2", None), Destination::Resource("/v2".to_string()));
    }

    #[test]
    fn an_unknown_version_gets_the_list() {
        for path in ["/", "/v1", "/v1/images", "/v2.99/images", "/v2.8/images", "/nonexistent"] {
            assert_eq!(go(path, None), Destination::Versions(StatusCode::MULTIPLE_CHOICES));
        }
        assert_eq!(go("/versions/", None), Destination::Versions(StatusCode::OK));
    }
}
