//! Looking and reading: listings, `statfs`, deleted files that are still open.

use crate::harness::{Glancefs, Stored, eventually, skipped_on_rbd};

#[test]
fn a_file_that_is_open_stays_readable_after_rm() {
    if crate::harness::skipped_on_rbd("Ceph keeps nothing of a removed image for who has it open") {
        return;
    }
    let fs = Glancefs::mount();
    fs.noise("seed", 2_000_000);
    fs.sh("cp seed $M/f; exec 3<$M/f; rm $M/f; test ! -e $M/f; cmp seed - <&3");
    fs.assert_only(&[]);
    let reader = fs.spawn("cp seed $M/g; exec 3<$M/g; head -c 10 <&3; while test -e $M/g; do sleep 0.01; done; cat <&3 | wc -c");
    eventually("it reads", || reader.printed_bytes() == 10);
    fs.sh("rm $M/g");
    let done = reader.wait();
    assert!(done.ok() && done.stdout.ends_with("1999990\n"), "{done:?}");
    fs.assert_only(&[]);
}

#[test]
fn reads_at_any_place_are_exact() {
    let fs = Glancefs::mount();
    fs.noise("seed", 1_234_567);
    fs.sh("cp seed $M/f");
    fs.python(
        "
import mmap, random
seed = open('seed', 'rb').read()
f = os.open(M + '/f', os.O_RDONLY)
for at in [0, 1, 4095, 4096, 1234566, 1234567, 1234568, 99999999] + [random.randrange(1300000) for _ in range(200)]:
    assert os.pread(f, 70000, at) == seed[at:at + 70000], at
assert mmap.mmap(f, 0, prot=mmap.PROT_READ)[1000000:] == seed[1000000:]
assert open(M + '/f', 'rb').read() == seed
",
    );
    // Through O_DIRECT, too.
    fs.sh("dd if=$M/f iflag=direct bs=64k status=none | cmp - seed");
}

#[test]
fn df_shows_the_store() {
    if skipped_on_rbd("df of the directory is what it compares with") {
        return;
    }
    let fs = Glancefs::mount();
    let here = fs.sh("stat -f -c '%T %l' $M; df -B1 --output=size $M | tail -1");
    let there = fs.sh(&format!("df -B1 --output=size {} | tail -1", fs.datadir().display()));
    assert!(here.contains(" 255\n"), "{here}");
    let bytes = |text: &str| text.lines().last().unwrap().trim().parse::<u64>().unwrap();
    assert_eq!(bytes(&here) / 4096, bytes(&there) / 4096);
}

#[test]
fn two_thousand_images_are_listed_once_each() {
    let fs = Glancefs::mount();
    fs.glance_records((0..2000).map(|n| format!("image-{n:04}")));
    eventually("all are seen", || fs.sh("ls $M | wc -l").trim() == "2000");
    let expected: String = (0..2000).map(|n| format!("image-{n:04}\n")).collect();
    assert_eq!(fs.sh("ls $M"), expected);
    assert_eq!(fs.sh("ls -l $M | tail -n +2 | wc -l").trim(), "2000");
    assert_eq!(fs.sh("ls $M/.by-id | wc -l").trim(), "2000");
    // A listing that is read while half of it goes neither fails nor repeats.
    fs.python(
        "
names = []
with os.scandir(M) as entries:
    for n, entry in enumerate(entries):
        names.append(entry.name)
        if n == 100:
            for k in range(0, 400, 2): os.unlink(M + '/image-%04d' % k)
assert len(set(names)) == len(names) and len(names) >= 1800, len(names)
assert len(os.listdir(M)) == 1800
",
    );
}

#[test]
fn an_image_whose_data_is_lost_is_an_error_and_nothing_worse() {
    let fs = Glancefs::mount();
    let id = fs.glance_stores(&Stored { name: "lost", ..Stored::default() });
    eventually("seen", || fs.try_sh("test -e $M/lost").ok());
    fs.lose(&id);
    fs.refused("cat $M/lost", "Input/output error");
    assert_eq!(fs.sh("stat -c %s $M/lost"), "6\n");
    fs.sh("rm $M/lost");
    assert_eq!(fs.sh("ls $M"), "");
    fs.assert_only(&[]);
}

#[test]
fn finding_and_measuring_the_mount_sees_every_image_once() {
    let fs = Glancefs::mount();
    fs.noise("seed", 65_536);
    fs.sh("cp seed $M/a; cp seed $M/b");
    assert_eq!(fs.sh("cd $M; find . | sort"), ".\n./a\n./b\n");
    assert_eq!(fs.sh("ls -A $M"), "a\nb\n");
    assert_eq!(fs.sh("du -s --apparent-size -B65536 $M/a $M/b | cut -f1"), "1\n1\n");
}
