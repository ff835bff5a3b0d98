//! Undoing what a crash interrupted, and finishing what could not be finished.
//!
//! The journal lists what this daemon had begun; nothing else is touched.  Doing it twice does no
//! harm, so a crash during recovery is just another crash.  What needs only this machine's disks is
//! done before anything is served.  What needs a distant store is done in the background
//! ([`Backlog`]), as often as it takes, so that nobody waits for a store that does not answer; until
//! then the record stays `saving`, and the entry in the journal.

mod backlog;

use std::sync::Arc;

use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::journal::{Entry, Work};
use crate::catalog::model::{ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::store::Store;
pub(super) use backlog::Backlog;

impl Images {
    /// Undoes what the journal lists, or leaves it to the backlog.
    pub(super) fn recover(&self) -> Result<()> {
        let mut later = Vec::new();
        for entry in self.journal.entries()? {
            if let Some(Work::Location { task }) = &entry.work
                && self.resume_location(entry.id, task)?
            {
                continue;
            }
            if self.is_distant(&entry) {
                later.push(entry);
                continue;
            }
            match self.settle(&entry, &mut Vec::new()) {
                // One store that is away must not keep the others' images from being served.
                Err(error @ Error::StoreUnavailable(_)) => {
                    warn!(image = %entry.id, %error, "what was interrupted is left for later");
                    later.push(entry);
                }
                outcome => outcome?,
            }
        }
        self.backlog.add(&self.this, later);
        self.sweep_staging()
    }

    /// Leaves work that could not be ended to the backlog; its entry is in the journal.
    pub(super) fn end_later(&self, id: ImageId, work: Work) {
        self.backlog.add(&self.this, vec![Entry { id, work: Some(work) }]);
    }

    /// How much is left to be undone or finished.
    pub fn unfinished(&self) -> usize {
        self.backlog.len()
    }

    /// Whether this may have to wait for the network.
    fn is_distant(&self, entry: &Entry) -> bool {
        match &entry.work {
            None | Some(Work::Stage | Work::Location { .. }) => false,
            Some(Work::Import { stores, .. }) => stores.iter().any(|name| self.is_far(name)),
            Some(Work::Draft { store } | Work::Upload { store }) => self.is_far(store),
            Some(Work::Removal { urls }) => urls.iter().any(|url| !self.is_local(url)),
        }
    }

    fn is_far(&self, store: &str) -> bool {
        self.stores.iter().any(|other| other.name() == store && !other.is_local())
    }

    /// Undoes or finishes what an entry says, and the entry with it.  `away` are the stores that did
    /// not answer: each is waited for only once.
    fn settle(&self, entry: &Entry, away: &mut Vec<String>) -> Result<()> {
        self.undo(entry, away)?;
        crash::point(Step::Undone);
        self.journal.end(entry.id)
    }

    fn undo(&self, entry: &Entry, away: &mut Vec<String>) -> Result<()> {
        let id = entry.id;
        let Some(work) = &entry.work else { return Ok(()) };
        match work {
            Work::Stage => return self.undo_staging(id),
            // What could not be taken up again was ended.
            Work::Location { .. } => return Ok(()),
            Work::Import { task, stores, .. } => return self.undo_import(id, task, stores, away),
            Work::Removal { urls } => return self.undo_removal(id, urls, away),
            _ => {}
        }
        let record = self.catalog.get(id)?;
        let complete = record.filter(|image| image.status.has_data());
        match (work, complete) {
            // The crash came after the image was complete.
            (_, Some(_)) => Ok(()),
            (Work::Draft { store } | Work::Upload { store }, None) => {
                self.at_store(store, away, |store| store.discard(id))?;
                info!(image = %id, ?work, "an unfinished upload is undone");
                crash::point(Step::Discarded);
                self.undo_record(id, work)
            }
            (_, None) => Ok(()),
        }
    }

    /// Data that the record still names stays, and is offered again: the crash came before it was
    /// changed.  So does what waits to be scrubbed, which will be begun anew.  Other data goes.
    fn undo_removal(&self, id: ImageId, urls: &[String], away: &mut Vec<String>) -> Result<()> {
        let record = self.catalog.get(id)?;
        let places = record.iter().flat_map(|image| &image.locations);
        let waiting = self.catalog.pending_image(id)?.map_or_else(Vec::new, |(_, urls)| urls);
        let waiting = waiting.iter().map(String::as_str);
        let named: Vec<&str> = places.map(|place| place.url.as_str()).chain(waiting).collect();
        for url in urls {
            if named.contains(&url.as_str()) {
                info!(image = %id, url, "its removal was interrupted before it began");
                self.at_store_of(url, away, |store| store.offer(url))?;
            } else if !self.is_others(id, url)? {
                self.at_store_of(url, away, |store| store.delete(url))?;
                info!(image = %id, url, "what was left of removed data is removed");
            }
        }
        crash::point(Step::Discarded);
        Ok(())
    }

    /// Does something at the store that holds a URL; what is gone, or in no store of ours, is done.
    fn at_store_of(
        &self,
        url: &str,
        away: &mut Vec<String>,
        act: impl FnOnce(&dyn Store) -> Result<()>,
    ) -> Result<()> {
        let Some(store) = self.store_of(url) else { return Ok(()) };
        self.at_store(store.name(), away, act)
    }

    pub(super) fn at_store(
        &self,
        name: &str,
        away: &mut Vec<String>,
        act: impl FnOnce(&dyn Store) -> Result<()>,
    ) -> Result<()> {
        let unavailable = |why: &str| Error::StoreUnavailable(format!("store {name} {why}"));
        if away.iter().any(|other| other == name) {
            return Err(unavailable("does not answer"));
        }
        let store: Option<&Arc<dyn Store>> = self.stores.iter().find(|store| store.name() == name);
        let store = store.ok_or_else(|| unavailable("is not configured"))?;
        match act(&**store) {
            Ok(()) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => {
                if matches!(error, Error::StoreUnavailable(_)) {
                    away.push(name.to_owned());
                }
                Err(error)
            }
        }
    }

    /// Puts the record of an upload that will not be completed back to where it was.
    pub(super) fn undo_record(&self, id: ImageId, work: &Work) -> Result<()> {
        match work {
            Work::Draft { .. } => {
                self.catalog.delete(id, &[Status::Queued, Status::Saving])?;
            }
            Work::Upload { .. } => {
                if let Some(saving) = self.catalog.get(id)? {
                    let mut queued = saving.clone();
                    queued.status = Status::Queued;
                    queued.updated_at = Timestamp::now();
                    self.catalog.save(&saving, &queued, &[Status::Saving])?;
                }
            }
            Work::Removal { .. } | Work::Stage | Work::Import { .. } | Work::Location { .. } => {}
        }
        Ok(())
    }
}
