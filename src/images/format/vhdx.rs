//! VHDX: the virtual size is a metadata item, found by way of the region table.
//!
//! Layout: Microsoft's MS-VHDX.  Tables have at most 2047 entries of 32 bytes behind a header;
//! both copies of the region table are tried.

use super::source::{Source, field, le_u16, le_u32, le_u64};
use super::{DetectedFormat, Finding, Unsafe, headers};
use crate::error::Result;

/// The two copies of the region table.
const REGION_TABLES: [u64; 2] = [192 * 1024, 256 * 1024];
/// The most that either table takes.
const TABLE: usize = 64 * 1024;
const ENTRY: usize = 32;

const METADATA_REGION: [u8; 16] = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
const VIRTUAL_DISK_SIZE: [u8; 16] = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const FILE_PARAMETERS: [u8; 16] = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
/// In the second word of the file parameters.
const HAS_PARENT: u32 = 1 << 1;

/// A GUID as it is stored: three little-endian numbers and eight bytes in order.
const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let (a, b, c, d) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), d.to_be_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// Looks for a VHDX.  Damaged tables leave the size unknown; one that ends before its tables do
/// cannot be judged (Glance: the same).
pub(super) fn detect(source: &mut Source<'_>, head: &[u8]) -> Result<Option<Finding>> {
    if !head.starts_with(b"vhdxfile") {
        return Ok(None);
    }
    let finding = Finding::new(DetectedFormat::Vhdx, None);
    let (start, table) = match metadata(source)? {
        Metadata::Table(start, table) => (start, table),
        Metadata::Damaged => return Ok(Some(finding)),
        Metadata::Incomplete => return Ok(Some(finding.unless(Some(headers::incomplete())))),
    };
    let size = item(source, start, &table, &VIRTUAL_DISK_SIZE)?.map(u64::from_le_bytes);
    let parameters = item(source, start, &table, &FILE_PARAMETERS)?.unwrap_or_default();
    let parent = || Unsafe::new("backing_file", "VHDX image depends on a parent image");
    let differs = le_u32(&parameters, 4) & HAS_PARENT != 0;
    Ok(Some(Finding { virtual_size: size, ..finding }.unless(differs.then(parent))))
}

/// What the region table says of the metadata.
enum Metadata {
    /// Where the region starts, and its table.
    Table(u64, Vec<u8>),
    Damaged,
    /// The image ends before it.
    Incomplete,
}

fn metadata(source: &mut Source<'_>) -> Result<Metadata> {
    for at in REGION_TABLES {
        let regions = source.read(at, TABLE)?;
        if regions.len() < TABLE {
            return Ok(Metadata::Incomplete);
        }
        if !regions.starts_with(b"regi") {
            continue;
        }
        let count = le_u32(&regions, 8) as usize;
        let Some(entry) = find(&regions, 16, count, &METADATA_REGION) else {
            continue;
        };
        let start = le_u64(entry, 16);
        let table = source.read(start, TABLE)?;
        return Ok(match table {
            table if table.len() < TABLE => Metadata::Incomplete,
            table if table.starts_with(b"metadata") => Metadata::Table(start, table),
            _ => Metadata::Damaged,
        });
    }
    Ok(Metadata::Damaged)
}

/// The first eight bytes of a metadata item: no item that matters here is longer.
fn item(
    source: &mut Source<'_>,
    start: u64,
    table: &[u8],
    id: &[u8; 16],
) -> Result<Option<[u8; 8]>> {
    let count = usize::from(le_u16(table, 10));
    let Some(entry) = find(table, ENTRY, count, id) else {
        return Ok(None);
    };
    match start.checked_add(u64::from(le_u32(entry, 16))) {
        Some(at) => source.exactly(at),
        None => Ok(None),
    }
}

/// The entry of a table that begins with `id`.
fn find<'t>(table: &'t [u8], first: usize, count: usize, id: &[u8; 16]) -> Option<&'t [u8]> {
    let entries = table.get(first..)?.chunks_exact(ENTRY);
    entries.take(count).find(|entry| field::<16>(entry, 0) == *id)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::look;
    use super::*;

    /// Just the tables of a VHDX of 5 GiB, whose file parameters say `flags`.
    pub(in super::super) fn minimal(flags: u32) -> Vec<u8> {
        let start = 1 << 20;
        let mut file = vec![0; start + TABLE + 64];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"vhdxfile");
        put(0x4_0000, b"regi");
        put(0x4_0008, &1_u32.to_le_bytes());
        put(0x4_0010, &METADATA_REGION);
        put(0x4_0020, &(start as u64).to_le_bytes());
        put(start, b"metadata");
        put(start + 10, &2_u16.to_le_bytes());
        put(start + 32, &FILE_PARAMETERS);
        put(start + 48, &65_536_u32.to_le_bytes());
        put(start + 64, &VIRTUAL_DISK_SIZE);
        put(start + 80, &65_544_u32.to_le_bytes());
        put(start + 65_540, &flags.to_le_bytes());
        put(start + 65_544, &(5_u64 << 30).to_le_bytes());
        file
    }

    #[test]
    fn the_second_region_table_serves_too() {
        let found = look(&minimal(0));
        assert_eq!((found.format, found.virtual_size), (DetectedFormat::Vhdx, Some(5 << 30)));
        assert_eq!(found.unsafe_because, None);
    }

    #[test]
    fn a_parent_is_unsafe() {
        assert_eq!(look(&minimal(2)).unsafe_because.unwrap().check, "backing_file");
    }

    #[test]
    fn wild_offsets_leave_the_size_unknown() {
        let mut file = minimal(0);
        file[0x4_0020..0x4_0028].fill(0xff);
        let found = look(&file);
        assert_eq!((found.format, found.virtual_size), (DetectedFormat::Vhdx, None));
    }
}
