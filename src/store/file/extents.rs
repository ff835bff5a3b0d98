//! Where a file has data and where holes, as its file system tells.
//!
//! Asking moves the descriptor's own offset, which nothing here uses: all reads and writes name
//! theirs.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The first byte of data at or after `offset`, if any follows.  A file system that knows no holes
/// has data everywhere.
pub(super) fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// The first byte of a hole at or after `offset`; `end` where there is none.
pub(super) fn next_hole(file: &File, offset: u64, end: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(offset)) {
        Ok(hole) => Ok(hole.min(end)),
        Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => Ok(end),
        Err(error) => Err(error.into()),
    }
}
