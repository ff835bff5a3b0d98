//! A real `glancefs` for a test: started, waited for, talked to, and always taken down.
//!
//! Each test has a daemon, a mount and a state directory of its own, below one temporary directory.
//! The test process never touches the mount itself: it runs the programs that a user would, each
//! with a deadline, so that a mount that hangs fails one test and no more.  What a program should
//! have done is read from the database, as any other user of a Glance catalog would read it.

// Several test binaries share this file, and none of them needs all of it.
#![allow(dead_code)]
// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod catalog;
mod cluster;
mod command;
pub mod database;
mod keystone;
pub mod mariadb;
mod pool;
pub mod rabbitmq;
mod scrub;
mod users;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use glancefs::catalog::database::Database;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

#[allow(unused_imports)]
pub use catalog::{Record, Stored, glance_time};
#[allow(unused_imports)]
pub use cluster::Cluster;
#[allow(unused_imports)]
pub use command::{Finished, Running};
#[allow(unused_imports)]
pub use keystone::Keystone;
#[allow(unused_imports)]
pub use pool::{Pool, skipped_on_rbd};
#[allow(unused_imports)]
pub use users::User;

/// How long anything may take that a test waits for.  Far more than it ever does, even on a machine that
/// stands still for some time.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// What a mount is started with.
#[derive(Clone, Debug, Default)]
pub struct Start {
    options: Option<String>,
    project: Option<String>,
    config: Option<String>,
    environment: Vec<(String, String)>,
    api: bool,
    /// Where the API is to answer, if not at a port of its own.
    listen: Option<SocketAddr>,
    /// Where the catalog is, if not in the state directory.
    catalog: Option<String>,
}

/// A running `glancefs mount`.
pub struct Glancefs {
    start: Start,
    database: Database,
    /// Where the images' data is, if it is in no directory.
    pub pool: Option<Pool>,
    directory: Option<tempfile::TempDir>,
    child: Option<Child>,
    /// Where the API answers, if there is one.
    pub api: Option<SocketAddr>,
}

impl Start {
    /// `-o`
    pub fn options(mut self, options: &str) -> Self {
        self.options = Some(options.to_string());
        self
    }

    /// `--project`
    pub fn project(mut self, project: &str) -> Self {
        self.project = Some(project.to_string());
        self
    }

    /// The text of a configuration file.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_string());
        self
    }

    /// More of the same.
    pub fn more_config(mut self, text: &str) -> Self {
        self.config = Some(self.config.unwrap_or_default() + text);
        self
    }

    /// An environment variable of the daemon.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// With the API, at a port of its own (without it otherwise).
    pub fn with_api(mut self) -> Self {
        self.api = true;
        self
    }

    /// With the API at this address.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        (self.api, self.listen) = (true, Some(address));
        self
    }

    /// With the catalog in the database that a URL names, as others may have it, too.
    pub fn catalog(mut self, url: &str) -> Self {
        self.catalog = Some(url.to_string());
        self
    }

    /// With the catalog on a server, if tests are to run there.
    fn on_server(mut self) -> Self {
        if self.catalog.is_none() && database::is_on_server() {
            let server = mariadb::Server::shared();
            let url = server.url(&server.new_database());
            database::make_wide_tables(&database::at(&url));
            self.catalog = Some(url);
        }
        if let Some(url) = &self.catalog {
            let text = format!("\n[database]\nconnection = {url}\n");
            self.config = Some(self.config.unwrap_or_default() + &text);
        }
        self
    }

    /// With the images in this pool, if there is one.
    fn in_pool(mut self, pool: Option<&Pool>) -> Self {
        if let Some(pool) = pool {
            self.config = Some(self.config.unwrap_or_default() + &pool.config());
        }
        self
    }

    /// Mounts in a new directory, and waits until the mount answers.
    pub fn mount(self) -> Glancefs {
        let mut glancefs = self.prepare();
        glancefs.start_again();
        glancefs
    }

    /// Makes the directories; nothing runs yet.
    pub fn prepare(self) -> Glancefs {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        for name in ["mount", "scratch"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let pool = Pool::if_wanted();
        let start = self.in_pool(pool.as_ref()).on_server();
        if let Some(text) = &start.config {
            fs::write(directory.path().join("glance-api.conf"), text).unwrap();
        }
        let database = match &start.catalog {
            Some(url) => database::at(url),
            None => Database::file(directory.path().join("state/glance.sqlite")),
        };
        Glancefs { start, database, pool, directory: Some(directory), child: None, api: None }
    }
}

impl Glancefs {
    /// A mount with nothing special about it.
    pub fn mount() -> Self {
        Start::default().mount()
    }

    /// The directory that everything of this test is in.
    pub fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// Where the images are shown.
    pub fn mountpoint(&self) -> PathBuf {
        self.directory().join("mount")
    }

    /// Where commands run, for files that are no images.
    pub fn scratch(&self) -> PathBuf {
        self.directory().join("scratch")
    }

    /// `--state-dir`
    pub fn state_dir(&self) -> PathBuf {
        self.directory().join("state")
    }

    /// The image files of the embedded store.
    pub fn datadir(&self) -> PathBuf {
        self.state_dir().join("images")
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What the daemon said on standard error, of all its runs.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("stderr")).unwrap_or_default()
    }

    /// The command line that mounts.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_glancefs"));
        command.arg("mount").arg("--state-dir").arg(self.state_dir());
        match (self.start.api, self.start.listen) {
            (false, _) => command.arg("--no-api"),
            (true, None) => command.args(["--listen", "127.0.0.1:0"]),
            (true, Some(address)) => command.args(["--listen", &address.to_string()]),
        };
        if let Some(options) = &self.start.options {
            command.args(["-o", options]);
        }
        if let Some(project) = &self.start.project {
            command.args(["--project", project]);
        }
        if self.start.config.is_some() {
            command.arg("--config-file").arg(self.directory().join("glance-api.conf"));
        }
        command.arg(self.mountpoint());
        let environment = self.start.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon and waits until it says that the mount answers.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(self.directory().join("stderr"));
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let (sender, lines) = channel();
        thread::spawn(move || {
            // A test that has ended listens no more.
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let line = match lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("not mounted after {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("glancefs mount ended: {}", self.log()),
        };
        let mountpoint = self.mountpoint().canonicalize().unwrap().display().to_string();
        assert!(line.contains(&mountpoint), "{line}");
        let address = line.split_once("http://").map(|(_, address)| address.trim());
        self.api = address.map(|address| address.parse().unwrap());
        assert_eq!(self.api.is_some(), self.start.api, "{line}");
    }

    /// Ends the daemon as `systemctl stop` does, and starts it again.
    pub fn restart(&mut self) {
        let status = self.terminate();
        assert!(status.success(), "{status}\n{}", self.log());
        self.start_again();
    }

    /// Starts the daemon with other options from now on.
    pub fn restart_with(&mut self, start: Start) {
        let status = self.terminate();
        assert!(status.success(), "{status}\n{}", self.log());
        let start = Start { catalog: self.start.catalog.clone(), ..start };
        self.start = start.in_pool(self.pool.as_ref()).on_server();
        self.start_again();
    }

    /// Starts the daemon so that it dies at a step of the core's.
    pub fn doomed_at(&mut self, step: &str) {
        self.start.environment.push(("GLANCEFS_CRASH_AT".to_string(), step.to_string()));
        self.start_again();
    }

    /// Gives the daemon an environment variable from its next start on.
    pub fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.start.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// Starts the daemon again without the environment that made it crash.
    pub fn restart_clean(&mut self) {
        self.start.environment.clear();
        self.start_again();
    }

    /// Replaces the configuration file.
    pub fn configure(&mut self, text: &str) {
        self.start = self.start.clone().config(text).on_server();
        let text = self.start.config.as_deref().unwrap_or_default();
        fs::write(self.directory().join("glance-api.conf"), text).unwrap();
    }

    /// Starts the daemon again with another configuration, and its images where they are.
    pub fn restart_configured(&mut self, text: &str) {
        let start = Start::default().config(text).in_pool(self.pool.as_ref());
        self.configure(&start.config.unwrap_or_default());
        self.restart();
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGTERM; returns how the daemon ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// `kill -9`; the mount stays, dead.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// `kill -9`, and nobody waits for its end: a thread may wait for whoever waits for the mount.
    pub fn crash(&mut self) {
        self.signal(Signal::KILL);
        let mut child = self.child.take().expect("it runs");
        thread::spawn(move || child.wait());
    }

    /// Waits for the daemon to end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > until {
                self.child = Some(child);
                panic!("the daemon has not ended after {DEADLINE:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether something is mounted there.
    pub fn is_mounted(&self) -> bool {
        is_mounted(&self.mountpoint())
    }

    /// Writes a file of `length` bytes that do not repeat, and returns its path.
    pub fn noise(&self, name: &str, length: usize) -> PathBuf {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length as u64;
        let mut step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut data: Vec<u8> =
            (0..length.div_ceil(8)).flat_map(|_| step().to_le_bytes()).collect();
        data.truncate(length);
        let path = self.scratch().join(name);
        fs::write(&path, data).unwrap();
        path
    }
}

impl Drop for Glancefs {
    /// Leaves neither process nor mount nor file, also when the test panics.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; whatever used the mount is freed by this.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- what the daemon said ---\n{}---", self.log());
        }
        // Also what a test mounted by itself, and one mount below another.
        for _ in 0..8 {
            let mounts = mounts_below(self.directory());
            if mounts.is_empty() {
                return;
            }
            for place in mounts.iter().rev() {
                if rustix::mount::unmount(place, UnmountFlags::DETACH).is_err() {
                    let _ = Command::new("fusermount3").arg("-uz").arg(place).status();
                }
            }
        }
        // Never walk into a mount to empty it.
        let _ = self.directory.take().map(tempfile::TempDir::keep);
    }
}

/// Whether something is mounted at a path, asking the mount table and not the path.
pub fn is_mounted(path: &Path) -> bool {
    let parent = path.parent().unwrap().canonicalize().unwrap();
    let path = parent.join(path.file_name().unwrap());
    mounts_below(&parent).contains(&path)
}

/// What is mounted below a directory, in the order in which it was.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let directory = directory.canonicalize().unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    // proc_pid_mountinfo(5): these four are escaped.
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    let plain =
        |text: &str| codes.iter().fold(text.to_string(), |text, (code, c)| text.replace(code, c));
    places.map(plain).map(PathBuf::from).filter(|place| place.starts_with(&directory)).collect()
}

/// Waits for something to become so.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "still not so: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
