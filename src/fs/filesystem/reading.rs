//! Looking and reading: directories, open files, holes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Answer, Entry, Filesystem, Handle, HandleId, access, folder_of, row};
use crate::catalog::model::ImageId;
use crate::error::Result;
use crate::fs::attributes;
use crate::fs::drafts::Draft;
use crate::fs::errno::Errno;
use crate::fs::inodes::{self, Ino, Node};
use crate::fs::names;
use crate::fs::process::Process;
use crate::fs::session::Stale;
use crate::fs::view::Folder;
use crate::fs::viewers::{Caller, Viewer};
use crate::images::OpenImage;
use crate::store::Capacity;

/// How long `statfs` waits for a distant store to say what room it has now.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// A directory as it was when it was opened.
pub struct Directory {
    /// Who opened it: nobody else is told what is in it.
    viewer: Arc<Viewer>,
    entries: Vec<(Box<str>, Node)>,
    ino: Ino,
    parent: Ino,
}

/// One entry of a directory.
pub struct DirectoryEntry<'a> {
    /// The name.
    pub name: &'a str,
    /// The inode number, for a listing without attributes.
    pub ino: Ino,
    /// Whether it is a directory.
    pub is_directory: bool,
    node: Option<&'a Node>,
}

/// A file that was opened.
pub struct Opened {
    /// Its handle.
    pub handle: HandleId,
    /// The finished image, which never changes; `None` for a draft.
    pub image: Option<Arc<OpenImage>>,
}

impl Directory {
    /// The entry at a position, if there is one.
    pub fn entry(&self, filesystem: &Filesystem, position: u64) -> Option<DirectoryEntry<'_>> {
        let dots = [(".", self.ino), ("..", self.parent)];
        let position = usize::try_from(position).ok()?;
        if let Some((name, ino)) = dots.get(position) {
            return Some(DirectoryEntry { name, ino: *ino, is_directory: true, node: None });
        }
        let (name, node) = self.entries.get(position - dots.len())?;
        let is_directory = !matches!(node, Node::Image(_));
        let ino = filesystem.inodes.peek(node);
        Some(DirectoryEntry { name, ino, is_directory, node: Some(node) })
    }
}

impl Filesystem {
    /// Opens a directory: what it shows is what it holds now.
    ///
    /// # Errors
    /// `ENOTDIR`; what keeps the catalog from being read.
    pub fn open_directory(&self, caller: &Caller, ino: Ino) -> Answer<HandleId> {
        let viewer = Arc::clone(&caller.viewer);
        self.drafts.publish_held(false);
        let node = self.inodes.node(ino).ok_or(Errno::ESTALE)?;
        let entries = match &node {
            Node::ByProject => {
                let projects = viewer.view.projects().map_err(|error| viewer.refuse(&error))?;
                let entry = |project: &crate::identity::ProjectId| {
                    let name = names::encode(project.as_str()).into_boxed_str();
                    (name, Node::Project(project.as_str().into()))
                };
                projects.iter().map(entry).collect()
            }
            node => self.files(caller, &folder_of(node)?)?,
        };
        let parent = if ino > inodes::BY_PROJECT { inodes::BY_PROJECT } else { inodes::ROOT };
        Ok(self.keep(Handle::Directory(Arc::new(Directory { viewer, entries, ino, parent }))))
    }

    /// An open directory.
    ///
    /// # Errors
    /// `EBADF`; `EACCES` for who was handed the directory of somebody who sees something else.
    pub fn directory(&self, caller: &Caller, handle: HandleId) -> Answer<Arc<Directory>> {
        match self.handle(handle)? {
            Handle::Directory(directory) if Arc::ptr_eq(&directory.viewer, &caller.viewer) => {
                Ok(directory)
            }
            Handle::Directory(_) => Err(Errno::EACCES),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The attributes of an entry, which the kernel remembers from now on.  `None` if it went
    /// since the directory was opened.
    pub fn entry_of(&self, caller: &Caller, entry: &DirectoryEntry<'_>) -> Option<Entry> {
        let Some(node) = entry.node else {
            return self.directory_entry(caller, entry.ino).ok();
        };
        let Node::Image(id) = node else {
            let ino = self.inodes.remember(node.clone());
            return self.directory_entry(caller, ino).ok();
        };
        if let Some(draft) = self.own_draft(caller, entry.ino) {
            self.inodes.remember(node.clone());
            return Some(self.draft_entry(caller, &draft));
        }
        let row = row(&caller.viewer, *id).ok()?;
        let ino = self.inodes.remember(node.clone());
        Some(self.image_entry(caller, ino, &row))
    }

    fn files(&self, caller: &Caller, folder: &Folder) -> Answer<Vec<(Box<str>, Node)>> {
        let viewer = &caller.viewer;
        let listing = viewer.view.list(folder).map_err(|error| viewer.refuse(&error))?;
        let listed = listing.iter().map(|file| (file.name.clone(), Node::Image(file.id)));
        let mut files: Vec<_> = listed.collect();
        if !self.drafts.is_empty() {
            let mine = self.drafts.of(folder, Process::of_thread(caller.tid), viewer);
            let open = mine.into_iter().filter(|draft| draft.is_open());
            files.extend(open.map(|draft| (draft.state().name.into(), Node::Image(draft.id))));
        }
        Ok(files)
    }

    /// Opens a file for reading: `EACCES` for a deactivated image; `EIO` when its data cannot be
    /// reached; `ESTALE` when it has gone since its name was looked up.
    pub fn open_for_reading(
        &self,
        caller: &Caller,
        ino: Ino,
        answer: impl FnOnce(Answer<Opened>) + Send + 'static,
    ) {
        let viewer = Arc::clone(&caller.viewer);
        let id = match self.inodes.node(ino) {
            Some(Node::Image(id)) => id,
            Some(_) => return answer(Err(Errno::EISDIR)),
            None => return answer(Err(Errno::ESTALE)),
        };
        let Some(this) = self.this.upgrade() else { return };
        if let Some(draft) = self.own_draft(caller, ino) {
            let opener = Process::of_thread(caller.tid);
            // After what is under way: a draft that is being published is an image then.
            return Arc::clone(&draft).run(move |_| {
                if !draft.is_open() {
                    return answer(this.open_image(&viewer, id));
                }
                let handle = this.keep(Handle::Draft { draft, writes: false, opener });
                answer(Ok(Opened { handle, image: None }));
            });
        }
        let location = row(&viewer, id).ok().and_then(|row| row.location);
        match location.filter(|url| !self.images.is_local(url)) {
            None => answer(this.open_image(&viewer, id)),
            // What is on disk here waits behind nobody who waits for a store.
            Some(url) => match self.images.open_on_disk(&viewer.context, id) {
                Ok(Some(image)) => answer(self.opened(&viewer, image)),
                Ok(None) => {
                    self.readers.run(move || this.open_distant(&viewer, ino, id, &url, answer));
                }
                Err(error) => answer(Err(self.refuse_open(&viewer, id, error))),
            },
        }
    }

    /// Opens an image of a store that may find out only now how much of it is data.  The kernel must
    /// not tell the old figure: by the blocks of an `fstat`, programs decide whether to look for
    /// holes.
    fn open_distant(
        &self,
        viewer: &Arc<Viewer>,
        ino: Ino,
        id: ImageId,
        url: &str,
        answer: impl FnOnce(Answer<Opened>) + Send + 'static,
    ) {
        let known = self.images.allocated(url);
        let opened = self.open_image(viewer, id);
        match self.kernel.get() {
            Some(kernel) if opened.is_ok() && self.images.allocated(url) != known => {
                kernel.forget_and_then(vec![Stale::Attributes(ino)], move || answer(opened));
            }
            _ => answer(opened),
        }
    }

    fn open_image(&self, viewer: &Arc<Viewer>, id: ImageId) -> Answer<Opened> {
        let open = self.images.open(&viewer.context, id);
        self.opened(viewer, open.map_err(|error| self.refuse_open(viewer, id, error))?)
    }

    fn opened(&self, viewer: &Arc<Viewer>, image: OpenImage) -> Answer<Opened> {
        let (image, viewer) = (Arc::new(image), Arc::clone(viewer));
        let handle = self.keep(Handle::Image { image: Arc::clone(&image), viewer });
        Ok(Opened { handle, image: Some(image) })
    }

    /// What `fstat` shows of an image that is open, and deleted or not for this caller to look up.
    pub(super) fn open_entry(&self, caller: &Caller, ino: Ino, id: ImageId) -> Option<Entry> {
        let handles = self.handles.read();
        let open = handles.values().find_map(|handle| match handle {
            Handle::Image { image, .. } if image.image.id == id => Some(Arc::clone(image)),
            _ => None,
        })?;
        drop(handles);
        let row = open.row();
        let mut attributes = attributes::of_image(&self.settings, ino, &row, None);
        if self.viewers.differ() {
            access::show(self.images.policy(), &mut attributes, caller, &row);
        }
        Some(Entry { attributes, ttl: self.ttl() })
    }

    /// Reads; fewer bytes only at the end.
    pub fn read(
        &self,
        handle: HandleId,
        offset: u64,
        size: u32,
        answer: impl FnOnce(Answer<&[u8]>) + Send + 'static,
    ) {
        match self.handle(handle) {
            Ok(Handle::Image { image, viewer }) => {
                let Some(reader) = &image.reader else { return answer(Ok(&[])) };
                let range = offset..offset.saturating_add(size.into());
                let reads = self.reads.clone();
                let done = move |data: Result<Bytes>| match data {
                    Ok(data) => {
                        reads.answered(data.len());
                        answer(Ok(&data));
                    }
                    Err(error) => answer(Err(viewer.refuse(&error))),
                };
                Arc::clone(reader).start_read(range, Box::new(done));
            }
            Ok(Handle::Draft { draft, .. }) => self.read_draft(&draft, offset, size, answer),
            Ok(Handle::Directory(_)) => answer(Err(Errno::EISDIR)),
            Err(errno) => answer(Err(errno)),
        }
    }

    fn read_draft(
        &self,
        draft: &Draft,
        offset: u64,
        size: u32,
        answer: impl FnOnce(Answer<&[u8]>) + Send + 'static,
    ) {
        let images = Arc::clone(&self.images);
        let viewer = Arc::clone(&draft.viewer);
        draft.run(move |desk| {
            let mut buffer = vec![0; size as usize];
            let open = |id| images.open(&viewer.context, id);
            let read = desk.read(open, offset, &mut buffer);
            let refused = |error| viewer.refuse(&error);
            answer(read.map(|length| &buffer[..length]).map_err(refused));
        });
    }

    /// Finds the next data (`SEEK_DATA`) or hole (`SEEK_HOLE`); `ENXIO` past the end.
    pub fn seek(
        &self,
        handle: HandleId,
        offset: u64,
        holes: bool,
        answer: impl FnOnce(Answer<u64>) + Send + 'static,
    ) {
        match self.handle(handle) {
            Ok(Handle::Image { image, viewer }) => {
                let distant = is_distant(&image);
                let seek = move || answer(seek_image(&image, offset, holes, &viewer));
                if distant { self.readers.run(seek) } else { seek() }
            }
            // A draft's holes are not looked for: all of it counts as data.
            Ok(Handle::Draft { draft, .. }) if offset < draft.len() => {
                answer(Ok(if holes { draft.len() } else { offset }));
            }
            Ok(Handle::Draft { .. }) => answer(Err(Errno::ENXIO)),
            Ok(Handle::Directory(_)) => answer(Err(Errno::EISDIR)),
            Err(errno) => answer(Err(errno)),
        }
    }

    /// Forgets the handle of an image.  Closing one that is far away may take its time.
    pub(super) fn close_image(&self, image: Arc<OpenImage>) {
        if is_distant(&image) {
            self.readers.run(move || drop(image));
        }
    }

    /// Room in the default store, and how many images there are.  A store that does not answer has
    /// the room that it last had.
    pub fn room(
        &self,
        caller: &Caller,
        answer: impl FnOnce(Answer<(Capacity, u64)>) + Send + 'static,
    ) {
        let viewer = Arc::clone(&caller.viewer);
        if !self.images.capacity_takes_time() {
            return answer(self.room_within(&viewer, Duration::ZERO));
        }
        let Some(this) = self.this.upgrade() else { return };
        self.readers.run(move || answer(this.room_within(&viewer, ROOM_PATIENCE)));
    }

    fn room_within(&self, viewer: &Viewer, patience: Duration) -> Answer<(Capacity, u64)> {
        let refused = |error| viewer.refuse(&error);
        let capacity = self.images.capacity(patience).map_err(refused)?;
        let (files, _) = viewer.view.summary().map_err(refused)?;
        Ok((capacity, files))
    }

    /// Forgets a directory's handle.
    pub fn release_directory(&self, handle: HandleId) {
        self.handles.write().remove(&handle);
    }
}

/// Whether reading an image may take longer than a FUSE loop can wait.
fn is_distant(image: &OpenImage) -> bool {
    image.reader.as_ref().is_some_and(|reader| reader.local_file().is_none())
}

fn seek_image(image: &OpenImage, offset: u64, holes: bool, viewer: &Viewer) -> Answer<u64> {
    let reader = image.reader.as_ref().filter(|reader| offset < reader.size());
    let reader = reader.ok_or(Errno::ENXIO)?;
    let found = if holes { reader.next_hole(offset).map(Some) } else { reader.next_data(offset) };
    found.map_err(|error| viewer.refuse(&error))?.ok_or(Errno::ENXIO)
}
