//! An RBD image, open, and what librbd can do with it.  Every call has a deadline ([`bounded`]).

mod lists;

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bounded::{Progress, bounded, progressed, unattended};
use super::completion::is_librbds_thread;
use super::connection::Connection;
use super::errno::{Errno, check};
use super::library::{
    ImageInfo, Library, RawImage, RawOptions, RawPool, SNAPSHOT_SKIP_QUIESCE, image_option,
};

/// How an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nobody learns of it: it blocks no removal, and is told of none.
    Read,
    /// With a watch, so that others cannot remove it meanwhile.
    Write,
}

/// How a new image is laid out.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Objects have 2^order bytes.
    pub(super) order: u8,
    /// Feature bits.
    pub(super) features: u64,
    /// Where the data goes, if not where the image is.
    pub(super) data_pool: Option<CString>,
}

/// A snapshot of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) id: u64,
    pub(super) name: CString,
}

/// An open image.
pub(super) struct Image {
    raw: RawImage,
    connection: Arc<Connection>,
    /// The cluster has not answered in time: closing would take as long again, or longer.
    unanswered: AtomicBool,
}

// SAFETY: `rbd_image_t` may be used by any thread.
unsafe impl Send for Image {}
// SAFETY: as above, by several at once: librbd has its own locks.
unsafe impl Sync for Image {}

/// One of librbd's functions that open an image.
type OpenFunction =
    unsafe extern "C" fn(RawPool, *const c_char, *mut RawImage, *const c_char) -> c_int;

/// A raw image on its way into, or out of, an [`Image`].
struct Unowned(RawImage);

// SAFETY: as for `Image`.
unsafe impl Send for Unowned {}

impl Image {
    /// Makes an image.
    pub(super) fn create(
        connection: &Arc<Connection>,
        name: &CStr,
        size: u64,
        layout: &Layout,
    ) -> Result<(), Errno> {
        let (name, layout) = (name.to_owned(), layout.clone());
        pool_call(connection, move |connection, _| {
            let options = Options::of(connection.library(), &layout)?;
            // SAFETY: a live pool, a string and live options.
            check(unsafe {
                (connection.library().rbd_create4)(
                    connection.pool().raw(),
                    name.as_ptr(),
                    size,
                    options.raw,
                )
            })
            .map(drop)
        })
    }

    /// Removes an image that has no snapshots and that nobody has open for writing.
    pub(super) fn remove(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
        let name = name.to_owned();
        pool_call(connection, move |connection, progress| {
            // SAFETY: a live pool, a string, and progress that outlives the call.
            check(unsafe {
                (connection.library().rbd_remove_with_progress)(
                    connection.pool().raw(),
                    name.as_ptr(),
                    progressed,
                    progress.argument(),
                )
            })
            .map(drop)
        })
    }

    /// Moves an image to the pool's trash, from where `rbd trash` can bring it back or purge it.
    pub(super) fn move_to_trash(connection: &Arc<Connection>, name: &CStr) -> Result<(), Errno> {
        let name = name.to_owned();
        pool_call(connection, move |connection, _| {
            let pool = connection.pool().raw();
            // SAFETY: a live pool and a string.
            check(unsafe { (connection.library().rbd_trash_move)(pool, name.as_ptr(), 0) })
                .map(drop)
        })
    }

    /// Removes for good an image in the trash, which has no snapshots; by Ceph's own id of it.
    pub(super) fn remove_from_trash(connection: &Arc<Connection>, id: &CStr) -> Result<(), Errno> {
        let id = id.to_owned();
        pool_call(connection, move |connection, progress| {
            // SAFETY: a live pool, a string, and progress that outlives the call.
            check(unsafe {
                (connection.library().rbd_trash_remove_with_progress)(
                    connection.pool().raw(),
                    id.as_ptr(),
                    false,
                    progressed,
                    progress.argument(),
                )
            })
            .map(drop)
        })
    }

    /// Opens an image, or a snapshot of it.
    pub(super) fn open(
        connection: &Arc<Connection>,
        name: &CStr,
        snapshot: Option<&CStr>,
        access: Access,
    ) -> Result<Arc<Self>, Errno> {
        let library = connection.library();
        let open = match access {
            Access::Read => library.rbd_open_read_only,
            Access::Write => library.rbd_open,
        };
        Self::open_by(open, connection, name, snapshot)
    }

    /// Opens an image in the trash by Ceph's own id of it, or a snapshot of it.
    pub(super) fn open_in_trash(
        connection: &Arc<Connection>,
        id: &CStr,
        snapshot: Option<&CStr>,
        access: Access,
    ) -> Result<Arc<Self>, Errno> {
        let library = connection.library();
        let open = match access {
            Access::Read => library.rbd_open_by_id_read_only,
            Access::Write => library.rbd_open_by_id,
        };
        Self::open_by(open, connection, id, snapshot)
    }

    fn open_by(
        open: OpenFunction,
        connection: &Arc<Connection>,
        name: &CStr,
        snapshot: Option<&CStr>,
    ) -> Result<Arc<Self>, Errno> {
        let (name, snapshot) = (name.to_owned(), snapshot.map(CStr::to_owned));
        let connection = Arc::clone(connection);
        bounded(connection.limit(), move |_| {
            let snapshot = snapshot.as_ref().map_or(ptr::null(), |name| name.as_ptr());
            let mut raw = ptr::null_mut();
            // SAFETY: one of librbd's functions that open, a live pool, two strings (or NULL: no
            // snapshot) and a place for the image.
            check(unsafe { open(connection.pool().raw(), name.as_ptr(), &raw mut raw, snapshot) })?;
            // Should nobody wait any more, dropping it closes it.
            Ok(Arc::new(Self { raw, connection, unanswered: AtomicBool::new(false) }))
        })
    }

    pub(super) fn raw(&self) -> RawImage {
        self.raw
    }

    pub(super) fn library(&self) -> &'static Library {
        self.connection.library()
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn call<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Self, &Progress) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        let image = Arc::clone(self);
        let outcome = bounded(self.connection.limit(), move |progress| act(&image, progress));
        outcome.inspect_err(|error| self.note(*error))
    }

    /// Notes how a request ended.
    pub(super) fn note(&self, error: Errno) {
        if error == Errno::TIMEDOUT {
            self.unanswered.store(true, Ordering::Relaxed);
        }
    }

    /// Size and object size, both in bytes.
    pub(super) fn info(self: &Arc<Self>) -> Result<ImageInfo, Errno> {
        self.call(|image, _| {
            let mut info = MaybeUninit::<ImageInfo>::zeroed();
            let size = size_of::<ImageInfo>();
            // SAFETY: a live image and a place of the size that is given.
            check(unsafe { (image.library().rbd_stat)(image.raw, info.as_mut_ptr(), size) })?;
            // SAFETY: all of it is numbers, for which zeros do, too.
            Ok(unsafe { info.assume_init() })
        })
    }

    /// Ceph's own id of the image: what the names of its objects are made of.
    pub(super) fn internal_id(self: &Arc<Self>) -> Result<String, Errno> {
        self.call(|image, _| {
            text(|buffer, length| {
                // SAFETY: a live image and a buffer of the length that is given.
                unsafe { (image.library().rbd_get_id)(image.raw, buffer, length) }
            })
        })
    }

    /// What the names of its data objects begin with.
    pub(super) fn object_prefix(self: &Arc<Self>) -> Result<String, Errno> {
        self.call(|image, _| {
            text(|buffer, length| {
                // SAFETY: a live image and a buffer of the length that is given.
                unsafe { (image.library().rbd_get_block_name_prefix)(image.raw, buffer, length) }
            })
        })
    }

    /// How many bytes at a time go to one object.
    pub(super) fn stripe_unit(self: &Arc<Self>) -> Result<u64, Errno> {
        self.number(self.library().rbd_get_stripe_unit)
    }

    /// How many of its bytes may come from the image that it was cloned from.
    pub(super) fn overlap(self: &Arc<Self>) -> Result<u64, Errno> {
        self.number(self.library().rbd_get_overlap)
    }

    fn number(
        self: &Arc<Self>,
        get: unsafe extern "C" fn(RawImage, *mut u64) -> c_int,
    ) -> Result<u64, Errno> {
        self.call(move |image, _| {
            let mut number = 0;
            // SAFETY: one of librbd's getters, a live image and a place for the number.
            check(unsafe { get(image.raw, &raw mut number) })?;
            Ok(number)
        })
    }

    /// The pool that its data is in.
    pub(super) fn data_pool(&self) -> i64 {
        // SAFETY: a live image; this is answered from memory.
        unsafe { (self.library().rbd_get_data_pool_id)(self.raw) }
    }

    /// Sets the size; what lies beyond is gone.
    pub(super) fn resize(self: &Arc<Self>, size: u64) -> Result<(), Errno> {
        self.call(move |image, progress| {
            let argument = progress.argument();
            // SAFETY: a live image, and progress that outlives the call.
            check(unsafe {
                (image.library().rbd_resize2)(image.raw, size, true, progressed, argument)
            })
            .map(drop)
        })
    }

    /// Makes a snapshot.
    pub(super) fn create_snapshot(self: &Arc<Self>, name: &CStr) -> Result<(), Errno> {
        let name = name.to_owned();
        self.call(move |image, progress| {
            // SAFETY: a live image, a string, and progress that outlives the call.
            check(unsafe {
                (image.library().rbd_snap_create2)(
                    image.raw,
                    name.as_ptr(),
                    SNAPSHOT_SKIP_QUIESCE,
                    progressed,
                    progress.argument(),
                )
            })
            .map(drop)
        })
    }

    /// Removes a snapshot that is not protected.
    pub(super) fn remove_snapshot(self: &Arc<Self>, name: &CStr) -> Result<(), Errno> {
        let name = name.to_owned();
        self.call(move |image, progress| {
            // SAFETY: a live image, a string, and progress that outlives the call.
            check(unsafe {
                (image.library().rbd_snap_remove2)(
                    image.raw,
                    name.as_ptr(),
                    0,
                    progressed,
                    progress.argument(),
                )
            })
            .map(drop)
        })
    }

    /// Has a handle that was opened without a snapshot look at one.
    pub(super) fn look_at(self: &Arc<Self>, snapshot: &CStr) -> Result<(), Errno> {
        self.by_name(self.library().rbd_snap_set, snapshot)
    }

    /// Keeps a snapshot from being removed; one that is protected already is fine.
    pub(super) fn protect(self: &Arc<Self>, name: &CStr) -> Result<(), Errno> {
        match self.by_name(self.library().rbd_snap_protect, name) {
            Err(Errno::BUSY) => Ok(()),
            outcome => outcome,
        }
    }

    /// Undoes [`protect`](Self::protect); one that is not protected is fine.
    ///
    /// # Errors
    /// `BUSY` when there are clones.
    pub(super) fn unprotect(self: &Arc<Self>, name: &CStr) -> Result<(), Errno> {
        match self.by_name(self.library().rbd_snap_unprotect, name) {
            Err(Errno::INVAL) => Ok(()),
            outcome => outcome,
        }
    }

    fn by_name(
        self: &Arc<Self>,
        act: unsafe extern "C" fn(RawImage, *const c_char) -> c_int,
        name: &CStr,
    ) -> Result<(), Errno> {
        let name = name.to_owned();
        // SAFETY: one of librbd's functions on snapshots, a live image and a string.
        self.call(move |image, _| check(unsafe { act(image.raw, name.as_ptr()) }).map(drop))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let (raw, connection) = (Unowned(self.raw), Arc::clone(&self.connection));
        let close = move || {
            let Unowned(raw) = { raw };
            // SAFETY: nobody has the image any more; closing waits for requests under way.
            check(unsafe { (connection.library().rbd_close)(raw) })
        };
        let closed = if self.unanswered.load(Ordering::Relaxed) || is_librbds_thread() {
            unattended(move || {
                let _ = close();
            })
        } else {
            bounded(self.connection.limit(), move |_| close()).map(drop)
        };
        if let Err(error) = closed {
            // It may be open still, and its cluster must not be shut down under it.
            std::mem::forget(Arc::clone(&self.connection));
            tracing::warn!(%error, "an RBD image could not be closed");
        }
    }
}

/// Options for new images.
struct Options {
    library: &'static Library,
    raw: RawOptions,
}

impl Options {
    fn of(library: &'static Library, layout: &Layout) -> Result<Self, Errno> {
        let mut raw = ptr::null_mut();
        // SAFETY: a place for the options.
        unsafe { (library.rbd_image_options_create)(&raw mut raw) };
        let options = Self { library, raw };
        options.set(image_option::FORMAT, 2)?;
        options.set(image_option::FEATURES, layout.features)?;
        options.set(image_option::ORDER, u64::from(layout.order))?;
        if let Some(pool) = &layout.data_pool {
            // SAFETY: live options and a string.
            check(unsafe {
                (library.rbd_image_options_set_string)(raw, image_option::DATA_POOL, pool.as_ptr())
            })?;
        }
        Ok(options)
    }

    fn set(&self, option: c_int, value: u64) -> Result<(), Errno> {
        // SAFETY: live options.
        let set = unsafe { (self.library.rbd_image_options_set_uint64)(self.raw, option, value) };
        check(set).map(drop)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made in `of`, and used by nobody else.
        unsafe { (self.library.rbd_image_options_destroy)(self.raw) };
    }
}

fn pool_call<T: Send + 'static>(
    connection: &Arc<Connection>,
    act: impl FnOnce(&Connection, &Progress) -> Result<T, Errno> + Send + 'static,
) -> Result<T, Errno> {
    let connection = Arc::clone(connection);
    bounded(connection.limit(), move |progress| act(&connection, progress))
}

/// A short text that a getter fills in.
fn text(get: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<String, Errno> {
    let mut buffer = [0_u8; 256];
    check(get(buffer.as_mut_ptr().cast(), buffer.len()))?;
    let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| Errno::IO)?;
    Ok(text.to_string_lossy().into_owned())
}
