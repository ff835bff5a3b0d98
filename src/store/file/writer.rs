//! Writing an image, in any order, with its holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};
use rustix::io::Errno;

use super::super::{ByteRange, ImageReader, ImageWriter};
use super::directory::Directory;
use super::early_sync::EarlySync;
use super::{FileStoreOptions, extents, store_error, unfinished_name};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};

/// Zeros are looked for, and written, in blocks of this size.
const BLOCK: usize = 64 << 10;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// One call copies no more than this, so that whoever waits hears of progress.
const COPY_MAX: u64 = 256 << 20;

/// An unfinished image's file.
#[derive(Debug)]
pub(super) struct FileWriter {
    directory: Arc<Directory>,
    id: ImageId,
    /// Its present name.
    name: String,
    file: File,
    length: u64,
    /// From here on there is nothing but holes.
    data_end: u64,
    thin_provisioning: bool,
    early_sync: EarlySync,
    finished: bool,
}

impl FileWriter {
    pub(super) fn create(
        directory: Arc<Directory>,
        id: ImageId,
        options: FileStoreOptions,
    ) -> Result<Self> {
        if directory.stat(id.as_str())?.is_some() {
            let path = directory.path_of(id.as_str());
            return Err(Error::Conflict(format!("{path} exists already")));
        }
        let name = unfinished_name(id);
        let file = directory.create_file(&name, options.file_mode)?;
        Ok(Self {
            directory,
            id,
            name,
            file,
            length: 0,
            data_end: 0,
            thin_provisioning: options.thin_provisioning,
            early_sync: EarlySync::default(),
            finished: false,
        })
    }

    fn error(&self, action: &str, error: &io::Error) -> Error {
        store_error(action, &self.directory.path_of(&self.name), error)
    }

    /// The end of `length` bytes at `offset`, where a file can have one.
    fn end(&self, offset: u64, length: u64) -> Result<u64> {
        let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok());
        end.ok_or_else(|| self.error("write", &Errno::FBIG.into()))
    }

    fn write_data(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset + data.len() as u64;
        // Before the write: one that fails half way has left data, too.
        self.data_end = self.data_end.max(end);
        if let Err(error) = self.file.write_all_at(data, offset) {
            self.length = self.file.metadata().map_or(self.length, |file| file.len());
            return Err(self.error("write", &error));
        }
        self.length = self.length.max(end);
        self.early_sync.wrote(&self.file, data.len() as u64);
        Ok(())
    }

    /// Writes all but the zeros that are there already.
    fn write_thin(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        for run in runs_of_data(offset, data, self.data_end) {
            let start = offset + run.start as u64;
            self.write_data(start, data.get(run).unwrap_or_default())?;
        }
        let end = offset + data.len() as u64;
        if end > self.length { self.set_len(end) } else { Ok(()) }
    }

    fn write_zeros(&mut self, range: ByteRange) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let length = usize::try_from(range.end - at).map_or(BLOCK, |left| left.min(BLOCK));
            self.write_data(at, ZEROS.get(..length).unwrap_or_default())?;
            at += length as u64;
        }
        Ok(())
    }

    /// Makes `range` a hole, and the file at least that long.
    fn write_hole(&mut self, range: ByteRange) -> Result<()> {
        let end = range.end;
        self.punch(range)?;
        if end > self.length { self.set_len(end) } else { Ok(()) }
    }

    /// Copies data by the system, which shares the blocks where it can.
    fn copy_data(&mut self, source: &File, from: u64, offset: u64, length: u64) -> Result<u64> {
        let length = usize::try_from(length.min(COPY_MAX)).unwrap_or(usize::MAX);
        let (mut from, mut to) = (from, offset);
        match copy_file_range(source, Some(&mut from), &self.file, Some(&mut to), length) {
            // There is data: that it got none means that it cannot.
            Ok(0) => Err(cannot_copy()),
            Ok(count) => {
                let end = offset + count as u64;
                self.data_end = self.data_end.max(end);
                self.length = self.length.max(end);
                Ok(count as u64)
            }
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                Err(cannot_copy())
            }
            Err(error) => Err(self.error("copy to", &error.into())),
        }
    }
}

impl ImageWriter for FileWriter {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.end(offset, data.len() as u64)?;
        if data.is_empty() {
            Ok(())
        } else if self.thin_provisioning {
            self.write_thin(offset, data)
        } else {
            self.write_data(offset, data)
        }
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = self.length.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = buffer.get_mut(..length).unwrap_or_default();
        self.file.read_exact_at(wanted, offset).map_err(|error| self.error("read", &error))?;
        Ok(length)
    }

    fn punch(&mut self, range: ByteRange) -> Result<()> {
        // Beyond the data there is nothing to free.
        let range = range.start..range.end.min(self.data_end);
        if range.is_empty() {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, range.start, range.end - range.start) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(range),
            Err(error) => Err(self.error("punch a hole in", &error.into())),
        }
    }

    fn set_len(&mut self, length: u64) -> Result<()> {
        self.end(length, 0)?;
        self.file.set_len(length).map_err(|error| self.error("set the length of", &error))?;
        self.length = length;
        self.data_end = self.data_end.min(length);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn data_extents(&mut self, range: ByteRange) -> Result<Vec<ByteRange>> {
        let end = range.end.min(self.length);
        let mut found = Vec::new();
        let mut at = range.start;
        while at < end {
            let start = extents::next_data(&self.file, at);
            let start = match start.map_err(|error| self.error("find data in", &error))? {
                Some(start) if start < end => start,
                _ => break,
            };
            at = extents::next_hole(&self.file, start, end)
                .map_err(|error| self.error("find holes in", &error))?;
            found.push(start..at);
        }
        Ok(found)
    }

    fn copy_from(
        &mut self,
        source: &dyn ImageReader,
        source_offset: u64,
        offset: u64,
        length: u64,
    ) -> Result<u64> {
        let file = source.local_file().ok_or_else(cannot_copy)?;
        let length = length.min(source.size().saturating_sub(source_offset));
        self.end(offset, length)?;
        if length == 0 {
            return Ok(0);
        }
        // The system's copy may fill holes with zeros, so they are done here, one piece a call.
        let end = source_offset + length;
        let data = source.next_data(source_offset)?.map_or(end, |data| data.min(end));
        if data > source_offset {
            let hole = data - source_offset;
            self.write_hole(offset..offset + hole)?;
            return Ok(hole);
        }
        let hole = source.next_hole(source_offset)?.min(end);
        self.copy_data(file, source_offset, offset, hole - source_offset)
    }

    fn sync(&mut self) -> Result<()> {
        let synced = self.early_sync.settle().and_then(|()| self.file.sync_data());
        synced.map_err(|error| self.error("sync", &error))
    }

    fn finish(mut self: Box<Self>) -> Result<String> {
        let synced = self.early_sync.settle().and_then(|()| self.file.sync_all());
        synced.map_err(|error| self.error("sync", &error))?;
        self.directory.rename(&self.name, self.id.as_str())?;
        self.finished = true;
        if let Err(error) = self.directory.sync() {
            // Without it nobody knows what a crash would leave: better nothing.
            let _ = self.directory.remove(self.id.as_str());
            return Err(error);
        }
        Ok(self.directory.url_of(self.id.as_str()))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.directory.remove(&self.name)
        {
            tracing::warn!(%error, "an abandoned upload was left behind");
        }
    }
}

fn cannot_copy() -> Error {
    Error::Unsupported("the store cannot copy this image by itself".into())
}

/// The parts of `data` that must be written at `offset`: all but blocks of zeros, whole and
/// aligned (the last may be short), at or beyond `data_end`.
fn runs_of_data(offset: u64, data: &[u8], data_end: u64) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let start = offset + at as u64;
        // Always below the block's size.
        let into = usize::try_from(start % BLOCK as u64).unwrap_or_default();
        let end = data.len().min(at + BLOCK - into);
        let block = data.get(at..end).unwrap_or_default();
        let zeros = start >= data_end && ZEROS.get(..block.len()) == Some(block);
        match runs.last_mut() {
            _ if zeros => {}
            Some(last) if last.end == at => last.end = end,
            _ => runs.push(at..end),
        }
        at = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_zeros_beyond_the_data_only() {
        let mut data = vec![0; 5 * BLOCK];
        data[BLOCK + 7] = 1;
        data[2 * BLOCK] = 1;
        data[4 * BLOCK] = 1;
        let end = data.len();
        assert_eq!(runs_of_data(0, &data, 0), [BLOCK..3 * BLOCK, 4 * BLOCK..end]);
        let block = BLOCK as u64;
        assert_eq!(runs_of_data(0, &data, block / 2), [0..3 * BLOCK, 4 * BLOCK..end]);
        // Blocks are those of the file, not of the write: the first here is short.
        let cut = [BLOCK - 10..3 * BLOCK - 10, 4 * BLOCK - 10..5 * BLOCK - 10];
        assert_eq!(runs_of_data(10, &data, 0), cut);
        assert!(runs_of_data(0, &[0; 5], 0).is_empty());
    }
}
