//! The side of `glancefs status`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::address::SocketPath;
use super::report::StatusReport;
use super::{DEADLINE, MAX_REPORT};
use crate::error::{Error, Result};

/// Asks the daemon of a state directory, and prints what it says on standard output.
///
/// # Errors
/// `NotFound` when none is running there.
pub fn status(state_dir: &Path, json: bool) -> Result<()> {
    let report = fetch(state_dir)?;
    let text = if json {
        let mut text = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::Invalid(format!("the report cannot be shown: {error}")))?;
        text.push('\n');
        text
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `glancefs status | head -1` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output")(error))
        }
        _ => Ok(()),
    }
}

/// Asks the daemon of a state directory for its report.
///
/// # Errors
/// `NotFound` when none is running there.
pub fn fetch(state_dir: &Path) -> Result<StatusReport> {
    let answer = ask(state_dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NotFound(format!(
            "no glancefs is running with the state directory {} (another one: --state-dir)",
            state_dir.display()
        )),
        io::ErrorKind::PermissionDenied => Error::Forbidden(format!(
            "the state directory {} belongs to another user: ask as that user",
            state_dir.display()
        )),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Conflict(format!(
            "the glancefs of the state directory {} does not answer",
            state_dir.display()
        )),
        _ => Error::io("ask the glancefs of", state_dir.display())(error),
    })?;
    serde_json::from_slice(&answer).map_err(|_| {
        Error::Conflict(
            "the running glancefs answers what this one does not understand: are they of the same \
             version?"
                .to_owned(),
        )
    })
}

fn ask(state_dir: &Path) -> io::Result<Vec<u8>> {
    let path = SocketPath::of(state_dir)?;
    let mut daemon = UnixStream::connect(path.as_path())?;
    daemon.set_read_timeout(Some(DEADLINE))?;
    daemon.set_write_timeout(Some(DEADLINE))?;
    daemon.write_all(b"status\n")?;
    daemon.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    daemon.take(MAX_REPORT).read_to_end(&mut answer)?;
    Ok(answer)
}
