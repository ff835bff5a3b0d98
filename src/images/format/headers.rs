//! Formats that one header at a fixed place tells all about: QED, VDI, LUKS, ISO 9660, Parallels,
//! and compressed files.

use super::source::{Source, be_u32, field, le_u16, le_u32, le_u64};
use super::{DetectedFormat, Finding, SECTOR, Unsafe};
use crate::error::Result;

/// QED: recognised only to be refused (Glance: "banned").
pub(super) fn qed(head: &[u8]) -> Option<Finding> {
    if head.len() < SECTOR || !head.starts_with(b"QED\0") {
        return None;
    }
    let banned = Unsafe::new("banned", "This file format is not allowed");
    // QEMU's docs/interop/qed_spec.txt: image_size.
    let size = le_u64(head, 48);
    Some(Finding::new(DetectedFormat::Qed, Some(size)).unless(Some(banned)))
}

/// VirtualBox's format.  Fields: QEMU's `block/vdi.c`.
pub(super) fn vdi(head: &[u8]) -> Option<Finding> {
    const SIGNATURE: u32 = 0xbeda_107f;
    const DYNAMIC: u32 = 1;
    const STATIC: u32 = 2;
    if head.len() < SECTOR || le_u32(head, 0x40) != SIGNATURE {
        return None;
    }
    let alone = matches!(le_u32(head, 0x4c), DYNAMIC | STATIC);
    let parent = || Unsafe::new("backing_file", "VDI image depends on a parent image");
    Some(Finding::new(DetectedFormat::Vdi, Some(le_u64(head, 0x170))).unless((!alone).then(parent)))
}

/// LUKS.  Version 2 has no fixed place for its sizes, and Glance refuses it.
pub(super) fn luks(head: &[u8], size: u64) -> Option<Finding> {
    /// With all key slots.
    const HEADER: usize = 592;
    if !head.starts_with(b"LUKS\xba\xbe") {
        return None;
    }
    let finding = Finding::new(DetectedFormat::Luks, None);
    if head.len() < HEADER {
        return Some(finding.unless(Some(incomplete())));
    }
    let version = u16::from_be_bytes(field(head, 6));
    if version != 1 {
        let reason = format!("LUKS version {version} is not supported");
        return Some(finding.unless(Some(Unsafe::new("version", reason))));
    }
    let payload = u64::from(be_u32(head, 104)) * SECTOR as u64;
    Some(Finding { virtual_size: size.checked_sub(payload), ..finding })
}

/// ISO 9660, or UDF whose first descriptor already says so (Glance: the same three marks).
pub(super) fn iso(source: &mut Source<'_>) -> Result<Option<Finding>> {
    const DESCRIPTORS: u64 = 32 * 1024;
    const PRIMARY: u8 = 1;
    let Some(descriptor) = source.exactly::<2048>(DESCRIPTORS)? else {
        return Ok(None);
    };
    if !matches!(&field::<5>(&descriptor, 1), b"CD001" | b"NSR02" | b"NSR03") {
        return Ok(None);
    }
    let blocks = u64::from(le_u32(&descriptor, 80));
    let block_size = u64::from(le_u16(&descriptor, 128));
    // Neither factor exceeds 32 bits, so the product fits.
    let volume = descriptor.starts_with(&[PRIMARY]).then_some(blocks * block_size);
    Ok(Some(Finding::new(DetectedFormat::Iso, volume)))
}

/// Parallels.  Fields: QEMU's `docs/interop/parallels.txt`.
pub(super) fn parallels(head: &[u8]) -> Option<Finding> {
    if head.len() < 64 {
        return None;
    }
    let sectors = le_u64(head, 36);
    let sectors = match &field::<16>(head, 0) {
        // In the older kind only 32 bits are meant.
        b"WithoutFreeSpace" => sectors & u64::from(u32::MAX),
        b"WithouFreSpacExt" => sectors,
        _ => return None,
    };
    Some(Finding::new(DetectedFormat::Ploop, sectors.checked_mul(SECTOR as u64)))
}

/// Compressed files, whatever is in them.
pub(super) fn compressed(head: &[u8]) -> Option<Finding> {
    let format = match head {
        [0x1f, 0x8b, 0x08, ..] => DetectedFormat::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => DetectedFormat::Xz,
        // The block's mark is the number pi; three letters alone would be too little.
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
            DetectedFormat::Bzip2
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => DetectedFormat::Zstd,
        _ => return None,
    };
    Some(Finding::new(format, None))
}

/// The image ends inside its own header.  Glance: the same words.
pub(super) fn incomplete() -> Unsafe {
    Unsafe::new("incomplete", "Incomplete file cannot be safety checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luks_2_and_a_cut_luks_are_unsafe() {
        let mut head = vec![0; 4096];
        head[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        head[104..108].copy_from_slice(&4_u32.to_be_bytes());
        let first = luks(&head, 10_000).unwrap();
        assert_eq!((first.virtual_size, first.unsafe_because), (Some(10_000 - 2048), None));
        head[7] = 2;
        let second = luks(&head, 10_000).unwrap().unsafe_because.unwrap();
        assert_eq!(second.reason, "LUKS version 2 is not supported");
        assert_eq!(luks(&head[..591], 591).unwrap().unsafe_because, Some(incomplete()));
    }

    #[test]
    fn a_vdi_with_a_parent_is_unsafe() {
        let mut head = vec![0; SECTOR];
        head[0x40..0x44].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
        for (kind, safe) in [(1, true), (2, true), (3, false), (4, false)] {
            head[0x4c] = kind;
            assert_eq!(vdi(&head).unwrap().unsafe_because.is_none(), safe, "type {kind}");
        }
    }

    #[test]
    fn the_older_parallels_counts_in_32_bits() {
        let mut head = vec![0; 64];
        head[36..44].copy_from_slice(&0x1_0000_0002_u64.to_le_bytes());
        head[..16].copy_from_slice(b"WithoutFreeSpace");
        assert_eq!(parallels(&head).unwrap().virtual_size, Some(1024));
        head[..16].copy_from_slice(b"WithouFreSpacExt");
        assert_eq!(parallels(&head).unwrap().virtual_size, Some(0x200_0000_0400));
    }
}
