//! Memory for large reads, used again and again.
//!
//! Blocks of streams stay in memory for long.  Taken from the allocator among Ceph's own buffers, of
//! almost the same size, they leave gaps that nothing fits, and twice the memory; so they have
//! mappings of their own, of huge pages where those can be had: made page by page, fresh memory
//! costs as much as the read itself.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// What is shorter is taken from the allocator.
const LEAST: usize = 1 << 20;

/// What huge pages are made for: multiples of their size, so that none is shared with a neighbour.
const HUGE: usize = 2 << 20;

/// How many are kept for their next use.
const KEPT: usize = 4;

/// Mappings that wait for their next use, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<VecDeque<Mapping>>);

/// What a read fills.
#[derive(Debug)]
pub(super) enum Buffer {
    /// Taken from the allocator.
    Heap(Vec<u8>),
    /// A mapping, and how much of it is filled.
    Mapped(Mapping, usize),
}

/// Memory of its own, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: nobody else knows the memory.
unsafe impl Send for Mapping {}
// SAFETY: it is only read through a shared reference.
unsafe impl Sync for Mapping {}

impl Buffers {
    /// An empty buffer, with room for so many bytes if they are many.
    pub(super) fn take(&self, length: usize) -> Buffer {
        if length < LEAST {
            return Buffer::default();
        }
        let mut kept = self.0.lock();
        let fitting = kept.iter().rposition(|mapping| mapping.length == length);
        let kept = fitting.and_then(|at| kept.remove(at));
        kept.or_else(|| Mapping::new(length)).map_or_else(Buffer::default, |mapping| {
            // Nothing of what it held is shown.
            Buffer::Mapped(mapping, 0)
        })
    }

    /// A filled buffer as bytes; when the last of them is dropped it comes back.
    pub(super) fn lend(self: &Arc<Self>, buffer: Buffer) -> Bytes {
        match buffer {
            Buffer::Heap(buffer) => Bytes::from(buffer),
            buffer => Bytes::from_owner(Lent { buffer, home: Arc::clone(self) }),
        }
    }

    fn keep(&self, mapping: Mapping) {
        let mut kept = self.0.lock();
        kept.push_back(mapping);
        // Unmapped when nobody waits for the lock any more.
        let excess = if kept.len() > KEPT { kept.pop_front() } else { None };
        drop(kept);
        drop(excess);
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Buffer {
    /// Sees to it that there is room for so many bytes.  What was in it is lost.
    pub(super) fn make_room(&mut self, length: usize) {
        match self {
            Self::Mapped(mapping, filled) if mapping.length >= length => *filled = 0,
            Self::Heap(buffer) => {
                buffer.clear();
                buffer.reserve_exact(length);
            }
            Self::Mapped(..) => *self = Self::Heap(Vec::with_capacity(length)),
        }
    }

    /// Where it starts; there is as much to be written to as room was made for.
    pub(super) fn start(&mut self) -> *mut u8 {
        match self {
            Self::Heap(buffer) => buffer.as_mut_ptr(),
            Self::Mapped(mapping, _) => mapping.start.as_ptr().cast(),
        }
    }

    /// Says how much of it is filled.
    ///
    /// # Safety
    /// There was room for so many bytes, and they have been written.
    pub(super) unsafe fn set_filled(&mut self, count: usize) {
        match self {
            // SAFETY: as promised.
            Self::Heap(buffer) => unsafe { buffer.set_len(count) },
            Self::Mapped(_, filled) => *filled = count,
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Heap(buffer) => buffer,
            // SAFETY: so much is within the mapping, by `set_filled`, and nobody writes to it.
            Self::Mapped(mapping, filled) => unsafe {
                std::slice::from_raw_parts(mapping.start.as_ptr().cast(), *filled)
            },
        }
    }
}

impl Mapping {
    /// `None` where the system has no memory for it.
    fn new(length: usize) -> Option<Self> {
        let (access, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping, at a place of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, access, private) };
        let start = NonNull::new(start.ok()?)?;
        if length.is_multiple_of(HUGE) {
            // Without huge pages it works, too.
            // SAFETY: our own mapping; the advice changes nothing of what it holds.
            let _ = unsafe { madvise(start.as_ptr(), length, Advice::LinuxHugepage) };
        }
        Some(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // What cannot be unmapped stays.
        // SAFETY: ours, as a whole, and whoever borrowed from it is gone.
        let _ = unsafe { munmap(self.start.as_ptr(), self.length) };
    }
}

struct Lent {
    buffer: Buffer,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Buffer::Mapped(mapping, _) = std::mem::take(&mut self.buffer) {
            self.home.keep(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut buffer: Buffer, bytes: &[u8]) -> Buffer {
        buffer.make_room(bytes.len());
        // SAFETY: there is room for so many, and they are written before they are counted.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.start(), bytes.len());
            buffer.set_filled(bytes.len());
        }
        buffer
    }

    #[test]
    fn a_large_buffer_is_used_again_when_nobody_has_a_part_of_it_any_more() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = filled(buffers.take(LEAST), &[7; 10]);
        let place = buffer.start();
        let part = buffers.lend(buffer).slice(2..4);
        let mut other = buffers.take(LEAST);
        assert_ne!(other.start(), place);
        assert_eq!(part, [7, 7].as_slice());
        drop(part);
        let mut again = buffers.take(LEAST);
        assert_eq!((again.start(), again.as_ref().len()), (place, 0));
    }

    #[test]
    fn few_are_kept_and_only_what_fits_is_taken() {
        let buffers = Arc::new(Buffers::default());
        let lent: Vec<_> = (0..2 * KEPT).map(|_| buffers.lend(buffers.take(LEAST))).collect();
        drop(lent);
        assert_eq!(buffers.0.lock().len(), KEPT);
        let larger = buffers.take(2 * LEAST);
        assert!(matches!(&larger, Buffer::Mapped(mapping, 0) if mapping.length == 2 * LEAST));
        assert_eq!(buffers.0.lock().len(), KEPT);
    }

    #[test]
    fn any_buffer_holds_what_was_asked_for() {
        let buffers = Arc::new(Buffers::default());
        for (taken, length) in [(0, 5), (LEAST, 5), (LEAST, LEAST), (LEAST, LEAST + 1)] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert_eq!(buffers.lend(filled(buffers.take(taken), &bytes)), bytes);
        }
    }
}
