//! Removing an image that has data: all or nothing, whenever it is cut short.
//!
//! The order: journal; the stores take the data out of offer (here clones in use refuse, and nothing
//! has changed); the record; the data.  A crash before the record went leaves the image, offered
//! again at the next start; a crash after it has the data removed then.

use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::journal::Work;
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};

impl Images {
    /// Deletes the record and the data; returns whether the record was still there.
    ///
    /// # Errors
    /// `InUse` when clones depend on the data, `StoreUnavailable` when that cannot be found out:
    /// nothing has changed then.
    pub(super) fn remove_with_data(&self, image: &Image) -> Result<bool> {
        let urls: Vec<String> = image.locations.iter().map(|place| place.url.clone()).collect();
        self.journal.begin(image.id, &Work::Removal { urls: urls.clone() })?;
        if let Err(error) = self.withdraw(image, &urls) {
            self.journal.end(image.id)?;
            return Err(error);
        }
        crash::point(Step::Withdrawn);
        let deleted = self.catalog.delete(image.id, Status::THERE);
        if !matches!(deleted, Ok(true)) {
            self.offer(image, &urls);
            self.journal.end(image.id)?;
            return deleted;
        }
        crash::point(Step::RecordDeleted);
        for url in &urls {
            match self.store_of(url).map(|store| store.delete(url)) {
                Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => {
                    // The record is gone: report, keep the journal entry, try at the next start.
                    warn!(image = %image.id, %error, "data is not removed yet");
                    return Ok(true);
                }
                None => info!(image = %image.id, url, "data in no store of ours"),
            }
        }
        crash::point(Step::DataDeleted);
        self.journal.end(image.id)?;
        Ok(true)
    }

    /// Takes all of an image's data out of offer, or none of it.
    fn withdraw(&self, image: &Image, urls: &[String]) -> Result<()> {
        for (index, url) in urls.iter().enumerate() {
            match self.store_of(url).map(|store| store.withdraw(url)) {
                None | Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => {
                    self.offer(image, urls.get(..index).unwrap_or_default());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn offer(&self, image: &Image, urls: &[String]) {
        for url in urls {
            match self.store_of(url).map(|store| store.offer(url)) {
                None | Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => warn!(image = %image.id, url, %error, "cannot be cloned now"),
            }
        }
    }
}
