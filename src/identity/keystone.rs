//! Keystone: who a token stands for.
//!
//! ```text
//!  Keystone        one question for each token at a time, and not more often than it has to be
//!    ├─ cache      answers that still hold, good ones and bad ones
//!    ├─ answer     what Keystone says of a token, as an identity
//!    └─ session    our own token, renewed in time
//!         └─ client     requests with deadlines, sent again after a while
//!  limits          what projects may have, by a session of its own
//! ```
//!
//! Asking is blocking work on threads of its own; waiting for it is async.  A Keystone that does not
//! answer is never taken for one that says no.

mod answer;
mod cache;
mod client;
pub mod limits;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task;
use tracing::warn;

use super::{Credentials, Endpoint, RequestContext, Secret};
use crate::config::keystone::TokenChecks;
use crate::error::Result;
use crate::telemetry::metrics::{TokenSource, token_checked};
use answer::{Accepted, Service};
use cache::{Cache, Key};
use session::Session;

/// Questions to Keystone at once, each on a thread.
pub const QUESTIONS_AT_ONCE: usize = 8;
/// Tokens that are being asked about, or wait for it; more are not taken.
const MOST_WAITING: usize = 512;
/// How long finding out about a token may take, every attempt included.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a request brings to show who sends it.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// The token of the user.
    pub user: Option<Secret>,
    /// The token of the service that works for the user.
    pub service: Option<Secret>,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token, or none that is valid.
    Unauthenticated,
    /// Keystone does not say.
    Unavailable,
}

/// What is known of a token.
#[derive(Clone, Debug)]
enum Verdict {
    Accepted(Arc<Accepted>),
    Refused,
    Unavailable,
}

type Waiting = watch::Receiver<Option<Verdict>>;

/// Keystone, as the API asks it.
pub struct Keystone {
    session: Session,
    cache: Cache,
    waiting: Mutex<HashMap<Key, Waiting>>,
    turns: Semaphore,
    checks: TokenChecks,
}

impl Keystone {
    /// Makes ready to ask; nothing is asked yet.
    ///
    /// # Errors
    /// `Config` for files of TLS that cannot be used.
    pub fn new(checks: TokenChecks) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            session: Session::new(&checks.access)?,
            cache: Cache::new(checks.cache_time),
            waiting: Mutex::default(),
            turns: Semaphore::new(QUESTIONS_AT_ONCE),
            checks,
        }))
    }

    /// Where to get a token.
    pub fn www_authenticate_uri(&self) -> &str {
        &self.checks.www_authenticate_uri
    }

    /// Whose request it is.
    ///
    /// # Errors
    /// Why nobody's.
    pub async fn identify(
        self: &Arc<Self>,
        presented: &Presented,
    ) -> Result<RequestContext, Denied> {
        let user = presented.user.as_ref().ok_or(Denied::Unauthenticated)?;
        // keystonemiddleware: a service that is not believed does no harm to the user.
        let service = match &presented.service {
            Some(service) => match self.ask(service, false).await {
                Verdict::Accepted(service) => Some(service),
                Verdict::Refused => None,
                Verdict::Unavailable => return Err(Denied::Unavailable),
            },
            None => None,
        };
        let service = service.filter(|service| service.has_any_role(&self.checks.service_roles));
        match self.ask(user, service.is_some()).await {
            Verdict::Accepted(user) => Ok(user.served_by(service.as_deref())),
            Verdict::Refused => Err(Denied::Unauthenticated),
            Verdict::Unavailable => Err(Denied::Unavailable),
        }
    }

    /// What it takes to ask other image services on behalf of whoever presents a token; `None`
    /// without one, and while Keystone does not say where they are.
    pub async fn credentials(self: &Arc<Self>, presented: &Presented) -> Option<Credentials> {
        let token = presented.user.clone()?;
        let until = Instant::now() + PATIENCE;
        let turn = tokio::time::timeout_at(until.into(), self.turns.acquire()).await;
        let _turn = turn.ok()?.ok()?;
        let (keystone, asked) = (Arc::clone(self), token.clone());
        let catalog = move || keystone.session.catalog(&asked, until);
        match task::spawn_blocking(catalog).await.ok()? {
            Ok(services) => Some(Credentials { token, image_endpoints: image_endpoints(services) }),
            Err(outage) => {
                warn!(?outage, "where other image services are is not known");
                None
            }
        }
    }

    /// What is known of a token, from memory or from Keystone.
    async fn ask(self: &Arc<Self>, token: &Secret, expired_too: bool) -> Verdict {
        let key = Key::of(token, expired_too);
        if let Some(verdict) = self.cache.get(&key) {
            token_checked(TokenSource::Memory);
            return verdict;
        }
        let Some(mut waiting) = self.wait_for(key, token, expired_too) else {
            token_checked(TokenSource::Nobody);
            return Verdict::Unavailable;
        };
        let verdict = async {
            let told = waiting.wait_for(Option::is_some).await.ok()?;
            told.clone()
        };
        let told = tokio::time::timeout(PATIENCE, verdict).await.ok().flatten();
        let verdict = told.unwrap_or(Verdict::Unavailable);
        let unknown = matches!(verdict, Verdict::Unavailable);
        token_checked(if unknown { TokenSource::Nobody } else { TokenSource::Keystone });
        verdict
    }

    /// Joins those who wait for the same answer, or asks for it.
    fn wait_for(self: &Arc<Self>, key: Key, token: &Secret, expired_too: bool) -> Option<Waiting> {
        let mut waiting = self.waiting.lock();
        if let Some(others) = waiting.get(&key) {
            return Some(others.clone());
        }
        // It may have come since the cache was looked at: an answer is put there first, and only
        // then are those who wait for it forgotten.
        if let Some(verdict) = self.cache.get(&key) {
            return Some(watch::channel(Some(verdict)).1);
        }
        if waiting.len() >= MOST_WAITING {
            return None;
        }
        let (tell, told) = watch::channel(None);
        waiting.insert(key, told.clone());
        let (keystone, token) = (Arc::clone(self), token.clone());
        // On its own: who asked first may go away while others wait.
        task::spawn(async move {
            let verdict = keystone.question(token, expired_too).await;
            keystone.cache.put(key, &verdict);
            keystone.waiting.lock().remove(&key);
            // All of them may be gone.
            let _ = tell.send(Some(verdict));
        });
        Some(told)
    }

    /// Asks Keystone, when it is this question's turn.
    async fn question(self: &Arc<Self>, token: Secret, expired_too: bool) -> Verdict {
        let until = Instant::now() + PATIENCE;
        let Ok(Ok(_turn)) = tokio::time::timeout_at(until.into(), self.turns.acquire()).await
        else {
            return Verdict::Unavailable;
        };
        let keystone = Arc::clone(self);
        let asked = move || keystone.session.look_at(&token, expired_too, until);
        let found = task::spawn_blocking(asked).await.unwrap_or(Verdict::Unavailable);
        match found {
            Verdict::Accepted(accepted) if !expired_too && accepted.expires <= Timestamp::now() => {
                Verdict::Refused
            }
            verdict => verdict,
        }
    }
}

fn image_endpoints(services: Vec<Service>) -> Arc<[Endpoint]> {
    let images = services.into_iter().filter(|service| service.kind == "image");
    let endpoints = images.flat_map(|service| service.endpoints).map(|endpoint| Endpoint {
        region: endpoint.region.unwrap_or_default(),
        interface: endpoint.interface,
        url: endpoint.url,
    });
    endpoints.collect()
}
