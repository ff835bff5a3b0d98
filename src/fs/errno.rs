//! The one table from what went wrong to an errno.

use std::io;

use crate::error::Error;

/// An errno as the kernel takes it (positive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno { $(#[doc = stringify!($name)] pub const $name: Self = Self(libc::$name);)* }
    };
}

errnos! {
    EPERM ENOENT EIO EACCES EBUSY EEXIST ENOTDIR EISDIR EINVAL EFBIG ENOSPC EROFS ENODATA ERANGE
    ENXIO EXDEV ESTALE EDQUOT EOPNOTSUPP EAGAIN EBADF ENAMETOOLONG EILSEQ ENOTSUP
}

impl From<&Error> for Errno {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound(_) | Error::Hidden => Self::ENOENT,
            Error::Forbidden(_) => Self::EACCES,
            Error::Immutable(_) | Error::Refused(_) => Self::EPERM,
            Error::Missing(_) => Self::ENODATA,
            Error::Invalid(_) | Error::FormatMismatch(_) | Error::Config(_) => Self::EINVAL,
            Error::Conflict(_) | Error::InUse(_) => Self::EBUSY,
            Error::NameTaken(_) => Self::EEXIST,
            Error::TooLarge(_) => Self::EFBIG,
            Error::OverQuota(_) => Self::EDQUOT,
            Error::StoreFull(_) => Self::ENOSPC,
            Error::Unsupported(_) => Self::EOPNOTSUPP,
            Error::Gone(_)
            | Error::StoreUnavailable(_)
            | Error::Unidentified(_)
            | Error::CatalogUnavailable(_)
            | Error::Catalog(_) => Self::EIO,
            Error::Io { source, .. } => Self::from(source),
        }
    }
}

impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::EIO, Self)
    }
}
