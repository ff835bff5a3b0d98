//! The catalog: what is known about each image, in a database that is Glance's own.
//!
//! [`Catalog`] is the one trait that `images` uses; [`sqlite`] implements it for the embedded
//! default, [`mysql`] for the database of an existing deployment; [`database`] is the place where
//! one of the two is chosen.  A catalog stores and finds: who may see or change an image, and what a
//! change means, is decided in `images`.  Bytes are the business of `store`.
//!
//! Other processes (another glancefs, the real glance-api) may write to the same database at any
//! time, so every change of state is compare-and-swap and nothing is assumed to stay as read.

pub mod database;
pub mod location_key;
pub mod metadefs;
pub mod model;
pub mod mysql;
pub mod pending;
pub mod query;
pub mod sqlite;
pub mod tasks;
mod versions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::identity::ProjectId;
use model::{Image, ImageId, Member, MemberStatus, Row, Status, Timestamp};
use pending::PendingCatalog;
use query::ImageQuery;
use tasks::TaskCatalog;

/// Where image records live.
///
/// Calls block (disk, network) and may come from any thread at once; never call them from an
/// async thread.  "Not there" means: no such record, or one that is marked deleted.
pub trait Catalog: TaskCatalog + PendingCatalog {
    /// Records a new image with its properties, tags and locations.
    ///
    /// # Errors
    /// `Conflict` when the id was ever used, even by an image deleted since (OSSN-0075).
    fn insert(&self, image: &Image) -> Result<()>;

    /// The image, or `None` when it is not there.
    fn get(&self, id: ImageId) -> Result<Option<Image>>;

    /// One page of images, filtered, ordered and cut in the database.  Killed images are never
    /// listed (Glance: neither).
    ///
    /// # Errors
    /// `Invalid` when the marker is not an image that the viewer could see.
    fn list(&self, query: &ImageQuery) -> Result<Vec<Image>>;

    /// Writes what differs between `old` and `new` (same id) in one transaction, provided that the
    /// record is still there and its status is one of `from`; stamps `updated_at` with
    /// `new.updated_at`.  Only differing columns, properties, tags and locations are touched, so
    /// that two changes of different fields both survive.  A location is known by its URL; one
    /// whose status becomes `deleted` or `pending_delete` is marked deleted (Glance: the same), and
    /// mere order is not recorded.  A change that leaves some locations of several is not done when
    /// somebody else has removed those meanwhile.
    ///
    /// Returns whether it was done; not done means nothing was written.
    fn save(&self, old: &Image, new: &Image, from: &[Status]) -> Result<bool>;

    /// Marks the image deleted, with everything that belongs to it, provided that its status is
    /// one of `from`.  The record stays, so that its id is never used again.
    ///
    /// Returns whether it was done.
    fn delete(&self, id: ImageId, from: &[Status]) -> Result<bool>;

    /// One light row for each image that is there, in no particular order; with `ids`, only those.
    /// `time_property` names the property whose value becomes [`Row::mtime`].
    fn rows(&self, ids: Option<&[ImageId]>, time_property: &str) -> Result<Vec<Row>>;

    /// Images whose record (deleted ones included) was stamped at or after `since`, each with its
    /// stamp.  Members are the matter of [`sharings`](Self::sharings).
    fn changed_since(&self, since: Timestamp) -> Result<Vec<(ImageId, Timestamp)>>;

    /// How many images are there, and the newest stamp of any record.
    fn summary(&self) -> Result<Summary>;

    /// A number that differs from the last one when somebody *else* (another process, or another
    /// `Catalog` in this one) has changed the database since.  Cheap: meant to be asked several
    /// times a second.  It may lag while a write of ours is under way, and may move without a
    /// change, or for our own.
    fn change_counter(&self) -> Result<i64>;

    /// How far apart two changes of an image must be for its stamps to differ.
    fn stamp_resolution(&self) -> Duration;

    /// A number for each image that has members, which differs from the last one when those, or
    /// what they make of the image, have changed: no stamp of the image tells that.
    fn sharings(&self) -> Result<Arc<HashMap<ImageId, u64>>>;

    /// Bytes that the images of `owner` take (of nobody: those without one), but for some: the
    /// size of each, times its locations.  Glance: `user_get_storage_usage`.
    fn storage_usage(&self, owner: Option<&ProjectId>, except: &[ImageId]) -> Result<u64>;

    /// How many images `owner` has (nobody: those without one) that are there in this sense, and what
    /// their data takes, but for some.
    fn tally(&self, owner: Option<&ProjectId>, which: Tallied, except: &[ImageId])
    -> Result<Tally>;

    /// URLs at which images other than `except` have data, as far as they may mean a thing called
    /// `name`: those that contain the name, and those in which something is percent-encoded.
    fn locations_of_others(&self, except: ImageId, name: &str) -> Result<Vec<String>>;

    /// The ids of images shared with `project` (members that have accepted).
    fn shared_with(&self, project: &ProjectId) -> Result<Vec<ImageId>>;

    /// The members of an image, in the order in which they were added.
    fn members(&self, id: ImageId) -> Result<Vec<Member>>;

    /// Adds a member.
    ///
    /// # Errors
    /// `Conflict` when the project is a member already; `NotFound` when the image is not there.
    fn add_member(&self, id: ImageId, member: &Member) -> Result<()>;

    /// Records what a member makes of an image.  Returns whether it is one.
    fn set_member_status(
        &self,
        id: ImageId,
        project: &ProjectId,
        status: MemberStatus,
        now: Timestamp,
    ) -> Result<bool>;

    /// Removes a member.  Returns whether it was one.
    fn remove_member(&self, id: ImageId, project: &ProjectId, now: Timestamp) -> Result<bool>;

    /// Whether the image was shared with `project`, whatever the project made of it.
    fn is_member(&self, id: ImageId, project: &ProjectId) -> Result<bool>;
}

/// What was found to do when a database was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    /// There was none: it was made.
    Created,
    /// It was there, of a version that can be worked with.
    Current,
}

/// Which images are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tallied {
    /// Every one that is not deleted.  Glance: `user_get_image_count`.
    There,
    /// Those whose data is on its way, by upload, import or copy.  Glance: `user_get_uploading_count`.
    Coming,
    /// Those whose data waits to be imported, is being imported or copied.  Glance:
    /// `user_get_staging_usage`.
    Staged,
}

/// Images that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub images: u64,
    /// The sum of their sizes, as far as they have one.
    pub bytes: u64,
}

/// The catalog as a whole, to tell whether a copy of it is still complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Images that are there.
    pub images: u64,
    /// The newest `updated_at` of any record, deleted ones included.
    pub newest: Option<Timestamp>,
}
