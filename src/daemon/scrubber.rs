//! Scrubbing in the background: every so often the data of deleted images is removed for which it is
//! due, and what lies in the trash of a store for long enough.
//!
//! A bounded number of images is looked at each time, and the next goes on from there.  It may end with
//! the process at any moment: what it was at is in the journal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use super::rounds::Rounds;
use crate::catalog::model::ImageId;
use crate::config::scrubbing::Scrubbing;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::images::scrub::{Place, Scrubbed};

/// Images that are looked at in one round.
const ROUND: u32 = 1000;

/// Until the next one, when there may be more.
const BREATH: Duration = Duration::from_secs(1);

/// Starts it, if there is anything for it to do.
///
/// # Errors
/// `Io` when there can be no thread.
pub(super) fn start(images: &Arc<Images>, wanted: &Scrubbing) -> Result<Option<Rounds>> {
    if !wanted.in_background && wanted.purge_trash_after.is_none() {
        return Ok(None);
    }
    let mut work = Work {
        scrubs: wanted.in_background,
        place: None,
        kept: Mutex::default(),
        in_trash: Mutex::default(),
    };
    let (images, wakeup_time) = (Arc::downgrade(images), wanted.wakeup_time);
    let round = move |ended: &AtomicBool| {
        work.round(&*images.upgrade()?, ended);
        Some(if work.place.is_some() { BREATH } else { wakeup_time })
    };
    Rounds::start("scrubber", round).map(Some)
}

struct Work {
    scrubs: bool,
    /// Where the last round got to, if it did not get to the end.
    place: Option<Place>,
    kept: Mutex<Complaints>,
    in_trash: Mutex<Complaints>,
}

impl Work {
    fn round(&mut self, images: &Images, ended: &AtomicBool) {
        if self.scrubs {
            let told = |scrubbed| {
                self.note(scrubbed);
                !ended.load(Ordering::Acquire)
            };
            match images.scrub(self.place, ROUND, &told) {
                Ok(place) => self.place = place,
                Err(error) => return warn!(%error, "deleted images cannot be scrubbed now"),
            }
            if self.place.is_none() {
                self.kept.lock().end_round();
            }
        }
        // Only when nothing is waiting: that is more urgent.
        if self.place.is_none() {
            self.purge(images);
        }
    }

    fn note(&self, Scrubbed { image, outcome }: Scrubbed) {
        let id = image.id;
        match outcome {
            Ok(true) => info!(image = %id, "the data of a deleted image is removed"),
            Ok(false) => debug!(image = %id, "somebody else scrubs it"),
            Err(error) if self.kept.lock().is_known(id, &error) => {
                debug!(image = %id, %error, "its data stays for now");
            }
            Err(error) => warn!(
                image = %id, %error,
                "the data of a deleted image stays for now; it is tried again at every wakeup_time"
            ),
        }
    }

    fn purge(&self, images: &Images) {
        for purged in images.purge_trash() {
            let id = purged.id;
            match purged.outcome {
                Ok(()) => info!(image = %id, "what was left of it in the trash is removed"),
                Err(error) if self.in_trash.lock().is_known(id, &error) => {
                    debug!(image = %id, %error, "it stays in the trash for now");
                }
                Err(error) => warn!(
                    image = %id, %error,
                    "it stays in the trash for now; it is tried again at every wakeup_time"
                ),
            }
        }
        self.in_trash.lock().end_round();
    }
}

/// What was said already, so that it is said once.
#[derive(Default)]
struct Complaints {
    said: HashMap<ImageId, String>,
    /// Those that there was reason to say again since the last round ended.
    still: HashSet<ImageId>,
}

impl Complaints {
    /// Whether this was said of this image already; from now on it was.
    fn is_known(&mut self, id: ImageId, error: &Error) -> bool {
        self.still.insert(id);
        let text = error.to_string();
        self.said.insert(id, text.clone()) == Some(text)
    }

    /// All images were looked at: of those that were no reason to complain, a new one is told.
    fn end_round(&mut self) {
        let still = std::mem::take(&mut self.still);
        self.said.retain(|id, _| still.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_new_once() {
        let mut complaints = Complaints::default();
        let (id, error) = (ImageId::random(), Error::InUse("clones".into()));
        assert!(!complaints.is_known(id, &error));
        complaints.end_round();
        assert!(complaints.is_known(id, &error));
        assert!(!complaints.is_known(id, &Error::StoreUnavailable("away".into())));
        complaints.end_round();
        complaints.end_round();
        assert!(!complaints.is_known(id, &Error::StoreUnavailable("away".into())));
    }
}
