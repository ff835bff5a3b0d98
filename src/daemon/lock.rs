//! One daemon at a time uses a state directory.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin;
use crate::config::{Config, unusable_state_dir};
use crate::error::{Error, Result};
use crate::fs::session;

/// How often to look whether the one before has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How long one that was killed may take to be gone.
const DYING: Duration = Duration::from_secs(10);

/// Locks the state directory, for as long as the file is open.  Waits no longer than `patience` for
/// another daemon, and only for one that is ending: after `umount` it may still be at it.
///
/// One that was killed while a thread of it had the kernel forget a name may not get any further: the
/// thread waits for whoever works in that directory of the mount, and he for an answer.  So the mount
/// that it left at `mountpoint` is given up.
///
/// # Errors
/// `Config` when another one is using it.
pub(super) fn lock(
    config: &Config,
    patience: Duration,
    mut mountpoint: Option<&Path>,
) -> Result<File> {
    let path = config.state_dir.join("lock");
    let failed = |error| unusable_state_dir(&config.state_dir, &error);
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let begun = Instant::now();
    let (mut was_dying, mut looked_again) = (false, false);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let holder = holder(&file);
        if holder == Holder::Unseen && !looked_again {
            looked_again = true;
            continue;
        }
        let dying = holder == Holder::Dying;
        if dying && let Some(mountpoint) = mountpoint.take() {
            session::give_up(mountpoint);
        }
        was_dying |= dying;
        let patience = if was_dying { DYING } else { patience };
        if begun.elapsed() >= patience || !(dying || is_ending(config)) {
            return Err(in_use(&config.state_dir));
        }
        thread::sleep(LOOK);
    }
}

/// Whoever has the lock, by the word of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Alive,
    /// On its way out: nothing is left of it but threads that wait for something.
    Dying,
    /// It has gone meanwhile, or is in a container whose processes are not seen from here.
    Unseen,
}

fn holder(file: &File) -> Holder {
    let Ok(found) = file.metadata() else { return Holder::Unseen };
    let inode = format!(":{}", found.ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:12345 0 EOF`
    let mut holders = locks.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, place, ..] if place.ends_with(&inode) => Some(is_zombie(pid)),
            _ => None,
        }
    });
    holders.next().map_or(Holder::Unseen, |dying| if dying { Holder::Dying } else { Holder::Alive })
}

/// proc_pid_stat(5): the state comes after the name, which is in parentheses.
fn is_zombie(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
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
