//! Altering what is known of an image: attributes, extended attributes, names, existence.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::warn;

use super::access::{may_modify, record};
use super::{Answer, Entry, Filesystem, row};
use crate::catalog::model::{Image, ImageId, Row, Visibility};
use crate::error::{Error, Result};
use crate::fs::attributes::{self, OTHERS_READ, OWNER_WRITE};
use crate::fs::drafts::Draft;
use crate::fs::errno::Errno;
use crate::fs::inodes::{Ino, Node};
use crate::fs::viewers::{Caller, Viewer};
use crate::fs::{names, xattrs};
use crate::images::TIME_PROPERTY;
use crate::images::fields::{self, Edit, PROPERTY_PREFIX};

/// What a `setattr` asks for.  Owner and group are not here: they cannot be changed, and asking
/// for it is answered as done (`cp -a`, `rsync -a` ask).
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// chmod
    pub mode: Option<u32>,
    /// truncate
    pub size: Option<u64>,
    /// A file time.
    pub mtime: Option<FileTime>,
}

/// A time to set.
#[derive(Clone, Copy, Debug)]
pub enum FileTime {
    /// `touch`
    Now,
    /// `touch -d`, `cp -p`, `rsync -t`
    At(SystemTime),
}

impl Filesystem {
    /// Changes attributes.
    pub fn change(
        &self,
        caller: &Caller,
        ino: Ino,
        change: Change,
        answer: impl FnOnce(Answer<Entry>) + Send + 'static,
    ) {
        if let Err(errno) = caller.viewer.may_write() {
            return answer(Err(errno));
        }
        if let Some(draft) = self.own_draft(caller, ino) {
            return self.change_draft(caller, &draft, change, answer);
        }
        let id = match self.inodes.node(ino) {
            Some(Node::Image(id)) => id,
            // A directory: chmod, chown and touch change nothing.
            Some(_) => return answer(self.attributes(caller, ino)),
            None => return answer(Err(Errno::ESTALE)),
        };
        let Some(this) = self.this.upgrade() else { return };
        let caller = caller.clone();
        self.workers.run(move || {
            let changed = this.change_image(&caller.viewer, id, change);
            answer(changed.and_then(|()| this.attributes(&caller, ino)));
        });
    }

    fn change_image(&self, viewer: &Viewer, id: ImageId, change: Change) -> Answer<()> {
        let row = row(viewer, id)?;
        if change.size.is_some_and(|size| size != row.size) {
            return Err(Errno::EPERM);
        }
        // As the kernel says it where it judges; also if nothing would change.
        if self.viewers.differ() && !may_modify(self.images.policy(), viewer, &record(&row)) {
            return Err(Errno::EPERM);
        }
        let edits = self.edits(change, row.visibility, row.protected);
        if edits.is_empty() {
            return Ok(());
        }
        let updated = self.images.update(&viewer.context, id, &edits);
        updated.map(drop).map_err(|error| viewer.refuse(&error))
    }

    fn edits(&self, change: Change, visibility: Visibility, protected: bool) -> Vec<Edit> {
        let set = |field: &str, value: &str| Edit::SetText {
            name: field.to_string(),
            text: Some(value.to_string()),
        };
        let mut edits = Vec::new();
        let time = match change.mtime {
            Some(FileTime::Now) => Some(SystemTime::now()),
            Some(FileTime::At(time)) => Some(time),
            None => None,
        };
        if let Some(text) = time.and_then(attributes::format_time) {
            edits.push(set(&format!("{PROPERTY_PREFIX}{TIME_PROPERTY}"), &text));
        }
        let wanted = change.mode.filter(|_| self.settings.chmod).map(|mode| mode as u16);
        if let Some(mode) = wanted {
            let flipped = mode ^ attributes::mode(visibility, protected);
            if flipped & OTHERS_READ != 0 {
                edits.push(set(
                    "visibility",
                    if mode & OTHERS_READ != 0 { "public" } else { "private" },
                ));
            }
            if flipped & OWNER_WRITE != 0 {
                edits
                    .push(set("protected", if mode & OWNER_WRITE != 0 { "false" } else { "true" }));
            }
        }
        edits
    }

    fn change_draft(
        &self,
        caller: &Caller,
        draft: &Arc<Draft>,
        mut change: Change,
        answer: impl FnOnce(Answer<Entry>) + Send + 'static,
    ) {
        match change.mtime {
            Some(FileTime::At(time)) => draft.alter(|state| state.mtime = time),
            // The time of a new file is now already.
            _ => change.mtime = None,
        }
        let Some(this) = self.this.upgrade() else { return };
        let (owner, file) = (Arc::clone(&this), Arc::clone(draft));
        let (caller, viewer) = (caller.clone(), Arc::clone(&caller.viewer));
        let shown =
            move |done: Answer<()>| answer(done.map(|()| owner.draft_entry(&caller, &file)));
        let edits = self.edits(change, Visibility::Shared, false);
        let id = draft.id;
        let record = move |desk: &mut crate::fs::drafts::Desk| match desk.record() {
            Some(upload) => {
                let altered = upload.alter(|image| {
                    let options = this.images.options();
                    edits.iter().try_for_each(|edit| fields::apply(image, edit, options))
                });
                altered.map_err(|error| viewer.refuse(&error))
            }
            // Published a moment ago: an image like any other.
            None => this.change_image(&viewer, id, change),
        };
        let Some(size) = change.size else {
            return draft.run(move |desk| shown(record(desk)));
        };
        draft.run(move |desk| {
            // What is wrong with the record does not keep the data from being cut.
            let _ = record(desk);
        });
        self.on_draft(draft, Some(size), move |upload| upload.set_len(size), shown);
    }

    /// Removes a file: a draft with its data, or an image.
    pub fn unlink(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &OsStr,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        let target = self.target(caller, parent, name);
        match caller.viewer.may_write().and(target) {
            Ok(Target::Draft(draft)) => self.drafts.discard(&draft, move || answer(Ok(()))),
            Ok(Target::Image(row)) => {
                let Some(this) = self.this.upgrade() else { return };
                let viewer = Arc::clone(&caller.viewer);
                self.workers.run(move || {
                    let deleted = this.images.delete(&viewer.context, row.id);
                    answer(deleted.map_err(|error| viewer.refuse(&error)));
                });
            }
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Gives a file another name in its directory.
    #[allow(clippy::too_many_arguments)] // renameat2(2) has as many
    pub fn rename(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        flags: u32,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        let viewer = Arc::clone(&caller.viewer);
        let prepared = self.target(caller, parent, name).and_then(|target| {
            if flags & !libc::RENAME_NOREPLACE != 0 {
                return Err(Errno::EINVAL);
            }
            if parent != new_parent {
                return Err(Errno::EPERM); // an image has one owner, and its id for ever
            }
            let place = self.place(&viewer, new_parent, new_name)?;
            let replaced = match self.target(caller, new_parent, new_name) {
                Ok(Target::Draft(_)) => return Err(Errno::EEXIST),
                Ok(Target::Image(row)) => Some(row),
                Err(_) => None,
            };
            let may_replace = self.settings.replace && flags & libc::RENAME_NOREPLACE == 0;
            match &replaced {
                Some(row) if !may_replace && !target.is(row.id) => Err(Errno::EEXIST),
                Some(row) if row.protected => Err(Errno::EPERM),
                _ => Ok((target, place, replaced.map(|row| row.id))),
            }
        });
        let (target, (_, file_name), replaced) = match prepared {
            Ok(prepared) => prepared,
            Err(errno) => return answer(Err(errno)),
        };
        match target {
            Target::Draft(draft) => self.rename_draft(viewer, &draft, file_name, replaced, answer),
            Target::Image(row) => {
                let Some(this) = self.this.upgrade() else { return };
                self.workers.run(move || {
                    let done = this.rename_image(&viewer, row.id, &file_name, replaced);
                    answer(done.map_err(|error| viewer.refuse(&error)));
                });
            }
        }
    }

    fn rename_image(
        &self,
        viewer: &Viewer,
        id: ImageId,
        file_name: &str,
        replaced: Option<ImageId>,
    ) -> Result<()> {
        let context = &viewer.context;
        let value = names::decode(file_name);
        let edit = Edit::SetText { name: "name".to_string(), text: Some(value) };
        let Some(old) = replaced.filter(|old| *old != id) else {
            return self.images.update(context, id, &[edit]).map(drop);
        };
        let before = self.images.get(context, id)?.name;
        self.images.update(context, id, &[edit])?;
        match self.images.delete(context, old) {
            // It went by itself: so it is not in the way.
            Ok(()) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => {
                // The other one stays (it has clones, say), and so does this one's name.
                let back = Edit::SetText { name: "name".to_string(), text: before };
                if let Err(error) = self.images.update(context, id, &[back]) {
                    warn!(image = %id, %error, "its name could not be given back");
                }
                Err(error)
            }
        }
    }

    fn rename_draft(
        &self,
        viewer: Arc<Viewer>,
        draft: &Arc<Draft>,
        file_name: String,
        replaced: Option<ImageId>,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        let value = names::decode(&file_name);
        draft.alter(|state| {
            state.name.clone_from(&file_name);
            state.replaces = replaced.or(state.replaces);
        });
        let Some(this) = self.this.upgrade() else { return };
        let id = draft.id;
        draft.run(move |desk| {
            let done = match desk.record() {
                Some(upload) => {
                    let edit = Edit::SetText { name: "name".to_string(), text: Some(value) };
                    upload.alter(|image| fields::apply(image, &edit, this.images.options()))
                }
                // Published a moment ago: an image like any other.
                None => this.rename_image(&viewer, id, &file_name, replaced),
            };
            answer(done.map_err(|error| viewer.refuse(&error)));
        });
    }

    fn target(&self, caller: &Caller, parent: Ino, name: &OsStr) -> Answer<Target> {
        let viewer = &caller.viewer;
        let name = name.to_str().ok_or(Errno::ENOENT)?;
        let node = self.inodes.node(parent).ok_or(Errno::ESTALE)?;
        if node == Node::Root && names::RESERVED.contains(&name) {
            return Err(Errno::EISDIR);
        }
        let folder = super::folder_of(&node)?;
        if let Some(draft) = self.find_draft(caller, &folder, name) {
            return Ok(Target::Draft(draft));
        }
        let row = viewer.view.find(&folder, name).map_err(|error| viewer.refuse(&error))?;
        row.map(Target::Image).ok_or(Errno::ENOENT)
    }

    /// An extended attribute's value.
    pub fn xattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &OsStr,
        answer: impl FnOnce(Answer<Vec<u8>>) + Send + 'static,
    ) {
        let viewer = &caller.viewer;
        let Some(name) = name.to_str().map(String::from) else {
            return answer(Err(Errno::ENODATA));
        };
        if name.starts_with("system.") {
            return answer(Err(Errno::EOPNOTSUPP));
        }
        if !xattrs::is_ours(&name) {
            return answer(Err(Errno::ENODATA));
        }
        let images = Arc::clone(&self.images);
        match self.inodes.node(ino) {
            Some(Node::Image(id)) if name == xattrs::CHILDREN => {
                self.children(viewer, id, answer);
            }
            Some(Node::Image(_)) => self.with_record(caller, ino, move |image| {
                let value = image.and_then(|image| {
                    xattrs::value(image, &name, images.options())
                        .map(String::into_bytes)
                        .ok_or(Errno::ENODATA)
                });
                answer(value);
            }),
            Some(_) => {
                let said = Some(viewer.last_error.lock().clone());
                let said = said.filter(|said| name == xattrs::ERROR && !said.is_empty());
                answer(said.map(String::into_bytes).ok_or(Errno::ENODATA));
            }
            None => answer(Err(Errno::ESTALE)),
        }
    }

    fn children(
        &self,
        viewer: &Arc<Viewer>,
        id: ImageId,
        answer: impl FnOnce(Answer<Vec<u8>>) + Send + 'static,
    ) {
        let images = Arc::clone(&self.images);
        let viewer = Arc::clone(viewer);
        self.readers.run(move || {
            let image = images.get(&viewer.context, id);
            let children = image.and_then(|image| images.children(&image));
            let children = children.map_err(|error| viewer.refuse(&error));
            let text = children.and_then(|count| count.ok_or(Errno::ENODATA));
            answer(text.map(|count| count.to_string().into_bytes()));
        });
    }

    /// The names of all extended attributes.
    pub fn xattr_names(
        &self,
        caller: &Caller,
        ino: Ino,
        answer: impl FnOnce(Answer<Vec<String>>) + Send + 'static,
    ) {
        let images = Arc::clone(&self.images);
        match self.inodes.node(ino) {
            Some(Node::Image(_)) => {
                let names = move |image: &Image| xattrs::names(image, images.options());
                self.with_record(caller, ino, move |image| answer(image.map(names)));
            }
            Some(_) if caller.viewer.last_error.lock().is_empty() => answer(Ok(Vec::new())),
            Some(_) => answer(Ok(vec![xattrs::ERROR.to_string()])),
            None => answer(Err(Errno::ESTALE)),
        }
    }

    /// Sets (`Some`) or removes an extended attribute, as far as the API lets one change the field.
    pub fn set_xattr(
        &self,
        caller: &Caller,
        ino: Ino,
        name: &OsStr,
        value: Option<&[u8]>,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        let ours = name.to_str().filter(|name| xattrs::is_ours(name)).map(String::from);
        let (Some(Node::Image(id)), Some(name)) = (self.inodes.node(ino), ours) else {
            return answer(Err(Errno::EOPNOTSUPP));
        };
        if let Err(errno) = caller.viewer.may_write() {
            return answer(Err(errno));
        }
        let value = match value.map(|bytes| String::from_utf8(bytes.to_vec())).transpose() {
            Ok(value) => value,
            Err(_) => return answer(Err(Errno::EILSEQ)),
        };
        let owner = Arc::clone(&self.images);
        let edit = move |image: &Image| {
            if value.is_none() && xattrs::value(image, &name, owner.options()).is_none() {
                return Err(Errno::ENODATA);
            }
            xattrs::set(&name, value.clone()).ok_or(Errno::EPERM)
        };
        let viewer = Arc::clone(&caller.viewer);
        // Glance refuses a read-only field with 403; a file system says EPERM.
        let refused = move |error: Error| match viewer.refuse(&error) {
            Errno::EACCES => Errno::EPERM,
            errno => errno,
        };
        let images = Arc::clone(&self.images);
        if let Some(draft) = self.own_draft(caller, ino) {
            return draft.run(move |desk| {
                let Some(upload) = desk.record() else { return answer(Err(Errno::ENOENT)) };
                let done = edit(upload.image()).and_then(|edit| {
                    let altered =
                        upload.alter(|image| fields::apply(image, &edit, images.options()));
                    altered.map_err(refused)
                });
                answer(done);
            });
        }
        let context = caller.viewer.context.clone();
        self.workers.run(move || {
            let done = images.get(&context, id).map_err(&refused).and_then(|image| {
                let edit = edit(&image)?;
                images.update(&context, id, &[edit]).map(drop).map_err(&refused)
            });
            answer(done);
        });
    }

    fn with_record(
        &self,
        caller: &Caller,
        ino: Ino,
        look: impl FnOnce(Answer<&Image>) + Send + 'static,
    ) {
        if let Some(draft) = self.own_draft(caller, ino) {
            return draft.run(move |desk| {
                look(desk.record().map(|upload| upload.image()).ok_or(Errno::ENOENT));
            });
        }
        let Some(Node::Image(id)) = self.inodes.node(ino) else { return look(Err(Errno::ESTALE)) };
        match self.images.get(&caller.viewer.context, id) {
            Ok(image) => look(Ok(&image)),
            Err(error) => look(Err(caller.viewer.refuse(&error))),
        }
    }
}

/// What a name stands for.
enum Target {
    Draft(Arc<Draft>),
    Image(Row),
}

impl Target {
    fn is(&self, id: ImageId) -> bool {
        match self {
            Self::Draft(draft) => draft.id == id,
            Self::Image(row) => row.id == id,
        }
    }
}
