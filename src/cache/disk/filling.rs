//! A file of the cache that is not complete yet.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::index::{Record, Stamp};
use super::{Contents, DiskCache, Entry, UNFINISHED, allocated, now};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::store::{ByteRange, ImageWriter, Store as _};

/// Room for the file system's own records of where the data is, beside one part in 256.
const RECORDS: u64 = 256 << 10;

/// Each run of data may begin and end within a block of this size at most.
const LARGEST_BLOCK: u64 = 64 << 10;

/// A file that is being filled, in order.  Dropped before [`finish`](Self::finish), it is removed.
pub struct Filling {
    cache: Arc<DiskCache>,
    image: ImageId,
    contents: Contents,
    writer: Option<Box<dyn ImageWriter>>,
    /// Its name now.
    path: PathBuf,
    reserved: u64,
}

impl Filling {
    /// What a file with this data may take on the disk, at most.
    pub fn room_for(data: &[ByteRange]) -> u64 {
        let run = |run: &ByteRange| {
            let start = run.start / LARGEST_BLOCK * LARGEST_BLOCK;
            run.end.div_ceil(LARGEST_BLOCK).saturating_mul(LARGEST_BLOCK) - start
        };
        let bytes = data.iter().map(run).fold(0, u64::saturating_add);
        bytes.saturating_add(bytes / 256).saturating_add(RECORDS)
    }

    /// `reserved` is counted already.
    pub(super) fn new(
        cache: Arc<DiskCache>,
        image: ImageId,
        contents: Contents,
        reserved: u64,
    ) -> Result<Self> {
        let path = cache.path.join(format!("{UNFINISHED}{image}"));
        let mut filling = Self { cache, image, contents, writer: None, path, reserved };
        let mut writer = filling.cache.store.create(image, None)?;
        // At once, so that no file system takes room beyond the end in advance.
        writer.set_len(filling.contents.size)?;
        filling.writer = Some(writer);
        Ok(filling)
    }

    /// Writes the next data; blocks of zeros become holes.
    ///
    /// # Errors
    /// `StoreFull` when the disk is, or when more than the promised room is taken.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.write_at(offset, data)?;
        }
        let failed = |error| Error::io("stat", self.path.display())(error);
        let taken = allocated(&fs::metadata(&self.path).map_err(failed)?);
        if taken > self.reserved {
            let what = format!("its file takes more than the {} bytes foreseen", self.reserved);
            return Err(Error::StoreFull(what));
        }
        Ok(())
    }

    /// Puts the file on stable storage and into use.  The caller has verified what was written.
    ///
    /// # Errors
    /// The system's; then there is no file.
    pub fn finish(mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        writer.finish()?;
        let path = self.cache.path.join(self.image.as_str());
        let file = fs::metadata(&path).map_err(Error::io("stat", path.display()))?;
        let now = now();
        let mut record = Record {
            contents: self.contents.clone(),
            stamp: Stamp::of(&file),
            allocated: allocated(&file),
            cached_at: now / 1000,
            used_at: now,
            hits: 0,
            number: 0,
        };
        let mut state = self.cache.state.lock();
        state.last_number += 1;
        record.number = state.last_number;
        state.reserved -= self.reserved;
        self.reserved = 0;
        state.entries.insert(self.image, Entry { record, reader: None });
        drop(state);
        self.cache.save();
        Ok(())
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // First the file, then its room.
        self.writer = None;
        self.cache.state.lock().reserved -= self.reserved;
    }
}
