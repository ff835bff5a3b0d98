//! Which files a configuration is read from: those that are named, then those of directories.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The files in the order in which they are read, so that later ones win: `files` as they are, then
/// of each of `directories` those named `*.conf`, in the order of their names.
/// oslo.config: `--config-file` and `--config-dir`.
///
/// # Errors
/// `Config` for a directory that cannot be read.
pub fn in_order(files: &[PathBuf], directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = files.to_vec();
    for directory in directories {
        all.extend(of_directory(directory)?);
    }
    Ok(all)
}

fn of_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| {
        Error::Config(format!(
            "--config-dir {0}: {error}: name a directory with files *.conf",
            directory.display()
        ))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // As the shell's `*`, which leaves out hidden files.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("conf")) && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_directory_come_last_and_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["20-b.conf", "10-a.conf", "notes.txt", ".hidden.conf"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = in_order(&["z.conf".into()], &[directory.path().into()]).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["z.conf", "10-a.conf", "20-b.conf"]);
        let missing = in_order(&[], &[directory.path().join("no")]).unwrap_err().to_string();
        assert!(missing.starts_with("--config-dir ") && missing.contains("*.conf"), "{missing}");
    }
}
