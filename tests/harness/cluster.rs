//! A private Ceph cluster for tests, made by `scripts/dev-ceph`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/dev-ceph");

/// A running cluster.  It is destroyed when this is dropped, or when the process ends in any way.
pub struct Cluster {
    directory: PathBuf,
    /// Waits for the pipe to close, and then destroys the cluster, if it is ours.
    guard: Option<Child>,
    pipe: Option<ChildStdin>,
}

impl Cluster {
    /// The one that tests share, each with a pool of its own: in the directory that
    /// `GLANCEFS_TEST_CEPH` names, or else made for this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("GLANCEFS_TEST_CEPH") {
            Some(directory) => Self { directory: directory.into(), guard: None, pipe: None },
            None => Self::start("memstore"),
        })
    }

    /// Starts one of its own for a test: `memstore`, or `bluestore`, which survives a stop.
    pub fn start(store: &str) -> Self {
        Self::start_as(store, "0")
    }

    /// Starts one that counts how full it is.
    pub fn start_with_manager() -> Self {
        Self::start_as("memstore", "1")
    }

    fn start_as(store: &str, managers: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap().keep();
        // Before there is anything to destroy.
        let mut guard = Command::new("sh")
            .args(["-c", r#"read -r _; exec "$0" destroy "$1""#, SCRIPT])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pipe = guard.stdin.take();
        let cluster = Self { directory, guard: Some(guard), pipe };
        let up = Command::new(SCRIPT)
            .arg("up")
            .arg(&cluster.directory)
            .env("CEPH_DEV_STORE", store)
            .env("CEPH_DEV_MGR", managers)
            .output()
            .unwrap();
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        cluster
    }

    /// Where everything of it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn conf(&self) -> PathBuf {
        self.directory.join("ceph.conf")
    }

    /// The cluster's id, which its configuration says.
    pub fn fsid(&self) -> String {
        let conf = std::fs::read_to_string(self.conf()).unwrap();
        conf.lines().find_map(|line| line.strip_prefix("fsid = ")).unwrap().to_owned()
    }

    /// Does something to a daemon: `kill-osd` and the like.
    pub fn act(&self, verb: &str) {
        let mut command = Command::new(SCRIPT);
        command.arg(verb).arg(&self.directory).env("CEPH_DEV_MGR", "0");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{verb}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs `rbd`, `ceph` or `rados` as the administrator; panics if it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.try_run(program, arguments);
        output.unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
    }

    /// Runs a program of Ceph's: what it printed, or what it complained of.
    pub fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(program)
            .arg("--conf")
            .arg(self.conf())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// What `rbd … --format json` says.
    pub fn rbd_json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--format", "json"]].concat();
        serde_json::from_str(&self.run("rbd", &arguments)).unwrap()
    }

    /// Whether `rbd ls` names an image.
    pub fn lists(&self, image: &str) -> bool {
        self.run("rbd", &["ls", "images"]).lines().any(|line| line == image)
    }

    /// Makes a user; the keyring is where Ceph looks for it.
    pub fn add_user(&self, name: &str, caps: &[&str]) {
        let entity = format!("client.{name}");
        let keyring = self.directory.join(format!("ceph.{entity}.keyring"));
        let arguments = [&["auth", "get-or-create", entity.as_str()], caps].concat();
        std::fs::write(keyring, self.run("ceph", &arguments)).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.guard.as_mut().map(Child::wait);
    }
}
