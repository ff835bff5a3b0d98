//! So many imports at once and no more; the others wait, and not too many of them.
//!
//! A worker is a thread that lives while there is something to import.  Nothing can interrupt a
//! store that is waited for (it has deadlines of its own), so an import looks, between one piece of
//! data and the next, whether it is to end: because its time is over, its image was deleted, or the
//! daemon ends.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{error, warn};

use super::Job;
use super::watch::Watch;
use crate::catalog::model::ImageId;
use crate::catalog::tasks::TaskId;
use crate::error::{Error, Result};
use crate::images::Images;

/// Imports that may wait for their turn.
const MOST_WAITING: usize = 1000;

/// How long the end of the daemon waits for imports to undo what they have done.
const GRACE: Duration = Duration::from_secs(10);

/// How long the deletion of an image waits for its import to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why an import was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The daemon ends.
    ShuttingDown,
    /// Its image is to be deleted.
    Unwanted,
    /// Its time is over.
    Late,
}

impl Stop {
    /// For the task's record.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ShuttingDown => "The import was interrupted: the service was stopped",
            Self::Unwanted => "The import was interrupted: the image is no longer wanted",
            Self::Late => "The import was given up: it took too long (import_timeout)",
        }
    }
}

/// An import under way.
#[derive(Debug)]
pub(super) struct Running {
    image: ImageId,
    task: TaskId,
    /// For whatever waits below, without knowing of imports.
    watch: Watch,
    stop: Mutex<Option<Stop>>,
}

impl Running {
    /// Why it is to end, if it is.
    pub(super) fn stopped(&self) -> Option<Stop> {
        let mut stop = self.stop.lock();
        if stop.is_none() && self.watch.left().is_zero() {
            *stop = Some(Stop::Late);
        }
        *stop
    }

    /// Goes on, or not.
    ///
    /// # Errors
    /// `Gone` when it is to end.
    pub(super) fn check(&self) -> Result<()> {
        self.stopped().map_or(Ok(()), |stop| Err(Error::Gone(stop.words().to_string())))
    }

    /// For a step that does not know of imports.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn tell(&self, why: Stop) {
        self.stop.lock().get_or_insert(why);
        self.watch.call_off();
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    running: Vec<Arc<Running>>,
    threads: usize,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something has ended.
    changed: Condvar,
}

/// The imports of this daemon.
pub(in crate::images) struct Imports {
    shared: Arc<Shared>,
    at_once: usize,
    timeout: Duration,
}

impl Imports {
    /// With `at_once` workers at most, and so much time for each import.
    pub(in crate::images) fn new(at_once: usize, timeout: Duration) -> Self {
        Self { shared: Arc::default(), at_once: at_once.max(1), timeout }
    }

    /// How many are under way, and how many wait.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.shared.state.lock();
        (state.running.len() as u64, state.waiting.len() as u64)
    }

    /// Whether one more import can be taken.
    ///
    /// # Errors
    /// `OverQuota` when too many wait; `StoreUnavailable` at the daemon's end.
    pub(super) fn check_room(&self) -> Result<()> {
        let state = self.shared.state.lock();
        if state.ended {
            return Err(Error::StoreUnavailable("The service is being stopped.".to_string()));
        }
        if state.waiting.len() >= MOST_WAITING {
            let text = format!("{MOST_WAITING} imports are waiting already");
            return Err(Error::OverQuota(text));
        }
        Ok(())
    }

    /// Takes an import; it is run, or undone, in any case.
    pub(super) fn add(&self, images: &Weak<Images>, job: Job) {
        let mut state = self.shared.state.lock();
        state.waiting.push_back(job);
        if state.ended || state.threads >= self.at_once {
            return;
        }
        state.threads += 1;
        drop(state);
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            images: Weak::clone(images),
            timeout: self.timeout,
        };
        let started =
            thread::Builder::new().name("import".to_string()).spawn(move || worker.work());
        if let Err(error) = started {
            self.shared.state.lock().threads -= 1;
            warn!(%error, "an import has to wait for a thread");
        }
    }

    /// Has the import of an image end, and waits for it, but not long.  Returns what was not begun.
    pub(super) fn stop_image(&self, image: ImageId) -> Vec<Job> {
        let mut state = self.shared.state.lock();
        let (stopped, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.waiting).into_iter().partition(|job| job.image == image);
        state.waiting = waiting.into();
        let concerned = |state: &State| {
            state.running.iter().find(|running| running.image == image).map(Arc::clone)
        };
        let deadline = Instant::now() + STOP_PATIENCE;
        while let Some(running) = concerned(&state) {
            running.tell(Stop::Unwanted);
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        stopped
    }

    /// Whether a task's import is under way here, or waits.
    pub(super) fn has(&self, task: TaskId) -> bool {
        let state = self.shared.state.lock();
        let mut waiting = state.waiting.iter().map(|job| job.task.id);
        let mut running = state.running.iter().map(|running| running.task);
        waiting.any(|other| other == task) || running.any(|other| other == task)
    }

    /// Takes no more, has all end, and waits for that, but not long.  Returns those that were not
    /// begun.
    pub(super) fn end(&self) -> Vec<Job> {
        let mut state = self.shared.state.lock();
        state.ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        state.running.iter().for_each(|running| running.tell(Stop::ShuttingDown));
        let deadline = Instant::now() + GRACE;
        while !state.running.is_empty() {
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                warn!("imports that do not end are left to the next start");
                break;
            }
        }
        waiting.into()
    }
}

struct Worker {
    shared: Arc<Shared>,
    images: Weak<Images>,
    timeout: Duration,
}

impl Worker {
    /// Runs one import after the other, while there are any.
    fn work(self) {
        while let Some((mut job, running)) = self.next() {
            let ended = Ended { shared: &self.shared, running: &running };
            let Some(images) = self.images.upgrade() else { return };
            images.run_import(&mut job, &running);
            drop(ended);
        }
    }

    fn next(&self) -> Option<(Job, Arc<Running>)> {
        let mut state = self.shared.state.lock();
        let job = if state.ended { None } else { state.waiting.pop_front() };
        let Some(job) = job else {
            state.threads -= 1;
            return None;
        };
        let running = Arc::new(Running {
            image: job.image,
            task: job.task.id,
            watch: Watch::new(self.timeout),
            stop: Mutex::new(None),
        });
        state.running.push(Arc::clone(&running));
        Some((job, running))
    }
}

/// Notes the end of an import, also when it panics: then its thread is gone, too.
struct Ended<'a> {
    shared: &'a Shared,
    running: &'a Arc<Running>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.running.retain(|other| !Arc::ptr_eq(other, self.running));
        if thread::panicking() {
            state.threads -= 1;
            error!(image = %self.running.image, "its import died; the next start cleans up");
        }
        self.shared.changed.notify_all();
    }
}
