//! A mount's life: checking the mountpoint, mounting, telling the kernel what changed, unmounting.

mod attach;
mod mountpoint;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, INodeNo, MountOption, Notifier, SessionACL};
use tracing::{debug, info, warn};

use super::Settings;
use super::filesystem::Filesystem;
use super::fuse::Fuse;
use super::inodes::Ino;
use crate::config::mount_options::KernelOption;
use crate::error::{Error, Result};

/// What the mount table calls our mounts: their source where nobody said another, and what their type
/// has after a dot.
const SOURCE: &str = "glancefs";

/// Threads that take requests from the kernel.
const LOOPS: usize = 4;

/// Kernel read-ahead: what decides the speed of a stream when each request takes long.
const READ_AHEAD_KIB: u32 = 4096;

/// Orders to forget that may wait for the kernel.
const ORDERS: usize = 4096;

/// How long whoever changed something waits until the kernel has forgotten the old state.
const FORGET_DEADLINE: Duration = Duration::from_secs(1);

thread_local! {
    static OWN_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks a thread that answers the kernel.  It must never wait for the kernel to forget
/// something: the kernel may hold a lock until the thread has answered.
pub fn mark_own_thread() {
    OWN_THREAD.set(true);
}

/// Something that the kernel remembers and that is no longer so.
#[derive(Debug)]
pub enum Stale {
    /// A name in a directory.
    Name(Ino, Box<str>),
    /// An inode's attributes.
    Attributes(Ino),
}

/// What the kernel remembers of a mount.
#[derive(Clone)]
pub struct KernelCache {
    orders: SyncSender<Order>,
}

/// What to forget, and what to do then.
type Order = (Vec<Stale>, Box<dyn FnOnce() + Send>);

impl KernelCache {
    fn start(notifier: Notifier) -> Result<Self> {
        let (orders, queue) = sync_channel::<Order>(ORDERS);
        thread::Builder::new()
            .name("kernel-cache".to_string())
            .spawn(move || {
                while let Ok((stale, then)) = queue.recv() {
                    for stale in stale {
                        forget(&notifier, &stale);
                    }
                    then();
                }
            })
            .map_err(Error::io("start", "a thread of the mount"))?;
        Ok(Self { orders })
    }

    /// Has the kernel forget; waits for it unless this thread is one that answers the kernel.
    pub fn forget(&self, stale: Vec<Stale>) {
        if stale.is_empty() {
            return;
        }
        let (sender, done) = sync_channel(1);
        self.forget_and_then(stale, move || {
            // Whoever waited may have given up.
            let _ = sender.try_send(());
        });
        if OWN_THREAD.get() {
            return;
        }
        if done.recv_timeout(FORGET_DEADLINE).is_err() {
            debug!("the kernel is slow to forget; it does so by itself within a second");
        }
    }

    /// Has the kernel forget before something happens, like the answer to a request during which
    /// the kernel holds no lock.
    pub fn forget_and_then(&self, stale: Vec<Stale>, then: impl FnOnce() + Send + 'static) {
        // Never waits for room: what is not ordered the kernel forgets by itself, within a second.
        let ordered = self.orders.try_send((stale, Box::new(then)));
        if let Err(TrySendError::Full((_, then)) | TrySendError::Disconnected((_, then))) = ordered
        {
            then();
        }
    }
}

fn forget(notifier: &Notifier, stale: &Stale) {
    let outcome = match stale {
        Stale::Name(parent, name) => notifier.inval_entry(INodeNo(*parent), name.as_ref().as_ref()),
        // A negative offset: attributes only.  Pages stay: an inode's data never changes.
        Stale::Attributes(ino) => notifier.inval_inode(INodeNo(*ino), -1, 0),
    };
    if let Err(error) = outcome {
        debug!(%error, ?stale, "invalidation");
    }
}

/// A mount that answers.
pub struct Mount {
    mountpoint: PathBuf,
    filesystem: Arc<Filesystem>,
    session: BackgroundSession,
    ended: Arc<AtomicBool>,
}

/// Mounts; returns once the mount answers.  `source` is what the mount table is to name as mounted,
/// the program's name without it.
///
/// # Errors
/// `Config` when the mountpoint cannot be used or this system has no FUSE, saying what to do.
pub fn mount(
    filesystem: Arc<Filesystem>,
    mountpoint: &Path,
    source: Option<&str>,
) -> Result<Mount> {
    let mountpoint = mountpoint::check(mountpoint)?;
    let session = open_session(&filesystem, &mountpoint, source.unwrap_or(SOURCE))
        .and_then(fuser::Session::spawn)
        .map_err(|source| explain(&mountpoint, source))?;
    filesystem.set_kernel(KernelCache::start(session.notifier())?);
    let ended = Arc::new(AtomicBool::new(false));
    tick(Arc::clone(&filesystem), Arc::clone(&ended))?;
    raise_read_ahead(&mountpoint);
    Ok(Mount { mountpoint, filesystem, session, ended })
}

/// Whether one of our mounts is at this path, alive or dead.
pub fn is_mounted(path: &Path) -> bool {
    mountpoint::mounted(path).is_some_and(|mounted| mounted.is_ours())
}

/// Gives up a mount of ours whose daemon was killed and cannot end before whoever waits for it does.
pub fn give_up(path: &Path) {
    mountpoint::give_up(path);
}

impl Mount {
    /// Where it is.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Whether somebody has unmounted it (`umount`, `fusermount3 -u`).
    pub fn is_gone(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Ends the mount: writers get until `deadline`, then what is unfinished is dropped.
    pub fn unmount(self, deadline: Instant) {
        self.filesystem.shut_down(deadline);
        self.ended.store(true, Ordering::Relaxed);
        if self.is_gone() {
            return;
        }
        // Lazily: files that are still open must not keep the daemon from ending, and end with it.
        let detached =
            rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::DETACH).is_ok()
                || mountpoint::run_fusermount(&self.mountpoint);
        if detached {
            info!(mountpoint = %self.mountpoint.display(), "unmounted");
        } else {
            warn!(mountpoint = %self.mountpoint.display(), "cannot be unmounted");
        }
        // The session unmounts again when dropped, which would only complain.
        std::mem::forget(self.session);
    }
}

fn tick(filesystem: Arc<Filesystem>, ended: Arc<AtomicBool>) -> Result<()> {
    thread::Builder::new()
        .name("held-drafts".to_string())
        .spawn(move || {
            mark_own_thread();
            while !ended.load(Ordering::Relaxed) {
                filesystem.tick();
                thread::sleep(Duration::from_millis(100));
            }
        })
        .map(drop)
        .map_err(Error::io("start", "a thread of the mount"))
}

/// By mount(2) where this process may; else fusermount3 mounts.
fn open_session(
    filesystem: &Arc<Filesystem>,
    mountpoint: &Path,
    source: &str,
) -> std::io::Result<fuser::Session<Fuse>> {
    let settings = filesystem.settings();
    let config = config(settings, source);
    let face = Fuse::new(Arc::clone(filesystem));
    let Some(device) = attach::attach(mountpoint, source, settings)? else {
        return fuser::Session::new(face, mountpoint, &config);
    };
    let acl = config.acl;
    fuser::Session::from_fd(face, device, acl, config).inspect_err(|_| {
        // What does not speak FUSE with us must not stay there.
        let _ = rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH);
    })
}

fn config(settings: &Settings, source: &str) -> fuser::Config {
    let mut options =
        vec![MountOption::FSName(source.to_string()), MountOption::Subtype(SOURCE.to_string())];
    if settings.kernel_judges() {
        options.push(MountOption::DefaultPermissions);
    }
    if settings.read_only {
        options.push(MountOption::RO);
    }
    options.extend(settings.kernel_options.iter().copied().map(kernel_option));
    let mut config = fuser::Config::default();
    config.mount_options = options;
    config.acl = if settings.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(LOOPS);
    config.clone_fd = true;
    config
}

fn kernel_option(option: KernelOption) -> MountOption {
    match option {
        KernelOption::Dev => MountOption::Dev,
        KernelOption::NoDev => MountOption::NoDev,
        KernelOption::Suid => MountOption::Suid,
        KernelOption::NoSuid => MountOption::NoSuid,
        KernelOption::Exec => MountOption::Exec,
        KernelOption::NoExec => MountOption::NoExec,
        KernelOption::Atime => MountOption::Atime,
        KernelOption::NoAtime => MountOption::NoAtime,
    }
}

fn explain(mountpoint: &Path, source: std::io::Error) -> Error {
    let shown = mountpoint.display();
    let hint = match source.raw_os_error() {
        Some(libc::ENOENT) if !Path::new("/dev/fuse").exists() => {
            "this system has no /dev/fuse; load the module: modprobe fuse"
        }
        Some(libc::ENODEV) => "this kernel has no FUSE; load the module: modprobe fuse",
        Some(libc::EACCES | libc::EPERM) => {
            "not allowed; mount as root, or install fuse3 and own the directory \
             (allow_other needs user_allow_other in /etc/fuse.conf)"
        }
        _ if source.kind() == std::io::ErrorKind::NotFound => {
            "fusermount3 is missing; install the package fuse3, or mount as root"
        }
        _ => return Error::io("mount at", shown)(source),
    };
    Error::Config(format!("cannot mount at {shown}: {source}: {hint}"))
}

/// The INIT handshake can only lower the kernel's 128 KiB; root may raise it afterwards.
fn raise_read_ahead(mountpoint: &Path) {
    let Ok(found) = fs::metadata(mountpoint) else { return };
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&path, READ_AHEAD_KIB.to_string()) {
        debug!(%error, path, "kernel read-ahead stays as it is");
    }
}
