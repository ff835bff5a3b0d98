//! A Keystone that is away, or does not like us.

use std::net::TcpListener;

use crate::face::{assert_silent, get, start};
use crate::harness::{Keystone, eventually};

/// keystonemiddleware's answer when it cannot ask.
const UNAVAILABLE: &str = "503 Service Unavailable\n\nThe server is currently unavailable. Please \
    try again at a later time.\n\n The Keystone service is temporarily unavailable.  ";

#[test]
#[ignore = "needs a real Keystone"]
fn while_keystone_is_away_unknown_tokens_are_neither_taken_nor_refused() {
    let mut keystone = Keystone::start();
    let glancefs = start(&keystone, 300, "http_request_max_retries = 1\n");
    let (known, unknown) = (keystone.token("project-a-member"), keystone.token("project-a-admin"));
    assert_eq!(get(&glancefs, "/v2/images", &known).status, 200);
    keystone.stop();
    assert_eq!(get(&glancefs, "/v2/images", &known).status, 200);
    let away = get(&glancefs, "/v2/images", &unknown);
    assert_eq!((away.status, away.body.as_str()), (503, UNAVAILABLE));
    assert_eq!(away.challenge, None);
    assert!(glancefs.log().contains("tokens cannot be checked"), "{}", glancefs.log());
    keystone.start_again();
    eventually("it asks again", || get(&glancefs, "/v2/images", &unknown).status == 200);
    assert!(glancefs.log().contains("Keystone answers again"), "{}", glancefs.log());
    assert_silent(&glancefs, &[&known, &unknown]);
}

#[test]
#[ignore = "needs a real Keystone"]
fn a_keystone_that_says_nothing_or_refuses_us_is_away() {
    let keystone = Keystone::start();
    let token = keystone.token("project-a-member");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody =
        format!("auth_url = http://{}\nhttp_connect_timeout = 1\n", silent.local_addr().unwrap());
    let retries = "http_request_max_retries = 0\n";
    for (wrong, said) in [
        ("password = wrong-secret\n", "it refuses our own user or password"),
        (&nobody, "tokens cannot be checked"),
    ] {
        let glancefs = start(&keystone, 300, &format!("{wrong}{retries}"));
        assert_eq!(get(&glancefs, "/v2/images", &token).status, 503);
        assert!(glancefs.log().contains(said), "{}", glancefs.log());
        assert_silent(&glancefs, &[&token, "wrong-secret"]);
    }
}
