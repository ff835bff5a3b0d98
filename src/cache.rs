//! Blocks of images that are not on this machine, kept in memory, and read before they are asked
//! for.
//!
//! A [`CachedReader`] stands before a store's reader.  What is here is answered at once, in the
//! caller's thread; what is not is read from the store once, however many wait for it, and answered
//! from the thread on which the store answers.  Nothing waits.  Small scattered reads fetch little,
//! streams are read ahead (`streams`), holes are answered without asking.  All blocks together, those
//! on their way included, are bounded (`blocks`, `recency`).
//!
//! Which images there are, who may read them and when their blocks have to go is the business of
//! `images`.  Local files are not cached here: the kernel does that.  Whole images on a local disk
//! are in [`disk`].

mod blocks;
pub mod disk;
mod pending;
mod reader;
mod recency;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub use reader::CachedReader;

use crate::catalog::model::ImageId;
use crate::error::Result;
use crate::store::{ByteRange, ImageReader, ReadDone};
use blocks::{Blocks, Fetch, Found};

/// The least room that reading works with: two of the largest blocks.
const LEAST_CAPACITY: u64 = 8 << 20;

/// How far a stream is read ahead at most, in bytes.
const LONGEST_WINDOW: u64 = 32 << 20;

/// The blocks of all images.
pub struct BlockCache {
    blocks: Mutex<Blocks>,
    capacity: u64,
    hit_bytes: AtomicU64,
    missed_bytes: AtomicU64,
    fetches: AtomicU64,
    fetched_bytes: AtomicU64,
}

/// What a cache holds and has done, in bytes unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The bound.
    pub capacity: u64,
    /// What is here.
    pub used: u64,
    /// What is on its way.
    pub in_flight: u64,
    /// Answered from what was here.
    pub hit_bytes: u64,
    /// Asked for and not here, or not yet.
    pub missed_bytes: u64,
    /// Reads of stores: how many.
    pub fetches: u64,
    /// Read from stores.
    pub fetched_bytes: u64,
}

impl BlockCache {
    /// A cache for so many bytes, 8 MiB at least.
    pub fn new(capacity: u64) -> Arc<Self> {
        let capacity = capacity.max(LEAST_CAPACITY);
        Arc::new(Self {
            blocks: Mutex::new(Blocks::new(capacity)),
            capacity,
            hit_bytes: AtomicU64::new(0),
            missed_bytes: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
        })
    }

    /// What it holds and has done.
    pub fn figures(&self) -> Figures {
        let (used, in_flight) = self.blocks.lock().bytes();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            capacity: self.capacity,
            used,
            in_flight,
            hit_bytes: of(&self.hit_bytes),
            missed_bytes: of(&self.missed_bytes),
            fetches: of(&self.fetches),
            fetched_bytes: of(&self.fetched_bytes),
        }
    }

    /// Forgets an image's blocks: it is gone, or may not be read any more.
    pub fn forget(&self, image: ImageId) {
        self.blocks.lock().forget(image);
    }

    /// Whether anything of an image is here or on its way.
    pub fn holds(&self, image: ImageId) -> bool {
        self.blocks.lock().holds(image)
    }

    /// Reads `range`, which lies within the image.
    fn read(
        self: &Arc<Self>,
        image: ImageId,
        source: &Arc<dyn ImageReader>,
        range: ByteRange,
        done: ReadDone,
    ) {
        let length = range.end - range.start;
        let mut fetches = Vec::new();
        let found = self.blocks.lock().read(image, source, range, done, &mut fetches);
        self.fetch(fetches);
        match found {
            Found::Here(pieces, done) => {
                self.hit_bytes.fetch_add(length, Ordering::Relaxed);
                done(Ok(pending::join(pieces)));
            }
            Found::Later => {
                self.missed_bytes.fetch_add(length, Ordering::Relaxed);
            }
        }
    }

    /// Fetches what is missing of `range`, as far as there is room for what nobody has asked for
    /// yet.  Returns how far that is.
    fn read_ahead(
        self: &Arc<Self>,
        image: ImageId,
        source: &Arc<dyn ImageReader>,
        range: ByteRange,
    ) -> u64 {
        let mut fetches = Vec::new();
        let limit = LONGEST_WINDOW.min(self.capacity / 4);
        let reached = self.blocks.lock().read_ahead(image, source, range, limit, &mut fetches);
        self.fetch(fetches);
        reached
    }

    fn fetch(self: &Arc<Self>, fetches: Vec<Fetch>) {
        for Fetch { image, range, source } in fetches {
            let length = range.end - range.start;
            self.fetches.fetch_add(1, Ordering::Relaxed);
            self.fetched_bytes.fetch_add(length, Ordering::Relaxed);
            let (this, start) = (Arc::clone(self), range.start);
            let came = move |outcome| this.arrived(image, start, length, outcome);
            source.start_read(range, Box::new(came));
        }
    }

    fn arrived(self: &Arc<Self>, image: ImageId, start: u64, length: u64, outcome: Result<Bytes>) {
        let outcome = outcome.map_err(|error| error.to_string()).and_then(|block| {
            if block.len() as u64 == length {
                Ok(block)
            } else {
                Err(format!("image {image} ends before its size"))
            }
        });
        let mut fetches = Vec::new();
        let block = outcome.as_ref().ok();
        let answers = self.blocks.lock().arrived((image, start), block, &mut fetches);
        self.fetch(fetches);
        match outcome {
            Ok(block) => answers.give(&block),
            Err(reason) => answers.fail(&reason),
        }
    }
}

#[cfg(test)]
mod tests;
