//! Tokens: good ones and bad ones.

use std::thread;

use serde_json::json;

use crate::face::{assert_silent, get, send, start};
use crate::harness::{Keystone, eventually};

/// Glance's answer to whoever shows no valid token, as it was recorded.
const UNAUTHORIZED: &str = "401 Unauthorized\n\nThis server could not verify that you are \
    authorized to access the document you requested. Either you supplied the wrong credentials \
    (e.g., bad password), or your browser does not understand how to supply the credentials \
    required.\n\n   ";

#[test]
#[ignore = "needs a real Keystone"]
fn who_shows_no_valid_token_is_told_where_to_get_one() {
    let keystone = Keystone::start();
    let glancefs = start(&keystone, 300, "");
    let member = keystone.token("project-a-member");
    let mut changed = member.clone();
    changed.replace_range(40..41, if &member[40..41] == "A" { "B" } else { "A" });
    let long = "x".repeat(20_000);
    for bad in ["", "nonsense", &changed, &long] {
        for _ in 0..3 {
            let refused = get(&glancefs, "/v2/images", bad);
            assert_eq!((refused.status, refused.body.as_str()), (401, UNAUTHORIZED));
            let challenge = format!("Keystone uri=\"{}/v3\"", keystone.url());
            assert_eq!(refused.challenge, Some(challenge));
        }
    }
    // No token, no question; and each of the others was asked about once.
    assert_eq!(keystone.validations(), 3, "{:?}", keystone.requests());
    for (path, status) in [("/", 300), ("/versions", 200), ("/healthcheck", 200), ("/v2/x", 401)] {
        assert_eq!(send(&glancefs, "GET", path, &[], None).status, status, "{path}");
    }
    assert_silent(&glancefs, &[&changed, "nonsense", &long]);
}

#[test]
#[ignore = "needs a real Keystone"]
fn a_token_says_who_asks_and_is_asked_about_once() {
    let keystone = Keystone::start();
    let metrics = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let glancefs = start(&keystone, 300, &format!("[glancefs]\nmetrics_listen = {metrics}\n"));
    let [member, reader, other, admin] =
        ["project-a-member", "project-a-reader", "project-b-member", "project-c-admin"]
            .map(|user| keystone.token(user));
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(get(&glancefs, "/v2/images", &member).status, 200));
        }
    });
    assert_eq!(keystone.validations(), 1, "{:?}", keystone.requests());

    let made = |token: &str| {
        let name = json!({"name": "one"});
        send(&glancefs, "POST", "/v2/images", &[("X-Auth-Token", token)], Some(&name))
    };
    let image = made(&member);
    assert_eq!(image.status, 201, "{}", image.body);
    assert_eq!(image.json()["owner"], keystone.id("project", "project-a"));
    let path = format!("/v2/images/{}", image.json()["id"].as_str().unwrap());
    for (token, status) in [(&member, 200), (&reader, 200), (&other, 404), (&admin, 200)] {
        assert_eq!(get(&glancefs, &path, token).status, status);
    }
    assert_eq!(made(&reader).status, 403);
    // White space does not matter, nor the other header.
    let padded = format!(" {member} ");
    assert_eq!(send(&glancefs, "GET", &path, &[("X-Storage-Token", &padded)], None).status, 200);
    // An administrator of the system has no rights in any project.
    keystone.ask("PUT", &system_role(&keystone, "project-c-admin"), &json!(null));
    let system = keystone.token_for("project-c-admin", &json!({"system": {"all": true}}));
    assert_eq!(get(&glancefs, &path, &system).status, 404);
    assert_eq!(made(&system).status, 403);
    assert_eq!(keystone.validations(), 5, "{:?}", keystone.requests());

    let shown = ureq::get(format!("http://{metrics}/metrics")).call().unwrap();
    let shown = shown.into_body().read_to_string().unwrap();
    assert!(shown.contains("glancefs_token_checks_total{source=\"memory\"}"), "{shown}");
    let secrets = [&*member, &reader, &other, &admin, &system];
    assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    assert_silent(&glancefs, &secrets);
}

fn system_role(keystone: &Keystone, user: &str) -> String {
    let (user, role) = (keystone.id("user", user), keystone.id("role", "admin"));
    format!("system/users/{user}/roles/{role}")
}

#[test]
#[ignore = "needs a real Keystone"]
fn a_revoked_token_is_refused_when_the_answer_about_it_is_old() {
    let keystone = Keystone::start();
    let glancefs = start(&keystone, 2, "");
    let (token, kept) = (keystone.token("project-a-member"), keystone.token("project-a-reader"));
    assert_eq!(get(&glancefs, "/v2/images", &token).status, 200);
    keystone.revoke(&token);
    eventually("the token is refused", || get(&glancefs, "/v2/images", &token).status == 401);
    assert_eq!(get(&glancefs, "/v2/images", &kept).status, 200);
    let strict = start(&keystone, -1, "");
    assert_eq!(get(&strict, "/v2/images", &token).status, 401);
    assert_eq!(get(&strict, "/v2/images", &kept).status, 200);
    keystone.revoke(&kept);
    assert_eq!(get(&strict, "/v2/images", &kept).status, 401);
    assert_silent(&glancefs, &[&token, &kept]);
}

#[test]
#[ignore = "needs a real Keystone"]
fn an_expired_token_is_good_for_a_service_alone_and_our_own_is_renewed() {
    let keystone = Keystone::with_tokens_for(12);
    let glancefs = start(&keystone, 300, "");
    let token = keystone.token("project-a-member");
    assert_eq!(get(&glancefs, "/v2/images", &token).status, 200);
    eventually("the token is refused", || get(&glancefs, "/v2/images", &token).status == 401);
    // Our own token has expired meanwhile, too.
    let fresh = keystone.token("project-a-member");
    assert_eq!(get(&glancefs, "/v2/images", &fresh).status, 200);
    let with = |service: &str| {
        let headers = [("X-Auth-Token", token.as_str()), ("X-Service-Token", service)];
        send(&glancefs, "GET", "/v2/images", &headers, None).status
    };
    assert_eq!(with(&keystone.token("project-b-member")), 401, "no service");
    assert_eq!(with("nonsense"), 401);
    assert_eq!(with(&keystone.token("project-b-service")), 200);
    assert_silent(&glancefs, &[&token, &fresh]);
}
