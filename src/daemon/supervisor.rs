//! The word with systemd: that the daemon is ready, alive, ending (sd_notify(3), `Type=notify`).
//!
//! Without a supervisor all of it does nothing.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::error::{Error, Result};

/// Whoever started the daemon and wants to know how it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Supervisor {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
}

/// What must be alive for the daemon to be.
pub(super) struct Vitals {
    /// A mount that must answer.
    pub(super) mountpoint: Option<PathBuf>,
    /// The threads of the API, which must take work.
    pub(super) runtime: Handle,
    /// What takes connections to the API, which must not have ended.
    pub(super) api: Option<AbortHandle>,
}

impl Supervisor {
    /// The one that the environment names, if any.
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&name),
        };
        let opened = address.and_then(|address| Ok((UnixDatagram::unbound()?, address)));
        match opened {
            Ok(opened) => Self { socket: Some(Arc::new(opened)) },
            Err(error) => {
                warn!(%error, "NOTIFY_SOCKET cannot be used");
                Self::default()
            }
        }
    }

    /// The daemon does its work from now on (again).
    pub(super) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// It is ending.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=finishing uploads");
    }

    /// It reads its configuration again; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    fn say(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.0.send_to_addr(state.as_bytes(), &socket.1) {
            debug!(%error, "the supervisor does not listen");
        }
    }

    /// Says that the daemon is alive as often as the supervisor wants to hear it (`WATCHDOG_USEC`),
    /// each time after everything has proved it.  Once something hangs nothing is said any more.
    ///
    /// # Errors
    /// `Io` when no thread can be started.
    pub(super) fn watch(&self, vitals: Vitals) -> Result<()> {
        let Some(period) = watchdog_period().filter(|_| self.socket.is_some()) else {
            return Ok(());
        };
        let supervisor = self.clone();
        thread::Builder::new()
            .name("watchdog".to_string())
            .spawn(move || {
                loop {
                    thread::sleep(period / 3);
                    match vitals.check(period / 3) {
                        Ok(()) => supervisor.say("WATCHDOG=1"),
                        Err(what) => warn!("{what}"),
                    }
                }
            })
            .map(drop)
            .map_err(Error::io("start", "the thread of the watchdog"))
    }
}

impl Vitals {
    /// Returns when everything has answered.  A mount that hangs never does, and so says nothing.
    fn check(&self, patience: Duration) -> std::result::Result<(), String> {
        if let Some(mountpoint) = &self.mountpoint {
            // The kernel keeps no answer to this: the mount's own threads give it.
            let answered = rustix::fs::statfs(mountpoint);
            answered.map_err(|error| format!("the mount does not answer: {error}"))?;
        }
        if self.api.as_ref().is_some_and(AbortHandle::is_finished) {
            return Err("the API takes no connections any more".to_string());
        }
        let (sender, turn) = sync_channel(1);
        self.runtime.spawn(async move {
            // Whoever waited may have given up.
            let _ = sender.try_send(());
        });
        turn.recv_timeout(patience).map_err(|_| "the API's threads take no work".to_string())
    }
}

/// sd_watchdog_enabled(3)
fn watchdog_period() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|micros| *micros > 0).map(Duration::from_micros)
}
