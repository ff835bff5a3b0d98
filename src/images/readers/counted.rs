//! Counting what a store is asked to read, and how long it takes.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;
use crate::store::{ByteRange, ImageReader, ReadDone};
use crate::telemetry::metrics::StoreReads;

/// A store's reader, watched.
pub(super) struct CountedReader {
    reader: Arc<dyn ImageReader>,
    reads: StoreReads,
}

impl CountedReader {
    pub(super) fn new(reader: Arc<dyn ImageReader>, store: &str) -> Self {
        Self { reader, reads: StoreReads::of(store) }
    }
}

impl ImageReader for CountedReader {
    fn size(&self) -> u64 {
        self.reader.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let begun = Instant::now();
        let outcome = self.reader.read_at(offset, buffer);
        self.reads.ended(begun.elapsed(), outcome.as_ref().ok().copied());
        outcome
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        let (begun, reads) = (Instant::now(), self.reads.clone());
        let counted = move |outcome: Result<bytes::Bytes>| {
            reads.ended(begun.elapsed(), outcome.as_ref().ok().map(bytes::Bytes::len));
            done(outcome);
        };
        Arc::clone(&self.reader).start_read(range, Box::new(counted));
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        self.reader.known_data(range)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        self.reader.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        self.reader.next_hole(offset)
    }

    fn local_file(&self) -> Option<&File> {
        self.reader.local_file()
    }
}
