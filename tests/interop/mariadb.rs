//! One catalog on a MariaDB, with the real glance-api and several glancefs at work on it.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::ceph;
use crate::glance_api::{GlanceApi, configure, glance_files, glance_manage};
use crate::harness::mariadb::Server;
use crate::harness::{Cluster, Glancefs, Start, eventually};
use crate::http::ImageApi;
use crate::metadefs::assert_alike_definitions;
use crate::program;
use crate::shared_catalog::{comparable, ours};

/// Two directories as stores, under the names that the images' locations have.
const STORES: &str = "[DEFAULT]\nenabled_backends = fast:file, slow:file\n\
     show_image_direct_url = true\nshow_multiple_locations = true\nlimit_param_default = 25\n\
     [glance_store]\ndefault_backend = fast\n";

/// A glancefs on a database of its own on the shared server.
fn on_server(url: &str, config: &str) -> Start {
    Start::default().with_api().catalog(url).config(config)
}

fn new_catalog() -> String {
    let server = Server::shared();
    server.url(&server.new_database())
}

fn two_stores(glancefs: &Glancefs) -> String {
    let shown = |name: &str| {
        let directory = glancefs.directory().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        format!("[{name}]\nfilesystem_store_datadir = {}\n", directory.display())
    };
    format!("{STORES}{}{}", shown("fast"), shown("slow"))
}

/// The same image, with its tags in order: to Glance they are a set, which comes in any.
fn in_order(mut image: Value) -> Value {
    let tags = image["tags"].as_array_mut().expect("every image has tags");
    tags.sort_by_key(Value::to_string);
    image
}

/// The same, with every list in order: Glance has types of resources as the server finds them.
fn as_sets(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(as_sets).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, as_sets(value))).collect()
        }
        other => other,
    }
}

/// Every image that a query lists, page by page.
fn pages(api: &ImageApi, query: &str) -> Vec<Value> {
    let mut images = Vec::new();
    let mut path = format!("/v2/images?{query}");
    loop {
        let page = api.get(&path);
        images.extend(page["images"].as_array().unwrap().iter().cloned().map(in_order));
        match page["next"].as_str() {
            Some(next) => path = next.to_string(),
            None => return images,
        }
    }
}

/// Compares all that there is, field by field; returns how many images there are.
#[track_caller]
fn assert_same_catalog(glancefs: &Glancefs, glance: &GlanceApi) -> usize {
    let ours = ours(glancefs);
    for query in [
        "visibility=all&limit=170",
        "visibility=all&os_hidden=true&limit=170",
        "sort=name:asc,size:desc&limit=90",
        "visibility=community&limit=90",
        "visibility=shared&member_status=all&limit=90",
        "tag=tag1&limit=90",
        "name=GR%C3%96%C3%9FE%205%20OF%20many&limit=90",
        "key_1=v%C3%84L%2021&limit=90",
        "size_min=100000&status=active&sort=updated_at:asc,id:asc&limit=90",
    ] {
        let (ours, theirs) = (pages(&ours, query), pages(&glance.api, query));
        assert_eq!(ours.len(), theirs.len(), "{query}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{query}");
        }
    }
    let mut all = pages(&ours, "visibility=all&limit=500");
    all.extend(pages(&ours, "visibility=all&os_hidden=true&limit=500"));
    // Each by itself, and with whom it is shared.
    for_each(&all, |image| {
        let id = image["id"].as_str().unwrap();
        assert_eq!(in_order(ours.show(id)), in_order(glance.api.show(id)));
        if image["visibility"] == "shared" {
            let path = format!("/v2/images/{id}/members");
            assert_eq!(ours.get(&path), glance.api.get(&path), "{path}");
        }
    });
    for row in glancefs.database().rows("SELECT id FROM images WHERE deleted = 1", &[]) {
        let path = format!("/v2/images/{}", row[0].as_deref().unwrap());
        assert_eq!((ours.status(&path), glance.api.status(&path)), (404, 404), "{path}");
    }
    all.len()
}

/// Does something with each, several at a time.
fn for_each<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(one);
                }
            });
        }
    });
}

#[test]
#[ignore = "needs MariaDB and the real Glance"]
fn what_glance_filled_is_shown_as_glance_shows_it() {
    let mut glancefs = on_server(&new_catalog(), "").prepare();
    let stores = two_stores(&glancefs);
    glancefs.configure(&stores);
    glance_manage(&glancefs, &["db", "sync"]);
    let definitions = glance_files("metadefs").display().to_string();
    glance_manage(&glancefs, &["db", "load_metadefs", "--path", &definitions]);
    // After glance-manage, which has its configuration in the same place.
    let config = configure(&glancefs, &stores);
    let filled = Command::new(program("GLANCEFS_TEST_OPENSTACK", "python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/fill_catalog.py"))
        .arg(config.join("glance-api.conf"))
        .arg(glancefs.directory())
        .output()
        .unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    glancefs.start_again();
    let glance = GlanceApi::start(&config);
    assert_eq!(assert_same_catalog(&glancefs, &glance), 480);
    assert!(assert_alike_definitions(&glancefs, &glance, as_sets) > 25);
    // And the directory: of what has data, all but the hidden.
    let shown = pages(&ours(&glancefs), "visibility=all&limit=500");
    let with_data =
        |image: &&Value| matches!(image["status"].as_str(), Some("active" | "deactivated"));
    let listed = glancefs.sh("ls $M | wc -l").trim().parse::<usize>().unwrap();
    assert_eq!(listed, shown.iter().filter(with_data).count());
}

/// Makes image number `n` by the API: of every kind as `n` goes on; some are deleted.
fn make_image(api: &ImageApi, n: usize, data: &Path) {
    let visibility = ["private", "public", "shared", "community"][n / 2 % 4];
    let mut fields = json!({
        "name": format!("Größe {} of many", n % 90), "disk_format": "raw",
        "container_format": (["bare", "docker"][n % 2]), "visibility": visibility, "owner": format!("p{}", n % 3),
        "min_disk": n % 5, "min_ram": n, "os_hidden": n.is_multiple_of(13), "protected": n.is_multiple_of(11),
        "tags": (0..n % 4).map(|tag| format!("tag{tag}")).collect::<Vec<_>>(),
    });
    for key in 0..n % 6 {
        fields[format!("key_{key}")] = json!(format!("väl {}", n + key));
    }
    let id = api.record(&fields);
    if n % 6 != 3 {
        api.upload(&id, data, Some(["fast", "slow"][n % 2]));
    }
    if n % 50 == 2 {
        let method = json!({"method": {"name": "copy-image"}, "all_stores": true});
        api.post(&format!("/v2/images/{id}/import"), &method);
    }
    if n % 6 == 4 && n % 50 != 2 {
        api.act(&id, "deactivate");
    }
    if n % 7 == 6 {
        api.patch(
            &id,
            &json!([{"op": "add", "path": "/only", "value": "this"},
            {"op": "replace", "path": "/name", "value": "renamed"}]),
        );
        api.tag(&id, "later");
    }
    if visibility == "shared" {
        let members = format!("/v2/images/{id}/members");
        for member in ["delta", "epsilon", "zeta"].iter().take(n % 4) {
            api.post(&members, &json!({"member": member}));
        }
    }
    if n % 25 == 24 && !n.is_multiple_of(11) {
        api.delete(&id);
    }
}

#[test]
#[ignore = "needs MariaDB and the real Glance"]
fn what_glancefs_filled_is_shown_as_glance_shows_it() {
    let mut glancefs = on_server(&new_catalog(), "").prepare();
    let stores = two_stores(&glancefs);
    glancefs.configure(&stores);
    glancefs.start_again();
    let loaded = Command::new(env!("CARGO_BIN_EXE_glancefs"))
        .args(["db", "load-metadefs", "--config-file"])
        .arg(glancefs.directory().join("glance-api.conf"))
        .arg("--state-dir")
        .arg(glancefs.state_dir())
        .arg(glance_files("metadefs"))
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{loaded:?}");
    let api = ours(&glancefs);
    let data = glancefs.noise("data", 10_007);
    for_each(&(0..500).collect::<Vec<_>>(), |n| make_image(&api, *n, &data));
    let copied = "SELECT count(DISTINCT image_id) = 10 FROM image_locations JOIN image_locations \
         AS other USING (image_id) WHERE image_locations.id < other.id AND image_id NOT IN \
         (SELECT image_id FROM image_properties WHERE name LIKE 'os_glance%' AND value <> '' \
         AND deleted = 0)";
    eventually("ten are in both stores", || glancefs.database().number(copied) == 1);
    let glance = GlanceApi::start(&configure(&glancefs, &stores));
    assert_eq!(assert_same_catalog(&glancefs, &glance), 482);
    assert!(assert_alike_definitions(&glancefs, &glance, as_sets) > 25);
    for image in pages(&api, "status=active&limit=20").iter().take(20) {
        let id = image["id"].as_str().unwrap();
        glance.api.download(id, &glancefs.scratch().join("from-glance"));
        glancefs.sh("cmp from-glance data");
    }
}

#[test]
#[ignore = "needs MariaDB and the real Glance"]
fn glance_and_two_glancefs_work_on_one_catalog_at_the_same_time() {
    let url = new_catalog();
    let one = on_server(&url, "").mount();
    let data = one.noise("data", 300_007);
    // The same images' data for all three, as on a shared disk.
    let config =
        format!("[glance_store]\nfilesystem_store_datadir = {}\n", one.datadir().display());
    let two = on_server(&url, &config).mount();
    let glance = GlanceApi::beside(&one);
    let (first, second) = (ours(&one), ours(&two));
    let apis = [("one", &first), ("two", &second), ("glance", &glance.api)];
    thread::scope(|scope| {
        for (who, api) in apis {
            let data = &data;
            scope.spawn(move || {
                for n in 0..8 {
                    let fields = json!({
                        "name": format!("{who}-{n}"), "disk_format": "raw", "container_format": "bare",
                    });
                    let id = api.create(&fields, data);
                    api.patch(&id, &json!([{"op": "add", "path": "/note", "value": who}]));
                    if n % 2 == 1 {
                        api.delete(&id);
                    }
                }
            });
        }
    });
    for glancefs in [&one, &two] {
        eventually("all are seen", || glancefs.sh("ls $M | wc -l").trim() == "12");
        let same = format!("for file in $M/*; do cmp $file {}; done", data.display());
        glancefs.sh(&same);
    }
    assert_eq!(first.list(), second.list());
    let of = |api: &ImageApi| api.list().into_iter().map(comparable).collect::<Vec<_>>();
    assert_eq!(of(&first), of(&glance.api));
    // What one removes, the others no longer show.
    let id = one.image("two-0").id;
    one.sh("rm $M/two-0");
    eventually("it is gone at the other's", || !two.try_sh("ls $M/two-0").ok());
    assert!(glance.api.names().iter().all(|name| name != "two-0"), "{id}");
    two.sh("mv $M/one-0 $M/renamed");
    eventually("the new name is seen", || one.try_sh("ls $M/renamed").ok());
    one.sql("UPDATE images SET min_ram = 1");
}

#[test]
#[ignore = "needs MariaDB, Ceph and the real Glance"]
fn glance_is_a_third_beside_two_glancefs_on_one_pool() {
    let cluster = Cluster::start("memstore");
    let url = new_catalog();
    let [one, two] = ["one", "two"].map(|_| on_server(&url, &ceph::store(&cluster)).mount());
    let glance = GlanceApi::on_ceph(&one, &cluster);
    let (first, second) = (ours(&one), ours(&two));
    let data = one.noise("data", 300_007);
    let apis = [&first, &second, &glance.api];
    // All at once: each does the same as the two others, to other images.
    let all_at_once = |act: &(dyn Fn(usize, &ImageApi) -> Vec<String> + Sync)| -> Vec<Vec<String>> {
        thread::scope(|scope| {
            let workers: Vec<_> =
                apis.iter().enumerate().map(|(n, api)| scope.spawn(move || act(n, api))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        })
    };
    let fields =
        |name: String| json!({"name": name, "disk_format": "raw", "container_format": "bare"});
    let made = all_at_once(&|who, api| {
        (0..4).map(|n| api.create(&fields(format!("{who}-{n}")), &data)).collect()
    });
    all_at_once(&|who, api| {
        let theirs = &made[(who + 1) % 3];
        for (n, id) in theirs.iter().enumerate() {
            let name = format!("{n} by {who}");
            api.patch(id, &json!([{"op": "replace", "path": "/name", "value": name}]));
        }
        theirs.clone()
    });
    all_at_once(&|who, api| {
        let (gone, kept) = made[(who + 2) % 3].split_at(2);
        gone.iter().for_each(|id| api.delete(id));
        kept.to_vec()
    });
    let names = ["2 by 0", "2 by 1", "2 by 2", "3 by 0", "3 by 1", "3 by 2"];
    for api in apis {
        assert_eq!(api.names(), names);
    }
    for glancefs in [&one, &two] {
        eventually("the directory is the catalog", || glancefs.sh("ls $M").lines().eq(names));
        glancefs.sh(&format!("for file in $M/*; do cmp \"$file\" {}; done", data.display()));
    }
    let held = || cluster.run("rbd", &["ls", "images"]).lines().count();
    eventually("the pool holds their data alone", || held() == names.len());
}

#[test]
#[ignore = "needs MariaDB"]
fn a_node_cleans_up_after_itself_and_nobody_else() {
    let url = new_catalog();
    let mut one = on_server(&url, "").mount();
    let config =
        format!("[glance_store]\nfilesystem_store_datadir = {}\n", one.datadir().display());
    let mut two = on_server(&url, &config).mount();
    // An upload is in progress on each.
    let slow = |glancefs: &Glancefs, name: &str| {
        glancefs.spawn(&format!("{{ head -c 100000 /dev/zero; sleep 60; }} >$M/{name}"))
    };
    let (first, second) = (slow(&one, "first"), slow(&two, "second"));
    eventually("both are recorded", || one.records().len() == 2);
    two.kill();
    two.start_again();
    // The restarted one's is gone, the other's goes on.
    eventually("one is left", || one.records().len() == 1);
    assert_eq!(one.records()[0].name.as_deref(), Some("first"));
    assert_eq!(one.records()[0].status, "saving");
    drop((first, second));
    assert!(one.terminate().success());
    assert!(two.terminate().success());
}

#[test]
#[ignore = "needs MariaDB"]
fn names_that_are_the_same_to_the_database_are_files_of_their_own() {
    let glancefs = on_server(&new_catalog(), "").mount();
    let names = ["A", "a", "\u{c4}", "\u{e4}", "x", "x ", "e\u{301}", "\u{e9}"];
    for (n, name) in names.iter().enumerate() {
        glancefs.sh(&format!("echo {n} >\"$M/{name}\""));
    }
    for (n, name) in names.iter().enumerate() {
        assert_eq!(glancefs.sh(&format!("cat \"$M/{name}\"")).trim(), n.to_string(), "{name:?}");
    }
    assert_eq!(glancefs.sh("ls $M | wc -l").trim(), names.len().to_string());
    glancefs.sh("mv $M/a $M/B");
    assert!(!glancefs.try_sh("cat $M/a").ok() && !glancefs.try_sh("cat $M/b").ok());
    assert_eq!(glancefs.sh("cat $M/A $M/B"), "0\n1\n");
    // By the API a name is what it is to the database, as Glance has it.
    assert_eq!(pages(&ours(&glancefs), "name=%C3%84").len(), 3);
    // Glance's tables hold no characters of four bytes, until somebody lets them.
    assert!(!glancefs.try_sh("echo x >$M/\u{1f600}").ok());
    glancefs.sql("ALTER TABLE images MODIFY name VARCHAR(255) CHARACTER SET utf8mb4;");
    glancefs.sh("echo 1 >$M/\u{1f600}; echo 2 >$M/\u{1f601}");
    assert_eq!(glancefs.sh("cat $M/\u{1f600} $M/\u{1f601}"), "1\n2\n");
}
