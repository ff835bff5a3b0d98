//! Letting the kernel read local images by itself.

use std::collections::HashMap;
use std::sync::Arc;

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;
use tracing::info;

use crate::fs::filesystem::Opened;
use crate::fs::inodes::Ino;
use crate::images::OpenImage;

/// How the files that are open are read.
///
/// The kernel wants every opening of a file that it reads by itself answered alike, with one backing
/// file, and fails the others with EIO.  It looks at answers in any order, also at one that was
/// given while the file was a draft still, so how a file is opened stays as it is until nobody has
/// it open any more.
#[derive(Default)]
pub(super) struct Passthrough {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    enabled: bool,
    files: HashMap<Ino, File>,
    handles: HashMap<u64, Ino>,
}

/// A file that is open.
struct File {
    /// What the kernel reads; `None` when it asks us.
    backing: Option<Arc<BackingId>>,
    handles: usize,
}

impl Passthrough {
    /// Says whether the kernel can do it at all.
    pub(super) fn allow(&self, can: bool) {
        self.state.lock().enabled = can;
    }

    /// Answers the opening of a file, and lets the kernel read it by itself where that is possible.
    pub(super) fn answer(&self, ino: Ino, opened: Opened, reply: ReplyOpen) {
        let Opened { handle, image } = opened;
        let mut state = self.state.lock();
        let file = match &image {
            _ if state.files.contains_key(&ino) => None,
            Some(image) => state.register(image, &reply),
            None => None,
        };
        let file = state.open(ino, handle, file);
        // A draft changes while it is read; an image never does, so its pages may stay.
        match (file, image) {
            (Some(backing), _) => {
                drop(state);
                reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &backing);
            }
            (None, Some(_)) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            (None, None) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
        }
    }

    /// Notes that a file was opened for writing: then the kernel asks us.
    pub(super) fn note_writer(&self, ino: Ino, handle: u64) {
        self.state.lock().open(ino, handle, None);
    }

    /// Forgets a handle.
    pub(super) fn release(&self, handle: u64) {
        // The kernel is told outside the lock.
        let _backing = self.state.lock().close(handle);
    }
}

impl State {
    /// Notes one more handle, and says how the file is read.  `backing` is for a first one.
    fn open(
        &mut self,
        ino: Ino,
        handle: u64,
        backing: Option<Arc<BackingId>>,
    ) -> Option<Arc<BackingId>> {
        let file = self.files.entry(ino).or_insert(File { backing, handles: 0 });
        file.handles += 1;
        self.handles.insert(handle, ino);
        file.backing.clone()
    }

    fn close(&mut self, handle: u64) -> Option<File> {
        let ino = self.handles.remove(&handle)?;
        let file = self.files.get_mut(&ino)?;
        file.handles -= 1;
        if file.handles == 0 { self.files.remove(&ino) } else { None }
    }

    /// Lets the kernel read the image's file itself, if it has one and the kernel can.
    ///
    /// Only ever for read-only opens: the kernel would open the file as the caller asked.
    fn register(&mut self, image: &OpenImage, reply: &ReplyOpen) -> Option<Arc<BackingId>> {
        let file = image.reader.as_ref()?.local_file()?;
        if !self.enabled {
            return None;
        }
        match reply.open_backing(file) {
            Ok(backing) => Some(Arc::new(backing)),
            Err(error) => {
                info!(%error, "the kernel does not read local images by itself; we do");
                self.enabled = false;
                None
            }
        }
    }
}
