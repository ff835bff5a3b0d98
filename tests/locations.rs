//! Where images' data is, when clients say it or have it removed: several stores, some of which fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "harness/core.rs"]
mod core;
#[path = "locations/scrubbing.rs"]
mod scrubbing;
#[path = "locations/store.rs"]
mod store;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use glancefs::catalog::Catalog;
use glancefs::catalog::model::{Image, ImageId, Location, Status};
use glancefs::catalog::tasks::TaskStatus;
use glancefs::error::{Error, Result};
use glancefs::identity::{ProjectId, RequestContext};
use glancefs::images::fields::Edit;
use glancefs::images::upload::{Incoming, UploadOptions};
use glancefs::images::{Backend, Images, Options};
use glancefs::store::Store;
use serde_json::{Map, Value, json};
use store::Open;
use tempfile::TempDir;

const DATA: &[u8] = b"the data of an image";
/// Of `DATA`, as some write it.
const SHA256: &str = "564B954B08D5D581BB7C30D2CC320F5A414B0B82C275EF0E3E2A62428690CD8C";
const LOCK: &str = "os_glance_import_task";

/// Stores `light` and `heavy`, directories whose files may be given as locations; `light` is the
/// default one.
struct Site {
    images: Arc<Images>,
    light: Arc<Open>,
    heavy: Arc<Open>,
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let (images, light, heavy) = start(&directory, change);
        Self { images, light, heavy, directory }
    }

    /// The daemon ends in the middle, and starts again.
    fn again(self) -> Self {
        self.images.shut_down();
        let (images, light, heavy) = start(&self.directory, |_| {});
        Self { images, light, heavy, directory: self.directory }
    }

    /// The catalog, as another program sees it.
    fn catalog(&self) -> Arc<dyn Catalog> {
        core::catalog(self.directory.path()).images
    }

    fn queued(&self) -> ImageId {
        let mut image = Image::new(ImageId::random(), owner().project);
        image.disk_format = Some("raw".to_string());
        image.container_format = Some("bare".to_string());
        self.images.create(&owner(), image).unwrap().id
    }

    /// A complete image in a store.
    fn active(&self, store: &str) -> ImageId {
        let id = self.queued();
        let options = UploadOptions { store: Some(store.to_string()), ..UploadOptions::default() };
        let mut upload = self.images.begin_upload(&owner(), id, &options).unwrap();
        upload.append(Bytes::from_static(DATA)).unwrap();
        upload.complete().unwrap();
        id
    }

    /// An image in both stores.
    fn in_both(&self) -> ImageId {
        let id = self.active("light");
        let url = self.put("heavy", &id.to_string());
        self.patch(&owner(), id, &[add(&url)]).unwrap();
        id
    }

    /// Puts data into a store behind everybody's back.
    fn put(&self, store: &str, name: &str) -> String {
        let path = self.directory.path().join(store).join(name);
        std::fs::write(&path, DATA).unwrap();
        format!("file://{}", path.display())
    }

    fn holds(&self, store: &str, name: impl ToString) -> bool {
        self.directory.path().join(store).join(name.to_string()).exists()
    }

    fn patch(&self, ctx: &RequestContext, id: ImageId, edits: &[Edit]) -> Result<Image> {
        self.images.update(ctx, id, edits)
    }

    fn say(&self, ctx: &RequestContext, id: ImageId, url: &str, validation: Value) -> Result<()> {
        let validation = validation.as_object().cloned().unwrap_or_default();
        self.images.begin_location(ctx, id, url, &validation)
    }

    fn image(&self, id: ImageId) -> Image {
        self.images.get(&operator(), id).unwrap()
    }

    fn stores_of(&self, id: ImageId) -> Vec<String> {
        let image = self.image(id);
        image.locations.iter().map(|place| place.store().unwrap().to_string()).collect()
    }

    /// Waits until no task has the image; gives the record then.
    fn ended(&self, id: ImageId) -> Image {
        eventually("the task ends", || !self.image(id).properties.contains_key(LOCK));
        self.image(id)
    }

    fn task_status(&self, id: ImageId) -> TaskStatus {
        self.images.tasks_of(&operator(), id).unwrap().pop().expect("a task").status
    }

    fn reads(&self, id: ImageId) -> bool {
        let mut buffer = vec![0; DATA.len()];
        let Ok(open) = self.images.open(&owner(), id) else { return false };
        open.reader.unwrap().read_at(0, &mut buffer).unwrap();
        buffer == DATA
    }
}

fn start(
    directory: &TempDir,
    change: impl FnOnce(&mut Options),
) -> (Arc<Images>, Arc<Open>, Arc<Open>) {
    let open = |name| Arc::new(Open::new(core::file_store(directory.path(), name)));
    let (light, heavy) = (open("light"), open("heavy"));
    let stores: Vec<Arc<dyn Store>> = vec![light.clone(), heavy.clone()];
    let backend =
        |(name, weight): (&str, i64)| Backend { name: name.to_string(), description: None, weight };
    let mut options = Options {
        enabled_backends: [("light", 1), ("heavy", 2)].map(backend).to_vec(),
        show_multiple_locations: true,
        ..Options::default()
    };
    change(&mut options);
    (core::images_in(directory.path(), stores, options), light, heavy)
}

fn owner() -> RequestContext {
    RequestContext::member_of(ProjectId::new("p"))
}

fn operator() -> RequestContext {
    RequestContext::operator()
}

/// A service of the cloud, which is nobody's administrator.
fn service() -> RequestContext {
    RequestContext { roles: vec!["service".to_string()], ..owner() }
}

fn add(url: &str) -> Edit {
    let value = json!({"url": url, "metadata": {"k": "v"}});
    Edit::AddLocation { position: "-".to_string(), value }
}

fn replace(locations: Value) -> Edit {
    Edit::Replace { name: "locations".to_string(), value: locations }
}

fn remove(position: &str) -> Edit {
    Edit::RemoveLocation { position: position.to_string() }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

// Several stores

#[test]
fn the_heavier_store_is_read_and_the_other_when_it_is_away() {
    let site = Site::new();
    let id = site.in_both();
    assert_eq!(site.stores_of(id), ["light", "heavy"]);
    assert!(site.reads(id));
    assert_eq!((site.light.opened(), site.heavy.opened() > 0), (0, true));
    site.heavy.break_down(true);
    assert!(site.reads(id));
    assert_eq!(site.light.opened(), 1);
    site.light.break_down(true);
    assert!(!site.reads(id));
}

#[test]
fn an_image_is_taken_out_of_one_store_but_not_of_the_last() {
    let site = Site::new();
    let id = site.in_both();
    let refused = site.images.delete_from_store(&owner(), "light", id);
    assert!(matches!(refused, Err(Error::Forbidden(_))), "for administrators only");
    let unknown = site.images.delete_from_store(&operator(), "nowhere", id);
    assert!(matches!(unknown, Err(Error::Conflict(_))));
    site.images.delete_from_store(&operator(), "light", id).unwrap();
    assert_eq!(site.stores_of(id), ["heavy"]);
    assert!(!site.holds("light", id) && site.holds("heavy", id) && site.reads(id));
    let last = site.images.delete_from_store(&operator(), "heavy", id);
    assert!(matches!(last, Err(Error::Forbidden(_))));
    assert!(site.reads(id));
}

#[test]
fn of_two_who_take_it_out_of_one_store_each_one_is_refused() {
    for _ in 0..20 {
        let site = Site::new();
        let id = site.in_both();
        let both = ["light", "heavy"].map(|store| {
            let images = Arc::clone(&site.images);
            thread::spawn(move || images.delete_from_store(&operator(), store, id).is_ok())
        });
        let done = both.map(|one| one.join().unwrap());
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
        assert!(site.reads(id));
    }
}

#[test]
fn a_store_that_is_away_keeps_the_data_until_it_is_back() {
    let site = Site::new();
    let id = site.in_both();
    site.heavy.break_down(true);
    site.images.delete_from_store(&operator(), "heavy", id).unwrap();
    assert_eq!(site.stores_of(id), ["light"]);
    assert!(site.holds("heavy", id) && site.reads(id));
    site.heavy.break_down(false);
    eventually("the data goes", || !site.holds("heavy", id));
    assert!(site.holds("light", id) && site.reads(id));
}

#[test]
fn a_removed_image_goes_from_all_its_stores() {
    let site = Site::new();
    let id = site.in_both();
    site.heavy.break_down(true);
    site.images.delete(&owner(), id).unwrap();
    assert!(site.images.get(&operator(), id).is_err());
    site.heavy.break_down(false);
    eventually("the data goes", || !site.holds("heavy", id) && !site.holds("light", id));
}

#[test]
fn data_that_another_image_has_too_is_never_removed() {
    let site = Site::new();
    let (one, other) = (site.active("light"), site.active("heavy"));
    // Nothing here would do that; another program on the same database may.
    let shared = site.image(one).locations[0].url.replace("file://", "filesystem://");
    let catalog = site.catalog();
    let old = catalog.get(other).unwrap().unwrap();
    let mut new = old.clone();
    new.locations.push(Location::in_store(shared, "light"));
    assert!(catalog.save(&old, &new, &[Status::Active]).unwrap());
    site.images.delete_from_store(&operator(), "light", other).unwrap();
    assert!(site.holds("light", one) && site.reads(one));
    let old = catalog.get(other).unwrap().unwrap();
    assert!(
        catalog
            .save(&old, &Image { locations: new.locations, ..old.clone() }, &[Status::Active])
            .unwrap()
    );
    site.images.delete(&owner(), one).unwrap();
    assert!(site.holds("light", one), "the other image has it");
    site.images.delete(&owner(), other).unwrap();
    assert!(!site.holds("light", one) && !site.holds("heavy", other));
}

// What may be a location

#[test]
fn a_location_is_in_one_of_the_stores_and_nobody_elses() {
    let site = Site::new();
    let other = site.active("light");
    let others = site.image(other).locations[0].url.clone();
    let here = site.directory.path().display().to_string();
    site.put("light", "golden");
    std::fs::write(site.directory.path().join("secret"), DATA).unwrap();
    std::os::unix::fs::symlink(
        site.directory.path().join("secret"),
        site.directory.path().join("light/link"),
    )
    .unwrap();
    let id = site.queued();
    let refused = [
        "file:///etc/passwd".to_string(),
        "FILE:///etc/passwd".to_string(),
        "filesystem:///etc/passwd".to_string(),
        format!("filesystem://{here}/light/golden"),
        format!("file://{here}/light/../secret"),
        format!("file://{here}/light/%2e%2e/secret"),
        format!("file://{here}/light//golden"),
        format!("file://{here}/light/link"),
        format!("file://{here}/light/gone"),
        format!("file://{here}/light/"),
        "swift+config://x/y/z".to_string(),
        "http://127.0.0.1/x".to_string(),
        "rbd://x/y/z/snap".to_string(),
        "sheepdog://a;id|$(id)".to_string(),
        String::new(),
        others.clone(),
        others.replace("file://", "filesystem://"),
        site.put("heavy", &other.to_string()),
        site.put("heavy", &ImageId::random().to_string()),
    ];
    for url in &refused {
        let patched = site.patch(&operator(), id, &[add(url)]);
        assert!(matches!(patched, Err(Error::Invalid(_))), "{url}: {patched:?}");
        // What can be told by looking only is told by the task.
        if site.say(&operator(), id, url, json!({})).is_ok() {
            site.ended(id);
            assert_eq!(site.task_status(id), TaskStatus::Failure, "{url}");
        }
    }
    let image = site.image(id);
    assert_eq!((image.status, image.locations.len(), image.size), (Status::Queued, 0, None));
    assert!(site.reads(other));
}

#[test]
fn files_are_never_taken_by_the_real_stores() {
    let directory = tempfile::tempdir().unwrap();
    let store = core::file_store(directory.path(), "file");
    let id = ImageId::random();
    std::fs::write(directory.path().join("images").join(id.to_string()), DATA).unwrap();
    let url = format!("file://{}/images/{id}", directory.path().display());
    assert!(store.owns(&url) && !store.takes_location(&url));
}

#[test]
fn an_image_that_has_data_keeps_its_bytes() {
    let site = Site::new();
    let id = site.active("light");
    let there = site.image(id).locations[0].clone();
    let other = json!({"url": site.put("heavy", "golden"), "metadata": {}});
    let swapped = site.patch(&operator(), id, &[replace(json!([other]))]);
    assert!(matches!(swapped, Err(Error::Invalid(_))));
    for emptied in [replace(json!([])), remove("0"), remove("-")] {
        let refused = site.patch(&operator(), id, &[emptied]);
        assert!(matches!(refused, Err(Error::Refused(_) | Error::Forbidden(_))), "{refused:?}");
    }
    std::fs::write(site.directory.path().join("heavy/longer"), [DATA, b"!"].concat()).unwrap();
    let longer = format!("file://{}/heavy/longer", site.directory.path().display());
    let refused = site.patch(&operator(), id, &[add(&longer)]);
    assert!(matches!(refused, Err(Error::Invalid(_))), "of another size");
    assert_eq!(site.image(id).locations, std::slice::from_ref(&there));
    // What is said of it may change.
    let same = json!([{"url": there.url, "metadata": {"k": "new", "store": "heavy"}}]);
    let image = site.patch(&owner(), id, &[replace(same)]).unwrap();
    assert_eq!(
        image.locations[0].metadata,
        *json!({"k": "new", "store": "light"}).as_object().unwrap()
    );
}

// PATCH

#[test]
fn a_patch_gives_an_image_its_data() {
    let site = Site::new();
    let id = site.queued();
    let url = site.put("heavy", "golden");
    let wrong =
        Edit::AddLocation { position: "x".to_string(), value: json!({"url": url, "metadata": {}}) };
    assert!(matches!(site.patch(&owner(), id, &[wrong]), Err(Error::Invalid(_))));
    let image = site.patch(&owner(), id, &[add(&url)]).unwrap();
    assert_eq!((image.status, image.size), (Status::Active, Some(DATA.len() as u64)));
    assert_eq!(
        image.locations[0].metadata,
        *json!({"k": "v", "store": "heavy"}).as_object().unwrap()
    );
    assert!(site.reads(id));
    assert!(matches!(site.patch(&owner(), id, &[add(&url)]), Err(Error::Invalid(_))), "twice");
    let own = site.put("light", &id.to_string());
    site.patch(&owner(), id, &[add(&own)]).unwrap();
    let mine = site.patch(&owner(), id, &[remove("1")]);
    assert!(matches!(mine, Err(Error::Forbidden(_))), "for administrators only");
    assert!(matches!(site.patch(&operator(), id, &[remove("2")]), Err(Error::Invalid(_))));
    site.patch(&operator(), id, &[remove("0")]).unwrap();
    assert_eq!(site.stores_of(id), ["light"]);
    assert!(!site.holds("heavy", "golden") && site.reads(id));
}

#[test]
fn a_patch_of_locations_needs_them_visible_and_within_the_quota() {
    let site = Site::with(|options| options.image_location_quota = 1);
    let id = site.active("light");
    let url = site.put("heavy", &id.to_string());
    assert!(matches!(site.patch(&owner(), id, &[add(&url)]), Err(Error::OverQuota(_))));
    let site = Site::with(|options| options.show_multiple_locations = false);
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    for edit in [add(&url), replace(json!([{"url": url, "metadata": {}}])), remove("0")] {
        let refused = site.patch(&operator(), id, &[edit]);
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
}

// POST …/locations

#[test]
fn a_service_names_data_that_is_hashed_in_the_background() {
    let site = Site::new();
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    let refused = site.say(&owner(), id, &url, json!({}));
    assert!(matches!(refused, Err(Error::Forbidden(_))), "services only");
    site.say(&service(), id, &url, json!({})).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.size), (Status::Active, Some(DATA.len() as u64)));
    assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"));
    assert_eq!(image.os_hash_value.as_ref().map(String::len), Some(128));
    assert_eq!(image.checksum.as_ref().map(String::len), Some(32));
    assert_eq!(site.task_status(id), TaskStatus::Success);
    let again = site.say(&service(), id, &url, json!({}));
    assert!(matches!(again, Err(Error::Conflict(_))), "it is active");
    assert!(site.images.locations(&owner(), id).is_err());
    assert_eq!(site.images.locations(&service(), id).unwrap().locations, image.locations);
}

#[test]
fn data_that_is_not_what_was_expected_is_not_taken_and_not_removed() {
    let site = Site::new();
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    let wrong = json!({"os_hash_algo": "sha256", "os_hash_value": "ab".repeat(32)});
    site.say(&service(), id, &url, wrong).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.size, image.locations.len()), (Status::Queued, None, 0));
    assert_eq!((image.os_hash_algo, image.os_hash_value), (None, None));
    assert_eq!(site.task_status(id), TaskStatus::Failure);
    assert!(site.holds("heavy", id));
    let unreal = json!({"os_hash_algo": "sha256", "os_hash_value": "ab"});
    assert!(matches!(site.say(&service(), id, &url, unreal), Err(Error::Invalid(_))));
    let right = json!({"os_hash_algo": "sha256", "os_hash_value": SHA256});
    site.say(&service(), id, &url, right).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.os_hash_algo.as_deref()), (Status::Active, Some("sha256")));
    assert_eq!(image.os_hash_value, Some(SHA256.to_lowercase()));
}

#[test]
fn without_do_secure_hash_what_a_service_says_is_recorded() {
    let site = Site::with(|options| options.do_secure_hash = false);
    let (said, unsaid) = (site.queued(), site.queued());
    let value = "ab".repeat(32);
    let expected = json!({"os_hash_algo": "sha256", "os_hash_value": value});
    site.say(&service(), said, &site.put("heavy", &said.to_string()), expected).unwrap();
    site.say(&service(), unsaid, &site.put("heavy", &unsaid.to_string()), json!({})).unwrap();
    let image = site.ended(said);
    assert_eq!((image.status, image.checksum), (Status::Active, None));
    assert_eq!(image.os_hash_value, Some(value));
    let image = site.ended(unsaid);
    assert_eq!((image.status, image.os_hash_algo), (Status::Active, None));
}

#[test]
fn data_that_cannot_be_read_at_once_is_read_again() {
    let site = Site::new();
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    site.heavy.fail_reads(2);
    site.say(&service(), id, &url, json!({})).unwrap();
    assert!(site.ended(id).os_hash_value.is_some());
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    site.heavy.fail_reads(100);
    site.say(&service(), id, &url, json!({})).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.os_hash_value), (Status::Active, None));
    assert_eq!(site.task_status(id), TaskStatus::Success);
}

#[test]
fn what_the_end_of_the_daemon_interrupts_goes_on_when_it_is_back() {
    let site = Site::new();
    let (first, checked) = (site.queued(), site.queued());
    site.heavy.fail_reads(1000);
    site.say(&service(), first, &site.put("heavy", &first.to_string()), json!({})).unwrap();
    let expected = json!({"os_hash_algo": "sha256", "os_hash_value": "ab".repeat(32)});
    let url = site.put("heavy", &checked.to_string());
    site.say(&service(), checked, &url, expected).unwrap();
    eventually("they have begun", || {
        site.image(first).status == Status::Active
            && site.image(checked).status == Status::Importing
    });
    let site = site.again();
    let image = site.ended(first);
    assert!(image.status == Status::Active && image.os_hash_value.is_some());
    assert_eq!(site.ended(checked).status, Status::Queued);
    assert_eq!(site.task_status(first), TaskStatus::Success);
    assert_eq!(site.task_status(checked), TaskStatus::Failure);
}

#[test]
fn an_image_that_is_removed_meanwhile_leaves_no_task() {
    let site = Site::new();
    let id = site.queued();
    site.heavy.fail_reads(1000);
    site.say(&service(), id, &site.put("heavy", &id.to_string()), json!({})).unwrap();
    eventually("it has begun", || site.image(id).status == Status::Active);
    site.images.delete(&owner(), id).unwrap();
    assert!(!site.holds("heavy", id));
}

#[test]
fn two_tasks_do_not_have_one_image() {
    let site = Site::new();
    let id = site.queued();
    let url = site.put("heavy", &id.to_string());
    site.heavy.fail_reads(1000);
    let expected = json!({"os_hash_algo": "sha256", "os_hash_value": "ab".repeat(32)});
    site.say(&service(), id, &url, expected).unwrap();
    let second = site.images.begin_location(&service(), id, &url, &Map::new());
    assert!(matches!(second, Err(Error::Conflict(_))));
}
