//! The mount, used as people and programs use it: every row of the tables of what it shows and
//! what a call does.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

#[path = "mount/attributes.rs"]
mod attributes;
#[path = "mount/callers.rs"]
mod callers;
#[path = "mount/deleted.rs"]
mod deleted;
#[path = "mount/drafts.rs"]
mod drafts;
#[path = "mount/leaks.rs"]
mod leaks;
#[path = "mount/life.rs"]
mod life;
#[path = "mount/names.rs"]
mod names;
#[path = "mount/others.rs"]
mod others;
#[path = "mount/privileges.rs"]
mod privileges;
#[path = "mount/programs.rs"]
mod programs;
#[path = "mount/qemu.rs"]
mod qemu;
#[path = "mount/reading.rs"]
mod reading;
#[path = "mount/refusals.rs"]
mod refusals;
#[path = "mount/replacing.rs"]
mod replacing;
#[path = "mount/shutdown.rs"]
mod shutdown;
