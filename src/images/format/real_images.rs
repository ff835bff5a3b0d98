//! Tests against images that QEMU itself makes, compared with what `qemu-img info` says of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::error::Error;

fn qemu_img(arguments: &[&str]) -> String {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

fn look(path: &Path) -> Inspection {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    inspect(size, &mut |offset, buffer| {
        file.read_at(buffer, offset).map_err(Error::io("read", path.display()))
    })
    .unwrap()
}

/// Where QEMU says the format and the virtual size are the same as ours.
fn agrees(path: &Path, qemu_format: &str, found: &Inspection) {
    let path = path.to_str().unwrap();
    let info = qemu_img(&["info", "--output", "json", path]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["format"], qemu_format, "{path}");
    assert_eq!(info["virtual-size"].as_u64(), found.virtual_size, "{path}");
}

struct Case {
    qemu_format: &'static str,
    options: &'static str,
    format: DetectedFormat,
    safe: bool,
}

const fn case(
    qemu_format: &'static str,
    options: &'static str,
    format: DetectedFormat,
    safe: bool,
) -> Case {
    Case { qemu_format, options, format, safe }
}

const CASES: &[Case] = &[
    case("qcow2", "compat=0.10", DetectedFormat::Qcow2, true),
    case("qcow2", "compat=1.1", DetectedFormat::Qcow2, true),
    case("qcow2", "compat=1.1,cluster_size=2M,lazy_refcounts=on", DetectedFormat::Qcow2, true),
    case("qcow2", "compat=1.1,compression_type=zstd", DetectedFormat::Qcow2, true),
    case("qcow2", "compat=1.1,extended_l2=on", DetectedFormat::Qcow2, false),
    case("qed", "cluster_size=65536", DetectedFormat::Qed, false),
    case("vmdk", "subformat=monolithicSparse", DetectedFormat::Vmdk, true),
    case("vmdk", "subformat=streamOptimized", DetectedFormat::Vmdk, true),
    case("vpc", "subformat=dynamic", DetectedFormat::Vhd, true),
    case("vpc", "subformat=dynamic,force_size=on", DetectedFormat::Vhd, true),
    case("vhdx", "subformat=dynamic", DetectedFormat::Vhdx, true),
    case("vhdx", "subformat=fixed", DetectedFormat::Vhdx, true),
    case("vdi", "static=off", DetectedFormat::Vdi, true),
    case("parallels", "cluster_size=1M", DetectedFormat::Ploop, true),
];

fn judge(path: &Path, case: &Case) {
    let found = look(path);
    let named = format!("{} {}", case.qemu_format, case.options);
    assert_eq!(found.format, case.format, "{named}");
    assert_eq!(found.unsafe_because.is_none(), case.safe, "{named}: {:?}", found.unsafe_because);
    assert_eq!(found.ambiguous, None, "{named}");
    agrees(path, case.qemu_format, &found);
    let recorded = disk_format_for(&found, None);
    assert_eq!(check_declared(recorded, &found).is_ok(), case.safe, "{named}");
}

#[test]
fn images_that_qemu_creates_are_recognised_with_their_size() {
    let directory = tempfile::tempdir().unwrap();
    for (number, case) in CASES.iter().enumerate() {
        for size in ["1M", "12345856", "3G"] {
            if size == "3G" && case.options.contains("fixed") {
                continue;
            }
            let path = directory.path().join(format!("{number}-{size}"));
            let name = path.to_str().unwrap();
            qemu_img(&["create", "-q", "-f", case.qemu_format, "-o", case.options, name, size]);
            judge(&path, case);
        }
    }
}

#[test]
fn images_that_qemu_converts_are_recognised_with_their_size() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("raw");
    let content: Vec<u8> = (0..3_000_320_u32).map(|at| ((at * 7) >> 4) as u8).collect();
    std::fs::write(&raw, content).unwrap();
    let raw_name = raw.to_str().unwrap();
    for (number, case) in CASES.iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let name = path.to_str().unwrap();
        qemu_img(&[
            "convert",
            "-q",
            "-f",
            "raw",
            "-O",
            case.qemu_format,
            "-o",
            case.options,
            raw_name,
            name,
        ]);
        judge(&path, case);
    }
}

#[test]
fn a_fixed_vhd_is_known_by_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fixed");
    let name = path.to_str().unwrap();
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "vpc",
        "-o",
        "subformat=fixed,force_size=on",
        name,
        "1234944",
    ]);
    let found = look(&path);
    assert_eq!((found.format, found.virtual_size), (DetectedFormat::VhdFixed, Some(1_234_944)));
    assert_eq!(found.unsafe_because, None);
}

#[test]
fn an_encrypted_volume_is_recognised_with_the_size_of_its_payload() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("luks");
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "luks",
        "--object",
        "secret,id=key,data=sesame",
        "-o",
        "key-secret=key,iter-time=10",
        path.to_str().unwrap(),
        "1234944",
    ]);
    let found = look(&path);
    assert_eq!(found.format, DetectedFormat::Luks);
    assert_eq!(found.unsafe_because, None);
    agrees(&path, "luks", &found);
    assert_eq!(disk_format_for(&found, None), "raw");
    assert!(check_declared("luks", &found).is_ok());
}

#[test]
fn qcow2_images_that_need_other_files_are_unsafe() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    let base = at("base");
    qemu_img(&["create", "-q", "-f", "qcow2", base.to_str().unwrap(), "1M"]);
    for compat in ["0.10", "1.1"] {
        let overlay = at(&format!("overlay-{compat}"));
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &format!("compat={compat}"),
            "-b",
            base.to_str().unwrap(),
            "-F",
            "qcow2",
            overlay.to_str().unwrap(),
        ]);
        assert_eq!(look(&overlay).unsafe_because.unwrap().check, "backing_file");
    }
    let outside = at("outside");
    let option = format!("data_file={},data_file_raw=on", at("data").display());
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &option, outside.to_str().unwrap(), "1M"]);
    let found = look(&outside);
    assert_eq!(found.unsafe_because.as_ref().unwrap().check, "data_file");
    for declared in ["qcow2", "raw"] {
        assert!(check_declared(declared, &found).is_err());
    }
}

#[test]
fn vmdk_subformats_of_several_files_are_unsafe() {
    let directory = tempfile::tempdir().unwrap();
    for subformat in ["monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"] {
        let path = directory.path().join(format!("{subformat}.vmdk"));
        let option = format!("subformat={subformat}");
        qemu_img(&["create", "-q", "-f", "vmdk", "-o", &option, path.to_str().unwrap(), "1M"]);
        let found = look(&path);
        assert_eq!(found.format, DetectedFormat::Vmdk, "{subformat}");
        assert_eq!(found.unsafe_because.unwrap().check, "descriptor", "{subformat}");
    }
    let base = directory.path().join("monolithicSparse.vmdk");
    let overlay = directory.path().join("overlay.vmdk");
    let (base, overlay_name) = (base.to_str().unwrap(), overlay.to_str().unwrap());
    qemu_img(&["create", "-q", "-f", "vmdk", base, "1M"]);
    qemu_img(&["create", "-q", "-f", "vmdk", "-b", base, "-F", "vmdk", overlay_name]);
    let reason = look(&overlay).unsafe_because.unwrap().reason;
    assert_eq!(reason, "Image depends on a parent image");
}

#[test]
fn a_bootable_cd_is_an_iso_although_it_has_a_partition_table() {
    let path = Path::new("/usr/lib/grub-rescue/grub-rescue-cdrom.iso");
    if !path.exists() {
        eprintln!("SKIPPED: no {}; install the package grub-rescue-pc", path.display());
        return;
    }
    let found = look(path);
    assert_eq!((found.format, found.ambiguous.as_deref()), (DetectedFormat::Iso, None));
    assert!(found.partition_table.is_some());
    // The volume ends within the file; padding may follow.
    let volume = found.virtual_size.unwrap();
    assert!(volume > 1 << 20 && volume <= found.size, "{volume} of {}", found.size);
    assert_eq!(disk_format_for(&found, Some("x.vhd")), "iso");
    assert!(check_declared("iso", &found).is_ok());
    assert!(check_declared("raw", &found).is_ok());
}
