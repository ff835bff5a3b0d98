//! Data that is in a store already, and becomes an image's where it is: `POST …/locations`.
//!
//! ```text
//!  look at it ─► record the location ─┬────────────► active ─► hash it ─► record the hash
//!                                     └ (expected) ► hash it, compare ─► active
//! ```
//!
//! Nothing is written to a store, and nothing removed: what is there was there before, and is left to
//! whoever put it there when it is not taken.  So a task that a restart interrupts simply begins again.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::{info, warn};

use super::flow::NOTICE;
use super::workers::{Running, Stop};
use super::{Job, Method, holder};
use crate::catalog::model::{Image, ImageId, Location, Status};
use crate::catalog::tasks::{TaskKind, TaskStatus};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::adopt::for_each_piece;
use crate::images::digest::{Digester, Digests, HashAlgorithm};
use crate::images::locations::{Expected, check_formats};
use crate::images::policy::Action;
use crate::images::tasks::INTERNAL_ERROR;

/// How long to wait before data is read again that could not be read; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How often who waits looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(50);

impl Images {
    /// Has data at a URL become an image's, in the background: the image and its tasks say how far
    /// that is.  `validation` is what the client wrote of the hash, for the record.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` (others than services may name data on the web only); `Conflict` when
    /// the image is not `queued`, or a task has it; `Invalid` for what cannot be a location or a
    /// hash; `OverQuota` when too much waits.
    pub fn begin_location(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        url: &str,
        validation: &Map<String, Value>,
    ) -> Result<()> {
        let mut image = self.find(ctx, id)?;
        if image.status != Status::Queued {
            return Err(Error::Conflict(format!(
                "It's not allowed to add locations if image status is {}.",
                image.status
            )));
        }
        self.policy().check_image(ctx, Action::AddImageLocation, &image)?;
        self.check_who_may(ctx, url)?;
        let expected = expected(validation)?;
        self.check_where(id, url)?;
        let stale = self.break_stale_lock(&mut image)?;
        let input = [
            ("image_id".to_string(), id.as_str().into()),
            ("loc_url".to_string(), url.into()),
            ("validation_data".to_string(), Value::Object(validation.clone())),
        ];
        let input = input.into_iter().collect();
        let task = self.new_task(ctx, TaskKind::LocationImport, Some(id), input);
        let method = Method::Location { url: url.to_string(), expected };
        let by = ctx.clone();
        let job = Job { task, image: id, by, method, stores: Vec::new(), all_must_succeed: true };
        self.accept(job, stale)
    }

    /// Only services are trusted to name data in the stores.
    fn check_who_may(&self, ctx: &RequestContext, url: &str) -> Result<()> {
        let web = url.starts_with("http") && self.stores.iter().any(|store| store.kind() == "http");
        if web || ctx.is_service() {
            return Ok(());
        }
        Err(Error::Forbidden(
            "http store must be enabled to use location API by normal user.".to_string(),
        ))
    }

    /// What can be said of a URL without asking a store.
    fn check_where(&self, id: ImageId, url: &str) -> Result<()> {
        if ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
            return self.web.check(Some(url)).map_err(|_| {
                Error::Invalid(format!("URI for add location does not pass filtering: {url}"))
            });
        }
        self.location_at(id, url, Map::new()).map(drop)
    }

    /// Takes up what the end of the daemon interrupted; `false` when there is nothing to take up.
    pub(in crate::images) fn resume_location(&self, id: ImageId, task: &str) -> Result<bool> {
        let image = self.catalog.get(id)?;
        if image.as_ref().and_then(holder) != Some(task) {
            self.end_interrupted(id, task, false)?;
            return Ok(false);
        }
        let recorded = task.parse().map_or(Ok(None), |task| self.catalog.task(task))?;
        let unfinished = recorded.filter(|task| TaskStatus::UNFINISHED.contains(&task.status));
        let Some(task_record) = unfinished else {
            self.catalog.unlock_image(id, task)?;
            return Ok(false);
        };
        let said = |name: &str| task_record.input.get(name);
        let url = said("loc_url").and_then(Value::as_str).unwrap_or_default().to_string();
        let validation = said("validation_data").and_then(Value::as_object);
        let Ok(expected) = validation.map(expected).transpose().map(Option::flatten) else {
            // Somebody else wrote to the task: what it was to check is lost.
            self.end_interrupted(id, task, false)?;
            self.catalog.unlock_image(id, task)?;
            return Ok(false);
        };
        let by = RequestContext {
            project: task_record.owner.clone(),
            user: task_record.user.clone(),
            roles: Vec::new(),
            service_roles: Vec::new(),
            admin: false,
            request_id: task_record.request_id.clone(),
        };
        info!(image = %id, task, "its location is looked at again");
        let method = Method::Location { url, expected };
        let (stores, task) = (Vec::new(), task_record);
        let job = Job { task, image: id, by, method, stores, all_must_succeed: true };
        self.imports.add(&self.this, job);
        Ok(true)
    }

    /// Runs it to its end, unless the daemon ends first: the next start takes it up again.
    pub(super) fn run_location(&self, job: &mut Job, running: &Running) {
        let Method::Location { url, expected } = job.method.clone() else { return };
        match self.take_location(job, &url, expected.as_ref(), running) {
            Ok(()) => {
                let result = [("image_id".to_string(), Value::from(job.image.as_str()))];
                self.succeed_task(&mut job.task, result.into_iter().collect());
            }
            Err(error) if running.stopped() == Some(Stop::ShuttingDown) => {
                return info!(image = %job.image, %error, "its location is left to the next start");
            }
            Err(error) => self.give_location_up(job, &url, &error, running.stopped()),
        }
        self.close(job, false);
    }

    /// Ends it before it was begun.
    pub(super) fn turn_location_away(&self, job: &mut Job, why: Stop) {
        let Method::Location { url, .. } = job.method.clone() else { return };
        if why != Stop::ShuttingDown {
            self.give_location_up(job, &url, &Error::Gone(why.words().to_string()), Some(why));
            self.close(job, false);
        }
    }

    fn take_location(
        &self,
        job: &mut Job,
        url: &str,
        expected: Option<&Expected>,
        running: &Running,
    ) -> Result<()> {
        self.note(job, "")?;
        let hashed = self.options.do_secure_hash;
        let status = if hashed && expected.is_some() { Status::Importing } else { Status::Active };
        let image = self.record_location(job, url, status)?;
        match expected {
            Some(expected) if hashed => {
                let digests = self.digests_at(job, url, expected.algorithm, running)?;
                if digests.os_hash_value != expected.value.to_lowercase() {
                    return Err(Error::Invalid(format!(
                        "os_hash_value: ({}) not matched with actual os_hash_value: ({})",
                        expected.value, digests.os_hash_value
                    )));
                }
                self.record_digests(job, &digests)
            }
            Some(expected) => self.alter_locked(job, |image| {
                image.os_hash_algo = Some(expected.algorithm.as_str().to_string());
                image.os_hash_value = Some(expected.value.clone());
                Ok(())
            }),
            None if !hashed || image.os_hash_value.is_some() => return Ok(()),
            None => {
                let algorithm = self.options.hashing_algorithm;
                match self.digests_at(job, url, algorithm, running) {
                    Ok(digests) => self.record_digests(job, &digests),
                    Err(error) if running.stopped().is_some() => return Err(error),
                    // Glance: the image is there all the same.
                    Err(error) => {
                        warn!(image = %job.image, %error, "its data is not hashed");
                        return Ok(());
                    }
                }
            }
        }
        .map(drop)
    }

    /// Has the record name the data, if it is any.
    fn record_location(&self, job: &Job, url: &str, status: Status) -> Result<Image> {
        let id = job.image;
        let gone = || Error::Gone(format!("Image {id} was deleted"));
        let image = self.catalog.get(id)?.ok_or_else(gone)?;
        if image.locations.iter().any(|place| place.url == url) {
            return Ok(image);
        }
        check_formats(&image)?;
        let location: Location = self.location_at(id, url, Map::new())?;
        let size = self.size_at(id, &location)?;
        self.alter_locked(job, |image| {
            if image.status != Status::Queued || !image.locations.is_empty() {
                return Err(Error::Gone(format!("Image {id} is {} by now", image.status)));
            }
            image.locations.push(location.clone());
            image.size = Some(size);
            image.status = status;
            Ok(())
        })
    }

    fn record_digests(&self, job: &Job, digests: &Digests) -> Result<Image> {
        self.alter_locked(job, |image| {
            image.checksum = Some(digests.checksum.clone());
            image.os_hash_algo = Some(digests.os_hash_algo.clone());
            image.os_hash_value = Some(digests.os_hash_value.clone());
            if image.status == Status::Importing {
                image.status = Status::Active;
            }
            Ok(())
        })
    }

    /// Hashes data where it is; tries again a few times when it cannot be read.
    fn digests_at(
        &self,
        job: &mut Job,
        url: &str,
        algorithm: HashAlgorithm,
        running: &Running,
    ) -> Result<Digests> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=self.options.http_retries {
            match self.hash(job, url, algorithm, running) {
                Err(error @ (Error::StoreUnavailable(_) | Error::Io { .. })) => {
                    running.check()?;
                    info!(image = %job.image, attempt, %error, "its data is hashed again");
                }
                outcome => return outcome,
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                running.check()?;
                thread::sleep(GLANCE);
            }
            pause *= 2;
        }
        self.hash(job, url, algorithm, running)
    }

    fn hash(
        &self,
        job: &mut Job,
        url: &str,
        algorithm: HashAlgorithm,
        running: &Running,
    ) -> Result<Digests> {
        let missing = || Error::NotFound(format!("no configured store holds {url}"));
        let reader = self.store_of(url).ok_or_else(missing)?.open(url)?;
        let mut digester = Digester::new(algorithm);
        let mut noticed = Instant::now();
        for_each_piece(&*reader, |offset, data| {
            running.check()?;
            if noticed.elapsed() >= NOTICE {
                noticed = Instant::now();
                self.note(job, "")?;
            }
            digester.update_zeros(offset - digester.taken())?;
            digester.update(data)
        })?;
        digester.update_zeros(reader.size() - digester.taken())?;
        digester.finish()
    }

    /// Says in the record what has become of it.  An image that is active stays so; else it is as it
    /// was before.
    fn give_location_up(&self, job: &mut Job, url: &str, error: &Error, stop: Option<Stop>) {
        warn!(image = %job.image, task = %job.task.id, %error, "the location is not taken");
        let noted = self.alter_locked(job, |image| {
            if image.status != Status::Active {
                image.status = Status::Queued;
                image.size = None;
                // Glance: what is on the web stays named.
                image.locations.retain(|place| place.url != url || url.starts_with("http"));
            }
            Ok(())
        });
        if let Err(error) = noted {
            info!(image = %job.image, %error, "the record does not say that its location failed");
        }
        self.fail_task(&mut job.task, stop.map_or(INTERNAL_ERROR, Stop::words));
    }
}

fn expected(validation: &Map<String, Value>) -> Result<Option<Expected>> {
    let text = |name: &str| validation.get(name).and_then(Value::as_str);
    match (text("os_hash_algo"), text("os_hash_value")) {
        (Some(algorithm), Some(value)) => Expected::new(algorithm, value).map(Some),
        _ => Ok(None),
    }
}
