//! A few threads for what would make a FUSE loop wait: anything that writes to the catalog or
//! removes data, and opening images that are not on this machine.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Jobs that may wait; past that, the FUSE loop that has another one waits.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool.  Its threads end with it.
pub struct Workers {
    jobs: SyncSender<Job>,
}

impl Workers {
    /// Starts so many threads of this name.
    ///
    /// # Errors
    /// When the system allows no more of them.
    pub fn start(name: &str, threads: usize) -> Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(name.to_string())
                .spawn(move || work(&queue))
                .map_err(Error::io("start", "a thread of the mount"))?;
        }
        Ok(Self { jobs })
    }

    /// Has one of the threads do this.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The threads live as long as `self.jobs` does; a lost job's reply answers EIO when dropped.
        let _ = self.jobs.send(Box::new(job));
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    super::session::mark_own_thread();
    loop {
        // Only the wait for a job is under the lock, not the job.
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
