//! glancefs as a user of Keystone: its own token, and what it asks with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{error, info};

use super::Verdict;
use super::answer::{Accepted, Answer, Catalog, Service, Token};
use super::client::{Client, Outage, Question, Reply};
use crate::config::keystone::{Credentials, Domain, KeystoneAccess, Scope};
use crate::error::Result;
use crate::identity::Secret;

/// A token is renewed when this much of its life is left, or a quarter of a shorter one.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// Asks Keystone, as the configured user.
pub(super) struct Session {
    client: Client,
    access: KeystoneAccess,
    own: Mutex<Option<Arc<Own>>>,
    /// Somebody is getting the next one.
    renewing: AtomicBool,
    /// What was last said about it: it does not answer.
    out: AtomicBool,
}

/// A token of our own.
struct Own {
    token: Secret,
    renew_at: Instant,
    expires: Instant,
    /// Where Keystone wants to be asked: a URL up to and without `/v3`.
    endpoint: String,
}

impl Session {
    /// # Errors
    /// `Config` for files that cannot be used.
    pub(super) fn new(access: &KeystoneAccess) -> Result<Self> {
        Ok(Self {
            client: Client::new(access)?,
            access: access.clone(),
            own: Mutex::default(),
            renewing: AtomicBool::new(false),
            out: AtomicBool::new(false),
        })
    }

    /// What Keystone says of a token; `expired_too`: one may have expired.
    pub(super) fn look_at(&self, token: &Secret, expired_too: bool, until: Instant) -> Verdict {
        let path = if expired_too {
            "/v3/auth/tokens?nocatalog&allow_expired=1"
        } else {
            "/v3/auth/tokens?nocatalog"
        };
        match self.get(path, Some(token), until).and_then(verdict) {
            Ok(verdict) => {
                if self.out.swap(false, Ordering::Relaxed) {
                    info!("Keystone answers again");
                }
                verdict
            }
            Err(Outage(what)) => {
                // Once, and not for every request that suffers from it.
                if !self.out.swap(true, Ordering::Relaxed) {
                    error!(keystone = self.access.auth_url, "tokens cannot be checked: {what}");
                }
                Verdict::Unavailable
            }
        }
    }

    /// Asks with our own token; once more with a new one if Keystone does not take it.
    pub(super) fn get(
        &self,
        path: &str,
        subject: Option<&Secret>,
        until: Instant,
    ) -> Result<Reply, Outage> {
        let mut own = self.own(until)?;
        for again in [true, false] {
            let url = format!("{}{path}", own.endpoint);
            let question = Question { url: &url, token: Some(&own.token), subject, post: None };
            let reply = self.client.ask(&question, until)?;
            if reply.status != 401 {
                return Ok(reply);
            }
            if again {
                own = self.renew(until)?;
            }
        }
        Err(Outage("it takes no token of our own user's".to_owned()))
    }

    /// The services that somebody's token is for.
    pub(super) fn catalog(&self, token: &Secret, until: Instant) -> Result<Vec<Service>, Outage> {
        let url = format!("{}/v3/auth/catalog", self.own(until)?.endpoint);
        let question = Question { url: &url, token: Some(token), subject: None, post: None };
        let reply = self.client.ask(&question, until)?;
        match reply.status {
            200 => parse(&reply.body).map(|answer: Catalog| answer.catalog),
            status => Err(Outage(format!("it gives no catalog (status {status})"))),
        }
    }

    /// Our token, renewed in time: by one who asks, while others go on with the one that there is.
    fn own(&self, until: Instant) -> Result<Arc<Own>, Outage> {
        let now = Instant::now();
        let held = self.own.lock().clone().filter(|own| now < own.expires);
        match held {
            Some(own) if now < own.renew_at || self.renewing.swap(true, Ordering::Relaxed) => {
                Ok(own)
            }
            Some(own) => {
                let renewed = self.renew(until);
                self.renewing.store(false, Ordering::Relaxed);
                Ok(renewed.unwrap_or(own))
            }
            None => self.renew(until),
        }
    }

    fn renew(&self, until: Instant) -> Result<Arc<Own>, Outage> {
        let asked = Instant::now();
        let url = format!("{}/v3/auth/tokens", self.access.auth_url);
        let body = credentials(&self.access.credentials).to_string();
        let question = Question { url: &url, token: None, subject: None, post: Some(&body) };
        let reply = self.client.ask(&question, until)?;
        let (201, Some(token)) = (reply.status, reply.subject) else {
            return Err(Outage(match reply.status {
                401 => "it refuses our own user or password (username, password, project_name and \
                        their domains)"
                    .to_owned(),
                status => format!("it gives us no token (status {status})"),
            }));
        };
        let answer: Answer = parse(&reply.body)?;
        let own = Arc::new(self.held(token, &answer.token, asked));
        *self.own.lock() = Some(Arc::clone(&own));
        Ok(own)
    }

    /// How long it lives by Keystone's own clock, which may differ from ours.
    fn held(&self, token: Secret, said: &Token, asked: Instant) -> Own {
        let life = said.expires_at.duration_since(said.issued_at);
        let life = Duration::try_from(life).unwrap_or_default();
        let expires = asked + life;
        let renew_at = asked + life.saturating_sub(RENEW_BEFORE.min(life / 4));
        Own { token, renew_at, expires, endpoint: self.endpoint(&said.catalog) }
    }

    /// Where the catalog says that Keystone is; where we got the token, if it does not.
    fn endpoint(&self, catalog: &[Service]) -> String {
        let identity = catalog.iter().filter(|service| service.kind == "identity");
        let wanted =
            |region: Option<&str>| self.access.region.as_deref().is_none_or(|r| region == Some(r));
        let mut endpoints = identity.flat_map(|service| &service.endpoints);
        let found = endpoints.find(|endpoint| {
            endpoint.interface == self.access.interface && wanted(endpoint.region.as_deref())
        });
        let Some(found) = found else { return self.access.auth_url.clone() };
        let url = found.url.trim_end_matches('/');
        let url = ["/v3", "/v2.0"].iter().find_map(|v| url.strip_suffix(v)).unwrap_or(url);
        url.to_owned()
    }
}

/// What an answer about a token means.
fn verdict(reply: Reply) -> Result<Verdict, Outage> {
    match reply.status {
        200 => {
            let answer: Answer = parse(&reply.body)?;
            Ok(Verdict::Accepted(Arc::new(Accepted::from(answer.token))))
        }
        // It knows of no such token, or finds that it cannot be one.
        400 | 404 | 413 | 414 | 431 => Ok(Verdict::Refused),
        403 => {
            Err(Outage("our own user may not check tokens (it needs the role service)".to_owned()))
        }
        status => Err(Outage(format!("it answers with status {status}"))),
    }
}

pub(super) fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Outage> {
    // What serde says may quote the body.
    serde_json::from_slice(body)
        .map_err(|error| Outage(format!("it answers what cannot be read (line {})", error.line())))
}

/// What is posted for a token.
fn credentials(credentials: &Credentials) -> Value {
    let in_domain = |domain: &Domain| match domain {
        Domain::Id(id) => json!({"id": id}),
        Domain::Name(name) => json!({"name": name}),
    };
    match credentials {
        Credentials::Application { id, secret } => {
            let credential = json!({"id": id, "secret": secret.expose()});
            let methods = ["application_credential"];
            json!({"auth": {"identity":
                {"methods": methods, "application_credential": credential}}})
        }
        Credentials::Password { user, domain, password, scope } => {
            let user =
                json!({"name": user, "domain": in_domain(domain), "password": password.expose()});
            let identity = json!({"methods": ["password"], "password": {"user": user}});
            let scope = match scope {
                Scope::ProjectId(id) => json!({"project": {"id": id}}),
                Scope::Project(name, domain) => {
                    json!({"project": {"name": name, "domain": in_domain(domain)}})
                }
                Scope::System => json!({"system": {"all": true}}),
            };
            json!({"auth": {"identity": identity, "scope": scope}})
        }
    }
}
