//! A machine that boots from an image in the mount.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Glancefs;

/// Emulated machines are slow, the more so beside other tests.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);

/// `graphics=off` has the firmware send the screen to the serial line.
const MACHINE: &str = "qemu-system-x86_64 -machine pc,graphics=off -accel tcg -m 128 -nodefaults \
    -display none -no-reboot -serial file:serial -monitor stdio";

#[test]
#[ignore = "needs QEMU and a bootable image"]
fn a_machine_boots_from_the_mount_to_a_prompt() {
    let glancefs = Glancefs::mount();
    glancefs.sh("cp /usr/lib/grub-rescue/grub-rescue-cdrom.iso $M/grub.iso; touch serial");
    assert_eq!(glancefs.image("grub.iso").disk_format.as_deref(), Some("iso"));
    // GRUB's menu comes first; its key for a prompt is `c`.
    let machine = glancefs.spawn(&format!(
        "{{ until grep -aq 'highlighted entry' serial; do sleep 0.2; done\n\
         echo 'sendkey c'\n\
         until grep -aq 'grub> ' serial; do sleep 0.2; done\n\
         echo quit; }} |\n\
         {MACHINE} -drive file=$M/grub.iso,format=raw,media=cdrom,readonly=on"
    ));
    let serial = glancefs.scratch().join("serial");
    let screen = || String::from_utf8_lossy(&fs::read(&serial).unwrap()).into_owned();
    let until = Instant::now() + BOOT_DEADLINE;
    while !screen().contains("grub> ") {
        assert!(Instant::now() < until, "no prompt: {}", screen());
        thread::sleep(Duration::from_millis(100));
    }
    let done = machine.wait();
    assert!(done.ok(), "{}: {}", done.status, done.stderr);
    // Reading it altered nothing.
    glancefs.sh("cmp /usr/lib/grub-rescue/grub-rescue-cdrom.iso $M/grub.iso");
}
