//! The one connection of a store: made when it is first needed, shared, and made anew when the
//! cluster has shut this client out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::RbdOptions;
use super::connection::{Configured, Connection};
use super::errno::Errno;
use super::library::Library;
use crate::error::{Error, Result};

/// How long those wait who find somebody connecting already.  Connecting itself is bounded, so
/// this only guards against mistakes.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(2000);

enum State {
    Idle,
    Connecting,
    Connected(Arc<Connection>),
}

struct Attempts {
    state: State,
    /// How many have failed: whoever waits for one fails with it, and not with the next.
    failed: u64,
    /// Why the last one did.
    reason: String,
}

/// A cluster and how to get there.
pub(super) struct Cluster {
    library: &'static Library,
    options: RbdOptions,
    configured: Configured,
    attempts: Mutex<Attempts>,
    changed: Condvar,
    /// Since when nothing was answered in time, as far as anybody asked.
    silent_since: Mutex<Option<SystemTime>>,
}

impl Cluster {
    /// Loads Ceph's libraries and reads its configuration; nothing is asked of the network.
    ///
    /// # Errors
    /// `Config` when a library or the configuration is missing.
    pub(super) fn new(options: RbdOptions) -> Result<Self> {
        let library = Library::get()?;
        let configured = Configured::read(library, &options)?;
        let attempts = Attempts { state: State::Idle, failed: 0, reason: String::new() };
        Ok(Self {
            library,
            options,
            configured,
            attempts: Mutex::new(attempts),
            changed: Condvar::new(),
            silent_since: Mutex::default(),
        })
    }

    pub(super) fn options(&self) -> &RbdOptions {
        &self.options
    }

    /// The cluster's id, when it is known without asking.
    pub(super) fn known_fsid(&self) -> Option<String> {
        match &self.attempts.lock().state {
            State::Connected(connection) => Some(connection.fsid().to_owned()),
            _ => self.configured.fsid.clone(),
        }
    }

    /// The connection that is there, or a new one.
    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = self.existing_or_turn()? {
            return Ok(connection);
        }
        let outcome = Connection::new(self.library, &self.options).map(Arc::new);
        if outcome.is_err() {
            self.note_silence();
        }
        let mut attempts = self.attempts.lock();
        match &outcome {
            Ok(connection) => attempts.state = State::Connected(Arc::clone(connection)),
            Err(error) => {
                attempts.state = State::Idle;
                attempts.failed += 1;
                attempts.reason = error.to_string();
            }
        }
        self.changed.notify_all();
        drop(attempts);
        outcome
    }

    /// The connection, once it is there; `None` when it is the caller's turn to make it.
    fn existing_or_turn(&self) -> Result<Option<Arc<Connection>>> {
        let mut attempts = self.attempts.lock();
        let failed = attempts.failed;
        loop {
            match &attempts.state {
                State::Connected(connection) => return Ok(Some(Arc::clone(connection))),
                _ if attempts.failed > failed => {
                    return Err(Error::StoreUnavailable(attempts.reason.clone()));
                }
                State::Connecting => {
                    if self.changed.wait_for(&mut attempts, WAIT_FOR_CONNECTION).timed_out() {
                        return Err(Errno::TIMEDOUT.error("connect to", "Ceph"));
                    }
                }
                State::Idle => {
                    attempts.state = State::Connecting;
                    return Ok(None);
                }
            }
        }
    }

    /// Since when the cluster has not answered, as far as is known.
    pub(super) fn silent_since(&self) -> Option<SystemTime> {
        *self.silent_since.lock()
    }

    fn note_silence(&self) {
        self.silent_since.lock().get_or_insert_with(SystemTime::now);
    }

    /// Notes that both a monitor and an OSD have answered.
    pub(super) fn note_answer(&self) {
        *self.silent_since.lock() = None;
    }

    /// Notes how something ended that was done by `connection`: one that is of no use any more is
    /// not given to others.
    pub(super) fn note(&self, connection: &Arc<Connection>, error: Errno) {
        if error == Errno::TIMEDOUT {
            self.note_silence();
        }
        let mut attempts = self.attempts.lock();
        if error.ends_connection()
            && matches!(&attempts.state, State::Connected(now) if Arc::ptr_eq(now, connection))
        {
            tracing::warn!(%error, "the Ceph cluster has ended the connection");
            attempts.state = State::Idle;
        }
    }
}
