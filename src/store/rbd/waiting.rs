//! Reading with a wait: several requests under way, one answer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::buffers::Buffer;
use super::errno::Errno;
use super::image::Image;
use super::read::parts;

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
        Box::new(move |outcome| {
            *answered.outcome.lock() = Some(outcome);
            answered.ended.notify_all();
        }),
    );
    slot
}

/// Fills `wanted`, all of which lies within the image.
pub(super) fn read(image: &Image, offset: u64, wanted: &mut [u8]) -> Result<(), Errno> {
    let limit = image.connection().limit();
    let mut parts = parts(offset, wanted.len()).into_iter();
    let mut under_way = std::collections::VecDeque::new();
    let mut rest = wanted;
    loop {
        while under_way.len() < IN_FLIGHT_MAX
            && let Some((at, length)) = parts.next()
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
