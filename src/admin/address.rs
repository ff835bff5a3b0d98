//! Where the socket is, also when its path is too long for a socket address.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::SOCKET_NAME;

/// Bytes that `sun_path` holds, its final NUL included (unix(7)).
const MAX_SOCKET_PATH: usize = 108;

/// A path that leads to the socket for as long as this lives.
pub(super) struct SocketPath {
    path: PathBuf,
    _directory: Option<File>,
}

impl SocketPath {
    pub(super) fn of(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(SOCKET_NAME);
        if path.as_os_str().len() < MAX_SOCKET_PATH {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(state_dir)?;
        let path = format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()).into();
        Ok(Self { path, _directory: Some(directory) })
    }

    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}
