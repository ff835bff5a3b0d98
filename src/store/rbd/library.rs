//! librados and librbd, loaded when they are needed.
//!
//! The functions are declared by hand from the headers of Ceph 16.2 (Debian 12); the sonames, and
//! with them these signatures, have been stable since.  All that is needed is resolved at once, so
//! that an unfit library is one clear error at the start and never a surprise later.  Once loaded
//! it stays: Ceph keeps threads of its own that must not lose their code.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// What to do when something is missing.
const ADVICE: &str = "install librbd1 (Debian 12 or newer: apt install librbd1, which brings \
                      librados2), version 16.2 or newer";

const LIBRADOS: &str = "librados.so.2";
const LIBRBD: &str = "librbd.so.1";

/// `rados_t`
pub(super) type RawCluster = *mut c_void;
/// `rados_ioctx_t`
pub(super) type RawPool = *mut c_void;
/// `rbd_image_t`
pub(super) type RawImage = *mut c_void;
/// `rbd_image_options_t`
pub(super) type RawOptions = *mut c_void;
/// `rbd_completion_t`
pub(super) type RawCompletion = *mut c_void;
/// `rbd_callback_t`
pub(super) type Callback = unsafe extern "C" fn(RawCompletion, *mut c_void);
/// `librbd_progress_fn_t`: offset, total, the caller's own.
pub(super) type ProgressCallback = unsafe extern "C" fn(u64, u64, *mut c_void) -> c_int;
/// What `rbd_diff_iterate2` calls: offset, length, whether there is data, the caller's own.
pub(super) type DiffCallback = unsafe extern "C" fn(u64, usize, c_int, *mut c_void) -> c_int;

/// `rados_cluster_stat_t`, in KiB but for the objects.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClusterStat {
    pub(super) kib: u64,
    pub(super) kib_used: u64,
    pub(super) kib_available: u64,
    pub(super) objects: u64,
}

/// `rbd_image_info_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageInfo {
    pub(super) size: u64,
    pub(super) object_size: u64,
    pub(super) objects: u64,
    pub(super) order: c_int,
    pub(super) block_name_prefix: [c_char; 24],
    pub(super) parent_pool: i64,
    pub(super) parent_name: [c_char; 96],
}

/// `rbd_snap_info_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotInfo {
    pub(super) id: u64,
    pub(super) size: u64,
    pub(super) name: *const c_char,
}

/// `rbd_linked_image_spec_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkedImage {
    pub(super) pool_id: i64,
    pub(super) pool_name: *mut c_char,
    pub(super) pool_namespace: *mut c_char,
    pub(super) image_id: *mut c_char,
    pub(super) image_name: *mut c_char,
    pub(super) trash: bool,
}

/// `rbd_image_spec_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct ImageSpec {
    pub(super) id: *mut c_char,
    pub(super) name: *mut c_char,
}

/// `rbd_trash_image_info_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct TrashInfo {
    pub(super) id: *mut c_char,
    pub(super) name: *mut c_char,
    pub(super) source: c_int,
    pub(super) deletion_time: libc::time_t,
    pub(super) deferment_end_time: libc::time_t,
}

/// `rbd_image_watcher_t`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct WatcherInfo {
    pub(super) address: *mut c_char,
    pub(super) id: i64,
    pub(super) cookie: u64,
}

/// Image options, by the numbers of `rbd/librbd.h`.
pub(super) mod image_option {
    use std::ffi::c_int;

    pub(in super::super) const FORMAT: c_int = 0;
    pub(in super::super) const FEATURES: c_int = 1;
    pub(in super::super) const ORDER: c_int = 2;
    pub(in super::super) const DATA_POOL: c_int = 10;
}

/// Snapshot without asking those who have the image open to hold still: there is nobody else.
pub(super) const SNAPSHOT_SKIP_QUIESCE: u32 = 1;

/// Declares [`Library`]: a field for every function, and how to find them all.
macro_rules! functions {
    (
        needed { $($library:ident fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)* }
        newer { $($newer_library:ident fn $newer:ident($($newer_argument:ty),*);)* }
    ) => {
        /// The functions of librados and librbd that are used here.
        ///
        /// Each is as unsafe as C: `cluster`, `image` and `completion` wrap them.
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            $(
                /// Newer than the oldest release that is supported.
                pub(super) $newer: Option<unsafe extern "C" fn($($newer_argument),*)>,
            )*
        }

        impl Library {
            /// Finds everything, or says all that is missing.
            fn resolve(
                rados: &'static libloading::Library,
                rbd: &'static libloading::Library,
            ) -> Result<Self> {
                let opened = Opened { rados, rbd };
                let mut missing = Vec::new();
                $(
                    let $name = opened.$library(stringify!($name));
                    if $name.is_none() {
                        missing.push(stringify!($name));
                    }
                )*
                let incomplete = || Error::Config(format!(
                    "{LIBRADOS} or {LIBRBD} lacks {}: {ADVICE}",
                    missing.join(", "),
                ));
                Ok(Self {
                    $(
                        $name: {
                            let address = $name.ok_or_else(incomplete)?;
                            // SAFETY: the symbol of this name has this type by Ceph's headers, and
                            // the library that holds it is never unloaded.
                            unsafe {
                                std::mem::transmute::<
                                    *mut c_void,
                                    unsafe extern "C" fn($($argument),*) $(-> $result)?,
                                >(address)
                            }
                        },
                    )*
                    $(
                        $newer: opened.$newer_library(stringify!($newer)).map(|address| {
                            // SAFETY: as above.
                            unsafe {
                                std::mem::transmute::<
                                    *mut c_void,
                                    unsafe extern "C" fn($($newer_argument),*),
                                >(address)
                            }
                        }),
                    )*
                })
            }
        }
    };
}

functions! {
    needed {
        rados fn rados_version(*mut c_int, *mut c_int, *mut c_int);
        rados fn rados_create(*mut RawCluster, *const c_char) -> c_int;
        rados fn rados_conf_read_file(RawCluster, *const c_char) -> c_int;
        rados fn rados_conf_set(RawCluster, *const c_char, *const c_char) -> c_int;
        rados fn rados_conf_get(RawCluster, *const c_char, *mut c_char, usize) -> c_int;
        rados fn rados_connect(RawCluster) -> c_int;
        rados fn rados_shutdown(RawCluster);
        rados fn rados_cluster_fsid(RawCluster, *mut c_char, usize) -> c_int;
        rados fn rados_cluster_stat(RawCluster, *mut ClusterStat) -> c_int;
        rados fn rados_mon_command(
            RawCluster, *const *const c_char, usize, *const c_char, usize,
            *mut *mut c_char, *mut usize, *mut *mut c_char, *mut usize
        ) -> c_int;
        rados fn rados_buffer_free(*mut c_char);
        rados fn rados_ioctx_create(RawCluster, *const c_char, *mut RawPool) -> c_int;
        rados fn rados_ioctx_create2(RawCluster, i64, *mut RawPool) -> c_int;
        rados fn rados_ioctx_destroy(RawPool);
        rados fn rados_ioctx_get_id(RawPool) -> i64;
        rados fn rados_stat(RawPool, *const c_char, *mut u64, *mut i64) -> c_int;
        rados fn rados_exec(
            RawPool, *const c_char, *const c_char, *const c_char,
            *const c_char, usize, *mut c_char, usize
        ) -> c_int;
        rbd fn rbd_image_options_create(*mut RawOptions);
        rbd fn rbd_image_options_destroy(RawOptions);
        rbd fn rbd_image_options_set_uint64(RawOptions, c_int, u64) -> c_int;
        rbd fn rbd_image_options_set_string(RawOptions, c_int, *const c_char) -> c_int;
        rbd fn rbd_features_from_string(*const c_char, *mut u64) -> c_int;
        rbd fn rbd_create4(RawPool, *const c_char, u64, RawOptions) -> c_int;
        rbd fn rbd_list2(RawPool, *mut ImageSpec, *mut usize) -> c_int;
        rbd fn rbd_image_spec_list_cleanup(*mut ImageSpec, usize);
        rbd fn rbd_open(RawPool, *const c_char, *mut RawImage, *const c_char) -> c_int;
        rbd fn rbd_open_read_only(RawPool, *const c_char, *mut RawImage, *const c_char) -> c_int;
        rbd fn rbd_close(RawImage) -> c_int;
        rbd fn rbd_stat(RawImage, *mut ImageInfo, usize) -> c_int;
        rbd fn rbd_get_id(RawImage, *mut c_char, usize) -> c_int;
        rbd fn rbd_get_block_name_prefix(RawImage, *mut c_char, usize) -> c_int;
        rbd fn rbd_get_stripe_unit(RawImage, *mut u64) -> c_int;
        rbd fn rbd_get_overlap(RawImage, *mut u64) -> c_int;
        rbd fn rbd_get_data_pool_id(RawImage) -> i64;
        rbd fn rbd_resize2(RawImage, u64, bool, ProgressCallback, *mut c_void) -> c_int;
        rbd fn rbd_snap_create2(
            RawImage, *const c_char, u32, ProgressCallback, *mut c_void
        ) -> c_int;
        rbd fn rbd_snap_remove2(
            RawImage, *const c_char, u32, ProgressCallback, *mut c_void
        ) -> c_int;
        rbd fn rbd_snap_set(RawImage, *const c_char) -> c_int;
        rbd fn rbd_snap_protect(RawImage, *const c_char) -> c_int;
        rbd fn rbd_snap_unprotect(RawImage, *const c_char) -> c_int;
        rbd fn rbd_snap_list(RawImage, *mut SnapshotInfo, *mut c_int) -> c_int;
        rbd fn rbd_snap_list_end(*mut SnapshotInfo);
        rbd fn rbd_list_children3(RawImage, *mut LinkedImage, *mut usize) -> c_int;
        rbd fn rbd_linked_image_spec_list_cleanup(*mut LinkedImage, usize);
        rbd fn rbd_watchers_list(RawImage, *mut WatcherInfo, *mut usize) -> c_int;
        rbd fn rbd_watchers_list_cleanup(*mut WatcherInfo, usize);
        rbd fn rbd_metadata_get(RawImage, *const c_char, *mut c_char, *mut usize) -> c_int;
        rbd fn rbd_metadata_set(RawImage, *const c_char, *const c_char) -> c_int;
        rbd fn rbd_diff_iterate2(
            RawImage, *const c_char, u64, u64, u8, u8, DiffCallback, *mut c_void
        ) -> c_int;
        rbd fn rbd_remove_with_progress(
            RawPool, *const c_char, ProgressCallback, *mut c_void
        ) -> c_int;
        rbd fn rbd_trash_move(RawPool, *const c_char, u64) -> c_int;
        rbd fn rbd_trash_list(RawPool, *mut TrashInfo, *mut usize) -> c_int;
        rbd fn rbd_trash_list_cleanup(*mut TrashInfo, usize);
        rbd fn rbd_trash_remove_with_progress(
            RawPool, *const c_char, bool, ProgressCallback, *mut c_void
        ) -> c_int;
        rbd fn rbd_open_by_id(RawPool, *const c_char, *mut RawImage, *const c_char) -> c_int;
        rbd fn rbd_open_by_id_read_only(
            RawPool, *const c_char, *mut RawImage, *const c_char
        ) -> c_int;
        rbd fn rbd_aio_create_completion(*mut c_void, Callback, *mut RawCompletion) -> c_int;
        rbd fn rbd_aio_get_return_value(RawCompletion) -> isize;
        rbd fn rbd_aio_release(RawCompletion);
        rbd fn rbd_aio_read2(RawImage, u64, usize, *mut c_char, RawCompletion, c_int) -> c_int;
        rbd fn rbd_aio_write2(RawImage, u64, usize, *const c_char, RawCompletion, c_int) -> c_int;
        rbd fn rbd_aio_write_zeroes(RawImage, u64, usize, RawCompletion, c_int, c_int) -> c_int;
        rbd fn rbd_aio_flush(RawImage, RawCompletion) -> c_int;
    }
    newer {
        rados fn rados_set_pool_full_try(RawPool);
    }
}

/// The two files, open.
struct Opened {
    rados: &'static libloading::Library,
    rbd: &'static libloading::Library,
}

impl Opened {
    fn rados(&self, name: &str) -> Option<*mut c_void> {
        address(self.rados, name)
    }

    fn rbd(&self, name: &str) -> Option<*mut c_void> {
        address(self.rbd, name)
    }
}

fn address(library: &'static libloading::Library, name: &str) -> Option<*mut c_void> {
    // SAFETY: nothing is called here, and whatever the symbol is, it has an address; the library
    // that it points into stays.
    let address = unsafe { library.get::<*mut c_void>(name).ok()?.try_as_raw_ptr() };
    address.filter(|address| !address.is_null())
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// [`leave_without_destructors`], if Ceph is in use at all.
pub(super) fn leave_in_peace() {
    if LIBRARY.get().is_some() {
        leave_without_destructors();
    }
}

unsafe extern "C" {
    /// glibc: as atexit(3), with the exit status and an argument.
    fn on_exit(function: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
}

/// Has the process, when it ends, do so without Ceph's destructors.  They would take away under
/// Ceph's own threads what these still use, which now and then ended a program that had done all
/// its work with SIGSEGV.
///
/// What is registered last runs first, so this is called again whenever Ceph may have registered
/// more: after a connection is made.
pub(super) fn leave_without_destructors() {
    extern "C" fn leave(status: c_int, _: *mut c_void) {
        // SAFETY: ends the process.  Rust has flushed its standard output before exit(3).
        unsafe { libc::_exit(status) }
    }
    // SAFETY: a function that never goes away, and no argument.  Should there be no room for it,
    // the process ends as any other does.
    unsafe { on_exit(leave, std::ptr::null_mut()) };
}

/// Heaps of the C library that threads share.
const HEAPS: c_int = 2;

/// Has Ceph's threads share few heaps.  With one for each, as by default, memory that one thread
/// takes and another gives back, as Ceph's messages are, piles up: half as much again as is in use.
fn share_heaps() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a number that glibc reads whenever a thread takes its first memory.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}

fn open(name: &str) -> Result<&'static libloading::Library> {
    // SAFETY: Ceph's libraries run nothing at load but the constructors of their own statics.
    let library = unsafe { libloading::Library::new(name) };
    let library = library
        .map_err(|error| Error::Config(format!("cannot load {name} ({error}): {ADVICE}")))?;
    Ok(Box::leak(Box::new(library)))
}

impl Library {
    /// The libraries, loaded by the first who asks.
    ///
    /// # Errors
    /// `Config`, with the package to install.
    pub(super) fn get() -> Result<&'static Self> {
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        share_heaps();
        let library = Self::load(LIBRADOS, LIBRBD)?;
        leave_without_destructors();
        Ok(LIBRARY.get_or_init(|| library))
    }

    fn load(rados: &str, rbd: &str) -> Result<Self> {
        Self::resolve(open(rados)?, open(rbd)?)
    }

    /// The release of librados, as it numbers itself: `3.0.0`.
    pub(super) fn version(&self) -> String {
        let (mut major, mut minor, mut extra) = (0, 0, 0);
        // SAFETY: three integers of our own.
        unsafe { (self.rados_version)(&raw mut major, &raw mut minor, &raw mut extra) };
        format!("{major}.{minor}.{extra}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_names_the_package() {
        let Err(Error::Config(words)) = Library::load("libglancefs-no-such.so.9", LIBRBD) else {
            panic!("it cannot be there")
        };
        assert!(words.contains("libglancefs-no-such.so.9"), "{words}");
        assert!(words.contains("install librbd1"), "{words}");
    }

    #[test]
    fn all_missing_functions_are_named_at_once() {
        let Err(Error::Config(words)) = Library::load("libc.so.6", "libc.so.6") else {
            panic!("the C library is not Ceph")
        };
        for name in ["rados_create", "rados_exec", "rbd_create4", "rbd_aio_flush", "librbd1"] {
            assert!(words.contains(name), "{name}: {words}");
        }
        assert!(!words.contains("rados_set_pool_full_try"), "not needed: {words}");
    }
}
