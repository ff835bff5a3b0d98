//! Leaving the terminal, for a daemon that mount(8) has started.

use std::fs::File;

use crate::error::{Error, Result};
use crate::telemetry;

/// From here on nothing of the terminal reaches the daemon, and nothing of it the terminal, but
/// what is still printed on standard output.
///
/// # Errors
/// `Io`
pub(super) fn enter() -> Result<()> {
    // Fails only for one who is the leader of a session already.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/").map_err(Error::io("change to", "/"))?;
    telemetry::leave_stderr();
    let null = null()?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| failed(error.into()))?;
    rustix::stdio::dup2_stderr(&null).map_err(|error| failed(error.into()))
}

/// The last word has been printed.
///
/// # Errors
/// `Io`
pub(super) fn leave_stdout() -> Result<()> {
    rustix::stdio::dup2_stdout(null()?).map_err(|error| failed(error.into()))
}

fn null() -> Result<File> {
    File::options().read(true).write(true).open("/dev/null").map_err(failed)
}

fn failed(error: std::io::Error) -> Error {
    Error::io("leave the terminal for", "/dev/null")(error)
}
