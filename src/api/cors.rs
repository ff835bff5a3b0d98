//! Which web pages of other sites may use the API.  oslo.middleware: `[cors]`, its rules and words.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use crate::config::http::Cors;

/// Headers that a page may send without being allowed to.
const SIMPLE: &[&str] = &[
    "accept",
    "accept-language",
    "content-type",
    "cache-control",
    "content-language",
    "expires",
    "last-modified",
    "pragma",
];

/// What of a request the permission depends on.
pub(super) struct Origin {
    origin: Option<HeaderValue>,
    /// The method that a browser asks about before it uses it, and the headers.
    wanted: Option<(HeaderValue, Vec<HeaderValue>)>,
}

impl Origin {
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        let asked = asked.filter(|_| *method == Method::OPTIONS).map(|method| {
            let named = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
            (method.clone(), named.iter().cloned().collect())
        });
        Self { origin: headers.get(header::ORIGIN).cloned(), wanted: asked }
    }
}

impl Cors {
    /// Adds to an answer what its page may do with it.
    pub(super) fn apply(&self, asked: &Origin, method: &Method, response: &mut Response) {
        if self.allowed_origin.is_empty() {
            return;
        }
        // Also of answers that allow nothing: who keeps one must not show it to another origin.
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = asked.origin.as_ref().and_then(|origin| self.allowed(origin)) else {
            return;
        };
        let permission =
            if *method == Method::OPTIONS { self.preflight(asked) } else { Some(self.exposed()) };
        let Some(permission) = permission else { return };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.allow_credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        for (name, value) in permission {
            headers.insert(name, value);
        }
    }

    /// The origin to name, if it is allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.allowed_origin.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return Some(origin.clone());
        }
        let all = self.allowed_origin.iter().any(|allowed| allowed == "*");
        all.then(|| HeaderValue::from_static("*"))
    }

    fn exposed(&self) -> Vec<(HeaderName, HeaderValue)> {
        let exposed = HeaderValue::try_from(self.expose_headers.join(","));
        let exposed = exposed.ok().filter(|exposed| !exposed.is_empty());
        exposed
            .map(|exposed| (header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed))
            .into_iter()
            .collect()
    }

    /// The answer to a browser that asks first; `None` when it may not.
    fn preflight(&self, asked: &Origin) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let (method, named) = asked.wanted.as_ref()?;
        if !self.allow_methods.iter().any(|allowed| allowed.as_bytes() == method.as_bytes()) {
            return None;
        }
        let mut headers = Vec::new();
        for value in named {
            headers
                .extend(value.to_str().ok()?.split(',').map(str::trim).filter(|h| !h.is_empty()));
        }
        if !headers.iter().all(|header| self.allows_header(header)) {
            return None;
        }
        let mut permission = vec![(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone())];
        if self.max_age > 0 {
            permission.push((header::ACCESS_CONTROL_MAX_AGE, self.max_age.into()));
        }
        if !headers.is_empty() {
            let headers = HeaderValue::try_from(headers.join(",")).ok()?;
            permission.push((header::ACCESS_CONTROL_ALLOW_HEADERS, headers));
        }
        Some(permission)
    }

    fn allows_header(&self, name: &str) -> bool {
        let allowed = self.allow_headers.iter().map(String::as_str);
        allowed.chain(SIMPLE.iter().copied()).any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

/// What every `OPTIONS` is answered: nobody is asked for a token before a preflight, nor by
/// HAProxy's bare check.
pub(super) fn options() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::OK;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        let words = |text: &str| text.split(' ').map(String::from).collect();
        Cors {
            allowed_origin: words("https://a.example https://b.example:8443"),
            allow_credentials: true,
            expose_headers: words("X-Auth-Token X-OpenStack-Request-ID"),
            max_age: 3600,
            allow_methods: words("GET PUT"),
            allow_headers: words("X-Auth-Token"),
        }
    }

    fn answer(cors: &Cors, method: &Method, headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut response = Response::default();
        cors.apply(&Origin::of(method, &asked), method, &mut response);
        std::mem::take(response.headers_mut())
    }

    #[test]
    fn an_allowed_origin_is_named_and_others_are_not() {
        let get = |origin| answer(&cors(), &Method::GET, &[("origin", origin)]);
        let allowed = get("https://a.example");
        assert_eq!(allowed["access-control-allow-origin"], "https://a.example");
        assert_eq!(allowed["access-control-allow-credentials"], "true");
        let exposed = "X-Auth-Token,X-OpenStack-Request-ID";
        assert_eq!(allowed["access-control-expose-headers"], exposed);
        for origin in ["https://a.example.evil", "http://a.example", "null", "*"] {
            let refused = get(origin);
            assert_eq!(refused.len(), 1, "{origin}: {refused:?}");
            assert_eq!(refused["vary"], "Origin");
        }
        assert!(
            answer(&Cors::default(), &Method::GET, &[("origin", "https://a.example")]).is_empty()
        );
        let all = Cors { allowed_origin: vec!["*".to_string()], ..cors() };
        let any = answer(&all, &Method::GET, &[("origin", "https://c.example")]);
        assert_eq!(any["access-control-allow-origin"], "*");
    }

    #[test]
    fn a_preflight_is_allowed_as_a_whole_or_not_at_all() {
        let ask = |method, headers: &str| {
            let asked = [
                ("origin", "https://b.example:8443"),
                ("access-control-request-method", method),
                ("access-control-request-headers", headers),
            ];
            answer(&cors(), &Method::OPTIONS, &asked)
        };
        let allowed = ask("PUT", "x-auth-token, content-type");
        assert_eq!(allowed["access-control-allow-methods"], "PUT");
        assert_eq!(allowed["access-control-allow-headers"], "x-auth-token,content-type");
        assert_eq!(allowed["access-control-max-age"], "3600");
        assert!(!ask("GET", "").contains_key("access-control-allow-headers"));
        for (method, headers) in [("DELETE", ""), ("put", ""), ("GET", "x-other")] {
            let refused = ask(method, headers);
            assert_eq!(refused.len(), 1, "{method} {headers}: {refused:?}");
        }
    }
}
