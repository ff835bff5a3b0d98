//! Names that are taken: `mv`, and writing over an image, with and without `-o replace`.

use crate::harness::{Glancefs, Start, Stored, eventually};

fn replacing() -> Glancefs {
    Start::default().options("replace").mount()
}

#[test]
fn mv_changes_the_name_and_nothing_else() {
    let fs = Glancefs::mount();
    fs.noise("seed", 100_000);
    fs.sh("cp seed $M/a");
    let before = fs.assert_same("a", "seed", "raw");
    fs.sh("mv $M/a $M/b; test ! -e $M/a");
    let after = fs.assert_same("b", "seed", "raw");
    assert_eq!((before.id, before.checksum), (after.id, after.checksum));
    fs.sh("mv $M/b $M/c%2Fd");
    fs.image("c/d");
    fs.sh("mv $M/c%2Fd $M/e; mv -T $M/e $M/e2; mv $M/e2 out; cmp out seed");
    fs.assert_only(&[]);
}

#[test]
fn mv_onto_a_taken_name_is_refused() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a; echo b >$M/b");
    fs.refused("mv -T $M/a $M/b", "File exists");
    fs.refused("mv $M/a $M/.by-project/x", "");
    fs.python(
        "
def refused(call, number):
    try: call(); sys.exit('done')
    except OSError as e: assert e.errno == number, e
refused(lambda: os.rename(M + '/a', M + '/b'), errno.EEXIST)
refused(lambda: os.rename(M + '/none', M + '/c'), errno.ENOENT)
with open(M + '/draft', 'wb') as f:
    f.write(b'x'); refused(lambda: os.rename(M + '/draft', M + '/b'), errno.EEXIST)
",
    );
    assert_eq!(fs.sh("cat $M/a $M/b"), "a\nb\n");
    fs.assert_only(&["a", "b", "draft"]);
}

#[test]
fn with_the_option_mv_replaces() {
    let fs = replacing();
    fs.sh("echo a >$M/a; echo b >$M/b");
    let id = fs.image("a").id;
    fs.sh("mv $M/a $M/b");
    assert_eq!(fs.sh("ls $M; cat $M/b"), "b\na\n");
    assert_eq!(fs.image("b").id, id);
    fs.assert_only(&["b"]);
    fs.sh("echo c >$M/c");
    fs.python("
import ctypes
r = ctypes.CDLL(None, use_errno=True).renameat2(-100, (M + '/c').encode(), -100, (M + '/b').encode(), 1)
assert r == -1 and ctypes.get_errno() == errno.EEXIST
");
    fs.assert_only(&["b", "c"]);
}

#[test]
fn with_the_option_writing_to_a_name_makes_a_new_image() {
    let fs = replacing();
    fs.noise("one", 100_000);
    fs.noise("two", 90_000);
    fs.sh("cp one $M/a");
    let old = fs.assert_same("a", "one", "raw");
    fs.sh("cp two $M/a; cmp two $M/a");
    let new = fs.assert_same("a", "two", "raw");
    assert_ne!(old.id, new.id, "an id's bytes never change");
    fs.assert_only(&["a"]);
    fs.sh("rsync -a one $M/a; cmp one $M/a; install two $M/a; cmp two $M/a; cat one >$M/a");
    fs.assert_same("a", "one", "raw");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_a_part_can_be_rewritten() {
    let fs = replacing();
    fs.noise("seed", 300_000);
    // dd opens for reading and writing, so its image is there when somebody looks.
    fs.sh("cp seed $M/a; printf patch | dd of=$M/a bs=1 seek=1000 conv=notrunc status=none
           ls $M >/dev/null
           printf patch | dd of=seed bs=1 seek=1000 conv=notrunc status=none");
    fs.assert_same("a", "seed", "raw");
    fs.sh("echo more >>$M/a; echo more >>seed");
    fs.assert_same("a", "seed", "raw");
    fs.sh("truncate -s 1000 $M/a; truncate -s 1000 seed; ls $M >/dev/null");
    fs.assert_same("a", "seed", "raw");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_qemu_img_converts_onto_an_image() {
    let fs = replacing();
    fs.noise("noise", 300_000);
    fs.sh("truncate -s 4M disk; dd if=noise of=disk conv=notrunc bs=64k status=none; cp noise $M/a
           qemu-img convert -f raw -O qcow2 disk $M/a && qemu-img compare -f raw disk $M/a
           cat $M/a >a.qcow2");
    fs.assert_same("a", "a.qcow2", "qcow2");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_programs_that_write_anew_and_rename_work() {
    let fs = replacing();
    fs.sh("echo one two >$M/a; sed -i s/two/three/ $M/a; cat $M/a; echo more >b; rsync -a b $M/a
           sed -i s/more/less/ $M/a; echo end >>$M/a");
    assert_eq!(fs.sh("cat $M/a; ls -A $M"), "less\nend\na\n");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_a_name_never_goes_away() {
    let fs = replacing();
    fs.sh("echo 0 >$M/a");
    let readers: Vec<_> =
        (0..2).map(|_| fs.spawn("until test -e done; do cat $M/a >/dev/null; done")).collect();
    // Written anew, by a program that renames at the end, and by one whose image is held back.
    let last = fs.sh("enough=$(($(date +%s) + 5))
         for n in $(seq 12); do echo $n >$M/a; echo $n.5 >b; rsync -a b $M/a
         test $(cat $M/a) = $n.5; printf $n. | dd of=$M/a conv=notrunc status=none
         test $(cat $M/a) = $n.5; test $(date +%s) -le $enough || break; done
         touch done; echo $n.5");
    for reader in readers {
        let done = reader.wait();
        assert!(done.ok(), "{done:?}");
    }
    assert_eq!(fs.sh("cat $M/a; ls -A $M"), format!("{last}a\n"));
    fs.assert_only(&["a"]);
}

/// The kernel fails an opening that is answered otherwise than one of the same file before it.
#[test]
fn with_the_option_a_file_can_be_opened_at_the_moment_it_becomes_an_image() {
    let fs = replacing();
    fs.sh("echo 0 >$M/a");
    let reader = "
seen = 0
while not os.path.exists('done'):
    try:
        f = os.open(M + '/a', os.O_RDONLY); assert os.read(f, 9); os.close(f); seen += 1
    except OSError as e:
        if e.errno != errno.ESTALE: raise  # replaced twice while it was opened
assert seen
";
    let readers: Vec<_> = (0..3).map(|_| fs.spawn_python(reader)).collect();
    fs.python(
        "
enough = time.monotonic() + 3
for n in range(300):
    with open(M + '/a', 'w') as f: f.write(str(n))
    if time.monotonic() > enough: break
open('done', 'w')
",
    );
    for reader in readers {
        let done = reader.wait();
        assert!(done.ok(), "{done:?}");
    }
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_several_may_write_to_one_name_at_once() {
    let fs = replacing();
    fs.sh("echo 0 >$M/a");
    let writer = "
enough = time.monotonic() + 3
for n in range(60):
    try:
        with open(M + '/a', 'w') as f: f.write(str(n))
        last = n
    except OSError as e:
        if e.errno != errno.ESTALE: raise  # replaced twice while it was opened
    if time.monotonic() > enough: break
with open('ended', 'a') as f: f.write(str(last) + '\\n')
";
    let writers: Vec<_> = (0..3).map(|_| fs.spawn_python(writer)).collect();
    for writer in writers {
        let done = writer.wait();
        assert!(done.ok(), "{done:?}");
    }
    // The last one to close wins, and nothing is left of the others.
    eventually("one image is left", || fs.records().len() == 1);
    fs.sh("cat $M/a >a; grep -qx -f a ended");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_opening_without_writing_changes_nothing() {
    let fs = replacing();
    fs.noise("seed", 100_000);
    fs.sh("cp seed $M/a");
    let before = fs.image("a");
    fs.python(
        "
for flags in (os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
    f = os.open(M + '/a', flags)
    assert os.fstat(f).st_size == 100000
    if flags == os.O_RDWR: assert os.pread(f, 10, 0) == open('seed', 'rb').read(10)
    os.close(f)
",
    );
    eventually("the image alone is there", || fs.records() == [before.clone()]);
    fs.assert_same("a", "seed", "raw");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_a_failed_replacement_keeps_the_old_image() {
    let fs =
        Start::default().options("replace").config("[DEFAULT]\nimage_size_cap = 1000\n").mount();
    fs.sh("echo old >$M/a; head -c 2000 /dev/zero >big");
    let before = fs.image("a");
    fs.refused("cp big $M/a", "File too large");
    eventually("the image alone is there", || fs.records() == [before.clone()]);
    assert_eq!(fs.sh("cat $M/a"), "old\n");
    let writer = fs.spawn("exec 3>$M/a; echo new >&3; kill -9 $$");
    assert!(!writer.wait().ok());
    eventually("the image alone is there", || fs.records() == [before.clone()]);
    assert_eq!(fs.sh("cat $M/a"), "old\n");
    fs.assert_only(&["a"]);
}

#[test]
fn with_the_option_others_read_the_old_image_until_the_new_one_is_there() {
    let fs = replacing();
    fs.sh("echo old >$M/a");
    let writer = fs.spawn_python(
        "
f = open(M + '/a', 'wb', buffering=0); f.write(b'new')
print('half', flush=True)
while not os.path.exists('go'): time.sleep(0.01)
f.close()
",
    );
    eventually("half is written", || writer.printed().contains("half"));
    assert_eq!(fs.sh("cat $M/a; ls $M"), "old\na\n");
    fs.sh("touch go");
    let done = writer.wait();
    assert!(done.ok(), "{done:?}");
    assert_eq!(fs.sh("cat $M/a; ls $M"), "newa\n");
    fs.assert_only(&["a"]);
}

#[test]
fn even_with_the_option_a_protected_image_stays() {
    let fs = replacing();
    fs.glance_stores(&Stored { name: "p", protected: true, ..Stored::default() });
    eventually("seen", || fs.try_sh("test -e $M/p").ok());
    fs.sh("echo new >new; echo a >$M/a");
    fs.refused("cp new $M/p", "");
    fs.refused("mv -f $M/a $M/p", "Operation not permitted");
    assert_eq!(fs.sh("cat $M/p $M/a"), "storeda\n");
    fs.assert_only(&["a", "p"]);
}
