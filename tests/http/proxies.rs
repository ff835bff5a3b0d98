//! Behind proxies, and before pages of other sites.

use glancefs::api::Settings;
use glancefs::config::http::Cors;

use super::Server;

fn cors() -> Cors {
    let word = |word: &str| vec![word.to_string()];
    Cors {
        allowed_origin: word("https://horizon.example"),
        allow_credentials: true,
        expose_headers: word("X-OpenStack-Request-ID"),
        max_age: 600,
        allow_methods: word("PATCH"),
        allow_headers: word("X-Auth-Token"),
    }
}

#[test]
fn a_page_of_an_allowed_site_may_use_the_api_and_no_other() {
    let server = Server::start(Settings { cors: cors(), ..Settings::default() });
    let ask = |method, path, origin: &str, more: &str| {
        server.request(method, path, &format!("Origin: {origin}\r\n{more}")).to_lowercase()
    };
    let preflight = "Access-Control-Request-Method: PATCH\r\n\
                     Access-Control-Request-Headers: x-auth-token\r\n";
    let allowed = ask("OPTIONS", "/v2/images/x", "https://horizon.example", preflight);
    assert!(allowed.starts_with("http/1.1 200"), "{allowed}");
    for line in [
        "access-control-allow-origin: https://horizon.example\r\n",
        "access-control-allow-credentials: true\r\n",
        "access-control-allow-methods: patch\r\n",
        "access-control-allow-headers: x-auth-token\r\n",
        "access-control-max-age: 600\r\n",
        "vary: origin\r\n",
    ] {
        assert!(allowed.contains(line), "{allowed}");
    }
    let refused = ask("OPTIONS", "/v2/images/x", "https://evil.example", preflight);
    assert!(refused.starts_with("http/1.1 200") && !refused.contains("allow-origin"), "{refused}");
    // An error is an answer that the page may read, too.
    let missing = ask("GET", "/v2/images/x", "https://horizon.example", "");
    assert!(missing.starts_with("http/1.1 404"), "{missing}");
    assert!(missing.contains("access-control-expose-headers: x-openstack-request-id\r\n"));
}

#[test]
fn links_lead_through_the_proxy_that_is_there() {
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: images.example\r\n";
    let server = Server::start(Settings { behind_proxy: true, ..Settings::default() });
    assert!(server.request("GET", "/", forwarded).contains("https://images.example/v2/"));
    let server = Server::start(Settings::default());
    assert!(server.request("GET", "/", forwarded).contains("http://x/v2/"));
    let public_endpoint = Some("https://cloud.example/image".to_string());
    let server =
        Server::start(Settings { public_endpoint, behind_proxy: true, ..Settings::default() });
    assert!(server.request("GET", "/", forwarded).contains("https://cloud.example/image/v2/"));
}
