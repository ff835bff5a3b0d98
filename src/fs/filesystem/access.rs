//! What a caller may do with a file, where callers differ: for `access(2)`, and as owner and mode.
//!
//! Neither decides anything.  What a call may do is decided when it is made, by `images`; this says
//! beforehand what it will be, for programs that ask and for people who look.

use super::{Answer, Filesystem, row};
use crate::catalog::model::{Image, Row};
use crate::fs::attributes::{Attributes, OTHERS_READ};
use crate::fs::errno::Errno;
use crate::fs::inodes::{Ino, Node};
use crate::fs::viewers::{Caller, Viewer};
use crate::identity::ProjectId;
use crate::images::policy::{self, Action, Policy};

/// Bits that let somebody write.
const WRITE: u16 = 0o222;

/// Makes owner and mode say what the caller may do: what it can change is its own; of all else,
/// the bits of the others say whether it can read it.
pub(super) fn show(policy: &Policy, attributes: &mut Attributes, caller: &Caller, row: &Row) {
    let image = record(row);
    if may_modify(policy, &caller.viewer, &image) {
        (attributes.uid, attributes.gid) = (caller.uid, caller.gid);
        return;
    }
    attributes.mode &= !(WRITE | OTHERS_READ);
    if policy.check_download(&caller.viewer.context, &image).is_ok() {
        attributes.mode |= OTHERS_READ;
    }
}

pub(super) fn may_modify(policy: &Policy, viewer: &Viewer, image: &Image) -> bool {
    !viewer.read_only && policy.check_image(&viewer.context, Action::ModifyImage, image).is_ok()
}

/// As much of an image's record as the rules about it look at.
pub(super) fn record(row: &Row) -> Image {
    let mut image = Image::new(row.id, row.owner.clone());
    image.status = row.status;
    image.visibility = row.visibility;
    image.protected = row.protected;
    image
}

impl Filesystem {
    /// Says whether the caller may do all that `mask` has (`R_OK`, `W_OK`, `X_OK`).
    ///
    /// # Errors
    /// `EACCES`; `ENOENT` for what it does not see.
    pub fn access(&self, caller: &Caller, ino: Ino, mask: i32) -> Answer<()> {
        let viewer = &caller.viewer;
        let wants = |bit| mask & bit != 0;
        let node = self.inodes.node(ino).ok_or(Errno::ESTALE)?;
        let Node::Image(id) = node else {
            let writable = viewer.may_write().is_ok() && holds_new_files(viewer, &node);
            return if wants(libc::W_OK) && !writable { Err(Errno::EACCES) } else { Ok(()) };
        };
        if wants(libc::X_OK) {
            return Err(Errno::EACCES);
        }
        if self.own_draft(caller, ino).is_some() {
            return Ok(());
        }
        let image = record(&row(viewer, id)?);
        let policy = self.images.policy();
        if wants(libc::R_OK) {
            policy
                .check_download(&viewer.context, &image)
                .map_err(|error| viewer.refuse(&error))?;
        }
        if wants(libc::W_OK) && (image.protected || !may_modify(policy, viewer, &image)) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }
}

/// Whether a directory is one in which the viewer could make a file.
fn holds_new_files(viewer: &Viewer, node: &Node) -> bool {
    match node {
        Node::Root => true,
        Node::Project(project) => may_add_for(viewer, &ProjectId::new(project.clone())),
        Node::ById | Node::ByProject | Node::Image(_) => false,
    }
}

/// Whether a viewer may make images of a project.
pub(super) fn may_add_for(viewer: &Viewer, project: &ProjectId) -> bool {
    viewer.context.admin || policy::owns(&viewer.context, Some(project))
}
