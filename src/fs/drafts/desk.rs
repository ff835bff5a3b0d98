//! What a draft's thread works on: the upload, and what became of it.

use super::{gone, immutable};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::images::OpenImage;
use crate::images::upload::Upload;

/// What a draft's thread has before it.
pub struct Desk {
    /// The data; `None` once the draft has ended.
    pub(super) upload: Option<Upload>,
    /// An existing image whose bytes the draft starts with, copied when the first byte is written.
    pub(super) base: Option<OpenImage>,
    /// Why the draft was dropped.
    pub(super) failure: Option<Error>,
    /// The published image, for those who still have it open.
    pub(super) published: Option<OpenImage>,
}

impl Desk {
    /// The upload, for altering its data.  What the draft starts with is copied first, unless it
    /// is about to be cut to `keep` bytes, which is all that is copied then.
    ///
    /// # Errors
    /// `Immutable` when the draft has ended; why it failed, if it has.
    pub fn upload(&mut self, keep: Option<u64>) -> Result<&mut Upload> {
        if let Some(failure) = &self.failure {
            return Err(Error::StoreUnavailable(failure.to_string()));
        }
        let Some(upload) = self.upload.as_mut() else { return Err(immutable()) };
        if let Some(base) = self.base.take() {
            copy_base(upload, &base, keep.unwrap_or(u64::MAX))?;
        }
        Ok(upload)
    }

    /// The upload as it is, for altering its record.
    pub fn record(&mut self) -> Option<&mut Upload> {
        self.upload.as_mut()
    }

    /// Notes that data was lost: the draft can only be dropped.
    pub fn fail(&mut self, error: &Error) {
        self.failure.get_or_insert_with(|| Error::StoreUnavailable(error.to_string()));
    }

    /// Reads what is there now: the draft's own bytes, or the image that it has become.
    ///
    /// # Errors
    /// The store's.
    pub fn read(
        &mut self,
        open: impl FnOnce(ImageId) -> Result<OpenImage>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        let source = match (&mut self.upload, &self.base, &mut self.published) {
            (_, Some(base), _) => base,
            (Some(upload), None, _) => return upload.read_at(offset, buffer),
            (None, None, Some(published)) => {
                if published.reader.is_none() {
                    *published = open(published.image.id)?;
                }
                published
            }
            (None, None, None) => return Err(gone()),
        };
        match &source.reader {
            Some(reader) => reader.read_at(offset, buffer),
            None => Ok(0),
        }
    }
}

fn copy_base(upload: &mut Upload, base: &OpenImage, keep: u64) -> Result<()> {
    let Some(reader) = &base.reader else { return Ok(()) };
    let end = reader.size().min(keep);
    let mut at = 0;
    while at < end {
        match upload.copy_from(base, at, at, end - at)? {
            0 => break,
            copied => at += copied,
        }
    }
    Ok(())
}
