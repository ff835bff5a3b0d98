//! `-o replace`: an image that is opened for writing gets a draft that takes its place.
//!
//! The kernel opens an inode, not a name.  So the opening of an image is answered with `ESTALE`,
//! upon which the kernel looks the name up once more, and finds the draft.  It does that only once:
//! whatever else has changed since the first look has to be known here.  When several write to one
//! name at the same time, the last one to close wins, as on any file system.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tracing::warn;

use super::{Answer, Filesystem};
use crate::catalog::model::ImageId;
use crate::fs::drafts::{Draft, Outcome};
use crate::fs::errno::Errno;
use crate::fs::process::Process;
use crate::fs::view::Folder;

/// Replaced images that are remembered, for those who have looked them up before.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Images that were replaced.
pub(super) struct Replaced(Mutex<LruCache<ImageId, Successor>>);

struct Successor {
    id: ImageId,
    /// The file name of both.
    name: String,
}

impl Default for Replaced {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Replaced {
    /// The image that has taken an image's place by now, and its file name, if one has.
    fn newest(&self, id: ImageId) -> Option<(ImageId, String)> {
        let replaced = self.0.lock();
        let mut newest = replaced.peek(&id)?;
        // No image takes the place of a later one, so this ends.
        while let Some(next) = replaced.peek(&newest.id) {
            newest = next;
        }
        Some((newest.id, newest.name.clone()))
    }

    fn remember(&self, old: ImageId, id: ImageId, name: String) {
        self.0.lock().put(old, Successor { id, name });
    }
}

impl Filesystem {
    /// Gives an image a draft that will take its place; says why not, or `ESTALE`.
    pub(super) fn replace(&self, id: ImageId, flags: i32, opener: Process) -> Errno {
        let refused = |error| self.refuse(error);
        let (id, name) = match self.replaced.newest(id) {
            Some((newest, name)) => (newest, Some(name)),
            None => (id, None),
        };
        let made = || -> Answer<Arc<Draft>> {
            let old = self.images.open(&self.settings.context, id);
            let old = old.map_err(|error| self.refuse_open(id, error))?;
            if old.image.protected {
                return Err(Errno::EPERM);
            }
            let name = match name {
                Some(name) => name,
                None => self.view.root_name(&old.image).map_err(refused)?,
            };
            match self.drafts.find(&Folder::Root, &name, opener) {
                Some(made) => Ok(made),
                None => self.make_draft((Folder::Root, name), flags, opener, Some(old)),
            }
        };
        made().err().unwrap_or(Errno::ESTALE)
    }

    /// A draft is published or dropped.
    pub(super) fn draft_ended(&self, outcome: &Outcome) {
        if let Err(error) = &outcome.result {
            *self.last_error.lock() = error.to_string();
            return;
        }
        let state = outcome.draft.state();
        let Some(old) = state.replaces else { return };
        let old = self.replaced.newest(old).map_or(old, |(newest, _)| newest);
        self.replaced.remember(old, outcome.draft.id, state.name);
        if let Err(error) = self.images.delete(&self.settings.context, old) {
            warn!(image = %old, %error, "the image that was replaced stays");
        }
    }
}
