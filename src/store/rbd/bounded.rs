//! Calls that Ceph may not come back from, with a deadline.
//!
//! librbd's own waits end by `rados_osd_op_timeout`, nearly all of them.  A call for which that
//! fails must not take its caller along, so each runs on a thread of its own, which then is left
//! behind (it owns all that it uses) and ends whenever the call does.
//!
//! One deadline is counted once: after the first call that was not answered in time, whoever made it
//! asks nothing more, and what has to be tidied up is left to a thread ([`unattended`]).

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::errno::Errno;

/// No more calls than this at a time, those that were left behind included.
const CALLS_MAX: usize = 256;

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Counts the steps of a long operation: as long as it moves, its deadline does.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    /// What to hand to a call beside [`progressed`].
    pub(super) fn argument(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn steps(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ceph's progress callback; its last argument is a [`Progress`] that outlives the call.
pub(super) unsafe extern "C" fn progressed(_: u64, _: u64, progress: *mut c_void) -> c_int {
    // SAFETY: made by `Progress::argument`, and whoever passed it keeps it until the call returns.
    let progress = unsafe { &*progress.cast::<Progress>() };
    progress.0.fetch_add(1, Ordering::Relaxed);
    0
}

/// One of the calls that may run at a time.
struct Permit;

impl Permit {
    fn take() -> Result<Self, Errno> {
        let taken = CALLS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
            (calls < CALLS_MAX).then_some(calls + 1)
        });
        taken.map(|_| Self).map_err(|_| Errno::AGAIN)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has `call` done by a thread that nobody waits for.
///
/// # Errors
/// `AGAIN` when too many calls hang already.
pub(super) fn unattended(call: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let permit = Permit::take()?;
    let run = move || {
        call();
        drop(permit);
    };
    let started = thread::Builder::new().name("rbd-call".into()).spawn(run);
    started.map(drop).map_err(|_| Errno::AGAIN)
}

/// Waits for `call`, but no longer than `limit` without any progress.
///
/// # Errors
/// `TIMEDOUT` after that time; `AGAIN` when too many calls hang already.
pub(super) fn bounded<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce(&Progress) -> Result<T, Errno> + Send + 'static,
) -> Result<T, Errno> {
    let permit = Permit::take()?;
    let progress = Arc::new(Progress::default());
    let (sender, receiver) = sync_channel(1);
    let watched = Arc::clone(&progress);
    let started = thread::Builder::new().name("rbd-call".into()).spawn(move || {
        let outcome = call(&progress);
        // Given back before the answer, so that whoever has the answer can call again.
        drop(permit);
        // A result that nobody waits for is dropped here, with all that it owns.
        let _ = sender.send(outcome);
    });
    started.map_err(|_| Errno::AGAIN)?;
    let mut steps = 0;
    loop {
        match receiver.recv_timeout(limit) {
            Ok(outcome) => return outcome,
            Err(RecvTimeoutError::Timeout) if watched.steps() != steps => steps = watched.steps(),
            Err(RecvTimeoutError::Timeout) => return Err(Errno::TIMEDOUT),
            // The thread panicked.
            Err(RecvTimeoutError::Disconnected) => return Err(Errno::IO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_left_behind() {
        let (release, wait) = channel::<()>();
        let outcome = bounded(Duration::from_millis(20), move |_| {
            let _ = wait.recv();
            Ok(())
        });
        assert_eq!(outcome, Err(Errno::TIMEDOUT));
        drop(release);
        assert_eq!(bounded(Duration::from_secs(5), |_| Ok(7)), Ok(7));
    }

    #[test]
    fn progress_moves_the_deadline() {
        let outcome = bounded(Duration::from_millis(200), |progress| {
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(50));
                // SAFETY: the argument is that of a live Progress.
                unsafe { progressed(0, 0, progress.argument()) };
            }
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    }
}
