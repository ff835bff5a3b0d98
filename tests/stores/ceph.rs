//! A pool of a real Ceph cluster beside a directory.  They need Ceph's packages (see
//! `scripts/test`), and so are ignored unless asked for.

use crate::adopt::adopt;
use crate::harness::{Cluster, Glancefs, Start, eventually};
use crate::{create, directory, get, upload};

/// A mount with a pool, the default store, and a directory.
pub fn pool_and_directory(cluster: &Cluster) -> Glancefs {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let text = format!(
        "[DEFAULT]\nenabled_backends = near:file, ceph:rbd\nshow_multiple_locations = true\n\
         [glance_store]\ndefault_backend = ceph\n\
         [near]\nfilesystem_store_datadir = {}\n\
         [ceph]\nrbd_store_user = glance\nrbd_store_ceph_conf = {}\nrados_connect_timeout = 5\n",
        directory(&glancefs, "near").display(),
        cluster.conf().display()
    );
    glancefs.configure(&text);
    glancefs.start_again();
    glancefs
}

/// What `rbd` prints, as the user of the store.
pub fn rbd(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster.run("rbd", &[&["--id", "glance", "-p", "images"], arguments].concat())
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_copied_file_is_an_image_as_the_instructions_print_it() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 20 << 20);
    glancefs.sh("cp a.raw $M/");
    let image = glancefs.assert_same("a.raw", "a.raw", "raw");
    assert_eq!(rbd(&cluster, &["ls"]).trim(), image.id);
    let info = rbd(&cluster, &["info", &image.id]);
    assert!(info.contains("order 23") && info.contains("layering"), "{info}");
    let snapshots = rbd(&cluster, &["snap", "ls", &image.id]);
    assert!(snapshots.contains("snap") && snapshots.contains("yes"), "protected: {snapshots}");
    let shown = get(&glancefs, &format!("images/{}", image.id));
    assert_eq!(shown["stores"], "ceph");
    // The other store, at once.
    let near = create(&glancefs, "b.raw");
    assert_eq!(upload(&glancefs, &near, "a.raw", "near"), "204");
    glancefs.assert_same("b.raw", "a.raw", "raw");
    // Copies between the two.
    glancefs.sh("cp $M/b.raw $M/c.raw && cmp $M/c.raw a.raw && rm $M/a.raw $M/b.raw $M/c.raw");
    assert_eq!(rbd(&cluster, &["ls"]).trim(), "");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_image_with_clones_is_neither_removed_nor_changed() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 9 << 20);
    glancefs.sh("cp a.raw $M/");
    let id = glancefs.image("a.raw").id;
    let children = || glancefs.sh("getfattr --only-values -n user.glance.children $M/a.raw");
    assert_eq!(children(), "0");
    rbd(&cluster, &["clone", &format!("{id}@snap"), "images/volume"]);
    assert_eq!(children(), "1");
    glancefs.refused("rm $M/a.raw", "Device or resource busy");
    let url = crate::url(&glancefs, &format!("images/{id}"));
    let status = glancefs.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' -X DELETE {url}"));
    assert_eq!(status, "409");
    assert!(rbd(&cluster, &["snap", "ls", &id]).contains("yes"), "still protected");
    glancefs.assert_same("a.raw", "a.raw", "raw");
    rbd(&cluster, &["flatten", "--no-progress", "volume"]);
    glancefs.sh("rm $M/a.raw");
    assert_eq!(rbd(&cluster, &["ls"]).trim(), "volume");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn dying_before_the_record_is_deleted_leaves_an_image_that_can_be_cloned() {
    let cluster = Cluster::start("memstore");
    let mut glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 1 << 20);
    glancefs.sh("cp a.raw $M/");
    let id = glancefs.image("a.raw").id;
    assert!(glancefs.terminate().success());
    glancefs.doomed_at("withdrawn");
    glancefs.try_sh("rm $M/a.raw");
    glancefs.wait();
    assert!(!rbd(&cluster, &["snap", "ls", &id]).contains("yes"), "it was withdrawn");
    glancefs.restart_clean();
    // In the background: a pool is far away.
    eventually("it is offered again", || rbd(&cluster, &["snap", "ls", &id]).contains("yes"));
    glancefs.assert_same("a.raw", "a.raw", "raw");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_cluster_that_is_down_fails_reads_and_nothing_else() {
    let cluster = Cluster::start("bluestore");
    let mut glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 9 << 20);
    glancefs.sh("cp a.raw $M/");
    let near = create(&glancefs, "near.raw");
    assert_eq!(upload(&glancefs, &near, "a.raw", "near"), "204");
    assert!(glancefs.terminate().success());
    cluster.act("down");
    glancefs.start_again();
    assert_eq!(glancefs.sh("ls $M"), "a.raw\nnear.raw\n");
    let reading = glancefs.spawn("cat $M/a.raw");
    // While that one waits.
    glancefs.sh("ls -l $M && cmp a.raw $M/near.raw");
    let read = reading.wait();
    assert!(read.stderr.contains("Input/output error"), "{read:?}");
    glancefs.refused("rm $M/a.raw", "Input/output error");
    cluster.act("up");
    let same = || glancefs.try_sh("cmp a.raw $M/a.raw").ok();
    eventually("it is read again without another mount", same);
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn staged_data_goes_to_both_and_an_image_is_copied_either_way() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 20 << 20);
    glancefs.sh("truncate -s 100M a.raw");
    let import = |id: &str, body: &str| {
        let url = crate::url(&glancefs, &format!("images/{id}/import"));
        let json = "Content-Type: application/json";
        glancefs.sh(&format!("curl -sS --fail-with-body -H '{json}' -d '{body}' {url}"));
        eventually("it is imported", || {
            get(&glancefs, &format!("images/{id}"))["os_glance_import_task"].is_null()
        });
        assert_eq!(get(&glancefs, &format!("images/{id}"))["stores"], "near,ceph");
        glancefs.sh(&format!("cmp a.raw $M/{id}"));
    };
    let id = create(&glancefs, "a.raw");
    let url = crate::url(&glancefs, &format!("images/{id}/stage"));
    let octets = "Content-Type: application/octet-stream";
    glancefs.sh(&format!("curl -sS --fail-with-body -T a.raw -H '{octets}' {url}"));
    import(&id, r#"{"method": {"name": "glance-direct"}, "all_stores": true}"#);
    let info = rbd(&cluster, &["info", &id]);
    assert!(info.contains("100 MiB") && info.contains("snapshot_count: 1"), "{info}");
    for store in ["near", "ceph"] {
        let id = create(&glancefs, store);
        assert_eq!(upload(&glancefs, &id, "a.raw", store), "204");
        let other = if store == "near" { "ceph" } else { "near" };
        let url = crate::url(&glancefs, &format!("images/{id}/import"));
        let body = format!(r#"{{"method": {{"name": "copy-image"}}, "stores": ["{other}"]}}"#);
        let json = "Content-Type: application/json";
        glancefs.sh(&format!("curl -sS --fail-with-body -H '{json}' -d '{body}' {url}"));
        eventually("it is copied", || glancefs.image(store).locations.len() == 2);
        glancefs.sh(&format!("cmp a.raw {}", directory(&glancefs, "near").join(&id).display()));
        rbd(
            &cluster,
            &[
                "export",
                "--no-progress",
                &format!("{id}@snap"),
                &format!("{}/out", glancefs.scratch().display()),
            ],
        );
        glancefs.sh("cmp a.raw out; rm out");
    }
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_import_that_dies_leaves_nothing_in_either() {
    let cluster = Cluster::start("memstore");
    cluster.run("ceph", &["config", "set", "osd", "osd_client_watch_timeout", "5"]);
    for step in ["import-written", "import-stored"] {
        let mut glancefs = pool_and_directory(&cluster);
        glancefs.noise("a.raw", 20 << 20);
        let id = create(&glancefs, "a.raw");
        let url =
            |glancefs: &Glancefs, verb: &str| crate::url(glancefs, &format!("images/{id}/{verb}"));
        let stage = |glancefs: &Glancefs| {
            let octets = "Content-Type: application/octet-stream";
            let url = url(glancefs, "stage");
            glancefs.sh(&format!("curl -sS --fail-with-body -T a.raw -H '{octets}' {url}"));
        };
        let import = |glancefs: &Glancefs| {
            let body = r#"{"method": {"name": "glance-direct"}, "stores": ["ceph", "near"]}"#;
            let json = "Content-Type: application/json";
            let url = url(glancefs, "import");
            // The answer may come before the end.
            glancefs.try_sh(&format!("curl -sS --fail-with-body -H '{json}' -d '{body}' {url}"));
        };
        stage(&glancefs);
        assert!(glancefs.terminate().success(), "{}", glancefs.log());
        glancefs.doomed_at(step);
        import(&glancefs);
        glancefs.wait();
        assert_eq!(rbd(&cluster, &["ls"]).trim(), id, "{step}");
        glancefs.restart_clean();
        // Once the watch of the dead has ended.
        eventually("the record is queued", || glancefs.image("a.raw").status == "queued");
        assert_eq!(rbd(&cluster, &["ls"]).trim(), "", "{step}");
        assert_eq!(crate::names_in(&directory(&glancefs, "near")), [""; 0], "{step}");
        eventually("its task gives it back", || {
            !glancefs.image("a.raw").properties.contains_key("os_glance_import_task")
        });
        stage(&glancefs);
        import(&glancefs);
        eventually("it is imported", || glancefs.image("a.raw").locations.len() == 2);
        glancefs.assert_same("a.raw", "a.raw", "raw");
        glancefs.sh("rm $M/a.raw");
    }
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn rbd_images_are_adopted_where_they_are() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 17 << 20);
    let file = glancefs.scratch().join("a.raw").display().to_string();
    const ID: &str = "5d9b4f6e-8a53-4f0c-9c50-57a0a4d0c111";
    for name in [ID, "debian", "partial"] {
        rbd(&cluster, &["import", "--no-progress", "--image-feature", "layering", &file, name]);
    }
    for name in [ID, "debian"] {
        rbd(&cluster, &["snap", "create", "--no-progress", &format!("{name}@snap")]);
    }
    let done = adopt(&glancefs, &["--pool", "images"]);
    assert!(done.ok() && done.stdout.contains("2 adopted, 1 left alone"), "{done:?}");
    eventually("the mount shows them", || glancefs.sh("ls $M").lines().count() == 2);
    assert_eq!(glancefs.assert_same(ID, "a.raw", "raw").id, ID);
    let debian = glancefs.assert_same("debian", "a.raw", "raw");
    assert!(debian.locations[0].ends_with("/images/debian/snap"), "{:?}", debian.locations);
    assert!(rbd(&cluster, &["snap", "ls", "debian"]).contains("yes"), "protected");
    glancefs.sh("rm $M/debian");
    assert!(!rbd(&cluster, &["ls"]).contains("debian"));
    // Nobody keeps an image open for writing.
    assert!(rbd(&cluster, &["status", ID]).contains("Watchers: none"));
}
