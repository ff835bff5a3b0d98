//! Removing an image that has data: all or nothing, whenever it is cut short.
//!
//! The order: journal; the stores take the data out of offer (here clones in use refuse, and nothing
//! has changed); the record; the data.  A crash before the record went leaves the image, offered
//! again at the next start; a crash after it has the data removed then.
//!
//! Whoever has the image open here, by the mount or by a download, reads on: where the store cannot
//! do that, the data goes when the last of them has gone, or at the next start.  What cannot be
//! removed now is tried again (`recovery`).

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
        let work = Work::Removal { urls: urls.clone() };
        self.journal.begin(image.id, &work)?;
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
        self.readers.forget(image.id);
        if self.is_read_here(&urls) {
            info!(image = %image.id, "its data stays until its last reader has gone");
            self.end_later(image.id, work);
            return Ok(true);
        }
        if let Err(error) = self.remove_data(image, &urls) {
            warn!(image = %image.id, %error, "its data is not removed yet");
            self.end_later(image.id, work);
            return Ok(true);
        }
        crash::point(Step::DataDeleted);
        self.journal.end(image.id)?;
        Ok(true)
    }

    fn remove_data(&self, image: &Image, urls: &[String]) -> Result<()> {
        for url in urls {
            match self.store_of(url).map(|store| store.delete(url)) {
                Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => return Err(error),
                None => info!(image = %image.id, url, "data in no store of ours"),
            }
        }
        Ok(())
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
