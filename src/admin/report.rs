//! What a daemon says about itself, as JSON and as a table for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything `glancefs status --json` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the running program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started: UTC, ISO 8601.
    pub started_at: String,
    /// What is mounted where.
    pub mounts: Vec<MountReport>,
    /// `address:port` of the API, if it is served.
    pub api: Option<String>,
    /// Images in the catalog.
    pub images: u64,
    /// Uploads in progress, by the API and by the mount.
    pub uploads: Vec<UploadReport>,
    /// Imports under way, and those that wait for their turn.
    #[serde(default)]
    pub imports: (u64, u64),
    /// The block cache, where there is one.
    pub cache: Option<CacheReport>,
    /// The disk cache, where there is one.
    pub disk_cache: Option<DiskCacheReport>,
    /// The stores.
    pub stores: Vec<StoreReport>,
    /// Interrupted uploads, imports and removals that still have to be undone or finished.
    #[serde(default)]
    pub unfinished: u64,
    /// Deleted images whose data waits to be scrubbed, as it was a few seconds ago.
    #[serde(default)]
    pub pending_delete: u64,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MountReport {
    /// Absolute path.
    pub mountpoint: String,
    /// Its options, as `-o` takes them.
    pub options: String,
}

/// One upload in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadReport {
    /// The image's id.
    pub id: String,
    /// The image's name, if it has one.
    pub name: Option<String>,
    /// Bytes taken so far.
    pub bytes: u64,
    /// Bytes per second, over the whole upload.
    pub rate: u64,
    /// Seconds since it began.
    pub seconds: f64,
}

/// The block cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheReport {
    /// Bytes in use.
    pub used: u64,
    /// Bytes it may use.
    pub limit: u64,
    /// Bytes on their way from the stores.
    pub in_flight: u64,
    /// Bytes that were there when they were asked for, since the start.
    pub hit_bytes: u64,
    /// Bytes that were not.
    pub missed_bytes: u64,
    /// How often a store was read.
    pub fetches: u64,
    /// Bytes read from stores.
    pub fetched_bytes: u64,
}

/// The disk cache, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskCacheReport {
    /// How many images are there.
    pub images: usize,
    /// Bytes that it takes on the disk, or has promised.
    pub used: u64,
    /// Bytes that it may take.
    pub limit: u64,
    /// What is being copied to it.
    pub filling: Option<FillReport>,
    /// How many images wait to be copied.
    pub queued: usize,
}

/// An image that is being copied to the disk cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FillReport {
    /// The image's id.
    pub id: String,
    /// Bytes of it that are done.
    pub bytes: u64,
    /// Bytes of it.
    pub size: u64,
}

/// Everything `glancefs cache list --json` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CacheList {
    /// What is there, the one that was used last first.
    pub cached: Vec<CachedReport>,
    /// What is being copied.
    pub filling: Option<FillReport>,
    /// The ids of what waits to be copied, in their order.
    pub queued: Vec<String>,
    /// Bytes that all of it takes on the disk, or was promised.
    pub used: u64,
    /// Bytes that it may take.
    pub limit: u64,
}

/// An image in the disk cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CachedReport {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Bytes of it.
    pub size: u64,
    /// Bytes on the disk.
    pub allocated: u64,
    /// When it was copied and verified: UTC, ISO 8601.
    pub cached_at: String,
    /// When it was opened last.
    pub used_at: String,
    /// How often it was opened.
    pub hits: u64,
    /// Whether somebody has it open.
    pub open: bool,
}

/// One store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Its name.
    pub name: String,
    /// Its type: `file` or `rbd`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes of room in all, as last known; `None` when it does not say.
    pub total: Option<u64>,
    /// Bytes that can still be written.
    pub available: Option<u64>,
    /// Since when it does not answer, as far as is known: UTC, ISO 8601.
    #[serde(default)]
    pub silent_since: Option<String>,
}

impl fmt::Display for StatusReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, pid, started_at, .. } = self;
        writeln!(f, "glancefs {version}, process {pid}, since {started_at}")?;
        writeln!(f, "api      {}", self.api.as_deref().unwrap_or("not served"))?;
        writeln!(f, "images   {}", self.images)?;
        for mount in &self.mounts {
            writeln!(f, "mount    {} ({})", mount.mountpoint, mount.options)?;
        }
        for store in &self.stores {
            writeln!(f, "store    {store}")?;
        }
        if let Some(cache) = &self.cache {
            writeln!(f, "cache    {cache}")?;
        }
        if let Some(cache) = &self.disk_cache {
            writeln!(f, "on disk  {cache}")?;
        }
        if self.unfinished > 0 {
            writeln!(f, "undoing  {} interrupted uploads, imports or removals", self.unfinished)?;
        }
        match self.pending_delete {
            0 => {}
            1 => writeln!(f, "deleted  1 image waits to be scrubbed")?,
            count => writeln!(f, "deleted  {count} images wait to be scrubbed")?,
        }
        match self.imports {
            (0, 0) => {}
            (running, 0) => writeln!(f, "imports  {running}")?,
            (running, waiting) => writeln!(f, "imports  {running}, {waiting} waiting")?,
        }
        match self.uploads.len() {
            0 => return writeln!(f, "uploads  none"),
            count => writeln!(f, "uploads  {count}")?,
        }
        let widest = self.uploads.iter().map(|u| bytes(u.bytes).len()).max().unwrap_or(0);
        for upload in &self.uploads {
            let rate = format!("{}/s", bytes(upload.rate));
            let amount = bytes(upload.bytes);
            let name = upload.name.as_deref().unwrap_or("(no name)").escape_debug();
            writeln!(
                f,
                "  {}  {amount:>widest$}  {rate:>12}  {:>6.0} s  {name}",
                upload.id, upload.seconds
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for StoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.kind)?;
        match (self.available, self.total) {
            (Some(available), Some(total)) => {
                write!(f, ", {} of {} free", bytes(available), bytes(total))?;
            }
            _ => f.write_str(", does not say how much room it has")?,
        }
        match &self.silent_since {
            Some(since) => write!(f, ", has not answered since {since}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for CacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.hit_bytes + self.missed_bytes;
        write!(f, "{} of {}", bytes(self.used), bytes(self.limit))?;
        if asked > 0 {
            let there = percent(self.hit_bytes, asked);
            write!(f, ", {there:.1} % of {} were there when asked for", bytes(asked))?;
        }
        Ok(())
    }
}

impl fmt::Display for DiskCacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.images == 1 { "" } else { "s" };
        write!(f, "{} image{plural}, ", self.images)?;
        write!(f, "{} of {}", bytes(self.used), bytes(self.limit))?;
        if let Some(filling) = &self.filling {
            write!(f, "; copying {filling}")?;
        }
        if self.queued > 0 {
            write!(f, ", {} waiting", self.queued)?;
        }
        Ok(())
    }
}

impl fmt::Display for FillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = percent(self.bytes, self.size.max(1));
        write!(f, "{} ({done:.0} % of {})", self.id, bytes(self.size))
    }
}

impl fmt::Display for CacheList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for image in &self.cached {
            let (size, disk) = (bytes(image.size), bytes(image.allocated));
            let name = image.name.as_deref().unwrap_or("(no name)").escape_debug();
            let CachedReport { id, used_at, hits, .. } = image;
            let open = if image.open { "open" } else { "" };
            writeln!(
                f,
                "{id}  {size:>9}  {disk:>9} on disk  used {used_at}  {hits:>5} times  {open:4}  {name}"
            )?;
        }
        if let Some(filling) = &self.filling {
            writeln!(f, "copying  {filling}")?;
        }
        for id in &self.queued {
            writeln!(f, "waiting  {id}")?;
        }
        let count = self.cached.len();
        writeln!(f, "{count} cached, {} of {}", bytes(self.used), bytes(self.limit))
    }
}

/// For people: the precision lost by `f64` does not show.
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// An amount in the largest decimal unit that leaves at least one before the point.
pub(super) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if amount < 1000 {
        return format!("{amount} B");
    }
    let mut scaled = amount as f64 / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while scaled >= 999.95 {
        scaled /= 1000.0;
        unit = units.next();
    }
    format!("{scaled:.1} {}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_the_unit_that_fits() {
        let shown: Vec<_> =
            [0, 999, 1000, 999_949, 999_950, 1 << 40, u64::MAX].map(bytes).into_iter().collect();
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.1 TB", "18.4 EB"]);
    }
}
