//! `mount -t glancefs`, fstab lines and `umount`, by the system's own programs.
//!
//! Each script runs in mount and process namespaces of its own, where `/usr/sbin` holds the helper
//! and nothing else.  When the script ends, all that it has started and mounted is gone; the machine
//! never sees any of it.

use std::fs;
use std::process::Command;

use crate::harness::{Finished, Running};

/// A directory with a helper, a mountpoint `$D/mount` and a state directory to be `$D/state`.
struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        for name in ["mount", "sbin"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let helper = directory.path().join("sbin/mount.glancefs");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_glancefs"), helper).unwrap();
        Self { directory }
    }

    fn write(&self, name: &str, text: &str) {
        let text = text.replace("$D", &self.directory.path().display().to_string());
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    #[track_caller]
    fn try_sh(&self, script: &str) -> Finished {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let prepared = format!("mount --bind $D/sbin /usr/sbin\nM=$D/mount\n{script}");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-euc", &prepared]).env("D", self.directory.path());
        Running::start(command.current_dir("/")).wait()
    }

    /// Runs a script that must succeed; returns what it printed.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let done = self.try_sh(script);
        assert!(done.ok(), "{script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }
}

#[test]
fn mount_returns_when_the_mount_answers_and_umount_ends_the_daemon() {
    let world = World::new();
    let said = world.sh("
        mount -t glancefs none $M -o state_dir=$D/state,no_api,allow_other
        findmnt -nr -o SOURCE,FSTYPE $M
        echo hello >$M/a
        umount $M
        ! findmnt $M
        # At once: the daemon of before may still be ending.
        mount -t glancefs none $M -o ro,state_dir=$D/state,no_api
        cat $M/a
        ! echo b 2>/dev/null >$M/b
        umount $M
        i=0; while [ -n \"$(ps -e -o args= | grep '^glancefs mount')\" ]; do
            i=$((i + 1)); [ $i -lt 200 ]; sleep 0.1
        done");
    assert_eq!(said, "none fuse.glancefs\nhello\n");
}

#[test]
fn a_line_of_fstab_mounts_once() {
    let world = World::new();
    world.write("glancefs.conf", "[glancefs]\nstate_dir = $D/state\n[DEFAULT]\nbind_port = 0\n");
    world.write(
        "fstab",
        "none $D/mount glancefs _netdev,nofail,x-systemd.automount,\
         x-systemd.requires=network-online.target,ro,allow_other,replace,config=$D/glancefs.conf 0 0\n",
    );
    let said = world.sh("
        mount -a -T $D/fstab
        mount -a -T $D/fstab
        findmnt -n -o FS-OPTIONS,VFS-OPTIONS $M
        grep -c \" $M \" /proc/self/mountinfo
        umount -T $D/fstab $M 2>/dev/null || umount $M");
    assert!(said.contains("allow_other") && said.contains("ro,"), "{said}");
    assert!(said.ends_with("\n1\n"), "one mount and no more: {said}");
}

#[test]
fn what_keeps_a_mount_from_being_made_is_said_with_a_status_of_mounts() {
    let world = World::new();
    world.write("bad.conf", "[DEFAULT]\n\nbind_port = ninety\n");
    for (options, status, words) in [
        ("repalce", 1, "-o repalce is unknown"),
        ("config=$D/missing.conf", 32, "missing.conf"),
        ("config=$D/bad.conf", 32, "bad.conf:3: [DEFAULT] bind_port"),
        ("state_dir=/proc/nowhere", 32, "state directory"),
    ] {
        let done = world.try_sh(&format!("mount -t glancefs none $M -o {options}"));
        assert_eq!(done.status.code(), Some(status), "{options}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{options}: {}", done.stderr);
    }
    let twice = world.try_sh(
        "
        mkdir $D/other
        mount -t glancefs none $M -o no_api,state_dir=$D/state
        exec mount -t glancefs none $D/other -o no_api,state_dir=$D/state",
    );
    assert_eq!(twice.status.code(), Some(32));
    assert!(twice.stderr.contains("another glancefs"), "{}", twice.stderr);
}

#[test]
fn options_may_have_commas_and_backslashes() {
    let world = World::new();
    world.sh(r#"
        mount -t glancefs none $M -o "no_api,state_dir=\"$D/a,b\""
        umount $M
        mount -t glancefs none $M -o "no_api,state_dir=$D/c\\,d"
        umount $M
        ls -d "$D/a,b/lock" "$D/c,d/lock""#);
}

#[test]
fn nothing_of_the_daemon_stays_on_the_terminal() {
    let world = World::new();
    let said = world.sh("
        mount -t glancefs none $M -o no_api,state_dir=$D/state
        for pid in $(ps -e -o pid=,args= | awk '$2 == \"glancefs\" { print $1 }'); do
            readlink /proc/$pid/fd/0 /proc/$pid/fd/1 /proc/$pid/fd/2 /proc/$pid/cwd
            ps -o sid= -p $pid | grep -qw $pid && echo leads
        done
        umount $M");
    assert_eq!(said, "/dev/null\n/dev/null\n/dev/null\n/\nleads\n");
}

/// As systemd's `x-systemd.automount` does: a mount of type autofs whose daemon lets whoever opens
/// the directory wait, until something is mounted there.
#[test]
fn a_mount_can_be_made_where_an_automounter_waits() {
    let world = World::new();
    world.write("automounter.py", AUTOMOUNTER);
    let said = world.sh("
        grep -q autofs /proc/filesystems || { echo no autofs; exit 0; }
        exec timeout 25 python3 $D/automounter.py");
    assert!(["a\n", "no autofs\n"].contains(&said.as_str()), "{said}");
}

const AUTOMOUNTER: &str = r#"
import ctypes, os, subprocess, sys
D = '$D'
M = D + '/mount'
libc = ctypes.CDLL(None, use_errno=True)
read, write = os.pipe()
os.set_inheritable(write, True)
# Nobody reads the pipe, so whoever triggers the mount waits for ever.  As systemd is not of the
# process group of what it starts, nor is the group named here that of mount(8).
options = f'fd={write},pgrp=1,minproto=5,maxproto=5,direct'
os.setpgid(0, 0) if os.getpid() != 1 else None
if libc.mount(b'systemd-1', M.encode(), b'autofs', 0, options.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
done = subprocess.run(['mount', '-t', 'glancefs', 'none', M, '-o', f'no_api,state_dir={D}/state'],
                      preexec_fn=os.setsid)
if done.returncode:
    sys.exit(f'mount: {done.returncode}')
open(M + '/a', 'w').close()
print(*os.listdir(M))
subprocess.run(['umount', M], check=True)
"#;
