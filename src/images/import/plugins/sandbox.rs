//! Running a program on data that is hostile.
//!
//! The program gets an open file to read, another one to write, an empty environment, an empty
//! directory to be in, and limits on memory, processor time, and the length of what it writes.  It
//! ends when the time is up, when the import is called off, and when this process ends, however
//! that happens.  Where this is root, the program is nobody.  What has to be set in the new process
//! itself (limits, and the signal at our end) is set by this very program, started under its hidden
//! command [`COMMAND`], which then becomes the other: that needs no unsafe code between fork and
//! exec.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Gid, Pid, Resource, Rlimit, Signal, Uid, WaitId, WaitIdOptions, geteuid, getppid,
    kill_process_group, set_parent_process_death_signal, setrlimit, waitid,
};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::error::{Error, Result};
use crate::images::import::watch::Watch;

/// The hidden command: `glancefs confined PARENT MEMORY CPU LENGTH PROGRAM [ARGUMENT...]`.
pub const COMMAND: &str = "confined";

/// How often the program is looked at.
const PULSE: Duration = Duration::from_millis(20);
/// Files that it may have open.
const MOST_FILES: u64 = 64;
/// How long its complaints are waited for when it has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes of its complaints that are kept.
const MOST_COMPLAINTS: u64 = 4096;

/// User and group of a program that root runs: nobody's.
const NOBODY: u32 = 65534;

/// What a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its address space.
    pub memory: u64,
    /// Seconds of processor time.
    pub cpu: u64,
    /// Bytes of any file that it writes.
    pub length: u64,
}

/// Where programs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// This program (in tests, another file than the running one).
    pub launcher: PathBuf,
    /// A directory with nothing in it; made where it is missing.
    pub empty: PathBuf,
}

impl Sandbox {
    /// With the running program as launcher.
    pub fn new(empty: impl Into<PathBuf>) -> Self {
        // What runs, even if an upgrade has put another file in its place.
        Self { launcher: PathBuf::from("/proc/self/exe"), empty: empty.into() }
    }

    /// Runs a program, with `input` as its standard input and `output` as its standard output,
    /// until it succeeds.
    ///
    /// # Errors
    /// `Invalid`, with what it said, when it fails or uses too much; those of the watch; `Io`.
    pub fn run(
        &self,
        program: &Path,
        arguments: &[OsString],
        (input, output): (&File, &File),
        limits: Limits,
        watch: &Watch,
    ) -> Result<()> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        for file in [input, output] {
            lend(file).map_err(Error::io("lend a file to", &name))?;
        }
        let made = DirBuilder::new().recursive(true).mode(0o555).create(&self.empty);
        made.map_err(Error::io("make", self.empty.display()))?;
        let share = |file: &File| file.try_clone().map_err(Error::io("share a file with", &name));
        let numbers = [u64::from(std::process::id()), limits.memory, limits.cpu, limits.length];
        let mut child = Command::new(&self.launcher)
            .arg(COMMAND)
            .args(numbers.map(|number| number.to_string()))
            .arg(program)
            .args(arguments)
            .env_clear()
            // Else each of its threads reserves more address space than the limit has.
            .env("MALLOC_ARENA_MAX", "1")
            .current_dir(&self.empty)
            .process_group(0)
            .stdin(share(input)?)
            .stdout(share(output)?)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("run", &name))?;
        let complaints = listen(child.stderr.take());
        let running = Running { child, ended: false };
        running.wait(&name, watch)?;
        let status = running.end().map_err(Error::io("end", &name))?;
        if status.success() {
            return Ok(());
        }
        let said = complaints.recv_timeout(LAST_WORDS).unwrap_or_default();
        Err(failed(&name, status, &said))
    }
}

/// Lets nobody's group open a file, where programs run as nobody.
fn lend(file: &File) -> std::io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    rustix::fs::fchown(file, None, Some(Gid::from_raw(NOBODY)))?;
    let mode = file.metadata()?.permissions().mode();
    file.set_permissions(Permissions::from_mode(mode | 0o060))
}

fn failed(name: &str, status: ExitStatus, said: &str) -> Error {
    // Only the first line: what follows is about options.
    let said = said.lines().next().map(str::trim).filter(|line| !line.is_empty());
    Error::Invalid(match said {
        Some(said) => format!("{name} failed: {said}"),
        None => format!("{name} failed: {status}"),
    })
}

/// Keeps the beginning of what a program complains about, to be had when it has ended, and hears the
/// rest, so that it need not wait.
fn listen(complaints: Option<ChildStderr>) -> Receiver<String> {
    let (heard, said) = mpsc::sync_channel(1);
    let listener = thread::Builder::new().name("complaints".to_owned());
    // Without a thread nothing is heard, which is no reason not to work.
    let _ = listener.spawn(move || {
        let Some(mut complaints) = complaints else { return };
        let mut kept = Vec::new();
        // A pipe that breaks says no more; nor does it matter if nobody is left to be told.
        let _ = complaints.by_ref().take(MOST_COMPLAINTS).read_to_end(&mut kept);
        let _ = std::io::copy(&mut complaints, &mut std::io::sink());
        let _ = heard.send(String::from_utf8_lossy(&kept).into_owned());
    });
    said
}

/// A program that is ended, with all it has started, when nobody waits for it any more.
struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    /// Waits until it has ended, and leaves it to be ended: its number is not given to another
    /// process meanwhile.
    fn wait(&self, name: &str, watch: &Watch) -> Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Some(process) = self.process() {
            let ended = waitid(WaitId::Pid(process), options);
            if ended.map_err(|errno| Error::io("wait for", name)(errno.into()))?.is_some() {
                break;
            }
            watch.check()?;
            thread::sleep(PULSE);
        }
        Ok(())
    }

    fn end(mut self) -> std::io::Result<ExitStatus> {
        self.end_now()
    }

    fn end_now(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(group) = self.process() {
            // None of it is left: that is what was wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.ended = true;
        self.child.wait()
    }

    fn process(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // It is killed; there is nothing else to be done for it.
            let _ = self.end_now();
        }
    }
}

/// The hidden command: limits this process, then becomes the program.  Returns only if that fails.
///
/// # Errors
/// `Invalid` for arguments that are not those of [`Sandbox::run`]; `Io`.
pub fn confine(arguments: &[OsString]) -> Result<Infallible> {
    let [parent, memory, cpu, length, program, arguments @ ..] = arguments else {
        return Err(not_for_people());
    };
    become_nobody().map_err(system("give up privileges"))?;
    // After that: becoming somebody else takes it away.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(system("ask for an end"))?;
    // Whoever wanted this may have ended before that could be said.
    let waiting = getppid().map(|pid| u64::from(pid.as_raw_nonzero().get().unsigned_abs()));
    if waiting != Some(number(parent)?) {
        return Err(Error::Invalid("nobody waits for this any more".to_owned()));
    }
    set_no_new_privs(true).map_err(system("give up privileges"))?;
    for (resource, limit) in [
        (Resource::As, number(memory)?),
        (Resource::Cpu, number(cpu)?),
        (Resource::Fsize, number(length)?),
        (Resource::Nofile, MOST_FILES),
        (Resource::Core, 0),
    ] {
        let both = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, both).map_err(system("limit this process"))?;
    }
    let error = Command::new(program).args(arguments).exec();
    Err(Error::io("run", Path::new(program).display())(error))
}

/// Gives up root, where that is this process's to give up.
fn become_nobody() -> rustix::io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    // This process has one thread.
    let changed = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user));
    match changed {
        // A container that knows no other user: its root is none.
        Err(Errno::INVAL | Errno::PERM) => Ok(()),
        outcome => outcome,
    }
}

fn number(argument: &OsString) -> Result<u64> {
    let text = argument.to_str().and_then(|text| text.parse().ok());
    text.ok_or_else(not_for_people)
}

fn not_for_people() -> Error {
    Error::Invalid(format!("the command {COMMAND} is not for people"))
}

fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Error {
    move |errno| Error::Io { what: what.to_owned(), source: errno.into() }
}
