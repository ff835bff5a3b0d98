//! What is said over the socket: one request a connection, and the replies to it, each one line of JSON.

use serde::{Deserialize, Serialize};

use super::report::{CacheList, CachedReport, StatusReport};
use super::scrub::{PendingList, ScrubReport};
use crate::error::Result;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// What the daemon is doing.
    Status,
    /// What is in the disk cache.
    CacheList,
    /// Copy an image to the disk cache: its id or name.
    CachePrefetch(String),
    /// Remove an image from the disk cache: its id.
    CacheEvict(String),
    /// Remove all of them.
    CacheEvictAll,
    /// Which deleted images wait to be scrubbed.
    Pending,
    /// Scrub those that are due.
    Scrub,
    /// Bring back a deleted image: its id.
    Restore(String),
}

/// What the daemon says.  Any number of `Progress`, several times a second, and then one other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    Status(Box<StatusReport>),
    CacheList(CacheList),
    Progress(Progress),
    /// The image is in the disk cache.
    Cached(CachedReport),
    /// How many were removed.
    Evicted(usize),
    Pending(PendingList),
    /// What became of those that were due.
    Scrubbed(ScrubReport),
    /// The image is back: its id and name, to be shown.
    Restored(String),
    /// Why it was not done.
    Error(String),
}

/// How far something has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that are done.
    pub bytes: u64,
    /// Bytes in all.
    pub size: u64,
}

/// What a daemon does for those who ask.
pub trait Operations: Send + Sync {
    /// Gathers a report; waits for nothing.
    fn status(&self) -> StatusReport;

    /// What is in the disk cache; waits for nothing.
    ///
    /// # Errors
    /// `Unsupported` when there is none.
    fn cached(&self) -> Result<CacheList>;

    /// Has an image, by its id or name, copied to the disk cache, and waits for that.  `go_on` is
    /// told how far it is, several times a second; when it says no, nobody waits any more.
    ///
    /// # Errors
    /// Why it cannot be cached.
    fn prefetch(
        &self,
        image: &str,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<CachedReport>;

    /// Removes an image from the disk cache by its id, or all of them; says how many.
    ///
    /// # Errors
    /// `NotFound` when it is not there; `Unsupported` without a cache.
    fn evict(&self, image: Option<&str>) -> Result<usize>;

    /// Deleted images that wait to be scrubbed.
    ///
    /// # Errors
    /// The catalog's.
    fn pending(&self) -> Result<PendingList>;

    /// Scrubs those that are due, for as long as `go_on` says yes.
    ///
    /// # Errors
    /// The catalog's.
    fn scrub(&self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<ScrubReport>;

    /// Brings a deleted image back by its id; says which, to be shown.
    ///
    /// # Errors
    /// Why it cannot be.
    fn restore(&self, id: &str) -> Result<String>;
}
