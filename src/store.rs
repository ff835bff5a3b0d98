//! Stores: where the bytes of images live.
//!
//! Three small traits.  A [`Store`] creates, opens and deletes; an [`ImageWriter`] takes the bytes
//! of one upload in any order; an [`ImageReader`] gives them back.  A store knows ids, URLs and
//! bytes: nothing of the catalog, of identities, of what an image is for.
//!
//! Calls block; never call them from an async thread.

pub mod copy;
pub mod file;
pub mod rbd;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::catalog::model::ImageId;
use crate::error::Result;

/// A span of bytes, end exclusive.
pub type ByteRange = Range<u64>;

/// Room in a store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// All of it.
    pub total: u64,
    /// What can still be written.
    pub available: u64,
}

/// How a store is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Room, as last heard of; `None` when the store does not say.
    pub capacity: Option<Capacity>,
    /// Since when it does not answer; `None` if it does, or nobody has asked it anything since it
    /// last did.
    pub silent_since: Option<SystemTime>,
}

/// Something that a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the store: an image's id, or what somebody else called it.
    pub name: String,
    /// The URL of its data; `None` for what is not finished, as far as the store can tell.
    pub url: Option<String>,
}

/// Something that a store had set aside, whose time had come.
#[derive(Debug)]
pub struct Purged {
    /// The image that it was the data of.
    pub id: ImageId,
    /// It is gone; or why it stays.
    pub outcome: Result<()>,
}

/// A place that holds the data of many images.
pub trait Store: Send + Sync {
    /// The name that locations and `/v2/info/stores` give it.
    fn name(&self) -> &str;

    /// Its type, as `enabled_backends` spells it: `file` or `rbd`.
    fn kind(&self) -> &'static str;

    /// Whether a location's URL names something inside this store.
    fn owns(&self, url: &str) -> bool;

    /// The name, inside this store, of what a location's URL means: two URLs that mean the same
    /// give the same name.
    fn name_in(&self, url: &str) -> Option<String>;

    /// Whether a client may give this URL for an image's data: written just as this store writes
    /// it, and in a store that holds nothing but images.  Glance: never a file (OSSA-2014-041).
    fn takes_location(&self, _url: &str) -> bool {
        false
    }

    /// What operators are told of it, without asking anybody.  Glance: `/v2/info/stores/detail`.
    fn properties(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::Map::new()
    }

    /// Whether calls reach no further than this machine's own disks, so that who must not wait may
    /// make them.
    fn is_local(&self) -> bool;

    /// Starts an image's data.  `size` is a hint: the final length if it is known.
    ///
    /// # Errors
    /// `Conflict` when data of this id is there already; `StoreFull`, `StoreUnavailable`.
    fn create(&self, id: ImageId, size: Option<u64>) -> Result<Box<dyn ImageWriter>>;

    /// Opens finished data.
    ///
    /// # Errors
    /// `NotFound` when there is none, or when the URL is not of this store.
    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>>;

    /// Takes finished data out of offer, before it is deleted: from here on no clone of it can be
    /// begun.  Doing it twice is fine.
    ///
    /// # Errors
    /// `InUse` when clones depend on it, and nothing is changed; `NotFound` when there is none.
    fn withdraw(&self, _url: &str) -> Result<()> {
        Ok(())
    }

    /// Offers finished data for cloning, whether or not it was withdrawn.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn offer(&self, _url: &str) -> Result<()> {
        Ok(())
    }

    /// How many clones depend on finished data; `None` where there are no clones.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn children(&self, _url: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Everything that the store holds, in no particular order.
    ///
    /// # Errors
    /// The store's.
    fn list(&self) -> Result<Vec<Stored>>;

    /// Removes finished data.  Readers that have it open go on where the store can do that.
    ///
    /// # Errors
    /// `NotFound` when there is none; `InUse` when clones depend on it.
    fn delete(&self, url: &str) -> Result<()>;

    /// Whether this process has finished data open for reading, and its readers would not go on
    /// when it is deleted.
    fn is_read_here(&self, _url: &str) -> bool {
        false
    }

    /// When data of an upload of this id that has not ended was last written, where that can be told.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    fn last_written(&self, _id: ImageId) -> Result<Option<SystemTime>> {
        Ok(None)
    }

    /// Removes whatever an interrupted upload of this id left: partial data, or data that was
    /// finished but never recorded.  Nothing to remove is fine.
    ///
    /// # Errors
    /// `InUse` while somebody, who may be dead, is still taken for its writer.
    fn discard(&self, id: ImageId) -> Result<()>;

    /// Removes for good what [`delete`](Self::delete) could only set aside, since others needed it, if
    /// that was longer ago than `age`, `is_ours` does not object, and nobody needs it any more.
    ///
    /// # Errors
    /// When the store cannot be asked; what cannot be done for one thing is said of it.
    fn purge_trash(
        &self,
        _age: Duration,
        _is_ours: &dyn Fn(ImageId) -> Result<bool>,
    ) -> Result<Vec<Purged>> {
        Ok(Vec::new())
    }

    /// Room.
    fn capacity(&self) -> Result<Capacity>;

    /// How it is, as far as is known after waiting for no longer than `patience`.
    fn condition(&self, _patience: Duration) -> Condition {
        Condition { capacity: self.capacity().ok(), silent_since: None }
    }

    /// Bytes that the image really takes, when that is known without asking far away.
    fn allocated(&self, url: &str) -> Option<u64>;
}

/// The data of one image that is being written.  Dropped without [`finish`](Self::finish), it is
/// removed.
pub trait ImageWriter: Send {
    /// Writes all of `data` at `offset`, beyond the end if need be (a gap reads as zeros).
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()>;

    /// Reads back what was written; fewer bytes only at the end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Makes `range` read as zeros and frees its room if the store can; never changes the length.
    fn punch(&mut self, range: ByteRange) -> Result<()>;

    /// Cuts or extends (with zeros) to `length`.
    fn set_len(&mut self, length: u64) -> Result<()>;

    /// The length now.
    fn len(&self) -> u64;

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts of `range` that hold data, in order; everything between reads as zeros.
    fn data_extents(&mut self, range: ByteRange) -> Result<Vec<ByteRange>>;

    /// Copies up to `length` bytes from a finished image inside the store, if it can.  Returns how
    /// many were copied: 0 only at the source's end.
    ///
    /// # Errors
    /// `Unsupported` when this store cannot copy from that reader: copy the bytes instead.
    fn copy_from(
        &mut self,
        source: &dyn ImageReader,
        source_offset: u64,
        offset: u64,
        length: u64,
    ) -> Result<u64>;

    /// Puts what was written so far on stable storage.
    fn sync(&mut self) -> Result<()>;

    /// Completes the data under its final name, durably, and says where it is.
    fn finish(self: Box<Self>) -> Result<String>;
}

/// Takes the bytes of a read that was started.
pub type ReadDone = Box<dyn FnOnce(Result<Bytes>) + Send>;

/// Finished data, open for reading.  It never changes.
pub trait ImageReader: Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Reads at `offset` into `buffer`; fewer bytes only at the end.  An error is an error, never
    /// a short read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Starts a read of `range`, cut to the image's size, and gives the bytes to `done`: all of them,
    /// or an error.  Any number may be under way; whoever starts them bounds it.
    ///
    /// `done` is called in any case, here or on a thread of the store's own: it may work, but not
    /// wait.
    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone);

    /// The parts of `range` that may hold data, in order, if that is known without asking anybody;
    /// everything between reads as zeros.
    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>>;

    /// The first byte at or after `offset` that holds data (`None`: only zeros follow).
    fn next_data(&self, offset: u64) -> Result<Option<u64>>;

    /// The first byte at or after `offset` that is in a hole; the end of the image counts as one.
    fn next_hole(&self, offset: u64) -> Result<u64>;

    /// A local file that holds just these bytes at the same offsets, if there is one: the kernel
    /// may read it instead of asking us.
    fn local_file(&self) -> Option<&File>;
}
