//! Notifications as lines of JSON in a file, for those without a bus.
//!
//! The file is opened by its name each time, so that it may be moved away at any time.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::delivery::{Outlet, Refusal};
use super::message::Message;
use crate::error::{Error, Result};

/// A file that lines are appended to.
pub(super) struct Lines {
    path: PathBuf,
}

impl Lines {
    /// # Errors
    /// `Config` when it cannot be written.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        match open(&path) {
            Ok(_) => Ok(Self { path }),
            Err(error) => Err(Error::Config(format!(
                "[glancefs] notification_file: cannot write to {}: {error}; make its directory \
                 writable for this user, or name another",
                path.display()
            ))),
        }
    }
}

/// Others of its group may read it: names of images are no secret of the program's.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

/// All of the lines, or none of them.
fn append(path: &Path, lines: &str) -> std::io::Result<()> {
    let mut file = open(path)?;
    let before = file.metadata()?.len();
    let written = file.write_all(lines.as_bytes());
    if written.is_err() {
        // The disk is full: half a line would spoil the next one.
        let _ = file.set_len(before);
    }
    written
}

impl Outlet for Lines {
    async fn send(&mut self, batch: &[Arc<Message>]) -> (usize, Result<(), Refusal>) {
        let lines: String = batch.iter().map(|message| message.bare() + "\n").collect();
        let path = self.path.clone();
        let written = spawn_blocking(move || append(&path, &lines)).await;
        match written {
            Ok(Ok(())) => (batch.len(), Ok(())),
            Ok(Err(error)) => (0, Err(Refusal::Passing(error.to_string()))),
            Err(error) => (0, Err(Refusal::Passing(error.to_string()))),
        }
    }

    async fn close(self) {}
}
