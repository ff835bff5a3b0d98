//! A pool of the shared Ceph cluster in the place of a directory: `GLANCEFS_TEST_STORE=rbd` gives one
//! to every mount that a test makes.

use std::path::Path;
use std::time::Duration;

use glancefs::store::rbd::RbdOptions;

use super::Cluster;

/// A pool for one test.
#[derive(Clone, Debug)]
pub struct Pool {
    name: String,
    fsid: String,
}

impl Pool {
    /// A new one, if mounts are to use pools.
    pub fn if_wanted() -> Option<Self> {
        is_wanted().then(|| {
            let name = format!("test-{}", uuid::Uuid::new_v4());
            let cluster = Cluster::shared();
            cluster.run("ceph", &["osd", "pool", "create", &name, "1", "1"]);
            cluster.run("rbd", &["pool", "init", &name]);
            let fsid = cluster.fsid();
            Self { name, fsid }
        })
    }

    /// What a store in this very process is opened with.
    pub fn options(&self) -> RbdOptions {
        RbdOptions {
            conf: Some(Cluster::shared().conf()),
            pool: self.name.clone(),
            connect_timeout: Some(Duration::from_secs(10)),
            ..RbdOptions::default()
        }
    }

    /// The section that makes it the store.
    pub fn config(&self) -> String {
        format!(
            "\n[glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_pool = {}\n\
             rbd_store_ceph_conf = {}\nrados_connect_timeout = 10\n",
            self.name,
            Cluster::shared().conf().display()
        )
    }

    /// The URL of an image's data.
    pub fn url(&self, id: &str) -> String {
        format!("rbd://{}/{}/{id}/snap", self.fsid, self.name)
    }

    /// What it holds, in order.
    pub fn list(&self) -> Vec<String> {
        let listed = self.rbd(&["ls"]);
        let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Stores an image's data as Glance does.
    pub fn put(&self, id: &str, file: &Path) {
        let snapshot = format!("{id}@snap");
        self.rbd(&["import", "--no-progress", &file.display().to_string(), id]);
        self.rbd(&["snap", "create", "--no-progress", &snapshot]);
        self.rbd(&["snap", "protect", &snapshot]);
    }

    /// Removes an image's data behind everybody's back.
    pub fn lose(&self, id: &str) {
        self.rbd(&["snap", "unprotect", &format!("{id}@snap")]);
        self.rbd(&["snap", "purge", "--no-progress", id]);
        self.rbd(&["rm", "--no-progress", id]);
    }

    fn rbd(&self, arguments: &[&str]) -> String {
        Cluster::shared().run("rbd", &[&["-p", &self.name], arguments].concat())
    }
}

fn is_wanted() -> bool {
    std::env::var("GLANCEFS_TEST_STORE").is_ok_and(|store| store == "rbd")
}

/// Whether a test that is about local files has nothing to do, and says why.
pub fn skipped_on_rbd(why: &str) -> bool {
    if is_wanted() {
        println!("skipped with GLANCEFS_TEST_STORE=rbd: {why}");
    }
    is_wanted()
}
