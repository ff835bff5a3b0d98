//! A large image of which little is data.

use crate::harness::{Cluster, Glancefs};
use crate::{mount_on, rbd};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Pieces of 128 KiB, scattered by the block: 20 MiB in 1 GiB.
const PIECES: u64 = 160;
const DATA: u64 = 20 * MIB;

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn only_the_data_of_a_sparse_image_counts_and_moves() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_on(&cluster);
    glancefs.python(&format!(
        "
with open('a.raw', 'wb') as f:
    f.truncate({})
    for n in range({PIECES}):
        f.seek((n * 1638 + n * 2654435761 % 1600) << 12)
        f.write(os.urandom(128 << 10))
",
        GIB
    ));
    glancefs.sh("cp --sparse=auto a.raw $M/");
    let about_the_data = DATA..DATA + 2 * MIB;
    assert!(about_the_data.contains(&taken(&glancefs, "$M/a.raw")));
    // Ceph counts whole objects: those that have data.
    let id = glancefs.image("a.raw").id;
    let used = cluster.rbd_json(&["du", &format!("images/{id}")]);
    let of_each = used["images"].as_array().unwrap().iter();
    let sum: u64 = of_each.map(|image| image["used_size"].as_u64().unwrap()).sum();
    assert!((DATA..=2 * PIECES * 8 * MIB).contains(&sum), "{used}");
    assert_eq!(rbd(&cluster, &["ls"]).trim(), id);

    // A daemon that has not written it, each time, and a kernel that has seen nothing of it.
    for copy in ["cp --sparse=always", "qemu-img convert -f raw -O raw"] {
        glancefs.restart();
        let before = answered(&glancefs);
        glancefs.sh(&format!("{copy} $M/a.raw copy"));
        let moved = answered(&glancefs) - before;
        println!("{copy}: {} MiB", moved / MIB);
        assert!(moved < 2 * DATA, "{copy}: {moved} bytes");
        assert!(taken(&glancefs, "copy") < DATA + 2 * MIB, "{copy}");
        assert!(about_the_data.contains(&taken(&glancefs, "$M/a.raw")));
        glancefs.sh("cmp a.raw copy; rm copy");
    }
    glancefs.assert_same("a.raw", "a.raw", "raw");
    // The holes that the mount tells of are those of the image.
    let told = glancefs.python(
        "
f = os.open(M + '/a.raw', os.O_RDONLY)
at, data = 0, 0
try:
    while True:
        start = os.lseek(f, at, os.SEEK_DATA)
        at = os.lseek(f, start, os.SEEK_HOLE)
        data += at - start
except OSError as e:
    assert e.errno == errno.ENXIO
print(data)
",
    );
    assert_eq!(told.trim().parse(), Ok(DATA));
}

/// What a file takes, in bytes.
fn taken(glancefs: &Glancefs, file: &str) -> u64 {
    let blocks = glancefs.sh(&format!("stat -c %b {file}"));
    blocks.trim().parse::<u64>().unwrap() * 512
}

/// How many bytes the daemon has handed to the kernel.
fn answered(glancefs: &Glancefs) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", glancefs.pid())).unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.unwrap().parse().unwrap()
}
