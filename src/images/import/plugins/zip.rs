//! Zip archives with one file in them, and no others.
//!
//! Only as much of the directory is read as says that there is one file, and where: an archive of a
//! billion entries costs nothing.  Layout: PKWARE's APPNOTE.TXT 6.3, zip64 included.

use crate::error::{Error, Result};
use crate::images::format::source::{Source, le_u16, le_u32, le_u64};

/// The end of the directory: fixed part, then a comment.
const END: usize = 22;
const LONGEST_COMMENT: usize = u16::MAX as usize;
/// In place of a number that did not fit.
const ELSEWHERE: u64 = u32::MAX as u64;

/// The file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// How it was packed.
    pub(super) method: Method,
    /// Where its packed bytes begin in the archive.
    pub(super) start: u64,
    /// How many they are.
    pub(super) packed: u64,
    /// How many they are unpacked.
    pub(super) unpacked: u64,
    /// The checksum of the unpacked bytes.
    pub(super) crc: u32,
}

/// How a file was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Not at all.
    Stored,
    /// As in gzip.
    Deflated,
}

fn damaged() -> Error {
    Error::Invalid("The image is not a zip archive that can be read".to_owned())
}

/// Finds the one file.
///
/// # Errors
/// `Invalid` for several files or none, an encrypted or damaged one, or another way of packing.
pub(super) fn only_entry(source: &mut Source<'_>) -> Result<Entry> {
    let (entries, directory) = end_of_directory(source)?;
    if entries != 1 {
        return Err(Error::Invalid("Archive contains more than one file.".to_owned()));
    }
    let header: [u8; 46] = source.exactly(directory)?.ok_or_else(damaged)?;
    if !header.starts_with(b"PK\x01\x02") {
        return Err(damaged());
    }
    if le_u16(&header, 8) & 1 != 0 {
        return Err(Error::Invalid("The zip archive is encrypted".to_owned()));
    }
    let method = match le_u16(&header, 10) {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => {
            return Err(Error::Invalid(format!("Method {other} of zip archives is not known")));
        }
    };
    let (name, extra) = (u64::from(le_u16(&header, 28)), usize::from(le_u16(&header, 30)));
    let mut sizes = [
        u64::from(le_u32(&header, 24)),
        u64::from(le_u32(&header, 20)),
        u64::from(le_u32(&header, 42)),
    ];
    if sizes.contains(&ELSEWHERE) {
        widen(&mut sizes, &source.read(directory.saturating_add(46 + name), extra)?)?;
    }
    let [unpacked, packed, local] = sizes;
    let start = start_of_data(source, local)?;
    if start.checked_add(packed).is_none_or(|end| end > source.size) {
        return Err(damaged());
    }
    Ok(Entry { method, start, packed, unpacked, crc: le_u32(&header, 16) })
}

/// How many entries the directory has, and where it is.
fn end_of_directory(source: &mut Source<'_>) -> Result<(u64, u64)> {
    let tail_at = source.size.saturating_sub((END + LONGEST_COMMENT) as u64);
    let tail = source.read(tail_at, END + LONGEST_COMMENT)?;
    let is_end = |at: &usize| {
        tail.get(*at..).is_some_and(|end| {
            end.starts_with(b"PK\x05\x06") && END + usize::from(le_u16(end, 20)) == end.len()
        })
    };
    let last = tail.len().saturating_sub(END);
    let at = (0..=last).rev().find(is_end).ok_or_else(damaged)?;
    let end = tail.get(at..).unwrap_or_default();
    let (entries, directory) = (u64::from(le_u16(end, 10)), u64::from(le_u32(end, 16)));
    if entries != u64::from(u16::MAX) && directory != ELSEWHERE {
        return Ok((entries, directory));
    }
    let locator_at = (tail_at + at as u64).checked_sub(20).ok_or_else(damaged)?;
    let locator: [u8; 20] = source.exactly(locator_at)?.ok_or_else(damaged)?;
    let wide: [u8; 56] = source.exactly(le_u64(&locator, 8))?.ok_or_else(damaged)?;
    if !locator.starts_with(b"PK\x06\x07") || !wide.starts_with(b"PK\x06\x06") {
        return Err(damaged());
    }
    Ok((le_u64(&wide, 32), le_u64(&wide, 48)))
}

/// Takes the numbers that did not fit from the extra field of zip64.
fn widen(numbers: &mut [u64; 3], extra: &[u8]) -> Result<()> {
    let mut rest = extra;
    while rest.len() >= 4 {
        let (kind, length) = (le_u16(rest, 0), usize::from(le_u16(rest, 2)));
        let mut field = rest.get(4..4 + length).ok_or_else(damaged)?;
        if kind == 1 {
            for number in numbers.iter_mut().filter(|number| **number == ELSEWHERE) {
                let (wide, after) = field.split_at_checked(8).ok_or_else(damaged)?;
                *number = le_u64(wide, 0);
                field = after;
            }
            return Ok(());
        }
        rest = rest.get(4 + length..).unwrap_or_default();
    }
    Err(damaged())
}

fn start_of_data(source: &mut Source<'_>, local: u64) -> Result<u64> {
    let header: [u8; 30] = source.exactly(local)?.ok_or_else(damaged)?;
    if !header.starts_with(b"PK\x03\x04") {
        return Err(damaged());
    }
    let names = u64::from(le_u16(&header, 26)) + u64::from(le_u16(&header, 28));
    local.checked_add(30 + names).ok_or_else(damaged)
}
