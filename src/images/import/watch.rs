//! How long a step of an import may go on: until its deadline, or until somebody calls it off.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Whatever takes long asks this several times a second whether to go on.
#[derive(Clone, Debug)]
pub struct Watch {
    deadline: Instant,
    called_off: Arc<AtomicBool>,
}

impl Watch {
    /// For something that may take this long.
    pub fn new(patience: Duration) -> Self {
        Self { deadline: Instant::now() + patience, called_off: Arc::default() }
    }

    /// Calls it off, in whichever thread it goes on.
    pub fn call_off(&self) {
        self.called_off.store(true, Ordering::Relaxed);
    }

    /// Time until the deadline.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// `Gone` when it was called off; `Io` (timed out) after the deadline.
    pub fn check(&self) -> Result<()> {
        if self.called_off.load(Ordering::Relaxed) {
            return Err(Error::Gone("The import was called off".to_owned()));
        }
        if self.left().is_zero() {
            let what = "wait for the import".to_owned();
            return Err(Error::Io { what, source: io::ErrorKind::TimedOut.into() });
        }
        Ok(())
    }
}
