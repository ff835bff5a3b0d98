//! The side of those who ask.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Take, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::address::SocketPath;
use super::protocol::{Reply, Request};
use super::report::StatusReport;
use super::{DEADLINE, MAX_COMMAND, MAX_REPLIES};
use crate::error::{Error, Result};

/// How long [`watch`] waits between two reports.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Asks the daemon of a state directory, and prints what it says on standard output.
///
/// # Errors
/// `NotFound` when none is running there.
pub fn status(state_dir: &Path, json: bool) -> Result<()> {
    let report = fetch(state_dir)?;
    if json { print_json(&report) } else { print(&report.to_string()) }
}

/// The same every second, on a cleared screen where it is a terminal, until nobody reads it any more.
///
/// # Errors
/// `NotFound` when no daemon runs there, or none any more.
pub fn watch(state_dir: &Path, json: bool) -> Result<()> {
    let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let report = fetch(state_dir)?;
        // For programs, one line each; for people, a gap between two.
        let text = if json {
            serde_json::to_string(&report)
                .map_err(|error| Error::Invalid(format!("the report cannot be shown: {error}")))?
        } else {
            report.to_string()
        };
        let written = writeln!(io::stdout(), "{clear}{text}").and_then(|()| io::stdout().flush());
        match written {
            Ok(()) => std::thread::sleep(BETWEEN_LOOKS),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Error::io("write to", "standard output")(error)),
        }
    }
}

/// Asks the daemon of a state directory for its report.
///
/// # Errors
/// `NotFound` when none is running there.
pub fn fetch(state_dir: &Path) -> Result<StatusReport> {
    match Conversation::begin(state_dir, &Request::Status, DEADLINE)?.next()? {
        Reply::Status(report) => Ok(*report),
        _ => Err(not_understood()),
    }
}

/// A request that was sent, and the replies to it.
pub(super) struct Conversation {
    state_dir: PathBuf,
    replies: BufReader<Take<UnixStream>>,
}

impl Conversation {
    /// Asks the daemon of a state directory; it may be silent for as long as `patience`.
    ///
    /// # Errors
    /// `NotFound` when none is running there, `Forbidden` when it is another user's.
    pub(super) fn begin(state_dir: &Path, request: &Request, patience: Duration) -> Result<Self> {
        let mut text = serde_json::to_vec(request)
            .map_err(|error| Error::Invalid(format!("this cannot be asked: {error}")))?;
        text.push(b'\n');
        if text.len() > MAX_COMMAND {
            return Err(Error::Invalid("the name is too long for an image's".to_owned()));
        }
        let daemon = send(state_dir, &text, patience).map_err(|e| failed(state_dir, e))?;
        let replies = BufReader::new(daemon.take(MAX_REPLIES));
        Ok(Self { state_dir: state_dir.to_owned(), replies })
    }

    /// The next reply.
    ///
    /// # Errors
    /// `Conflict` with the daemon's own words when it did not do it, or when it does not answer.
    pub(super) fn next(&mut self) -> Result<Reply> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(0) => return Err(Error::Conflict("the running glancefs hung up".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(failed(&self.state_dir, error)),
        }
        match serde_json::from_str(&line) {
            Ok(Reply::Error(reason)) => Err(Error::Conflict(reason)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(not_understood()),
        }
    }
}

pub(super) fn not_understood() -> Error {
    Error::Conflict(
        "the running glancefs answers what this one does not understand: are they of the same \
         version?"
            .to_owned(),
    )
}

pub(super) fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Error::Invalid(format!("the report cannot be shown: {error}")))?;
    print(&(text + "\n"))
}

pub(super) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `glancefs status | head -1` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("write to", "standard output")(error))
        }
        _ => Ok(()),
    }
}

fn send(state_dir: &Path, request: &[u8], patience: Duration) -> io::Result<UnixStream> {
    let path = SocketPath::of(state_dir)?;
    let mut daemon = UnixStream::connect(path.as_path())?;
    daemon.set_read_timeout(Some(patience))?;
    daemon.set_write_timeout(Some(DEADLINE))?;
    daemon.write_all(request)?;
    daemon.shutdown(Shutdown::Write)?;
    Ok(daemon)
}

fn failed(state_dir: &Path, error: io::Error) -> Error {
    match error.kind() {
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
    }
}
