//! Notifications posted to a URL, one after the other, for those without a bus.
//!
//! The URL is the operator's own, and often a secret: it is in no message.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::delivery::{Outlet, Refusal};
use super::message::Message;
use crate::identity::Secret;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A URL that takes notifications.
pub(super) struct Webhook {
    agent: Agent,
    url: Secret,
}

impl Webhook {
    pub(super) fn new(url: Secret) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let authorities = rustls_native_certs::load_native_certs().certs;
        let authorities: Vec<_> =
            authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(RootCerts::new_with_certs(&authorities))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("glancefs/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(TIMEOUT))
            .tls_config(tls)
            .build();
        Self { agent: config.into(), url }
    }
}

/// Posts one.
fn post(agent: &Agent, url: &Secret, json: String) -> Result<(), Refusal> {
    let request = agent.post(url.expose()).header("Content-Type", "application/json").send(json);
    match request.map(|response| response.status().as_u16()) {
        Ok(200..=299) => Ok(()),
        Ok(status @ (408 | 429 | 500..)) => Err(Refusal::Passing(format!("it answers {status}"))),
        Ok(status) => Err(Refusal::Final(format!("it answers {status}"))),
        Err(error) => Err(Refusal::Passing(error.to_string())),
    }
}

impl Outlet for Webhook {
    async fn send(&mut self, batch: &[Arc<Message>]) -> (usize, Result<(), Refusal>) {
        // One at a time, so that the end does not wait for all of them.
        let Some(message) = batch.first() else { return (0, Ok(())) };
        let (agent, url, json) = (self.agent.clone(), self.url.clone(), message.bare());
        match spawn_blocking(move || post(&agent, &url, json)).await {
            Ok(Ok(())) => (1, Ok(())),
            Ok(Err(refusal)) => (0, Err(refusal)),
            Err(error) => (0, Err(Refusal::Passing(error.to_string()))),
        }
    }

    async fn close(self) {}
}
