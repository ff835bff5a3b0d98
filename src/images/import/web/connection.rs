//! One HTTP request over one connection, to addresses that were checked and to no others.
//!
//! ureq speaks HTTP and TLS.  What it would do by itself is taken from it: it resolves nothing (it
//! is given the addresses), follows no redirect, knows no proxy, keeps no connection and no cookie.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, Body};

use super::super::watch::Watch;
use super::uri::Target;
use crate::error::{Error, Result};
use crate::identity::Secret;

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(30);
/// How often somebody who waits for the network asks whether to go on.
const PULSE: Duration = Duration::from_millis(200);
/// Addresses that are tried (as many as ureq takes).
const MOST_ADDRESSES: usize = 16;
/// Headers of an answer, in bytes.
const MOST_HEADERS: usize = 64 << 10;

/// Whose certificates are believed.
#[derive(Clone, Debug)]
pub struct Trust(TlsConfig);

impl Trust {
    /// The certificate authorities of this system, as they are now.
    ///
    /// # Errors
    /// `Config` when it has none.
    pub fn of_the_system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            return Err(Error::Config(format!(
                "the system's certificates cannot be read (install ca-certificates): {:?}",
                found.errors
            )));
        }
        Ok(Self::of(&found.certs))
    }

    /// These authorities and no others.
    pub fn of(authorities: &[CertificateDer<'_>]) -> Self {
        let roots: Vec<_> =
            authorities.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        Self(config)
    }
}

/// What bounds a request.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// How long a server may be silent.
    pub(super) silence: Duration,
    /// Until when, and whether, to go on.
    pub(super) watch: Watch,
}

/// Asks for a target at one of the addresses, the first that accepts, with a token if there is one.
/// Any status is an answer.
///
/// # Errors
/// `Io`, `Invalid` for what is not HTTP; those of the watch.
pub(super) fn get(
    target: &Target,
    addresses: &[IpAddr],
    trust: &Trust,
    token: Option<&Secret>,
    bounds: &Bounds,
) -> Result<ureq::http::Response<Body>> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .max_response_header_size(MOST_HEADERS)
        .user_agent(concat!("glancefs/", env!("CARGO_PKG_VERSION")))
        // The bytes as they are: an image that is compressed is for a plugin to unpack.
        .accept_encoding("identity")
        .tls_config(trust.0.clone())
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(bounds.watch.left()))
        .build();
    let connector =
        ().chain(TcpConnector::default())
            .chain(WatchedConnector(bounds.clone()))
            .chain(RustlsConnector::default());
    let checked =
        Checked { host: target.host_in_uri(), port: target.port, addresses: addresses.to_vec() };
    let agent = Agent::with_parts(config, connector, checked);
    let mut request = agent.get(target.as_str());
    if let Some(token) = token {
        request = request.header("X-Auth-Token", token.expose());
    }
    request.call().map_err(|error| failure(target, error))
}

/// What a failure of ureq is called here.
pub(super) fn failure(target: &Target, error: ureq::Error) -> Error {
    match error {
        ureq::Error::Io(source) => Error::Io { what: format!("download {target}"), source },
        ureq::Error::Other(other) => match other.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::Invalid(format!("{target} cannot be downloaded: {other}")),
        },
        error => Error::Invalid(format!("{target} cannot be downloaded: {error}")),
    }
}

/// The addresses that were checked, in place of a resolver.
#[derive(Debug)]
struct Checked {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // Should ureq read the URI in another way than we did, nobody is asked.
        if uri.host() != Some(self.host.as_str())
            || uri.port_u16().is_some_and(|port| port != self.port)
        {
            return Err(ureq::Error::HostNotFound);
        }
        let mut found = self.empty();
        for address in self.addresses.iter().take(MOST_ADDRESSES) {
            found.push(SocketAddr::new(*address, self.port));
        }
        if found.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(found) }
    }
}

/// Puts a watch on every connection.
#[derive(Debug)]
struct WatchedConnector(Bounds);

impl<In: Transport> Connector<In> for WatchedConnector {
    type Out = Watched<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Watched { inner, bounds: self.0.clone() }))
    }
}

/// A connection that is given up when the server is silent for too long, when the time is up, and
/// soon after the download is called off.
struct Watched<In> {
    inner: In,
    bounds: Bounds,
}

impl<In: Transport> Transport for Watched<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // Requests are small: this waits only for a peer that accepts and then never reads.
        let capped =
            NextTimeout { after: timeout.after.min(self.bounds.silence.into()), ..timeout };
        self.inner.transmit_output(amount, capped)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let started = Instant::now();
        let patience = (*timeout.after).min(self.bounds.silence);
        loop {
            self.bounds.watch.check().map_err(|error| ureq::Error::Other(Box::new(error)))?;
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                let silent = format!("the server was silent for {} s", patience.as_secs());
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, silent).into());
            }
            let slice = NextTimeout { after: left.min(PULSE).into(), ..timeout };
            match self.inner.await_input(slice) {
                Err(ureq::Error::Timeout(_)) => {}
                outcome => return outcome,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<In: Transport> fmt::Debug for Watched<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
