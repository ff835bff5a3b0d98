//! A cached file, with the store behind it.

use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;

use super::DiskCache;
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::store::{ByteRange, ImageReader, ReadDone};

/// Opens the image's data where the cached file has it from.  Blocks.
pub type Elsewhere = Box<dyn Fn() -> Result<Arc<dyn ImageReader>> + Send + Sync>;

/// Reads a cached file.  Where the file fails, it goes, and the store is read.
///
/// The kernel may read the file by itself; then a failing disk is an error to the reader, as with
/// any other file.
pub struct FileOrElse {
    cache: Arc<DiskCache>,
    image: ImageId,
    file: Arc<dyn ImageReader>,
    elsewhere: Elsewhere,
    store: OnceLock<Arc<dyn ImageReader>>,
}

impl FileOrElse {
    /// `file` is the cached file of `image`.
    pub fn new(
        cache: Arc<DiskCache>,
        image: ImageId,
        file: Arc<dyn ImageReader>,
        elsewhere: Elsewhere,
    ) -> Self {
        Self { cache, image, file, elsewhere, store: OnceLock::new() }
    }

    /// The store's reader, after the file has failed.
    fn instead(&self, failure: &Error) -> Result<Arc<dyn ImageReader>> {
        if let Some(store) = self.store.get() {
            return Ok(Arc::clone(store));
        }
        if self.cache.evict(self.image) {
            warn!(image = %self.image, %failure, "a cached file fails and is removed");
        }
        let store = (self.elsewhere)()?;
        Ok(Arc::clone(self.store.get_or_init(|| store)))
    }

    fn start_read_instead(self: Arc<Self>, failure: Error, range: ByteRange, done: ReadDone) {
        // Opening it may take its time, and whoever asks must not wait.  It happens once in the
        // life of a disk.
        // A thread that cannot be started must not take the answer with it.
        let done = Arc::new(Mutex::new(Some(done)));
        let kept = Arc::clone(&done);
        let read = move || {
            let Some(done) = kept.lock().take() else { return };
            match self.instead(&failure) {
                Ok(store) => store.start_read(range, done),
                Err(error) => done(Err(error)),
            }
        };
        let started = thread::Builder::new().name("cache-fallback".to_owned()).spawn(read);
        if let Err(error) = started
            && let Some(done) = done.lock().take()
        {
            done(Err(Error::StoreUnavailable(format!("no thread to read with: {error}"))));
        }
    }
}

impl ImageReader for FileOrElse {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if let Some(store) = self.store.get() {
            return store.read_at(offset, buffer);
        }
        match self.file.read_at(offset, buffer) {
            Err(error) => self.instead(&error)?.read_at(offset, buffer),
            read => read,
        }
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        if let Some(store) = self.store.get() {
            return Arc::clone(store).start_read(range, done);
        }
        let end = range.end.min(self.size());
        let length = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; length];
        match self.file.read_at(range.start, &mut buffer) {
            Ok(_) => done(Ok(Bytes::from(buffer))),
            Err(error) => self.start_read_instead(error, range, done),
        }
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        self.file.known_data(range)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        self.file.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        self.file.next_hole(offset)
    }

    fn local_file(&self) -> Option<&File> {
        self.file.local_file()
    }
}
