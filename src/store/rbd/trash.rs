//! The pool's trash, to which `removal` moves images that others have snapshots of, and what becomes
//! of them there.
//!
//! Others use the trash, too.  What glancefs moves there it marks first: with the time, so that who
//! brings the image back and throws it away himself has one that is no longer marked.

use std::ffi::{CStr, CString, c_int};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::bounded::bounded;
use super::connection::Connection;
use super::errno::{Errno, check};
use super::image::{Access, Image};
use super::library::TrashInfo;

/// The metadata entry that marks an image: seconds since 1970.
const MOVED_KEY: &CStr = c"_glancefs_moved_to_trash";

/// How long it may take, from the mark to the trash.
const MOVING: i64 = 300;

/// `rbd_trash_image_source_t`: somebody moved it there (and it has clones), not Ceph for its own reasons.
const BY_USERS: [c_int; 2] = [0, 4];

/// An image in the trash.
#[derive(Debug)]
pub(super) struct Entry {
    /// Ceph's own id of it.
    pub(super) id: CString,
    /// What it was called.
    pub(super) name: String,
    /// When it was moved there: seconds since 1970.
    moved_at: i64,
    source: c_int,
}

impl Entry {
    /// Whether it was moved there by somebody, and has been there for so long.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        let since = i64::try_from(age.as_secs()).ok().and_then(|age| now().checked_sub(age));
        BY_USERS.contains(&self.source) && since.is_some_and(|since| self.moved_at <= since)
    }
}

/// Moves an image to the trash, from where `rbd trash` can bring it back or purge it.
pub(super) fn take_in(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    // Before it is there: a move that fails leaves a mark that is soon too old to mean anything.
    if let Err(error) = mark(connection, name) {
        tracing::warn!(?name, %error, "not marked: it will stay in the trash of its pool");
    }
    Image::move_to_trash(connection, name)
}

fn mark(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
    let image = Image::open(connection, name, None, Access::Write)?;
    let time = CString::new(now().to_string()).map_err(|_| Errno::INVAL)?;
    image.set_metadata(MOVED_KEY, time)
}

/// All that is in the trash.
pub(super) fn entries(connection: &Arc<Connection>) -> Result<Vec<Entry>, Errno> {
    let connection = Arc::clone(connection);
    bounded(connection.limit(), move |_| {
        let (library, pool) = (connection.library(), connection.pool().raw());
        let mut room = 256;
        loop {
            // SAFETY: numbers and pointers, for which zeros do.
            let empty: TrashInfo = unsafe { MaybeUninit::zeroed().assume_init() };
            let mut raw = vec![empty; room];
            // SAFETY: a live pool, and as many places as are said to be there.
            match check(unsafe { (library.rbd_trash_list)(pool, raw.as_mut_ptr(), &raw mut room) })
            {
                Ok(_) => {
                    // SAFETY: librbd has filled in so many.
                    let entries = raw.iter().take(room).map(|raw| unsafe { entry(raw) }).collect();
                    // SAFETY: so many were filled in.
                    unsafe { (library.rbd_trash_list_cleanup)(raw.as_mut_ptr(), room) };
                    return Ok(entries);
                }
                Err(Errno::RANGE) => {}
                Err(error) => return Err(error),
            }
        }
    })
}

/// # Safety
/// `raw` is one that librbd has filled in.
unsafe fn entry(raw: &TrashInfo) -> Entry {
    // SAFETY: librbd has put a string into each.
    let (id, name) = unsafe { (CStr::from_ptr(raw.id), CStr::from_ptr(raw.name)) };
    Entry {
        id: id.to_owned(),
        name: name.to_string_lossy().into_owned(),
        moved_at: raw.deletion_time,
        source: raw.source,
    }
}

/// Removes for good what is in the trash, with its snapshots; `false`: glancefs did not move it there.
///
/// # Errors
/// `BUSY`, and nothing has changed, when a snapshot has clones or somebody has the image open for
/// writing; `NOENT` when it is there no more.
pub(super) fn purge(connection: &Arc<Connection>, entry: &Entry) -> Result<bool, Errno> {
    let image = Image::open_in_trash(connection, &entry.id, None, Access::Write)?;
    let marked = image.metadata(MOVED_KEY)?.and_then(|time| time.parse::<i64>().ok());
    // Ceph's time of it is cut to the second, by the clock of who moved it.
    let own = marked.is_some_and(|at| (at - 1..=at + MOVING).contains(&entry.moved_at));
    if !own {
        return Ok(false);
    }
    if image.watchers()? > 1 {
        return Err(Errno::BUSY);
    }
    let snapshots = image.snapshots()?;
    for snapshot in &snapshots {
        if has_clones(connection, entry, &snapshot.name)? {
            return Err(Errno::BUSY);
        }
    }
    for snapshot in &snapshots {
        // Ceph looks for clones again, and in every pool.
        image.unprotect(&snapshot.name)?;
        image.remove_snapshot(&snapshot.name)?;
    }
    drop(image);
    Image::remove_from_trash(connection, &entry.id).map(|()| true)
}

fn has_clones(connection: &Arc<Connection>, entry: &Entry, snapshot: &CStr) -> Result<bool, Errno> {
    match Image::open_in_trash(connection, &entry.id, Some(snapshot), Access::Read) {
        Ok(image) => match image.children() {
            // Some that this user may not see.
            Err(Errno::PERM | Errno::ACCES) => Ok(true),
            count => count.map(|count| count > 0),
        },
        // One that was removed by its owner and that Ceph keeps for its clones.
        Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error),
    }
}

fn now() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_move_and_only_for_what_users_moved() {
        let entry = |ago: i64, source| Entry {
            id: c"10".to_owned(),
            name: "x".to_string(),
            moved_at: now() - ago,
            source,
        };
        let hour = Duration::from_secs(3600);
        assert!(entry(3601, 0).is_older_than(hour) && entry(3601, 4).is_older_than(hour));
        assert!(!entry(3000, 0).is_older_than(hour));
        assert!(entry(0, 0).is_older_than(Duration::ZERO));
        assert!(!entry(0, 0).is_older_than(Duration::MAX));
        assert!(!entry(3601, 1).is_older_than(hour), "mirroring's own");
    }
}
