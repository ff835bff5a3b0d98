//! Noticing that an upload is a copy of the whole of another image, whose hashes hold for it too.

use std::sync::Arc;

use crate::catalog::model::Image;
use crate::error::Result;
use crate::images::digest::Digests;
use crate::store::{ByteRange, ImageReader};

/// The whole of another image, copied inside the store.
pub(super) struct Copied {
    pub(super) source: Arc<dyn ImageReader>,
    pub(super) digests: Digests,
    pub(super) ranges: Vec<ByteRange>,
}

impl Copied {
    /// Copying can carry hashes over only from an image that has them.
    pub(super) fn start(image: &Image, source: &Arc<dyn ImageReader>) -> Option<Self> {
        let digests = Digests {
            checksum: image.checksum.clone()?,
            os_hash_algo: image.os_hash_algo.clone()?,
            os_hash_value: image.os_hash_value.clone()?,
        };
        Some(Self { source: Arc::clone(source), digests, ranges: Vec::new() })
    }

    pub(super) fn add(&mut self, range: ByteRange) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// Whether all of the source's data is within the ranges that were copied.
    pub(super) fn covers_all_data(&self) -> Result<bool> {
        let mut at = 0;
        while let Some(data) = self.source.next_data(at)? {
            let end = self.source.next_hole(data)?;
            if !self.ranges.iter().any(|range| range.start <= data && end <= range.end) {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}
