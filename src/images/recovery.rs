//! Undoing what a crash interrupted.
//!
//! The journal lists what this daemon had begun; nothing else is touched.  Doing it twice does no
//! harm, so a crash during recovery is just another crash.

use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::journal::{Entry, Work};
use crate::catalog::model::{ImageId, Status, Timestamp};
use crate::error::{Error, Result};

impl Images {
    /// Undoes everything that the journal lists.
    pub(super) fn recover(&self) -> Result<()> {
        for entry in self.journal.entries()? {
            match self.undo(&entry) {
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

    fn undo(&self, entry: &Entry) -> Result<()> {
        let id = entry.id;
        let record = self.catalog.get(id)?;
        if record.as_ref().is_some_and(|image| image.status.has_data()) {
            // The crash came after the image was complete.
            return Ok(());
        }
        info!(image = %id, work = ?entry.work, "undoing what a crash interrupted");
        for store in &self.stores {
            store.discard(id)?;
        }
        crash::point(Step::Discarded);
        match (record, entry.work) {
            (Some(_), Some(work)) => self.undo_record(id, work),
            _ => Ok(()),
        }
    }

    /// Puts the record of an upload that will not be completed back to where it was.
    pub(super) fn undo_record(&self, id: ImageId, work: Work) -> Result<()> {
        match work {
            Work::Draft => {
                self.catalog.delete(id, &[Status::Queued, Status::Saving])?;
            }
            Work::Upload => {
                if let Some(saving) = self.catalog.get(id)? {
                    let mut queued = saving.clone();
                    queued.status = Status::Queued;
                    queued.updated_at = Timestamp::now();
                    self.catalog.save(&saving, &queued, &[Status::Saving])?;
                }
            }
            Work::Removal => {}
        }
        Ok(())
    }
}
