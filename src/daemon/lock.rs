//! One daemon at a time uses a state directory.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin;
use crate::config::{Config, unusable_state_dir};
use crate::error::{Error, Result};
use crate::fs::session;

/// How often to look whether the one before has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Locks the state directory, for as long as the file is open.  Waits no longer than `patience` for
/// another daemon, and only for one that is ending: after `umount` it may still be at it.
///
/// # Errors
/// `Config` when another one is using it.
pub(super) fn lock(config: &Config, patience: Duration) -> Result<File> {
    let path = config.state_dir.join("lock");
    let failed = |error| unusable_state_dir(&config.state_dir, &error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until && is_ending(config) => {
                thread::sleep(LOOK);
            }
            Err(TryLockError::WouldBlock) => return Err(in_use(&config.state_dir)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Whether whoever has the lock shows nothing any more.
fn is_ending(config: &Config) -> bool {
    let Ok(report) = admin::fetch(&config.state_dir) else { return true };
    let shown = |mount: &admin::MountReport| session::is_mounted(Path::new(&mount.mountpoint));
    !report.mounts.is_empty() && !report.mounts.iter().any(shown)
}

fn in_use(state_dir: &Path) -> Error {
    Error::Config(format!(
        "another glancefs is using the state directory {0}; see what it does with: \
         glancefs status --state-dir {0}; or give this one its own with --state-dir",
        state_dir.display()
    ))
}
