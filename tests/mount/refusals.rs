//! What is refused, and with which error.

use std::path::PathBuf;

use crate::harness::{Glancefs, Start, Stored, eventually, skipped_on_rbd};

#[test]
fn an_existing_image_can_be_neither_written_nor_truncated() {
    let fs = Glancefs::mount();
    fs.sh("echo first >$M/a; echo other >b; touch -d 2001-01-01 old");
    let refused = "Operation not permitted";
    fs.refused("cp b $M/a", refused);
    // dash says only that it cannot create it.
    fs.refused("echo x >$M/a", "cannot create");
    fs.refused("echo x >>$M/a", "cannot create");
    fs.refused("truncate -s 3 $M/a", refused);
    fs.refused("dd if=b of=$M/a conv=notrunc status=none", refused);
    fs.refused("dd if=b of=$M/a status=none", refused);
    fs.python(
        "
try: os.truncate(M + '/a', 3); sys.exit('cut')
except OSError as e: assert e.errno == errno.EPERM, e
f = os.open(M + '/a', os.O_RDONLY)
try: os.write(f, b'x'); sys.exit('written')
except OSError as e: assert e.errno == errno.EBADF, e
",
    );
    assert_eq!(fs.sh("cat $M/a"), "first\n");
    fs.sh("truncate -s 6 $M/a || true");
    fs.assert_only(&["a"]);
}

#[test]
fn there_are_only_files() {
    let fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    for script in [
        "mkdir $M/d",
        "ln -s a $M/l",
        "ln $M/a $M/h",
        "mkfifo $M/p",
        "mknod $M/n c 1 3",
        "mkdir $M/.by-project/p",
        "rmdir $M/.by-id",
    ] {
        fs.refused(script, "Operation not permitted");
    }
    fs.assert_only(&["a"]);
    assert_eq!(fs.sh("ls -A $M"), "a\n");
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let mut fs = Glancefs::mount();
    fs.sh("echo a >$M/a");
    fs.restart_with(Start::default().options("ro"));
    for script in [
        "touch $M/b",
        "rm -f $M/a",
        "mv $M/a $M/b",
        "truncate -s 0 $M/a",
        "mkdir $M/d",
        "setfattr -n user.glance.property.x -v 1 $M/a",
        "touch -d 2001-01-01 $M/a",
        "chmod 600 $M/a",
    ] {
        fs.refused(script, "Read-only file system");
    }
    assert_eq!(fs.sh("cat $M/a; ls $M"), "a\na\n");
    fs.assert_only(&["a"]);
}

#[test]
fn a_limit_on_the_daemons_file_sizes_is_an_error_of_the_write() {
    if crate::harness::skipped_on_rbd("the limit is one of local files") {
        return;
    }
    let fs = Glancefs::mount();
    fs.sh("echo before >$M/before");
    fs.noise("more", 3_000_000);
    fs.sh(&format!("prlimit --pid {} --fsize=1000000", fs.pid()));
    fs.refused("cp more $M/more", "No space left on device");
    assert_eq!(fs.sh("cat $M/before; ls $M"), "before\nbefore\n");
    fs.assert_only(&["before"]);
}

#[test]
fn an_image_over_the_cap_is_cut_at_no_byte_but_refused() {
    let fs = Start::default().config("[DEFAULT]\nimage_size_cap = 1000000\n").mount();
    fs.noise("fits", 1_000_000);
    fs.noise("more", 1_000_001);
    fs.sh("cp fits $M/fits");
    fs.assert_same("fits", "fits", "raw");
    fs.refused("cp more $M/more", "File too large");
    fs.refused("truncate -s 1000001 $M/cut", "File too large");
    eventually("nothing is left", || fs.records().len() == 1);
    fs.python(
        "
f = os.open(M + '/byte', os.O_WRONLY | os.O_CREAT)
os.pwrite(f, b'x', 999999)
try: os.pwrite(f, b'x', 1000000); sys.exit('written')
except OSError as e: assert e.errno == errno.EFBIG, e
try: os.close(f)
except OSError as e: pass
",
    );
    eventually("nothing is left", || fs.records().len() == 1);
    let why = fs.sh("getfattr --only-values -n user.glance.error $M");
    assert!(why.contains("image_size_cap"), "{why}");
    fs.assert_only(&["fits"]);
}

#[test]
#[ignore = "mounts a tmpfs, which takes root"]
fn a_full_store_is_said_and_leaves_nothing() {
    if skipped_on_rbd("the store is a small tmpfs; for a full pool see tests/rbd") {
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        }
    }
    let mut fs = Start::default().prepare();
    let small = Unmount(fs.directory().join("small"));
    fs.sh("mkdir ../small; mount -t tmpfs -o size=1m tmpfs ../small");
    let datadir = small.0.join("images");
    fs.configure(&format!("[glance_store]\nfilesystem_store_datadir = {}\n", datadir.display()));
    fs.start_again();
    fs.noise("seed", 3_000_000);
    fs.refused("cp seed $M/seed", "No space left on device");
    eventually("nothing is left", || fs.records().is_empty());
    assert_eq!(fs.sh("ls -A $M ../small/images | grep -v : || true").trim(), "");
    fs.sh("head -c 500000 seed >few; cp few $M/few");
    fs.assert_same("few", "few", "raw");
}

#[test]
fn a_member_may_not_read_what_is_deactivated() {
    let fs = Start::default().project("red").mount();
    fs.sh("echo a >$M/a");
    let image = fs.image("a");
    assert_eq!(image.owner.as_deref(), Some("red"));
    fs.glance_sets(&image.id, "status = 'deactivated'");
    eventually("it is out of use", || !fs.try_sh("cat $M/a").ok());
    fs.refused("cat $M/a", "Permission denied");
    assert_eq!(fs.sh("ls $M; stat -c %s $M/a"), "a\n2\n");
    fs.glance_sets(&image.id, "status = 'active'");
    eventually("it is back", || fs.try_sh("cat $M/a").ok());
}

#[test]
fn the_operator_may_read_what_is_deactivated() {
    let fs = Glancefs::mount();
    fs.glance_stores(&Stored { name: "d", status: "deactivated", ..Stored::default() });
    eventually("seen", || fs.try_sh("test -e $M/d").ok());
    assert_eq!(fs.sh("cat $M/d"), "stored");
}

#[test]
fn a_project_that_has_its_quota_gets_no_more() {
    let fs = Start::default().with_api().config("[DEFAULT]\nuser_storage_quota = 1MB\n").mount();
    fs.noise("a", 700_000);
    fs.noise("b", 348_576);
    fs.sh("cp a $M/a");
    fs.refused("cp a $M/b", "Disk quota exceeded");
    fs.sh("cp b $M/b");
    fs.refused("printf x | dd of=$M/c status=none", "Disk quota exceeded");
    fs.sh("rm -f $M/c $M/b");
    // By both faces at once.
    let url = format!("http://{}/v2/images", fs.api.unwrap());
    fs.sh(&format!(
        "for i in 1 2 3 4; do
           cp b $M/m$i 2>/dev/null &
           id=$(curl -sf -d '{{\"disk_format\":\"raw\",\"container_format\":\"bare\"}}' {url} | grep -o '\"id\":\"[^\"]*' | cut -c7-)
           curl -s -T b -H 'Content-Type: application/octet-stream' {url}/$id/file &
         done; wait"
    ));
    let used = fs.sh("cat $M/* | wc -c");
    assert!(used.trim().parse::<u64>().unwrap() <= 1 << 20, "{used}");
}
