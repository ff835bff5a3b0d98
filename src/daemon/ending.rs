//! Signals: what ends the daemon, and what has it read things again.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::supervisor::Supervisor;
use crate::api;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fs::session::Mount;
use crate::telemetry;

/// What tells the daemon to end.
pub(super) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    /// Things are to be read again; or the terminal has gone.
    hang_up: Signal,
    /// A file size limit (`ulimit -f`) is an error of the write that meets it, not our end.
    _size_limit: Signal,
}

impl Ending {
    /// From here on, no signal ends the process before it has cleaned up.
    pub(super) fn listen(runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let _context = runtime.enter();
        let listen = |kind| signal(kind).map_err(Error::io("listen for", "signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            _size_limit: listen(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Waits for SIGINT or SIGTERM, for the terminal to be closed, or for the mount to be unmounted by
    /// somebody else.
    pub(super) async fn wait(mut self, mount: Option<&Mount>, reload: Reload) {
        let reload = Arc::new(reload);
        // Not before: a daemon that mount(8) has started has left its terminal by now.
        let started_from_terminal = has_terminal();
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => {
                    if started_from_terminal && !has_terminal() {
                        return;
                    }
                    Reload::run(Arc::clone(&reload)).await;
                }
                _ = look.tick() => {
                    if mount.is_some_and(Mount::is_gone) {
                        info!("the mount was unmounted");
                        return;
                    }
                }
            }
        }
    }
}

/// A terminal that was closed cannot be opened any more.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// What is read again on SIGHUP: how much to log, the log's file, the certificates of TLS.
pub(super) struct Reload {
    pub(super) config: Config,
    pub(super) tls: Option<Arc<api::Tls>>,
    pub(super) supervisor: Supervisor,
    /// What the daemon is doing, in one line.
    pub(super) status: String,
}

impl Reload {
    async fn run(this: Arc<Self>) {
        this.supervisor.reloading();
        let reload = Arc::clone(&this);
        if let Err(error) = tokio::task::spawn_blocking(move || reload.all()).await {
            warn!(%error, "not everything was read again");
        }
        this.supervisor.ready(&this.status);
    }

    fn all(&self) {
        let debug = match self.config.read_again() {
            Ok(now) => {
                self.name_what_needs_a_restart(&now);
                now.logging.debug
            }
            Err(error) => {
                warn!(%error, "the configuration stays as it was");
                self.config.logging.debug
            }
        };
        match telemetry::reload(debug) {
            Ok(()) => info!("the log goes on"),
            Err(error) => warn!(%error, "the log stays as it was"),
        }
        if let Some(tls) = &self.tls {
            match tls.reload() {
                Ok(()) => info!("certificates were read again"),
                Err(error) => warn!(%error, "certificates stay as they were"),
            }
        }
    }

    fn name_what_needs_a_restart(&self, now: &Config) {
        let changed = now.settings.iter().filter(|setting| {
            let same = |old: &&crate::config::settings::Setting| {
                (&old.section, old.name) == (&setting.section, setting.name)
            };
            let before = self.config.settings.iter().find(same);
            setting.name != "debug" && before.map(|old| &old.value) != Some(&setting.value)
        });
        let names: Vec<_> = changed.map(|s| format!("[{}] {}", s.section, s.name)).collect();
        if !names.is_empty() {
            warn!("changed, and without effect until a restart: {}", names.join(", "));
        }
    }
}
