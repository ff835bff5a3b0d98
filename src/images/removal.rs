//! Removing data that an image has: the whole image or one of its locations, all or nothing,
//! whenever it is cut short.
//!
//! The order: journal; the stores take the data out of offer (here clones in use refuse, and nothing
//! has changed); the record; the data.  A crash before the record was changed leaves the data, offered
//! again at the next start; a crash after it has the data removed then.
//!
//! Whoever has the image open here, by the mount or by a download, reads on: where the store cannot
//! do that, the data goes when the last of them has gone, or at the next start.  What cannot be
//! removed now is tried again (`recovery`).
//!
//! Data that another image has a location for is never touched.  Nothing here makes two images share
//! data (`locations`), but a Glance on the same database may.

use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::events::Event;
use super::journal::Work;
use super::policy::Action;
use crate::catalog::model::{Image, ImageId, Status};
use crate::error::{Error, Result};
use crate::identity::RequestContext;

impl Images {
    /// Removes an image and its data; with `delayed_delete`, its data later.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Immutable` for a protected one, `InUse`.
    pub fn delete(&self, ctx: &RequestContext, id: ImageId) -> Result<()> {
        let missing = || Error::NotFound(format!("Failed to find image {id} to delete"));
        let or_missing = |found: Result<Image>| match found {
            Err(Error::NotFound(_)) => Err(missing()),
            found => found,
        };
        let image = or_missing(self.find(ctx, id))?;
        self.policy().check_image(ctx, Action::DeleteImage, &image)?;
        if image.protected {
            return Err(Error::Immutable(format!(
                "Image {id} is protected and cannot be deleted."
            )));
        }
        let image = or_missing(self.without_import(ctx, image))?;
        let mut status = Status::Deleted;
        let done = if image.locations.is_empty() {
            // An upload in progress finds its record gone, and removes its own data.
            let done = self.catalog.delete(id, Status::THERE)?;
            if done {
                self.forget_staged(&image);
            }
            done
        } else if self.options.scrub.delayed_delete && image.status.has_data() {
            status = Status::PendingDelete;
            self.delete_later(&image)?
        } else {
            self.remove_with_data(&image)?
        };
        done.then_some(()).ok_or_else(missing)?;
        self.changes.announce(&[id]);
        self.events.tell(Event::Deleted(&Image { status, ..image }));
        Ok(())
    }

    /// Deletes the record and the data; returns whether the record was still there.
    ///
    /// # Errors
    /// `InUse` when clones depend on the data, `StoreUnavailable` when that cannot be found out:
    /// nothing has changed then.
    pub(super) fn remove_with_data(&self, image: &Image) -> Result<bool> {
        let urls = image.locations.iter().map(|place| place.url.clone()).collect();
        self.remove_after(image.id, urls, || self.catalog.delete(image.id, Status::THERE))
    }

    /// Changes the record from `old` to `new` and removes the data of the locations that `new` does
    /// not have; returns whether the record was still as it was.
    ///
    /// # Errors
    /// As [`remove_with_data`](Self::remove_with_data); `Conflict` when the image's data is being
    /// written or removed.
    pub(super) fn remove_locations(&self, old: &Image, new: &Image) -> Result<bool> {
        let gone = gone(old, new);
        self.remove_after(old.id, gone, || {
            // Others of this process were kept out by the journal since before this look.
            let as_it_was = self.catalog.get(old.id)?.is_some_and(|now| same_places(&now, old));
            Ok(as_it_was && self.catalog.save(old, new, &[old.status])?)
        })
    }

    /// Removes data once `change` has had the record name it no more; returns what `change` does,
    /// which is whether it did that.
    pub(super) fn remove_after(
        &self,
        id: ImageId,
        urls: Vec<String>,
        change: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let work = Work::Removal { urls: urls.clone() };
        self.journal.begin(id, &work)?;
        let withdrawn = self.own(id, urls).and_then(|urls| self.withdraw(id, &urls).map(|()| urls));
        let urls = match withdrawn {
            Ok(urls) => urls,
            Err(error) => {
                self.journal.end(id)?;
                return Err(error);
            }
        };
        crash::point(Step::Withdrawn);
        let changed = change();
        if changed.as_ref().is_err_and(Error::leaves_unsettled) {
            // Whether the record still names the data is asked once the catalog answers.
            self.end_later(id, work);
            return changed;
        }
        if !matches!(changed, Ok(true)) {
            self.offer_unless_gone(id, &urls);
            self.journal.end(id)?;
            return changed;
        }
        crash::point(Step::RecordDeleted);
        self.readers.forget(id);
        if self.is_read_here(&urls) {
            info!(image = %id, "its data stays until its last reader has gone");
            self.end_later(id, work);
            return Ok(true);
        }
        if let Err(error) = self.remove_data(id, &urls) {
            warn!(image = %id, %error, "its data is not removed yet");
            self.end_later(id, work);
            return Ok(true);
        }
        crash::point(Step::DataDeleted);
        self.journal.end(id)?;
        Ok(true)
    }

    /// Those of the URLs whose data is no other image's, too.
    fn own(&self, id: ImageId, urls: Vec<String>) -> Result<Vec<String>> {
        let mut own = Vec::new();
        for url in urls {
            if self.is_others(id, &url)? {
                info!(image = %id, url, "its data stays: another image has it, too");
            } else {
                own.push(url);
            }
        }
        Ok(own)
    }

    fn remove_data(&self, id: ImageId, urls: &[String]) -> Result<()> {
        for url in self.own(id, urls.to_vec())? {
            match self.store_of(&url).map(|store| store.delete(&url)) {
                Some(Ok(()) | Err(Error::NotFound(_))) => {}
                // It never could; Glance: the record goes all the same.
                Some(Err(Error::Unsupported(_))) => info!(image = %id, url, "stays in its store"),
                Some(Err(error)) => return Err(error),
                None => info!(image = %id, url, "data in no store of ours"),
            }
        }
        Ok(())
    }

    /// Takes all of an image's data out of offer, or none of it.
    fn withdraw(&self, id: ImageId, urls: &[String]) -> Result<()> {
        for (index, url) in urls.iter().enumerate() {
            match self.store_of(url).map(|store| store.withdraw(url)) {
                None | Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => {
                    self.offer(id, urls.get(..index).unwrap_or_default());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whoever was faster removes the data, and would stumble over an offer.
    fn offer_unless_gone(&self, id: ImageId, urls: &[String]) {
        if !matches!(self.catalog.get(id), Ok(None)) {
            self.offer(id, urls);
        }
    }

    pub(super) fn offer(&self, id: ImageId, urls: &[String]) {
        for url in urls {
            match self.store_of(url).map(|store| store.offer(url)) {
                None | Some(Ok(()) | Err(Error::NotFound(_))) => {}
                Some(Err(error)) => warn!(image = %id, url, %error, "cannot be cloned now"),
            }
        }
    }
}

/// URLs of the locations that a change takes away.
pub(super) fn gone(old: &Image, new: &Image) -> Vec<String> {
    let stays = |url: &str| new.locations.iter().any(|place| place.url == url);
    let urls = old.locations.iter().map(|place| &place.url);
    urls.filter(|url| !stays(url)).cloned().collect()
}

fn same_places(one: &Image, other: &Image) -> bool {
    let urls = |image: &Image| -> Vec<String> {
        image.locations.iter().map(|place| place.url.clone()).collect()
    };
    urls(one) == urls(other)
}
