//! What can be asked about an open image: snapshots, clones, watchers, metadata, data.

use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use super::super::super::ByteRange;
use super::super::bounded::{Progress, progressed};
use super::super::errno::{Errno, check};
use super::super::extents::Extents;
use super::super::library::{LinkedImage, RawImage, SnapshotInfo, WatcherInfo};
use super::{Image, Snapshot};

impl Image {
    /// All snapshots.
    pub(in super::super) fn snapshots(self: &Arc<Self>) -> Result<Vec<Snapshot>, Errno> {
        self.call(|image, _| {
            let library = image.library();
            let unset = SnapshotInfo { id: 0, size: 0, name: ptr::null() };
            let mut room: c_int = 16;
            let (raw, count) = loop {
                let mut raw = vec![unset; usize::try_from(room).unwrap_or_default()];
                // SAFETY: a live image and as many places as are said to be there.
                let listed =
                    unsafe { (library.rbd_snap_list)(image.raw, raw.as_mut_ptr(), &raw mut room) };
                match check(listed) {
                    Ok(count) => break (raw, usize::try_from(count).unwrap_or_default()),
                    Err(Errno::RANGE) => {}
                    Err(error) => return Err(error),
                }
            };
            let snapshots = raw.iter().take(count).map(|raw| {
                // SAFETY: librbd has put a string there.
                Snapshot { id: raw.id, name: unsafe { CStr::from_ptr(raw.name) }.to_owned() }
            });
            let snapshots = snapshots.collect();
            if count > 0 {
                let mut raw = raw;
                // SAFETY: what the list call filled in; it ends with an entry without a name.
                unsafe { (library.rbd_snap_list_end)(raw.as_mut_ptr()) };
            }
            Ok(snapshots)
        })
    }

    /// How many clones the snapshot has that it was opened at.
    ///
    /// # Errors
    /// `PERM` when there are some in pools that this user may not read.
    pub(in super::super) fn children(self: &Arc<Self>) -> Result<u64, Errno> {
        self.call(|image, _| {
            let library = image.library();
            let (list, cleanup) =
                (library.rbd_list_children3, library.rbd_linked_image_spec_list_cleanup);
            // SAFETY: numbers and pointers, for which zeros do.
            let empty: LinkedImage = unsafe { MaybeUninit::zeroed().assume_init() };
            // SAFETY: a list call of librbd's and the cleanup that belongs to it.
            unsafe { count_of(image.raw, list, cleanup, empty) }
        })
    }

    /// How many have it open for writing, this handle included if it is one of them.
    pub(in super::super) fn watchers(self: &Arc<Self>) -> Result<u64, Errno> {
        self.call(|image, _| {
            let library = image.library();
            let (list, cleanup) = (library.rbd_watchers_list, library.rbd_watchers_list_cleanup);
            // SAFETY: numbers and pointers, for which zeros do.
            let empty: WatcherInfo = unsafe { MaybeUninit::zeroed().assume_init() };
            // SAFETY: a list call of librbd's and the cleanup that belongs to it.
            unsafe { count_of(image.raw, list, cleanup, empty) }
        })
    }

    /// What is recorded with the image under `key`.
    pub(in super::super) fn metadata(
        self: &Arc<Self>,
        key: &'static CStr,
    ) -> Result<Option<String>, Errno> {
        self.call(move |image, _| {
            let mut length = 4 << 10;
            loop {
                let mut value = vec![0_u8; length];
                // SAFETY: a live image, a string, and a buffer of the length that is given.
                let got = unsafe {
                    (image.library().rbd_metadata_get)(
                        image.raw,
                        key.as_ptr(),
                        value.as_mut_ptr().cast(),
                        &raw mut length,
                    )
                };
                match check(got) {
                    Ok(_) => {
                        let value = CStr::from_bytes_until_nul(&value).ok();
                        return Ok(value.map(|value| value.to_string_lossy().into_owned()));
                    }
                    Err(Errno::RANGE) => {}
                    Err(Errno::NOENT) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    /// Records something with the image.
    pub(in super::super) fn set_metadata(
        self: &Arc<Self>,
        key: &'static CStr,
        value: CString,
    ) -> Result<(), Errno> {
        self.call(move |image, _| {
            // SAFETY: a live image and two strings.
            check(unsafe {
                (image.library().rbd_metadata_set)(image.raw, key.as_ptr(), value.as_ptr())
            })
            .map(drop)
        })
    }

    /// Where there is data, as its objects tell: to the end of what was written in each.
    pub(in super::super) fn data(self: &Arc<Self>, size: u64) -> Result<Extents, Errno> {
        self.call(move |image, progress| {
            let mut found = Found { extents: Extents::default(), progress };
            // SAFETY: a live image, no other snapshot to compare with, and a place that outlives
            // the call, which calls back from no other thread at the same time.
            check(unsafe {
                (image.library().rbd_diff_iterate2)(
                    image.raw,
                    ptr::null(),
                    0,
                    size,
                    1,
                    0,
                    found_data,
                    (&raw mut found).cast(),
                )
            })?;
            found.extents.bound();
            Ok(found.extents)
        })
    }
}

/// What [`Image::data`] collects.
struct Found<'p> {
    extents: Extents,
    progress: &'p Progress,
}

unsafe extern "C" fn found_data(
    offset: u64,
    length: usize,
    exists: c_int,
    found: *mut c_void,
) -> c_int {
    // SAFETY: `Image::data` passes it, and uses it only after the iteration.
    let found = unsafe { &mut *found.cast::<Found<'_>>() };
    if exists != 0 {
        let range: ByteRange = offset..offset.saturating_add(length as u64);
        found.extents.insert(range);
    }
    // SAFETY: live progress.
    unsafe { progressed(0, 0, found.progress.argument()) }
}

/// How many entries one of librbd's lists has.
///
/// # Safety
/// `image` is live; `list` fills in as many entries as there is room for, else answers RANGE with
/// the room that it needs; `cleanup` frees what it filled in.
unsafe fn count_of<T: Copy>(
    image: RawImage,
    list: unsafe extern "C" fn(RawImage, *mut T, *mut usize) -> c_int,
    cleanup: unsafe extern "C" fn(*mut T, usize),
    empty: T,
) -> Result<u64, Errno> {
    let mut room = 16;
    loop {
        let mut entries = vec![empty; room];
        // SAFETY: as many places as are said to be there.
        match check(unsafe { list(image, entries.as_mut_ptr(), &raw mut room) }) {
            Ok(_) => {
                // SAFETY: so many were filled in.
                unsafe { cleanup(entries.as_mut_ptr(), room) };
                return Ok(room as u64);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
}
