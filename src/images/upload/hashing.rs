//! The hashes of data as it comes in: computed on the way as long as it comes in order, and of the rest
//! by reading it back at the end.

use bytes::Bytes;

use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::images::digest::{Digester, Digests, HashAlgorithm};
use crate::store::ImageWriter;

/// How much is read back at once.
const REREAD_BYTES: usize = 1 << 20;

/// What was hashed so far.
pub(super) struct Hashing {
    algorithm: HashAlgorithm,
    prefix: Option<Prefix>,
}

/// The first bytes; there is none once something of it was overwritten: then it starts over at the end.
struct Prefix {
    digester: Digester,
    length: u64,
}

impl Hashing {
    pub(super) fn new(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, prefix: Some(Prefix::none(algorithm)) }
    }

    /// Takes what was written.
    ///
    /// # Errors
    /// A hash that cannot go on.
    pub(super) fn written(&mut self, offset: u64, data: Bytes) -> Result<()> {
        let Some(prefix) = &mut self.prefix else { return Ok(()) };
        if offset == prefix.length {
            prefix.length += data.len() as u64;
            prefix.digester.update(data)?;
        } else if offset < prefix.length {
            self.prefix = None;
        }
        // Past a gap: whatever comes into the gap, the end reads everything after the prefix back.
        Ok(())
    }

    /// Notes that other bytes are there from an offset on.
    pub(super) fn overwritten_from(&mut self, offset: u64) {
        if self.prefix.as_ref().is_some_and(|prefix| offset < prefix.length) {
            self.prefix = None;
        }
    }

    /// Hashes what was not hashed on the way.
    ///
    /// # Errors
    /// The store's; `StoreUnavailable` when it has less than it was given.
    pub(super) fn catch_up(&mut self, id: ImageId, writer: &mut dyn ImageWriter) -> Result<()> {
        let prefix = self.prefix.get_or_insert_with(|| Prefix::none(self.algorithm));
        let end = writer.len();
        for extent in writer.data_extents(prefix.length..end)? {
            prefix.zeros_to(extent.start)?;
            while prefix.length < extent.end {
                let piece = (extent.end - prefix.length).min(REREAD_BYTES as u64);
                let mut buffer = vec![0; piece as usize];
                let read = writer.read_at(prefix.length, &mut buffer)?;
                if read == 0 {
                    return Err(Error::StoreUnavailable(format!(
                        "the data of image {id} ends before its length"
                    )));
                }
                buffer.truncate(read);
                prefix.digester.update(Bytes::from(buffer))?;
                prefix.length += read as u64;
            }
        }
        prefix.zeros_to(end)
    }

    /// The hashes, once all is hashed.  Should the image be written again, they start over.
    pub(super) fn take(&mut self) -> Option<Result<Digests>> {
        self.prefix.take().map(|prefix| prefix.digester.finish())
    }
}

impl Prefix {
    fn none(algorithm: HashAlgorithm) -> Self {
        Self { digester: Digester::new(algorithm), length: 0 }
    }

    fn zeros_to(&mut self, end: u64) -> Result<()> {
        self.digester.update_zeros(end - self.length)?;
        self.length = end;
        Ok(())
    }
}
