//! What there is in a pool.

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::Arc;

use super::bounded::bounded;
use super::connection::Connection;
use super::errno::{Errno, check};
use super::image::{Access, Image};
use super::library::ImageSpec;

/// The names of all images in the pool.
pub(super) fn names(connection: &Arc<Connection>) -> Result<Vec<CString>, Errno> {
    let connection = Arc::clone(connection);
    bounded(connection.limit(), move |_| {
        let (library, pool) = (connection.library(), connection.pool().raw());
        let mut room = 1024;
        loop {
            let empty = ImageSpec { id: ptr::null_mut(), name: ptr::null_mut() };
            let mut specs = vec![empty; room];
            // SAFETY: a live pool, and as many places as are said to be there.
            match check(unsafe { (library.rbd_list2)(pool, specs.as_mut_ptr(), &raw mut room) }) {
                Ok(_) => {
                    let filled = specs.iter().take(room);
                    // SAFETY: librbd has put a string into each.
                    let name = |spec: &ImageSpec| unsafe { CStr::from_ptr(spec.name) }.to_owned();
                    let names = filled.map(name).collect();
                    // SAFETY: so many were filled in.
                    unsafe { (library.rbd_image_spec_list_cleanup)(specs.as_mut_ptr(), room) };
                    return Ok(names);
                }
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error),
            }
        }
    })
}

/// Whether an image has a snapshot of this name.
pub(super) fn has_snapshot(
    connection: &Arc<Connection>,
    name: &CStr,
    snapshot: &CStr,
) -> Result<bool, Errno> {
    let image = Image::open(connection, name, None, Access::Read)?;
    Ok(image.snapshots()?.iter().any(|other| other.name.as_c_str() == snapshot))
}
