//! Keystone's unified limits: what a project may have of what.  Glance: oslo.limit, with the model
//! `flat`.
//!
//! A project's own limit counts, else the registered one of the service in its region, else none at
//! all may be had (oslo.limit: the same).  Answers hold for a few seconds.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::error;
use url::form_urlencoded::Serializer;

use super::client::Outage;
use super::session::{Session, parse};
use crate::config::keystone::UnifiedLimits;
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// How long an answer holds.
const HOLDS_FOR: Duration = Duration::from_secs(5);
/// How long finding limits out may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a Keystone that did not answer is not asked again: whoever asks meanwhile would wait, and
/// others behind him.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// Projects whose limits are remembered.
const PROJECTS: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

type Named = HashMap<String, i64>;

/// Limits of projects, as Keystone says them.
pub struct KeystoneLimits {
    session: Session,
    endpoint: String,
    /// What the limits are registered for; found out once.
    registered_for: Mutex<Option<RegisteredFor>>,
    known: Mutex<LruCache<Option<ProjectId>, (Named, Instant)>>,
    /// It does not answer, and is not asked again before this.
    away_until: Mutex<Option<Instant>>,
}

/// A service in a region.
#[derive(Clone, Debug, Deserialize)]
struct RegisteredFor {
    service_id: String,
    region_id: Option<String>,
}

#[derive(Deserialize)]
struct EndpointAnswer {
    endpoint: RegisteredFor,
}

#[derive(Deserialize)]
struct ModelAnswer {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    name: String,
}

#[derive(Deserialize)]
struct RegisteredAnswer {
    registered_limits: Vec<Registered>,
}

#[derive(Deserialize)]
struct Registered {
    resource_name: String,
    default_limit: i64,
}

#[derive(Deserialize)]
struct OwnAnswer {
    limits: Vec<Own>,
}

#[derive(Deserialize)]
struct Own {
    resource_name: String,
    resource_limit: i64,
}

impl KeystoneLimits {
    /// Makes ready to ask; nothing is asked yet.
    ///
    /// # Errors
    /// `Config` for files of TLS that cannot be used.
    pub fn new(limits: &UnifiedLimits) -> Result<Self> {
        Ok(Self {
            session: Session::new(&limits.access)?,
            endpoint: limits.endpoint.clone(),
            registered_for: Mutex::default(),
            known: Mutex::new(LruCache::new(PROJECTS)),
            away_until: Mutex::default(),
        })
    }

    /// What a project may have of a resource; negative: any amount.  May wait for Keystone.
    ///
    /// # Errors
    /// `Unidentified`
    pub fn limit(&self, project: Option<&ProjectId>, resource: &str) -> Result<i64> {
        let project = project.cloned();
        let now = Instant::now();
        let of = |named: &Named| named.get(resource).copied().unwrap_or(0);
        if let Some((named, _)) = self.known.lock().get(&project).filter(|(_, until)| now < *until)
        {
            return Ok(of(named));
        }
        let away =
            || Error::Unidentified("The Keystone service is temporarily unavailable.".to_owned());
        if self.away_until.lock().is_some_and(|until| now < until) {
            return Err(away());
        }
        let named = self.ask(project.as_ref(), now + PATIENCE).map_err(|Outage(what)| {
            error!("limits of projects cannot be had from Keystone: {what}");
            *self.away_until.lock() = Some(Instant::now() + LEFT_ALONE);
            away()
        })?;
        let limit = of(&named);
        self.known.lock().put(project, (named, now + HOLDS_FOR));
        Ok(limit)
    }

    fn ask(&self, project: Option<&ProjectId>, until: Instant) -> Result<Named, Outage> {
        let registered_for = self.registered_for(until)?;
        let path = registered_for.path("/v3/registered_limits", None);
        let registered: RegisteredAnswer = self.get(&path, until)?;
        let registered = registered.registered_limits.into_iter();
        let mut named: Named = registered.map(|r| (r.resource_name, r.default_limit)).collect();
        if let Some(project) = project {
            let own: OwnAnswer =
                self.get(&registered_for.path("/v3/limits", Some(project)), until)?;
            named.extend(own.limits.into_iter().map(|own| (own.resource_name, own.resource_limit)));
        }
        Ok(named)
    }

    fn registered_for(&self, until: Instant) -> Result<RegisteredFor, Outage> {
        if let Some(known) = &*self.registered_for.lock() {
            return Ok(known.clone());
        }
        let model: ModelAnswer = self.get("/v3/limits/model", until)?;
        if model.model.name != "flat" {
            let name = model.model.name;
            return Err(Outage(format!("its model of limits is {name}; only flat is possible")));
        }
        let answer: EndpointAnswer =
            self.get(&format!("/v3/endpoints/{}", self.endpoint), until)?;
        *self.registered_for.lock() = Some(answer.endpoint.clone());
        Ok(answer.endpoint)
    }

    fn get<T: DeserializeOwned>(&self, path: &str, until: Instant) -> Result<T, Outage> {
        let reply = self.session.get(path, None, until)?;
        let what = path.split('?').next().unwrap_or_default();
        match reply.status {
            200 => parse(&reply.body),
            403 => Err(Outage(format!("the user of [oslo_limit] may not ask for {what}"))),
            404 => Err(Outage(format!("there is no {what} ([oslo_limit] endpoint_id)"))),
            status => Err(Outage(format!("it answers {what} with status {status}"))),
        }
    }
}

impl RegisteredFor {
    /// A listing of limits for it.
    fn path(&self, listing: &str, project: Option<&ProjectId>) -> String {
        let mut query = Serializer::for_suffix(format!("{listing}?"), listing.len() + 1);
        query.append_pair("service_id", &self.service_id);
        if let Some(region) = &self.region_id {
            query.append_pair("region_id", region);
        }
        if let Some(project) = project {
            query.append_pair("project_id", project.as_str());
        }
        query.finish()
    }
}
