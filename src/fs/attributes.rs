//! An image's fields as the attributes of a file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Settings;
use super::inodes::Ino;
use crate::catalog::model::{Row, Timestamp, Visibility};

/// Directory or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
}

/// What `stat` shows.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// Inode number.
    pub ino: Ino,
    /// Directory or file.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes that are really stored.
    pub blocks: u64,
    /// When the data was made.
    pub mtime: SystemTime,
    /// When the record last changed.
    pub ctime: SystemTime,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Bits that every file of a public or community image has beyond those of the others.
pub const OTHERS_READ: u16 = 0o004;
/// The owner's write bit: cleared on a protected image.
pub const OWNER_WRITE: u16 = 0o200;

/// An image's permission bits.  Glance's file store shows 0640, and so do we.
pub fn mode(visibility: Visibility, protected: bool) -> u16 {
    let seen_by_all = matches!(visibility, Visibility::Public | Visibility::Community);
    let mut mode = if seen_by_all { 0o640 | OTHERS_READ } else { 0o640 };
    if protected {
        mode &= !OWNER_WRITE;
    }
    mode
}

/// The attributes of an image's file; `allocated` is what the store says it takes, in bytes.
pub fn of_image(settings: &Settings, ino: Ino, row: &Row, allocated: Option<u64>) -> Attributes {
    let asked_for = row.mtime.as_deref().and_then(parse_time);
    Attributes {
        ino,
        kind: Kind::File,
        size: row.size,
        blocks: allocated.unwrap_or(row.size).div_ceil(512),
        mtime: asked_for.unwrap_or_else(|| system_time(row.created_at)),
        ctime: system_time(row.updated_at),
        mode: mode(row.visibility, row.protected) & !settings.umask,
        uid: settings.uid,
        gid: settings.gid,
    }
}

/// The attributes of a directory.
pub fn of_directory(settings: &Settings, ino: Ino, changed: Timestamp) -> Attributes {
    let time = system_time(changed);
    Attributes {
        ino,
        kind: Kind::Directory,
        size: 4096,
        blocks: 8,
        mtime: time,
        ctime: time,
        mode: 0o755 & !settings.umask,
        uid: settings.uid,
        gid: settings.gid,
    }
}

/// A catalog's moment as the system's.
pub fn system_time(moment: Timestamp) -> SystemTime {
    let micros = moment.as_micros();
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// How a file time is kept in a property: RFC 3339, to the nanosecond.
pub fn format_time(time: SystemTime) -> Option<String> {
    Some(jiff::Timestamp::try_from(time).ok()?.to_string())
}

/// Reads [`format_time`]'s text.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    Some(text.parse::<jiff::Timestamp>().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_the_table() {
        assert_eq!(mode(Visibility::Private, false), 0o640);
        assert_eq!(mode(Visibility::Shared, true), 0o440);
        assert_eq!(mode(Visibility::Public, false), 0o644);
        assert_eq!(mode(Visibility::Community, true), 0o444);
    }

    #[test]
    fn a_file_time_survives_to_the_nanosecond() {
        for time in [
            UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
            UNIX_EPOCH - Duration::new(3, 500_000_000),
        ] {
            assert_eq!(parse_time(&format_time(time).unwrap()), Some(time));
        }
    }
}
