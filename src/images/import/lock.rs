//! An image is one task's at a time: its lock, and what becomes of a lock that nobody gives back.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tracing::warn;

use super::{FAILED_IMPORT, IMPORTING_TO, Job, holder, merge_stores};
use crate::catalog::model::{Image, Timestamp};
use crate::catalog::tasks::{LOCK_PROPERTY, Task, TaskStatus};
use crate::error::{Error, Result};
use crate::images::events::Event;
use crate::images::{ATTEMPTS, Images};

/// How long a task may be silent before its image may be taken from it; one that was not begun
/// waits for its turn, twice as long.  Glance: the same.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long a lock may be there without its task: Glance takes the one before it records the other.
const UNRECORDED: Duration = Duration::from_secs(1);

impl Images {
    /// Takes an image from a task that is not there any more or has been silent for too long, and
    /// returns that task.
    ///
    /// # Errors
    /// `Conflict` when the image is rightfully another task's.
    pub(super) fn break_stale_lock(&self, image: &mut Image) -> Result<Option<Task>> {
        let Some(holder) = holder(image).map(str::to_string) else { return Ok(None) };
        let active = || Error::Conflict("Image has active task".to_string());
        let task = self.task_of_lock(&holder)?;
        if let Some(task) = &task {
            let patience = if task.status == TaskStatus::Pending { PATIENCE * 2 } else { PATIENCE };
            // One of ours ends in its time, however long it is silent or waits.
            if age(task) < patience || self.imports.has(task.id) {
                return Err(active());
            }
            let mut ended = task.clone();
            if TaskStatus::UNFINISHED.contains(&task.status) {
                self.fail_task(&mut ended, "Expired lock preempted");
            }
        }
        if !self.catalog.unlock_image(image.id, &holder)? {
            // Somebody was faster.
            return Err(active());
        }
        warn!(image = %image.id, task = holder, "its import was given up: it was silent for too long");
        image.properties.remove(LOCK_PROPERTY);
        Ok(task)
    }

    /// The task that has an image; `None` if it is not there, even when a while has passed.
    fn task_of_lock(&self, holder: &str) -> Result<Option<Task>> {
        let Ok(id) = holder.parse() else { return Ok(None) };
        if let Some(task) = self.catalog.task(id)? {
            return Ok(Some(task));
        }
        thread::sleep(UNRECORDED);
        self.catalog.task(id)
    }

    /// Clears what a task that lost the image had noted of its progress, now that the image is
    /// another's.
    pub(super) fn forget_progress(&self, job: &Job, stale: Option<Task>) -> Result<()> {
        let Some(stale) = stale else { return Ok(()) };
        let stores = stale.input.get("backend").and_then(Value::as_array).into_iter().flatten();
        let stores: Vec<_> = stores.filter_map(Value::as_str).map(String::from).collect();
        self.alter_locked(job, |image| {
            for property in [IMPORTING_TO, FAILED_IMPORT] {
                merge_stores(image, property, &stores, false);
            }
            Ok(())
        })
        .map(drop)
    }

    /// Changes the record of an image that is the job's, and tells of it.
    ///
    /// # Errors
    /// `Gone` when the image is gone, or somebody else's; those of `change`.
    pub(super) fn alter_locked(
        &self,
        job: &Job,
        change: impl Fn(&mut Image) -> Result<()>,
    ) -> Result<Image> {
        let image = self.save_locked(job, change)?;
        self.events.tell(Event::Updated(&image));
        Ok(image)
    }

    /// Changes the record of an image that is the job's, for who has more to tell than that.
    ///
    /// # Errors
    /// As [`alter_locked`](Self::alter_locked).
    pub(super) fn save_locked(
        &self,
        job: &Job,
        change: impl Fn(&mut Image) -> Result<()>,
    ) -> Result<Image> {
        let (id, task) = (job.image, job.task.id);
        for _ in 0..ATTEMPTS {
            let gone = || Error::Gone(format!("Image {id} was deleted while it was imported"));
            let old = self.catalog.get(id)?.ok_or_else(gone)?;
            if holder(&old) != Some(task.to_string().as_str()) {
                return Err(Error::Gone(format!("Image {id} was taken from the import {task}")));
            }
            let mut new = old.clone();
            change(&mut new)?;
            new.updated_at = Timestamp::now();
            if self.catalog.save_locked(task, &old, &new, &[old.status])? {
                self.changes.announce(&[id]);
                return Ok(new);
            }
        }
        Err(Error::Conflict(format!("Image {id} is being changed by others; try again")))
    }
}

fn age(task: &Task) -> Duration {
    let micros = Timestamp::now().as_micros().saturating_sub(task.updated_at.as_micros());
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
