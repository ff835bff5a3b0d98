//! Letting the kernel read local images by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use fuser::{BackingId, FileHandle, FopenFlags, ReplyOpen};
use parking_lot::Mutex;
use tracing::info;

use crate::fs::filesystem::Opened;
use crate::fs::inodes::Ino;
use crate::images::OpenImage;

/// Files that the kernel reads by itself.  One backing file for an inode, shared by all who have
/// it open: a second one would be refused.
#[derive(Default)]
pub(super) struct Passthrough {
    enabled: AtomicBool,
    by_ino: Mutex<HashMap<Ino, Weak<BackingId>>>,
    pub(super) by_handle: Mutex<HashMap<u64, Arc<BackingId>>>,
}

impl Passthrough {
    /// Says whether the kernel can do it at all.
    pub(super) fn allow(&self, can: bool) {
        self.enabled.store(can, Ordering::Relaxed);
    }

    /// Answers the opening of a file, and lets the kernel read it by itself where that is possible.
    pub(super) fn answer(&self, ino: Ino, opened: Opened, reply: ReplyOpen) {
        let Opened { handle, image } = opened;
        // A draft changes while it is read; an image never does, so its pages may stay.
        let Some(image) = image else {
            return reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
        };
        match self.register(ino, &image, &reply) {
            Some(backing) => {
                self.by_handle.lock().insert(handle, Arc::clone(&backing));
                reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &backing);
            }
            None => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    /// Lets the kernel read the image's file itself, if it has one and the kernel can.
    ///
    /// Only ever for read-only opens: the kernel would open the file as the caller asked.
    fn register(&self, ino: Ino, image: &OpenImage, reply: &ReplyOpen) -> Option<Arc<BackingId>> {
        let file = image.reader.as_ref()?.local_file()?;
        if !self.enabled.load(Ordering::Relaxed) {
            return None;
        }
        let mut by_ino = self.by_ino.lock();
        if let Some(shared) = by_ino.get(&ino).and_then(Weak::upgrade) {
            return Some(shared);
        }
        match reply.open_backing(file) {
            Ok(backing) => {
                let backing = Arc::new(backing);
                by_ino.retain(|_, backing| backing.strong_count() > 0);
                by_ino.insert(ino, Arc::downgrade(&backing));
                Some(backing)
            }
            Err(error) => {
                info!(%error, "the kernel does not read local images by itself; we do");
                self.enabled.store(false, Ordering::Relaxed);
                None
            }
        }
    }
}
