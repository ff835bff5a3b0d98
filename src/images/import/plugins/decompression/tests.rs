//! Archives made here, byte for byte, and by other programs.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::catalog::model::ImageId;
use crate::images::import::plugins::Plugin;

const CAP: u64 = 1 << 20;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of these files, with the numbers of zip64 where `wide`.
fn zip(files: &[&[u8]], method: u16, wide: bool) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for bytes in files {
        let mut crc = Crc::new();
        crc.update(bytes);
        let packed = if method == 8 {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            bytes.to_vec()
        };
        let place = archive.len() as u64;
        let sizes = [bytes.len() as u64, packed.len() as u64];
        archive.extend(b"PK\x03\x04\x14\0\0\0");
        archive.extend(method.to_le_bytes());
        archive.extend([0; 4]);
        archive.extend(crc.sum().to_le_bytes());
        archive.extend((sizes[1] as u32).to_le_bytes());
        archive.extend((sizes[0] as u32).to_le_bytes());
        archive.extend(b"\x08\0\x03\0disk.img???");
        archive.extend(&packed);
        let short = |number: u64| if wide { u32::MAX } else { number as u32 }.to_le_bytes();
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0");
        directory.extend(method.to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(crc.sum().to_le_bytes());
        directory.extend(short(sizes[1]));
        directory.extend(short(sizes[0]));
        directory.extend(b"\x08\0");
        directory.extend(if wide { 32_u16 } else { 0 }.to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(short(place));
        directory.extend(b"disk.img");
        if wide {
            directory.extend(b"\x99\x99\0\0\x01\0\x18\0");
            for number in [sizes[0], sizes[1], place] {
                directory.extend(number.to_le_bytes());
            }
        }
    }
    finish_zip(archive, &directory, files.len() as u64, wide)
}

fn finish_zip(mut archive: Vec<u8>, directory: &[u8], count: u64, wide: bool) -> Vec<u8> {
    let at = archive.len() as u64;
    archive.extend(directory);
    if wide {
        let end = archive.len() as u64;
        archive.extend(b"PK\x06\x06");
        archive.extend([0; 20]);
        for number in [count, count, directory.len() as u64, at] {
            archive.extend(number.to_le_bytes());
        }
        archive.extend(b"PK\x06\x07\0\0\0\0");
        archive.extend(end.to_le_bytes());
        archive.extend([1, 0, 0, 0]);
    }
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count as u16, count as u16].map(u16::to_le_bytes).concat());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(if wide { u32::MAX } else { at as u32 }.to_le_bytes());
    archive.extend(b"\x07\0comment");
    archive
}

fn unpack_as(container: &str, packed: &[u8], cap: u64) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let plugins = Plugins {
        list: vec![Plugin::Decompression],
        directory: directory.path().to_owned(),
        size_cap: cap,
    };
    let data = unnamed_file(directory.path()).unwrap();
    data.write_all_at(packed, 0).unwrap();
    let mut image = Image::new(ImageId::random(), None);
    image.container_format = Some(container.to_owned());
    let context = crate::identity::RequestContext::operator();
    let watch = Watch::new(Duration::from_secs(60));
    let outcome = plugins.run(&context, &mut image, data, &watch);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let file = outcome?;
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Ok(bytes)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    unpack_as("bare", packed, CAP)
}

/// A disk with data, holes, and an end that is no block.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 600_123];
    disk[300_000..400_000].fill(7);
    disk
}

#[test]
fn gzip_and_zip_are_unpacked() {
    for image in [disk(), Vec::new(), b"x".to_vec()] {
        for packed in [
            gzip(&image),
            zip(&[&image], 0, false),
            zip(&[&image], 8, false),
            zip(&[&image], 0, true),
            zip(&[&image], 8, true),
        ] {
            assert!(unpack(&packed).unwrap() == image);
        }
    }
    let twice = [gzip(b"one, "), gzip(b"two")].concat();
    assert_eq!(unpack(&twice).unwrap(), b"one, two");
}

#[test]
fn archives_of_other_programs_are_unpacked() {
    let directory = tempfile::tempdir().unwrap();
    let image = disk();
    std::fs::write(directory.path().join("disk.img"), &image).unwrap();
    for (program, arguments, name) in [
        ("gzip", &["-k", "disk.img"][..], "disk.img.gz"),
        ("python3", &["-m", "zipfile", "-c", "disk.zip", "disk.img"], "disk.zip"),
    ] {
        let made = Command::new(program).args(arguments).current_dir(directory.path()).status();
        assert!(made.unwrap().success(), "{program}");
        let packed = std::fs::read(directory.path().join(name)).unwrap();
        assert!(packed.len() < image.len() && unpack(&packed).unwrap() == image, "{program}");
    }
}

#[test]
fn what_is_not_packed_or_shall_stay_so_is_left_alone() {
    for bytes in [&b""[..], b"PK", b"BZh91AY&SY", b"\xfd7zXZ\0", b"plain"] {
        assert_eq!(unpack(bytes).unwrap(), bytes);
    }
    let packed = gzip(b"data");
    assert!(unpack_as("compressed", &packed, CAP).unwrap() == packed);
}

#[test]
fn an_archive_must_hold_one_file() {
    for archive in [zip(&[b"a", b"b"], 8, false), zip(&[], 8, false), zip(&[b"a", b"b"], 0, true)] {
        // An archive without files has no file to begin with, so nothing sees that it is one.
        let archive = if archive.starts_with(b"PK\x03") { archive } else { continue };
        let refused = unpack(&archive).unwrap_err().to_string();
        assert_eq!(refused, "Archive contains more than one file.");
    }
    let lha = unpack(b"!!-lh5-").unwrap_err().to_string();
    assert_eq!(lha, "No lhafile available.");
}

#[test]
fn bombs_end_at_the_cap() {
    let zeros = vec![0; 4 << 20];
    for bomb in [gzip(&zeros), zip(&[&zeros], 8, false), gzip(&zeros[..1 << 20]).repeat(2)] {
        assert!(bomb.len() < 40_000);
        let refused = unpack(&bomb).unwrap_err();
        assert!(matches!(refused, Error::TooLarge(_)), "{refused}");
    }
    assert_eq!(unpack(&gzip(&zeros[..1 << 20])).unwrap().len(), 1 << 20);
}

#[test]
fn damage_is_noticed() {
    let image = disk();
    let mut packed = gzip(&image);
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    assert!(unpack(&packed).is_err());
    assert!(unpack(&gzip(&image)[..500]).is_err());
    for at in [14, 60] {
        let mut archive = zip(&[&image], 0, false);
        let directory = archive.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
        // The data, or the checksum that the directory has of it.
        let place = if at == 60 { at } else { directory + 16 };
        archive[place] ^= 1;
        assert_eq!(unpack(&archive).unwrap_err().to_string(), "The zip archive is damaged");
    }
    let mut encrypted = zip(&[&image], 8, false);
    let directory = encrypted.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    encrypted[directory + 8] |= 1;
    assert!(unpack(&encrypted).unwrap_err().to_string().contains("encrypted"));
}

#[test]
fn zeros_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let file = unnamed_file(directory.path()).unwrap();
    let mut output = Output { file, length: 0, cap: 8 << 20 };
    output
        .fill(&mut std::io::repeat(0).take(8 << 20), &Watch::new(Duration::from_secs(60)))
        .unwrap();
    let file = output.finish().unwrap();
    assert_eq!(file.metadata().unwrap().len(), 8 << 20);
    assert!(file.metadata().unwrap().blocks() < 64);
}

proptest! {
    #[test]
    fn damaged_archives_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        wide in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut archive = zip(&[b"some data, some data, some data"], 8, wide);
        for (at, byte) in changes {
            // The beginning is what makes it an archive.
            let at = 4 + at.index(archive.len() - 4);
            archive[at] = byte;
        }
        if let Some(cut) = cut {
            archive.truncate(4 + cut.index(archive.len() - 4));
        }
        let _ = unpack_as("bare", &archive, 4096);
    }
}
