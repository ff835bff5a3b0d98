//! The daemon's side of the admin socket.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::address::SocketPath;
use super::protocol::{Operations, Reply, Request};
use super::{DEADLINE, MAX_COMMAND, MAX_LONG};
use crate::error::{Error, Result};

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
pub fn serve(state_dir: &Path, daemon: Arc<dyn Operations>) -> Result<AdminSocket> {
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
            move || answer_all(&listener, &daemon, &ending)
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

fn answer_all(listener: &UnixListener, daemon: &Arc<dyn Operations>, ending: &AtomicBool) {
    let long = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        if ending.load(Ordering::Acquire) {
            return;
        }
        let answered = client.and_then(|client| answer(client, daemon, &long));
        if let Err(error) = answered {
            tracing::debug!("admin socket: {error}");
            // Out of descriptors, accept() fails at once and again: do not spin meanwhile.
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn answer(
    mut client: UnixStream,
    daemon: &Arc<dyn Operations>,
    long: &Arc<AtomicUsize>,
) -> io::Result<()> {
    client.set_read_timeout(Some(DEADLINE))?;
    client.set_write_timeout(Some(DEADLINE))?;
    // One read: a request is so short that it comes whole, and whoever dribbles holds up nobody.
    let mut text = [0; MAX_COMMAND];
    let length = client.read(&mut text)?;
    let reply = match serde_json::from_slice(text.get(..length).unwrap_or_default()) {
        Ok(Request::Status) => Reply::Status(Box::new(daemon.status())),
        Ok(Request::CacheList) => daemon.cached().map_or_else(refused, Reply::CacheList),
        Ok(request) => return answer_long(client, daemon, long, request),
        Err(_) => Reply::Error("unknown command".to_owned()),
    };
    send(&mut client, &reply)
}

/// Answers what takes longer on a thread of its own.
fn answer_long(
    mut client: UnixStream,
    daemon: &Arc<dyn Operations>,
    long: &Arc<AtomicUsize>,
    request: Request,
) -> io::Result<()> {
    // Only this thread adds to it.
    if long.load(Ordering::Acquire) >= MAX_LONG {
        return send(&mut client, &Reply::Error("too many ask at once; try again".to_owned()));
    }
    let one = One::more(long);
    let daemon = Arc::clone(daemon);
    thread::Builder::new().name("admin-long".to_owned()).spawn(move || {
        let _one = one;
        let reply = act(&*daemon, &request, &mut client);
        if let Err(error) = send(&mut client, &reply) {
            tracing::debug!("admin socket: {error}");
        }
    })?;
    Ok(())
}

fn act(daemon: &dyn Operations, request: &Request, client: &mut UnixStream) -> Reply {
    let mut go_on = |progress| send(client, &Reply::Progress(progress)).is_ok();
    match request {
        Request::CachePrefetch(image) => {
            daemon.prefetch(image, &mut go_on).map_or_else(refused, Reply::Cached)
        }
        Request::CacheEvict(image) => {
            daemon.evict(Some(image)).map_or_else(refused, Reply::Evicted)
        }
        Request::CacheEvictAll => daemon.evict(None).map_or_else(refused, Reply::Evicted),
        Request::Pending => daemon.pending().map_or_else(refused, Reply::Pending),
        Request::Scrub => daemon.scrub(&mut go_on).map_or_else(refused, Reply::Scrubbed),
        Request::Restore(image) => daemon.restore(image).map_or_else(refused, Reply::Restored),
        Request::Status | Request::CacheList => Reply::Error("unknown command".to_owned()),
    }
}

fn refused(error: Error) -> Reply {
    Reply::Error(error.to_string())
}

fn send(client: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    client.write_all(&line)
}

/// Counts one request for as long as it lives.
struct One(Arc<AtomicUsize>);

impl One {
    fn more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
