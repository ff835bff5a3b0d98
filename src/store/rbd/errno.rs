//! What Ceph's calls answer, and what that means in the words of a store.

use std::ffi::c_int;
use std::fmt;
use std::io;

use crate::error::Error;

/// The system's error number behind a negative answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Errno(c_int);

impl Errno {
    pub(super) const PERM: Self = Self(libc::EPERM);
    pub(super) const NOENT: Self = Self(libc::ENOENT);
    pub(super) const IO: Self = Self(libc::EIO);
    pub(super) const AGAIN: Self = Self(libc::EAGAIN);
    pub(super) const ACCES: Self = Self(libc::EACCES);
    pub(super) const BUSY: Self = Self(libc::EBUSY);
    pub(super) const EXIST: Self = Self(libc::EEXIST);
    pub(super) const INVAL: Self = Self(libc::EINVAL);
    pub(super) const FBIG: Self = Self(libc::EFBIG);
    pub(super) const NOSPC: Self = Self(libc::ENOSPC);
    pub(super) const RANGE: Self = Self(libc::ERANGE);
    pub(super) const NOTEMPTY: Self = Self(libc::ENOTEMPTY);
    pub(super) const OPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// The cluster has shut this client out ("blocklisted").
    pub(super) const SHUTDOWN: Self = Self(libc::ESHUTDOWN);
    pub(super) const NOTCONN: Self = Self(libc::ENOTCONN);
    pub(super) const TIMEDOUT: Self = Self(libc::ETIMEDOUT);
    pub(super) const DQUOT: Self = Self(libc::EDQUOT);
    /// The image's snapshot, or all of it, is gone: no answer of Ceph's, which would give zeros.
    pub(super) const STALE: Self = Self(libc::ESTALE);

    /// Why an operation failed, in the words of a store.
    pub(super) fn error(self, action: &str, target: &str) -> Error {
        let words = format!("{action} {target}: {self}");
        match self {
            Self::NOSPC | Self::DQUOT | Self::FBIG => Error::StoreFull(words),
            Self::TIMEDOUT => Error::StoreUnavailable(format!(
                "{action} {target}: the Ceph cluster did not answer in time \
                 (rados_connect_timeout)"
            )),
            Self::STALE => Error::StoreUnavailable(format!(
                "{action} {target}: the image was removed from the pool"
            )),
            Self::PERM | Self::ACCES => Error::StoreUnavailable(format!(
                "{words}: the caps of the Ceph user do not allow this (rbd_store_user)"
            )),
            _ => Error::StoreUnavailable(words),
        }
    }

    /// Whether the connection is of no use any more.
    pub(super) fn ends_connection(self) -> bool {
        matches!(self, Self::SHUTDOWN | Self::NOTCONN)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The answer of a call: what is not negative is success.
pub(super) fn check(answer: c_int) -> Result<c_int, Errno> {
    if answer < 0 { Err(Errno(answer.saturating_neg())) } else { Ok(answer) }
}

/// The answer of a call that counts bytes.
pub(super) fn check_count(answer: isize) -> Result<usize, Errno> {
    usize::try_from(answer).map_err(|_| {
        let number = answer.checked_neg().and_then(|number| c_int::try_from(number).ok());
        number.map_or(Errno::IO, Errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_errors_of_a_store() {
        assert_eq!(check(3), Ok(3));
        assert_eq!(check(-2), Err(Errno::NOENT));
        assert_eq!(check_count(-110), Err(Errno::TIMEDOUT));
        assert_eq!(check_count(isize::MIN), Err(Errno::IO));
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            assert!(matches!(full.error("write", "a"), Error::StoreFull(_)));
        }
        let Error::StoreUnavailable(words) = Errno::PERM.error("open", "images/x") else {
            panic!()
        };
        assert!(words.starts_with("open images/x: ") && words.contains("caps"), "{words}");
    }
}
