//! Whether an image's snapshot may be cloned: protected, it may.

use std::ffi::CStr;
use std::sync::Arc;

use super::connection::Connection;
use super::errno::Errno;
use super::image::{Access, Image};
use super::removal::count_children;

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
    let image = Image::open(connection, name, None, Access::Write)?;
    // This handle is one of them.
    if image.watchers()? > 1 {
        return Err(Errno::BUSY);
    }
    if !image.snapshots()?.iter().any(|other| other.name.as_c_str() == snapshot) {
        return Ok(());
    }
    if count_children(connection, name, snapshot)? > 0 {
        return Err(Errno::BUSY);
    }
    image.unprotect(snapshot)
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
