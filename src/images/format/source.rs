//! Reading small pieces of an image that may be hostile: clipped at its end, never more than a
//! constant number of bytes at once, and fields that are zero where there is nothing to read.

use crate::error::Result;

/// Random access to the finished bytes of one image.
pub(in crate::images) struct Source<'a> {
    /// Length of the image in bytes.
    pub(in crate::images) size: u64,
    read_at: &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize>,
}

impl<'a> Source<'a> {
    pub(in crate::images) fn new(
        size: u64,
        read_at: &'a mut dyn FnMut(u64, &mut [u8]) -> Result<usize>,
    ) -> Self {
        Self { size, read_at }
    }

    /// Up to `length` bytes at `offset`; fewer only where the image ends.  `length` is always a
    /// constant of the caller's, never a number from the image.
    pub(in crate::images) fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let mut buffer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            let wanted = rest.len();
            match (self.read_at)(offset + filled as u64, rest)?.min(wanted) {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// Exactly `N` bytes at `offset`, if the image has them.
    pub(in crate::images) fn exactly<const N: usize>(
        &mut self,
        offset: u64,
    ) -> Result<Option<[u8; N]>> {
        Ok(self.read(offset, N)?.try_into().ok())
    }
}

/// `N` bytes of `bytes` at `at`; zeros when they are not all there.
pub(in crate::images) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut value = [0; N];
    if let Some(found) = bytes.get(at..at.saturating_add(N)) {
        value.copy_from_slice(found);
    }
    value
}

pub(in crate::images) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(field(bytes, at))
}

pub(in crate::images) fn be_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(field(bytes, at))
}

pub(in crate::images) fn le_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

pub(in crate::images) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

pub(in crate::images) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}
