//! Removing images, without taking anything away from those who still need it.

use std::ffi::CStr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::SNAPSHOT;
use super::connection::Connection;
use super::errno::Errno;
use super::image::{Access, Image};
use super::offering::{open_alone, unprotect_unless_cloned};

/// A dead client's watch lasts 30 s (`osd_client_watch_timeout`); until then its image is busy.
const WATCH_TIMEOUT: Duration = Duration::from_secs(45);

/// How often to look whether it has ended.
const WATCH_POLL: Duration = Duration::from_millis(500);

/// Removes a finished image.
///
/// # Errors
/// `NOENT` when there is none; `BUSY`, and nothing has changed, when there are clones of it or
/// somebody has it open for writing.
pub(super) fn delete(
    connection: &Arc<Connection>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<(), Errno> {
    let image = open_alone(connection, name)?;
    let removed = remove_snapshot(&image, name, snapshot)?;
    drop(image);
    let outcome = remove_or_trash(connection, name);
    if outcome == Err(Errno::BUSY) && removed {
        // Somebody opened it meanwhile: as it was before, so that its URL still means something.
        let image = Image::open(connection, name, None, Access::Write)?;
        image.create_snapshot(snapshot)?;
        image.protect(snapshot)?;
    }
    outcome
}

/// Removes the snapshot, if it is there and nobody needs it.
fn remove_snapshot(image: &Arc<Image>, name: &CStr, snapshot: &CStr) -> Result<bool, Errno> {
    if !unprotect_unless_cloned(image, name, snapshot)? {
        return Ok(false);
    }
    if let Err(error) = image.remove_snapshot(snapshot) {
        image.protect(snapshot)?;
        return Err(error);
    }
    Ok(true)
}

/// Removes whatever there is of an image that nobody has a record of.
pub(super) fn discard(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    let deadline = Instant::now() + WATCH_TIMEOUT;
    loop {
        match discard_once(connection, name) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => thread::sleep(WATCH_POLL),
            outcome => return outcome,
        }
    }
}

fn discard_once(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    match Image::open(connection, name, None, Access::Write) {
        Ok(image) => {
            remove_snapshot(&image, name, SNAPSHOT)?;
            drop(image);
            remove_or_trash(connection, name)
        }
        // What an interrupted removal left cannot be opened, but removed.
        Err(Errno::NOENT) => Image::remove(connection, name),
        Err(error) => Err(error),
    }
}

fn remove_or_trash(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    match Image::remove(connection, name) {
        // Somebody else's snapshots.  Glance: the same.
        Err(Errno::NOTEMPTY) => Image::move_to_trash(connection, name),
        // Also Ceph's word for not being able to make the pool's trash, which removals go through.
        Err(Errno::NOENT) => match Image::open(connection, name, None, Access::Read) {
            Ok(_) => Err(Errno::IO),
            Err(error) => Err(error),
        },
        outcome => outcome,
    }
}
