//! The directory to mount on: whether it can be used, and what an earlier run left there.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::info;

use crate::error::{Error, Result};

/// Checks that a mount can be made there; a dead mount of ours is detached first.
pub(super) fn check(mountpoint: &Path) -> Result<PathBuf> {
    let shown = &mountpoint.display();
    let absolute = std::path::absolute(mountpoint).map_err(Error::io("find", shown))?;
    if let Some(path) = trigger(&absolute) {
        return Ok(path);
    }
    // What `stat` says of a mount that has just died may still be what the kernel remembers; what
    // `statfs` says never is.
    let alive = rustix::fs::statfs(&absolute).map_err(std::io::Error::from);
    match alive.and_then(|_| fs::metadata(&absolute)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => detach_dead(&absolute)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Config(format!(
                "mountpoint {shown} does not exist; make it with: mkdir -p {shown}"
            )));
        }
        Err(error) => return Err(Error::io("look at mountpoint", shown)(error)),
        Ok(found) if !found.is_dir() => {
            return Err(Error::Config(format!("mountpoint {shown} is not a directory")));
        }
        Ok(_) => {}
    }
    if let Some(path) = trigger(&absolute) {
        return Ok(path);
    }
    let path = fs::canonicalize(&absolute).map_err(Error::io("look at mountpoint", shown))?;
    if mounted(&path).is_some_and(|mounted| mounted.is_ours()) {
        return Err(Error::Config(format!(
            "{shown} is a glancefs mount already; unmount it first: umount {shown}"
        )));
    }
    Ok(path)
}

/// A daemon that was killed leaves a mount that answers nothing ("Transport endpoint is not
/// connected").
fn detach_dead(mountpoint: &Path) -> Result<()> {
    let shown = &mountpoint.display();
    let path = by_parent(mountpoint);
    if !mounted(&path).is_some_and(|mounted| mounted.is_ours()) {
        return Err(Error::Config(format!(
            "a dead mount that is not ours is at {shown}; detach it first: umount -l {shown}"
        )));
    }
    info!(mountpoint = %shown, "detaching the dead mount that an earlier run left");
    if rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).is_ok()
        || run_fusermount(&path)
    {
        return Ok(());
    }
    Err(Error::Config(format!("cannot detach the dead mount at {shown}; try: umount -l {shown}")))
}

/// Has whoever waits for an answer of a mount of ours get an error instead: nobody will answer.
pub(super) fn give_up(mountpoint: &Path) {
    let absolute = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_path_buf());
    let path = by_parent(&absolute);
    let Some(mounted) = mounted(&path).filter(Mounted::is_ours) else { return };
    info!(mountpoint = %path.display(), "giving up the mount of a daemon that was killed");
    // Whether it can be unmounted then or not, the kernel gives up its requests.
    let forced = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::FORCE);
    if forced == Err(rustix::io::Errno::PERM) {
        // Which its owner may do, too; where this does not exist, the lock says so.
        let _ = fs::write(format!("/sys/fs/fuse/connections/{}/abort", mounted.minor), "1");
    }
}

/// Without the right to unmount, the set-uid program that mounted does it.
pub(super) fn run_fusermount(mountpoint: &Path) -> bool {
    let program = std::env::var_os("FUSERMOUNT_PATH").unwrap_or_else(|| "fusermount3".into());
    let status =
        std::process::Command::new(program).args(["-u", "-z", "-q", "--"]).arg(mountpoint).status();
    status.is_ok_and(|status| status.success())
}

/// A line of the mount table.
pub(super) struct Mounted {
    kind: String,
    /// Of the number that the kernel gave it for a device.
    minor: String,
}

impl Mounted {
    /// Whoever mounted; the source may be anything, as an fstab has it.
    pub(super) fn is_ours(&self) -> bool {
        self.kind == "fuse.glancefs"
    }
}

/// Where an automounter waits for something to be mounted at this path, as systemd's does with
/// `x-systemd.automount`.  It is a directory; whoever looks at it has to wait for what we are doing.
fn trigger(path: &Path) -> Option<PathBuf> {
    let path = by_parent(path);
    mounted(&path).is_some_and(|mounted| mounted.kind == "autofs").then_some(path)
}

/// The path as the mount table has it, without a look at what is there.
fn by_parent(path: &Path) -> PathBuf {
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

/// The file system mounted last at exactly this path.
pub(super) fn mounted(path: &Path) -> Option<Mounted> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut at_path = table.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mountpoint = unescape(mount.split(' ').nth(4)?);
        let minor = mount.split(' ').nth(2)?.split(':').nth(1)?.to_string();
        let kind = unescape(file_system.split(' ').next()?);
        (Path::new(&mountpoint) == path).then_some(Mounted { kind, minor })
    });
    at_path.next_back()
}

/// mountinfo writes space, tab, newline and backslash as octal (proc_pid_mountinfo(5)).
fn unescape(field: &str) -> String {
    let octal = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    octal.iter().fold(field.to_string(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_is_found_in_the_mount_table_whatever_it_is_called() {
        assert_eq!(unescape("/srv/my\\040images\\134x"), "/srv/my images\\x");
        assert!(mounted(Path::new("/proc")).is_some_and(|proc| !proc.is_ours()));
        assert!(mounted(Path::new("/proc/self")).is_none());
    }

    #[test]
    fn a_mountpoint_that_cannot_be_used_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let missing = check(&directory.path().join("no")).unwrap_err().to_string();
        assert!(missing.contains("mkdir -p"), "{missing}");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let file = check(&file).unwrap_err().to_string();
        assert!(file.contains("not a directory"), "{file}");
    }
}
