//! Users of this machine, as whom a test (run by root) runs programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::{Finished, Glancefs, Running};

/// Somebody by numbers alone: nobody needs to be in the user database.
#[derive(Clone, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl User {
    /// A user with a primary group of the same number, and no other.
    pub fn new(uid: u32) -> Self {
        Self { uid, gid: uid, groups: Vec::new() }
    }

    /// With supplementary groups.
    pub fn in_groups(mut self, groups: &[u32]) -> Self {
        self.groups = groups.to_vec();
        self
    }

    /// `setpriv` that becomes this user.
    fn command(&self, fs: &Glancefs) -> Command {
        let groups = match self.groups_between(",") {
            none if none.is_empty() => "--clear-groups".to_owned(),
            some => format!("--groups={some}"),
        };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", self.uid), format!("--regid={}", self.gid), groups]);
        command.current_dir(fs.scratch()).env("M", fs.mountpoint());
        command
    }

    fn groups_between(&self, separator: &str) -> String {
        self.groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    }
}

impl Glancefs {
    /// Lets all users pass to the mount, and write into the scratch directory.
    pub fn open_to_all(self) -> Self {
        for (directory, mode) in [(self.directory().to_owned(), 0o755), (self.scratch(), 0o777)] {
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        }
        self
    }

    /// Runs a shell script as somebody, however it ends.
    #[track_caller]
    pub fn try_sh_as(&self, user: &User, script: &str) -> Finished {
        Running::start(user.command(self).args(["sh", "-euc", script])).wait()
    }

    /// Runs a shell script that must succeed as somebody; returns what it printed.
    #[track_caller]
    pub fn sh_as(&self, user: &User, script: &str) -> String {
        let done = self.try_sh_as(user, script);
        assert!(done.ok(), "{user:?}: {script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }

    /// Runs a shell script as somebody that must be refused with this message.
    #[track_caller]
    pub fn refused_as(&self, user: &User, script: &str, message: &str) {
        let done = self.try_sh_as(user, script);
        assert!(!done.ok(), "{user:?}: {script}\nwas not refused: {}", done.stdout);
        assert!(done.stderr.contains(message), "{user:?}: {script}\n{}", done.stderr);
    }

    /// Starts a script of Python as somebody, who need not be able to start this Python.
    pub fn spawn_python_as(&self, user: &User, script: &str) -> Running {
        let User { uid, gid, .. } = user;
        let groups = user.groups_between(", ");
        self.spawn_python(&format!(
            "import mmap
os.setgroups([{groups}]); os.setresgid({gid}, {gid}, {gid}); os.setresuid({uid}, {uid}, {uid})
{script}"
        ))
    }

    /// Runs a script of Python that must succeed as somebody; returns what it printed.
    #[track_caller]
    pub fn python_as(&self, user: &User, script: &str) -> String {
        let done = self.spawn_python_as(user, script).wait();
        assert!(done.ok(), "{user:?}: {script}\n{}: {}{}", done.status, done.stdout, done.stderr);
        done.stdout
    }

    /// Asks the API, as its operator; what it answers.  `Null` is no body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.send(method, path, "application/json", body.as_bytes());
        serde_json::from_str(&answer).unwrap_or_default()
    }

    /// Sends something to the API that it must take; returns its answer.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let url = format!("http://{}{path}", self.api.expect("there is an API"));
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("content-type", kind).body(body.to_vec()).unwrap();
        let agent: ureq::Agent =
            ureq::Agent::config_builder().allow_non_standard_methods(true).build().into();
        let mut answer = agent.run(request).unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        answer.body_mut().read_to_string().unwrap()
    }

    /// Makes a project a member of an image, as glance-api would.
    pub fn glance_shares(&self, id: &str, project: &str, status: &str) {
        let now = super::glance_time();
        self.sql(&format!(
            "DELETE FROM image_members WHERE image_id = '{id}' AND member = '{project}';
             INSERT INTO image_members (image_id, member, can_share, created_at, updated_at, \
             deleted, status) VALUES ('{id}', '{project}', 0, '{now}', '{now}', 0, '{status}')"
        ));
    }
}
