//! RBD images that become the data of images where they are, as Nova's snapshots do.  They need
//! Ceph's packages (see `scripts/test`), and so are ignored unless asked for.

use serde_json::{Value, json};

use crate::ceph::{pool_and_directory, rbd};
use crate::harness::{Cluster, Glancefs, eventually};
use crate::{create, get, url};

/// Makes a finished RBD image of a file of the scratch directory.
fn put(cluster: &Cluster, glancefs: &Glancefs, file: &str, name: &str) {
    let path = glancefs.scratch().join(file).display().to_string();
    rbd(cluster, &["import", "--no-progress", &path, name]);
    rbd(cluster, &["snap", "create", "--no-progress", &format!("{name}@snap")]);
    rbd(cluster, &["snap", "protect", &format!("{name}@snap")]);
}

/// Sends JSON; returns the status of the answer.
fn send(glancefs: &Glancefs, method: &str, path: &str, kind: &str, body: &Value) -> String {
    let url = url(glancefs, path);
    glancefs.sh(&format!(
        "curl -sS -o answer -w '%{{http_code}}' -X {method} -H 'Content-Type: {kind}' -d '{body}' {url}"
    ))
}

fn patch(glancefs: &Glancefs, id: &str, location: &str) -> String {
    let value = json!({"url": location, "metadata": {}});
    let body = json!([{"op": "add", "path": "/locations/-", "value": value}]);
    let kind = "application/openstack-images-v2.1-json-patch";
    send(glancefs, "PATCH", &format!("images/{id}"), kind, &body)
}

fn say(glancefs: &Glancefs, id: &str, location: &str) -> String {
    let path = format!("images/{id}/locations");
    send(glancefs, "POST", &path, "application/json", &json!({ "url": location }))
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn an_rbd_image_in_the_pool_becomes_an_images_data() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    let fsid = cluster.run("ceph", &["--id", "glance", "fsid"]).trim().to_string();
    let at = |name: &str| format!("rbd://{fsid}/images/{name}/snap");
    glancefs.noise("a.raw", 9 << 20);
    put(&cluster, &glancefs, "a.raw", "golden");
    let id = create(&glancefs, "b.raw");
    for wrong in [
        "rbd://golden".to_string(),
        at("golden").replace("golden", "g%6flden"),
        at("golden").replace("images", "volumes"),
        at("golden").replace(&fsid, "00000000-0000-0000-0000-000000000000"),
        at("gone"),
        "rbd://../images/golden/snap".to_string(),
    ] {
        assert_eq!(patch(&glancefs, &id, &wrong), "400", "{wrong}");
    }
    assert_eq!(patch(&glancefs, &id, &at("golden")), "200");
    glancefs.sh("cmp a.raw $M/b.raw");
    let shown = get(&glancefs, &format!("images/{id}"));
    assert_eq!((&shown["status"], &shown["stores"]), (&json!("active"), &json!("ceph")));
    // Nobody said what the data is, and it is not read.
    assert_eq!((&shown["size"], &shown["checksum"]), (&json!(9 << 20), &Value::Null));
    // It is this image's now, and nobody else's.
    let other = create(&glancefs, "c.raw");
    assert_eq!(patch(&glancefs, &other, &at("golden")), "400");
    // As Nova does it: named by the image's id, and hashed here.
    put(&cluster, &glancefs, "a.raw", &other);
    assert_eq!(patch(&glancefs, &id, &at(&other)), "400");
    assert_eq!(say(&glancefs, &other, &at(&other)), "202");
    eventually("it is hashed", || {
        get(&glancefs, &format!("images/{other}"))["os_hash_value"].is_string()
    });
    let shown = get(&glancefs, &format!("images/{other}"));
    let sum = glancefs.sh("sha512sum < a.raw");
    assert_eq!(shown["os_hash_value"], sum.split(' ').next().unwrap());
    assert_eq!(shown["status"], "active");
    glancefs.assert_same("c.raw", "a.raw", "raw");
    glancefs.sh("rm $M/b.raw $M/c.raw");
    eventually("the data goes", || rbd(&cluster, &["ls"]).trim().is_empty());
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn data_with_clones_stays_in_its_store_and_details_are_shown() {
    let cluster = Cluster::start("memstore");
    let glancefs = pool_and_directory(&cluster);
    glancefs.noise("a.raw", 5 << 20);
    let id = create(&glancefs, "a.raw");
    assert_eq!(crate::upload(&glancefs, &id, "a.raw", "ceph"), "204");
    let body = json!({"method": {"name": "copy-image"}, "stores": ["near"]});
    let path = format!("images/{id}/import");
    assert_eq!(send(&glancefs, "POST", &path, "application/json", &body), "202");
    eventually("it is copied", || get(&glancefs, &format!("images/{id}"))["stores"] == "ceph,near");
    rbd(&cluster, &["clone", &format!("{id}@snap"), "images/volume"]);
    let from_ceph = format!("stores/ceph/{id}");
    assert_eq!(send(&glancefs, "DELETE", &from_ceph, "text/plain", &json!("")), "400", "a body");
    let delete = |store: &str| {
        let url = url(&glancefs, &format!("stores/{store}/{id}"));
        glancefs.sh(&format!("curl -sS -o answer -w '%{{http_code}}' -X DELETE {url}"))
    };
    assert_eq!(delete("ceph"), "409");
    assert!(rbd(&cluster, &["snap", "ls", &id]).contains("yes"), "still protected");
    rbd(&cluster, &["flatten", "--no-progress", "volume"]);
    assert_eq!(delete("ceph"), "204");
    assert_eq!(rbd(&cluster, &["ls"]).trim(), "volume");
    assert_eq!(get(&glancefs, &format!("images/{id}"))["stores"], "near");
    glancefs.assert_same("a.raw", "a.raw", "raw");
    assert_eq!(delete("near"), "403");
    let details = get(&glancefs, "info/stores/detail");
    let fsid = cluster.run("ceph", &["--id", "glance", "fsid"]).trim().to_string();
    assert_eq!(
        details["stores"][1],
        json!({
            "id": "ceph", "default": "true", "type": "rbd", "weight": 0,
            "properties": {
                "chunk_size": 8 << 20, "pool": "images", "thin_provisioning": false, "fsid": fsid,
            },
        })
    );
}
