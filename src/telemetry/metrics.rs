//! Figures for monitoring, in Prometheus' text format.
//!
//! Every name is declared here.  Whoever has something to count takes a handle from here once and
//! keeps it; until [`install`] was called, counting does nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use metrics::{Counter, Histogram};
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::error::{Error, Result};

const STORE_READS: &str = "glancefs_store_reads_total";
const STORE_READ_BYTES: &str = "glancefs_store_read_bytes_total";
const STORE_READ_ERRORS: &str = "glancefs_store_read_errors_total";
const STORE_READ_SECONDS: &str = "glancefs_store_read_seconds";
const READS: &str = "glancefs_reads_total";
const READ_BYTES: &str = "glancefs_read_bytes_total";
const UPLOADS: &str = "glancefs_uploads_total";
const UPLOAD_BYTES: &str = "glancefs_upload_bytes_total";
const REQUESTS: &str = "glancefs_http_requests_total";
const REQUEST_SECONDS: &str = "glancefs_http_request_seconds";
const TOKEN_CHECKS: &str = "glancefs_token_checks_total";
const NOTIFICATIONS: &str = "glancefs_notifications_total";
const NOTIFICATIONS_WAITING: &str = "glancefs_notifications_waiting";

const BUILD: &str = "glancefs_build_info";
const STARTED: &str = "glancefs_start_time_seconds";
const STORE_UP: &str = "glancefs_store_up";
const STORE_TOTAL: &str = "glancefs_store_total_bytes";
const STORE_AVAILABLE: &str = "glancefs_store_available_bytes";

/// What is counted, with what it says; the levels are in [`LEVELS`].  The manual page has them all.
pub const COUNTED: &[(&str, Kind, &str)] = &[
    (STORE_READS, Kind::Counter, "Reads of a store, by store"),
    (STORE_READ_BYTES, Kind::Counter, "Bytes read from a store, by store"),
    (STORE_READ_ERRORS, Kind::Counter, "Reads of a store that failed, by store"),
    (STORE_READ_SECONDS, Kind::Histogram, "How long a store takes to read, by store"),
    (READS, Kind::Counter, "Reads that were answered, by face; not those the kernel does itself"),
    (READ_BYTES, Kind::Counter, "Bytes that were given to readers, by face"),
    (UPLOADS, Kind::Counter, "Uploads that ended, by store and outcome: active or dropped"),
    (UPLOAD_BYTES, Kind::Counter, "Bytes of uploads that became active, by store"),
    (REQUESTS, Kind::Counter, "Requests of the API, by method and status"),
    (REQUEST_SECONDS, Kind::Histogram, "Until the head of an answer of the API, by method"),
    (TOKEN_CHECKS, Kind::Counter, "Tokens of requests, by who knew of them"),
    (
        NOTIFICATIONS,
        Kind::Counter,
        "Notifications, by place (bus, file, webhook) and outcome: sent or dropped",
    ),
    (NOTIFICATIONS_WAITING, Kind::Gauge, "Notifications that wait to be sent, by place"),
    (BUILD, Kind::Gauge, "1, with the version of the program"),
    (STARTED, Kind::Gauge, "When the program started, in seconds since 1970"),
    (STORE_UP, Kind::Gauge, "Whether a store answers, as far as is known, by store: 1 or 0"),
    (STORE_TOTAL, Kind::Gauge, "Room of a store in all, as last known, by store"),
    (STORE_AVAILABLE, Kind::Gauge, "Room of a store that is left, as last known, by store"),
];

/// How a figure behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counted in classes.
    Histogram,
}

/// Upper bounds of the classes of a histogram, in seconds: from a memory's answer to a timeout.
const CLASSES: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What is counted, to be shown.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Starts counting, for the whole process; to be called once.
///
/// # Errors
/// `Config` when it was called before.
pub fn install() -> Result<Metrics> {
    let failed = |error| Error::Config(format!("metrics cannot be counted: {error}"));
    let builder = PrometheusBuilder::new().set_buckets(&CLASSES).map_err(failed)?;
    let handle = builder.install_recorder().map_err(failed)?;
    describe();
    Ok(Metrics(handle))
}

impl Metrics {
    /// All of it, as Prometheus reads it.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn describe() {
    for (name, kind, help) in COUNTED {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, Unit::Seconds, *help),
        }
    }
    for level in LEVELS {
        describe_gauge!(level.0, level.1);
    }
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(STARTED).set(now.as_secs_f64());
}

/// How a store is: whether it answers, and its room in all and what is left of it.
pub fn store_is(store: &str, up: bool, room: Option<(u64, u64)>) {
    let set = |name: &'static str, value: u64| {
        // Beyond 2^53 bytes the last digits do not matter.
        gauge!(name, "store" => store.to_owned()).set(value as f64);
    };
    set(STORE_UP, u64::from(up));
    if let Some((total, available)) = room {
        set(STORE_TOTAL, total);
        set(STORE_AVAILABLE, available);
    }
}

/// A figure that goes up and down: its name and what it says.
pub struct Level(pub &'static str, pub &'static str);

/// Images in the catalog.
pub const IMAGES: Level = Level("glancefs_images", "Images in the catalog");
/// Uploads in progress.
pub const UPLOADS_IN_PROGRESS: Level = Level("glancefs_uploads_in_progress", "Uploads in progress");
/// The block cache's bound.
pub const CACHE_LIMIT: Level = Level("glancefs_cache_limit_bytes", "Bound of the block cache");
/// What is in the block cache.
pub const CACHE_USED: Level = Level("glancefs_cache_used_bytes", "Bytes in the block cache");
/// What is on its way into the block cache.
pub const CACHE_IN_FLIGHT: Level =
    Level("glancefs_cache_in_flight_bytes", "Bytes on their way into the block cache");
/// Answered from the block cache.
pub const CACHE_HITS: Level =
    Level("glancefs_cache_hit_bytes", "Bytes that were in the block cache, since the start");
/// Asked for and not in the block cache.
pub const CACHE_MISSES: Level =
    Level("glancefs_cache_missed_bytes", "Bytes that were not in the block cache, since the start");

/// Bytes of the disk cache.
pub const DISK_CACHE_USED: Level =
    Level("glancefs_disk_cache_used_bytes", "Bytes in the disk cache, or promised to it");
/// The disk cache's bound.
pub const DISK_CACHE_LIMIT: Level =
    Level("glancefs_disk_cache_limit_bytes", "Bound of the disk cache");
/// Images in the disk cache.
pub const DISK_CACHE_IMAGES: Level =
    Level("glancefs_disk_cache_images", "Images in the disk cache");
/// Imports under way.
pub const IMPORTS_RUNNING: Level = Level("glancefs_imports_running", "Imports under way");
/// Imports that wait.
pub const IMPORTS_WAITING: Level =
    Level("glancefs_imports_waiting", "Imports that wait for their turn");
/// What waits to be scrubbed.
pub const PENDING_DELETE: Level =
    Level("glancefs_images_pending_delete", "Deleted images whose data waits to be scrubbed");
/// What an interruption left.
pub const UNFINISHED: Level = Level(
    "glancefs_unfinished",
    "Interrupted uploads, imports and removals that still have to be undone or finished",
);

/// Everything that goes up and down.
pub const LEVELS: [Level; 14] = [
    DISK_CACHE_USED,
    DISK_CACHE_LIMIT,
    DISK_CACHE_IMAGES,
    IMPORTS_RUNNING,
    IMPORTS_WAITING,
    UNFINISHED,
    PENDING_DELETE,
    IMAGES,
    UPLOADS_IN_PROGRESS,
    CACHE_LIMIT,
    CACHE_USED,
    CACHE_IN_FLIGHT,
    CACHE_HITS,
    CACHE_MISSES,
];

impl Level {
    /// Sets it.
    pub fn set(&self, value: u64) {
        // Amounts of memory and numbers of images are well below 2^53.
        gauge!(self.0).set(value as f64);
    }
}

/// The reads of one store.
#[derive(Clone)]
pub struct StoreReads {
    reads: Counter,
    bytes: Counter,
    errors: Counter,
    seconds: Histogram,
}

impl StoreReads {
    /// Those of the store of this name.
    pub fn of(store: &str) -> Self {
        let store = store.to_owned();
        Self {
            reads: counter!(STORE_READS, "store" => store.clone()),
            bytes: counter!(STORE_READ_BYTES, "store" => store.clone()),
            errors: counter!(STORE_READ_ERRORS, "store" => store.clone()),
            seconds: histogram!(STORE_READ_SECONDS, "store" => store),
        }
    }

    /// One has ended, with so many bytes unless it failed.
    pub fn ended(&self, took: Duration, bytes: Option<usize>) {
        self.reads.increment(1);
        self.seconds.record(took);
        match bytes {
            Some(bytes) => self.bytes.increment(bytes as u64),
            None => self.errors.increment(1),
        }
    }
}

/// What a face answers with image data.
#[derive(Clone)]
pub struct FaceReads {
    reads: Counter,
    bytes: Counter,
}

impl FaceReads {
    /// Those of a face: `mount` or `api`.
    pub fn of(face: &'static str) -> Self {
        Self { reads: counter!(READS, "face" => face), bytes: counter!(READ_BYTES, "face" => face) }
    }

    /// One was answered.
    pub fn answered(&self, bytes: usize) {
        self.reads.increment(1);
        self.bytes.increment(bytes as u64);
    }
}

/// An upload to a store has ended: `active` with so many bytes, or not.
pub fn upload_ended(store: &str, active: Option<u64>) {
    let outcome = if active.is_some() { "active" } else { "dropped" };
    counter!(UPLOADS, "store" => store.to_owned(), "outcome" => outcome).increment(1);
    if let Some(bytes) = active {
        counter!(UPLOAD_BYTES, "store" => store.to_owned()).increment(bytes);
    }
}

/// A request of the API has been answered.
pub fn request_answered(method: &'static str, status: u16, took: Duration) {
    counter!(REQUESTS, "method" => method, "status" => status.to_string()).increment(1);
    histogram!(REQUEST_SECONDS, "method" => method).record(took);
}

/// Who knew of a token.
#[derive(Clone, Copy, Debug)]
pub enum TokenSource {
    /// It was asked about before.
    Memory,
    /// Keystone.
    Keystone,
    /// Nobody: Keystone did not answer.
    Nobody,
}

/// A token has been found valid or not, or neither.
pub fn token_checked(source: TokenSource) {
    let source = match source {
        TokenSource::Memory => "memory",
        TokenSource::Keystone => "keystone",
        TokenSource::Nobody => "nobody",
    };
    counter!(TOKEN_CHECKS, "source" => source).increment(1);
}

/// So many notifications have got to a place, and so many never will.
pub fn notifications_left(to: &'static str, sent: u64, dropped: u64) {
    counter!(NOTIFICATIONS, "to" => to, "outcome" => "sent").increment(sent);
    counter!(NOTIFICATIONS, "to" => to, "outcome" => "dropped").increment(dropped);
}

/// So many notifications wait for a place.
pub fn notifications_waiting(to: &'static str, waiting: u64) {
    gauge!(NOTIFICATIONS_WAITING, "to" => to).set(waiting as f64);
}
