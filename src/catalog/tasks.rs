//! Tasks: what was asked for and goes on in the background, and what became of it.  Glance: the
//! tables `tasks` and `task_info`.
//!
//! A task that works on an image holds that image's import lock, a property of the image: whoever
//! writes to the database, here or in a glance-api beside us, keeps to it.  Running tasks, and
//! deciding who may see them, is the business of `images`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::model::{Image, ImageId, Status, Timestamp, words};
use super::query::{Direction, Viewer};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// The property that holds the id of the task that has an image to itself.
pub const LOCK_PROPERTY: &str = "os_glance_import_task";

/// A task's id: a UUID in its usual written form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for TaskId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::Invalid(format!("'{text}' is not a task id (a UUID)"));
        // Uuid would read other forms, too, which are no ids of tasks.
        let written = Some(text).filter(|text| text.len() == 36).ok_or_else(invalid)?;
        written.parse().map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

words! {
    /// What a task does.  Glance: `tasks.type`.
    TaskKind {
        /// Makes an image from what a URL gives; the oldest kind, asked for by `/v2/tasks`.
        Import = "import",
        /// Imports the data of an image: `/v2/images/{id}/import`.
        ImageImport = "api_image_import",
        /// Checks and hashes the data at a new location: `/v2/images/{id}/locations`.
        LocationImport = "location_import",
    }
}

words! {
    /// Where a task is in its life.  Glance: `tasks.status`.
    TaskStatus {
        /// Not begun.
        Pending = "pending",
        /// Under way.
        Processing = "processing",
        /// Done.
        Success = "success",
        /// Given up.
        Failure = "failure",
    }
}

impl TaskStatus {
    /// Statuses of a task that has not ended.
    pub const UNFINISHED: &'static [Self] = &[Self::Pending, Self::Processing];
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The id.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// Where it is in its life.
    pub status: TaskStatus,
    /// The project that asked for it; `None` when nobody's did, which Glance's table cannot say:
    /// there it is the empty text.
    pub owner: Option<ProjectId>,
    /// The image that it works on.
    pub image: Option<ImageId>,
    /// The id of the request that asked for it.
    pub request_id: Option<String>,
    /// Who asked for it.
    pub user: Option<String>,
    /// What was asked for.
    pub input: Map<String, Value>,
    /// What came of it.
    pub result: Option<Map<String, Value>>,
    /// How far it is, or why it failed, for people.
    pub message: String,
    /// When it may be forgotten; `None` until it has ended.
    pub expires_at: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Task {
    /// A task that was not begun, of nobody, for no image.
    pub fn new(kind: TaskKind, input: Map<String, Value>) -> Self {
        let now = Timestamp::now();
        Self {
            id: TaskId::random(),
            kind,
            status: TaskStatus::Pending,
            owner: None,
            image: None,
            request_id: None,
            user: None,
            input,
            result: None,
            message: String::new(),
            expires_at: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A column that a list of tasks is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskColumn {
    /// `id`
    Id,
    /// `type`
    Kind,
    /// `status`
    Status,
    /// `owner`
    Owner,
    /// `image_id`
    Image,
    /// `request_id`
    Request,
    /// `user_id`
    User,
    /// `expires_at`
    ExpiresAt,
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskQuery {
    /// Whose view: administrators see all, others their project's.
    pub viewer: Viewer,
    /// Columns with the text that they must have, all of them.
    pub filters: Vec<(TaskColumn, String)>,
    /// What decides the order; ties by age and id, in the same direction.
    pub sort: TaskColumn,
    /// The direction.
    pub direction: Direction,
    /// The last task of the page before.
    pub marker: Option<TaskId>,
    /// Tasks on the page at most; `None` for all.
    pub limit: Option<u64>,
    /// What has expired by now is not there any more.
    pub now: Timestamp,
}

impl TaskQuery {
    /// All that the viewer sees, the newest first.
    pub fn all_for(viewer: Viewer) -> Self {
        Self {
            viewer,
            filters: Vec::new(),
            sort: TaskColumn::CreatedAt,
            direction: Direction::Descending,
            marker: None,
            limit: None,
            now: Timestamp::now(),
        }
    }
}

/// Where tasks live.  As for [`Catalog`](super::Catalog): calls block, may come from any thread,
/// and "not there" includes what is marked deleted.
pub trait TaskCatalog: Send + Sync {
    /// Records a new task.
    ///
    /// # Errors
    /// `Conflict` when the id was ever used.
    fn insert_task(&self, task: &Task) -> Result<()>;

    /// The task, or `None` when it is not there.
    fn task(&self, id: TaskId) -> Result<Option<Task>>;

    /// One page of tasks.
    ///
    /// # Errors
    /// `NotFound` when there is no such marker.
    fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>>;

    /// Writes a task's status, result, message and times, provided that it is still there and its
    /// status is one of `from`.  Returns whether it was done.
    fn save_task(&self, task: &Task, from: &[TaskStatus]) -> Result<bool>;

    /// Marks the tasks deleted that have expired by `now`.  Returns how many.
    fn expire_tasks(&self, now: Timestamp) -> Result<usize>;

    /// Gives an image to a task, unless another task has it already.  Returns whether it was done.
    /// Glance: `image_set_property_atomic` of [`LOCK_PROPERTY`].
    fn lock_image(&self, image: ImageId, task: TaskId) -> Result<bool>;

    /// Takes an image from a task, if it has it.  Returns whether it had.  The holder is given as it
    /// is recorded: who else writes to the database need not write ids as we do.
    fn unlock_image(&self, image: ImageId, holder: &str) -> Result<bool>;

    /// [`Catalog::save`](super::Catalog::save), provided that `task` has the image.
    fn save_locked(&self, task: TaskId, old: &Image, new: &Image, from: &[Status]) -> Result<bool>;
}
