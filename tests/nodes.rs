//! Two controllers: two daemons on one MariaDB and one Ceph cluster, side by side and behind HAProxy.
//!
//! The controllers are two addresses of this machine, each with a state directory and a mount of
//! its own.  They need Ceph, MariaDB and HAProxy (see `scripts/test`), and so are ignored unless
//! asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a failed test")]

#[path = "nodes/abandoned.rs"]
mod abandoned;
#[path = "nodes/cost.rs"]
mod cost;
// Not every test binary needs all that the harness offers.
#[path = "nodes/haproxy.rs"]
mod haproxy;
#[allow(unused_imports)]
mod harness;
#[path = "interop/http.rs"]
mod http;
#[path = "nodes/imports.rs"]
mod imports;
#[path = "nodes/kill.rs"]
mod kill;
#[path = "nodes/proxy.rs"]
mod proxy;
#[path = "nodes/removal.rs"]
mod removal;
#[path = "nodes/sight.rs"]
mod sight;

use std::net::{SocketAddr, TcpListener};

use haproxy::Haproxy;
use harness::mariadb::Server;
use harness::{Cluster, Glancefs, Start};
use http::ImageApi;

/// The controllers' names in the first of the write-ups.
const NAMES: [&str; 2] = ["zeus", "hades"];

/// One catalog, one pool, two controllers.
struct Site {
    cluster: Cluster,
    zeus: Glancefs,
    hades: Glancefs,
}

impl Site {
    fn start() -> Self {
        Self::with(|start, _| start)
    }

    /// With something special about the one or the other.
    fn with(special: impl Fn(Start, &str) -> Start) -> Self {
        let cluster = Cluster::start("memstore");
        // After a crash the watch of who is dead keeps its image busy for so many seconds.
        cluster.run("ceph", &["config", "set", "osd", "osd_client_watch_timeout", "5"]);
        let server = Server::shared();
        let url = server.url(&server.new_database());
        let [zeus, hades] = [11, 12].map(|last| {
            let start = Start::default().catalog(&url).listen(free_address(last));
            start.config(&store(&cluster))
        });
        let zeus = special(zeus, NAMES[0]).mount();
        let hades = special(hades, NAMES[1]).mount();
        Self { cluster, zeus, hades }
    }

    /// A HAProxy in front of both.
    fn behind_haproxy(&self, listener: &str, server: &str) -> Haproxy {
        let [zeus, hades] = [&self.zeus, &self.hades].map(|node| node.api.unwrap());
        Haproxy::start(&[(NAMES[0], zeus), (NAMES[1], hades)], listener, server)
    }

    /// What the pool holds, in order.
    fn pool(&self) -> Vec<String> {
        let listed = self.cluster.run("rbd", &["ls", "images"]);
        let mut names: Vec<_> = listed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// The pool `images` of a cluster, as the user with the caps that Glance's documentation gives it.
fn store(cluster: &Cluster) -> String {
    format!(
        "[glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_user = glance\n\
         rbd_store_ceph_conf = {}\nrados_connect_timeout = 10\nrbd_thin_provisioning = true\n",
        cluster.conf().display()
    )
}

/// An address of this machine at which nobody listens.
fn free_address(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap().local_addr().unwrap()
}

/// What a controller's API serves.
fn api(glancefs: &Glancefs) -> ImageApi {
    ImageApi::at(&format!("http://{}", glancefs.api.expect("it serves")))
}
