//! The mount: the catalog as a directory.
//!
//! What a mount shows and what each call does is `images`' business as far as images go; here it
//! becomes names, inodes, attributes and errnos.
//!
//! - [`fuse`]: the thin skin that knows fuser, and nothing of images;
//! - [`filesystem`]: files and images, and nothing of fuser; its parts are [`names`] (image name ↔
//!   file name), [`viewers`] (who looks, and how they are kept apart), [`view`] (what one identity
//!   sees, kept in memory), [`inodes`], [`attributes`], [`xattrs`], [`drafts`] (files being written)
//!   and [`process`] (who is writing);
//! - [`session`]: mounting, dead mounts, unmounting, telling the kernel what changed;
//! - [`errno`]: the one table from errors to errnos.

pub mod attributes;
pub mod drafts;
pub mod errno;
pub mod filesystem;
pub mod fuse;
pub mod inodes;
pub mod names;
pub mod process;
mod replaced;
pub mod session;
pub mod view;
pub mod viewers;
mod workers;
pub mod xattrs;

use crate::config::mount_options::KernelOption;
use crate::identity::RequestContext;
use crate::identity::local::UidMap;

/// How a mount behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom the mount acts as.
    pub context: RequestContext,
    /// Whom each user of this machine acts as instead; `None` for no difference.
    pub uid_map: Option<UidMap>,
    /// Nothing can be written (`-o ro`).
    pub read_only: bool,
    /// Writing to an existing name makes a new image that takes the name (`-o replace`).
    pub replace: bool,
    /// chmod changes visibility and protection (`-o chmod`).
    pub chmod: bool,
    /// Users other than the mounting one may look in (`-o allow_other`).
    pub allow_other: bool,
    /// Owner of all files.
    pub uid: u32,
    /// Group of all files.
    pub gid: u32,
    /// Permission bits that no file has.
    pub umask: u16,
    /// Further options for the kernel (`nodev`, `noatime`, …).
    pub kernel_options: Vec<KernelOption>,
}

impl Settings {
    /// Whether the kernel may judge by mode bits: they are the same for all, and so are no answer where
    /// callers differ.
    pub fn kernel_judges(&self) -> bool {
        self.uid_map.is_none()
    }
}
