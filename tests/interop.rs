//! Real programs of others: glance-api on the same database and store (files, or Ceph), the `openstack` client
//! against our API, and a machine that boots from the mount.
//!
//! `scripts/test` installs them and says where they are.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "recorded/client.rs"]
mod bare_client;
#[path = "interop/boot.rs"]
mod boot;
#[path = "interop/ceph.rs"]
mod ceph;
#[path = "interop/client.rs"]
mod client;
#[path = "interop/clones.rs"]
mod clones;
#[path = "interop/fuzzed.rs"]
mod fuzzed;
#[path = "interop/glance_api.rs"]
mod glance_api;
#[path = "interop/glanceclient.rs"]
mod glanceclient;
#[path = "interop/gophercloud.rs"]
mod gophercloud;
#[path = "nodes/haproxy.rs"]
mod haproxy;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "interop/http.rs"]
mod http;
#[path = "interop/imports.rs"]
mod imports;
#[path = "interop/mariadb.rs"]
mod mariadb;
#[path = "interop/matrix.rs"]
mod matrix;
#[path = "interop/metadefs.rs"]
mod metadefs;
#[path = "interop/notifications.rs"]
mod notifications;
#[path = "interop/old_client.rs"]
mod old_client;
#[path = "interop/outage.rs"]
mod outage;
#[path = "interop/scrubber.rs"]
mod scrubber;
#[path = "interop/shared_catalog.rs"]
mod shared_catalog;
#[path = "interop/walk.rs"]
mod walk;

use std::path::PathBuf;

/// A program in one of the Python environments that `scripts/test` makes.
fn program(environment: &str, name: &str) -> PathBuf {
    let directory = std::env::var_os(environment)
        .unwrap_or_else(|| panic!("{environment} is not set: run this by scripts/test"));
    PathBuf::from(directory).join("bin").join(name)
}
