//! Memory for large reads, used again and again.
//!
//! Fresh memory costs as much as the read itself, and taken from the allocator among Ceph's own
//! buffers, of almost the same size, it leaves gaps that nothing fits: twice the memory.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// The sizes that streams are read in.
const SIZES: [usize; 2] = [1 << 20, 4 << 20];

/// How many of each are kept.
const KEPT: usize = 16;

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub(super) struct Buffers([Mutex<Vec<Vec<u8>>>; SIZES.len()]);

impl Buffers {
    /// An empty buffer with room for so many bytes.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let kept = self.of_size(length).and_then(|kept| kept.lock().pop());
        kept.unwrap_or_else(|| Vec::with_capacity(length))
    }

    /// A filled buffer as bytes; when the last of them is dropped it comes back.
    pub(super) fn lend(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: Arc::clone(self) })
    }

    fn of_size(&self, size: usize) -> Option<&Mutex<Vec<Vec<u8>>>> {
        self.0.get(SIZES.iter().position(|kept| *kept == size)?)
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(kept) = self.home.of_size(self.buffer.capacity()) else { return };
        let mut kept = kept.lock();
        if kept.len() < KEPT {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_when_nobody_has_a_part_of_it_any_more() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(SIZES[0]);
        buffer.extend([7; 10]);
        let place = buffer.as_ptr();
        let part = buffers.lend(buffer).slice(2..4);
        let other = buffers.take(SIZES[0]);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(part, [7, 7].as_slice());
        drop(part);
        let again = buffers.take(SIZES[0]);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }
}
