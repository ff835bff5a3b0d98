//! Tasks: who may see which, how one is begun and ended, and when it is forgotten.
//!
//! What a task does is the business of `import` and of whoever else runs one: these are its
//! record's rules.

use serde_json::{Map, Value};
use tracing::warn;

use super::Images;
use super::events::{Event, Step};
use super::policy::Action;
use crate::catalog::model::{ImageId, Timestamp};
use crate::catalog::query::{Direction, Viewer};
use crate::catalog::tasks::{Task, TaskColumn, TaskId, TaskKind, TaskQuery, TaskStatus};
use crate::error::{Error, Result};
use crate::identity::RequestContext;

/// Why a task failed, as far as its owner is told.  Glance: the very words; the log has the reason.
pub(super) const INTERNAL_ERROR: &str = "Task failed due to Internal Error";

impl Images {
    /// One task.
    ///
    /// # Errors
    /// `Forbidden` for others than administrators; `NotFound`.
    pub fn task(&self, ctx: &RequestContext, id: TaskId) -> Result<Task> {
        self.policy().check_service(ctx, Action::TasksApiAccess)?;
        let there = |task: &Task| task.expires_at.is_none_or(|end| end > Timestamp::now());
        let missing = || Error::NotFound(format!("Could not find task {id}"));
        self.catalog.task(id)?.filter(there).ok_or_else(missing)
    }

    /// A page of tasks.
    ///
    /// # Errors
    /// `Forbidden` for others than administrators; `NotFound` for a marker that is not there.
    pub fn tasks(&self, ctx: &RequestContext, query: &TaskQuery) -> Result<Vec<Task>> {
        self.policy().check_service(ctx, Action::TasksApiAccess)?;
        self.forget_tasks();
        self.catalog.tasks(query)
    }

    /// The tasks that work or worked on an image, those of the asking project, the oldest first.
    ///
    /// # Errors
    /// `NotFound` when there is no such image that `ctx` may know of.
    pub fn tasks_of(&self, ctx: &RequestContext, id: ImageId) -> Result<Vec<Task>> {
        self.get(ctx, id)?;
        self.catalog.tasks(&TaskQuery {
            filters: vec![(TaskColumn::Image, id.to_string())],
            direction: Direction::Ascending,
            ..TaskQuery::all_for(Viewer::of(ctx))
        })
    }

    /// Makes a task that nobody here runs: the tasks of this API were superseded by imports long
    /// ago, and a Glance of today fails them, too (it gets no further than the image's lock).  It
    /// is answered as it was made, and has failed when it is asked for again.
    ///
    /// # Errors
    /// `Forbidden` for others than administrators; `Invalid` for an import from no usable URL.
    pub fn create_task(
        &self,
        ctx: &RequestContext,
        kind: TaskKind,
        input: Map<String, Value>,
    ) -> Result<Task> {
        self.policy().check_service(ctx, Action::TasksApiAccess)?;
        if kind == TaskKind::Import {
            check_source(input.get("import_from").unwrap_or(&Value::Null))?;
        }
        let image = input.get("image_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
        let task = self.new_task(ctx, kind, image, input);
        self.catalog.insert_task(&task)?;
        self.events.tell(Event::Task(Step::Created, &task));
        self.events.tell(Event::Task(Step::Run, &task));
        self.fail_task(&mut task.clone(), INTERNAL_ERROR);
        Ok(task)
    }

    /// The record of a task that `ctx` asks for, to be inserted into the catalog.
    pub(super) fn new_task(
        &self,
        ctx: &RequestContext,
        kind: TaskKind,
        image: Option<ImageId>,
        input: Map<String, Value>,
    ) -> Task {
        Task {
            owner: ctx.project.clone(),
            image,
            request_id: ctx.request_id.clone(),
            user: ctx.user.clone(),
            ..Task::new(kind, input)
        }
    }

    /// Notes that a task is under way, and how far it is.  `false`: somebody else has ended it.
    ///
    /// # Errors
    /// The catalog's.
    pub(super) fn note_progress(
        &self,
        task: &mut Task,
        message: impl Into<String>,
    ) -> Result<bool> {
        let begins = task.status == TaskStatus::Pending;
        task.status = TaskStatus::Processing;
        task.message = message.into();
        task.updated_at = Timestamp::now();
        let noted = self.catalog.save_task(task, TaskStatus::UNFINISHED)?;
        if noted && begins {
            self.events.tell(Event::Task(Step::Processing, task));
        }
        Ok(noted)
    }

    /// Ends a task that has done what was asked for; its message stays.
    pub(super) fn succeed_task(&self, task: &mut Task, result: Map<String, Value>) {
        task.result = Some(result);
        self.end_task(task, TaskStatus::Success);
    }

    /// Ends a task that has failed.
    pub(super) fn fail_task(&self, task: &mut Task, message: impl Into<String>) {
        task.message = message.into();
        self.end_task(task, TaskStatus::Failure);
    }

    fn end_task(&self, task: &mut Task, status: TaskStatus) {
        let now = Timestamp::now();
        let kept = self.options.import.task_time_to_live.as_micros();
        let end = now.as_micros().saturating_add(i64::try_from(kept).unwrap_or(i64::MAX));
        task.status = status;
        task.expires_at = Some(Timestamp::from_micros(end));
        task.updated_at = now;
        match self.catalog.save_task(task, TaskStatus::UNFINISHED) {
            Ok(true) => {
                let ended =
                    if status == TaskStatus::Success { Step::Success } else { Step::Failure };
                self.events.tell(Event::Task(ended, task));
            }
            Ok(false) => warn!(task = %task.id, "it was ended by somebody else"),
            Err(error) => warn!(task = %task.id, %error, "that it has ended cannot be recorded"),
        }
    }

    /// Has tasks go whose time is over.  Glance: the same, on occasion.
    fn forget_tasks(&self) {
        if let Err(error) = self.catalog.expire_tasks(Timestamp::now()) {
            warn!(%error, "tasks that have expired stay for now");
        }
    }
}

/// Where an image may be imported from.  Glance: `validate_location_uri`.
fn check_source(source: &Value) -> Result<()> {
    let url = match source {
        Value::String(url) => url.as_str(),
        Value::Null => "",
        _ => return Err(Error::Invalid("import_from must be a text".to_string())),
    };
    if url.is_empty() {
        let shown = if source.is_null() { "None" } else { "" };
        return Err(Error::Invalid(format!("Invalid location: {shown}")));
    }
    if ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(());
    }
    if ["file:///", "filesystem:///"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(Error::Invalid(
            "File based imports are not allowed. Please use a non-local source of image data."
                .to_string(),
        ));
    }
    Err(Error::Invalid(
        "The given uri is not valid. Please specify a valid uri from the following list of \
         supported uri ['http']"
            .to_string(),
    ))
}
