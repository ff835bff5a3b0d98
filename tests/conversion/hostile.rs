//! Images that lie about themselves.

use std::fs;

use super::*;
use glancefs::error::Error;

/// A program in place of qemu-img that leaves a mark when it runs.
fn witness(place: &Place) -> (PathBuf, PathBuf) {
    let (program, mark) = (place.path("open").join("witness"), place.path("open").join("mark"));
    fs::write(&program, format!("#!/bin/sh\necho \"$@\" >>{}\n", text(&mark))).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program, mark)
}

#[test]
fn a_witness_would_tell() {
    let place = Place::new();
    let (program, mark) = witness(&place);
    let file = make(&place, &["-f", "qcow2"]);
    let plugins = place.plugins(OutputFormat::Vmdk, &program);
    // It makes nothing, and nothing is no VMDK.
    assert!(place.convert(&file, "qcow2", &plugins).is_err());
    let arguments = fs::read_to_string(mark).unwrap();
    assert!(arguments.starts_with("convert -O vmdk json:{"), "{arguments}");
    assert!(arguments.contains(r#""backing":null"#), "{arguments}");
}

/// Refuses the file before any program has seen it.
#[track_caller]
fn refused(place: &Place, file: &Path, declared: &str, expected: &str) {
    let (program, mark) = witness(place);
    for output in [OutputFormat::Raw, OutputFormat::Qcow2, OutputFormat::Vmdk] {
        let plugins = place.plugins(output, &program);
        let error = place.convert(file, declared, &plugins).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(!mark.exists(), "a program was given the image");
}

fn make(place: &Place, arguments: &[&str]) -> PathBuf {
    let file = place.image("hostile");
    let _ = fs::remove_file(&file);
    run("qemu-img", &[&["create", "-q"], arguments, &[text(&file), "1M"]].concat());
    file
}

#[test]
fn images_that_reach_for_other_files_come_before_no_program() {
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, vec![b's'; 1 << 20]).unwrap();
    let secret = text(&secret);
    for driver in ["qcow2", "vmdk", "qed"] {
        let backing = format!("{secret}.base");
        run("qemu-img", &["create", "-q", "-f", driver, &backing, "1M"]);
        let file = make(&place, &["-f", driver, "-u", "-b", &backing, "-F", driver]);
        let expected = if driver == "qed" { "not allowed" } else { "safety checks" };
        let declared = if driver == "qed" { "raw" } else { driver };
        refused(&place, &file, declared, expected);
    }
    let external = format!("data_file={secret},data_file_raw=on");
    let file = make(&place, &["-f", "qcow2", "-o", &external]);
    refused(&place, &file, "qcow2", "safety checks");
    for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let file = make(&place, &["-f", "vmdk", "-o", &format!("subformat={subformat}")]);
        refused(&place, &file, "vmdk", "safety checks");
    }
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=7f5c5e6a\nparentCID=ffffffff\n\
         createType=\"monolithicFlat\"\n\nRW 2048 FLAT \"{secret}\" 0\n"
    );
    let file = place.image("descriptor");
    fs::write(&file, &descriptor).unwrap();
    refused(&place, &file, "vmdk", "safety checks");
    refused(&place, &file, "raw", "safety checks");
}

#[test]
fn a_sparse_vmdk_whose_descriptor_names_a_file_is_refused() {
    let place = Place::new();
    let secret = place.path("secret");
    fs::write(&secret, "secret").unwrap();
    let file = make(&place, &["-f", "vmdk"]);
    let mut bytes = fs::read(&file).unwrap();
    let extent = b"RW 2048 SPARSE";
    let at = bytes.windows(extent.len()).position(|window| window == extent).unwrap();
    let line = format!("RW 2048 FLAT \"{}\" 0\n", text(&secret));
    bytes[at..at + line.len()].copy_from_slice(line.as_bytes());
    fs::write(&file, bytes).unwrap();
    refused(&place, &file, "vmdk", "safety checks");
}

#[test]
fn a_format_that_was_not_declared_is_refused() {
    let place = Place::new();
    for (driver, declared) in [("qcow2", "raw"), ("vmdk", "raw"), ("vdi", "qcow2"), ("vhdx", "vdi")]
    {
        let file = make(&place, &["-f", driver]);
        let expected = if declared == "raw" { "mismatch" } else { "does not match" };
        refused(&place, &file, declared, expected);
    }
    let raw = place.image("raw");
    fs::write(&raw, [0; 4096]).unwrap();
    refused(&place, &raw, "qcow2", "does not match");
    refused(&place, &raw, "ami", "mismatch");
}

#[test]
fn a_disk_past_the_cap_is_not_unpacked() {
    let place = Place::new();
    let file = place.image("bomb");
    for size in ["65M", "100G", "1P"] {
        let _ = fs::remove_file(&file);
        run(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", text(&file), size],
        );
        let (program, mark) = witness(&place);
        for output in [OutputFormat::Raw, OutputFormat::Vmdk] {
            let plugins = place.plugins(output, &program);
            let refused = place.convert(&file, "qcow2", &plugins).unwrap_err();
            assert!(matches!(refused, Error::TooLarge(_)), "{size}: {refused}");
        }
        assert!(!mark.exists(), "a program was given the image");
    }
}

#[test]
fn a_format_hidden_in_another_is_not_let_out() {
    let place = Place::new();
    let inner = make(&place, &["-f", "qcow2"]);
    let outer = place.image("outer");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", text(&inner), text(&outer)]);
    let plugins = place.plugins(OutputFormat::Raw, &qemu_img());
    let error = place.convert(&outer, "qcow2", &plugins).unwrap_err().to_string();
    assert_eq!(error, "Converted image in unexpected format");
}

/// Damage that inspection cannot see: qemu-img may fail, but nothing hangs and nothing is left.
#[test]
fn damaged_images_end_in_a_disk_or_in_an_error() {
    let place = Place::new();
    let mut failures = 0;
    for driver in ["qcow2", "vmdk", "vdi", "vhdx"] {
        let source = make(&place, &["-f", driver]);
        run("qemu-io", &["-f", driver, "-c", "write -P 7 64k 128k", text(&source)]);
        let sound = fs::read(&source).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..12 {
            let mut bytes = sound.clone();
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len().min(400_000);
                bytes[at] = (state >> 20) as u8;
            }
            fs::write(&source, bytes).unwrap();
            let plugins = place.plugins(OutputFormat::Raw, &qemu_img());
            match place.convert(&source, driver, &plugins) {
                Ok((image, data)) => {
                    assert_eq!(image.virtual_size, Some(data.metadata().unwrap().len()));
                }
                Err(_) => failures += 1,
            }
        }
    }
    assert!(failures > 0, "no damage was noticed");
}
