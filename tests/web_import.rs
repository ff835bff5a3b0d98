//! Imports by web-download, and the plugins, through a real daemon: as a client asks for them, and
//! as a crash finds them.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "web_import/client.rs"]
mod client;
#[path = "web_import/downloads.rs"]
mod downloads;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "web_import/interrupted.rs"]
mod interrupted;
#[path = "web_import/plugins.rs"]
mod plugins;
#[path = "web_import/server.rs"]
mod server;

use harness::{Glancefs, Start};

/// A daemon that may ask the servers of these tests.
fn start(more: &str) -> Start {
    Start::default().with_api().config(&config("web_download_networks = 127.0.0.1", more))
}

fn config(own: &str, more: &str) -> String {
    format!(
        "[DEFAULT]\nenabled_import_methods = glance-direct,web-download\n\
         [import_filtering_opts]\nallowed_ports = []\n[glancefs]\n{own}\n{more}\n"
    )
}

/// Whether there is nothing in the staging area.
fn nothing_is_staged(glancefs: &Glancefs) -> bool {
    std::fs::read_dir(glancefs.state_dir().join("staging")).unwrap().next().is_none()
}
