//! Every format that is converted, and those that are not.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

/// A disk of 3 MiB with data, holes and a boundary in the middle of a cluster.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; 3 << 20];
    for (at, byte) in disk[1_000_000..1_900_000].iter_mut().enumerate() {
        *byte = (at % 251) as u8;
    }
    disk
}

/// The disk that a guest would see, read by qemu-img.
fn as_raw(place: &Place, data: &File, format: &str) -> Vec<u8> {
    let (copy, raw) = (place.image("copy"), place.image("copy.raw"));
    let mut bytes = vec![0; data.metadata().unwrap().len() as usize];
    data.read_exact_at(&mut bytes, 0).unwrap();
    fs::write(&copy, bytes).unwrap();
    run("qemu-img", &["convert", "-f", format, "-O", "raw", text(&copy), text(&raw)]);
    fs::read(raw).unwrap()
}

#[test]
fn the_disk_is_the_same_in_every_format() {
    let place = Place::new();
    let (raw, expected) = (place.image("raw"), disk());
    fs::write(&raw, &expected).unwrap();
    for (qemu, declared, options) in [
        ("raw", "raw", ""),
        ("qcow2", "qcow2", "compat=0.10"),
        ("qcow2", "qcow2", "compat=1.1,compression_type=zstd"),
        ("vmdk", "vmdk", "subformat=monolithicSparse"),
        ("vmdk", "vmdk", "subformat=streamOptimized"),
        ("vdi", "vdi", ""),
        ("vhdx", "vhdx", ""),
        ("vpc", "vhd", "subformat=dynamic,force_size=on"),
        ("vpc", "vhd", "subformat=fixed,force_size=on"),
    ] {
        let source = place.image("source");
        let mut arguments = vec!["convert", "-f", "raw", "-O", qemu];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        run("qemu-img", &[&arguments[..], &[text(&raw), text(&source)]].concat());
        for output in [OutputFormat::Raw, OutputFormat::Qcow2, OutputFormat::Vmdk] {
            let plugins = place.plugins(output, &qemu_img());
            let (image, data) = place.convert(&source, declared, &plugins).unwrap();
            let case = format!("{qemu} {options} to {}", output.as_str());
            assert_eq!(image.disk_format.as_deref(), Some(output.as_str()), "{case}");
            assert_eq!(image.virtual_size, Some(3 << 20), "{case}");
            assert!(as_raw(&place, &data, output.as_str()) == expected, "{case}");
        }
    }
}

#[test]
fn a_cd_stays_a_cd() {
    let place = Place::new();
    let file = place.image("cd.iso");
    let mut bytes = vec![0; 40_960];
    bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    fs::write(&file, bytes).unwrap();
    let plugins = place.plugins(OutputFormat::Qcow2, &qemu_img());
    let (image, data) = place.convert(&file, "iso", &plugins).unwrap();
    assert_eq!(image.disk_format.as_deref(), Some("iso"));
    assert_eq!(data.metadata().unwrap().len(), 40_960);
    // But what is said to be a disk is not let through as a CD.
    assert!(place.convert(&file, "raw", &plugins).is_err());
}

#[test]
fn a_program_that_is_missing_is_named() {
    let place = Place::new();
    let file = place.image("raw");
    fs::write(&file, disk()).unwrap();
    let plugins = place.plugins(OutputFormat::Qcow2, Path::new("/nonexistent/qemu-img"));
    let failed = place.convert(&file, "raw", &plugins).unwrap_err().to_string();
    assert!(failed.contains("/nonexistent/qemu-img"), "{failed}");
}
