//! Where the lines of the log go: standard error, a file or the system's log; and how that changes
//! while the program runs.
//!
//! A line that cannot be written is lost: there is nobody to tell.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::logging::{DAEMON, LogDestination};
use crate::error::{Error, Result};

/// Where the system's log takes messages.
const SYSLOG: &str = "/dev/log";

/// Where all lines of this process go.
pub(super) static OUTPUT: LazyLock<Output> =
    LazyLock::new(|| Output { target: Mutex::new(Arc::new(Target::Stderr)) });

/// A place for lines that can be exchanged at any time.
pub(super) struct Output {
    target: Mutex<Arc<Target>>,
}

enum Target {
    Stderr,
    File { path: PathBuf, file: File },
    Syslog { socket: UnixDatagram, facility: u8 },
}

impl Output {
    /// Sends what follows to `destination`.
    ///
    /// # Errors
    /// `Config` when that cannot be opened, saying what to do.
    pub(super) fn direct(&self, destination: &LogDestination) -> Result<()> {
        let target = match destination {
            LogDestination::Stderr => Target::Stderr,
            LogDestination::File(path) => open_file(path)?,
            LogDestination::Syslog(facility) => open_syslog(*facility)?,
        };
        *self.target.lock() = Arc::new(target);
        Ok(())
    }

    /// Opens a file that was moved away once more; anything else stays as it is.
    ///
    /// # Errors
    /// As [`direct`](Self::direct); lines go on to the file that was open, then.
    pub(super) fn reopen(&self) -> Result<()> {
        let target = Arc::clone(&self.target.lock());
        match &*target {
            Target::File { path, .. } => self.direct(&LogDestination::File(path.clone())),
            Target::Stderr | Target::Syslog { .. } => Ok(()),
        }
    }

    /// Before standard error goes: what went there goes to the system's log, if there is one.
    pub(super) fn leave_stderr(&self) {
        let target = Arc::clone(&self.target.lock());
        if matches!(*target, Target::Stderr) {
            // Without one, nobody wants to know.
            let _ = self.direct(&LogDestination::Syslog(DAEMON));
        }
    }

    fn write(&self, level: Level, line: &[u8]) {
        let target = Arc::clone(&self.target.lock());
        // Whole lines, so that those of several threads do not mix.
        let _ = match &*target {
            Target::Stderr => io::stderr().write_all(line),
            Target::File { file, .. } => (&*file).write_all(line),
            Target::Syslog { socket, facility } => send(socket, *facility, level, line),
        };
    }
}

fn open_file(path: &Path) -> Result<Target> {
    let opened = File::options().create(true).append(true).open(path).map_err(|error| {
        Error::Config(format!(
            "cannot log to {0}: {error}; make its directory writable for this user, or change \
             log_file and log_dir",
            path.display()
        ))
    });
    opened.map(|file| Target::File { path: path.to_owned(), file })
}

fn open_syslog(facility: u8) -> Result<Target> {
    let failed = |error: io::Error| {
        Error::Config(format!("no system log answers at {SYSLOG}: {error}; unset use_syslog"))
    };
    let socket = UnixDatagram::unbound().map_err(failed)?;
    // A system's log that hangs must not hang us.
    socket.set_nonblocking(true).map_err(failed)?;
    if !Path::new(SYSLOG).exists() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(Target::Syslog { socket, facility })
}

/// RFC 3164, as syslog(3) sends it; the time is the receiver's.
fn send(socket: &UnixDatagram, facility: u8, level: Level, line: &[u8]) -> io::Result<()> {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let priority = u32::from(facility) * 8 + severity;
    let mut message = format!("<{priority}>glancefs[{}]: ", std::process::id()).into_bytes();
    message.extend_from_slice(line.trim_ascii_end());
    // By its name each time: the system's log may have been restarted.
    socket.send_to(&message, SYSLOG).map(drop)
}

/// One line under way.
pub(super) struct Line {
    level: Level,
    text: Vec<u8>,
}

impl Line {
    /// A line of its own making.
    pub(super) fn write_out(level: Level, text: &str) {
        OUTPUT.write(level, text.as_bytes());
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            OUTPUT.write(self.level, &self.text);
        }
    }
}

/// Makes lines that go to [`OUTPUT`].
pub(super) struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { level: Level::INFO, text: Vec::new() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line { level: *metadata.level(), text: Vec::new() }
    }
}
