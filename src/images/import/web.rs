//! Import by web-download: bytes from a URI that a stranger named, without becoming their arm.
//!
//! A server that downloads for others can be made to ask what only it may reach: its own ports, the
//! neighbours in its network, the metadata service of the cloud it runs in.  So every host, the
//! first one and each that a redirect leads to, goes the same way: the URI must mean one thing only
//! ([`uri`]), the operator's lists must let it pass ([`rules`]), its name is resolved once
//! ([`resolve`]), the addresses must be public or named by the operator ([`address`]), and the
//! connection is made to one of those very addresses (`connection`), so that a name that means
//! something else a moment later changes nothing.
//!
//! Where the bytes go, and what becomes of the image, is the caller's business.

pub mod address;
mod connection;
pub mod resolve;
pub mod rules;
pub mod uri;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_LENGTH, LOCATION};

use super::watch::Watch;
use crate::error::{Error, Result};
use crate::identity::Secret;
use connection::Bounds;
pub use connection::Trust;
use resolve::{Resolve, SystemResolver};
pub use rules::WebRules;
use uri::{Target, TargetHost};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// How long a name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(10);

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Bytes that are read from a server at once.
const PIECE: usize = 256 << 10;

/// Downloads for strangers, by the operator's rules.
#[derive(Debug)]
pub struct Web {
    rules: WebRules,
    resolver: Arc<dyn Resolve>,
    silence: Duration,
}

impl Web {
    /// Resolves names as the system does.
    pub fn new(rules: WebRules) -> Self {
        Self::with_resolver(rules, Arc::new(SystemResolver::default()))
    }

    /// Resolves names by other means.
    pub fn with_resolver(rules: WebRules, resolver: Arc<dyn Resolve>) -> Self {
        Self { rules, resolver, silence: SILENCE }
    }

    /// Whether a URI may be downloaded, as far as that can be said before.  May wait for the
    /// resolver, but not long.
    ///
    /// # Errors
    /// `Invalid`, in Glance's words; the same ones whatever is wrong, so that nobody can ask this
    /// server which names there are inside.
    pub fn check(&self, uri: Option<&str>) -> Result<()> {
        let passes = uri
            .and_then(Target::parse)
            .is_some_and(|target| !self.addresses(&target, RESOLVE).unwrap_or_default().is_empty());
        if passes {
            return Ok(());
        }
        // Glance: Python's word for nothing.
        let uri = uri.unwrap_or("None");
        Err(Error::Invalid(format!("URI for web-download does not pass filtering: {uri}")))
    }

    /// Downloads a URI: gives the bytes to `sink`, at most `cap` of them, in order.  Returns how
    /// many there were.
    ///
    /// # Errors
    /// `Invalid` for what must not or cannot be downloaded; `TooLarge`; `Io`; those of the watch
    /// and of `sink`.  Some of the bytes may have been given by then.
    pub fn download(
        &self,
        uri: &str,
        cap: u64,
        watch: &Watch,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        self.download_trusting(&Trust::of_the_system, uri, cap, watch, sink)
    }

    /// Downloads from a server that the operator has named (in Keystone's catalog), who may be
    /// anywhere, and who is told the token.  Otherwise as [`download`](Self::download), but that no
    /// redirect is followed.
    ///
    /// # Errors
    /// As there.
    pub fn download_from_peer(
        &self,
        url: &str,
        token: &Secret,
        cap: u64,
        watch: &Watch,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let target = Target::parse(url)
            .ok_or_else(|| Error::Invalid(format!("{url} in the service catalog is not a URL")))?;
        let addresses = match &target.host {
            TargetHost::Address(address) => vec![*address],
            TargetHost::Name(name) => self.resolver.resolve(name, RESOLVE.min(watch.left())),
        };
        if addresses.is_empty() {
            return Err(Error::Invalid(format!("the host of {target} cannot be found")));
        }
        let trust =
            if target.scheme() == "https" { Trust::of_the_system()? } else { Trust::of(&[]) };
        let bounds = Bounds { silence: self.silence, watch: watch.clone() };
        let response = connection::get(&target, &addresses, &trust, Some(token), &bounds)?;
        match response.status() {
            StatusCode::OK => receive(&target, response, cap, watch, sink),
            status => Err(Error::Invalid(format!("{target} answers with status {status}"))),
        }
    }

    fn download_trusting(
        &self,
        trust: &dyn Fn() -> Result<Trust>,
        uri: &str,
        cap: u64,
        watch: &Watch,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut target = Target::parse(uri).ok_or_else(|| refused("The URI"))?;
        let bounds = Bounds { silence: self.silence, watch: watch.clone() };
        for _ in 0..=MOST_REDIRECTS {
            watch.check()?;
            let addresses = self.addresses(&target, RESOLVE.min(watch.left()))?;
            // Without TLS nobody is trusted, and a system without certificates will do.
            let trust = if target.scheme() == "https" { trust()? } else { Trust::of(&[]) };
            let response = connection::get(&target, &addresses, &trust, None, &bounds)?;
            debug!(%target, ?addresses, status = %response.status(), "web-download");
            match response.status() {
                StatusCode::OK => return receive(&target, response, cap, watch, sink),
                status if status.is_redirection() && response.headers().contains_key(LOCATION) => {
                    target = redirected(&target, &response)?;
                }
                status => {
                    return Err(Error::Invalid(format!("{target} answers with status {status}")));
                }
            }
        }
        Err(Error::Invalid(format!("{target} redirects once more after {MOST_REDIRECTS} times")))
    }

    /// The addresses that a target may be asked at, one at least.
    fn addresses(&self, target: &Target, patience: Duration) -> Result<Vec<IpAddr>> {
        if !self.rules.pass(target) {
            return Err(refused(target));
        }
        let found = match &target.host {
            TargetHost::Address(address) => vec![*address],
            TargetHost::Name(name) => self.resolver.resolve(name, patience),
        };
        let networks = self.rules.allowed_networks();
        let mut addresses = Vec::new();
        for address in found {
            match address::check(address, &networks) {
                Ok(address) if self.rules.refuse_address(address) => {}
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(purpose) => debug!(%target, %address, purpose, "not to be connected to"),
            }
        }
        if addresses.is_empty() {
            return Err(refused(target));
        }
        Ok(addresses)
    }
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("{what} does not pass filtering, or its host cannot be found"))
}

fn redirected(from: &Target, response: &ureq::http::Response<ureq::Body>) -> Result<Target> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.redirected(location));
    to.ok_or_else(|| refused(format_args!("The URI that {from} redirects to")))
}

/// Reads the answer to its end, which must be where it was announced.
fn receive(
    target: &Target,
    response: ureq::http::Response<ureq::Body>,
    cap: u64,
    watch: &Watch,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let too_large = || {
        Error::TooLarge(format!(
            "Image exceeds the maximum allowed size of {cap} bytes (image_size_cap)"
        ))
    };
    let announced = announced_length(target, &response)?;
    if announced.is_some_and(|length| length > cap) {
        return Err(too_large());
    }
    let mut reader = response.into_body().into_reader();
    let mut piece = vec![0; PIECE];
    let mut received = 0;
    loop {
        watch.check()?;
        let read =
            reader.read(&mut piece).map_err(|error| connection::failure(target, error.into()))?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        received += bytes.len() as u64;
        if received > cap {
            return Err(too_large());
        }
        sink(bytes)?;
    }
    match announced {
        Some(length) if length != received => {
            Err(Error::Invalid(format!("{target} announced {length} bytes and sent {received}")))
        }
        _ => Ok(received),
    }
}

/// `Content-Length`, which must be a number where there is one, and only one.
fn announced_length(
    target: &Target,
    response: &ureq::http::Response<ureq::Body>,
) -> Result<Option<u64>> {
    // Of a body in chunks, the chunks say where it ends.
    if response.body().content_length().is_none()
        && response.headers().contains_key("transfer-encoding")
    {
        return Ok(None);
    }
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    match (length, lengths.next()) {
        (None, _) => Ok(None),
        (Some(Some(length)), None) => Ok(Some(length)),
        _ => Err(Error::Invalid(format!("{target} does not say how long its answer is"))),
    }
}
