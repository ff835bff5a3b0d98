//! What happens to images, for whoever keeps an account of it: an operator's billing, a message bus.
//!
//! Each change of a record is told once it is in the catalog, by the thread that made it.  How it is put
//! into words, and where those go, is the listener's.

use std::sync::{Arc, OnceLock};

use super::Images;
use crate::catalog::model::{Image, ImageId, Member};
use crate::catalog::tasks::Task;
use crate::identity::RequestContext;

/// Something that has happened.  Records are whole, as the catalog has them now.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A record was made.
    Created(&'a Image),
    /// A record was changed, or somebody has set what it said already.
    Updated(&'a Image),
    /// An image is gone; this is what it was.
    Deleted(&'a Image),
    /// Data is about to be written.
    Prepared {
        /// Whose data.
        image: &'a Image,
        /// To which store, where stores have names.
        store: Option<&'a str>,
    },
    /// The data is complete.
    Uploaded(&'a Image),
    /// The image can be used.
    Activated(&'a Image),
    /// The data did not become complete.
    UploadFailed {
        /// Whose data.
        image: ImageId,
        /// What is wrong.
        why: &'a str,
    },
    /// Somebody was sent the data, or a part of it.
    Sent {
        /// Whose data.
        image: &'a Image,
        /// How much of it.
        bytes: u64,
        /// Whether that is all that was asked for.
        complete: bool,
        /// To whom.
        to: &'a RequestContext,
    },
    /// Something about whom the image is shared with.
    Member(Change, ImageId, &'a Member),
    /// A step of a task.
    Task(Step, &'a Task),
}

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It is gone.
    Deleted,
}

/// Where a task has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was asked for.
    Created,
    /// It waits for a worker.
    Run,
    /// A worker has begun.
    Processing,
    /// It has done what was asked for.
    Success,
    /// It has failed.
    Failure,
}

/// Who is told.
pub trait Listener: Send + Sync {
    /// Something has happened.  Returns at once, whatever becomes of it.
    fn hear(&self, event: Event<'_>);
}

/// Who is told of what happens, if anybody.
#[derive(Default)]
pub struct Events(OnceLock<Arc<dyn Listener>>);

impl Events {
    /// Tells `listener` from now on; the first one stays.
    pub fn tell_to(&self, listener: Arc<dyn Listener>) {
        // A second one would be a mistake of ours, and is not worth failing for.
        let _ = self.0.set(listener);
    }

    /// Tells of something.
    pub(super) fn tell(&self, event: Event<'_>) {
        if let Some(listener) = self.0.get() {
            listener.hear(event);
        }
    }

    /// Whether anybody listens.
    pub(super) fn are_heard(&self) -> bool {
        self.0.get().is_some()
    }
}

impl Images {
    /// Where what happens is told.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// A face has sent data to somebody: all that was asked for, or less because the store failed.
    pub fn was_sent(&self, to: &RequestContext, image: &Image, bytes: u64, complete: bool) {
        self.events.tell(Event::Sent { image, bytes, complete, to });
    }

    /// Tells that data is about to be written to a store.
    pub(super) fn tell_prepared(&self, image: &Image, store: &str) {
        let store = Some(store).filter(|_| !self.options.enabled_backends.is_empty());
        self.events.tell(Event::Prepared { image, store });
    }

    /// Tells that a record was changed, which is asked of the catalog first.
    pub(super) fn tell_updated(&self, id: ImageId) {
        if self.events.are_heard()
            && let Ok(Some(image)) = self.catalog.get(id)
        {
            self.events.tell(Event::Updated(&image));
        }
    }
}
