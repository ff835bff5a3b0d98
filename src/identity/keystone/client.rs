//! Requests to Keystone: each with a deadline, and sent again after a while when it cannot be
//! reached.
//!
//! What is sent and what comes back holds tokens: nothing of it gets into messages, which name the
//! host and what failed.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::Agent;
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::config::keystone::{KeystoneAccess, TlsTrust};
use crate::error::{Error, Result};
use crate::identity::Secret;

/// Bytes of an answer that are read: a token with a large catalog has a few hundred KiB.
const MOST_BYTES: u64 = 4 << 20;
/// How long to wait before a request is sent again the first time; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest of these waits.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A Keystone cannot be used: what is wrong, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outage(pub(super) String);

/// What Keystone answered.
pub(super) struct Reply {
    pub(super) status: u16,
    /// `X-Subject-Token`
    pub(super) subject: Option<Secret>,
    pub(super) body: Vec<u8>,
}

/// One request.
pub(super) struct Question<'q> {
    /// Where to.
    pub(super) url: &'q str,
    /// `X-Auth-Token`
    pub(super) token: Option<&'q Secret>,
    /// `X-Subject-Token`
    pub(super) subject: Option<&'q Secret>,
    /// JSON to be posted; `None` for a GET.
    pub(super) post: Option<&'q str>,
}

/// Connections to Keystone.
pub(super) struct Client {
    agent: Agent,
    timeout: Duration,
    retries: u32,
}

impl Client {
    /// # Errors
    /// `Config` for files that cannot be used.
    pub(super) fn new(access: &KeystoneAccess) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Tokens go to Keystone and nowhere else.
            .proxy(None)
            .user_agent(concat!("glancefs/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections_per_host(super::QUESTIONS_AT_ONCE)
            .tls_config(tls(&access.tls)?)
            .build();
        Ok(Self { agent: config.into(), timeout: access.timeout, retries: access.retries })
    }

    /// Asks until there is an answer, no more often than allowed and no longer than `until`.
    pub(super) fn ask(&self, question: &Question<'_>, until: Instant) -> Result<Reply, Outage> {
        let mut wait = FIRST_WAIT;
        let mut left = self.retries;
        loop {
            let outcome = self.ask_once(question, until);
            let passing = match &outcome {
                Ok(reply) => matches!(reply.status, 429 | 502..=504),
                Err(_) => true,
            };
            if !passing || left == 0 || Instant::now() + wait >= until {
                return outcome;
            }
            thread::sleep(wait);
            left -= 1;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    fn ask_once(&self, question: &Question<'_>, until: Instant) -> Result<Reply, Outage> {
        let time = self.timeout.min(until.saturating_duration_since(Instant::now()));
        if time.is_zero() {
            return Err(Outage("it takes too long".to_owned()));
        }
        let method = if question.post.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder().method(method).uri(question.url);
        for (name, token) in
            [("X-Auth-Token", question.token), ("X-Subject-Token", question.subject)]
        {
            if let Some(token) = token {
                request = request.header(name, token.expose());
            }
        }
        let failed = |error: ureq::Error| Outage(error.to_string());
        let unfit = |error: ureq::http::Error| Outage(error.to_string());
        let response = match question.post {
            Some(json) => {
                let request = request.header("Content-Type", "application/json").body(json);
                let request = self.agent.configure_request(request.map_err(unfit)?);
                self.agent.run(request.timeout_global(Some(time)).build())
            }
            None => {
                let request = self.agent.configure_request(request.body(()).map_err(unfit)?);
                self.agent.run(request.timeout_global(Some(time)).build())
            }
        };
        read(response.map_err(failed)?)
    }
}

fn read(mut response: Response<ureq::Body>) -> Result<Reply, Outage> {
    let subject = response.headers().get("x-subject-token");
    let subject = subject.and_then(|token| token.to_str().ok()).map(Secret::new);
    let body = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
    let body = body.map_err(|error| Outage(error.to_string()))?;
    Ok(Reply { status: response.status().as_u16(), subject, body })
}

fn tls(trust: &TlsTrust) -> Result<TlsConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut builder = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if trust.insecure {
        builder = builder.disable_verification(true);
    } else {
        builder = builder.root_certs(RootCerts::new_with_certs(&authorities(trust)?));
    }
    if let Some((certificate, key)) = &trust.client {
        let failed = |error: &dyn std::fmt::Display| {
            let (certificate, key) = (certificate.display(), key.display());
            Error::Config(format!(
                "[keystone_authtoken] certfile ({certificate}) and keyfile ({key}) cannot be used: {error}"
            ))
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(&error))?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let pem = fs::read(key).map_err(|error| failed(&error))?;
        // Says better than the next what is wrong.
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| failed(&error))?;
        let key = PrivateKey::from_pem(&pem).map_err(|error| failed(&error))?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

/// Those who may vouch for Keystone.  A system without any can ask it without TLS.
fn authorities(trust: &TlsTrust) -> Result<Vec<Certificate<'static>>> {
    let found = match &trust.cafile {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| {
                let path = path.display();
                Error::Config(format!(
                    "[keystone_authtoken] cafile ({path}) cannot be used: {error}"
                ))
            })?,
    };
    Ok(found.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

#[cfg(test)]
mod tests;
