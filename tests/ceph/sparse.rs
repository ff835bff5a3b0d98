//! A large image of which little is data.

use crate::harness::Cluster;
use crate::mount_on;

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn only_the_data_of_a_sparse_image_counts_and_moves() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_on(&cluster);
    glancefs.python(
        "
with open('a.raw', 'wb') as f:
    f.truncate(1 << 30)
    for n in range(160):
        f.seek((n * 2654435761 % (1 << 14)) << 16)
        f.write(os.urandom(128 << 10))
",
    );
    glancefs.sh("cp --sparse=always a.raw $M/");
    // Also a daemon that did not write it knows, once it has opened it.
    for _ in 0..2 {
        glancefs.sh("head -c 1 $M/a.raw >head");
        let taken = glancefs.sh("du -k $M/a.raw | cut -f1").trim().parse::<u64>().unwrap();
        assert!((19 << 10..23 << 10).contains(&taken), "{taken} KiB");
        glancefs.restart();
    }
    glancefs.sh("cp --sparse=always $M/a.raw copied; cmp a.raw copied
                 qemu-img convert -f raw -O raw $M/a.raw converted; cmp a.raw converted");
    // The holes that the mount tells of are those of the image.
    let holes = |file: &str| {
        glancefs.python(&format!(
            "
f = os.open({file}, os.O_RDONLY)
at, data = 0, 0
try:
    while True:
        start = os.lseek(f, at, os.SEEK_DATA)
        at = os.lseek(f, start, os.SEEK_HOLE)
        data += at - start
except OSError as e:
    assert e.errno == errno.ENXIO
print(data >> 10)
"
        ))
    };
    let told = holes("M + '/a.raw'").trim().parse::<u64>().unwrap();
    assert!((19 << 10..23 << 10).contains(&told), "{told} KiB");
}
