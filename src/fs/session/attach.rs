//! Mounting by mount(2), without fusermount3: for root, and whoever else has the capability.
//!
//! fuser can do that, too, but opens the directory first, which waits for ever below an automounter;
//! and the mount table would name neither the type nor the source that an fstab has.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::SOURCE;
use crate::config::mount_options::KernelOption;
use crate::fs::Settings;

/// Mounts; the answer is the device to speak to the kernel by, or `None` when this process may not
/// mount by itself.
pub(super) fn attach(
    mountpoint: &Path,
    source: &str,
    settings: &Settings,
) -> io::Result<Option<OwnedFd>> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let kind = format!("fuse.{SOURCE}");
    let data = CString::new(data(&device, settings))?;
    match rustix::mount::mount(source, mountpoint, kind, flags(settings), data.as_c_str()) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel's FUSE wants to know.
fn data(device: &File, settings: &Settings) -> String {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let allow_other = if settings.allow_other { ",allow_other" } else { "" };
    let judges = if settings.kernel_judges() { ",default_permissions" } else { "" };
    format!(
        "fd={},rootmode=40755,user_id={},group_id={}{judges}{allow_other}",
        device.as_raw_fd(),
        user.as_raw(),
        group.as_raw()
    )
}

/// As with fusermount3, there are neither devices nor set-user-id files unless somebody asks.
fn flags(settings: &Settings) -> MountFlags {
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID;
    flags.set(MountFlags::RDONLY, settings.read_only);
    for option in &settings.kernel_options {
        match option {
            KernelOption::Dev => flags.remove(MountFlags::NODEV),
            KernelOption::NoDev => flags.insert(MountFlags::NODEV),
            KernelOption::Suid => flags.remove(MountFlags::NOSUID),
            KernelOption::NoSuid => flags.insert(MountFlags::NOSUID),
            KernelOption::Exec => flags.remove(MountFlags::NOEXEC),
            KernelOption::NoExec => flags.insert(MountFlags::NOEXEC),
            KernelOption::Atime => flags.remove(MountFlags::NOATIME),
            KernelOption::NoAtime => flags.insert(MountFlags::NOATIME),
        }
    }
    flags
}
