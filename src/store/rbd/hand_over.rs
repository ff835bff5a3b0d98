//! From librbd's threads to our own, where reads are looked at and answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Something to be done elsewhere.
pub(super) type Task = Box<dyn FnOnce() + Send>;

/// Threads that finish reads.
const THREADS: usize = 2;

/// A few threads that do what they are given.  They end when nobody can give them anything more.
///
/// The queues have no bound of their own: what is in them are reads that were under way, which
/// those who start them bound.
#[derive(Clone)]
pub(super) struct HandOver {
    queues: Arc<[Sender<Task>]>,
    next: Arc<AtomicUsize>,
}

impl HandOver {
    pub(super) fn new() -> Self {
        let queues = (0..THREADS).map(|_| {
            let (sender, receiver) = channel();
            let started = thread::Builder::new().name("rbd-read".into()).spawn(|| work(receiver));
            if let Err(error) = started {
                tracing::error!(%error, "no thread for finishing reads");
            }
            sender
        });
        Self { queues: queues.collect(), next: Arc::default() }
    }

    /// Gives a task away, at once.
    pub(super) fn give(&self, task: Task) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(queue) = self.queues.get(turn % THREADS)
            && let Err(lost) = queue.send(task)
        {
            // Only without a thread.  Doing it here would wait for ourselves.
            std::mem::forget(lost);
        }
    }
}

fn work(tasks: Receiver<Task>) {
    for task in tasks {
        task();
    }
}
