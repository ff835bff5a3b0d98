//! What is remembered of the files: what they hold, and how they looked when that was verified.
//!
//! One small JSON file, replaced as a whole.  One that cannot be read is as good as none: then no
//! file counts as verified.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Contents;

/// Its name in the directory.
pub(super) const NAME: &str = "index";

/// Its name while it is written.
pub(super) const NEW_NAME: &str = "index.new";

/// The form of the index; another one is not read.
const VERSION: u32 = 1;

/// What tells that a file is still what was verified.
///
/// Writing to a file, cutting it, and replacing it all move one of these, and no program can set
/// the time of change back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    size: u64,
    inode: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            size: file.len(),
            inode: file.ino(),
            changed_seconds: file.ctime(),
            changed_nanoseconds: file.ctime_nsec(),
        }
    }
}

/// A verified file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) contents: Contents,
    pub(super) stamp: Stamp,
    /// Bytes that it takes on the disk.
    pub(super) allocated: u64,
    /// When it was verified, in seconds since 1970.
    pub(super) cached_at: i64,
    /// When it was opened last, in milliseconds since 1970: what the order of use goes by.
    pub(super) used_at: i64,
    /// How often it was opened.
    pub(super) hits: u64,
    /// Counts the files of this cache, in the order in which they were verified.
    #[serde(default)]
    pub(super) number: u64,
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    /// By name, which is the image's id.
    files: Vec<(String, Record)>,
}

/// Reads the index; what cannot be read is forgotten.
pub(super) fn read(directory: &Path) -> Vec<(String, Record)> {
    let text = match fs::read(directory.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            warn!(%error, "the index of the image cache cannot be read: it begins empty");
            return Vec::new();
        }
    };
    match serde_json::from_slice::<Index>(&text) {
        Ok(index) if index.version == VERSION => index.files,
        _ => {
            warn!("the index of the image cache is not understood: it begins empty");
            Vec::new()
        }
    }
}

/// Replaces the index, so that a crash leaves the old one or the new one.
pub(super) fn write(directory: &Path, files: Vec<(String, Record)>) -> io::Result<()> {
    let new = directory.join(NEW_NAME);
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&Index { version: VERSION, files })?)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn record(path: &Path) -> Record {
        Record {
            contents: Contents { size: 3, hash: "md5:abc".to_string() },
            stamp: Stamp::of(&fs::metadata(path).unwrap()),
            allocated: 4096,
            cached_at: 1,
            used_at: 2,
            hits: 3,
            number: 1,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nonsense_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_empty());
        let file = directory.path().join("file");
        fs::write(&file, "abc").unwrap();
        let files = vec![("file".to_string(), record(&file))];
        write(directory.path(), files.clone()).unwrap();
        write(directory.path(), files.clone()).unwrap();
        assert_eq!(read(directory.path()), files);
        fs::write(directory.path().join(NAME), "{\"version\":1,\"files\":[").unwrap();
        assert!(read(directory.path()).is_empty());
        fs::write(directory.path().join(NAME), "{\"version\":2,\"files\":[]}").unwrap();
        assert!(read(directory.path()).is_empty());
    }

    #[test]
    fn a_write_shows_although_size_and_time_are_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "abc").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let before = file.metadata().unwrap();
        // Times move with the clock's tick.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "abd").unwrap();
        let modified = before.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        file.set_modified(modified).unwrap();
        let after = file.metadata().unwrap();
        assert_eq!((after.len(), after.modified().unwrap()), (before.len(), modified));
        assert_ne!(Stamp::of(&after), Stamp::of(&before));
    }
}
