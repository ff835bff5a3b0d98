//! Work in progress on image data, on disk, so that a crash leaves nothing behind.
//!
//! One file for each image whose data is being written or removed, in the daemon's own state
//! directory.  It is durable before the work starts and goes when the work is done; whatever the
//! next start finds here it undoes.  Only what *this* daemon began is ever listed, so records that
//! another daemon or glance-api has in `saving` are left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::model::ImageId;
use crate::error::{Error, Result};

/// What was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
pub enum Work {
    /// A file being written in the mount: record and data are one, and go together.
    Draft {
        /// The store that the data goes to.
        store: String,
    },
    /// Data for a record that somebody made before: the record goes back to `queued`.
    Upload {
        /// The store that the data goes to.
        store: String,
    },
    /// Data for a later import is being staged: the record goes back to `queued`.
    Stage,
    /// Data is being imported by a task.
    Import {
        /// The task, which has the image to itself.
        task: String,
        /// The stores that the data goes to.
        stores: Vec<String>,
    },
    /// Data is being looked at that is to be an image's, or is already.
    Location {
        /// The task, which has the image to itself and says the rest.
        task: String,
    },
    /// The record is being deleted, and then its data.
    Removal {
        /// Where the data is: the record does not say it any more.
        urls: Vec<String>,
    },
}

/// One piece of work in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The image.
    pub id: ImageId,
    /// What was under way; `None` if the entry was cut short by the crash, which means that
    /// nothing had been done yet.
    pub work: Option<Work>,
}

/// The directory of entries.
pub struct Journal {
    directory: PathBuf,
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is missing.
    ///
    /// # Errors
    /// `Io` when the directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(Error::io("create", directory.display()))?;
        Ok(Self { directory })
    }

    /// Notes the start of work; returns once that is on stable storage.
    ///
    /// # Errors
    /// `Conflict` when work on this image is in progress already; `Io`.
    pub fn begin(&self, id: ImageId, work: &Work) -> Result<()> {
        let path = self.path(id);
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(Error::Conflict(format!("Image {id} is being written already")));
            }
            opened => opened.map_err(Error::io("create", path.display()))?,
        };
        let text = serde_json::to_vec(work).map_err(|error| Error::Io {
            what: format!("write {}", path.display()),
            source: error.into(),
        })?;
        file.write_all(&text)
            .and_then(|()| file.sync_data())
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(Error::io("write", path.display()))
    }

    /// Notes the end of work.  Not synced: an entry that survives a crash finds nothing to undo.
    ///
    /// # Errors
    /// `Io`; an entry that is not there is fine.
    pub fn end(&self, id: ImageId) -> Result<()> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(Error::io("remove", path.display())),
        }
    }

    /// What a previous run left unfinished.
    ///
    /// # Errors
    /// `Io` when the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let failed = |error| Error::io("read", self.directory.display())(error);
        let mut entries = Vec::new();
        for item in fs::read_dir(&self.directory).map_err(failed)? {
            let item = item.map_err(failed)?;
            let Some(id) = item.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue; // not one of ours
            };
            let text = fs::read(item.path()).map_err(failed)?;
            let work = serde_json::from_slice(&text).ok();
            entries.push(Entry { id, work });
        }
        Ok(entries)
    }

    fn path(&self, id: ImageId) -> PathBuf {
        self.directory.join(id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_listed_until_it_ends_and_only_once() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path().join("journal")).unwrap();
        let id = ImageId::random();
        let work = Work::Removal { urls: vec!["file:///a/b".into()] };
        journal.begin(id, &work).unwrap();
        let other = Work::Upload { store: "file".into() };
        assert!(matches!(journal.begin(id, &other), Err(Error::Conflict(_))));
        assert_eq!(journal.entries().unwrap(), [Entry { id, work: Some(work) }]);
        journal.end(id).unwrap();
        journal.end(id).unwrap();
        assert_eq!(journal.entries().unwrap(), []);
    }

    #[test]
    fn an_entry_cut_short_is_still_an_entry() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        let id = ImageId::random();
        fs::write(directory.path().join(id.as_str()), "{\"wo").unwrap();
        fs::write(directory.path().join("README"), "not ours").unwrap();
        assert_eq!(journal.entries().unwrap(), [Entry { id, work: None }]);
    }
}
