//! The blocks that are there or on their way, and who waits for them.
//!
//! A block is any part of an image that was read from the store at once; blocks never overlap, so
//! no byte is kept twice or asked for twice at a time.  Everything here is bookkeeping under the
//! cache's lock: no store is called, nobody is answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::pending::{Pending, zeros};
use super::recency::Recency;
use crate::catalog::model::ImageId;
use crate::store::{ByteRange, ImageReader, ReadDone};

/// Blocks begin and end at multiples of this: a small read brings so much of what is around it.
/// Four times as much made scattered reads of 4 KiB a quarter slower.
pub(super) const GRANULE: u64 = 16 << 10;

/// The most that is asked of a store at once: so large a read costs it least for each byte.
pub(super) const LARGEST: u64 = 4 << 20;

/// The most that is on its way at once.  Stores hold as much again, or twice, while it comes, and none gets
/// faster by more.
const MOST_IN_FLIGHT: u64 = 32 << 20;

/// A block's image, and where the block begins.
pub(super) type Key = (ImageId, u64);

/// A block that the store has to be asked for.
pub(super) struct Fetch {
    pub(super) image: ImageId,
    pub(super) range: ByteRange,
    pub(super) source: Arc<dyn ImageReader>,
}

/// All blocks.
pub(super) struct Blocks {
    images: HashMap<ImageId, BTreeMap<u64, Block>>,
    recency: Recency<Key>,
    in_flight: u64,
    capacity: u64,
    /// Blocks that somebody waits for, and that the store was not asked for yet.
    queue: VecDeque<Fetch>,
}

struct Block {
    end: u64,
    state: State,
}

enum State {
    Here {
        bytes: Bytes,
        /// Up to where it was used; a read that begins before this uses it again.
        used_to: u64,
    },
    Coming {
        waiters: Vec<Waiter>,
        /// Whether it may stay once it is there.
        keep: bool,
    },
}

struct Waiter {
    read: Arc<Pending>,
    index: usize,
    range: ByteRange,
}

/// How a read goes on.
pub(super) enum Found {
    /// All of it is here.
    Here(Vec<Bytes>, ReadDone),
    /// It is answered when the blocks have come.
    Later,
}

/// Those who wait for a block that has come, to be answered outside the lock.
pub(super) struct Answers {
    start: u64,
    waiters: Vec<Waiter>,
}

impl Answers {
    /// Answers with the block.
    pub(super) fn give(self, block: &Bytes) {
        for waiter in self.waiters {
            let from = (waiter.range.start - self.start) as usize;
            let to = (waiter.range.end - self.start) as usize;
            waiter.read.set(waiter.index, block.slice(from..to));
        }
    }

    /// Answers that it cannot be had.
    pub(super) fn fail(self, reason: &str) {
        for waiter in self.waiters {
            waiter.read.fail(reason);
        }
    }
}

impl Blocks {
    /// Room for so many bytes.
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            images: HashMap::new(),
            recency: Recency::new(capacity),
            in_flight: 0,
            capacity,
            queue: VecDeque::new(),
        }
    }

    /// Bytes that are here, and bytes on their way.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.recency.bytes(), self.in_flight)
    }

    /// Finds or orders what a read of `range`, which is within the image, needs.  `fetches` gets
    /// what the store has to be asked for now.
    pub(super) fn read(
        &mut self,
        image: ImageId,
        source: &Arc<dyn ImageReader>,
        range: ByteRange,
        done: ReadDone,
        fetches: &mut Vec<Fetch>,
    ) -> Found {
        let mut pieces = Vec::new();
        let mut awaited = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = match self.block_at(image, at) {
                Some((start, end)) => {
                    let part = at..end.min(range.end);
                    let piece = self.part_of((image, start), &part);
                    if piece.is_none() {
                        awaited.push((start, pieces.len(), part.clone()));
                    }
                    pieces.push(piece);
                    part.end
                }
                None => {
                    let gap = at..self.next_block(image, at).min(range.end);
                    match next_data(source, &gap) {
                        Some(data) if data.start == at => {
                            self.order(image, source, &data, fetches);
                            continue;
                        }
                        data => {
                            let end = data.map_or(gap.end, |data| data.start);
                            pieces.push(Some(zeros((end - at) as usize)));
                            end
                        }
                    }
                }
            };
            at = end;
        }
        if awaited.is_empty() {
            return Found::Here(pieces.into_iter().flatten().collect(), done);
        }
        let read = Arc::new(Pending::new(pieces, done));
        for (start, index, range) in awaited {
            let waiter = Waiter { read: Arc::clone(&read), index, range };
            if let Some(Block { state: State::Coming { waiters, .. }, .. }) =
                self.block_mut((image, start))
            {
                waiters.push(waiter);
            }
        }
        Found::Later
    }

    /// Orders what is missing of `range`, as long as no more than `limit` bytes are on their way.
    /// Returns how far it got.
    pub(super) fn read_ahead(
        &mut self,
        image: ImageId,
        source: &Arc<dyn ImageReader>,
        range: ByteRange,
        limit: u64,
        fetches: &mut Vec<Fetch>,
    ) -> u64 {
        let mut at = range.start;
        while at < range.end {
            if let Some((_, end)) = self.block_at(image, at) {
                at = end;
                continue;
            }
            let gap = at..self.next_block(image, at).min(range.end);
            let Some(data) = next_data(source, &gap) else {
                at = gap.end;
                continue;
            };
            let next = (data.start / LARGEST + 1) * LARGEST;
            let part = data.start..data.end.min(next);
            if self.in_flight + (part.end - part.start) > limit {
                return at;
            }
            self.order(image, source, &part, fetches);
            at = part.end;
        }
        at
    }

    /// A block has come, or cannot be had.  `fetches` gets what may be asked for next.
    pub(super) fn arrived(
        &mut self,
        key: Key,
        bytes: Option<&Bytes>,
        fetches: &mut Vec<Fetch>,
    ) -> Answers {
        let mut answers = Answers { start: key.1, waiters: Vec::new() };
        let Some(blocks) = self.images.get_mut(&key.0) else { return answers };
        let Some(block) = blocks.get_mut(&key.1) else { return answers };
        let State::Coming { waiters, keep } = &mut block.state else { return answers };
        answers.waiters = std::mem::take(waiters);
        let length = block.end - key.1;
        self.in_flight -= length;
        match bytes {
            Some(bytes) if *keep => {
                let used_to = answers.waiters.iter().map(|waiter| waiter.range.end).max();
                let used_to = used_to.unwrap_or(key.1);
                block.state = State::Here { bytes: bytes.clone(), used_to };
                self.recency.insert(key, length);
            }
            _ => {
                blocks.remove(&key.1);
                if blocks.is_empty() {
                    self.images.remove(&key.0);
                }
            }
        }
        while let Some(next) = self.queue.front() {
            if !self.has_room(next.range.end - next.range.start) {
                break;
            }
            if let Some(next) = self.queue.pop_front() {
                self.take_off(&next.range);
                fetches.push(next);
            }
        }
        self.make_room();
        answers
    }

    /// Whether anything of an image is here or on its way.
    pub(super) fn holds(&self, image: ImageId) -> bool {
        self.images.contains_key(&image)
    }

    /// Forgets an image.  Blocks on their way are still given to those who wait.
    pub(super) fn forget(&mut self, image: ImageId) {
        let Some(blocks) = self.images.get_mut(&image) else { return };
        let recency = &mut self.recency;
        blocks.retain(|start, block| match &mut block.state {
            State::Here { .. } => {
                recency.remove(&(image, *start));
                false
            }
            State::Coming { keep, .. } => {
                *keep = false;
                true
            }
        });
        if blocks.is_empty() {
            self.images.remove(&image);
        }
    }

    /// Has a block fetched that begins and ends around `wanted`, which lies in a gap.
    fn order(
        &mut self,
        image: ImageId,
        source: &Arc<dyn ImageReader>,
        wanted: &ByteRange,
        fetches: &mut Vec<Fetch>,
    ) {
        let before = self.images.get(&image).and_then(|blocks| {
            blocks.range(..=wanted.start).next_back().map(|(_, block)| block.end)
        });
        let start = (wanted.start / GRANULE * GRANULE).max(before.unwrap_or(0));
        let end = wanted.end.next_multiple_of(GRANULE).min(start + LARGEST);
        let end = end.min(source.size()).min(self.next_block(image, wanted.start));
        let state = State::Coming { waiters: Vec::new(), keep: true };
        self.images.entry(image).or_default().insert(start, Block { end, state });
        let fetch = Fetch { image, range: start..end, source: Arc::clone(source) };
        if self.queue.is_empty() && self.has_room(end - start) {
            self.take_off(&fetch.range);
            self.make_room();
            fetches.push(fetch);
        } else {
            self.queue.push_back(fetch);
        }
    }

    fn take_off(&mut self, range: &ByteRange) {
        self.in_flight += range.end - range.start;
    }

    /// At most a quarter of the room is for what is on its way, but one block always is.
    fn has_room(&self, bytes: u64) -> bool {
        self.in_flight == 0 || self.in_flight + bytes <= MOST_IN_FLIGHT.min(self.capacity / 4)
    }

    fn make_room(&mut self) {
        while self.recency.bytes() + self.in_flight > self.capacity {
            let Some((image, start)) = self.recency.evict() else { return };
            if let Some(blocks) = self.images.get_mut(&image) {
                blocks.remove(&start);
                if blocks.is_empty() {
                    self.images.remove(&image);
                }
            }
        }
    }

    /// The block that an offset is in: start and end.
    fn block_at(&self, image: ImageId, at: u64) -> Option<(u64, u64)> {
        let (start, block) = self.images.get(&image)?.range(..=at).next_back()?;
        (block.end > at).then_some((*start, block.end))
    }

    /// Where the next block after an offset begins.
    fn next_block(&self, image: ImageId, at: u64) -> u64 {
        let next = self.images.get(&image).and_then(|blocks| blocks.range(at..).next());
        next.map_or(u64::MAX, |(start, _)| *start)
    }

    fn block_mut(&mut self, (image, start): Key) -> Option<&mut Block> {
        self.images.get_mut(&image)?.get_mut(&start)
    }

    /// A part of a block, if it is here.
    fn part_of(&mut self, key: Key, part: &ByteRange) -> Option<Bytes> {
        let State::Here { bytes, used_to } = &mut self.block_mut(key)?.state else { return None };
        let again = part.start < *used_to;
        *used_to = part.end.max(*used_to);
        let piece = bytes.slice((part.start - key.1) as usize..(part.end - key.1) as usize);
        self.recency.touch(key, again);
        Some(piece)
    }
}

/// The first part of `range` that may hold data.
fn next_data(source: &Arc<dyn ImageReader>, range: &ByteRange) -> Option<ByteRange> {
    match source.known_data(range.clone()) {
        Some(data) => data.into_iter().next(),
        None => Some(range.clone()),
    }
}
