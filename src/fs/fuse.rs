//! The thin skin that knows fuser: requests in, replies out, flags and passthrough.

mod passthrough;

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno as FuseErrno, FileAttr, FileHandle,
    FileType, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use passthrough::Passthrough;

use super::attributes::{Attributes, Kind};
use super::errno::Errno;
use super::filesystem::{Answer, Change, Entry, FileTime, Filesystem};
use super::session::mark_own_thread;
use super::viewers::Caller;

/// Bytes of one write request: the most that kernels allow without tuning.
const MAX_WRITE: u32 = 1 << 20;

/// Read-ahead and other requests nobody waits for that may be under way.
const MAX_BACKGROUND: u16 = 64;

/// An image's number never stands for other data, so one generation is enough.
const GENERATION: Generation = Generation(0);

/// A [`Filesystem`] as fuser wants it.
pub struct Fuse {
    filesystem: Arc<Filesystem>,
    passthrough: Arc<Passthrough>,
}

impl Fuse {
    /// Wraps a file system.
    pub fn new(filesystem: Arc<Filesystem>) -> Self {
        Self { filesystem, passthrough: Arc::default() }
    }

    /// Who makes a request.
    fn caller(&self, request: &Request) -> Answer<Caller> {
        self.filesystem.caller(request.uid(), request.gid(), request.pid())
    }
}

/// Who makes a request, for as long as it is answered; who has no business here is told so.
macro_rules! caller {
    ($fuse:ident, $request:ident, $reply:ident) => {{
        mark_own_thread();
        match $fuse.caller($request) {
            Ok(caller) => caller,
            Err(errno) => return $reply.error(errno.into()),
        }
    }};
}

impl From<Errno> for FuseErrno {
    fn from(errno: Errno) -> Self {
        Self::from_i32(errno.0)
    }
}

fn attr(attributes: &Attributes) -> FileAttr {
    let kind = match attributes.kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
    };
    FileAttr {
        ino: INodeNo(attributes.ino),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: attributes.mtime,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        crtime: attributes.mtime,
        kind,
        perm: attributes.mode,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        // What cp and others take as the best size of a request.
        blksize: MAX_WRITE,
        flags: 0,
    }
}

fn empty(reply: ReplyEmpty) -> impl FnOnce(Answer<()>) + Send {
    move |answer| match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno.into()),
    }
}

fn attributes(reply: ReplyAttr) -> impl FnOnce(Answer<Entry>) + Send {
    move |answer| match answer {
        Ok(entry) => reply.attr(&entry.ttl, &attr(&entry.attributes)),
        Err(errno) => reply.error(errno.into()),
    }
}

fn written(reply: ReplyWrite) -> impl FnOnce(Answer<u32>) + Send {
    move |answer| match answer {
        Ok(count) => reply.written(count),
        Err(errno) => reply.error(errno.into()),
    }
}

/// Answers a request for a value whose length the caller may only be asking for.
fn sized(reply: ReplyXattr, size: u32, value: &[u8]) {
    match value.len() as u32 {
        length if size == 0 => reply.size(length),
        length if length > size => reply.error(FuseErrno::ERANGE),
        _ => reply.data(value),
    }
}

fn file_time(time: Option<TimeOrNow>) -> Option<FileTime> {
    time.map(|time| match time {
        TimeOrNow::Now => FileTime::Now,
        TimeOrNow::SpecificTime(time) => FileTime::At(time),
    })
}

impl fuser::Filesystem for Fuse {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each of these only makes things faster or is refused by an older kernel: then without.
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        if !self.filesystem.tells_callers_apart() {
            // What a listing says beside names would not be remembered anyway.
            let _ = config.add_capabilities(InitFlags::FUSE_DO_READDIRPLUS);
        }
        // `-o replace` has to see that a file is opened to be overwritten.
        config
            .add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC)
            .map_err(|_| io::Error::from_raw_os_error(libc::ENOSYS))?;
        let stacked = config.set_max_stack_depth(1).is_ok();
        let passthrough = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
        self.passthrough.allow(stacked && passthrough);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let caller = caller!(self, request, reply);
        match self.filesystem.lookup(&caller, parent.0, name) {
            Ok(entry) => reply.entry(&entry.ttl, &attr(&entry.attributes), GENERATION),
            Err(errno) => reply.error(errno.into()),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.filesystem.forget(ino.0, nlookup);
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let caller = caller!(self, request, reply);
        empty(reply)(self.filesystem.access(&caller, ino.0, mask.bits()));
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let caller = caller!(self, request, reply);
        attributes(reply)(self.filesystem.attributes(&caller, ino.0));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let caller = caller!(self, request, reply);
        // A truncation carries a time of its own, which nobody asked for.
        let mtime = file_time(mtime).filter(|_| size.is_none());
        self.filesystem.change(&caller, ino.0, Change { mode, size, mtime }, attributes(reply));
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(FuseErrno::EPERM);
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(FuseErrno::EPERM);
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(FuseErrno::EPERM);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(FuseErrno::EPERM);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(FuseErrno::EPERM);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let caller = caller!(self, request, reply);
        self.filesystem.unlink(&caller, parent.0, name, empty(reply));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let caller = caller!(self, request, reply);
        let (from, to, flags) = (parent.0, newparent.0, flags.bits());
        self.filesystem.rename(&caller, from, name, to, newname, flags, empty(reply));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let caller = caller!(self, request, reply);
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            let passthrough = Arc::clone(&self.passthrough);
            let answer = move |answer: Answer<u64>| match answer {
                Ok(handle) => {
                    passthrough.note_writer(ino.0, handle);
                    reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
                }
                Err(errno) => reply.error(errno.into()),
            };
            return self.filesystem.open_for_writing(&caller, ino.0, flags.0, answer);
        }
        let passthrough = Arc::clone(&self.passthrough);
        let answer = move |answer| match answer {
            Ok(opened) => passthrough.answer(ino.0, opened, reply),
            Err(errno) => reply.error(FuseErrno::from(errno)),
        };
        self.filesystem.open_for_reading(&caller, ino.0, answer);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let caller = caller!(self, request, reply);
        let passthrough = Arc::clone(&self.passthrough);
        let answer = move |answer: Answer<(Entry, u64)>| match answer {
            Ok((entry, handle)) => {
                passthrough.note_writer(entry.attributes.ino, handle);
                reply.created(
                    &entry.ttl,
                    &attr(&entry.attributes),
                    GENERATION,
                    FileHandle(handle),
                    FopenFlags::FOPEN_DIRECT_IO,
                );
            }
            Err(errno) => reply.error(errno.into()),
        };
        self.filesystem.create(&caller, parent.0, name, flags, answer);
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.filesystem.read(handle.0, offset, size, move |answer| match answer {
            Ok(data) => reply.data(data),
            Err(errno) => reply.error(errno.into()),
        });
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // The one copy that the data makes here: the request's buffer is used again at once.
        self.filesystem.write(handle.0, offset, Bytes::copy_from_slice(data), written(reply));
    }

    fn flush(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        mark_own_thread();
        self.filesystem.close(handle.0, request.pid(), empty(reply));
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        mark_own_thread();
        self.passthrough.release(handle.0);
        self.filesystem.release(handle.0, move || reply.ok());
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.filesystem.sync(handle.0, empty(reply));
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let caller = caller!(self, request, reply);
        match self.filesystem.open_directory(&caller, ino.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(errno) => reply.error(errno.into()),
        }
    }

    fn readdir(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let caller = caller!(self, request, reply);
        let directory = match self.filesystem.directory(&caller, handle.0) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno.into()),
        };
        let mut position = offset;
        while let Some(entry) = directory.entry(&self.filesystem, position) {
            position += 1;
            let kind = if entry.is_directory { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(entry.ino), position, kind, entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let caller = caller!(self, request, reply);
        let directory = match self.filesystem.directory(&caller, handle.0) {
            Ok(directory) => directory,
            Err(errno) => return reply.error(errno.into()),
        };
        let mut position = offset;
        while let Some(entry) = directory.entry(&self.filesystem, position) {
            position += 1;
            // What went since the directory was opened is left out.
            let Some(found) = self.filesystem.entry_of(&caller, &entry) else { continue };
            let attr = attr(&found.attributes);
            if reply.add(attr.ino, position, entry.name, &found.ttl, &attr, GENERATION) {
                // No room: the kernel has not been told of this one.
                self.filesystem.forget(attr.ino.0, 1);
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.filesystem.release_directory(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Every change of the catalog is durable when it is answered.
        reply.ok();
    }

    fn statfs(&self, request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        const BLOCK: u32 = 4096;
        let caller = caller!(self, request, reply);
        self.filesystem.room(&caller, move |answer| match answer {
            Ok((capacity, files)) => {
                let blocks = |bytes: u64| bytes / u64::from(BLOCK);
                let free = blocks(capacity.available);
                // Images are not bounded in number: say that there is room for as many again.
                let (all, left) = (files.saturating_add(u64::from(u32::MAX)), u64::from(u32::MAX));
                reply.statfs(blocks(capacity.total), free, free, all, left, BLOCK, 255, BLOCK);
            }
            Err(errno) => reply.error(errno.into()),
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let caller = caller!(self, request, reply);
        self.filesystem.set_xattr(&caller, ino.0, name, Some(value), empty(reply));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let caller = caller!(self, request, reply);
        self.filesystem.set_xattr(&caller, ino.0, name, None, empty(reply));
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let caller = caller!(self, request, reply);
        self.filesystem.xattr(&caller, ino.0, name, move |answer| match answer {
            Ok(value) => sized(reply, size, &value),
            Err(errno) => reply.error(errno.into()),
        });
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let caller = caller!(self, request, reply);
        self.filesystem.xattr_names(&caller, ino.0, move |answer| match answer {
            Ok(names) => {
                let list: String = names.into_iter().map(|name| name + "\0").collect();
                sized(reply, size, list.as_bytes());
            }
            Err(errno) => reply.error(errno.into()),
        });
    }

    /// Some programs ask every file what a file system of theirs would know.
    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(FuseErrno::ENOTTY);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let range = offset..offset.saturating_add(length);
        self.filesystem.allocate(handle.0, range, mode, empty(reply));
    }

    fn lseek(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let (Ok(offset), libc::SEEK_DATA | libc::SEEK_HOLE) = (u64::try_from(offset), whence)
        else {
            return reply.error(FuseErrno::EINVAL);
        };
        self.filesystem.seek(
            handle.0,
            offset,
            whence == libc::SEEK_HOLE,
            move |answer| match answer {
                Ok(found) => reply.offset(found as i64),
                Err(errno) => reply.error(errno.into()),
            },
        );
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (source, target) = (fh_in.0, fh_out.0);
        self.filesystem.copy(source, offset_in, target, offset_out, len, written(reply));
    }
}
