//! What the monitor decides: who may do what; and that nobody needs it who is connected.

use crate::harness::{Cluster, eventually};
use crate::{mount_as, mount_on, pool_is_the_catalog, rbd};

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn reading_and_writing_go_on_while_the_monitor_is_away_and_after() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = mount_on(&cluster);
    glancefs.noise("a.raw", 96 << 20);
    glancefs.noise("b.raw", 9 << 20);
    glancefs.sh("cp a.raw b.raw $M/");
    // So that the kernel has nothing of it.
    glancefs.restart();
    let daemon = glancefs.pid();
    // Each goes on until the file `end` is there.
    let slowly = |from: &str, to: &str| {
        glancefs.spawn_python(&format!(
            "
source, target = open({from}, 'rb'), open({to}, 'wb')
n = 0
while data := source.read(1 << 20):
    target.write(data)
    target.flush()
    n += 1
    if n == 8: print('begun', flush=True)
    if n < 90 and not os.path.exists('end'): time.sleep(0.2)
target.close()
"
        ))
    };
    let reading = slowly("M + '/a.raw'", "'got'");
    let writing = slowly("'a.raw'", "M + '/new.raw'");
    eventually("both are under way", || {
        [&reading, &writing].iter().all(|running| running.printed().contains("begun"))
    });
    cluster.act("kill-mon");
    // Also what begins only now.
    glancefs.sh("cmp b.raw $M/b.raw; ls -l $M");
    // Making a snapshot and removing one take a monitor: these two wait.
    let sealing = glancefs.spawn("cp b.raw $M/c.raw");
    let removing = glancefs.spawn("rm $M/b.raw");
    cluster.act("start-mon");
    glancefs.sh("cp b.raw $M/d.raw; touch end");
    for running in [sealing, removing, reading, writing] {
        let done = running.wait();
        assert!(done.ok(), "{done:?}");
    }
    glancefs.sh("cmp a.raw got");
    glancefs.assert_same("new.raw", "a.raw", "raw");
    glancefs.assert_same("c.raw", "b.raw", "raw");
    assert_eq!(glancefs.sh("ls $M"), "a.raw\nc.raw\nd.raw\nnew.raw\n");
    assert_eq!(glancefs.pid(), daemon);
    assert!(pool_is_the_catalog(&cluster, &glancefs));
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn the_caps_that_instructions_give_are_enough() {
    let cluster = Cluster::start("memstore");
    let profile: &[&str] = &["mon", "profile rbd", "osd", "profile rbd pool=images"];
    let classic: &[&str] = &[
        "mon",
        "allow r",
        "osd",
        "allow class-read object_prefix rbd_children, allow rwx pool=images",
    ];
    // Cinder's, of today.
    let cinder = ["mon", "profile rbd", "osd", "profile rbd pool=volumes, profile rbd pool=images"];
    cluster.run("ceph", &["osd", "pool", "create", "volumes", "8"]);
    cluster.run("rbd", &["pool", "init", "volumes"]);
    cluster.add_user("cinder", &cinder);
    for (user, caps) in [("profile", profile), ("classic", classic)] {
        cluster.add_user(user, caps);
        let mut glancefs = mount_as(user, &cluster);
        glancefs.noise("a.raw", 9 << 20);
        glancefs.sh("cp a.raw $M/; cp --sparse=never $M/a.raw $M/b.raw; df $M || true");
        glancefs.restart();
        let image = glancefs.assert_same("a.raw", "a.raw", "raw");
        glancefs.assert_same("b.raw", "a.raw", "raw");
        let cinder = |arguments: &[&str]| {
            cluster.run("rbd", &[&["--id", "cinder"], arguments].concat());
        };
        let volume = format!("volumes/of-{user}");
        cinder(&["clone", &format!("images/{}@snap", image.id), &volume]);
        glancefs.refused("rm $M/a.raw", "Device or resource busy");
        cinder(&["flatten", "--no-progress", &volume]);
        glancefs.sh("rm $M/a.raw $M/b.raw");
        assert_eq!(rbd(&cluster, &["ls"]), "", "{user}");
        assert_eq!(rbd(&cluster, &["trash", "ls"]), "", "{user}");
    }
}
