//! Work of the journal's that has to wait: for a store that does not answer, for the watch of a
//! daemon that died, for readers of a deleted image.
//!
//! One thread tries, while there is anything to try.  It may end with the process at any moment:
//! the journal has it all.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing::{debug, warn};

use super::super::Images;
use super::super::journal::{Entry, Work};

/// How long to wait after the first failure; each time twice as long as before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// But no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often to look whether the last reader of a deleted image has gone, which asks nobody.
const READER_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
struct Task {
    entry: Entry,
    due: Instant,
    pause: Duration,
    /// Whether the reason for waiting was logged.
    failed: bool,
}

#[derive(Default)]
struct State {
    tasks: Vec<Task>,
    /// Whether there is a thread.
    running: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is left to do.  Dropped, it is left to the next start.
#[derive(Default)]
pub(in crate::images) struct Backlog(Arc<Shared>);

impl Backlog {
    /// Adds work; a thread takes it up.
    pub(super) fn add(&self, images: &Weak<Images>, entries: Vec<Entry>) {
        let mut state = self.0.state.lock();
        if entries.is_empty() || state.ended {
            return;
        }
        let due = Instant::now();
        let task = |entry| Task { entry, due, pause: FIRST_PAUSE, failed: false };
        state.tasks.extend(entries.into_iter().map(task));
        self.0.changed.notify_all();
        if state.running {
            return;
        }
        let (shared, images) = (Arc::clone(&self.0), Weak::clone(images));
        let started = thread::Builder::new()
            .name("recovery".to_string())
            .spawn(move || while shared.turn(&images) {});
        match started {
            Ok(_) => state.running = true,
            Err(error) => warn!(%error, "what was interrupted is left for the next start"),
        }
    }

    /// How much is left.
    pub(super) fn len(&self) -> usize {
        self.0.state.lock().tasks.len()
    }

    /// No more is begun; what is left is left to the next start.
    pub(in crate::images) fn end(&self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Waits for something to be due, and tries all that is; `false` when the thread is to end.
    fn turn(&self, images: &Weak<Images>) -> bool {
        let Some(due) = self.wait() else { return false };
        let mut away = Vec::new();
        for task in due {
            let Some(images) = images.upgrade() else { return false };
            if self.state.lock().ended {
                return false;
            }
            let next = attempt(&images, task.clone(), &mut away);
            let mut state = self.state.lock();
            state.tasks.retain(|other| other.entry != task.entry);
            state.tasks.extend(next);
        }
        true
    }

    /// What is due, once something is; `None` when nothing is left.
    fn wait(&self) -> Option<Vec<Task>> {
        let mut state = self.state.lock();
        loop {
            let first = state.tasks.iter().map(|task| task.due).min();
            let (false, Some(first)) = (state.ended, first) else {
                state.running = false;
                return None;
            };
            let now = Instant::now();
            if first <= now {
                let due = state.tasks.iter().filter(|task| task.due <= now);
                return Some(due.cloned().collect());
            }
            self.changed.wait_until(&mut state, first);
        }
    }
}

/// Tries once; returns what to try again, and when.
fn attempt(images: &Images, mut task: Task, away: &mut Vec<String>) -> Option<Task> {
    let id = task.entry.id;
    if let Some(Work::Removal { urls }) = &task.entry.work
        && images.is_read_here(urls)
    {
        task.due = Instant::now() + READER_PAUSE;
        return Some(task);
    }
    match images.settle(&task.entry, away) {
        Ok(()) => {
            images.changes.announce(&[id]);
            return None;
        }
        Err(error) if task.failed => debug!(image = %id, %error, "not yet"),
        Err(error) => warn!(
            image = %id, %error,
            "what was interrupted cannot be undone yet; it is tried again until it can"
        ),
    }
    task.failed = true;
    task.due = Instant::now() + task.pause;
    task.pause = (task.pause * 2).min(LONGEST_PAUSE);
    Some(task)
}
