//! Whether an image's snapshot may be cloned: protected, it may.

use std::ffi::CStr;
use std::sync::Arc;

use super::connection::Connection;
use super::errno::Errno;
use super::image::{Access, Image};

/// Makes a snapshot one that cannot be cloned any more, before the image is removed.
///
/// Clones of format 2 need no protection, so that one may still be made: it does not suffer, since
/// an image that has some goes to the trash.
///
/// # Errors
/// `NOENT` when there is no image; `BUSY`, and nothing has changed, when there are clones of it or
/// somebody has it open for writing.
pub(super) fn withdraw(
    connection: &Arc<Connection>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<(), Errno> {
    let image = open_alone(connection, name)?;
    unprotect_unless_cloned(&image, name, snapshot).map(drop)
}

/// Opens an image for writing.
///
/// # Errors
/// `NOENT` when there is none; `BUSY` when somebody else has it open for writing.
pub(super) fn open_alone(connection: &Arc<Connection>, name: &CStr) -> Result<Arc<Image>, Errno> {
    let image = Image::open(connection, name, None, Access::Write)?;
    // This handle is one of them.
    if image.watchers()? > 1 { Err(Errno::BUSY) } else { Ok(image) }
}

/// Ends the protection of a snapshot; tells whether there is such a snapshot.
///
/// # Errors
/// `BUSY`, and nothing has changed, when there are clones of it.
pub(super) fn unprotect_unless_cloned(
    image: &Arc<Image>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<bool, Errno> {
    if !image.snapshots()?.iter().any(|other| other.name.as_c_str() == snapshot) {
        return Ok(false);
    }
    if count_children(image.connection(), name, snapshot)? > 0 {
        return Err(Errno::BUSY);
    }
    // Ceph looks for clones again, and in every pool.
    image.unprotect(snapshot).map(|()| true)
}

/// Protects a snapshot, so that it can be cloned.
///
/// # Errors
/// `NOENT` when there is no such image or snapshot.
pub(super) fn offer(
    connection: &Arc<Connection>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<(), Errno> {
    Image::open(connection, name, None, Access::Write)?.protect(snapshot)
}

/// How many clones a snapshot has: one when there are some that this user may not see.
pub(super) fn count_children(
    connection: &Arc<Connection>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<u64, Errno> {
    // A snapshot whose making was cut short has no object map, and cannot be opened by its name.
    let image = Image::open(connection, name, None, Access::Read)?;
    image.look_at(snapshot)?;
    match image.children() {
        // librbd opens every clone that it lists, also those in pools of other users.
        Err(Errno::PERM | Errno::ACCES) => Ok(1),
        outcome => outcome,
    }
}
