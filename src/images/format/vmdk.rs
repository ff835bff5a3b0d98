//! VMDK: one self-contained sparse extent, or something that may name other files.
//!
//! Only the subformats `monolithicSparse` and `streamOptimized` are safe.  Their header is followed
//! by a text descriptor, which could still name other files; so every line of it must be understood
//! and all of it must be about this one file.  Layout: VMware's "Virtual Disk Format 5.0".

use super::source::{Source, field, le_u32, le_u64};
use super::{DetectedFormat, Finding, SECTOR, Unsafe, headers};
use crate::error::Result;

const MAGIC: &[u8] = b"KDMV";
/// What of the sparse header matters.
const HEADER: usize = 64;
/// In place of the grain directory's sector: it comes at the end, in a footer.
const AT_END: u64 = u64::MAX;
/// Where an embedded descriptor must be (QEMU and Glance insist, too).
const DESCRIPTOR_SECTOR: u64 = 1;
/// Longer descriptors do not exist, and are not read.
const DESCRIPTOR_MAX: usize = 64 * 1024;
/// Footer marker, footer, end-of-stream marker: the last three sectors of a stream.
const TAIL: usize = 3 * SECTOR;
const FOOTER_MARKER: u32 = 3;

struct SparseHeader {
    version: u32,
    sectors: u64,
    descriptor: (u64, u64),
    grain_directory: u64,
}

impl SparseHeader {
    fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= HEADER && bytes.starts_with(MAGIC)).then(|| Self {
            version: le_u32(bytes, 4),
            sectors: le_u64(bytes, 12),
            descriptor: (le_u64(bytes, 28), le_u64(bytes, 36)),
            grain_directory: le_u64(bytes, 56),
        })
    }
}

/// Looks for a sparse extent or a text descriptor.
pub(super) fn detect(source: &mut Source<'_>, head: &[u8]) -> Result<Option<Finding>> {
    if let Some(header) = SparseHeader::parse(head) {
        let size = header.sectors.checked_mul(SECTOR as u64);
        let problem = sparse_problem(source, &header)?;
        return Ok(Some(Finding::new(DetectedFormat::Vmdk, size).unless(problem)));
    }
    if !is_text(head) || !is_text_descriptor(&source.read(0, DESCRIPTOR_MAX)?) {
        return Ok(None);
    }
    let problem = Unsafe::new("descriptor", "Unsupported subformat");
    Ok(Some(Finding::new(DetectedFormat::Vmdk, None).unless(Some(problem))))
}

fn sparse_problem(source: &mut Source<'_>, header: &SparseHeader) -> Result<Option<Unsafe>> {
    let refused = |reason| Ok(Some(Unsafe::new("descriptor", reason)));
    let (sector, sectors) = header.descriptor;
    if !matches!(header.version, 1..=3) || sector != DESCRIPTOR_SECTOR || sectors == 0 {
        return refused("No descriptor found");
    }
    if header.sectors == 0 {
        // QEMU then follows the descriptor instead of the header.
        return refused("Header without a capacity");
    }
    let length = sectors.saturating_mul(SECTOR as u64);
    if length > source.size.saturating_sub(SECTOR as u64) {
        return Ok(Some(headers::incomplete()));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let padded = source.read(SECTOR as u64, length.min(DESCRIPTOR_MAX))?;
    let text = padded.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.len() == padded.len() && length > DESCRIPTOR_MAX {
        return refused("Descriptor is too long");
    }
    if let Err(reason) = check_descriptor(text) {
        return refused(reason);
    }
    if header.grain_directory == AT_END {
        return footer_problem(source, header);
    }
    Ok(None)
}

/// Whether every line is known and nothing but this file is named.  Glance: its check
/// `descriptor`, plus the parent and the kind and number of extents.
fn check_descriptor(text: &[u8]) -> std::result::Result<(), &'static str> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii());
    let text = text.ok_or("No descriptor found")?.to_ascii_lowercase();
    if !matches!(create_type(&text), Some("monolithicsparse" | "streamoptimized")) {
        return Err("Unsupported subformat");
    }
    let mut extents = 0;
    for line in text.split('\n').map(str::trim) {
        if line.is_empty() || line.starts_with('#') || line.starts_with("ddb") {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        match (line.split_once('='), words.next()) {
            (Some((name, value)), _) if !name.contains(' ') => {
                if name == "parentfilenamehint" && !value.trim_matches('"').is_empty() {
                    return Err("Image depends on a parent image");
                }
            }
            (_, Some("rw" | "rdonly" | "noaccess")) => {
                if line.contains('/') {
                    return Err("Invalid extent filenames found");
                }
                if words.nth(1) != Some("sparse") {
                    return Err("Unsupported extent type");
                }
                extents += 1;
            }
            _ => return Err("Invalid VMDK descriptor data"),
        }
    }
    match extents {
        0 => Err("No extents found"),
        1 => Ok(()),
        _ => Err("More than one extent found"),
    }
}

/// The value of `createType`, in a descriptor in lower case.
fn create_type(descriptor: &str) -> Option<&str> {
    let (_, rest) = descriptor.split_once("createtype=\"")?;
    let (value, _) = rest.split_once('"')?;
    (value.len() < 64).then_some(value)
}

/// Glance's check `footer`: the footer overrides the header, so it must agree with it.
fn footer_problem(source: &mut Source<'_>, header: &SparseHeader) -> Result<Option<Unsafe>> {
    let tail = match source.size.checked_sub(TAIL as u64) {
        Some(at) => source.exactly::<TAIL>(at)?,
        None => None,
    };
    let Some(tail) = tail else {
        return Ok(Some(headers::incomplete()));
    };
    let marker: [u8; SECTOR] = field(&tail, 0);
    let end: [u8; SECTOR] = field(&tail, 2 * SECTOR);
    let reason = match SparseHeader::parse(&field::<SECTOR>(&tail, SECTOR)) {
        None => "Header and footer signature do not match",
        Some(footer) if footer.version != header.version => {
            "Header and footer versions do not match"
        }
        Some(footer) if footer.descriptor != header.descriptor => {
            "Footer specifies a different descriptor than header"
        }
        Some(footer) if footer.sectors != header.sectors => {
            "Header and footer capacities do not match"
        }
        Some(footer) if footer.grain_directory == AT_END => "Footer indicates another footer",
        Some(_) if !is_marker(&marker, FOOTER_MARKER) => "Footer marker is invalid",
        Some(_) if end != [0; SECTOR] => "End-of-stream marker is invalid",
        Some(_) => return Ok(None),
    };
    Ok(Some(Unsafe::new("footer", reason)))
}

/// A marker sector: a number of sectors, no data, the kind, and nothing else.
fn is_marker(sector: &[u8], kind: u32) -> bool {
    let padded = sector.get(16..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
    le_u32(sector, 8) == 0 && le_u32(sector, 12) == kind && padded
}

/// Whether the first sector begins with printable ASCII, long enough for Glance to look at it.
/// Unlike Glance's, this is not fooled by the zeros with which QEMU fills up the sector.
fn is_text(head: &[u8]) -> bool {
    let sector = head.get(..SECTOR).unwrap_or(head);
    let text = sector.split(|byte| *byte == 0).next().unwrap_or_default();
    text.len() >= HEADER
        && text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'..=b'\r' | 0x1c..=0x1f))
}

fn is_text_descriptor(start: &[u8]) -> bool {
    let text = start.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.is_ascii())
        .is_some_and(|text| create_type(&text.to_ascii_lowercase()).is_some())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::look;
    use super::*;

    const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=7f5c5e6a\nparentCID=ffffffff\n\
        createType=\"streamOptimized\"\n\nRDONLY 8192 SPARSE \"call-me-stream.vmdk\"\n\
        ddb.adapterType = \"ide\"\n";

    /// The outline of a stream-optimized disk of 8192 sectors.
    pub(in super::super) fn stream_optimized() -> Vec<u8> {
        with_descriptor(DESCRIPTOR)
    }

    fn with_descriptor(text: &str) -> Vec<u8> {
        let mut header = vec![0; SECTOR];
        header[..4].copy_from_slice(MAGIC);
        header[4] = 3;
        header[12..20].copy_from_slice(&8192_u64.to_le_bytes());
        header[28] = 1;
        header[36] = 20;
        let mut footer = header.clone();
        footer[56] = 30;
        header[56..64].fill(0xff);
        let mut marker = vec![0; SECTOR];
        marker[0] = 1;
        marker[12] = 3;
        let mut descriptor = text.as_bytes().to_vec();
        descriptor.resize(20 * SECTOR, 0);
        [header, descriptor, vec![0; 4096], marker, footer, vec![0; SECTOR]].concat()
    }

    fn reason(bytes: &[u8]) -> Option<String> {
        let found = look(bytes);
        assert_eq!(found.format, DetectedFormat::Vmdk);
        found.unsafe_because.map(|problem| problem.reason)
    }

    #[test]
    fn a_stream_is_known_by_header_descriptor_and_footer() {
        let stream = stream_optimized();
        assert_eq!(reason(&stream), None);
        assert_eq!(look(&stream).virtual_size, Some(8192 * 512));
    }

    #[test]
    fn descriptors_that_name_other_files_are_unsafe() {
        for (from, to, expected) in [
            ("streamOptimized", "monolithicFlat", "Unsupported subformat"),
            ("createType", "kind", "Unsupported subformat"),
            ("call-me", "/etc/passwd", "Invalid extent filenames found"),
            ("SPARSE", "FLAT", "Unsupported extent type"),
            ("RDONLY 8192", "READ 8192", "Invalid VMDK descriptor data"),
            ("RDONLY", "# RDONLY", "No extents found"),
            ("RDONLY", "RW 1 SPARSE \"b\"\nRDONLY", "More than one extent found"),
            ("CID=7", "parentFileNameHint=\"base.vmdk\"\nCID=7", "Image depends on a parent image"),
        ] {
            let bytes = with_descriptor(&DESCRIPTOR.replacen(from, to, 1));
            assert_eq!(reason(&bytes).as_deref(), Some(expected), "{from} -> {to}");
        }
    }

    #[test]
    fn a_footer_that_disagrees_is_unsafe() {
        let good = stream_optimized();
        let tail = good.len() - TAIL;
        for (at, expected) in [
            (12, "Footer marker is invalid"),
            (SECTOR, "Header and footer signature do not match"),
            (SECTOR + 4, "Header and footer versions do not match"),
            (SECTOR + 36, "Footer specifies a different descriptor than header"),
            (2 * SECTOR + 12, "End-of-stream marker is invalid"),
        ] {
            let mut bytes = good.clone();
            bytes[tail + at] ^= 1;
            assert_eq!(reason(&bytes).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_descriptor_beyond_the_end_is_incomplete() {
        let cut = &stream_optimized()[..4000];
        assert_eq!(reason(cut).unwrap(), "Incomplete file cannot be safety checked");
    }

    #[test]
    fn a_text_that_describes_a_disk_is_unsafe_and_other_text_is_raw() {
        assert_eq!(reason(DESCRIPTOR.as_bytes()).unwrap(), "Unsupported subformat");
        let prose = "createType is not always a descriptor. ".repeat(10);
        assert_eq!(look(prose.as_bytes()).format, DetectedFormat::Raw);
    }
}
