//! What an image really is: its disk format and virtual size, found by looking at the bytes.
//!
//! [`inspect`] works on finished bytes, however they came in, and reads only a few small pieces.
//! The bytes are hostile until shown otherwise: nothing is allocated or read by a number found in
//! them, and no value of theirs can make this code panic or go on for long.  What the findings mean
//! for an image whose `disk_format` was declared is the business of [`declared`].
//!
//! Formats and safety checks are those of Glance's inspector (oslo.utils `format_inspector`), plus
//! what it cannot see because it reads a stream only once: fixed VHD (its only mark is at the end),
//! Parallels images (Glance: `ploop`), compressed files, and parents that other formats name.

mod headers;
mod partitions;
mod qcow2;
pub(super) mod source;
mod vhd;
mod vhdx;
mod vmdk;

pub mod declared;

#[cfg(test)]
mod real_images;

pub use declared::{FormatRules, check_declared, disk_format_for};

use crate::error::Result;
use source::Source;

/// How much of the beginning every look starts with.
const HEAD: usize = 4608;

/// A header that is cut off before this many bytes is no header (Glance: the same).
const SECTOR: usize = 512;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DetectedFormat {
    /// Nothing that is known: taken as a disk's own bytes.
    Raw,
    /// QEMU's copy-on-write format, any version.
    Qcow2,
    /// QEMU's enhanced disk, given up by everybody.
    Qed,
    /// VMware: a sparse extent, or a descriptor that names files.
    Vmdk,
    /// Microsoft's first: dynamic or differencing, marked at the beginning.
    Vhd,
    /// The same with all bytes in place: a raw disk with a footer.
    VhdFixed,
    /// Microsoft's second.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// A CD or DVD: ISO 9660 or UDF.
    Iso,
    /// An encrypted volume, version 1 or 2.
    Luks,
    /// Parallels; the format of Virtuozzo's ploop.
    Ploop,
    /// A gzip file.
    Gzip,
    /// An xz file.
    Xz,
    /// A bzip2 file.
    Bzip2,
    /// A zstd file.
    Zstd,
}

impl DetectedFormat {
    /// The usual word; for what Glance knows, Glance's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Qed => "qed",
            Self::Vmdk => "vmdk",
            Self::Vhd | Self::VhdFixed => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Iso => "iso",
            Self::Luks => "luks",
            Self::Ploop => "ploop",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        }
    }

    /// Whether Glance's inspector sees nothing in it but a disk's own bytes.
    pub(super) const fn is_raw_to_glance(self) -> bool {
        matches!(
            self,
            Self::Raw
                | Self::VhdFixed
                | Self::Ploop
                | Self::Gzip
                | Self::Xz
                | Self::Bzip2
                | Self::Zstd
        )
    }
}

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartitionTable {
    /// The old table of four entries in the first sector.
    Mbr,
    /// A GUID partition table.
    Gpt,
}

/// Why using an image could reach beyond its own bytes, or cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsafe {
    /// The name of the check that failed.  Glance: those of its safety checks.
    pub check: &'static str,
    /// Why, for whoever uploaded it.
    pub reason: String,
}

impl Unsafe {
    fn new(check: &'static str, reason: impl Into<String>) -> Self {
        Self { check, reason: reason.into() }
    }
}

/// Everything that [`inspect`] finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Length of the image in bytes.
    pub size: u64,
    /// What the bytes are.
    pub format: DetectedFormat,
    /// Size of the disk that a guest sees, in bytes, where the format says so.
    pub virtual_size: Option<u64>,
    /// How a raw disk, a fixed VHD or a hybrid ISO is divided.
    pub partition_table: Option<PartitionTable>,
    /// Why it must not be used, if so.
    pub unsafe_because: Option<Unsafe>,
    /// The formats that it could be, when it could be more than one: somebody hides something.
    pub ambiguous: Option<String>,
}

/// What one family of formats finds.
struct Finding {
    format: DetectedFormat,
    virtual_size: Option<u64>,
    unsafe_because: Option<Unsafe>,
}

impl Finding {
    fn new(format: DetectedFormat, virtual_size: Option<u64>) -> Self {
        Self { format, virtual_size, unsafe_because: None }
    }

    fn unless(mut self, problem: Option<Unsafe>) -> Self {
        self.unsafe_because = self.unsafe_because.or(problem);
        self
    }
}

/// Looks at an image of `size` bytes that `read_at` reads (fewer bytes only at the end).
///
/// Reads at most about fifty pieces, none longer than 64 KiB.
///
/// # Errors
/// Only those of `read_at`: any bytes are a valid question.
pub fn inspect(
    size: u64,
    read_at: &mut dyn FnMut(u64, &mut [u8]) -> Result<usize>,
) -> Result<Inspection> {
    let mut source = Source::new(size, read_at);
    let head = source.read(0, HEAD)?;
    let disk = partitions::detect(&head);
    let mut findings: Vec<Finding> = [
        qcow2::detect(&head),
        headers::qed(&head),
        vmdk::detect(&mut source, &head)?,
        vhd::dynamic(&head),
        vhdx::detect(&mut source, &head)?,
        headers::vdi(&head),
        headers::luks(&head, size),
        headers::iso(&mut source)?,
    ]
    .into_iter()
    .flatten()
    .collect();
    let ambiguous = ambiguity(&findings, disk.is_some());
    let found = if findings.is_empty() { None } else { Some(findings.swap_remove(0)) };
    let (finding, table) = match (found, disk) {
        // A bootable CD has a partition table in front; it is still a CD (Glance: the same).
        (Some(finding), disk) => (finding, disk.map(|disk| disk.table)),
        (None, Some(disk)) => {
            let finding = vhd::fixed(&mut source)?.unwrap_or_else(|| raw(size));
            (finding.unless(disk.unsafe_because), Some(disk.table))
        }
        (None, None) => (unmarked(&mut source, &head)?, None),
    };
    Ok(Inspection {
        size,
        format: finding.format,
        // More than a signed 64-bit number holds is no size, and no catalog could record it.
        virtual_size: finding.virtual_size.filter(|size| i64::try_from(*size).is_ok()),
        partition_table: table,
        unsafe_because: finding.unsafe_because,
        ambiguous,
    })
}

fn raw(size: u64) -> Finding {
    Finding::new(DetectedFormat::Raw, Some(size))
}

/// What Glance takes for raw, told apart further.
fn unmarked(source: &mut Source<'_>, head: &[u8]) -> Result<Finding> {
    if let Some(finding) = headers::parallels(head).or_else(|| headers::compressed(head)) {
        return Ok(finding);
    }
    Ok(vhd::fixed(source)?.unwrap_or_else(|| raw(source.size)))
}

/// The names of all formats that match, when that is one too many.
fn ambiguity(findings: &[Finding], partitioned: bool) -> Option<String> {
    let mut names: Vec<&str> = findings.iter().map(|finding| finding.format.as_str()).collect();
    if partitioned && names != ["iso"] {
        names.push("gpt");
    }
    (names.len() > 1).then(|| names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use proptest::prelude::*;

    pub(super) fn look(bytes: &[u8]) -> Inspection {
        inspect_bytes(bytes.len() as u64, bytes)
    }

    /// Inspects `bytes` followed by zeros up to `size`, and checks the promised bounds.
    fn inspect_bytes(size: u64, bytes: &[u8]) -> Inspection {
        let mut reads = 0;
        let inspection = inspect(size, &mut |offset, buffer| {
            reads += 1;
            assert!(buffer.len() <= 64 * 1024, "a read of {} bytes", buffer.len());
            assert!(offset + buffer.len() as u64 <= size, "a read beyond the end");
            buffer.fill(0);
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let count = buffer.len().min(bytes.len() - start);
            buffer[..count].copy_from_slice(&bytes[start..start + count]);
            Ok(buffer.len())
        })
        .unwrap();
        assert!(reads <= 50, "{reads} reads");
        inspection
    }

    fn qcow2(version: u32) -> Vec<u8> {
        let mut header = vec![0; 1024];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[4..8].copy_from_slice(&version.to_be_bytes());
        header[20..24].copy_from_slice(&16_u32.to_be_bytes());
        header[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
        header
    }

    #[test]
    fn nothing_known_is_raw_with_its_own_size() {
        for length in [0, 1, 511, 512, 513, 100_000] {
            let found = look(&vec![0; length]);
            assert_eq!(
                (found.format, found.virtual_size),
                (DetectedFormat::Raw, Some(length as u64))
            );
            assert_eq!(found.unsafe_because, None);
        }
    }

    #[test]
    fn a_virtual_size_of_16_eib_does_no_harm() {
        let mut header = qcow2(3);
        header[24..32].fill(0xff);
        let found = look(&header);
        assert_eq!((found.format, found.virtual_size), (DetectedFormat::Qcow2, None));
    }

    #[test]
    fn two_formats_at_once_are_ambiguous() {
        let mut bytes = qcow2(3);
        bytes.resize(40_000, 0);
        assert_eq!(look(&bytes).ambiguous, None);
        bytes[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(look(&bytes).ambiguous.as_deref(), Some("qcow2,iso"));
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(look(&bytes).ambiguous.as_deref(), Some("qcow2,iso,gpt"));
        bytes[..4].fill(0);
        let hybrid = look(&bytes);
        assert_eq!((hybrid.format, hybrid.ambiguous), (DetectedFormat::Iso, None));
        assert_eq!(hybrid.partition_table, Some(PartitionTable::Mbr));
    }

    #[test]
    fn compressed_files_are_reported_and_raw_to_glance() {
        for (magic, format) in [
            (&b"\x1f\x8b\x08"[..], DetectedFormat::Gzip),
            (b"\xfd7zXZ\0", DetectedFormat::Xz),
            (b"BZh91AY&SY", DetectedFormat::Bzip2),
            (b"\x28\xb5\x2f\xfd", DetectedFormat::Zstd),
        ] {
            let mut bytes = vec![7; 600];
            bytes[..magic.len()].copy_from_slice(magic);
            let found = look(&bytes);
            assert_eq!(found.format, format);
            assert!(check_declared("raw", &found).is_ok());
        }
    }

    #[test]
    fn a_failing_read_is_an_error() {
        let failed = inspect(1 << 20, &mut |_, _| Err(Error::StoreUnavailable("gone".into())));
        assert!(matches!(failed, Err(Error::StoreUnavailable(_))));
    }

    /// Beginnings that lead each family's code as far as it goes.
    fn seeds() -> Vec<Vec<u8>> {
        let mut seeds = vec![qcow2(2), qcow2(3)];
        for (at, magic) in [
            (0, &b"QED\0"[..]),
            (0, b"conectix"),
            (0, b"LUKS\xba\xbe\0\x01"),
            (0, b"WithoutFreeSpace"),
            (0x40, b"\x7f\x10\xda\xbe"),
            (510, b"\x55\xaa"),
            (0x8000, b"\x01CD001"),
        ] {
            let mut bytes = vec![0; 36_000];
            bytes[at..at + magic.len()].copy_from_slice(magic);
            seeds.push(bytes);
        }
        seeds.push(vmdk::tests::stream_optimized());
        seeds.push(vhdx::tests::minimal(2));
        seeds.push(vhd::tests::fixed_of(1 << 16));
        seeds
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(
            seed in prop::sample::select(seeds()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
            front in prop::collection::vec((0_usize..700, any::<u8>()), 0..20),
            cut in prop::option::of(any::<prop::sample::Index>()),
            size in prop::option::of(any::<u64>()),
        ) {
            let mut bytes = seed;
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for (at, byte) in front {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let found = inspect_bytes(size.unwrap_or(bytes.len() as u64), &bytes);
            // Whatever it is, the word that is recorded for it passes the check, if anything does.
            if found.unsafe_because.is_none() && found.ambiguous.is_none() {
                for name in [None, Some("x.iso"), Some("x.aki"), Some("x.vhd"), Some("x.ploop")] {
                    prop_assert!(check_declared(disk_format_for(&found, name), &found).is_ok());
                }
            }
        }
    }
}
