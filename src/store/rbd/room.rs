//! How much room there is and whether the cluster answers, as last known: `statfs` and
//! `glancefs status` must not wait for it.
//!
//! One thread at a time asks, and whoever wants to know waits for it as long as he likes.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::super::{Capacity, Condition};
use super::Inner;
use super::errno::Errno;
use crate::error::Result;

/// How long an answer is good for: `statfs` may be asked a thousand times a second.
const AGE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Default)]
struct Known {
    /// Nothing if nobody has counted: only a manager of the cluster does.
    capacity: Option<Capacity>,
    /// When that was answered.
    answered: Option<Instant>,
    /// Since when somebody asks.
    asking: Option<SystemTime>,
}

/// What is known.
#[derive(Default)]
pub(super) struct Room {
    known: Mutex<Known>,
    changed: Condvar,
}

impl Inner {
    /// How the store is.  What is known is not older than some seconds if the cluster answers within
    /// `patience`.
    pub(super) fn condition(self: &Arc<Self>, patience: Duration) -> Condition {
        let until = Instant::now() + patience;
        let mut known = self.room.known.lock();
        let fresh = known.answered.is_some_and(|when| when.elapsed() < AGE);
        if (!fresh || self.cluster.silent_since().is_some()) && known.asking.is_none() {
            known.asking = Some(SystemTime::now());
            let inner = Arc::clone(self);
            let ask = move || inner.look();
            if thread::Builder::new().name("rbd-room".into()).spawn(ask).is_err() {
                known.asking = None;
            }
        }
        while known.asking.is_some() {
            if self.room.changed.wait_until(&mut known, until).timed_out() {
                break;
            }
        }
        // Who could wait and got no answer says so.
        let unanswered = known.asking.filter(|_| !patience.is_zero());
        let silent_since = self.cluster.silent_since().or(unanswered);
        Condition { capacity: known.capacity, silent_since }
    }

    /// Asks a monitor for the room, and an OSD for anything at all.
    fn look(&self) {
        let capacity = self.ask_capacity();
        let answers = capacity.is_ok() && self.probe().is_ok();
        let mut known = self.room.known.lock();
        if let Ok(capacity) = capacity {
            known.capacity = capacity;
        }
        if answers {
            self.cluster.note_answer();
            known.answered = Some(Instant::now());
        }
        known.asking = None;
        self.room.changed.notify_all();
    }

    fn probe(&self) -> Result<()> {
        let connection = self.cluster.connection()?;
        // The pool's list of images: there or not, it was looked for.
        match connection.pool().has_object(c"rbd_directory") {
            Err(error) => {
                self.cluster.note(&connection, error);
                // A refusal is an answer, too.
                let answered = matches!(error, Errno::PERM | Errno::ACCES);
                if answered { Ok(()) } else { Err(error.error("ask", "Ceph")) }
            }
            Ok(_) => Ok(()),
        }
    }

    /// The room of the pool that data goes to, if the cluster counts it.
    pub(super) fn ask_capacity(&self) -> Result<Option<Capacity>> {
        let connection = self.cluster.connection()?;
        let options = self.options();
        let pool = options.data_pool.as_ref().unwrap_or(&options.pool);
        match connection.capacity(pool) {
            Ok(capacity) => Ok(Some(capacity).filter(|capacity| capacity.total > 0)),
            Err(error) => {
                self.cluster.note(&connection, error);
                // A user who may read images need not be allowed to ask how much there is.
                if matches!(error, Errno::PERM | Errno::ACCES) {
                    return Ok(None);
                }
                Err(error.error("get the room of pool", pool))
            }
        }
    }
}
