//! glancefs as the system starts it: by mount(8) and fstab(5), by an automounter, by systemd.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

#[path = "system/mounting.rs"]
mod mounting;
#[path = "system/supervised.rs"]
mod supervised;
