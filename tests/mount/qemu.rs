//! `qemu-img`, which opens what it writes again and again, straight into the mount and out of it.

use crate::harness::Glancefs;

/// qemu-img's word for a format, Glance's, and whether the container tells the size of the disk
/// inside exactly.
const FORMATS: [(&str, &str); 6] = [
    ("raw", "raw"),
    ("qcow2", "qcow2"),
    ("vmdk", "vmdk"),
    ("vpc", "vhd"),
    ("vhdx", "vhdx"),
    ("vdi", "vdi"),
];

/// A disk of 8 MiB with something on it.
fn disk(fs: &Glancefs) {
    fs.noise("noise", 300_000);
    fs.sh("truncate -s 8M disk; dd if=noise of=disk bs=64k seek=16 conv=notrunc status=none");
}

#[test]
fn qemu_img_converts_into_every_format() {
    let fs = Glancefs::mount();
    disk(&fs);
    for (format, glance) in FORMATS {
        let size = if format == "vpc" { "-o force_size=on" } else { "" };
        fs.sh(&format!(
            "qemu-img convert -f raw -O {format} {size} disk $M/{format} && ls -l $M/{format}
             qemu-img compare -f raw -F {format} disk $M/{format}
             qemu-img info -f {format} $M/{format} >/dev/null
             cat $M/{format} >{format}"
        ));
        let image = fs.assert_same(format, format, glance);
        assert_eq!(image.virtual_size, Some(8 << 20), "{format}");
    }
    // Out of the mount again.
    fs.sh("qemu-img convert -f qcow2 -O raw $M/qcow2 again; cmp again disk
           qemu-img check -q $M/qcow2");
    assert_eq!(fs.records().len(), FORMATS.len());
}

#[test]
fn qemu_img_creates_every_format() {
    let fs = Glancefs::mount();
    for (format, glance) in FORMATS {
        let size = if format == "vpc" { "-o force_size=on" } else { "" };
        fs.sh(&format!(
            "qemu-img create -q -f {format} {size} $M/{format} 16M && ls $M >/dev/null"
        ));
        fs.sh(&format!(
            "cat $M/{format} >{format}; qemu-img info -f {format} $M/{format} | grep -q '16 MiB'"
        ));
        let image = fs.assert_same(format, format, glance);
        assert_eq!(image.virtual_size, Some(16 << 20), "{format}");
    }
    assert_eq!(fs.records().len(), FORMATS.len());
}

#[test]
fn what_qemu_img_has_written_is_an_image_when_the_next_command_runs() {
    let fs = Glancefs::mount();
    disk(&fs);
    let seen = fs.sh("for n in $(seq 8); do
            qemu-img convert -O qcow2 disk $M/c$n && stat -c %s $M/c$n >/dev/null && ls $M | wc -l
        done");
    assert_eq!(seen, (1..=8).map(|n| format!("{n}\n")).collect::<String>());
}

#[test]
fn qemu_io_writes_to_a_new_image_only_while_it_is_new() {
    let fs = Glancefs::mount();
    fs.sh("qemu-img create -q -f raw $M/disk 1M && ls $M >/dev/null");
    fs.refused(
        "qemu-io -f raw -c 'write 0 64k' $M/disk || { echo refused >&2; false; }",
        "refused",
    );
    fs.sh("qemu-io -r -f raw -c 'read 0 64k' $M/disk");
    fs.sh("truncate -s 1M zeros");
    fs.assert_same("disk", "zeros", "raw");
}

#[test]
fn convert_can_write_any_target_that_was_made_before_by_the_same_program_only() {
    let fs = Glancefs::mount();
    disk(&fs);
    fs.sh("qemu-img create -q -f raw $M/target 8M && ls $M >/dev/null");
    // -n: do not make the target.
    let done = fs.try_sh("qemu-img convert -n -f raw -O raw disk $M/target");
    assert!(!done.ok());
    fs.sh("truncate -s 8M zeros");
    fs.assert_same("target", "zeros", "raw");
}

#[test]
fn a_qcow2_with_a_backing_file_is_refused_and_the_directory_says_why() {
    let fs = Glancefs::mount();
    disk(&fs);
    fs.sh("qemu-img create -q -f qcow2 -b $PWD/disk -F raw overlay");
    fs.refused("cp overlay $M/overlay", "Invalid argument");
    let why = fs.sh("getfattr --only-values -n user.glance.error $M");
    assert!(why.contains("backing"), "{why}");
    assert_eq!(fs.sh("ls $M"), "");
    fs.assert_only(&[]);
    // The mount goes on as if nothing had been.
    fs.sh("qemu-img rebase -u -b '' overlay; cp overlay $M/overlay");
    fs.assert_same("overlay", "overlay", "qcow2");
}
