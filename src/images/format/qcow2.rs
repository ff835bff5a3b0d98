//! qcow2: where its header lies about being complete in itself.
//!
//! Fields: QEMU's `docs/interop/qcow2.txt`.

use super::source::{be_u32, be_u64};
use super::{DetectedFormat, Finding, SECTOR, Unsafe};

const MAGIC: &[u8] = b"QFI\xfb";
const BACKING_FILE_OFFSET: usize = 8;
const SIZE: usize = 24;
const INCOMPATIBLE_FEATURES: usize = 72;
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
/// Dirty, corrupt, external data, compression type.  Extended L2 entries (bit 4) are unknown to
/// Glance, so consumers that check as it does would refuse them.
const KNOWN_FEATURES: u64 = 0b1111;

/// Looks for a qcow2 header, of the forbidden version 1 too.
pub(super) fn detect(head: &[u8]) -> Option<Finding> {
    if head.len() < SECTOR || !head.starts_with(MAGIC) {
        return None;
    }
    Some(Finding::new(DetectedFormat::Qcow2, Some(be_u64(head, SIZE))).unless(problem(head)))
}

fn problem(head: &[u8]) -> Option<Unsafe> {
    if be_u64(head, BACKING_FILE_OFFSET) != 0 {
        return Some(Unsafe::new("backing_file", "Image has a backing file"));
    }
    let features = match be_u32(head, 4) {
        2 => 0,
        3 => be_u64(head, INCOMPATIBLE_FEATURES),
        _ => return Some(Unsafe::new("unknown_features", "Unsupported qcow2 version")),
    };
    if features & EXTERNAL_DATA_FILE != 0 {
        return Some(Unsafe::new("data_file", "Image has data_file set"));
    }
    if features & !KNOWN_FEATURES != 0 {
        return Some(Unsafe::new("unknown_features", "Unknown QCOW2 features found"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u32, backing: u64, features: u64) -> Vec<u8> {
        let mut header = vec![0; SECTOR];
        header[..4].copy_from_slice(MAGIC);
        header[4..8].copy_from_slice(&version.to_be_bytes());
        header[8..16].copy_from_slice(&backing.to_be_bytes());
        header[72..80].copy_from_slice(&features.to_be_bytes());
        header
    }

    fn failed_check(version: u32, backing: u64, features: u64) -> Option<&'static str> {
        let finding = detect(&header(version, backing, features)).unwrap();
        finding.unsafe_because.map(|problem| problem.check)
    }

    #[test]
    fn whatever_reaches_outside_is_unsafe() {
        assert_eq!(failed_check(3, 0, 0b1011), None);
        assert_eq!(failed_check(3, 560, 0), Some("backing_file"));
        assert_eq!(failed_check(2, u64::MAX, 0), Some("backing_file"));
        assert_eq!(failed_check(3, 0, 0b0100), Some("data_file"));
    }

    #[test]
    fn unknown_features_and_versions_are_unsafe() {
        assert_eq!(failed_check(3, 0, 1 << 4), Some("unknown_features"));
        assert_eq!(failed_check(3, 0, 1 << 63), Some("unknown_features"));
        for version in [0, 1, 4, u32::MAX] {
            assert_eq!(failed_check(version, 0, 0), Some("unknown_features"));
        }
    }

    #[test]
    fn version_2_has_no_feature_bits() {
        assert_eq!(failed_check(2, 0, u64::MAX), None);
    }
}
