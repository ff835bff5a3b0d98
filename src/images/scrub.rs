//! Deleted images whose data is still there: it is removed when its time has come (scrubbed), or the
//! image is brought back before that.
//!
//! Glance: `delayed_delete` and `glance-scrubber`, which may work on the same catalog.  The record of
//! an image is changed first, by whoever is first, and only who did that removes the data: several
//! scrubbers never do the same twice, and what one of them has begun nobody brings back.  From there on
//! it is a removal like any other (`removal`), crashes included.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::Images;
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::catalog::pending::{Pending, PendingQuery};
use crate::error::{Error, Result};
use crate::store::Purged;

/// How long the number of images that wait is taken for true.
const COUNT_KNOWN_FOR: Duration = Duration::from_secs(10);

/// What is done with the data of deleted images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Whether it stays at first (`delayed_delete`).
    pub delayed_delete: bool,
    /// For how long (`scrub_time`).
    pub scrub_time: Duration,
    /// Images that are scrubbed at a time (`scrub_pool_size`).
    pub at_once: usize,
    /// How long what a store could only set aside stays there, `None` for ever
    /// (`[glancefs] purge_trash_after`).
    pub purge_trash_after: Option<Duration>,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        let scrub_time = Duration::ZERO;
        Self { delayed_delete: false, scrub_time, at_once: 1, purge_trash_after: None }
    }
}

/// A place in the order in which images were deleted.
pub type Place = (Timestamp, ImageId);

/// An image whose data was due, and what became of it: `false` when somebody else was faster.
#[derive(Debug)]
pub struct Scrubbed {
    /// The image.
    pub image: Pending,
    /// Its data is gone, or goes as soon as its last reader or its store lets it; or why it stays.
    pub outcome: Result<bool>,
}

/// The number of images that wait, as it was known last.
#[derive(Default)]
pub(super) struct PendingCount(Mutex<Option<(Instant, u64)>>);

impl Images {
    /// Deletes the record of an image that is complete, and leaves the data to whoever scrubs it; returns
    /// whether it was there.
    pub(super) fn delete_later(&self, image: &Image) -> Result<bool> {
        let done = self.catalog.delete_later(image.id, Status::WITH_DATA)?;
        self.pending_count.forget();
        Ok(done)
    }

    /// Deleted images whose data is still there, in the order in which they were deleted.
    ///
    /// # Errors
    /// The catalog's.
    pub fn pending(&self, after: Option<Place>, limit: u32) -> Result<Vec<Pending>> {
        self.catalog.pending(&PendingQuery { until: Timestamp::LAST, after, limit })
    }

    /// When an image's data is to be removed.
    pub fn due_at(&self, image: &Pending) -> Timestamp {
        moved(image.deleted_at, micros(self.options.scrub.scrub_time))
    }

    /// How many there are, as it was a few seconds ago.
    pub fn pending_count(&self) -> u64 {
        if let Some(count) = self.pending_count.known() {
            return count;
        }
        self.catalog.pending_count().map_or(0, |count| self.pending_count.is(count))
    }

    /// Removes the data of images for which it is due, a few at a time; at most of `limit` images, the
    /// first of those that were deleted `after` a place.  `told` hears of each, and may
    /// say that there is enough.  Returns where it got to, unless that is the end.
    ///
    /// # Errors
    /// The catalog's; what cannot be done for one image is told.
    pub fn scrub(
        &self,
        after: Option<Place>,
        limit: u32,
        told: &(dyn Fn(Scrubbed) -> bool + Sync),
    ) -> Result<Option<Place>> {
        let until = moved(Timestamp::now(), -micros(self.options.scrub.scrub_time));
        let mut due = self.catalog.pending(&PendingQuery { until, after, limit })?;
        let last = due.last().map(|image| (image.deleted_at, image.id));
        let there_may_be_more = due.len() as u64 >= u64::from(limit);
        let at_once = self.options.scrub.at_once.min(due.len());
        // Each scrubber in an order of its own: two that look at the same image are in each other's way.
        let order = RandomState::new();
        due.sort_by_cached_key(|image| order.hash_one(image.id));
        let queue = Mutex::new(due.into_iter());
        let next = || queue.lock().next();
        let work = || {
            while let Some(image) = next() {
                let outcome = self.scrub_one(&image);
                if !told(Scrubbed { image, outcome }) {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..at_once {
                // Without a thread, the others do its work.
                let _ = thread::Builder::new().name("scrub".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        self.pending_count.forget();
        Ok(last.filter(|_| there_may_be_more))
    }

    fn scrub_one(&self, image: &Pending) -> Result<bool> {
        let Some((now, urls)) = self.catalog.pending_image(image.id)? else { return Ok(false) };
        if now != *image {
            return Ok(false);
        }
        self.check_stores(&urls)?;
        match self.remove_after(image.id, urls, || self.catalog.end_pending(image)) {
            // Somebody is at it in this very process.
            Err(Error::Conflict(_)) => Ok(false),
            // Or was, in another.
            Err(_) if self.catalog.pending_image(image.id)?.is_none() => Ok(false),
            outcome => outcome,
        }
    }

    /// Data in a store that is not configured here would be left behind for ever.
    fn check_stores(&self, urls: &[String]) -> Result<()> {
        let lost = |url: &&String| self.store_of(url).is_none() && !is_web(url);
        let Some(url) = urls.iter().find(lost) else { return Ok(()) };
        // Not the URL: those of some stores hold a password.
        let scheme = url.split("://").next().unwrap_or_default();
        Err(Error::StoreUnavailable(format!(
            "its data ({scheme}://) is in no store that is configured here: configure it, or have \
             glance-scrubber remove it"
        )))
    }

    /// Brings a deleted image back, active, as it was when it was deleted.
    ///
    /// # Errors
    /// `NotFound` when there never was such an image; `Conflict` when it is not deleted, `Gone` when
    /// its data is; the store's when that cannot be found out.
    pub fn restore(&self, id: ImageId) -> Result<Image> {
        let Some((pending, urls)) = self.catalog.pending_image(id)? else {
            return Err(self.not_pending(id)?);
        };
        let there = self.still_there(id, urls)?;
        if there.is_empty() {
            return Err(Error::Gone(format!(
                "image {id} cannot be brought back: its data is gone"
            )));
        }
        if !self.catalog.restore(&pending, &there)? {
            return Err(Error::Conflict(format!(
                "image {id} is just being scrubbed, or brought back by somebody else"
            )));
        }
        self.pending_count.forget();
        // A scrubber may have got as far as this.
        self.offer(id, &there);
        info!(image = %id, "a deleted image was brought back");
        self.changes.announce(&[id]);
        self.catalog.get(id)?.ok_or_else(|| Error::no_image(id))
    }

    fn not_pending(&self, id: ImageId) -> Result<Error> {
        if let Some(image) = self.catalog.get(id)? {
            return Ok(Error::Conflict(format!(
                "image {id} is not deleted: its status is {}",
                image.status
            )));
        }
        Ok(match self.catalog.is_deleted(id)? {
            true => Error::Gone(format!(
                "image {id} cannot be brought back: its data was removed when it was deleted, or \
                 has been since"
            )),
            false => Error::NotFound(format!("there is no image {id}, and was none")),
        })
    }

    /// Those of the URLs at which there is data.
    fn still_there(&self, id: ImageId, urls: Vec<String>) -> Result<Vec<String>> {
        let mut there = Vec::new();
        for url in urls {
            match self.store_of(&url).map(|store| store.open(&url)) {
                Some(Err(Error::NotFound(_))) => warn!(image = %id, url, "there is no data"),
                Some(Err(error)) => return Err(error),
                // Of what is in no store of ours nobody can tell.
                Some(Ok(_)) | None => there.push(url),
            }
        }
        Ok(there)
    }

    /// Removes for good what the stores could only set aside when it was deleted, where that is wanted,
    /// long enough ago, and nobody needs it any more.  Says of each what came of it.
    pub fn purge_trash(&self) -> Vec<Purged> {
        let Some(age) = self.options.scrub.purge_trash_after else { return Vec::new() };
        let is_ours = |id| self.catalog.is_deleted(id);
        let mut purged = Vec::new();
        for store in &self.stores {
            match store.purge_trash(age, &is_ours) {
                Ok(some) => purged.extend(some),
                Err(error) => warn!(store = store.name(), %error, "its trash is not looked at"),
            }
        }
        purged
    }
}

/// Whether data is somewhere on the web, where nobody can remove it.  Glance: the store `http`.
fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn moved(time: Timestamp, micros: i64) -> Timestamp {
    let moved = Timestamp::from_micros(time.as_micros().saturating_add(micros));
    moved.clamp(Timestamp::from_micros(0), Timestamp::LAST)
}

impl PendingCount {
    fn known(&self) -> Option<u64> {
        let known = *self.0.lock();
        known.filter(|(since, _)| since.elapsed() < COUNT_KNOWN_FOR).map(|(_, count)| count)
    }

    fn is(&self, count: u64) -> u64 {
        *self.0.lock() = Some((Instant::now(), count));
        count
    }

    fn forget(&self) {
        *self.0.lock() = None;
    }
}
