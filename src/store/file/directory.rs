//! The store's directory: the only way to a file by its name.
//!
//! Everything is relative to one descriptor, and a name is always a single one, so that neither a
//! URL from the catalog nor a link that somebody put there leads outside.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, accessat, fchmod,
    fstat, fstatvfs, fsync, linkat, openat, openat2, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::{Capacity, UNFINISHED, store_error};
use crate::error::{Error, Result};

/// Ways in which Glance writes a file's location.
const SCHEMES: [&str; 2] = ["file://", "filesystem://"];

/// `st_blocks` counts in these, whatever the file system's own.
const STAT_BLOCK: u64 = 512;

/// Not even a directory entry of this kind is followed or waited for.
const NO_SURPRISES: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What is known of a regular file.
pub(super) struct FileStat {
    /// Bytes that it takes on the disk.
    pub(super) allocated: u64,
    /// When it was last written.
    pub(super) modified: SystemTime,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Absolute, without `.`, `..` or repeated slashes.
    path: String,
    descriptor: OwnedFd,
}

impl Directory {
    /// Opens `datadir`, and makes it before if need be.
    pub(super) fn open(datadir: &Path) -> Result<Self> {
        let path = plain_path(datadir)?;
        let unusable = |error: io::Error| {
            Error::Config(format!(
                "directory {path} cannot be used: {error}; make it, for this user to write to, or name \
                 another: filesystem_store_datadir for images, node_staging_uri for what is imported"
            ))
        };
        DirBuilder::new().recursive(true).mode(0o750).create(&path).map_err(unusable)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let descriptor =
            openat(CWD, &path, flags, Mode::empty()).map_err(|error| unusable(error.into()))?;
        accessat(&descriptor, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| unusable(error.into()))?;
        Ok(Self { path, descriptor })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// For messages.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Glance: the path is written as it is, nothing is percent-encoded.
    pub(super) fn url_of(&self, name: &str) -> String {
        format!("file://{}/{name}", self.path)
    }

    /// The name in a URL that means a file directly in this directory.
    pub(super) fn name_in_url<'u>(&self, url: &'u str) -> Option<&'u str> {
        let path = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme))?;
        let (parent, name) = path.rsplit_once('/')?;
        // A path that begins with a name has a host there, or is relative.
        let inside = parent.starts_with('/')
            && parent.split('/').all(|part| part != "..")
            && parts(parent).eq(parts(&self.path));
        (inside && is_image_name(name)).then_some(name)
    }

    /// Opens a regular file for reading; `None` when there is none of this name.
    pub(super) fn open_file(&self, name: &str) -> Result<Option<File>> {
        let file = match self.open_beneath(name, OFlags::RDONLY, Mode::empty()) {
            Ok(descriptor) => File::from(descriptor),
            // A link is not an image, and neither is a socket.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(self.error("open", name, error)),
        };
        let stat = fstat(&file).map_err(|error| self.error("open", name, error))?;
        Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(file))
    }

    /// Makes a new file of exactly this mode, open for reading and writing.
    pub(super) fn create_file(&self, name: &str, mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        // Nobody else may open it before it has the mode that it shall have.
        let descriptor = self.open_beneath(name, flags, Mode::RUSR | Mode::WUSR);
        let descriptor = descriptor.map_err(|error| match error {
            Errno::EXIST => Error::Conflict(format!("{} exists already", self.path_of(name))),
            error => self.error("create", name, error),
        })?;
        if let Err(error) = fchmod(&descriptor, Mode::from_raw_mode(mode)) {
            // The first error is the one to report.
            let _ = self.remove(name);
            return Err(self.error("set the mode of", name, error));
        }
        Ok(descriptor.into())
    }

    /// What is known of a regular file; `None` when there is none of this name.
    pub(super) fn stat(&self, name: &str) -> Result<Option<FileStat>> {
        let stat = match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.error("stat", name, error)),
        };
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
        Ok(regular.then(|| FileStat {
            allocated: blocks.saturating_mul(STAT_BLOCK),
            modified: UNIX_EPOCH + Duration::from_secs(seconds),
        }))
    }

    /// The names of all regular files that are images or were to become some.
    pub(super) fn files(&self) -> Result<Vec<String>> {
        let failed = |error: Errno| store_error("list", &self.path, &error.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let ours = is_image_name(name) || name.starts_with(UNFINISHED);
            if ours && self.stat(name)?.is_some() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Removes a name; returns whether it was there.  Durable only after [`sync`](Self::sync).
    pub(super) fn remove(&self, name: &str) -> Result<bool> {
        match unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.error("remove", name, error)),
        }
    }

    /// Gives a file another name, which must be free.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let here = &self.descriptor;
        let renamed = match renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
            // NFS and some others cannot; a second link never replaces anything either.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                linkat(here, from, here, to, AtFlags::empty())
                    .and_then(|()| unlinkat(here, from, AtFlags::empty()))
            }
            outcome => outcome,
        };
        renamed.map_err(|error| match error {
            Errno::EXIST => Error::Conflict(format!("{} exists already", self.path_of(to))),
            error => self.error("rename", from, error),
        })
    }

    /// Makes all changes of names durable.
    pub(super) fn sync(&self) -> Result<()> {
        fsync(&self.descriptor).map_err(|error| store_error("sync", &self.path, &error.into()))
    }

    pub(super) fn capacity(&self) -> Result<Capacity> {
        let stat = fstatvfs(&self.descriptor)
            .map_err(|error| store_error("get the room of", &self.path, &error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Capacity { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) })
    }

    fn open_beneath(&self, name: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let flags = flags | NO_SURPRISES;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.descriptor, name, flags, mode, resolve) {
            // Old kernels and old seccomp filters.  For a single name NOFOLLOW is enough.
            Err(Errno::NOSYS | Errno::PERM) => openat(&self.descriptor, name, flags, mode),
            outcome => outcome,
        }
    }

    fn error(&self, action: &str, name: &str, error: Errno) -> Error {
        store_error(action, &self.path_of(name), &error.into())
    }
}

/// The parts of an absolute path; `//` and `/./` mean nothing.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// Whether a finished image may have this file name.  Ids do; an old store may hold others.
fn is_image_name(name: &str) -> bool {
    // The characters are those that a URL's reader might take for something else.
    let harmless = |c: char| !c.is_control() && !matches!(c, '/' | '%' | '?' | '#');
    let length = 1..=255;
    length.contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.starts_with(UNFINISHED)
        && name.trim() == name
        && name.chars().all(harmless)
}

/// `datadir` as URLs will write it.
fn plain_path(datadir: &Path) -> Result<String> {
    let refused = |why: &str| {
        let path = datadir.display();
        Error::Config(format!("filesystem_store_datadir {path:?} cannot be used: {why}"))
    };
    if !datadir.is_absolute() {
        return Err(refused("it must be an absolute path"));
    }
    let mut path = String::new();
    for component in datadir.components() {
        match component {
            Component::Normal(part) => {
                let part = part.to_str().ok_or_else(|| refused("it must be UTF-8"))?;
                // Glance's URLs are not encoded, so that these would end the path.
                if part.chars().any(|c| c.is_control() || matches!(c, '?' | '#')) {
                    return Err(refused("'?', '#' and control characters do not fit in a URL"));
                }
                path.push('/');
                path.push_str(part);
            }
            Component::ParentDir => return Err(refused("it must not contain '..'")),
            _ => {}
        }
    }
    if path.is_empty() { Err(refused("it is the root directory")) } else { Ok(path) }
}
