//! The daemon's side of the admin socket.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::address::SocketPath;
use super::report::StatusReport;
use super::{DEADLINE, MAX_COMMAND};
use crate::error::{Error, Result};

/// Gathers a report; called on the socket's own thread, and should not wait for anything.
type Gather = Arc<dyn Fn() -> StatusReport + Send + Sync>;

/// An admin socket that answers.  Dropped, it stops and its file goes.
#[derive(Debug)]
pub struct AdminSocket {
    path: SocketPathGuard,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Removes the socket's file when dropped.
struct SocketPathGuard(SocketPath);

impl std::fmt::Debug for SocketPathGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_path().fmt(f)
    }
}

impl Drop for SocketPathGuard {
    fn drop(&mut self) {
        // Gone already is as good; a stale file is replaced at the next start.
        let _ = fs::remove_file(self.0.as_path());
    }
}

/// Makes the socket in the state directory, for its owner alone, and answers on it.
///
/// # Errors
/// `Conflict` when another daemon answers there.  A file that one left behind is replaced.
pub fn serve(state_dir: &Path, gather: Gather) -> Result<AdminSocket> {
    let shown = state_dir.join(super::SOCKET_NAME);
    let failed = |error| Error::io("open the admin socket", shown.display())(error);
    let path = SocketPath::of(state_dir).map_err(failed)?;
    remove_stale(path.as_path()).map_err(failed)?;
    let listener = UnixListener::bind(path.as_path()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::Conflict(format!(
            "another glancefs uses the state directory {}: end it (glancefs status tells its \
             process), or give another --state-dir",
            state_dir.display()
        )),
        _ => failed(error),
    })?;
    let path = SocketPathGuard(path);
    // Nobody else can have connected before: the state directory is its owner's alone.
    fs::set_permissions(path.0.as_path(), Permissions::from_mode(0o600)).map_err(failed)?;
    let ending = Arc::new(AtomicBool::new(false));
    let thread = thread::Builder::new()
        .name("admin".to_owned())
        .spawn({
            let ending = Arc::clone(&ending);
            move || answer_all(&listener, &gather, &ending)
        })
        .map_err(failed)?;
    Ok(AdminSocket { path, ending, thread: Some(thread) })
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes the thread out of accept().  Should that fail, it is left to end with the process.
        let woken = UnixStream::connect(self.path.0.as_path()).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// Removes a socket that nobody answers on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn answer_all(listener: &UnixListener, gather: &Gather, ending: &AtomicBool) {
    for client in listener.incoming() {
        if ending.load(Ordering::Acquire) {
            return;
        }
        let answered = client.and_then(|client| answer(client, gather));
        if let Err(error) = answered {
            tracing::debug!("admin socket: {error}");
            // Out of descriptors, accept() fails at once and again: do not spin meanwhile.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn answer(mut client: UnixStream, gather: &Gather) -> io::Result<()> {
    client.set_read_timeout(Some(DEADLINE))?;
    client.set_write_timeout(Some(DEADLINE))?;
    // One read: a command is so short that it comes whole, and whoever dribbles holds up nobody.
    let mut command = [0; MAX_COMMAND];
    let length = client.read(&mut command)?;
    let answer = match command.get(..length).unwrap_or_default().trim_ascii() {
        b"status" => serde_json::to_vec(&gather())?,
        _ => br#"{"error":"unknown command: there is only status"}"#.to_vec(),
    };
    // Some kilobytes, which the socket takes at once.
    client.write_all(&answer)
}
