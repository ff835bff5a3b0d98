//! Files being written: creating, writing in any order, closing.

use std::ffi::OsStr;
use std::sync::Arc;

use bytes::Bytes;

use super::access::may_add_for;
use super::{Answer, Entry, Filesystem, Handle, HandleId, folder_of};
use crate::error::Error;
use crate::fs::drafts::{Draft, NewDraft};
use crate::fs::errno::Errno;
use crate::fs::inodes::{Ino, Node};
use crate::fs::names;
use crate::fs::process::Process;
use crate::fs::view::Folder;
use crate::fs::viewers::{Caller, Viewer};
use crate::images::OpenImage;
use crate::images::upload::Upload;
use crate::store::ByteRange;

/// Bytes that one `copy_file_range` moves at most, so that a draft's thread stays answerable.
const COPY_BYTES: u64 = 256 << 20;

impl Filesystem {
    /// Makes a new file and opens it for writing.
    pub fn create(
        &self,
        caller: &Caller,
        parent: Ino,
        name: &OsStr,
        flags: i32,
        answer: impl FnOnce(Answer<(Entry, HandleId)>) + Send + 'static,
    ) {
        let place = match self.place(&caller.viewer, parent, name) {
            Ok(place) => place,
            Err(errno) => return answer(Err(errno)),
        };
        let Some(this) = self.this.upgrade() else { return };
        let caller = caller.clone();
        let opener = Process::of_thread(caller.tid);
        self.workers.run(move || {
            let made = this.make_draft(&caller.viewer, place, flags, opener, None);
            answer(made.and_then(|draft| {
                let handle = this.keep_writer(&draft, opener)?;
                this.inodes.remember(Node::Image(draft.id));
                Ok((this.draft_entry(&caller, &draft), handle))
            }));
        });
    }

    /// Where a new name would be: directory and name, if a file can be there.
    pub(super) fn place(
        &self,
        viewer: &Viewer,
        parent: Ino,
        name: &OsStr,
    ) -> Answer<(Folder, String)> {
        viewer.may_write()?;
        let name = name.to_str().ok_or(Errno::EILSEQ)?;
        let folder = folder_of(&self.inodes.node(parent).ok_or(Errno::ESTALE)?)?;
        if name.len() > names::NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match &folder {
            Folder::Root if names::RESERVED.contains(&name) => Err(Errno::EEXIST),
            Folder::Root => Ok((folder, name.to_string())),
            Folder::Project(project) if may_add_for(viewer, project) => {
                Ok((folder, name.to_string()))
            }
            Folder::Project(_) => Err(Errno::EACCES),
            Folder::ById => Err(Errno::EPERM),
        }
    }

    pub(super) fn make_draft(
        &self,
        viewer: &Arc<Viewer>,
        (folder, name): (Folder, String),
        flags: i32,
        maker: Process,
        replaced: Option<OpenImage>,
    ) -> Answer<Arc<Draft>> {
        viewer.may_write()?;
        let refused = |error| viewer.refuse(&error);
        let replaces = replaced.as_ref().map(|old| old.image.id);
        if replaces.is_none() && viewer.view.find(&folder, &name).map_err(refused)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let mut context = viewer.context.clone();
        if let Folder::Project(project) = &folder {
            context.project = Some(project.clone());
        }
        let image_name = match &replaced {
            Some(old) => old.image.name.clone().unwrap_or_default(),
            None => names::decode(&name),
        };
        let upload = self.images.begin_draft(&context, &image_name, None).map_err(refused)?;
        let new = NewDraft {
            ino: crate::fs::inodes::of_image(upload.id()),
            maker,
            viewer: Arc::clone(viewer),
            reopens: flags & libc::O_ACCMODE == libc::O_RDWR,
            folder,
            name,
            replaces,
        };
        // Cut to nothing on opening: what was there before is not copied.
        let base = replaced.filter(|_| flags & libc::O_TRUNC == 0);
        self.drafts.add(upload, base, new).map_err(refused)
    }

    fn keep_writer(&self, draft: &Arc<Draft>, opener: Process) -> Answer<HandleId> {
        self.drafts.open_writer(draft).map_err(|error| draft.viewer.refuse(&error))?;
        Ok(self.keep(Handle::Draft { draft: Arc::clone(draft), writes: true, opener }))
    }

    /// Opens an existing file for writing: a draft again, by the process that made it.  An image
    /// is refused, or, with `-o replace`, gets a draft that will take its place; `ESTALE` has the
    /// kernel look the name up again, which finds that draft.
    pub fn open_for_writing(
        &self,
        caller: &Caller,
        ino: Ino,
        flags: i32,
        answer: impl FnOnce(Answer<HandleId>) + Send + 'static,
    ) {
        let opener = Process::of_thread(caller.tid);
        let viewer = Arc::clone(&caller.viewer);
        let Some(Node::Image(id)) = self.inodes.node(ino) else {
            return answer(Err(Errno::ESTALE));
        };
        let Some(this) = self.this.upgrade() else { return };
        let replace = move |answer: Box<dyn FnOnce(Answer<HandleId>) + Send>| {
            if !this.settings.replace {
                return answer(Err(Errno::EPERM));
            }
            if let Err(errno) = viewer.may_write() {
                return answer(Err(errno));
            }
            let filesystem = Arc::clone(&this);
            this.workers.run(move || answer(Err(filesystem.replace(&viewer, id, flags, opener))));
        };
        let Some(draft) = self.own_draft(caller, ino) else { return replace(Box::new(answer)) };
        match self.keep_writer(&draft, opener) {
            Ok(handle) if flags & libc::O_TRUNC != 0 => {
                let empty = |upload: &mut Upload| upload.set_len(0);
                self.on_draft(&draft, Some(0), empty, move |cut| answer(cut.map(|()| handle)));
            }
            // It is being published: after that it is an image.
            Err(Errno::EPERM) => draft.run(move |_| replace(Box::new(answer))),
            opened => answer(opened),
        }
    }

    /// Writes all of `data`.
    pub fn write(
        &self,
        handle: HandleId,
        offset: u64,
        data: Bytes,
        answer: impl FnOnce(Answer<u32>) + Send + 'static,
    ) {
        let draft = match self.handle(handle) {
            Ok(Handle::Draft { draft, writes: true, .. }) => draft,
            Ok(_) => return answer(Err(Errno::EBADF)),
            Err(errno) => return answer(Err(errno)),
        };
        let length = data.len() as u32;
        let end = offset.saturating_add(length.into());
        let change = move |upload: &mut Upload| upload.write_at(offset, data);
        // What is past the cap must be refused at its byte; all else that can go wrong may be said
        // by the next write, fsync or close, as for any file system that buffers.
        let within = end <= self.images.options().image_size_cap;
        let file = Arc::clone(&draft);
        if !within || !draft.may_run_ahead(length.into()) {
            return self.on_draft(&draft, None, change, move |done| {
                answer(done.map(|()| {
                    file.extend_shown_length(end);
                    length
                }));
            });
        }
        self.on_draft(&draft, None, change, move |_| file.caught_up(length.into()));
        draft.extend_shown_length(end);
        answer(Ok(length));
    }

    /// Reserves room, makes a hole, or extends (`fallocate`).
    pub fn allocate(
        &self,
        handle: HandleId,
        range: ByteRange,
        mode: i32,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        const ZEROES: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
        if mode & !(ZEROES | libc::FALLOC_FL_KEEP_SIZE) != 0 {
            return answer(Err(Errno::EOPNOTSUPP));
        }
        let change = move |upload: &mut Upload| {
            let extends = mode & libc::FALLOC_FL_KEEP_SIZE == 0 && range.end > upload.len();
            if mode & ZEROES != 0 {
                let within = range.start.min(upload.len())..range.end.min(upload.len());
                upload.punch(within)?;
            }
            if extends { upload.set_len(range.end) } else { Ok(()) }
        };
        self.on_handle(handle, None, change, answer);
    }

    /// Puts what was written so far on stable storage.
    pub fn sync(&self, handle: HandleId, answer: impl FnOnce(Answer<()>) + Send + 'static) {
        match self.handle(handle) {
            Ok(Handle::Draft { draft, .. }) if draft.is_open() => {
                self.on_draft(&draft, None, Upload::sync, answer);
            }
            // An image is durable.
            Ok(_) => answer(Ok(())),
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Copies inside the mount without moving the bytes through the caller.
    #[allow(clippy::too_many_arguments)] // copy_file_range(2) has as many
    pub fn copy(
        &self,
        source: HandleId,
        source_offset: u64,
        target: HandleId,
        offset: u64,
        length: u64,
        answer: impl FnOnce(Answer<u32>) + Send + 'static,
    ) {
        let source = match self.handle(source) {
            Ok(Handle::Image { image, .. }) => image,
            // The kernel copies by reading and writing then.
            Ok(_) => return answer(Err(Errno::EOPNOTSUPP)),
            Err(errno) => return answer(Err(errno)),
        };
        let length = length.min(COPY_BYTES);
        let copied = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = Arc::clone(&copied);
        let change = move |upload: &mut Upload| {
            let moved = upload.copy_from(&source, source_offset, offset, length)?;
            count.store(moved, std::sync::atomic::Ordering::Release);
            Ok(())
        };
        self.on_handle(target, None, change, move |done| {
            answer(done.map(|()| copied.load(std::sync::atomic::Ordering::Acquire) as u32));
        });
    }

    /// A descriptor was closed (FLUSH): the last one seals the file, and hears what went wrong.
    pub fn close(
        &self,
        handle: HandleId,
        tid: u32,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        match self.handle(handle) {
            Ok(Handle::Draft { draft, writes: true, opener }) if draft.is_open() => {
                let file = Arc::clone(&draft);
                self.drafts.close(&draft, tid, opener, move |done| {
                    let refused = |error| {
                        let errno = file.viewer.refuse(&error);
                        file.failure().unwrap_or(errno)
                    };
                    answer(done.map_err(refused));
                });
            }
            Ok(_) => answer(Ok(())),
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Nobody has the handle any more (RELEASE).
    pub fn release(&self, handle: HandleId, answer: impl FnOnce() + Send + 'static) {
        let closed = self.handles.write().remove(&handle);
        match closed {
            Some(Handle::Draft { draft, writes: true, .. }) => {
                self.drafts.release(&draft, answer);
            }
            Some(Handle::Image { image, .. }) => {
                self.close_image(image);
                answer();
            }
            _ => answer(),
        }
    }

    fn on_handle(
        &self,
        handle: HandleId,
        keep: Option<u64>,
        change: impl FnOnce(&mut Upload) -> crate::error::Result<()> + Send + 'static,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        match self.handle(handle) {
            Ok(Handle::Draft { draft, writes: true, .. }) => {
                self.on_draft(&draft, keep, change, answer);
            }
            Ok(_) => answer(Err(Errno::EBADF)),
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Alters a draft's data.  Of what it starts with (`-o replace`), only `keep` bytes matter.
    pub(super) fn on_draft(
        &self,
        draft: &Arc<Draft>,
        keep: Option<u64>,
        change: impl FnOnce(&mut Upload) -> crate::error::Result<()> + Send + 'static,
        answer: impl FnOnce(Answer<()>) + Send + 'static,
    ) {
        let this = Arc::clone(draft);
        draft.run(move |desk| {
            let done = desk.upload(keep).and_then(|upload| {
                change(upload)?;
                this.show_length(upload.len());
                Ok(())
            });
            answer(done.map_err(|error| {
                let errno = this.viewer.refuse(&error);
                // Past a limit nothing was written, but a file cut short there must not be sealed.
                if !matches!(error, Error::Unsupported(_) | Error::Immutable(_)) {
                    desk.fail(&error);
                    this.note_failure(errno);
                }
                this.failure().unwrap_or(errno)
            }));
        });
    }
}
