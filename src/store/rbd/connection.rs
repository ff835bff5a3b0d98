//! One connection to a cluster, with its pool: configured, made, used, shut down.
//!
//! Ceph's client finds its way back by itself when a monitor or an OSD was away.  What it does not
//! come back from is being shut out ("blocklisted"); then [`super::cluster`] makes a new one.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::super::Capacity;
use super::RbdOptions;
use super::bounded::{bounded, unattended};
use super::completion::is_librbds_thread;
use super::errno::{Errno, check};
use super::library::{ClusterStat, Library, RawCluster, RawPool, leave_without_destructors};
use crate::error::{Error, Result};

/// How long Ceph may take for one operation when neither Glance's option nor ceph.conf says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// `rados_connect_timeout = 0` means "for ever" to Glance; nothing waits that long here.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// How much longer than Ceph's own timeouts to wait, at least.
const MARGIN: Duration = Duration::from_secs(1);

/// The options that bound Ceph's waits, and what they are when nobody has set them.
/// Glance: sets all three to `rados_connect_timeout`.
const TIMEOUTS: [(&CStr, f64); 3] = [
    (c"rados_osd_op_timeout", 0.0),
    (c"rados_mon_op_timeout", 0.0),
    (c"client_mount_timeout", 300.0),
];

/// What is set for every connection, and why.
const SETTINGS: [(&CStr, &CStr); 8] = [
    // Failures come back as errors; the daemon's stderr is its own log.
    (c"log_to_stderr", c"false"),
    (c"err_to_stderr", c"false"),
    // Uploads are pipelined and blocks are cached above: another copy would only delay errors.
    (c"rbd_cache", c"false"),
    (c"rbd_readahead_max_bytes", c"0"),
    // Requests go out from the thread that makes them, which saves a change of threads for each...
    (c"rbd_non_blocking_aio", c"false"),
    // ...and which must not be held up: those who make requests bound what is under way.
    (c"objecter_inflight_ops", c"0"),
    (c"objecter_inflight_op_bytes", c"0"),
    // An upload's image is nobody else's: taking a dead daemon's lock needs no ban on its client,
    // which Glance's documented caps would not allow.
    (c"rbd_blocklist_on_break_lock", c"false"),
];

/// `RBD_FEATURE_LAYERING`: what clones need.
const LAYERING: u64 = 1;

/// A handle of librados that is configured, and connected or not.
struct Handle {
    library: &'static Library,
    cluster: RawCluster,
}

// SAFETY: `rados_t` may be used by any thread.
unsafe impl Send for Handle {}
// SAFETY: as above, by several at once.
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes a handle and reads the configuration; nothing is asked of the network.
    fn new(library: &'static Library, options: &RbdOptions) -> Result<Self> {
        let user = options.user.as_deref().map(c_string).transpose()?;
        let user = user.as_ref().map_or(ptr::null(), |user| user.as_ptr());
        let mut cluster = ptr::null_mut();
        // SAFETY: a place for the handle, and a name or NULL for "admin".
        let created = unsafe { (library.rados_create)(&raw mut cluster, user) };
        check(created).map_err(|error| Error::Config(format!("rbd_store_user: {error}")))?;
        let handle = Self { library, cluster };
        handle.read_file(options)?;
        for (option, value) in SETTINGS {
            handle.set(option, value);
        }
        handle.set_timeouts(options.connect_timeout);
        Ok(handle)
    }

    fn read_file(&self, options: &RbdOptions) -> Result<()> {
        let path = match &options.conf {
            Some(path) => Some(c_string(&path.to_string_lossy())?),
            None => None,
        };
        let raw = path.as_ref().map_or(ptr::null(), |path| path.as_ptr());
        // SAFETY: a live handle; a path, or NULL for Ceph's own search.
        let read = unsafe { (self.library.rados_conf_read_file)(self.cluster, raw) };
        check(read).map(drop).map_err(|error| {
            let file = options.conf.as_ref().map_or_else(
                || "ceph.conf in its usual places".to_owned(),
                |path| path.display().to_string(),
            );
            Error::Config(format!(
                "rbd_store_ceph_conf: cannot read {file}: {error}; copy the \
                 cluster's ceph.conf there"
            ))
        })
    }

    /// Sets an option.  One that this release does not know has no effect there either.
    fn set(&self, option: &CStr, value: &CStr) {
        // SAFETY: a live handle and two strings.
        unsafe { (self.library.rados_conf_set)(self.cluster, option.as_ptr(), value.as_ptr()) };
    }

    fn get(&self, option: &CStr) -> Option<String> {
        let mut value = vec![0_u8; 4096];
        // SAFETY: a live handle, a string, and a buffer of the length that is given.
        let got = unsafe {
            (self.library.rados_conf_get)(
                self.cluster,
                option.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        check(got).ok()?;
        let value = CStr::from_bytes_until_nul(&value).ok()?;
        Some(value.to_string_lossy().into_owned())
    }

    fn seconds(&self, option: &CStr) -> Option<f64> {
        self.get(option)?.parse().ok()
    }

    /// Sees to it that every one of Ceph's waits ends.
    fn set_timeouts(&self, wanted: Option<Duration>) {
        for (option, unset) in TIMEOUTS {
            let timeout = match wanted {
                Some(Duration::ZERO) => LONGEST_TIMEOUT,
                Some(timeout) => timeout,
                None if self.seconds(option).is_some_and(|seconds| seconds != unset) => continue,
                None => DEFAULT_TIMEOUT,
            };
            if let Ok(value) = CString::new(timeout.as_secs().max(1).to_string()) {
                self.set(option, &value);
            }
        }
    }

    /// The longest that Ceph should take for any one thing.
    fn timeout(&self) -> Duration {
        let seconds = TIMEOUTS.iter().filter_map(|(option, _)| self.seconds(option));
        let longest = seconds.fold(0.0, f64::max);
        Duration::try_from_secs_f64(longest).unwrap_or(LONGEST_TIMEOUT).min(LONGEST_TIMEOUT)
    }
}

/// A raw handle on its way out of a [`Handle`].
struct Unowned(RawCluster);

// SAFETY: as for `Handle`.
unsafe impl Send for Unowned {}

impl Drop for Handle {
    fn drop(&mut self) {
        let (library, cluster) = (self.library, Unowned(self.cluster));
        let shut_down = move || {
            let Unowned(cluster) = { cluster };
            // SAFETY: every pool and image of this handle keeps it alive, so there are none.
            unsafe { (library.rados_shutdown)(cluster) };
        };
        if !is_librbds_thread() {
            shut_down();
        } else if unattended(shut_down).is_err() {
            tracing::warn!("a connection to Ceph stays open, since too many calls hang");
        }
    }
}

/// What can be known of a cluster from its configuration alone.
pub(super) struct Configured {
    /// As ceph.conf gives it; it need not.
    pub(super) fsid: Option<String>,
}

impl Configured {
    /// Reads the configuration.
    pub(super) fn read(library: &'static Library, options: &RbdOptions) -> Result<Self> {
        let fsid = Handle::new(library, options)?.get(c"fsid");
        Ok(Self {
            fsid: fsid.filter(|fsid| fsid.chars().any(|c| c.is_ascii_hexdigit() && c != '0')),
        })
    }
}

/// An open pool.
pub(super) struct Pool {
    raw: RawPool,
    /// Dropped after the pool, in the order of `Drop`.
    handle: Arc<Handle>,
}

// SAFETY: `rados_ioctx_t` may be used by any thread.
unsafe impl Send for Pool {}
// SAFETY: as above, by several at once; its settings change in `new` only.
unsafe impl Sync for Pool {}

impl Pool {
    fn named(handle: &Arc<Handle>, name: &CStr) -> Result<Self, Errno> {
        let library = handle.library;
        Self::open(handle, |raw| {
            // SAFETY: a connected handle, a string and a place for the pool.
            unsafe { (library.rados_ioctx_create)(handle.cluster, name.as_ptr(), raw) }
        })
    }

    fn open(handle: &Arc<Handle>, create: impl FnOnce(*mut RawPool) -> i32) -> Result<Self, Errno> {
        let mut raw = ptr::null_mut();
        check(create(&raw mut raw))?;
        let pool = Self { raw, handle: Arc::clone(handle) };
        if let Some(full_try) = handle.library.rados_set_pool_full_try {
            // SAFETY: a live pool.  A full pool shall be an error at once, not a long wait.
            unsafe { full_try(pool.raw) };
        }
        Ok(pool)
    }

    /// The pool with a number.
    pub(super) fn numbered(&self, number: i64) -> Result<Self, Errno> {
        let handle = &self.handle;
        Self::open(handle, |raw| {
            // SAFETY: a connected handle and a place for the pool.
            unsafe { (handle.library.rados_ioctx_create2)(handle.cluster, number, raw) }
        })
    }

    /// Its number.
    pub(super) fn number(&self) -> i64 {
        // SAFETY: a live pool; this is answered from memory.
        unsafe { (self.library().rados_ioctx_get_id)(self.raw) }
    }

    pub(super) fn raw(&self) -> RawPool {
        self.raw
    }

    pub(super) fn library(&self) -> &'static Library {
        self.handle.library
    }

    /// Whether there is an object of this name.
    pub(super) fn has_object(&self, name: &CStr) -> Result<bool, Errno> {
        let (mut size, mut modified) = (0, 0);
        // SAFETY: a live pool, a string, and two places.
        let found = unsafe {
            (self.library().rados_stat)(self.raw, name.as_ptr(), &raw mut size, &raw mut modified)
        };
        match check(found) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls a read-only method of the class `rbd` on an object.
    pub(super) fn execute(&self, object: &CStr, method: &CStr) -> Result<Vec<u8>, Errno> {
        // Snapshots are some bytes each; more than this nobody has.
        let mut answer = vec![0_u8; 64 << 10];
        // SAFETY: a live pool, three strings, no input, and a buffer of the length that is given.
        let length = unsafe {
            (self.library().rados_exec)(
                self.raw,
                object.as_ptr(),
                c"rbd".as_ptr(),
                method.as_ptr(),
                ptr::null(),
                0,
                answer.as_mut_ptr().cast(),
                answer.len(),
            )
        };
        answer.truncate(usize::try_from(check(length)?).unwrap_or_default());
        Ok(answer)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: images keep their pool alive, so nothing uses it any more.
        unsafe { (self.handle.library.rados_ioctx_destroy)(self.raw) };
    }
}

/// A live connection.
pub(super) struct Connection {
    pool: Pool,
    fsid: String,
    default_features: u64,
    limit: Duration,
}

impl Connection {
    /// Connects, and opens the pool.
    pub(super) fn new(library: &'static Library, options: &RbdOptions) -> Result<Self> {
        let handle = Handle::new(library, options)?;
        let timeout = handle.timeout();
        // Ceph's own timeouts come first, and say more; this is for what they do not end.
        let limit = timeout + (timeout / 2).max(MARGIN);
        let hosts = handle.get(c"mon_host").unwrap_or_default();
        let keyring = handle.get(c"keyring").unwrap_or_default();
        let connected = bounded(limit, move |_| {
            // SAFETY: a configured handle that is not connected yet.
            check(unsafe { (library.rados_connect)(handle.cluster) }).map(|_| handle)
        });
        let handle =
            connected.map_err(|error| cannot_connect(error, options, timeout, &hosts, &keyring))?;
        leave_without_destructors();
        let handle = Arc::new(handle);
        let fsid = fsid_of(&handle).map_err(|error| error.error("ask the fsid of", "Ceph"))?;
        let pool = Pool::named(&handle, &c_string(&options.pool)?)
            .map_err(|error| no_pool(error, &options.pool, &fsid))?;
        let default_features = default_features(&handle);
        tracing::info!(
            librados = library.version(),
            fsid,
            mon_host = hosts,
            pool = options.pool,
            "connected to Ceph"
        );
        Ok(Self { pool, fsid, default_features, limit })
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn library(&self) -> &'static Library {
        self.pool.library()
    }

    /// The cluster's id.
    pub(super) fn fsid(&self) -> &str {
        &self.fsid
    }

    /// The features that new images get.
    /// Glance: `rbd_default_features` as the cluster's configuration says, else layering.
    pub(super) fn default_features(&self) -> u64 {
        self.default_features
    }

    /// How long to wait for anything that shows no progress.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What the pool holds and what can still be written to it; zeros when nobody has counted.
    pub(super) fn capacity(&self, pool: &str) -> Result<Capacity, Errno> {
        if let Some(capacity) = self.pool_capacity(pool)? {
            return Ok(capacity);
        }
        let mut stat = ClusterStat::default();
        // SAFETY: a connected handle and a place for the figures.
        check(unsafe {
            (self.library().rados_cluster_stat)(self.pool.handle.cluster, &raw mut stat)
        })?;
        let bytes = |kib: u64| kib.saturating_mul(1024);
        Ok(Capacity { total: bytes(stat.kib), available: bytes(stat.kib_available) })
    }

    /// The pool's own room, which knows of copies and of full OSDs.  Only a manager counts it.
    fn pool_capacity(&self, name: &str) -> Result<Option<Capacity>, Errno> {
        let answer = self.ask_monitor(c"{\"prefix\":\"df\",\"format\":\"json\"}")?;
        let Ok(usage) = serde_json::from_slice::<Usage>(&answer) else { return Ok(None) };
        let pool = usage.pools.into_iter().find(|pool| pool.name == name);
        Ok(pool.map(|pool| {
            let available = pool.stats.max_avail;
            Capacity { total: pool.stats.stored.saturating_add(available), available }
        }))
    }

    fn ask_monitor(&self, command: &CStr) -> Result<Vec<u8>, Errno> {
        let commands = [command.as_ptr()];
        let (mut answer, mut length) = (ptr::null_mut::<c_char>(), 0);
        // SAFETY: a connected handle, one command, no input, and a place for the answer.
        let asked = unsafe {
            (self.library().rados_mon_command)(
                self.pool.handle.cluster,
                commands.as_ptr(),
                commands.len(),
                ptr::null(),
                0,
                &raw mut answer,
                &raw mut length,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let mut bytes = Vec::new();
        if !answer.is_null() {
            // SAFETY: librados says that so many bytes are there, which are ours to free.
            unsafe {
                bytes.extend_from_slice(std::slice::from_raw_parts(answer.cast::<u8>(), length));
                (self.library().rados_buffer_free)(answer);
            }
        }
        check(asked).map(|_| bytes)
    }
}

/// What `ceph df` says.
#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    pools: Vec<PoolUsage>,
}

#[derive(Deserialize)]
struct PoolUsage {
    name: String,
    stats: PoolStats,
}

/// In bytes.
#[derive(Deserialize)]
struct PoolStats {
    stored: u64,
    max_avail: u64,
}

/// A text for C.
pub(super) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Invalid(format!("{text:?} holds a zero byte")))
}

fn fsid_of(handle: &Handle) -> Result<String, Errno> {
    let mut text = [0_u8; 64];
    // SAFETY: a connected handle and a buffer of the length that is given.
    check(unsafe {
        (handle.library.rados_cluster_fsid)(handle.cluster, text.as_mut_ptr().cast(), text.len())
    })?;
    let text = CStr::from_bytes_until_nul(&text).map_err(|_| Errno::IO)?;
    Ok(text.to_string_lossy().into_owned())
}

fn default_features(handle: &Handle) -> u64 {
    let value = handle.get(c"rbd_default_features").unwrap_or_default();
    let features = value.trim().parse().ok().or_else(|| {
        let names = CString::new(value).ok()?;
        let mut features = 0;
        // SAFETY: a string and a place for the number.
        check(unsafe {
            (handle.library.rbd_features_from_string)(names.as_ptr(), &raw mut features)
        })
        .ok()?;
        Some(features)
    });
    features.filter(|features| *features != 0).unwrap_or(LAYERING)
}

fn cannot_connect(
    error: Errno,
    options: &RbdOptions,
    timeout: Duration,
    hosts: &str,
    keyring: &str,
) -> Error {
    let user = options.user.as_deref().unwrap_or("admin");
    let why = match error {
        Errno::TIMEDOUT => format!("no monitor answered within {} s", timeout.as_secs()),
        Errno::NOENT => format!("no monitor is named, or none of the keyrings exists: {keyring}"),
        Errno::PERM | Errno::ACCES | Errno::OPNOTSUPP => {
            format!("the monitors refuse this user: {error}; check its key in {keyring}")
        }
        Errno::INVAL => format!("the key of this user in {keyring} is not valid"),
        error => error.to_string(),
    };
    Error::StoreUnavailable(format!(
        "cannot connect to Ceph as client.{user} (mon_host = {hosts}): {why}"
    ))
}

fn no_pool(error: Errno, pool: &str, fsid: &str) -> Error {
    if error == Errno::NOENT {
        return Error::StoreUnavailable(format!(
            "Ceph cluster {fsid} has no pool '{pool}' (rbd_store_pool): create it by \
             `ceph osd pool create {pool}` and `rbd pool init {pool}`"
        ));
    }
    error.error("open pool", pool)
}
