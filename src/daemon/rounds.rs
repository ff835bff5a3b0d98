//! Work that is done in the background every so often, by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// The thread's end: dropped, it begins nothing more.  It is not waited for, and may end with the process
/// at any moment.
pub(super) struct Rounds {
    ended: Arc<AtomicBool>,
    /// Wakes it when it goes.
    _wake: Sender<()>,
}

impl Rounds {
    /// Starts them: `round` does the work once, stops early when what it is given becomes true, and
    /// says how long to wait until the next, or that there is none.
    ///
    /// # Errors
    /// `Io` when there can be no thread.
    pub(super) fn start(
        name: &str,
        mut round: impl FnMut(&AtomicBool) -> Option<Duration> + Send + 'static,
    ) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let (wake, woken) = channel();
        let its_end = Arc::clone(&ended);
        let work = move || {
            while let Some(pause) = round(&its_end) {
                if woken.recv_timeout(unlike_others(pause)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(Error::io("start", "a thread"))?;
        Ok(Self { ended, _wake: wake })
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

/// Several daemons that were started together need not stay together.
fn unlike_others(pause: Duration) -> Duration {
    pause + pause.mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 2048.0)
}
