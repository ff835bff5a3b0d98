//! Reading a finished image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::{ByteRange, ImageReader, ReadDone};
use super::{extents, store_error};
use crate::error::{Error, Result};

/// A finished image's file.
#[derive(Debug)]
pub(super) struct FileReader {
    file: File,
    size: u64,
    /// For messages.
    path: String,
}

impl FileReader {
    pub(super) fn new(file: File, path: String) -> Result<Self> {
        let size = file.metadata().map_err(|error| store_error("stat", &path, &error))?.len();
        Ok(Self { file, size, path })
    }

    fn error(&self, error: &io::Error) -> Error {
        store_error("read", &self.path, error)
    }
}

impl ImageReader for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = buffer.get_mut(..length).unwrap_or_default();
        // An end before the end, of a file that somebody cut, is an error like any other.
        self.file.read_exact_at(wanted, offset).map_err(|error| self.error(&error))?;
        Ok(length)
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        let end = range.end.min(self.size);
        let length = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; length];
        let read = self.read_at(range.start, &mut buffer);
        done(read.map(|_| buffer.into()));
    }

    /// The file system would have to be asked.
    fn known_data(&self, _range: ByteRange) -> Option<Vec<ByteRange>> {
        None
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        if offset >= self.size {
            return Ok(None);
        }
        let data = extents::next_data(&self.file, offset).map_err(|error| self.error(&error))?;
        Ok(data.filter(|data| *data < self.size))
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        if offset >= self.size {
            return Ok(self.size);
        }
        extents::next_hole(&self.file, offset, self.size).map_err(|error| self.error(&error))
    }

    fn local_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}
