//! Getting data to the disk while more of it comes, so that the sync at the end finds little to do.
//!
//! Left to itself, the system keeps what is written in memory for half a minute; whoever writes a
//! large image then waits for the whole of it at the end.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tracing::debug;

/// Bytes after which the disk is set to work; smaller images start no thread.
const STEP: u64 = 32 << 20;

/// Syncs a file that is being written, in a thread of its own.
#[derive(Debug, Default)]
pub(super) struct EarlySync {
    /// Bytes written since the last order.
    pending: u64,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    orders: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl EarlySync {
    /// Notes that this much was written to `file`.
    pub(super) fn wrote(&mut self, file: &File, bytes: u64) {
        self.pending += bytes;
        if self.pending < STEP {
            return;
        }
        self.pending = 0;
        if self.running.is_none() {
            self.running = Running::start(file)
                .inspect_err(|error| debug!(%error, "data is synced at the end alone"))
                .ok();
        }
        if let Some(running) = &self.running {
            // One order that waits is enough: it covers all that is written until it is carried out.
            let _ = running.orders.try_send(());
        }
    }

    /// Waits for what was ordered.  To be called before every sync that counts.
    ///
    /// # Errors
    /// What the disk said to an early sync.  It says so once: no later sync would tell.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let Some(Running { orders, thread }) = self.running.take() else { return Ok(()) };
        drop(orders);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the store died")))
    }
}

impl Running {
    fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (orders, queue) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("early-sync".to_string())
            .spawn(move || sync_on_order(&file, &queue))?;
        Ok(Self { orders, thread })
    }
}

/// Ends at the first error, or when nobody orders any more.
fn sync_on_order(file: &File, queue: &Receiver<()>) -> io::Result<()> {
    while queue.recv().is_ok() {
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_much_data_starts_a_thread_and_settling_ends_it() {
        let file = tempfile::tempfile().unwrap();
        let mut early = EarlySync::default();
        early.wrote(&file, STEP - 1);
        assert!(early.running.is_none());
        early.wrote(&file, 1);
        assert!(early.running.is_some());
        early.settle().unwrap();
        assert!(early.running.is_none());
        early.settle().unwrap();
    }

    #[test]
    fn an_error_is_heard_by_whoever_settles() {
        // Which cannot be synced.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut early = EarlySync::default();
        early.wrote(&file, STEP);
        assert!(early.settle().is_err());
    }
}
