//! Under which URL the client sees this server.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue};

use super::Settings;

/// The URL that links begin with, without a slash at the end.
///
/// `Host` and what proxies add come from outside, and what they say goes back to the one who said it;
/// anything but a plain scheme, host and port is not repeated.  Proxies are listened to only where
/// the operator says that there is one: else every client could be its own.
pub(super) fn url_of(headers: &HeaderMap, settings: &Settings) -> String {
    if let Some(endpoint) = &settings.public_endpoint {
        return endpoint.trim_end_matches('/').to_string();
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let seen = if settings.behind_proxy { Seen::by_proxy(&text) } else { Seen::default() };
    let ours = if settings.tls.is_some() { "https" } else { "http" };
    let scheme = match seen.scheme.as_deref() {
        Some("https") => "https",
        Some("http") => "http",
        _ => ours,
    };
    let plain = |host: &&str| host.parse::<Authority>().is_ok() && !host.contains('@');
    let host = seen.host.as_deref().filter(plain);
    let host = host.or_else(|| text("host").filter(plain)).unwrap_or("localhost");
    let prefix = seen.prefix.filter(|prefix| is_plain_path(prefix)).unwrap_or_default();
    format!("{scheme}://{host}{}", prefix.trim_end_matches('/'))
}

/// What a proxy saw.
#[derive(Default)]
struct Seen {
    scheme: Option<String>,
    host: Option<String>,
    prefix: Option<String>,
}

impl Seen {
    /// RFC 7239's header, else those before it.  oslo.middleware: `http_proxy_to_wsgi`, which takes
    /// the first proxy's word.
    fn by_proxy<'a>(text: &impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let owned = |text: &str| text.trim().trim_matches('"').to_ascii_lowercase();
        let prefix = text("x-forwarded-prefix").map(str::to_owned);
        let Some(forwarded) = text("forwarded") else {
            let (scheme, host) = (text("x-forwarded-proto"), text("x-forwarded-host"));
            return Self { scheme: scheme.map(owned), host: host.map(owned), prefix };
        };
        let mut seen = Self { prefix, ..Self::default() };
        for pair in forwarded.split(',').next().unwrap_or_default().split(';') {
            match pair.split_once('=').map(|(name, value)| (owned(name), owned(value))) {
                Some((name, value)) if name == "proto" => seen.scheme = Some(value),
                Some((name, value)) if name == "host" => seen.host = Some(value),
                _ => {}
            }
        }
        seen
    }
}

fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(behind_proxy: bool, headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        url_of(&headers.collect(), &Settings { behind_proxy, ..Settings::default() })
    }

    #[test]
    fn a_strange_host_is_not_repeated() {
        assert_eq!(url(false, &[("host", "images.example:9292")]), "http://images.example:9292");
        assert_eq!(url(false, &[("host", "a\"><script>")]), "http://localhost");
        assert_eq!(url(true, &[("x-forwarded-host", "a/b"), ("host", "x")]), "http://x");
        assert_eq!(url(true, &[("x-forwarded-prefix", "//evil"), ("host", "x")]), "http://x");
    }

    #[test]
    fn a_proxy_is_believed_only_where_there_is_one() {
        let before = [
            ("host", "inner"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-prefix", "/image/"),
        ];
        assert_eq!(url(false, &before), "http://inner");
        assert_eq!(url(true, &before), "https://outer.example/image");
        let rfc = [
            ("host", "inner"),
            ("forwarded", "for=192.0.2.60;Proto=https;host=\"outer:8443\", for=1;proto=http"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(url(true, &rfc), "https://outer:8443");
        assert_eq!(url(true, &[("host", "x"), ("x-forwarded-proto", "gopher")]), "http://x");
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let endpoint = Some("https://images.example/".to_string());
        let settings = Settings { public_endpoint: endpoint, ..Settings::default() };
        assert_eq!(url_of(&HeaderMap::new(), &settings), "https://images.example");
    }
}
