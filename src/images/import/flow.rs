//! The steps of one import, and what is left when one fails.
//!
//! ```text
//!  fetch ─► staged data ─► plugins ─► store, store, … ─► record active ─► task success ─► unlock
//! ```
//!
//! Where all stores must succeed, the record names none of them before all have the data.  What
//! fails leaves no data behind; where a store cannot remove it now, the journal has it.  What the
//! record says then is Glance's: see [`Images::give_up`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::{info, warn};

use super::prepare::Alterations;
use super::transfer::{Failed, Stored, transfer};
use super::workers::{Running, Stop};
use super::{FAILED_IMPORT, IMPORTING_TO, Job, Method, STAGE_HOST, merge_stores};
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};
use crate::images::crash::{self, Step};
use crate::images::events::Event;
use crate::images::quota::totals::{Counted, Hold};
use crate::images::tasks::INTERNAL_ERROR;
use crate::images::{Images, format};
use crate::store::{ImageReader, Store};

/// How often the task says how far it is; by that others know that it goes on.
pub(super) const NOTICE: Duration = Duration::from_secs(60);

/// How an import stands.
#[derive(Default)]
struct Stand {
    /// The record was taken from where it was.
    begun: bool,
    /// What stores have and the record does not name.
    stored: Vec<Stored>,
    /// How many stores have it, named by the record or not.
    copies: u64,
    /// Its part of the project's quota, where there is one.
    hold: Option<Hold>,
    /// Its part of what the project may stage, and its place among the project's uploads, where those
    /// are limited.
    staged: Option<Hold>,
    turn: Option<Hold>,
    /// A store has something of it that it could not remove.
    left_behind: bool,
    /// What the record says besides, once it names the data.
    alterations: Option<Alterations>,
}

/// Why an import failed.
enum Failure {
    /// Before any store was written.
    Early(Error),
    /// Data could not be fetched, or a plugin did not take it.
    Unprepared(Error),
    /// At a store that must not fail.
    At(String, Error),
    /// At every store.
    Everywhere,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Early(error)
    }
}

impl Images {
    /// Runs an import to its end, good or bad.
    pub(super) fn run_import(&self, job: &mut Job, running: &Running) {
        info!(image = %job.image, task = %job.task.id, method = job.method.name(), "import");
        if matches!(job.method, Method::Location { .. }) {
            return self.run_location(job, running);
        }
        let mut stand = Stand::default();
        match self.import(job, running, &mut stand) {
            Ok(()) => {
                let result = [("image_id".to_string(), Value::from(job.image.as_str()))];
                self.succeed_task(&mut job.task, result.into_iter().collect::<Map<_, _>>());
            }
            Err(failure) => self.give_up(job, failure, running.stopped(), &mut stand),
        }
        self.close(job, stand.left_behind);
    }

    /// Ends an import that was never begun: what was staged stays.
    pub(super) fn turn_away(&self, job: &mut Job, why: Stop) {
        if matches!(job.method, Method::Location { .. }) {
            return self.turn_location_away(job, why);
        }
        let gone = Failure::Early(Error::Gone(why.words().to_string()));
        self.give_up(job, gone, Some(why), &mut Stand::default());
        self.close(job, false);
    }

    fn import(&self, job: &mut Job, running: &Running, stand: &mut Stand) -> Result<(), Failure> {
        self.note(job, "")?;
        let image = self.alter_locked(job, |image| {
            if !job.is_copy() {
                image.status = Status::Importing;
            }
            let named = self.named(&job.stores);
            merge_stores(image, IMPORTING_TO, named, true);
            merge_stores(image, FAILED_IMPORT, named, false);
            image.properties.remove(STAGE_HOST);
            Ok(())
        })?;
        stand.begun = true;
        self.hold_quotas(job, &image, stand).map_err(Failure::Unprepared)?;
        crash::point(Step::Importing);
        let source = if job.is_copy() {
            self.existing_data(&image)?
        } else {
            let prepared = self.prepare(job, &image, running, stand.staged.as_ref());
            let prepared = prepared.map_err(Failure::Unprepared)?;
            stand.alterations = Some(prepared.alterations);
            prepared.data
        };
        crash::point(Step::ImportPrepared);
        let stored = self.store_everywhere(job, &source, running, stand);
        drop(source);
        stored?;
        if let Err(error) = self.unstage(job.image) {
            warn!(image = %job.image, %error, "staged data is removed later");
            stand.left_behind = true;
        }
        Ok(())
    }

    /// What the import takes of the project's quotas.
    fn hold_quotas(&self, job: &Job, image: &Image, stand: &mut Stand) -> Result<()> {
        stand.turn = self.totals.claim(Counted::Coming, image, &*self.catalog)?;
        stand.hold = self.totals.begin(Counted::Stored, image)?;
        match (&job.method, &stand.hold, image.size) {
            // It is known already.
            (Method::Direct, Some(hold), Some(size)) => hold.set(&*self.catalog, size)?,
            (Method::WebDownload { .. }, ..) => {
                stand.staged = self.totals.begin(Counted::Staged, image)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the data of an image is that has it.
    fn existing_data(&self, image: &Image) -> Result<Arc<dyn ImageReader>> {
        let mut failure = Error::NotFound("Image not found in any configured store".to_string());
        for location in image.locations.iter().filter(|location| location.status == "active") {
            match self.store_of(&location.url).map(|store| store.open(&location.url)) {
                Some(Ok(reader)) => return Ok(reader),
                Some(Err(error)) => failure = error,
                None => {}
            }
        }
        Err(failure)
    }

    /// Puts the data into every store, one after the other, and makes the image active.
    fn store_everywhere(
        &self,
        job: &mut Job,
        source: &Arc<dyn ImageReader>,
        running: &Running,
        stand: &mut Stand,
    ) -> Result<(), Failure> {
        let mut there = false;
        for name in job.stores.clone() {
            let done = self.store_named(Some(&name)).map_err(nothing_written);
            let done = done.and_then(|store| self.store_in(job, &store, source, running, stand));
            let failed = match done {
                Ok(stored) => {
                    stand.stored.push(stored);
                    stand.copies += 1;
                    None
                }
                Err(Failed { error, left_behind }) => {
                    stand.left_behind |= left_behind;
                    Some(error)
                }
            };
            // A store that fails because the import is to end has not failed.
            running.check()?;
            if let Some(error) = &failed {
                let why = &error.to_string();
                self.events.tell(Event::UploadFailed { image: job.image, why });
            }
            match failed {
                None if job.all_must_succeed => self.note_stores(job, &name, None)?,
                None => {
                    self.commit(job, stand)?;
                    there = true;
                }
                Some(error) if job.all_must_succeed => return Err(Failure::At(name, error)),
                Some(error) => {
                    warn!(image = %job.image, store = name, %error, "not imported into this store");
                    self.note_stores(job, &name, Some(&name))?;
                }
            }
        }
        if !stand.stored.is_empty() {
            self.commit(job, stand)?;
            there = true;
        }
        if there || job.is_copy() { Ok(()) } else { Err(Failure::Everywhere) }
    }

    /// Puts the data into one store, if it is what it should be.
    fn store_in(
        &self,
        job: &mut Job,
        store: &Arc<dyn Store>,
        source: &Arc<dyn ImageReader>,
        running: &Running,
        stand: &Stand,
    ) -> Result<Stored, Failed> {
        let id = job.image;
        let record = self.catalog.get(id).map_err(nothing_written)?;
        let gone = || nothing_written(Error::Gone(format!("Image {id} was deleted")));
        let mut image = record.ok_or_else(gone)?;
        if let Some(alterations) = &stand.alterations {
            alterations.apply(&mut image);
        }
        let judged = if job.is_copy() { Ok(None) } else { self.judge(&image, &**source) };
        let virtual_size = judged.map_err(nothing_written)?;
        if let Some(hold) = &stand.hold {
            let bytes = source.size().saturating_mul(stand.copies + 1);
            hold.set(&*self.catalog, bytes).map_err(nothing_written)?;
        }
        self.tell_prepared(&image, store.name());
        let mut noticed = Instant::now();
        let mut progress = |bytes: u64| {
            running.check()?;
            if noticed.elapsed() >= NOTICE {
                noticed = Instant::now();
                self.note(job, copied(bytes))?;
            }
            Ok(())
        };
        let algorithm = self.options.hashing_algorithm;
        let mut stored = transfer(store, id, source, algorithm, &mut progress)?;
        stored.virtual_size = virtual_size;
        job.task.message = copied(stored.size);
        if let Err(error) = same_as_recorded(&image, &stored) {
            return Err(Failed { error, left_behind: !stored.remove() });
        }
        Ok(stored)
    }

    /// Looks at the data; returns its virtual size.
    fn judge(&self, image: &Image, source: &dyn ImageReader) -> Result<Option<u64>> {
        let declared = image.disk_format.as_deref().unwrap_or_default();
        let inspection =
            format::inspect(source.size(), &mut |offset, buffer| source.read_at(offset, buffer))?;
        if image.container_format.as_deref() == Some("bare") {
            self.options.format_rules.check(declared, &inspection)?;
        }
        Ok(inspection.virtual_size_as(declared))
    }

    /// Has the record name what the stores have, and the image active.
    fn commit(&self, job: &Job, stand: &mut Stand) -> Result<()> {
        let Some(first) = stand.stored.first() else { return Ok(()) };
        let recorded = self.save_locked(job, |image| {
            if !job.is_copy() && !matches!(image.status, Status::Importing | Status::Active) {
                return Err(Error::Gone(format!("Image {} is {} by now", image.id, image.status)));
            }
            for stored in &stand.stored {
                image.locations.push(self.options.location(&stored.url, &*stored.store));
                merge_stores(
                    image,
                    IMPORTING_TO,
                    self.named(&[stored.store.name().to_string()]),
                    false,
                );
            }
            if let Some(alterations) = &stand.alterations {
                alterations.apply(image);
            }
            if !job.is_copy() {
                image.status = Status::Active;
                image.size = Some(first.size);
                image.virtual_size = first.virtual_size;
                image.checksum = Some(first.digests.checksum.clone());
                image.os_hash_algo = Some(first.digests.os_hash_algo.clone());
                image.os_hash_value = Some(first.digests.os_hash_value.clone());
            }
            Ok(())
        });
        if recorded.as_ref().is_err_and(Error::leaves_unsettled) {
            // Its answer was lost: if the record names the data, that stays.
            stand.stored.clear();
            stand.left_behind = true;
        }
        self.tell_stored(job, &recorded?, stand);
        stand.stored.clear();
        crash::point(Step::ImportCommitted);
        Ok(())
    }

    /// Tells of data that the record names now.  Glance: a store is still named as one to come.
    fn tell_stored(&self, job: &Job, image: &Image, stand: &Stand) {
        let were_told = stand.copies > stand.stored.len() as u64;
        for (number, stored) in stand.stored.iter().enumerate() {
            let mut at_store = image.clone();
            let store = stored.store.name().to_string();
            merge_stores(&mut at_store, IMPORTING_TO, self.named(&[store]), true);
            self.events.tell(Event::Uploaded(&at_store));
            if number == 0 && !were_told && !job.is_copy() {
                self.events.tell(Event::Activated(&at_store));
            }
        }
        self.events.tell(Event::Updated(image));
    }

    /// Notes that a store is done with, and whether it failed; what was stored is told of later, when the
    /// record names it.
    fn note_stores(&self, job: &Job, done: &str, failed: Option<&str>) -> Result<()> {
        let image = self.save_locked(job, |image| {
            merge_stores(image, IMPORTING_TO, self.named(&[done.to_string()]), false);
            if let Some(failed) = failed {
                merge_stores(image, FAILED_IMPORT, self.named(&[failed.to_string()]), true);
            }
            Ok(())
        })?;
        if failed.is_some() {
            self.events.tell(Event::Updated(&image));
        }
        Ok(())
    }

    /// Notes how far the task is.
    pub(super) fn note(&self, job: &mut Job, message: impl Into<String>) -> Result<()> {
        if self.note_progress(&mut job.task, message)? {
            return Ok(());
        }
        Err(Error::Gone(format!("the task {} was ended by somebody else", job.task.id)))
    }

    /// Removes what a failed import has written, and says in the record what has become of it.
    ///
    /// An image that was being copied is as it was.  Another one that is interrupted, whose data
    /// could not be fetched, that a plugin did not take, or that no store would have is `queued`
    /// again; one whose staged data
    /// failed at a store stays `importing`, for good (Glance: so it is, and nothing is lost but the
    /// record).
    fn give_up(&self, job: &mut Job, failure: Failure, stop: Option<Stop>, stand: &mut Stand) {
        let (failed, error, mut queued) = match &failure {
            Failure::Early(error) => (job.stores.clone(), error.to_string(), false),
            Failure::Unprepared(error) => (job.stores.clone(), error.to_string(), true),
            Failure::At(store, error) => (vec![store.clone()], error.to_string(), false),
            Failure::Everywhere => (Vec::new(), "no store would have it".to_string(), true),
        };
        let fetched = job.method.is_fetched();
        queued |= fetched || stop.is_some();
        let failed = match (stop, fetched) {
            (Some(_), _) => Vec::new(),
            (None, true) => job.stores.clone(),
            (None, false) => failed,
        };
        warn!(image = %job.image, task = %job.task.id, error, "import failed");
        for stored in std::mem::take(&mut stand.stored) {
            stand.left_behind |= !stored.remove();
        }
        if stand.begun {
            stand.left_behind |= self.unstage(job.image).is_err();
        }
        let noted = self.alter_locked(job, |image| {
            merge_stores(image, IMPORTING_TO, self.named(&job.stores), false);
            merge_stores(image, FAILED_IMPORT, self.named(&failed), true);
            if queued && image.status == Status::Importing {
                image.status = Status::Queued;
                image.size = None;
            }
            Ok(())
        });
        if let Err(error) = noted {
            info!(image = %job.image, %error, "the record does not say that its import failed");
        }
        self.fail_task(&mut job.task, stop.map_or(INTERNAL_ERROR, Stop::words));
    }

    /// Gives the image back.
    pub(super) fn close(&self, job: &Job, left_behind: bool) {
        crash::point(Step::ImportEnded);
        let id = job.image;
        if let Err(error) = self.catalog.unlock_image(id, &job.task.id.to_string()) {
            warn!(image = %id, %error, "its import has ended and keeps it locked");
        }
        if left_behind {
            self.end_later(id, job.work());
        } else if let Err(error) = self.journal.end(id) {
            warn!(image = %id, %error, "journal");
        }
        self.changes.announce(&[id]);
    }

    /// The stores as properties name them: without `enabled_backends`, not at all.
    fn named<'s>(&self, stores: &'s [String]) -> &'s [String] {
        if self.options.enabled_backends.is_empty() { &[] } else { stores }
    }
}

fn nothing_written(error: Error) -> Failed {
    Failed { error, left_behind: false }
}

fn copied(bytes: u64) -> String {
    format!("Copied {} MiB", bytes >> 20)
}

/// Every copy of an image is the same, whichever store it is in.
fn same_as_recorded(image: &Image, stored: &Stored) -> Result<()> {
    let digests = &stored.digests;
    let differs = |recorded: &Option<String>, found: &String| {
        recorded.as_ref().is_some_and(|recorded| recorded != found)
    };
    let other_hash = image.os_hash_algo.as_ref() == Some(&digests.os_hash_algo)
        && differs(&image.os_hash_value, &digests.os_hash_value);
    if image.size.is_some_and(|size| size != stored.size)
        || differs(&image.checksum, &digests.checksum)
        || other_hash
    {
        return Err(Error::StoreUnavailable(format!(
            "the data of image {} is not what its record says",
            image.id
        )));
    }
    Ok(())
}
