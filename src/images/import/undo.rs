//! What a crash made of an import, and how it is put right.

use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::catalog::tasks::LOCK_PROPERTY;
use crate::error::{Error, Result};
use crate::images::crash::{self, Step};
use crate::images::{ATTEMPTS, Images};

use super::{IMPORTING_TO, holder, merge_stores};

/// For the task's record.
const INTERRUPTED: &str = "The import was interrupted: the service ended unexpectedly";

impl Images {
    /// Undoes or finishes an import that nobody runs any more.  `away` are the stores that did not
    /// answer.
    ///
    /// Data that the record does not name goes.  An import that was not begun leaves what is staged;
    /// an image that is not complete is `queued` again.
    pub(in crate::images) fn undo_import(
        &self,
        id: ImageId,
        task: &str,
        stores: &[String],
        away: &mut Vec<String>,
    ) -> Result<()> {
        let record = self.catalog.get(id)?;
        if record.as_ref().and_then(holder).is_some_and(|holder| holder != task) {
            // The image was taken from us, and what is there now is somebody else's.
            return self.end_interrupted(id, task, false);
        }
        let named =
            |store: &String| record.as_ref().is_some_and(|image| self.is_in_store(image, store));
        for store in stores.iter().filter(|store| !named(store)) {
            self.at_store(store, away, |store| store.discard(id))?;
        }
        crash::point(Step::Discarded);
        let complete = record.is_some() && stores.iter().all(named);
        if record.is_none_or(|image| image.status != Status::Uploading) {
            self.unstage(id)?;
        }
        self.end_interrupted(id, task, complete)?;
        self.settle_record(id, task, stores)
    }

    /// Gives the image back, as it was before.
    fn settle_record(&self, id: ImageId, task: &str, stores: &[String]) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let Some(old) = self.catalog.get(id)? else { return Ok(()) };
            if holder(&old) != Some(task) {
                return Ok(());
            }
            let new = settled(&old, stores);
            if self.catalog.save(&old, &new, &[old.status])? {
                return Ok(());
            }
        }
        Err(Error::Conflict(format!("Image {id} is being changed by others; try again")))
    }

    pub(super) fn end_interrupted(&self, id: ImageId, task: &str, complete: bool) -> Result<()> {
        let Some(mut task) = task.parse().map_or(Ok(None), |task| self.catalog.task(task))? else {
            return Ok(());
        };
        if task.expires_at.is_some() {
            return Ok(());
        }
        if complete {
            let result = [("image_id".to_string(), id.as_str().into())];
            self.succeed_task(&mut task, result.into_iter().collect());
        } else {
            self.fail_task(&mut task, INTERRUPTED);
        }
        Ok(())
    }
}

fn settled(old: &Image, stores: &[String]) -> Image {
    let mut new = old.clone();
    new.properties.remove(LOCK_PROPERTY);
    if new.properties.contains_key(IMPORTING_TO) {
        merge_stores(&mut new, IMPORTING_TO, stores, false);
    }
    if new.status == Status::Importing {
        new.status = Status::Queued;
        new.size = None;
    }
    new.updated_at = Timestamp::now();
    new
}
