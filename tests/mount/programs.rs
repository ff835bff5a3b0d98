//! Programs that write: each ends with a right, active image when its last `close` returns.

use crate::harness::Glancefs;

#[test]
fn cp_adds_an_image_that_reads_back_the_same() {
    let fs = Glancefs::mount();
    fs.noise("disk", 3_000_001);
    fs.sh("cp disk $M/disk.img");
    let image = fs.assert_same("disk.img", "disk", "raw");
    assert_eq!((image.visibility.as_str(), image.protected, image.owner), ("shared", false, None));
    assert_eq!(image.virtual_size, Some(3_000_001));
    if let Some(pool) = &fs.pool {
        assert_eq!(image.locations, [pool.url(&image.id)]);
    } else {
        let file = fs.datadir().join(&image.id);
        assert_eq!(image.locations, [format!("file://{}", file.display())]);
        assert_eq!(fs.sh(&format!("stat -c %a {}", file.display())), "640\n");
    }
    fs.assert_only(&["disk.img"]);
    assert_eq!(fs.sh("ls $M"), "disk.img\n");
    fs.sh("cmp disk $M/disk.img");
}

#[test]
fn an_empty_file_is_an_image_too() {
    let fs = Glancefs::mount();
    fs.sh("touch $M/empty; : > $M/also; test -f $M/empty; test ! -s $M/empty; cat $M/empty");
    fs.sh(": > nothing");
    fs.assert_same("empty", "nothing", "raw");
    fs.assert_same("also", "nothing", "raw");
}

#[test]
fn cp_a_install_and_tar_keep_time_and_content() {
    let fs = Glancefs::mount();
    fs.noise("seed", 200_000);
    fs.sh("touch -d '2001-02-03 04:05:06.123456789Z' seed; mkdir out; cp -p seed packed
           tar -cf seed.tar packed; chmod 600 seed
           cp -a seed $M/copied; install -m 644 -p seed $M/installed; tar -C $M -xf seed.tar
           cp -p seed $M/kept");
    for name in ["copied", "installed", "packed", "kept"] {
        fs.assert_same(name, "seed", "raw");
        assert_eq!(fs.sh(&format!("stat -c %Y $M/{name}")), "981173106\n", "{name}");
        assert_eq!(fs.image(name).visibility, "shared", "a mode publishes nothing");
    }
    assert_eq!(fs.sh("stat -c %y $M/copied | cut -d. -f2 | cut -c1-9"), "123456789\n");
    fs.assert_only(&["copied", "installed", "kept", "packed"]);
}

#[test]
fn a_second_rsync_transfers_nothing() {
    let fs = Glancefs::mount();
    fs.sh("mkdir from; touch from/empty");
    for (name, length) in [("from/one", 300_000), ("from/two words", 70_000)] {
        fs.noise(name, length);
    }
    fs.sh("touch -d '2019-05-05 05:05:05.5' from/one; rsync -a from/ $M/; ls $M >/dev/null");
    fs.assert_same("one", "from/one", "raw");
    fs.assert_same("two words", "'from/two words'", "raw");
    fs.assert_only(&["empty", "one", "two words"]);
    let again = fs.sh("rsync -a --stats --itemize-changes from/ $M/");
    assert!(again.contains("Number of regular files transferred: 0"), "{again}");
    let moved: Vec<_> = again.lines().filter(|line| line.starts_with(['<', '>', 'c'])).collect();
    assert_eq!(moved, [""; 0], "{again}");
    // And back out of the mount.
    fs.sh("mkdir to; rsync -a $M/ to/; diff -r from to");
    assert_eq!(fs.sh("ls -A to | wc -l").trim(), "3", "the directories by id are not copied");
}

#[test]
fn rsync_replaces_in_place_only_with_the_option() {
    let fs = Glancefs::mount();
    fs.noise("one", 100_000);
    fs.sh("rsync -a one $M/one; touch one; printf more >>one");
    let refused = fs.try_sh("rsync -a one $M/one");
    assert!(!refused.ok(), "{refused:?}");
    fs.sh("head -c 100000 one >first");
    fs.assert_same("one", "first", "raw");
    fs.assert_only(&["one"]);
}

#[test]
fn dd_writes_blocks_in_any_order() {
    let fs = Glancefs::mount();
    fs.noise("seed", 400_000);
    fs.sh("dd if=seed of=$M/plain bs=64k status=none
           dd if=seed of=$M/synced bs=64k conv=fsync status=none
           dd if=seed of=$M/holed bs=4k count=3 seek=20 status=none
           dd if=seed of=plain2 bs=4k count=3 seek=20 status=none");
    fs.assert_same("plain", "seed", "raw");
    fs.assert_same("synced", "seed", "raw");
    fs.assert_same("holed", "plain2", "raw");
    // One process that writes backwards, over itself, and into gaps.
    let script = "
seed = open('seed', 'rb').read()
for path in (M + '/backwards', 'backwards'):
    f = os.open(path, os.O_WRONLY | os.O_CREAT)
    for at in range(390000, -1, -30000):
        os.pwrite(f, seed[at:at + 30000], at)
    os.pwrite(f, b'twice', 100)
    os.fsync(f)
    os.pwrite(f, b'thrice', 350000)
    os.ftruncate(f, 380000)
    os.ftruncate(f, 500000)
    os.close(f)
";
    fs.python(script);
    fs.assert_same("backwards", "backwards", "raw");
}

#[test]
fn a_shell_that_writes_in_pieces_makes_one_image() {
    let fs = Glancefs::mount();
    fs.sh("exec 3>$M/y; printf a >&3; printf b >&3");
    fs.sh("exec 3>$M/z; printf a >&3; (printf b >&3); sh -c 'printf c >&3'; date >/dev/null; printf d >&3; exec 3>&-");
    fs.sh("{ printf a; printf b; } >$M/braces; printf a >$M/pipe | printf b; echo text | tee $M/tee >/dev/null");
    fs.sh("printf ab >ab; printf abcd >abcd; printf a >a; echo text >text");
    fs.assert_same("y", "ab", "raw");
    fs.assert_same("z", "abcd", "raw");
    fs.assert_same("braces", "ab", "raw");
    fs.assert_same("pipe", "a", "raw");
    fs.assert_same("tee", "text", "raw");
    fs.assert_only(&["braces", "pipe", "tee", "y", "z"]);
}

#[test]
fn a_child_that_outlives_its_parent_goes_on_writing() {
    let fs = Glancefs::mount();
    fs.sh("(sleep 0.4; printf late >&3) 3>$M/f & exec 3>&-; printf started");
    crate::harness::eventually("the child's image is there", || fs.try_sh("test -s $M/f").ok());
    fs.sh("printf late >late");
    fs.assert_same("f", "late", "raw");
    // The descriptor is shared: the parent writes and closes first.
    fs.sh("exec 3>$M/g; (sleep 0.4; printf b >&3) & printf a >&3; exec 3>&-");
    crate::harness::eventually("the child's part is there", || fs.try_sh("test -s $M/g").ok());
    fs.sh("printf ab >ab");
    fs.assert_same("g", "ab", "raw");
    fs.assert_only(&["f", "g"]);
}

#[test]
fn a_program_that_writes_closes_and_stays_alive_has_made_its_image() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
with open(M + '/kept', 'wb') as f:
    f.write(b'x' * 100000)
assert os.path.getsize(M + '/kept') == 100000
assert open(M + '/kept', 'rb').read(3) == b'xxx'
print('closed', flush=True)
time.sleep(30)
",
    );
    crate::harness::eventually("closed", || writer.printed().contains("closed"));
    assert_eq!(fs.sh("stat -c %s $M/kept"), "100000\n");
    fs.sh("head -c 100000 /dev/zero | tr '\\0' x >x");
    fs.assert_same("kept", "x", "raw");
}

#[test]
fn a_program_that_opens_for_reading_and_writing_and_stays_alive_is_done_in_a_moment() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "
f = open(M + '/kept', 'w+b')
f.write(b'one')
f.seek(0)
assert f.read() == b'one'
f.close()
f = open(M + '/kept', 'r+b')
f.seek(3)
f.write(b' two')
f.close()
print('closed', flush=True)
time.sleep(30)
",
    );
    crate::harness::eventually("closed", || writer.printed().contains("closed"));
    crate::harness::eventually("published", || fs.try_sh("test -e $M/kept").ok());
    fs.sh("printf 'one two' >both");
    fs.assert_same("kept", "both", "raw");
}

#[test]
fn a_program_that_exits_without_closing_has_made_its_image() {
    let fs = Glancefs::mount();
    let writer = fs.spawn_python(
        "f = os.open(M + '/f', os.O_WRONLY | os.O_CREAT); os.write(f, b'all'); os._exit(3)",
    );
    assert_eq!(writer.wait().status.code(), Some(3));
    fs.sh("printf all >all");
    fs.assert_same("f", "all", "raw");
}

#[test]
fn fifty_programs_write_at_once() {
    let fs = Glancefs::mount();
    fs.noise("seed", 300_000);
    // The first image makes Ceph's libraries start the threads that they keep.
    fs.sh("echo first >$M/first; cat $M/first");
    let before = fs.resources();
    fs.sh("for n in $(seq 50); do (cat seed; echo $n) >seed$n; done
           for n in $(seq 50); do cp seed$n $M/copy$n & done; wait
           for n in $(seq 50); do cmp seed$n $M/copy$n; done");
    assert_eq!(fs.records().len(), 51);
    for n in [1, 25, 50] {
        fs.assert_same(&format!("copy{n}"), &format!("seed{n}"), "raw");
    }
    // What 50 uploads needed is given back.
    fs.gives_back(&before);
}

#[test]
fn cp_inside_the_mount_copies_image_and_hashes() {
    let fs = Glancefs::mount();
    fs.noise("seed", 2_000_000);
    fs.sh("truncate -s 64M sparse; dd if=seed of=sparse bs=64k seek=500 conv=notrunc status=none
           cp seed $M/one; cp --sparse=always sparse $M/holes
           cp $M/one $M/two; cp $M/holes $M/three; cp --reflink=never $M/one $M/four
           cp --sparse=never $M/one $M/five; cat $M/one >$M/six");
    for name in ["two", "four", "five", "six"] {
        fs.assert_same(name, "seed", "raw");
    }
    let copy = fs.assert_same("three", "sparse", "raw");
    if fs.pool.is_none() {
        let stored = fs.sh(&format!("du -k {}/{} | cut -f1", fs.datadir().display(), copy.id));
        assert!(stored.trim().parse::<u64>().unwrap() < 8192, "{stored}");
    }
    // A part of one image is not that image.
    fs.python(
        "
a = os.open(M + '/one', os.O_RDONLY); b = os.open(M + '/part', os.O_WRONLY | os.O_CREAT)
assert os.copy_file_range(a, b, 100000, 500, 0) == 100000
os.close(b)
c = os.open(M + '/patched', os.O_WRONLY | os.O_CREAT)
done = 0
while done < 2000000: done += os.copy_file_range(a, c, 2000000 - done)
os.pwrite(c, b'patch', 1000)
os.close(c)
",
    );
    fs.sh("tail -c +501 seed | head -c 100000 >part
           cp seed patched; printf patch | dd of=patched bs=1 seek=1000 conv=notrunc status=none");
    fs.assert_same("part", "part", "raw");
    fs.assert_same("patched", "patched", "raw");
}

#[test]
fn holes_stay_holes() {
    let fs = Glancefs::mount();
    fs.noise("data", 65_536);
    fs.sh("truncate -s 32M holes; dd if=data of=holes bs=64k seek=100 conv=notrunc status=none
           cp --sparse=always holes $M/holes");
    fs.assert_same("holes", "holes", "raw");
    let shown = |file: &str| fs.sh(&format!("stat -c '%s %b' {file}"));
    let blocks: u64 = shown("$M/holes").split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((128..1024).contains(&blocks), "{}", shown("$M/holes"));
    // SEEK_DATA and SEEK_HOLE say where they are; cp looks for them.
    assert_eq!(
        fs.python(
            "
f = os.open(M + '/holes', os.O_RDONLY)
print(os.lseek(f, 0, os.SEEK_DATA), os.lseek(f, 6553600, os.SEEK_HOLE), os.lseek(f, 0, os.SEEK_HOLE))
try: os.lseek(f, 7000000, os.SEEK_DATA)
except OSError as e: print(e.errno == errno.ENXIO)
print(os.lseek(f, -10, os.SEEK_END), os.lseek(f, 5, os.SEEK_SET), os.lseek(f, 5, os.SEEK_CUR))
"
        ),
        "6553600 6619136 0\nTrue\n33554422 5 10\n"
    );
    fs.sh("cp --sparse=auto $M/holes back; cmp back holes");
    let back: u64 = fs.sh("du -k back | cut -f1").trim().parse().unwrap();
    assert!(back < 1024, "{back} KiB");
    let map = fs.sh("qemu-img map --output=json -f raw $M/holes");
    assert!(map.contains("\"start\": 6553600, \"length\": 65536"), "{map}");
}

#[test]
fn fallocate_reserves_extends_and_punches() {
    let fs = Glancefs::mount();
    fs.noise("seed", 400_000);
    for target in ["$M/f", "f"] {
        fs.sh(&format!(
            "exec 3<>{target}; cat seed >&3
             fallocate -l 500000 /dev/fd/3 2>/dev/null || truncate -s 500000 /dev/fd/3"
        ));
    }
    fs.sh("ls $M >/dev/null");
    fs.assert_same("f", "f", "raw");
    fs.python(
        "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
seed = open('seed', 'rb').read()
for path in (M + '/punched', 'punched'):
    f = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(f, seed)
    assert libc.fallocate(f, 3, 65536, 131072) == 0, os.strerror(ctypes.get_errno())
    assert libc.fallocate(f, 1, 0, 1 << 20) == 0, os.strerror(ctypes.get_errno())
    os.posix_fallocate(f, 0, 450000)
    os.close(f)
f = os.open(M + '/collapse', os.O_WRONLY | os.O_CREAT)
os.write(f, seed)
assert libc.fallocate(f, 8, 0, 4096) == -1 and ctypes.get_errno() == errno.EOPNOTSUPP
os.close(f)
",
    );
    fs.assert_same("punched", "punched", "raw");
    fs.assert_same("collapse", "seed", "raw");
}
