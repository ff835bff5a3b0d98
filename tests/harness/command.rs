//! Programs that a test runs, as a user at a shell does.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{DEADLINE, Glancefs};

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// What a process has of what there is not without limit.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The names of its threads.
    pub threads: Vec<String>,
    /// What its file descriptors are.
    pub files: Vec<String>,
}

/// A program that runs, in a process group of its own.  It is killed when dropped.
pub struct Running {
    child: Child,
    what: String,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts a program.  Its output goes to files: a grandchild that outlives it holds nothing up.
    pub fn start(command: &mut Command) -> Self {
        let what = format!("{command:?}");
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = command
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        Self { child, what, stdout, stderr }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        text(&self.stdout)
    }

    /// How much it printed so far.
    pub fn printed_bytes(&self) -> u64 {
        self.stdout.metadata().unwrap().len()
    }

    /// Sends a signal to it and its children, as Ctrl-C does.
    pub fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process_group(group, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for it to end.
    #[track_caller]
    pub fn wait(mut self) -> Finished {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
                return Finished { status, stdout, stderr };
            }
            assert!(Instant::now() < until, "{} has not ended after {DEADLINE:?}", self.what);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
            // Not waited for: one that hangs in the mount ends with the mount.
        }
    }
}

/// All of a file that another process writes: at the same position, since it is shared.
fn text(file: &File) -> String {
    let mut again = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
        .expect("an open file can be opened again");
    again.rewind().unwrap();
    let mut bytes = Vec::new();
    again.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Finished {
    /// Whether it ended well.
    pub fn ok(&self) -> bool {
        self.status.success()
    }
}

impl Glancefs {
    /// A shell script to be run in the scratch directory, with the mount as `$M`.  It ends at the
    /// first command that fails.
    pub fn script(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.scratch()).env("M", self.mountpoint());
        command
    }

    /// Starts a script.
    pub fn spawn(&self, script: &str) -> Running {
        Running::start(&mut self.script(script))
    }

    /// Runs a script, however it ends.
    #[track_caller]
    pub fn try_sh(&self, script: &str) -> Finished {
        self.spawn(script).wait()
    }

    /// Runs a script that must succeed; returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let done = self.try_sh(script);
        assert!(done.ok(), "{script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }

    /// Runs a script that must be refused with this message (of an errno, say).
    #[track_caller]
    pub fn refused(&self, script: &str, message: &str) {
        let done = self.try_sh(script);
        assert!(!done.ok(), "{script}\nwas not refused: {}", done.stdout);
        assert!(done.stderr.contains(message), "{script}\n{}", done.stderr);
    }

    /// Runs a script of Python, with the mount as `M`; returns what it printed.
    #[track_caller]
    pub fn python(&self, script: &str) -> String {
        let done = self.spawn_python(script).wait();
        assert!(done.ok(), "{script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }

    /// Starts a script of Python.
    pub fn spawn_python(&self, script: &str) -> Running {
        let script = format!("import os, sys, time, errno\nM = os.environ['M']\n{script}");
        let mut command = Command::new("python3");
        command.args(["-c", &script]).current_dir(self.scratch()).env("M", self.mountpoint());
        Running::start(&mut command)
    }

    /// What the daemon has now.
    pub fn resources(&self) -> Resources {
        let read = |of: &str, name: fn(PathBuf) -> std::io::Result<String>| {
            // Nobody but root sees which files it has open.
            let entries = match fs::read_dir(format!("/proc/{}/{of}", self.pid())) {
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return vec![],
                entries => entries.unwrap(),
            };
            // What has gone meanwhile is not there any more.
            let mut names: Vec<_> =
                entries.filter_map(|entry| name(entry.unwrap().path()).ok()).collect();
            names.sort();
            names
        };
        Resources {
            threads: read("task", |thread| {
                Ok(fs::read_to_string(thread.join("comm"))?.trim().into())
            }),
            files: read("fd", |file| Ok(fs::read_link(file)?.display().to_string())),
        }
    }

    /// Waits until the daemon has given back what it did not have before.
    #[track_caller]
    pub fn gives_back(&self, before: &Resources) {
        let until = Instant::now() + DEADLINE;
        loop {
            let now = self.resources();
            // A few connections to the database stay open.
            if now.threads.len() <= before.threads.len()
                && now.files.len() <= before.files.len() + 4
            {
                return;
            }
            assert!(Instant::now() < until, "not given back; before: {before:#?}\nnow: {now:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
