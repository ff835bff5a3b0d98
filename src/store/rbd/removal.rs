//! Removing images, without taking anything away from those who still need it.

use std::ffi::CStr;
use std::sync::Arc;

use super::SNAPSHOT;
use super::connection::Connection;
use super::errno::Errno;
use super::image::{Access, Image};
use super::offering::{open_alone, unprotect_unless_cloned};
use super::trash;

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
    let image = match open_alone(connection, name) {
        Err(Errno::NOENT) => return remove_rest(connection, name),
        opened => opened?,
    };
    let removed = remove_snapshot(&image, name, snapshot).map_err(there)?;
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
///
/// # Errors
/// `BUSY` while it has a watch: a dead client's lasts 30 s (`osd_client_watch_timeout`).
pub(super) fn discard(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    match Image::open(connection, name, None, Access::Write) {
        Ok(image) => {
            // What follows would wait for the lock of whoever has the other one.
            if image.watchers()? > 1 {
                return Err(Errno::BUSY);
            }
            remove_snapshot(&image, name, SNAPSHOT).map_err(there)?;
            drop(image);
            gone_or(remove_or_trash(connection, name))
        }
        Err(Errno::NOENT) => gone_or(remove_rest(connection, name)),
        Err(error) => Err(error),
    }
}

/// What an interrupted removal left is listed, and cannot be opened, but removed.
fn remove_rest(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    Image::remove(connection, name)
}

/// What fails with an image that was opened is no sign that there is none.
fn there(error: Errno) -> Errno {
    if error == Errno::NOENT { Errno::IO } else { error }
}

fn gone_or(outcome: Result<(), Errno>) -> Result<(), Errno> {
    if outcome == Err(Errno::NOENT) { Ok(()) } else { outcome }
}

fn remove_or_trash(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    match Image::remove(connection, name) {
        // Somebody else's snapshots.  Glance: the same.
        Err(Errno::NOTEMPTY) => trash::take_in(connection, name),
        // Also Ceph's word for not being able to make the pool's trash, which removals go through.
        Err(Errno::NOENT) => match Image::open(connection, name, None, Access::Read) {
            Ok(_) => Err(Errno::IO),
            Err(error) => Err(error),
        },
        outcome => outcome,
    }
}
