//! A glancefs that asks Keystone, and requests to it.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::harness::{Glancefs, Keystone, Start};

/// What was answered.
pub struct Answer {
    pub status: u16,
    pub challenge: Option<String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A glancefs with an API for users of this Keystone, which logs all that it can.
pub fn start(keystone: &Keystone, token_cache_time: i32, more: &str) -> Glancefs {
    let config = keystone.config(token_cache_time);
    Start::default()
        .config(&format!("{config}{more}"))
        .environment("RUST_LOG", "trace,fuser=warn")
        .with_api()
        .mount()
}

/// The same, with a mount that acts as a project.
pub fn start_as(keystone: &Keystone, project: &str, more: &str) -> Glancefs {
    let retries = "http_request_max_retries = 0\n";
    Start::default()
        .config(&format!("{}{retries}{more}", keystone.config(300)))
        .environment("RUST_LOG", "warn,glancefs=trace")
        .project(project)
        .with_api()
        .mount()
}

/// Sends a request with these headers, and a JSON body if there is one.
#[track_caller]
pub fn send(
    glancefs: &Glancefs,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answer {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        // Errors as plain text.
        .accept("text/plain")
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let url = format!("http://{}{path}", glancefs.api.unwrap());
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = match body {
        Some(body) => {
            let request = request.header("Content-Type", "application/json");
            agent.run(request.body(body.to_string()).unwrap())
        }
        None => agent.run(request.body(()).unwrap()),
    };
    let mut answer = answer.unwrap();
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_string());
    let body = answer.body_mut().read_to_string().unwrap();
    Answer { status: answer.status().as_u16(), challenge, body }
}

/// Asks for a path with a token.
#[track_caller]
pub fn get(glancefs: &Glancefs, path: &str, token: &str) -> Answer {
    send(glancefs, "GET", path, &[("X-Auth-Token", token)], None)
}

/// Nothing that the daemon said holds one of these, nor a password.
#[track_caller]
pub fn assert_silent(glancefs: &Glancefs, secrets: &[&str]) {
    let log = glancefs.log();
    for secret in secrets.iter().chain(&["secret-of-"]) {
        assert!(!log.contains(secret), "the log has {secret}");
    }
}
