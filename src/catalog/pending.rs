//! Images that are deleted and whose data is still there, until somebody removes it.
//!
//! Glance: `delayed_delete`.  The record is marked deleted, as is all that belongs to it, but says
//! `pending_delete`, and so do those of its locations whose data waits.  When the data is gone, both
//! say `deleted`.

use super::model::{ImageId, Status, Timestamp};
use crate::error::Result;

/// An image whose data waits to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The id.
    pub id: ImageId,
    /// The name as recorded.
    pub name: Option<String>,
    /// Bytes of data.
    pub size: Option<u64>,
    /// When it was deleted: what tells this deletion from one after the image was brought back.
    pub deleted_at: Timestamp,
}

/// Some of those images, in the order in which they were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingQuery {
    /// Only those that were deleted then or before.
    pub until: Timestamp,
    /// Only those that come after this one.
    pub after: Option<(Timestamp, ImageId)>,
    /// So many at most.
    pub limit: u32,
}

impl PendingQuery {
    /// All of them.
    pub fn everything() -> Self {
        Self { until: Timestamp::LAST, after: None, limit: i32::MAX.unsigned_abs() }
    }
}

/// What a catalog knows of deleted images.
pub trait PendingCatalog: Send + Sync {
    /// Marks the image deleted, with everything that belongs to it, provided that its status is one
    /// of `from`; its data is still to be removed.
    ///
    /// Returns whether it was done.
    fn delete_later(&self, id: ImageId, from: &[Status]) -> Result<bool>;

    /// Images whose data waits.
    fn pending(&self, query: &PendingQuery) -> Result<Vec<Pending>>;

    /// The image, if its data waits, and the URLs at which it does.
    ///
    /// # Errors
    /// Also when a URL cannot be decrypted.
    fn pending_image(&self, id: ImageId) -> Result<Option<(Pending, Vec<String>)>>;

    /// How many there are.  Looks at all deleted images that were not purged: not to be asked often.
    fn pending_count(&self) -> Result<u64>;

    /// Records that the data is gone, or about to go, provided that the image is as it was read.
    ///
    /// Returns whether it was done.
    fn end_pending(&self, image: &Pending) -> Result<bool>;

    /// Brings the image back, active, provided that it is as it was read: with its locations at `urls`
    /// (others are recorded as gone), and with the properties, tags and members that it had when it
    /// was deleted, but for Glance's own that say what is being done to it.
    ///
    /// Returns whether it was done.
    fn restore(&self, image: &Pending, urls: &[String]) -> Result<bool>;

    /// Whether there was an image with this id, and it is deleted with its data.
    fn is_deleted(&self, id: ImageId) -> Result<bool>;
}

/// How the names of Glance's own properties begin.
pub(super) const OWN_PROPERTIES: &str = "os_glance_";
