//! Reading with a wait: several requests under way, one answer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::buffers::Buffer;
use super::errno::Errno;
use super::image::Image;

/// Requests are no longer than this, and end at multiples of it: short enough for a reader of some
/// MiB to have several under way.
const PIECE: u64 = 1 << 20;

/// So many are under way for one read.
const IN_FLIGHT_MAX: usize = 16;

/// A request's outcome, once it is there.
type Outcome = Option<Result<Buffer, Errno>>;

#[derive(Default)]
struct Slot {
    outcome: Mutex<Outcome>,
    ended: Condvar,
}

impl Slot {
    fn wait(&self, limit: Duration) -> Result<Buffer, Errno> {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            if self.ended.wait_for(&mut outcome, limit).timed_out() && outcome.is_none() {
                return Err(Errno::TIMEDOUT);
            }
        }
    }
}

fn start(image: &Image, offset: u64, length: usize) -> Arc<Slot> {
    let slot = Arc::new(Slot::default());
    let answered = Arc::clone(&slot);
    image.start_read(
        offset,
        length,
        Buffer::default(),
        Box::new(move |outcome, buffer| {
            // What is asked for lies within the image: less is a failure.
            let outcome =
                outcome.and_then(|count| if count == length { Ok(buffer) } else { Err(Errno::IO) });
            *answered.outcome.lock() = Some(outcome);
            answered.ended.notify_all();
        }),
    );
    slot
}

/// Fills `wanted`, all of which lies within the image.
pub(super) fn read(image: &Image, offset: u64, wanted: &mut [u8]) -> Result<(), Errno> {
    let limit = image.connection().limit();
    let mut pieces = pieces(offset, wanted.len()).into_iter();
    let mut under_way = std::collections::VecDeque::new();
    let mut rest = wanted;
    loop {
        while under_way.len() < IN_FLIGHT_MAX
            && let Some((at, length)) = pieces.next()
        {
            under_way.push_back(start(image, at, length));
        }
        let Some(slot) = under_way.pop_front() else { return Ok(()) };
        let data = slot.wait(limit)?;
        let data = data.as_ref();
        let (now, later) = rest.split_at_mut_checked(data.len()).ok_or(Errno::IO)?;
        now.copy_from_slice(data);
        rest = later;
    }
}

/// Offsets and lengths of the requests for a range.
fn pieces(offset: u64, length: usize) -> Vec<(u64, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    let mut pieces = Vec::new();
    while at < end {
        let next = ((at / PIECE + 1) * PIECE).min(end);
        // Never more than PIECE.
        pieces.push((at, (next - at) as usize));
        at = next;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_at_multiples() {
        assert_eq!(pieces(5, 0), []);
        assert_eq!(pieces(PIECE - 1, 2), [(PIECE - 1, 1), (PIECE, 1)]);
        let piece = PIECE as usize;
        let expected = [(0, piece), (PIECE, piece), (2 * PIECE, piece / 2)];
        assert_eq!(pieces(0, 2 * piece + piece / 2), expected);
    }
}
