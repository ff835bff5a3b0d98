//! An image of a store, read through the cache.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::streams::{Advice, Streams};
use super::{BlockCache, LONGEST_WINDOW};
use crate::catalog::model::ImageId;
use crate::error::Result;
use crate::store::{ByteRange, ImageReader, ReadDone};

/// An image, read through the cache.
pub struct CachedReader {
    cache: Arc<BlockCache>,
    image: ImageId,
    source: Arc<dyn ImageReader>,
    streams: Mutex<Streams>,
    failed: Arc<AtomicBool>,
}

impl CachedReader {
    /// Puts the cache before `source`, which is the data of `image`.
    pub fn new(cache: Arc<BlockCache>, image: ImageId, source: Arc<dyn ImageReader>) -> Self {
        Self { cache, image, source, streams: Mutex::default(), failed: Arc::default() }
    }

    /// Whether a read has failed: better open the image anew.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    fn read_ahead(&self, read: &ByteRange) {
        let size = self.source.size();
        let most = LONGEST_WINDOW.min(self.cache.capacity / 4);
        let advice = self.streams.lock().note(read, most);
        let Advice::Stream(wanted) = advice else { return };
        let wanted = wanted.start.min(size)..wanted.end.min(size);
        if wanted.is_empty() {
            return;
        }
        let reached = self.cache.read_ahead(self.image, &self.source, wanted.clone());
        if reached < wanted.end {
            self.streams.lock().fell_short(wanted.end, reached);
        }
    }
}

impl ImageReader for CachedReader {
    fn size(&self) -> u64 {
        self.source.size()
    }

    /// Past the cache: for those who read an image once and wait for it.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.source.read_at(offset, buffer)
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        let end = range.end.min(self.source.size());
        if range.start >= end {
            return done(Ok(Bytes::new()));
        }
        let range = range.start..end;
        let failed = Arc::clone(&self.failed);
        let done: ReadDone = Box::new(move |outcome| {
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done(outcome);
        });
        self.cache.read(self.image, &self.source, range.clone(), done);
        self.read_ahead(&range);
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        self.source.known_data(range)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        self.source.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        self.source.next_hole(offset)
    }

    fn local_file(&self) -> Option<&File> {
        self.source.local_file()
    }
}
