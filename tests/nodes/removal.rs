//! An image goes at one controller while it is read at the other.

use crate::harness::{Glancefs, Running, eventually};
use crate::{Site, api};

const SIZE: usize = 48 << 20;

/// Reads a first piece of an image, and the rest when it is told to; says how that went.
fn reader(glancefs: &Glancefs) -> Running {
    let running = glancefs.spawn_python(
        "
f = os.open(M + '/a.raw', os.O_RDONLY)
data = [os.read(f, 1 << 20)]
print('reads', flush=True)
while not os.path.exists('removed'): time.sleep(0.01)
try:
    while data[-1]: data.append(os.read(f, 1 << 20))
    print('all', flush=True)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
read = b''.join(data)
print('right' if open('a.raw', 'rb').read().startswith(read) else 'WRONG', flush=True)
",
    );
    eventually("it reads", || running.printed().contains("reads"));
    running
}

#[test]
#[ignore = "needs Ceph and MariaDB; scripts/test runs it"]
fn who_reads_what_the_other_removes_gets_right_bytes_or_an_error() {
    let site = Site::start();
    let (one, other) = (&site.zeus, &site.hades);
    other.noise("a.raw", SIZE);
    other.sh("cp a.raw $M/");
    // Seen first at the other, so that nothing of it is in memory there.
    let id = one.image("a.raw").id;
    eventually("it is seen", || one.try_sh("test -f $M/a.raw").ok());
    one.noise("a.raw", SIZE);
    let reader = reader(one);
    let url = format!("http://{}/v2/images/{id}/file", one.api.unwrap());
    let download = one.spawn(&format!("curl -sS --fail --limit-rate 8M -o downloaded {url}"));
    let downloaded = one.scratch().join("downloaded");
    eventually("it downloads", || downloaded.metadata().is_ok_and(|file| file.len() > 0));
    api(other).delete(&id);
    eventually("its data is gone", || site.pool().is_empty());
    one.sh("touch removed");
    eventually("it is read as far as that goes", || reader.printed().lines().count() == 3);
    let told = reader.printed();
    let told: Vec<_> = told.lines().collect();
    assert!(["all", "EIO", "ESTALE"].contains(&told[1]) && told[2] == "right", "{told:?}");
    let complete = download.wait().ok();
    let shorter = "cmp -n $(stat -c %s downloaded) downloaded a.raw";
    one.sh(if complete { "cmp downloaded a.raw" } else { shorter });
    println!("the reader: {}, the download: {complete}", told[1]);
    eventually("its name is gone", || one.sh("ls $M").is_empty());
    one.refused("cat $M/a.raw", "No such file");
}
