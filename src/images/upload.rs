//! The one pipeline that every byte goes through on its way into a store.
//!
//! An [`Upload`] takes bytes at any offset, hashes them on the way for as long as they come in
//! order, and ends in one of two ways: [`publish`](Upload::publish) makes the image `active`, with
//! everything durable, or dropping it removes the data and puts the record back to where it was.
//! Both faces use it; it is used by one thread at a time.

mod beginning;
mod copied;
mod ending;
mod hashing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::warn;

use super::crash::{self, Step};
use super::digest::Digests;
use super::events::Event;
use super::format;
use super::journal::Work;
use super::quota::totals::{Counted, Hold};
use super::{Images, OpenImage};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::store::copy::copy;
use crate::store::{ByteRange, ImageWriter, Store};
use crate::telemetry::metrics;
use copied::Copied;
use hashing::Hashing;

/// What an upload may be told at its start.
#[derive(Clone, Debug, Default)]
pub struct UploadOptions {
    /// The final length in bytes, if it is known: a shorter or longer upload is refused.
    pub size: Option<u64>,
    /// The store to write to; the default one if none is named.
    pub store: Option<String>,
}

/// Data that comes in order and then is complete.  Dropped before, it leaves nothing.
pub trait Incoming: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// `TooLarge`, `Invalid` (more than announced), the store's: then it can only be dropped.
    fn append(&mut self, data: Bytes) -> Result<()>;

    /// All of it has come; gives the record as it is now.
    ///
    /// # Errors
    /// Whatever is wrong with the data; `Gone` when the record was deleted meanwhile.
    fn complete(self) -> Result<Image>;
}

impl Incoming for Upload {
    fn append(&mut self, data: Bytes) -> Result<()> {
        let appended = Self::append(self, data);
        self.note_refusal(appended)
    }

    fn complete(self) -> Result<Image> {
        self.publish()
    }
}

/// How far an upload is, for `glancefs status`.
#[derive(Debug)]
pub struct Progress {
    /// The image.
    pub id: ImageId,
    /// Its name, as far as it has one.
    pub name: Mutex<Option<String>>,
    /// Bytes taken so far.
    pub bytes: AtomicU64,
    /// When it began.
    pub started: Instant,
}

/// The data of one image on its way in.
pub struct Upload {
    images: Arc<Images>,
    /// Whose it is.
    by: RequestContext,
    /// The record as the catalog has it.
    recorded: Image,
    /// The record as it will be.
    image: Image,
    work: Work,
    /// Published or undone: there is nothing left to undo.
    ended: bool,
    /// Data was begun: what the store has under this id is ours.
    holds_data: bool,
    /// Why nobody knows whether the record names the data.
    unsettled: Option<String>,
    store: Arc<dyn Store>,
    /// Taken when the data is finished or given up.
    writer: Option<Box<dyn ImageWriter>>,
    hashing: Hashing,
    copied: Option<Copied>,
    /// The hashes of what is there now.
    sealed: Option<Digests>,
    /// Why no more can be written: data was lost, so it must never become active.
    failed: Option<String>,
    /// Why it does not become complete, as far as it is known.
    refused: Option<String>,
    expected_size: Option<u64>,
    /// Its part of the project's quota, where there is one.
    hold: Option<Hold>,
    /// Its place among the project's uploads, where they are limited.
    _turn: Option<Hold>,
    progress: Arc<Progress>,
}

impl Upload {
    /// Starts writing data for `recorded`, whose status is `saving` and whose journal entry exists.
    pub(super) fn start(
        images: Arc<Images>,
        by: &RequestContext,
        recorded: Image,
        work: Work,
        store: Arc<dyn Store>,
        expected_size: Option<u64>,
        turn: Option<Hold>,
    ) -> Result<Self> {
        let hashing = Hashing::new(images.options().hashing_algorithm);
        let progress = Arc::new(Progress {
            id: recorded.id,
            name: Mutex::new(recorded.name.clone()),
            bytes: AtomicU64::new(0),
            started: Instant::now(),
        });
        let mut upload = Self {
            images,
            by: by.clone(),
            image: recorded.clone(),
            recorded,
            work,
            ended: false,
            holds_data: false,
            unsettled: None,
            store,
            writer: None,
            hashing,
            copied: None,
            sealed: None,
            failed: None,
            refused: None,
            expected_size,
            hold: None,
            _turn: turn,
            progress,
        };
        upload.images.uploads.lock().push(Arc::clone(&upload.progress));
        // From here on, an error drops `upload`, which undoes what the caller prepared.
        upload.hold = upload.images.totals.begin(Counted::Stored, &upload.recorded)?;
        upload.check_start()?;
        let writer = upload.store.create(upload.recorded.id, expected_size)?;
        upload.writer = Some(writer);
        upload.holds_data = true;
        Ok(upload)
    }

    /// The image's id.
    pub fn id(&self) -> ImageId {
        self.recorded.id
    }

    /// The record as it will be when the upload is published.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Alters the record that will be published.
    ///
    /// # Errors
    /// Those of `alter`, after which nothing is altered.
    pub fn alter(&mut self, alter: impl FnOnce(&mut Image) -> Result<()>) -> Result<()> {
        let mut altered = self.image.clone();
        alter(&mut altered)?;
        self.images.check_draft(&self.by, &self.image, &altered)?;
        self.image = altered;
        self.progress.name.lock().clone_from(&self.image.name);
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.len())
    }

    /// Whether there is no byte yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes at the end.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn append(&mut self, data: Bytes) -> Result<()> {
        self.write_at(self.len(), data)
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// `TooLarge` past the size cap or the announced size, with nothing written; the store's
    /// errors, after which the upload can only be dropped.
    pub fn write_at(&mut self, offset: u64, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.check_length(offset.saturating_add(data.len() as u64))?;
        self.copied = None;
        self.attempt(|writer| writer.write_at(offset, &data))?;
        self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        crash::point(Step::Written);
        self.sealed = None;
        self.hashing.written(offset, data)
    }

    /// Reads back what was written.
    ///
    /// # Errors
    /// The store's.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.writer()?.read_at(offset, buffer)
    }

    /// Cuts or extends (with zeros).
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn set_len(&mut self, length: u64) -> Result<()> {
        self.check_length(length)?;
        if length < self.len() {
            self.copied = None;
        }
        self.attempt(|writer| writer.set_len(length))?;
        // What was cut off is given back.
        self.check_length(length)?;
        self.overwritten_from(length);
        Ok(())
    }

    /// Makes a range read as zeros; never changes the length.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn punch(&mut self, range: ByteRange) -> Result<()> {
        let start = range.start;
        self.copied = None;
        self.attempt(|writer| writer.punch(range))?;
        self.overwritten_from(start);
        Ok(())
    }

    /// Copies from a finished image, inside the store where it can do that.  When the whole of an
    /// image arrives like this, its hashes are taken over.
    ///
    /// # Errors
    /// `Unsupported` when there is nothing to copy; as [`write_at`](Self::write_at).
    pub fn copy_from(
        &mut self,
        source: &OpenImage,
        source_offset: u64,
        offset: u64,
        length: u64,
    ) -> Result<u64> {
        let Some(reader) = &source.reader else {
            return Err(Error::Unsupported("there is no data to copy".to_string()));
        };
        let room = reader.size().saturating_sub(source_offset);
        let length = length.min(room);
        self.check_length(offset.saturating_add(length))?;
        let untouched = self.is_empty();
        let copied = match self.writer()?.copy_from(&**reader, source_offset, offset, length) {
            Err(Error::Unsupported(_)) => {
                self.attempt(|writer| copy(reader, source_offset, writer, offset, length))?;
                length
            }
            outcome => outcome?,
        };
        self.overwritten_from(offset);
        self.progress.bytes.fetch_add(copied, Ordering::Relaxed);
        if offset != source_offset {
            self.copied = None;
        } else if untouched {
            self.copied = Copied::start(&source.image, reader);
        }
        if let Some(whole) = &mut self.copied {
            if Arc::ptr_eq(&whole.source, reader) {
                whole.add(offset..offset + copied);
            } else {
                self.copied = None;
            }
        }
        Ok(copied)
    }

    /// Puts what was written so far on stable storage.
    ///
    /// # Errors
    /// The store's, after which the upload can only be dropped.
    pub fn sync(&mut self) -> Result<()> {
        self.attempt(|writer| writer.sync())
    }

    /// Does what takes long in completing an image: hashes, and data on stable storage.  Writing
    /// again undoes it.  Whether the data is acceptable is not asked yet: who comes back to write
    /// more may leave half a header meanwhile.
    ///
    /// # Errors
    /// `Invalid` when not all of the announced data has come; the store's errors.
    pub fn seal(&mut self) -> Result<()> {
        let sealed = self.seal_now();
        self.heed(sealed)
    }

    fn seal_now(&mut self) -> Result<()> {
        if self.sealed.is_some() {
            return Ok(());
        }
        self.check_complete()?;
        // The hash threads still have a queue to work through: sync meanwhile.
        self.hash_rest()?;
        self.sync()?;
        self.sealed = Some(self.take_digests()?);
        Ok(())
    }

    /// Completes the image: data under its final name, record `active`, both durable.
    ///
    /// # Errors
    /// As [`seal`](Self::seal); `FormatMismatch` when the data is not what was declared or is
    /// unsafe; `Gone` when the record was deleted meanwhile.  The data is removed and the record
    /// is as it was before the upload.
    pub fn publish(mut self) -> Result<Image> {
        let published = self.publish_now();
        let published = self.note_refusal(published);
        self.heed(published)
    }

    fn publish_now(&mut self) -> Result<Image> {
        self.judge()?;
        self.seal()?;
        let Some(writer) = self.writer.take() else {
            return Err(gone(self.recorded.id));
        };
        let size = writer.len();
        crash::point(Step::Sealed);
        let url = writer.finish()?;
        crash::point(Step::Finished);
        let done = self.commit(size, &url);
        match &done {
            // The image is there: nothing is left for the drop to undo.
            Ok(image) => {
                crash::point(Step::Committed);
                metrics::upload_ended(self.store.name(), Some(size));
                self.close();
                self.images.changes.announce(&[image.id]);
                for event in
                    [Event::Uploaded(image), Event::Activated(image), Event::Updated(image)]
                {
                    self.images.events.tell(event);
                }
            }
            // The catalog's answer was lost.
            Err(error) if error.leaves_unsettled() => self.unsettled = Some(error.to_string()),
            Err(_) => {
                if let Err(error) = self.store.delete(&url) {
                    warn!(image = %self.recorded.id, %error, "unrecorded data stays in the store");
                }
            }
        }
        done
    }

    /// Gives the upload up; the same as dropping it.
    pub fn abandon(self) {}

    fn commit(&mut self, size: u64, url: &str) -> Result<Image> {
        let Some(digests) = self.sealed.take() else {
            return Err(gone(self.recorded.id));
        };
        if let Some(hold) = &self.hold {
            hold.check(&*self.images.catalog, size)?;
        }
        let image = &mut self.image;
        image.size = Some(size);
        image.checksum = Some(digests.checksum);
        image.os_hash_algo = Some(digests.os_hash_algo);
        image.os_hash_value = Some(digests.os_hash_value);
        image.status = Status::Active;
        image.locations.push(self.images.options().location(url, &*self.store));
        image.updated_at = Timestamp::now();
        if self.images.catalog.save(&self.recorded, image, &[Status::Saving])? {
            Ok(image.clone())
        } else {
            Err(gone(self.recorded.id))
        }
    }

    /// Looks at the data.  A declared format must be what the bytes are; where none is declared,
    /// the bytes say it.
    fn judge(&mut self) -> Result<()> {
        self.check_complete()?;
        let writer = self.writer()?;
        let size = writer.len();
        let inspection =
            format::inspect(size, &mut |offset, buffer| writer.read_at(offset, buffer))?;
        let image = &mut self.image;
        let declared = image.disk_format.get_or_insert_with(|| {
            format::disk_format_for(&inspection, image.name.as_deref()).to_string()
        });
        if image.container_format.as_deref() == Some("bare") {
            self.images.options().format_rules.check(declared, &inspection)?;
        }
        image.virtual_size = inspection.virtual_size_as(declared);
        Ok(())
    }

    fn check_complete(&self) -> Result<()> {
        match self.expected_size {
            Some(expected) if expected != self.len() => Err(Error::Invalid(format!(
                "Size mismatch: expected {expected} bytes, got {} bytes",
                self.len()
            ))),
            _ => Ok(()),
        }
    }

    /// What was announced must be allowed before the first byte comes.  A file that is being made may
    /// stay empty, so nothing is asked of it yet.
    fn check_start(&self) -> Result<()> {
        match (self.expected_size, &self.work, &self.hold) {
            (Some(size), ..) => self.check_length(size),
            (None, Work::Upload { .. }, Some(hold)) => hold.check_any_left(&*self.images.catalog),
            _ => Ok(()),
        }
    }

    fn check_length(&self, length: u64) -> Result<()> {
        let cap = self.images.options().image_size_cap;
        if length > cap {
            return Err(Error::TooLarge(format!(
                "Image exceeds the maximum allowed size of {cap} bytes (image_size_cap)"
            )));
        }
        match self.expected_size {
            Some(expected) if length > expected => Err(Error::Invalid(format!(
                "Size exceeds: expected {expected} bytes, got {length} bytes"
            ))),
            expected => {
                let length = length.max(self.len()).max(expected.unwrap_or_default());
                self.hold.as_ref().map_or(Ok(()), |hold| hold.set(&*self.images.catalog, length))
            }
        }
    }

    fn overwritten_from(&mut self, offset: u64) {
        self.sealed = None;
        self.hashing.overwritten_from(offset);
    }

    fn hash_rest(&mut self) -> Result<()> {
        if self.copied_whole()? {
            return Ok(());
        }
        let id = self.recorded.id;
        let writer = self.writer.as_mut().ok_or_else(|| gone(id))?;
        self.hashing.catch_up(id, writer.as_mut())
    }

    fn copied_whole(&mut self) -> Result<bool> {
        let (Some(copied), Some(writer)) = (&self.copied, &self.writer) else {
            return Ok(false);
        };
        let algorithm = self.images.options().hashing_algorithm.as_str();
        Ok(writer.len() == copied.source.size()
            && copied.digests.os_hash_algo == algorithm
            && copied.covers_all_data()?)
    }

    fn take_digests(&mut self) -> Result<Digests> {
        if self.copied_whole()? {
            return self
                .copied
                .as_ref()
                .map(|whole| whole.digests.clone())
                .ok_or(gone(self.recorded.id));
        }
        self.hashing.take().unwrap_or_else(|| Err(gone(self.recorded.id)))
    }

    /// Does something that, if it fails, leaves data that must not be trusted.
    fn attempt(&mut self, act: impl FnOnce(&mut dyn ImageWriter) -> Result<()>) -> Result<()> {
        let outcome = act(self.writer()?.as_mut());
        if let Err(error) = &outcome {
            self.failed = Some(error.to_string());
        }
        outcome
    }

    /// Notes that the store has failed, so that it is not asked again by who waits already.
    fn heed<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error @ Error::StoreUnavailable(_)) = &outcome {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        outcome
    }

    /// Notes why there will be no image, for those who are told.
    fn note_refusal<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let Err(error) = &outcome {
            self.refused.get_or_insert_with(|| error.to_string());
        }
        outcome
    }

    fn writer(&mut self) -> Result<&mut Box<dyn ImageWriter>> {
        if let Some(reason) = &self.failed {
            return Err(Error::StoreUnavailable(format!(
                "an earlier write of image {} failed: {reason}",
                self.recorded.id
            )));
        }
        let id = self.recorded.id;
        self.writer.as_mut().ok_or_else(|| gone(id))
    }
}

fn gone(id: ImageId) -> Error {
    Error::Gone(format!("Image {id} was deleted while it was being written"))
}
