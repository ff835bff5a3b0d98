//! VHD, which QEMU calls `vpc`.  A dynamic image repeats its footer at the beginning; a fixed one
//! has it only in the last sector, behind a raw disk.
//!
//! Fields: Microsoft's "Virtual Hard Disk Image Format Specification".

use super::source::{Source, be_u32, be_u64, field};
use super::{DetectedFormat, Finding, SECTOR, Unsafe};
use crate::error::Result;

const COOKIE: &[u8] = b"conectix";
const CURRENT_SIZE: usize = 48;
const DISK_TYPE: usize = 60;
const CHECKSUM: usize = 64;
const FIXED: u32 = 2;
const DIFFERENCING: u32 = 4;

/// A dynamic or differencing image.
pub(super) fn dynamic(head: &[u8]) -> Option<Finding> {
    if !head.starts_with(COOKIE) {
        return None;
    }
    if head.len() < SECTOR {
        let finding = Finding::new(DetectedFormat::Vhd, None);
        return Some(finding.unless(Some(super::headers::incomplete())));
    }
    let parent = || Unsafe::new("backing_file", "VHD image depends on a parent image");
    let differs = be_u32(head, DISK_TYPE) == DIFFERENCING;
    let size = be_u64(head, CURRENT_SIZE);
    Some(Finding::new(DetectedFormat::Vhd, Some(size)).unless(differs.then(parent)))
}

/// A fixed image: only a footer that is right in every way counts, since any disk may end in
/// these eight letters.
pub(super) fn fixed(source: &mut Source<'_>) -> Result<Option<Finding>> {
    let Some(end) = source.size.checked_sub(SECTOR as u64) else {
        return Ok(None);
    };
    let Some(footer) = source.exactly::<SECTOR>(end)? else {
        return Ok(None);
    };
    let size = be_u64(&footer, CURRENT_SIZE);
    let right = footer.starts_with(COOKIE)
        && be_u32(&footer, DISK_TYPE) == FIXED
        && be_u32(&footer, CHECKSUM) == checksum(&footer)
        && size <= end;
    Ok(right.then(|| Finding::new(DetectedFormat::VhdFixed, Some(size))))
}

/// The complement of the sum of all bytes but the checksum's own.
fn checksum(footer: &[u8; SECTOR]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    !(sum(footer) - sum(&field::<4>(footer, CHECKSUM)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{check_declared, disk_format_for, tests::look};
    use super::*;

    /// A disk of `size` zeros with the footer of a fixed VHD.
    pub(in super::super) fn fixed_of(size: usize) -> Vec<u8> {
        let mut footer = [0; SECTOR];
        footer[..8].copy_from_slice(COOKIE);
        footer[48..56].copy_from_slice(&(size as u64).to_be_bytes());
        footer[60..64].copy_from_slice(&FIXED.to_be_bytes());
        let sum = checksum(&footer);
        footer[64..68].copy_from_slice(&sum.to_be_bytes());
        let mut disk = vec![0; size];
        disk.extend_from_slice(&footer);
        disk
    }

    #[test]
    fn a_fixed_vhd_may_be_declared_as_what_it_is_or_as_raw() {
        let found = look(&fixed_of(65_536));
        assert_eq!((found.format, found.virtual_size), (DetectedFormat::VhdFixed, Some(65_536)));
        assert_eq!(disk_format_for(&found, None), "vhd");
        assert!(check_declared("vhd", &found).is_ok());
        assert!(check_declared("raw", &found).is_ok());
        assert!(check_declared("qcow2", &found).is_err());
    }

    #[test]
    fn a_wrong_footer_is_just_the_end_of_a_raw_disk() {
        for at in [48, 63, 64, 511] {
            let mut disk = fixed_of(4096);
            disk[4096 + at] ^= 1;
            assert_eq!(look(&disk).format, DetectedFormat::Raw, "byte {at} changed");
        }
    }

    #[test]
    fn a_differencing_vhd_is_unsafe() {
        let mut head = vec![0; 2048];
        head[..8].copy_from_slice(COOKIE);
        head[63] = 3;
        assert_eq!(dynamic(&head).unwrap().unsafe_because, None);
        head[63] = 4;
        assert_eq!(dynamic(&head).unwrap().unsafe_because.unwrap().check, "backing_file");
        assert_eq!(dynamic(&head[..100]).unwrap().unsafe_because.unwrap().check, "incomplete");
    }
}
