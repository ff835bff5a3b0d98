//! Scrubbing in the background: every so often the data of deleted images is removed for which it is
//! due, and what lies in the trash of a store for long enough.
//!
//! One thread, which looks at a bounded number of images each time and goes on from there.  It may end
//! with the process at any moment: what it was at is in the journal.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{debug, info, warn};

use crate::catalog::model::ImageId;
use crate::config::scrubbing::Scrubbing;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::images::scrub::{Place, Scrubbed};

/// Images that are looked at in one round.
const ROUND: u32 = 1000;

/// Until the next one, when there may be more.
const BREATH: Duration = Duration::from_secs(1);

/// The thread's end: dropped, it begins nothing more.
pub(super) struct Scrubber {
    ended: Arc<AtomicBool>,
    /// Wakes it when it goes.
    _wake: Sender<()>,
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Starts it, if there is anything for it to do.
///
/// # Errors
/// `Io` when there can be no thread.
pub(super) fn start(images: &Arc<Images>, wanted: &Scrubbing) -> Result<Option<Scrubber>> {
    if !wanted.in_background && wanted.purge_trash_after.is_none() {
        return Ok(None);
    }
    let ended = Arc::new(AtomicBool::new(false));
    let (wake, woken) = channel();
    let mut work = Work {
        images: Arc::downgrade(images),
        scrubs: wanted.in_background,
        place: None,
        ended: Arc::clone(&ended),
        kept: Mutex::default(),
        in_trash: Mutex::default(),
    };
    let wakeup_time = wanted.wakeup_time;
    thread::Builder::new()
        .name("scrubber".to_owned())
        .spawn(move || work.go_on(&woken, wakeup_time))
        .map_err(Error::io("start", "a thread"))?;
    Ok(Some(Scrubber { ended, _wake: wake }))
}

struct Work {
    images: Weak<Images>,
    scrubs: bool,
    /// Where the last round got to, if it did not get to the end.
    place: Option<Place>,
    ended: Arc<AtomicBool>,
    kept: Mutex<Complaints>,
    in_trash: Mutex<Complaints>,
}

impl Work {
    fn go_on(&mut self, woken: &Receiver<()>, wakeup_time: Duration) {
        loop {
            let Some(images) = self.images.upgrade() else { return };
            self.round(&images);
            drop(images);
            let pause = if self.place.is_some() { BREATH } else { wakeup_time };
            // Several that were started together need not stay together.
            let pause =
                pause + pause.mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 2048.0);
            if woken.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    fn round(&mut self, images: &Images) {
        if self.scrubs {
            let told = |scrubbed| {
                self.note(scrubbed);
                !self.ended.load(Ordering::Acquire)
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
