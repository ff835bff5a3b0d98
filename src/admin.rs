//! The admin socket: asking the running daemon what it is doing.
//!
//! `<state_dir>/admin.sock` is a UNIX socket for the daemon's own user.  A client sends one line,
//! the name of a command (`status` is the only one), and gets one JSON document back.  One thread
//! answers, one client at a time, each within a deadline.  What a report says is gathered by
//! whoever calls [`serve`]; that one daemon at a time uses a state directory is ensured by its
//! lock, not here.

mod address;
mod client;
mod metrics;
mod report;
mod server;

pub use client::{fetch, status};
pub use metrics::{GatherMetrics, serve_metrics};
pub use report::{CacheReport, MountReport, StatusReport, StoreReport, UploadReport};
pub use server::{AdminSocket, serve};

use std::time::Duration;

/// The socket's name in the state directory.
const SOCKET_NAME: &str = "admin.sock";

/// How long either side waits for the other.
const DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of the longest command, its line end included.
const MAX_COMMAND: usize = 64;

/// Bytes of the longest report that a client takes.
const MAX_REPORT: u64 = 16 << 20;

#[cfg(test)]
mod tests;
