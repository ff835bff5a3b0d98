//! Telling the faces that an image is no longer what they remember.
//!
//! A face that keeps copies (the mount does, and the kernel behind it) registers itself here.  It
//! hears of every change: those made through `images` before the call that made them returns,
//! those of other processes on the same database within [`POLL`].

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;

use crate::catalog::Catalog;
use crate::catalog::model::{ImageId, Timestamp};
use crate::error::Result;

/// How often the database is asked whether somebody else wrote to it.
pub const POLL: Duration = Duration::from_millis(250);

/// Records stamped this much before the newest one that was seen are looked at again: clocks of
/// several writers differ, and a transaction commits after it took its stamp.
const OVERLAP_MICROS: i64 = 10_000_000;

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
    newest: Timestamp,
    /// Stamps within the overlap that were reported already.
    reported: HashSet<(ImageId, Timestamp)>,
}

impl ForeignChanges {
    /// Starts from the catalog as it is now.
    ///
    /// # Errors
    /// When the catalog cannot be asked.
    pub fn from_now(catalog: &dyn Catalog) -> Result<Self> {
        let counter = catalog.change_counter()?;
        let newest = catalog.summary()?.newest.unwrap_or(Timestamp::from_micros(0));
        let mut follower = Self { counter, newest, reported: HashSet::new() };
        follower.reported = catalog.changed_since(follower.horizon())?.into_iter().collect();
        Ok(follower)
    }

    /// Images that somebody else changed since the last call.
    ///
    /// # Errors
    /// When the catalog cannot be asked; the next call catches up.
    pub fn poll(&mut self, catalog: &dyn Catalog) -> Result<Vec<ImageId>> {
        let counter = catalog.change_counter()?;
        if counter == self.counter {
            return Ok(Vec::new());
        }
        let stamped = catalog.changed_since(self.horizon())?;
        let news = stamped.iter().filter(|change| !self.reported.contains(change));
        let mut fresh: Vec<ImageId> = news.map(|(id, _)| *id).collect();
        fresh.sort_unstable();
        fresh.dedup();
        let newest = stamped.iter().map(|(_, stamp)| *stamp).max();
        self.newest = newest.map_or(self.newest, |stamp| stamp.max(self.newest));
        let horizon = self.horizon();
        self.reported = stamped.into_iter().filter(|(_, stamp)| *stamp >= horizon).collect();
        self.counter = counter;
        Ok(fresh)
    }

    fn horizon(&self) -> Timestamp {
        Timestamp::from_micros(self.newest.as_micros().saturating_sub(OVERLAP_MICROS))
    }
}
