//! Undoing what a crash interrupted.
//!
//! The journal lists what this daemon had begun; nothing else is touched.  Doing it twice does no
//! harm, so a crash during recovery is just another crash.

use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::journal::{Entry, Work};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};

impl Images {
    /// Undoes everything that the journal lists.
    pub(super) fn recover(&self) -> Result<()> {
        // Stores that did not answer: each is waited for only once.
        let mut away = Vec::new();
        for entry in self.journal.entries()? {
            match self.undo(&entry, &mut away) {
                Ok(()) => {
                    crash::point(Step::Undone);
                    self.journal.end(entry.id)?;
                }
                // One store that is away must not keep the others' images from being served.
                Err(error @ Error::StoreUnavailable(_)) => {
                    warn!(image = %entry.id, %error, "left for the next start");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn undo(&self, entry: &Entry, away: &mut Vec<String>) -> Result<()> {
        let id = entry.id;
        let Some(work) = &entry.work else { return Ok(()) };
        let record = self.catalog.get(id)?;
        let complete = record.filter(|image| image.status.has_data());
        match (work, complete) {
            (Work::Removal { urls }, Some(image)) => self.offer_again(&image, urls, away),
            // The crash came after the image was complete.
            (_, Some(_)) => Ok(()),
            (Work::Removal { urls }, None) => {
                info!(image = %id, "removing what a crash left of a deleted image");
                for url in urls {
                    self.at_store_of(url, away, |store| store.delete(url))?;
                }
                crash::point(Step::Discarded);
                Ok(())
            }
            (Work::Draft { store } | Work::Upload { store }, None) => {
                info!(image = %id, ?work, "undoing what a crash interrupted");
                self.at_store(store, away, |store| store.discard(id))?;
                crash::point(Step::Discarded);
                self.undo_record(id, work)
            }
        }
    }

    /// The crash came before the record was deleted: the image stays, as it was.
    fn offer_again(&self, image: &Image, urls: &[String], away: &mut Vec<String>) -> Result<()> {
        info!(image = %image.id, "its removal was interrupted before it began");
        for url in urls {
            self.at_store_of(url, away, |store| store.offer(url))?;
        }
        Ok(())
    }

    /// Does something at the store that holds a URL; what is gone, or in no store of ours, is done.
    fn at_store_of(
        &self,
        url: &str,
        away: &mut Vec<String>,
        act: impl FnOnce(&dyn crate::store::Store) -> Result<()>,
    ) -> Result<()> {
        let Some(store) = self.store_of(url) else { return Ok(()) };
        self.at_store(store.name(), away, act)
    }

    fn at_store(
        &self,
        name: &str,
        away: &mut Vec<String>,
        act: impl FnOnce(&dyn crate::store::Store) -> Result<()>,
    ) -> Result<()> {
        let unavailable = |why: &str| Error::StoreUnavailable(format!("store {name} {why}"));
        if away.iter().any(|other| other == name) {
            return Err(unavailable("does not answer"));
        }
        let store = self.stores.iter().find(|store| store.name() == name);
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
            Work::Removal { .. } => {}
        }
        Ok(())
    }
}
