//! `glancefs scrub`: deleted images whose data is still there.
//!
//! The daemon that uses the state directory does what is asked for, so that its mount and API show it
//! at once; where none runs, it is done here.

use crate::admin::{self, PendingList, ScrubReport};
use crate::config::Config;
use crate::daemon::{House, scrubbing};
use crate::error::{Error, Result};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Remove all data that is due.
    Once,
    /// Show what waits.
    List {
        /// As JSON.
        json: bool,
    },
    /// Bring back the image of this id.
    Restore(String),
}

/// Does it, and says what came of it.
///
/// # Errors
/// Whatever keeps it from being done, with what to do about it.
pub fn run(config: &Config, wish: &Wish) -> Result<()> {
    match wish {
        Wish::Once => once(config)?.print(),
        Wish::List { json } => list(config)?.print(*json),
        Wish::Restore(id) => {
            println!("restored  {}", restore(config, id)?);
            Ok(())
        }
    }
}

fn once(config: &Config) -> Result<ScrubReport> {
    match admin::scrub::scrub(&config.state_dir) {
        Err(Error::NotFound(_)) => scrubbing::once(&House::open(config)?.images, &mut || true),
        asked => asked,
    }
}

fn list(config: &Config) -> Result<PendingList> {
    match admin::scrub::pending(&config.state_dir) {
        Err(Error::NotFound(_)) => scrubbing::list(&House::open(config)?.images),
        asked => asked,
    }
}

fn restore(config: &Config, id: &str) -> Result<String> {
    match admin::scrub::restore(&config.state_dir, id) {
        Err(Error::NotFound(_)) => scrubbing::restore(&House::open(config)?.images, id),
        asked => asked,
    }
}
