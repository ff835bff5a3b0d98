//! `-o replace`: an image that is opened for writing gets a draft that takes its place.
//!
//! The kernel opens an inode, not a name.  So the opening of an image is answered with `ESTALE`,
//! upon which the kernel looks the name up once more, and finds the draft.  It does that only once:
//! whatever else has changed since the first look has to be known here.  When several write to one
//! name at the same time, the last one to close wins, as on any file system.

use std::sync::Arc;

use tracing::warn;

use super::{Answer, Filesystem};
use crate::catalog::model::ImageId;
use crate::fs::drafts::{Draft, Outcome};
use crate::fs::errno::Errno;
use crate::fs::process::Process;
use crate::fs::view::Folder;
use crate::fs::viewers::Viewer;
use crate::images::policy::Action;

impl Filesystem {
    /// Gives an image a draft that will take its place; says why not, or `ESTALE`.
    pub(super) fn replace(
        &self,
        viewer: &Arc<Viewer>,
        id: ImageId,
        flags: i32,
        opener: Process,
    ) -> Errno {
        let refused = |error| viewer.refuse(&error);
        let (id, name) = match viewer.replaced.newest(id) {
            Some((newest, name)) => (newest, Some(name)),
            None => (id, None),
        };
        let made = || -> Answer<Arc<Draft>> {
            let old = self.images.open(&viewer.context, id);
            let old = old.map_err(|error| self.refuse_open(viewer, id, error))?;
            if old.image.protected {
                return Err(Errno::EPERM);
            }
            // Else the draft would become a second image beside one that has to stay.
            let policy = self.images.policy();
            policy
                .check_image(&viewer.context, Action::DeleteImage, &old.image)
                .map_err(refused)?;
            let name = match name {
                Some(name) => name,
                None => viewer.view.root_name(&old.image).map_err(refused)?,
            };
            match self.drafts.find(&Folder::Root, &name, opener, viewer) {
                Some(made) => Ok(made),
                None => self.make_draft(viewer, (Folder::Root, name), flags, opener, Some(old)),
            }
        };
        made().err().unwrap_or(Errno::ESTALE)
    }

    /// A draft is published or dropped.
    pub(super) fn draft_ended(&self, outcome: &Outcome) {
        let viewer = &outcome.draft.viewer;
        if let Err(error) = &outcome.result {
            *viewer.last_error.lock() = error.to_string();
            return;
        }
        let state = outcome.draft.state();
        let Some(old) = state.replaces else { return };
        let old = viewer.replaced.take_place(old, outcome.draft.id, state.name);
        if let Err(error) = self.images.delete(&viewer.context, old) {
            warn!(image = %old, %error, "the image that was replaced stays");
        }
    }
}
