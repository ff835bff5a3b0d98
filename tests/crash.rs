//! `kill -9` anywhere: what the next start makes of an upload, a removal or a recovery cut short.
//!
//! The daemon is killed by somebody else while a writer is half way, and kills itself at every
//! step in between (`GLANCEFS_CRASH_AT`, which only builds for tests know).

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "crash/api.rs"]
mod api;
#[path = "crash/draft.rs"]
mod draft;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "crash/imports.rs"]
mod imports;
#[path = "crash/others.rs"]
mod others;
#[path = "crash/removal.rs"]
mod removal;
#[path = "crash/scrub.rs"]
mod scrub;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;

use harness::{Finished, Glancefs, Running, Start, eventually};

/// An image that was complete before anything went wrong.
const KEPT: &str = "kept.raw";

/// A mount with the API and one complete image, not running.
fn with_a_complete_image() -> Glancefs {
    let mut glancefs = Start::default().with_api().mount();
    glancefs.noise(KEPT, 3 << 20);
    glancefs.sh(&format!("cp {KEPT} $M/"));
    assert!(glancefs.terminate().success(), "{}", glancefs.log());
    glancefs
}

/// A daemon that dies at a step.
struct Doomed {
    running: Running,
    api: SocketAddr,
}

impl Doomed {
    /// Starts one that mounts, and serves, first.
    fn start(glancefs: &Glancefs, step: &str) -> Self {
        let running = run_to(glancefs, step);
        eventually("it is mounted", || running.printed().contains("images are in"));
        let printed = running.printed();
        let address = printed.split_once("http://").expect("an address").1.trim();
        Self { running, api: address.parse().unwrap() }
    }

    /// Waits for its death, which must have come at that step.
    #[track_caller]
    fn dies(self) {
        assert_killed(&self.running.wait());
    }
}

fn run_to(glancefs: &Glancefs, step: &str) -> Running {
    Running::start(glancefs.command().env("GLANCEFS_CRASH_AT", step))
}

#[track_caller]
fn assert_killed(done: &Finished) {
    let killed = done.status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed, "it was not killed: {}\n{}{}", done.status, done.stdout, done.stderr);
}

/// Starts the daemon on what a crash left, and has it die at `step` of recovering from that.
#[track_caller]
fn recovery_dies(glancefs: &Glancefs, step: &str) {
    assert_killed(&run_to(glancefs, step).wait());
}

/// Names in a directory of the daemon's own.
fn names_in(glancefs: &Glancefs, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(glancefs.state_dir().join(directory)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Data is there for these images and no others, and nothing is in progress.
#[track_caller]
fn assert_data_of(glancefs: &Glancefs, ids: &[&str]) {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    assert_eq!(names_in(glancefs, "images"), ids, "data");
    assert_eq!(names_in(glancefs, "journal"), [""; 0], "journal");
}

/// The complete image is as it was, and all there is.
#[track_caller]
fn assert_nothing_else(glancefs: &Glancefs) {
    glancefs.assert_same(KEPT, KEPT, "raw");
    glancefs.assert_only(&[KEPT]);
    assert_eq!(glancefs.sh("ls $M").trim(), KEPT);
}
