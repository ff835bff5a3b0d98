//! Writes under way: many at a time, but no more bytes than a bound.
//!
//! The first failure stays: whatever is asked afterwards fails with it, until the upload is given
//! up.  Writes that overlap are never under way together, so that the later one wins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::super::ByteRange;
use super::completion::Done;
use super::errno::Errno;
use super::image::Image;

/// Bytes that may be under way.
const IN_FLIGHT_MAX: u64 = 48 << 20;

/// Buffers that are kept for the next writes.
const SPARE_MAX: usize = 16;

#[derive(Default)]
struct State {
    /// What is under way, in no order.
    ranges: Vec<ByteRange>,
    bytes: u64,
    /// How many have ended: what a deadline looks at.
    ended: u64,
    failed: Option<Errno>,
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

/// The writes of one upload.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    /// How long to wait without any of them ending.
    limit: Duration,
}

impl Pipeline {
    pub(super) fn new(limit: Duration) -> Self {
        Self { shared: Arc::default(), limit }
    }

    /// An empty buffer for `length` bytes.
    pub(super) fn buffer(&self, length: usize) -> Vec<u8> {
        let spare = self.shared.state.lock().spare.pop();
        let mut buffer = spare.unwrap_or_default();
        buffer.clear();
        buffer.reserve_exact(length);
        buffer
    }

    /// Queues a write; waits only for room and for what it would overlap.
    pub(super) fn write(&self, image: &Image, offset: u64, data: Vec<u8>) -> Result<(), Errno> {
        let range = offset..offset + data.len() as u64;
        let expected = data.len();
        self.enter(&range)?;
        image.start_write(offset, data, self.leave(range, Some(expected)));
        Ok(())
    }

    /// Queues making a range read as zeros.
    pub(super) fn zero(&self, image: &Image, range: ByteRange) -> Result<(), Errno> {
        // One request moves no data, however long it is; the bound is for those that do.
        let length = usize::try_from(range.end - range.start).map_err(|_| Errno::FBIG)?;
        self.drain()?;
        self.enter(&range)?;
        image.start_zero(range.start, length, self.leave(range, None));
        self.drain()
    }

    /// Waits until nothing is under way.
    pub(super) fn drain(&self) -> Result<(), Errno> {
        let mut state = self.shared.state.lock();
        self.wait_until(&mut state, |state| state.ranges.is_empty())?;
        state.failed.map_or(Ok(()), Err)
    }

    /// Waits until all is on stable storage.
    pub(super) fn flush(&self, image: &Image) -> Result<(), Errno> {
        self.drain()?;
        let nothing = 0..0;
        self.enter(&nothing)?;
        image.start_flush(self.leave(nothing, None));
        self.drain()
    }

    /// Waits until `range` may start, and counts it.
    fn enter(&self, range: &ByteRange) -> Result<(), Errno> {
        let bytes = range.end - range.start;
        let mut state = self.shared.state.lock();
        self.wait_until(&mut state, |state| {
            let room = state.bytes == 0 || state.bytes + bytes <= IN_FLIGHT_MAX;
            room && !state.ranges.iter().any(|other| overlap(other, range))
        })?;
        if let Some(error) = state.failed {
            return Err(error);
        }
        state.bytes += bytes;
        state.ranges.push(range.clone());
        Ok(())
    }

    /// What is to be done when `range` has ended.
    fn leave(&self, range: ByteRange, expected: Option<usize>) -> Done {
        let shared = Arc::clone(&self.shared);
        Box::new(move |outcome, buffer| {
            let mut state = shared.state.lock();
            if let Some(at) = state.ranges.iter().position(|other| *other == range) {
                state.ranges.swap_remove(at);
            }
            state.bytes -= range.end - range.start;
            state.ended += 1;
            if let Err(error) = outcome {
                state.failed.get_or_insert(error);
            }
            if expected.is_some() && state.spare.len() < SPARE_MAX {
                state.spare.push(buffer);
            }
            shared.ended.notify_all();
        })
    }

    /// Waits for `ready` or a failure, whichever is first.
    fn wait_until(
        &self,
        state: &mut MutexGuard<'_, State>,
        ready: impl Fn(&State) -> bool,
    ) -> Result<(), Errno> {
        while state.failed.is_none() && !ready(state) {
            let before = state.ended;
            let timed_out = self.shared.ended.wait_for(state, self.limit).timed_out();
            if timed_out && state.ended == before {
                state.failed = Some(Errno::TIMEDOUT);
            }
        }
        Ok(())
    }
}

fn overlap(one: &ByteRange, other: &ByteRange) -> bool {
    one.start < other.end && other.start < one.end
}
