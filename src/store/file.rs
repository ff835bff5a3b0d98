//! The file store: one directory, one file an image, named by its id.
//!
//! It is Glance's filesystem store: either may read, write and delete what the other wrote.
//! An upload is a file `.tmp-<id>` until it is complete; then it takes its name at once, without
//! ever replacing anything.  Nothing outside the directory can be reached: names are single, links
//! are not followed, and only regular files count.  `directory` does the names, `writer` and
//! `reader` the bytes, `extents` the holes.

mod directory;
mod early_sync;
mod extents;
mod reader;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Capacity, ImageReader, ImageWriter, Store, Stored};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use directory::Directory;
use reader::FileReader;
use writer::FileWriter;

/// What the names of unfinished uploads begin with; no finished image may have such a name.
const UNFINISHED: &str = ".tmp-";

/// Glance: the default of `filesystem_store_chunk_size`; said, for clients that look for it, and
/// used for nothing here.
const CHUNK_SIZE: u64 = 65536;

/// How a [`FileStore`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStoreOptions {
    /// Mode of new files, whatever the umask.  Glance: `filesystem_store_file_perm`.
    pub file_mode: u32,
    /// Whether zeros that are written beyond all data become holes.
    /// Glance: `filesystem_thin_provisioning`.
    pub thin_provisioning: bool,
}

impl Default for FileStoreOptions {
    /// Mode 0640; zeros are written as they come.
    fn default() -> Self {
        Self { file_mode: 0o640, thin_provisioning: false }
    }
}

/// A directory that holds the data of images.
#[derive(Debug)]
pub struct FileStore {
    name: String,
    directory: Arc<Directory>,
    options: FileStoreOptions,
}

impl FileStore {
    /// Opens the store in `datadir` (absolute), which is made (0750) if it is missing.
    ///
    /// # Errors
    /// `Config` when the directory cannot be used, or cannot be written as a location's URL.
    pub fn open(
        name: impl Into<String>,
        datadir: impl Into<PathBuf>,
        options: FileStoreOptions,
    ) -> Result<Self> {
        let directory = Arc::new(Directory::open(&datadir.into())?);
        Ok(Self { name: name.into(), directory, options })
    }

    /// Where the store is, as its URLs write it.
    pub fn datadir(&self) -> &Path {
        Path::new(self.directory.path())
    }

    /// The URL of an image's finished data, whether or not there is any.
    pub fn url_of(&self, id: ImageId) -> String {
        self.directory.url_of(id.as_str())
    }

    /// The file's name that a URL of this store means.
    fn file_name<'u>(&self, url: &'u str) -> Result<&'u str> {
        self.directory.name_in_url(url).ok_or_else(|| no_data(url))
    }
}

/// Opens a file that is in no store, to be read as finished data is.
///
/// # Errors
/// `StoreUnavailable` when it cannot be read.
pub fn open_file(path: &Path) -> Result<Arc<dyn ImageReader>> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| store_error("open", &shown, &error))?;
    Ok(Arc::new(FileReader::new(file, shown)?))
}

/// An open file that is in no store, to be read as finished data is; `name` is for messages.
///
/// # Errors
/// `StoreUnavailable`
pub fn reader_of(file: std::fs::File, name: String) -> Result<Arc<dyn ImageReader>> {
    Ok(Arc::new(FileReader::new(file, name)?))
}

impl Store for FileStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "file"
    }

    fn owns(&self, url: &str) -> bool {
        self.directory.name_in_url(url).is_some()
    }

    fn name_in(&self, url: &str) -> Option<String> {
        self.directory.name_in_url(url).map(String::from)
    }

    fn properties(&self) -> serde_json::Map<String, serde_json::Value> {
        [
            ("data_dir".to_string(), self.directory.path().into()),
            ("chunk_size".to_string(), CHUNK_SIZE.into()),
            ("thin_provisioning".to_string(), self.options.thin_provisioning.into()),
        ]
        .into_iter()
        .collect()
    }

    fn is_local(&self) -> bool {
        true
    }

    /// `size` is not used: an image may be thin, so that only writing shows whether it fits.
    fn create(&self, id: ImageId, _size: Option<u64>) -> Result<Box<dyn ImageWriter>> {
        let writer = FileWriter::create(Arc::clone(&self.directory), id, self.options)?;
        Ok(Box::new(writer))
    }

    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>> {
        let name = self.file_name(url)?;
        let file = self.directory.open_file(name)?.ok_or_else(|| no_data(url))?;
        Ok(Arc::new(FileReader::new(file, self.directory.path_of(name))?))
    }

    fn list(&self) -> Result<Vec<Stored>> {
        let named = |name: String| {
            let finished = !name.starts_with(UNFINISHED);
            let url = finished.then(|| self.directory.url_of(&name));
            Stored { name, url }
        };
        Ok(self.directory.files()?.into_iter().map(named).collect())
    }

    fn delete(&self, url: &str) -> Result<()> {
        let name = self.file_name(url)?;
        if self.directory.stat(name)?.is_none() || !self.directory.remove(name)? {
            return Err(no_data(url));
        }
        self.directory.sync()
    }

    fn last_written(&self, id: ImageId) -> Result<Option<SystemTime>> {
        let unfinished = self.directory.stat(&unfinished_name(id))?;
        // glance-api writes to the final name.
        let finished = self.directory.stat(id.as_str())?;
        Ok(unfinished.into_iter().chain(finished).map(|stat| stat.modified).max())
    }

    fn discard(&self, id: ImageId) -> Result<()> {
        let unfinished = self.directory.remove(&unfinished_name(id))?;
        let finished = self.directory.remove(id.as_str())?;
        if unfinished || finished { self.directory.sync() } else { Ok(()) }
    }

    fn capacity(&self) -> Result<Capacity> {
        self.directory.capacity()
    }

    fn allocated(&self, url: &str) -> Option<u64> {
        let name = self.directory.name_in_url(url)?;
        self.directory.stat(name).ok().flatten().map(|stat| stat.allocated)
    }
}

fn unfinished_name(id: ImageId) -> String {
    format!("{UNFINISHED}{id}")
}

fn no_data(url: &str) -> Error {
    Error::NotFound(format!("no image data at {url}"))
}

/// A system error in the words of a store: full, or not available.
fn store_error(action: &str, path: &str, error: &io::Error) -> Error {
    let words = format!("{action} {path}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::StoreFull(words)
        }
        _ => Error::StoreUnavailable(words),
    }
}

#[cfg(test)]
mod tests;
