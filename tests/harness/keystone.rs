//! A real Keystone for a test, with three projects and a user of each role in each.
//!
//! The database is made once and copied for each test; the server ends with the test.  Users are
//! named `PROJECT-ROLE`: `project-a`, `-b`, `-c`; `admin`, `member`, `reader`, `service`.  The password of
//! each is `secret-of-` and the name.  Beside them there are `admin` in the project `admin`, and
//! `glance`, the service, in the project `service`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::fs::FlockOperation;
use serde_json::{Value, json};

const ENVIRONMENT: &str = "GLANCEFS_TEST_OPENSTACK";
const SERVER: &str = include_str!("../python/serve_keystone.py");

/// A running Keystone.
pub struct Keystone {
    directory: tempfile::TempDir,
    child: Option<Child>,
    address: String,
    token_seconds: u32,
}

impl Keystone {
    /// Starts one.
    pub fn start() -> Self {
        Self::with_tokens_for(3600)
    }

    /// Starts one whose tokens are valid for so many seconds.
    pub fn with_tokens_for(token_seconds: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        copy(&prepared(), directory.path());
        let mut keystone = Self { directory, child: None, address: String::new(), token_seconds };
        keystone.serve("0");
        keystone
    }

    /// Starts it again after [`stop`](Self::stop), at the same address.
    pub fn start_again(&mut self) {
        let port = self.address.rsplit(':').next().unwrap().to_string();
        self.serve(&port);
    }

    fn serve(&mut self, port: &str) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut child = server()
            .arg(self.directory.path())
            .arg(port)
            .env("GLANCEFS_TEST_TOKEN_SECONDS", self.token_seconds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find(|line| line.starts_with("http://"));
        // Read on, lest it wait for somebody who does.
        thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        let Some(address) = address else {
            panic!("Keystone did not start: {}", fs::read_to_string(self.log()).unwrap());
        };
        self.address = address;
    }

    /// Ends it; what it knows stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Where it answers, as `http://127.0.0.1:5000`.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// What a `glance-api.conf` says to use it, with tokens remembered for so many seconds.
    pub fn config(&self, token_cache_time: i32) -> String {
        format!(
            "[paste_deploy]\nflavor = keystone\n\
             [keystone_authtoken]\n\
             www_authenticate_uri = {0}/v3\n\
             auth_url = {0}\n\
             auth_type = password\n\
             username = glance\n\
             password = secret-of-glance\n\
             project_name = service\n\
             user_domain_name = Default\n\
             project_domain_name = Default\n\
             token_cache_time = {token_cache_time}\n",
            self.address
        )
    }

    /// A token of a user for the project in the user's name.
    #[track_caller]
    pub fn token(&self, user: &str) -> String {
        let project = user.rsplit_once('-').map_or("admin", |(project, _)| project);
        self.token_for(user, &json!({"project": {"name": project, "domain": {"id": "default"}}}))
    }

    /// A token of a user, for a scope in Keystone's words.
    #[track_caller]
    pub fn token_for(&self, user: &str, scope: &Value) -> String {
        let password = format!("secret-of-{user}");
        let user = json!({"name": user, "domain": {"id": "default"}, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": scope}});
        let answer = ureq::post(format!("{}/v3/auth/tokens", self.address)).send_json(body);
        let answer = answer.unwrap();
        answer.headers()["x-subject-token"].to_str().unwrap().to_string()
    }

    /// Asks it as the administrator `admin`, with a JSON body or `null`; gives the answer's body.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let builder = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v3/{path}", self.address))
            .header("X-Auth-Token", self.token("admin"))
            .header("Content-Type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut answer = ureq::run(builder.body(body).unwrap()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// The id of a project, user or role.
    #[track_caller]
    pub fn id(&self, kind: &str, name: &str) -> String {
        let found = self.ask("GET", &format!("{kind}s?name={name}"), &Value::Null);
        let found = found[format!("{kind}s")][0]["id"].as_str();
        found.unwrap_or_else(|| panic!("there is no {kind} {name}")).to_string()
    }

    /// Revokes a token.
    #[track_caller]
    pub fn revoke(&self, token: &str) {
        let request = ureq::delete(format!("{}/v3/auth/tokens", self.address));
        request.header("X-Auth-Token", token).header("X-Subject-Token", token).call().unwrap();
    }

    /// Tells its clients where the Image API is.
    #[track_caller]
    pub fn images_are_at(&self, api: SocketAddr) {
        let service = self.id("service", "glance");
        let path = format!("endpoints?service_id={service}");
        let found = self.ask("GET", &path, &Value::Null);
        for endpoint in found["endpoints"].as_array().unwrap() {
            let path = format!("endpoints/{}", endpoint["id"].as_str().unwrap());
            self.ask("PATCH", &path, &json!({"endpoint": {"url": format!("http://{api}")}}));
        }
    }

    /// The id of the Image API's public endpoint.
    #[track_caller]
    pub fn image_endpoint(&self) -> String {
        let service = self.id("service", "glance");
        let path = format!("endpoints?service_id={service}&interface=public");
        let found = self.ask("GET", &path, &Value::Null);
        found["endpoints"][0]["id"].as_str().unwrap().to_string()
    }

    /// What it was asked so far: method, path and status, one request a line.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("requests"));
        text.unwrap_or_default().lines().map(str::to_string).collect()
    }

    /// How often it was asked about somebody's token.
    pub fn validations(&self) -> usize {
        let asked = self.requests();
        asked.iter().filter(|line| line.starts_with("GET /v3/auth/tokens")).count()
    }
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- what Keystone said last ---");
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

fn environment() -> PathBuf {
    std::env::var_os(ENVIRONMENT)
        .unwrap_or_else(|| panic!("{ENVIRONMENT} is not set: see scripts/test"))
        .into()
}

fn server() -> Command {
    let mut command = Command::new(environment().join("bin/python"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/serve_keystone.py"));
    command
}

/// A directory as a new Keystone has it, which takes long to make: made once by whoever comes first.
fn prepared() -> PathBuf {
    let top = environment();
    let lock = File::create(top.join("prepared.lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let (ready, stamp) = (top.join("prepared"), top.join("prepared.stamp"));
    if fs::read_to_string(&stamp).ok().as_deref() != Some(SERVER) {
        // What an earlier run left, complete or not.
        let _ = fs::remove_dir_all(&ready);
        let made = server().arg(&ready).arg("new").stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::write(&stamp, SERVER).unwrap();
    }
    ready
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}
