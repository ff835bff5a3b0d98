//! The end of an upload: what is undone of one that was not published, and who is told.

use std::sync::Arc;

use tracing::warn;

use super::Upload;
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};
use crate::images::events::Event;
use crate::images::journal::Work;
use crate::telemetry::metrics;

impl Upload {
    /// A file that is given up was not refused: it is only gone.
    fn tell_failed(&self) {
        let broken_off = matches!(self.work, Work::Upload { .. }).then_some("the upload broke off");
        if let Some(why) = self.refused.as_deref().or(broken_off) {
            self.images.events.tell(Event::UploadFailed { image: self.recorded.id, why });
        }
    }

    fn tell_undone(&self) {
        if matches!(self.work, Work::Draft { .. }) {
            let gone = Image { status: Status::Deleted, ..self.image.clone() };
            self.images.events.tell(Event::Deleted(&gone));
        } else {
            self.images.tell_updated(self.recorded.id);
        }
    }

    /// Removes the data and puts the record back.
    fn undo(&mut self) -> Result<()> {
        // If the record names the data, it stays: to be asked once the catalog answers.
        if let Some(reason) = &self.unsettled {
            return Err(Error::Catalog(reason.clone()));
        }
        // What has failed would only fail again, and whoever writes waits for it.
        if let Some(reason) = &self.failed
            && !self.store.is_local()
        {
            return Err(Error::StoreUnavailable(reason.clone()));
        }
        // A store that could not remove it by itself is heard here.  Data that was there before us
        // is somebody else's.
        if self.holds_data {
            self.store.discard(self.recorded.id)?;
        }
        self.images.undo_record(self.recorded.id, &self.work)
    }

    /// Ends the work: from here on the upload exists nowhere but in memory.
    pub(super) fn close(&mut self) {
        self.images.uploads.lock().retain(|other| !Arc::ptr_eq(other, &self.progress));
        if let Err(error) = self.images.journal.end(self.recorded.id) {
            warn!(image = %self.recorded.id, %error, "journal");
        }
        self.writer = None;
        self.ended = true;
    }
}

impl Drop for Upload {
    /// Removes the data and puts the record back, unless the image was published.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let id = self.recorded.id;
        metrics::upload_ended(self.store.name(), None);
        self.tell_failed();
        // The data first: while the record says `saving` nobody else may start.
        self.writer = None;
        if let Err(error) = self.undo() {
            warn!(image = %id, %error, "an unfinished upload is undone later");
            self.images.uploads.lock().retain(|other| !Arc::ptr_eq(other, &self.progress));
            self.images.end_later(id, self.work.clone());
            return;
        }
        self.close();
        self.images.changes.announce(&[id]);
        self.tell_undone();
    }
}
