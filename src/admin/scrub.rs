//! The side of `glancefs scrub`, when a daemon runs, and what is said of deleted images.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Conversation, not_understood, print, print_json};
use super::protocol::{Reply, Request};
use super::report::bytes;
use crate::error::{Error, Result};

/// How long the daemon may be silent while it works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything `glancefs scrub --list --json` shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PendingList {
    /// In the order in which they were deleted.
    pub waiting: Vec<PendingReport>,
}

/// A deleted image whose data is still there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingReport {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Bytes of data, if that is recorded.
    pub size: Option<u64>,
    /// When it was deleted: UTC, ISO 8601.
    pub deleted_at: String,
    /// When its data is due to be removed.
    pub due_at: String,
}

/// What came of `glancefs scrub --once`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Images whose data was removed.
    pub scrubbed: Vec<PendingReport>,
    /// Ids of images what was left of which was removed from the trash.
    pub purged: Vec<String>,
    /// Images whose data stays.
    pub kept: Vec<KeptReport>,
}

/// An image whose data could not be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    /// Its id.
    pub id: String,
    /// Why, and what to do about it.
    pub reason: String,
    /// Whether that is because others use it, so that nothing is wrong.
    pub in_use: bool,
}

/// Asks the daemon of a state directory which images wait.
///
/// # Errors
/// `NotFound` when none is running there.
pub fn pending(state_dir: &Path) -> Result<PendingList> {
    match Conversation::begin(state_dir, &Request::Pending, PATIENCE)?.next()? {
        Reply::Pending(list) => Ok(list),
        _ => Err(not_understood()),
    }
}

/// Has the daemon of a state directory remove all data that is due.
///
/// # Errors
/// As [`pending`].
pub fn scrub(state_dir: &Path) -> Result<ScrubReport> {
    let mut replies = Conversation::begin(state_dir, &Request::Scrub, PATIENCE)?;
    loop {
        match replies.next()? {
            Reply::Progress(_) => {}
            Reply::Scrubbed(report) => return Ok(report),
            _ => return Err(not_understood()),
        }
    }
}

/// Has the daemon of a state directory bring an image back; returns its id and name, to be shown.
///
/// # Errors
/// As [`pending`]; `Conflict` when it cannot be brought back.
pub fn restore(state_dir: &Path, id: &str) -> Result<String> {
    match Conversation::begin(state_dir, &Request::Restore(id.to_owned()), PATIENCE)?.next()? {
        Reply::Restored(image) => Ok(image),
        _ => Err(not_understood()),
    }
}

impl PendingList {
    /// Prints it.
    ///
    /// # Errors
    /// `Io`
    pub fn print(&self, json: bool) -> Result<()> {
        if json { print_json(self) } else { print(&self.to_string()) }
    }
}

impl ScrubReport {
    /// Prints it.
    ///
    /// # Errors
    /// `Io`; `Conflict` when there is something that could not be removed though nobody uses it.
    pub fn print(&self) -> Result<()> {
        print(&self.to_string())?;
        match self.kept.iter().filter(|kept| !kept.in_use).count() {
            0 => Ok(()),
            count => Err(Error::Conflict(format!("{count} could not be scrubbed; see above"))),
        }
    }
}

impl fmt::Display for PendingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size.map_or_else(|| "-".to_owned(), bytes);
        let name = self.name.as_deref().unwrap_or("(no name)").escape_debug();
        let Self { id, deleted_at, due_at, .. } = self;
        write!(f, "{id}  {size:>9}  deleted {deleted_at}  due {due_at}  {name}")
    }
}

impl fmt::Display for PendingList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for image in &self.waiting {
            writeln!(f, "{image}")?;
        }
        writeln!(f, "{} waiting", self.waiting.len())
    }
}

impl fmt::Display for ScrubReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for image in &self.scrubbed {
            writeln!(f, "scrubbed  {image}")?;
        }
        for id in &self.purged {
            writeln!(f, "purged    {id}")?;
        }
        for KeptReport { id, reason, .. } in &self.kept {
            writeln!(f, "stays     {id}: {reason}")?;
        }
        write!(f, "{} scrubbed", self.scrubbed.len())?;
        for (list, what) in [(self.purged.len(), "purged"), (self.kept.len(), "staying")] {
            if list > 0 {
                write!(f, ", {list} {what}")?;
            }
        }
        writeln!(f)
    }
}
