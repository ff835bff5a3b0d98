//! The admin socket: asking the running daemon what it is doing, and to see to its disk cache
//! and to what is deleted.
//!
//! `<state_dir>/admin.sock` is a UNIX socket for the daemon's own user.  A client sends one line, a
//! request (`protocol`), and gets lines back, each a JSON document.  One thread answers, one
//! client at a time, each within a deadline; what takes longer has a thread of its own, a few at
//! most.  What is answered is up to whoever calls [`serve`]; that one daemon at a time uses a state
//! directory is ensured by its lock, not here.

mod address;
pub mod cache;
mod client;
mod metrics;
mod protocol;
mod report;
pub mod scrub;
mod server;

pub use client::{fetch, status, watch};
pub use metrics::{GatherMetrics, serve_metrics};
pub use protocol::{Operations, Progress};
pub use report::{
    CacheList, CacheReport, CachedReport, DiskCacheReport, FillReport, MountReport, StatusReport,
    StoreReport, UploadReport,
};
pub use scrub::{KeptReport, PendingList, PendingReport, ScrubReport};
pub use server::{AdminSocket, serve};

use std::time::Duration;

/// The socket's name in the state directory.
const SOCKET_NAME: &str = "admin.sock";

/// How long either side waits for the other.
const DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of the longest request, its line end included: a name of 255 characters, all escaped.
const MAX_COMMAND: usize = 4096;

/// Bytes of all replies that a client takes: the longest report, or the progress of days.
const MAX_REPLIES: u64 = 256 << 20;

/// Requests that take longer, at a time.
const MAX_LONG: usize = 16;

#[cfg(test)]
mod tests;
