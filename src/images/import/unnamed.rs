//! Files without a name, for data that is on its way: a crash leaves nothing of them.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Makes an empty file without a name on the file system of `directory`, for its owner alone.
///
/// # Errors
/// `Io`.
pub fn unnamed_file(directory: &Path) -> Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        // File systems of networks, and some that lie over others, only have files with names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => briefly_named(directory),
        Err(error) => Err(Error::io("make a file in", directory.display())(error.into())),
    }
}

fn briefly_named(directory: &Path) -> Result<File> {
    let path = directory.join(format!(".unnamed-{}", uuid::Uuid::new_v4()));
    let failed = |error| Error::io("create", path.display())(error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn nothing_is_seen_of_an_unnamed_file() {
        let directory = tempfile::tempdir().unwrap();
        for make in [unnamed_file, briefly_named] {
            let file = make(directory.path()).unwrap();
            file.write_all_at(b"data", 3).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 7);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
