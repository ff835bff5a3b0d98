//! Files and images: what each call on the mount does, without FUSE.
//!
//! Calls that only look answer at once, from the view in memory.  Calls that write answer through
//! a callback, from a draft's thread or a worker, so that whoever calls never waits.  Errors are
//! errnos already, by the one table; what a user could not guess from the errno is logged and
//! kept for who asked.
//!
//! What goes by a name or a number is asked by a [`Caller`], and answered as that one may have it;
//! what goes by a handle is the right of whoever has the handle.

mod access;
mod altering;
mod reading;
mod replacing;
mod writing;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tracing::warn;

pub use altering::{Change, FileTime};
pub use reading::{Directory, Opened};

use super::Settings;
use super::attributes::{self, Attributes, Kind};
use super::drafts::{Draft, Drafts};
use super::errno::Errno;
use super::inodes::{self, Ino, Inodes, Node};
use super::names;
use super::process::Process;
use super::session::{KernelCache, Stale};
use super::view::Folder;
use super::viewers::{Caller, Viewer, Viewers};
use super::workers::Workers;
use crate::catalog::model::{ImageId, Row};
use crate::error::{Error, Result};
use crate::identity::ProjectId;
use crate::images::changes::Face;
use crate::images::{Images, OpenImage};
use crate::telemetry::metrics::FaceReads;

/// How long the kernel may answer for us.  Changes that we hear of are told to it at once.
pub const TTL: Duration = Duration::from_secs(1);

/// Changes at once.
const WORKERS: usize = 4;

/// Reads of distant images at once.
const READERS: usize = 16;

/// A number for an open file or directory.
pub type HandleId = u64;

/// What a call answers: a value or an errno.
pub type Answer<T> = Result<T, Errno>;

/// A name that was found.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What `stat` shows.
    pub attributes: Attributes,
    /// How long the kernel may remember both name and attributes.
    pub ttl: Duration,
}

/// The catalog as a file system, for one mount.
pub struct Filesystem {
    images: Arc<Images>,
    settings: Settings,
    viewers: Viewers,
    inodes: Inodes,
    drafts: Arc<Drafts>,
    handles: RwLock<HashMap<HandleId, Handle>>,
    next_handle: AtomicU64,
    /// For changes.
    workers: Workers,
    /// For reading what is far away, so that a store that does not answer delays no change.
    readers: Workers,
    reads: FaceReads,
    kernel: OnceLock<KernelCache>,
    this: Weak<Self>,
}

#[derive(Clone)]
enum Handle {
    Image { image: Arc<OpenImage>, viewer: Arc<Viewer> },
    Draft { draft: Arc<Draft>, writes: bool, opener: Process },
    Directory(Arc<Directory>),
}

impl Filesystem {
    /// A file system over `images`; it hears of changes from here on.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(images: Arc<Images>, settings: Settings) -> Result<Arc<Self>> {
        let workers = Workers::start("fs-worker", WORKERS)?;
        let readers = Workers::start("fs-reader", READERS)?;
        let filesystem = Arc::new_cyclic(|this: &Weak<Self>| {
            let owner = this.clone();
            let drafts = Drafts::new(move |outcome| {
                if let Some(filesystem) = owner.upgrade() {
                    filesystem.draft_ended(&outcome);
                }
            });
            let (own, map) = (settings.context.clone(), settings.uid_map.clone());
            let mounter = rustix::process::geteuid().as_raw();
            Self {
                viewers: Viewers::new(&images, own, map, mounter),
                inodes: Inodes::default(),
                drafts,
                handles: RwLock::default(),
                next_handle: AtomicU64::new(1),
                workers,
                readers,
                reads: FaceReads::of("mount"),
                kernel: OnceLock::new(),
                this: this.clone(),
                images: Arc::clone(&images),
                settings,
            }
        });
        let face: Arc<dyn Face> = Arc::<Self>::clone(&filesystem);
        images.changes().register(&face);
        Ok(filesystem)
    }

    /// Where to tell the kernel that what it remembers has changed.
    pub fn set_kernel(&self, kernel: KernelCache) {
        // A second mount of one file system does not happen; the first one stays.
        let _ = self.kernel.set(kernel);
    }

    /// Publishes drafts whose time is up, and drops those nobody will come back for; called
    /// several times a second.
    pub fn tick(&self) {
        self.drafts.publish_held(true);
        self.drafts.drop_orphans();
        self.viewers.tidy();
    }

    /// Who makes a request, by the numbers that it names.
    ///
    /// # Errors
    /// `EACCES` for who has no business here.
    pub fn caller(&self, uid: u32, gid: u32, tid: u32) -> Answer<Caller> {
        let viewer = self.viewers.of(uid, gid, tid).ok_or(Errno::EACCES)?;
        Ok(Caller { viewer: Arc::clone(viewer), uid, gid, tid })
    }

    /// Whether callers differ in what they see: then nobody but us may answer them.
    pub fn tells_callers_apart(&self) -> bool {
        self.viewers.differ()
    }

    /// No more writing: what is held back is published, what is still open is dropped.
    pub fn shut_down(&self, deadline: Instant) {
        while !self.drafts.is_empty() && Instant::now() < deadline {
            // Writers may still finish; those that are held back need not wait for their second.
            self.drafts.publish_held(true);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.drafts.end_all(Instant::now() + Duration::from_secs(10));
    }

    /// Looks a name up.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn lookup(&self, caller: &Caller, parent: Ino, name: &OsStr) -> Answer<Entry> {
        let viewer = &caller.viewer;
        let name = name.to_str().ok_or(Errno::ENOENT)?;
        let node = match self.inodes.node(parent).ok_or(Errno::ESTALE)? {
            Node::Root if name == names::RESERVED[0] => Node::ById,
            Node::Root if name == names::RESERVED[1] => Node::ByProject,
            Node::ByProject => find_project(viewer, name)?,
            parent => {
                let folder = folder_of(&parent)?;
                if let Some(draft) = self.find_draft(caller, &folder, name) {
                    self.inodes.remember(Node::Image(draft.id));
                    return Ok(self.draft_entry(caller, &draft));
                }
                let row = viewer.view.find(&folder, name).map_err(|error| viewer.refuse(&error))?;
                let row = row.ok_or(Errno::ENOENT)?;
                let ino = self.inodes.remember(Node::Image(row.id));
                return Ok(self.image_entry(caller, ino, &row));
            }
        };
        let ino = self.inodes.remember(node);
        self.directory_entry(caller, ino)
    }

    /// The kernel has forgotten an inode.
    pub fn forget(&self, ino: Ino, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// What `stat` shows.  By a path, a lookup comes before; without one, the caller has been handed a
    /// descriptor, and is told of what is open whether it could have opened that or not.
    ///
    /// # Errors
    /// `ESTALE` for an image that went: another one may have its name now.
    pub fn attributes(&self, caller: &Caller, ino: Ino) -> Answer<Entry> {
        let Node::Image(id) = self.inodes.node(ino).ok_or(Errno::ESTALE)? else {
            return self.directory_entry(caller, ino);
        };
        if let Some(draft) = self.open_draft(ino) {
            return Ok(self.draft_entry(caller, &draft));
        }
        match row(&caller.viewer, id) {
            Ok(row) => Ok(self.image_entry(caller, ino, &row)),
            Err(Errno::ENOENT) => self.open_entry(caller, ino, id).ok_or(Errno::ESTALE),
            Err(errno) => Err(errno),
        }
    }

    /// The settings of the mount.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn find_draft(&self, caller: &Caller, folder: &Folder, name: &str) -> Option<Arc<Draft>> {
        if self.drafts.is_empty() {
            return None;
        }
        self.drafts.publish_held(false);
        self.drafts.find(folder, name, Process::of_thread(caller.tid), &caller.viewer)
    }

    fn open_draft(&self, ino: Ino) -> Option<Arc<Draft>> {
        self.drafts.by_ino(ino).filter(|draft| draft.is_open())
    }

    /// The same, if it is the caller's to look at and to alter.
    fn own_draft(&self, caller: &Caller, ino: Ino) -> Option<Arc<Draft>> {
        self.open_draft(ino).filter(|draft| draft.belongs_to(&caller.viewer))
    }

    fn image_entry(&self, caller: &Caller, ino: Ino, row: &Row) -> Entry {
        let allocated = row.location.as_deref().and_then(|url| self.images.allocated(url));
        let mut attributes = attributes::of_image(&self.settings, ino, row, allocated);
        // Its name will stand for another image as soon as somebody asks after the draft's maker has
        // ended: so the kernel must ask.
        let ttl = if self.drafts.will_replace(row.id) { Duration::ZERO } else { self.ttl() };
        if self.viewers.differ() {
            access::show(self.images.policy(), &mut attributes, caller, row);
        }
        Entry { attributes, ttl }
    }

    /// How long the kernel may answer for us: not at all where it depends on who asks.
    fn ttl(&self) -> Duration {
        if self.viewers.differ() { Duration::ZERO } else { TTL }
    }

    /// A draft is its maker's alone, so the kernel must ask again for everybody.
    fn draft_entry(&self, caller: &Caller, draft: &Draft) -> Entry {
        let state = draft.state();
        let size = draft.len();
        let mut attributes = Attributes {
            ino: draft.ino,
            kind: Kind::File,
            size,
            blocks: size.div_ceil(512),
            mtime: state.mtime,
            ctime: state.mtime,
            mode: 0o640 & !self.settings.umask,
            uid: self.settings.uid,
            gid: self.settings.gid,
        };
        if self.viewers.differ() {
            (attributes.uid, attributes.gid) = (caller.uid, caller.gid);
        }
        Entry { attributes, ttl: Duration::ZERO }
    }

    fn directory_entry(&self, caller: &Caller, ino: Ino) -> Answer<Entry> {
        let viewer = &caller.viewer;
        let (_, changed) = viewer.view.summary().map_err(|error| viewer.refuse(&error))?;
        let mut attributes = attributes::of_directory(&self.settings, ino, changed);
        if self.viewers.differ() && viewer.may_write().is_ok() {
            (attributes.uid, attributes.gid) = (caller.uid, caller.gid);
        }
        Ok(Entry { attributes, ttl: self.ttl() })
    }

    fn ino_of(&self, folder: &Folder) -> Ino {
        match folder {
            Folder::Root => inodes::ROOT,
            Folder::ById => inodes::BY_ID,
            Folder::Project(project) => self.inodes.peek(&Node::Project(project.as_str().into())),
        }
    }

    fn keep(&self, handle: Handle) -> HandleId {
        let id = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.handles.write().insert(id, handle);
        id
    }

    fn handle(&self, id: HandleId) -> Answer<Handle> {
        self.handles.read().get(&id).cloned().ok_or(Errno::EBADF)
    }

    /// The errno for an error of opening what was just looked up: another image may have taken
    /// the place of one that is gone, so the kernel has to look again, which `ESTALE` makes it do.
    fn refuse_open(&self, viewer: &Viewer, id: ImageId, error: Error) -> Errno {
        match viewer.refuse(&error) {
            Errno::ENOENT => {
                // Its deletion may not have been announced yet, and the kernel looks only once more.
                self.changed(&[id]);
                Errno::ESTALE
            }
            errno => errno,
        }
    }
}

fn find_project(viewer: &Viewer, name: &str) -> Answer<Node> {
    let project = ProjectId::new(names::decode(name));
    let known = viewer.view.has_project(&project).map_err(|error| viewer.refuse(&error))?;
    if known { Ok(Node::Project(project.as_str().into())) } else { Err(Errno::ENOENT) }
}

fn row(viewer: &Viewer, id: ImageId) -> Answer<Row> {
    viewer.view.row(id).map_err(|error| viewer.refuse(&error))?.ok_or(Errno::ENOENT)
}

/// The directory that a node is, as far as it holds images.
fn folder_of(node: &Node) -> Answer<Folder> {
    match node {
        Node::Root => Ok(Folder::Root),
        Node::ById => Ok(Folder::ById),
        Node::Project(project) => Ok(Folder::Project(ProjectId::new(project.clone()))),
        Node::ByProject => Err(Errno::EPERM),
        Node::Image(_) => Err(Errno::ENOTDIR),
    }
}

impl Face for Filesystem {
    fn changed(&self, ids: &[ImageId]) {
        let mut stale = Vec::new();
        for viewer in self.viewers.all() {
            match viewer.view.refresh(ids) {
                Ok(altered) => stale.extend(altered),
                Err(error) => warn!(%error, "what changed in the catalog cannot be read"),
            }
        }
        // Where callers differ, the kernel remembers nothing that it could have to forget.
        let Some(kernel) = self.kernel.get().filter(|_| !self.viewers.differ()) else { return };
        let names = stale.into_iter().map(|(folder, name)| Stale::Name(self.ino_of(&folder), name));
        let inodes = ids.iter().filter_map(|id| self.inodes.known(*id)).map(Stale::Attributes);
        kernel.forget(names.chain(inodes).collect());
    }

    fn settle(&self) {
        self.drafts.publish_held(false);
    }
}
