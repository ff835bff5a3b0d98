//! Who reads an image goes on when it is removed, whichever way he reads.

use crate::harness::{Cluster, Glancefs, Running, eventually};
use crate::{mount_on, pool_is_the_catalog, rbd};

/// A mount with one image, of which the kernel has nothing.
fn with_an_image(cluster: &Cluster) -> Glancefs {
    let mut glancefs = mount_on(cluster);
    glancefs.noise("a.raw", 32 << 20);
    glancefs.sh("cp a.raw $M/");
    glancefs.restart();
    glancefs
}

/// Has the image open, and reads all of it when `removed` is there.
fn reader(glancefs: &Glancefs) -> Running {
    let running = glancefs.spawn_python(
        "
f = open(M + '/a.raw', 'rb', buffering=0)
print('open', flush=True)
while not os.path.exists('removed'): time.sleep(0.01)
with open('read', 'wb') as out:
    while data := f.read(1 << 20): out.write(data)
print('size', os.fstat(f.fileno()).st_size, flush=True)
time.sleep(600)
",
    );
    eventually("it is open", || running.printed().contains("open"));
    running
}

/// The image is gone for everybody but who reads it.
fn remove(cluster: &Cluster, glancefs: &Glancefs) {
    let id = glancefs.image("a.raw").id;
    glancefs.sh("rm $M/a.raw");
    glancefs.refused("cat $M/a.raw", "No such file");
    assert!(glancefs.records().is_empty());
    assert!(rbd(cluster, &["ls"]).contains(&id));
    glancefs.sh("touch removed");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn readers_of_a_removed_image_read_on_and_its_data_goes_with_the_last() {
    let cluster = Cluster::start("memstore");
    let glancefs = with_an_image(&cluster);
    let reader = reader(&glancefs);
    let url =
        format!("http://{}/v2/images/{}/file", glancefs.api.unwrap(), glancefs.image("a.raw").id);
    let download = glancefs.spawn(&format!("curl -sS --limit-rate 8M -o downloaded {url}"));
    let downloaded = glancefs.scratch().join("downloaded");
    eventually("it downloads", || downloaded.metadata().is_ok_and(|file| file.len() > 0));
    remove(&cluster, &glancefs);
    eventually("all is read", || reader.printed().contains("size 33554432"));
    glancefs.sh("cmp a.raw read");
    assert!(download.wait().ok());
    glancefs.sh("cmp a.raw downloaded");
    assert!(!pool_is_the_catalog(&cluster, &glancefs), "it is still open");
    // Its name is free meanwhile.
    glancefs.sh("cp a.raw $M/ && cmp a.raw $M/a.raw");
    drop(reader);
    eventually("its data goes", || pool_is_the_catalog(&cluster, &glancefs));
    eventually("so does its entry", || {
        std::fs::read_dir(glancefs.state_dir().join("journal")).unwrap().count() == 0
    });
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn the_next_start_removes_what_was_still_read() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = with_an_image(&cluster);
    let reader = reader(&glancefs);
    remove(&cluster, &glancefs);
    eventually("all is read", || reader.printed().contains("size 33554432"));
    glancefs.kill();
    drop(reader);
    glancefs.start_again();
    eventually("its data goes", || pool_is_the_catalog(&cluster, &glancefs));
}
