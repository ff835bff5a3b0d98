//! The real glance-api, on the database and the store of a glancefs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::ceph;
use crate::harness::{Cluster, Glancefs};
use crate::http::ImageApi;
use crate::program;

pub const ENVIRONMENT: &str = "GLANCEFS_TEST_OPENSTACK";

/// A running glance-api.
pub struct GlanceApi {
    child: Child,
    log: PathBuf,
    address: String,
    /// What it serves.
    pub api: ImageApi,
}

impl GlanceApi {
    /// Starts one beside a glancefs, which may run or not, on its directory.
    pub fn beside(glancefs: &Glancefs) -> Self {
        Self::start(&configure(glancefs, &datadir(glancefs)))
    }

    /// Starts one beside a glancefs, which may run or not, on the pool `images` of a cluster.
    pub fn on_ceph(glancefs: &Glancefs, cluster: &Cluster) -> Self {
        Self::start(&configure(glancefs, &ceph::store(cluster)))
    }

    /// Starts one with this directory's `glance-api.conf`.
    pub fn start(config: &Path) -> Self {
        let log = config.join("log");
        let mut child = Command::new(program(ENVIRONMENT, "python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/serve_glance.py"))
            .env("OS_GLANCE_CONFIG_DIR", config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // It logs there, too; and it ends, and so does this, if it cannot start.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find(|line| line.starts_with("http://"));
        // Read on, lest it wait for somebody who does.
        thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            panic!("glance-api did not start: {}", fs::read_to_string(log).unwrap());
        };
        Self { child, log, api: ImageApi::at(&address), address }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address.trim_start_matches("http://").parse().unwrap()
    }
}

impl Drop for GlanceApi {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- what glance-api said ---\n{log}---");
        }
    }
}

/// Runs the real `glance-manage` on the database of a glancefs; returns what it prints.
#[track_caller]
pub fn glance_manage(glancefs: &Glancefs, arguments: &[&str]) -> String {
    let config = configure(glancefs, &datadir(glancefs));
    let done = Command::new(program(ENVIRONMENT, "glance-manage"))
        .arg("--config-file")
        .arg(config.join("glance-api.conf"))
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "glance-manage {arguments:?}: {stderr}");
    String::from_utf8(done.stdout).unwrap()
}

/// A store in the embedded store's directory.
fn datadir(glancefs: &Glancefs) -> String {
    let directory = glancefs.datadir();
    fs::create_dir_all(&directory).unwrap();
    format!(
        "[DEFAULT]\nenabled_backends = file:file\n[glance_store]\ndefault_backend = file\n\
         [file]\nfilesystem_store_datadir = {}\n",
        directory.display()
    )
}

/// Writes a configuration with this store that needs no Keystone; returns its directory.
pub fn configure(glancefs: &Glancefs, store: &str) -> PathBuf {
    let directory = glancefs.directory().join("glance");
    fs::create_dir_all(directory.join("staging")).unwrap();
    let shown = |path: &Path| path.display().to_string();
    let (connection, own) = (glancefs.catalog_url(), shown(&directory));
    // Without an identity Glance calls everybody an administrator, but one without roles: only the
    // old rules let such a one do anything.
    let text = format!(
        "{store}\
         [DEFAULT]\n\
         use_stderr = true\n\
         enabled_import_methods = []\n\
         worker_self_reference_url = http://127.0.0.1:1\n\
         image_cache_dir = {own}/cache\n\
         [database]\n\
         connection = {connection}\n\
         [os_glance_staging_store]\n\
         filesystem_store_datadir = {own}/staging\n\
         [os_glance_tasks_store]\n\
         filesystem_store_datadir = {own}/tasks\n\
         [oslo_policy]\n\
         enforce_new_defaults = false\n\
         enforce_scope = false\n\
         policy_file = {own}/policy.yaml\n\
         [paste_deploy]\n\
         config_file = {paste}\n",
        paste = shown(&program(ENVIRONMENT, "../etc/glance/glance-api-paste.ini")),
    );
    fs::write(directory.join("glance-api.conf"), text).unwrap();
    // The rules that have no older ones, or need a role all the same.
    let policy = "metadef_admin: \"\"\ntasks_api_access: \"\"\n";
    fs::write(directory.join("policy.yaml"), policy).unwrap();
    directory
}

/// A directory of what Glance comes with.
pub fn glance_files(name: &str) -> PathBuf {
    program(ENVIRONMENT, "../etc/glance").join(name)
}
