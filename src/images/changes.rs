//! Telling the faces that an image is no longer what they remember.
//!
//! A face that keeps copies (the mount does, and the kernel behind it) registers itself here.  It
//! hears of every change: those made through `images` before the call that made them returns,
//! those of other processes on the same database within [`POLL`].

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::catalog::Catalog;
use crate::catalog::model::{ImageId, Timestamp};
use crate::error::Result;

/// How often the database is asked whether somebody else wrote to it.
pub const POLL: Duration = Duration::from_millis(250);

/// Records stamped this much before the newest one that was seen are looked at again: clocks of
/// several writers differ, and a transaction commits after it took its stamp.
const OVERLAP_MICROS: i64 = 30_000_000;

/// Something that shows images and remembers what it showed.
pub trait Face: Send + Sync {
    /// These images were made, altered or removed.  Returns once nobody can see an older state
    /// through this face, or a bounded time has passed.
    fn changed(&self, ids: &[ImageId]);

    /// Somebody is about to look at the catalog: show what is ready to be shown.
    fn settle(&self);
}

/// The faces to be told.
#[derive(Default)]
pub struct Changes {
    faces: RwLock<Vec<Weak<dyn Face>>>,
}

impl Changes {
    /// Tells `face` of changes from now on, for as long as it lives.
    pub fn register(&self, face: &Arc<dyn Face>) {
        self.faces.write().push(Arc::downgrade(face));
    }

    /// Passes a change on.
    pub fn announce(&self, ids: &[ImageId]) {
        if !ids.is_empty() {
            self.each(|face| face.changed(ids));
        }
    }

    /// Has every face show what is ready to be shown.
    pub fn settle(&self) {
        self.each(|face| face.settle());
    }

    fn each(&self, act: impl Fn(&dyn Face)) {
        // Copied, so that no lock is held while a face does I/O.
        let faces: Vec<_> = self.faces.read().iter().filter_map(Weak::upgrade).collect();
        for face in faces {
            act(&*face);
        }
    }
}

/// Follows what other processes write to the catalog.
pub struct ForeignChanges {
    counter: i64,
    /// When the counter last moved.  Until stamps of that moment must differ from later ones, it
    /// may stand for further changes.
    moved: Instant,
    newest: Timestamp,
    /// Stamps within the overlap that were reported already, and since when.
    reported: HashMap<ImageId, (Timestamp, Instant)>,
    /// What was known of the members of images.
    sharings: Arc<HashMap<ImageId, u64>>,
}

impl ForeignChanges {
    /// Starts from the catalog as it is now.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub fn from_now(catalog: &dyn Catalog) -> Result<Self> {
        let counter = catalog.change_counter()?;
        let newest = catalog.summary()?.newest.unwrap_or(Timestamp::from_micros(0));
        let sharings = catalog.sharings()?;
        let (moved, reported) = (Instant::now(), HashMap::new());
        let mut follower = Self { counter, moved, newest, reported, sharings };
        follower.changed(catalog)?;
        Ok(follower)
    }

    /// Images that somebody else changed since the last call; there may be others, which we did.
    ///
    /// # Errors
    /// When the catalog cannot be asked; the next call catches up.
    pub fn poll(&mut self, catalog: &dyn Catalog) -> Result<Vec<ImageId>> {
        let counter = catalog.change_counter()?;
        if counter == self.counter && self.moved.elapsed() > 2 * catalog.stamp_resolution() {
            return Ok(Vec::new());
        }
        let mut fresh = self.changed(catalog)?;
        let sharings = catalog.sharings()?;
        let ids = sharings.keys().chain(self.sharings.keys());
        fresh.extend(ids.filter(|id| sharings.get(id) != self.sharings.get(id)));
        fresh.sort_unstable();
        fresh.dedup();
        self.sharings = sharings;
        if counter != self.counter {
            (self.counter, self.moved) = (counter, Instant::now());
        }
        Ok(fresh)
    }

    /// Images whose stamps are new, or so young that they may stand for a second change.
    fn changed(&mut self, catalog: &dyn Catalog) -> Result<Vec<ImageId>> {
        let young = 2 * catalog.stamp_resolution();
        let stamped = catalog.changed_since(self.horizon())?;
        let newest = stamped.iter().map(|(_, stamp)| *stamp).max();
        self.newest = newest.map_or(self.newest, |stamp| stamp.max(self.newest));
        let horizon = self.horizon();
        let (mut fresh, mut reported) = (Vec::new(), HashMap::new());
        for (id, stamp) in stamped {
            let known = self.reported.get(&id).filter(|(reported, _)| *reported == stamp);
            if known.is_none_or(|(_, since)| since.elapsed() < young) {
                fresh.push(id);
            }
            if stamp >= horizon {
                let since = known.map_or_else(Instant::now, |(_, since)| *since);
                reported.insert(id, (stamp, since));
            }
        }
        self.reported = reported;
        Ok(fresh)
    }

    /// A stamp from the future, by a clock that is wrong, must not hide all that is done until then.
    fn horizon(&self) -> Timestamp {
        let newest = self.newest.min(Timestamp::now());
        Timestamp::from_micros(newest.as_micros().saturating_sub(OVERLAP_MICROS))
    }
}
