//! Files and images: what each call on the mount does, without FUSE.
//!
//! Calls that only look answer at once, from the view in memory.  Calls that write answer through
//! a callback, from a draft's thread or a worker, so that whoever calls never waits.  Errors are
//! errnos already, by the one table; what a user could not guess from the errno is logged and
//! kept as [`Filesystem::last_error`].

mod altering;
mod reading;
mod replacing;
mod writing;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tracing::{debug, warn};

pub use altering::{Change, FileTime};
pub use reading::{Directory, Opened};
use replacing::Replaced;

use super::Settings;
use super::attributes::{self, Attributes, Kind};
use super::drafts::{Draft, Drafts};
use super::errno::Errno;
use super::inodes::{self, Ino, Inodes, Node};
use super::names;
use super::process::Process;
use super::session::{KernelCache, Stale};
use super::view::{Folder, View};
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
    view: View,
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
    replaced: Replaced,
    last_error: Arc<Mutex<String>>,
    this: Weak<Self>,
}

#[derive(Clone)]
enum Handle {
    Image(Arc<OpenImage>),
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
            Self {
                view: View::new(Arc::clone(&images), settings.context.clone()),
                inodes: Inodes::default(),
                drafts,
                handles: RwLock::default(),
                next_handle: AtomicU64::new(1),
                workers,
                readers,
                reads: FaceReads::of("mount"),
                kernel: OnceLock::new(),
                replaced: Replaced::default(),
                last_error: Arc::default(),
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
    pub fn lookup(&self, parent: Ino, name: &OsStr, tid: u32) -> Answer<Entry> {
        let name = name.to_str().ok_or(Errno::ENOENT)?;
        let node = match self.inodes.node(parent).ok_or(Errno::ESTALE)? {
            Node::Root if name == names::RESERVED[0] => Node::ById,
            Node::Root if name == names::RESERVED[1] => Node::ByProject,
            Node::ByProject => self.find_project(name)?,
            parent => {
                let folder = folder_of(&parent)?;
                if let Some(draft) = self.find_draft(&folder, name, tid) {
                    self.inodes.remember(Node::Image(draft.id));
                    return Ok(self.draft_entry(&draft));
                }
                let row = self.view.find(&folder, name).map_err(|error| self.refuse(error))?;
                let row = row.ok_or(Errno::ENOENT)?;
                let ino = self.inodes.remember(Node::Image(row.id));
                return Ok(self.image_entry(ino, &row));
            }
        };
        let ino = self.inodes.remember(node);
        self.directory_entry(ino)
    }

    /// The kernel has forgotten an inode.
    pub fn forget(&self, ino: Ino, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// What `stat` shows.
    ///
    /// # Errors
    /// `ESTALE` for an image that went: another one may have its name now.
    pub fn attributes(&self, ino: Ino) -> Answer<Entry> {
        let Node::Image(id) = self.inodes.node(ino).ok_or(Errno::ESTALE)? else {
            return self.directory_entry(ino);
        };
        if let Some(draft) = self.open_draft(ino) {
            return Ok(self.draft_entry(&draft));
        }
        match self.row(id) {
            Ok(row) => Ok(self.image_entry(ino, &row)),
            Err(Errno::ENOENT) => self.open_entry(ino, id).ok_or(Errno::ESTALE),
            Err(errno) => Err(errno),
        }
    }

    /// Why the last call that failed did, in words: `user.glance.error` of the directories.
    pub fn last_error(&self) -> String {
        self.last_error.lock().clone()
    }

    /// The settings of the mount.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn find_project(&self, name: &str) -> Answer<Node> {
        let project = ProjectId::new(names::decode(name));
        let known = self.view.has_project(&project).map_err(|error| self.refuse(error))?;
        if known { Ok(Node::Project(project.as_str().into())) } else { Err(Errno::ENOENT) }
    }

    fn find_draft(&self, folder: &Folder, name: &str, tid: u32) -> Option<Arc<Draft>> {
        if self.drafts.is_empty() {
            return None;
        }
        self.drafts.publish_held(false);
        self.drafts.find(folder, name, Process::of_thread(tid))
    }

    fn open_draft(&self, ino: Ino) -> Option<Arc<Draft>> {
        self.drafts.by_ino(ino).filter(|draft| draft.is_open())
    }

    fn row(&self, id: ImageId) -> Answer<Row> {
        self.view.row(id).map_err(|error| self.refuse(error))?.ok_or(Errno::ENOENT)
    }

    fn image_entry(&self, ino: Ino, row: &Row) -> Entry {
        let allocated = row.location.as_deref().and_then(|url| self.images.allocated(url));
        let attributes = attributes::of_image(&self.settings, ino, row, allocated);
        // Its name will stand for another image as soon as somebody asks after the draft's maker has
        // ended: so the kernel must ask.
        let ttl = if self.drafts.will_replace(row.id) { Duration::ZERO } else { TTL };
        Entry { attributes, ttl }
    }

    /// A draft is its maker's alone, so the kernel must ask again for everybody.
    fn draft_entry(&self, draft: &Draft) -> Entry {
        let state = draft.state();
        let size = draft.len();
        let attributes = Attributes {
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
        Entry { attributes, ttl: Duration::ZERO }
    }

    fn directory_entry(&self, ino: Ino) -> Answer<Entry> {
        let (_, changed) = self.view.summary().map_err(|error| self.refuse(error))?;
        let attributes = attributes::of_directory(&self.settings, ino, changed);
        Ok(Entry { attributes, ttl: TTL })
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

    /// As [`refuse`](Self::refuse), for opening what was just looked up: another image may have taken
    /// the place of one that is gone, so the kernel has to look again, which `ESTALE` makes it do.
    fn refuse_open(&self, id: ImageId, error: Error) -> Errno {
        match self.refuse(error) {
            Errno::ENOENT => {
                // Its deletion may not have been announced yet, and the kernel looks only once more.
                self.changed(&[id]);
                Errno::ESTALE
            }
            errno => errno,
        }
    }

    /// The errno for an error; the words go where a user can find them.
    fn refuse(&self, error: Error) -> Errno {
        refuse(&self.last_error, &error)
    }
}

fn refuse(last_error: &Mutex<String>, error: &Error) -> Errno {
    let errno = Errno::from(error);
    match error {
        Error::NotFound(_) => {}
        Error::StoreUnavailable(_) | Error::Catalog(_) | Error::Io { .. } => {
            warn!(%error, errno = errno.0, "refused");
            *last_error.lock() = error.to_string();
        }
        _ => {
            debug!(%error, errno = errno.0, "refused");
            *last_error.lock() = error.to_string();
        }
    }
    errno
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
        let altered = match self.view.refresh(ids) {
            Ok(altered) => altered,
            Err(error) => {
                warn!(%error, "what changed in the catalog cannot be read");
                return;
            }
        };
        let Some(kernel) = self.kernel.get() else { return };
        let names =
            altered.into_iter().map(|(folder, name)| Stale::Name(self.ino_of(&folder), name));
        let inodes = ids.iter().filter_map(|id| self.inodes.known(*id)).map(Stale::Attributes);
        kernel.forget(names.chain(inodes).collect());
    }

    fn settle(&self) {
        self.drafts.publish_held(false);
    }
}
