//! One read, asked for in parts: librbd and the OSDs move short ones faster, and several at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::buffers::Buffer;
use super::errno::Errno;
use super::image::Image;

/// Parts are no longer than this, and end at multiples of it.  Four times as much is slower by a
/// quarter: what moves it allocates, and runs out of the processor's caches.
const PART: u64 = 1 << 20;

/// Takes the buffer, filled, or why it is not.
pub(super) type ReadEnd = Box<dyn FnOnce(Result<Buffer, Errno>) + Send>;

/// What the parts of a read fill, and who waits for it.
struct Read {
    unfinished: AtomicUsize,
    failure: Mutex<Option<Errno>>,
    target: Mutex<Option<(Buffer, ReadEnd)>>,
    length: usize,
}

/// A part of a read, and where it goes.
struct Part {
    read: Arc<Read>,
    start: *mut u8,
    length: usize,
}

// SAFETY: it is the only one that has this part of the buffer, which the read keeps.
unsafe impl Send for Part {}

impl Image {
    /// Starts a read of `length` bytes, all of which lie within the image, into `buffer`, whose
    /// contents are lost.
    pub(super) fn start_read(&self, offset: u64, length: usize, mut buffer: Buffer, done: ReadEnd) {
        buffer.make_room(length);
        let start = buffer.start();
        let parts = parts(offset, length);
        let read = Arc::new(Read {
            unfinished: AtomicUsize::new(parts.len()),
            failure: Mutex::default(),
            target: Mutex::new(Some((buffer, done))),
            length,
        });
        for (at, length) in parts {
            // Within the buffer, as the part is within the read.
            let start = start.wrapping_add((at - offset) as usize);
            let part = Part { read: Arc::clone(&read), start, length };
            self.start_part(at, part);
        }
    }

    fn start_part(&self, offset: u64, part: Part) {
        let ended = Box::new(|outcome, part: Part| part.ended(outcome));
        self.submit(part, ended, |part, completion| {
            let (start, length) = (part.start.cast(), part.length);
            // SAFETY: a live image, and a part of a buffer that stays until the completion.
            unsafe {
                (self.library().rbd_aio_read2)(self.raw(), offset, length, start, completion, 0)
            }
        });
    }
}

impl Part {
    /// Notes how it went; the last one answers.
    fn ended(self, outcome: Result<usize, Errno>) {
        let failure = match outcome {
            Ok(count) if count == self.length => None,
            // What is asked for lies within the image: less is a failure.
            Ok(_) => Some(Errno::IO),
            Err(error) => Some(error),
        };
        if let Some(error) = failure {
            self.read.failure.lock().get_or_insert(error);
        }
        // The last one sees what the others have written.
        if self.read.unfinished.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let Some((mut buffer, done)) = self.read.target.lock().take() else { return };
        let failure = *self.read.failure.lock();
        done(match failure {
            Some(error) => Err(error),
            None => {
                // SAFETY: there is room for all the parts, and each has been filled.
                unsafe { buffer.set_filled(self.read.length) };
                Ok(buffer)
            }
        });
    }
}

/// Offsets and lengths of the parts of a read.
pub(super) fn parts(offset: u64, length: usize) -> Vec<(u64, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    let mut parts = Vec::new();
    while at < end {
        let next = ((at / PART + 1) * PART).min(end);
        // Never more than PART.
        parts.push((at, (next - at) as usize));
        at = next;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_at_multiples() {
        assert_eq!(parts(5, 0), []);
        assert_eq!(parts(PART - 1, 2), [(PART - 1, 1), (PART, 1)]);
        let whole = PART as usize;
        let expected = [(0, whole), (PART, whole), (2 * PART, whole / 2)];
        assert_eq!(parts(0, 2 * whole + whole / 2), expected);
    }
}
