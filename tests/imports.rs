//! Imports in this very process, into stores that wait, fail or lie when a test wants them to.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "harness/core.rs"]
mod core;
#[path = "imports/peer.rs"]
mod peer;
#[path = "imports/store.rs"]
mod store;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use glancefs::catalog::Catalog;
use glancefs::catalog::model::{Image, ImageId, Status, Timestamp};
use glancefs::catalog::tasks::{Task, TaskKind, TaskStatus};
use glancefs::error::{Error, Result};
use glancefs::identity::{ProjectId, RequestContext};
use glancefs::images::import::{ImportRequest, Method};
use glancefs::images::upload::{Incoming, UploadOptions};
use glancefs::images::{Backend, Images, ImportOptions, Options};
use glancefs::store::Store;
use serde_json::Map;
use store::Moody;
use tempfile::TempDir;

const DATA: &[u8] = b"the data of an image";

/// Two stores, `one` and `two`, which do what the test says.
struct Site {
    images: Arc<Images>,
    one: Arc<Moody>,
    two: Arc<Moody>,
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(ImportOptions::default())
    }

    fn with(import: ImportOptions) -> Self {
        Self::with_options(Options { import, ..Options::default() })
    }

    fn with_options(options: Options) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let moody = |name| Arc::new(Moody::new(core::file_store(directory.path(), name)));
        let (one, two) = (moody("one"), moody("two"));
        let stores: Vec<Arc<dyn Store>> = vec![one.clone(), two.clone()];
        let backend = |name: &str| Backend { name: name.to_string(), description: None, weight: 0 };
        let options = Options { enabled_backends: ["one", "two"].map(backend).to_vec(), ..options };
        let images = core::images_in(directory.path(), stores, options);
        Self { images, one, two, directory }
    }

    /// The catalog, as another program sees it.
    fn catalog(&self) -> Arc<dyn Catalog> {
        core::catalog(self.directory.path()).images
    }

    fn staged(&self, disk_format: &str) -> ImageId {
        let id = self.queued(disk_format);
        let mut staging = self.images.begin_staging(&owner(), id, None).unwrap();
        staging.append(Bytes::from_static(DATA)).unwrap();
        assert_eq!(staging.complete().unwrap().size, Some(DATA.len() as u64));
        id
    }

    fn queued(&self, disk_format: &str) -> ImageId {
        let mut image = Image::new(ImageId::random(), owner().project);
        image.disk_format = Some(disk_format.to_string());
        image.container_format = Some("bare".to_string());
        self.images.create(&owner(), image).unwrap().id
    }

    /// A complete image in `one`.
    fn active(&self) -> ImageId {
        let id = self.queued("raw");
        let mut upload = self.images.begin_upload(&owner(), id, &UploadOptions::default()).unwrap();
        upload.append(Bytes::from_static(DATA)).unwrap();
        upload.publish().unwrap();
        id
    }

    fn import(&self, id: ImageId, request: &ImportRequest) -> Result<()> {
        self.images.begin_import(&operator(), id, request)
    }

    fn image(&self, id: ImageId) -> Image {
        self.images.get(&operator(), id).unwrap()
    }

    /// Waits until no task has the image; gives the record then.
    fn ended(&self, id: ImageId) -> Image {
        eventually("the import ends", || property(&self.image(id), LOCK).is_none());
        self.image(id)
    }

    /// The last task of an image.
    fn task(&self, id: ImageId) -> Task {
        self.images.tasks_of(&operator(), id).unwrap().pop().expect("a task")
    }

    /// What the stores and the staging area hold for an image.
    fn holders(&self, id: ImageId) -> Vec<&'static str> {
        let there = |place: &&str| {
            let directory = self.directory.path().join(place);
            [id.to_string(), format!(".tmp-{id}")].iter().any(|name| directory.join(name).exists())
        };
        ["one", "two", "staging"].into_iter().filter(|place| there(place)).collect()
    }
}

const LOCK: &str = "os_glance_import_task";
const IMPORTING: &str = "os_glance_importing_to_stores";
const FAILED: &str = "os_glance_failed_import";

fn property<'i>(image: &'i Image, name: &str) -> Option<&'i str> {
    image.properties.get(name).map(String::as_str)
}

fn owner() -> RequestContext {
    RequestContext::member_of(ProjectId::new("p"))
}

fn operator() -> RequestContext {
    RequestContext::operator()
}

fn request(method: Method, all_must_succeed: bool) -> ImportRequest {
    let stores = Some(vec!["one".to_string(), "two".to_string()]);
    ImportRequest {
        method,
        stores,
        header_store: None,
        all_stores: false,
        all_must_succeed,
        body: Map::new(),
    }
}

fn direct() -> ImportRequest {
    request(Method::Direct, true)
}

fn copy() -> ImportRequest {
    ImportRequest { stores: Some(vec!["two".to_string()]), ..request(Method::Copy, true) }
}

#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < until, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn assert_conflict(outcome: Result<()>, words: &str) {
    match outcome {
        Err(Error::Conflict(text)) => assert_eq!(text, words),
        other => panic!("no conflict: {other:?}"),
    }
}

#[test]
fn staged_data_goes_to_every_store_or_none() {
    let site = Site::new();
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.locations.len()), (Status::Active, 2));
    assert_eq!((property(&image, IMPORTING), property(&image, FAILED)), (Some(""), Some("")));
    assert_eq!(site.holders(id), ["one", "two"]);
    let task = site.task(id);
    assert_eq!((task.status, task.message.as_str()), (TaskStatus::Success, "Copied 0 MiB"));

    site.two.fail(true);
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    let image = site.ended(id);
    assert!(image.locations.is_empty(), "{image:?}");
    assert_eq!((property(&image, IMPORTING), property(&image, FAILED)), (Some(""), Some("two")));
    assert_eq!(site.holders(id), [""; 0]);
    assert_eq!(site.task(id).status, TaskStatus::Failure);
}

#[test]
fn an_import_that_may_fail_in_part_is_complete_with_its_first_store() {
    let site = Site::new();
    site.one.fail(true);
    site.two.wait();
    let id = site.staged("raw");
    site.import(id, &request(Method::Direct, false)).unwrap();
    site.two.has_begun();
    let image = site.image(id);
    assert_eq!((image.status, property(&image, IMPORTING)), (Status::Importing, Some("two")));
    site.two.go_on();
    let image = site.ended(id);
    assert_eq!((image.status, property(&image, FAILED)), (Status::Active, Some("one")));
    assert_eq!(site.holders(id), ["two"]);

    site.two.fail(true);
    let id = site.staged("raw");
    site.import(id, &request(Method::Direct, false)).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.size), (Status::Queued, None));
    assert_eq!(property(&image, FAILED), Some("one,two"));
    assert_eq!(site.holders(id), [""; 0]);
}

#[test]
fn an_image_is_one_tasks_at_a_time() {
    let site = Site::new();
    site.one.wait();
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    site.one.has_begun();
    let needs_staging = "Image needs to be staged before 'glance-direct' method can be used";
    assert_conflict(site.import(id, &direct()), needs_staging);
    site.one.go_on();
    assert_eq!(site.ended(id).status, Status::Active);

    let id = site.active();
    site.two.wait();
    site.import(id, &copy()).unwrap();
    site.two.has_begun();
    assert_conflict(site.import(id, &copy()), "Image has active task");
    site.two.go_on();
    assert_eq!(site.ended(id).locations.len(), 2);
}

#[test]
fn an_image_that_is_deleted_ends_its_import() {
    let site = Site::new();
    for (id, request, store) in
        [(site.staged("raw"), direct(), &site.one), (site.active(), copy(), &site.two)]
    {
        store.wait();
        site.import(id, &request).unwrap();
        store.has_begun();
        let images = Arc::clone(&site.images);
        let deletion = thread::spawn(move || images.delete(&operator(), id));
        // It waits for the import, which waits for the store.
        thread::sleep(Duration::from_millis(50));
        store.go_on();
        deletion.join().unwrap().unwrap();
        assert_eq!(site.holders(id), [""; 0]);
        assert!(site.catalog().get(id).unwrap().is_none());
    }
}

#[test]
fn the_end_of_the_daemon_ends_imports() {
    let site = Site::with(ImportOptions { at_once: 1, ..ImportOptions::default() });
    site.one.wait();
    let [running, waiting] = [site.staged("raw"), site.staged("raw")];
    site.import(running, &direct()).unwrap();
    site.one.has_begun();
    site.import(waiting, &direct()).unwrap();
    assert_eq!(site.task(waiting).status, TaskStatus::Pending);
    let images = Arc::clone(&site.images);
    let end = thread::spawn(move || images.shut_down());
    thread::sleep(Duration::from_millis(50));
    site.one.go_on();
    end.join().unwrap();
    let image = site.image(running);
    assert_eq!((image.status, property(&image, LOCK)), (Status::Queued, None));
    assert_eq!(site.holders(running), [""; 0]);
    let words = "The import was interrupted: the service was stopped";
    assert_eq!(site.task(running).message, words);
    // What was not begun can be begun again.
    let image = site.image(waiting);
    assert_eq!((image.status, property(&image, LOCK)), (Status::Uploading, None));
    assert_eq!(site.holders(waiting), ["staging"]);
    assert_eq!(site.task(waiting).message, words);
    assert!(matches!(site.import(waiting, &direct()), Err(Error::StoreUnavailable(_))));
}

#[test]
fn an_import_that_takes_too_long_is_given_up() {
    let timeout = Duration::from_millis(20);
    let site = Site::with(ImportOptions { timeout, ..ImportOptions::default() });
    site.one.wait();
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    thread::sleep(timeout * 2);
    site.one.go_on();
    assert_eq!(site.ended(id).status, Status::Queued);
    assert_eq!(site.holders(id), [""; 0]);
    assert!(site.task(id).message.contains("too long"), "{}", site.task(id).message);
}

#[test]
fn data_of_another_format_goes_nowhere() {
    let site = Site::new();
    let id = site.staged("qcow2");
    site.import(id, &direct()).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, property(&image, FAILED)), (Status::Importing, Some("one")));
    assert_eq!(site.holders(id), [""; 0]);
    site.images.delete(&owner(), id).unwrap();
}

#[test]
fn every_copy_counts_towards_the_quota_of_the_project() {
    let limited = || {
        let user_storage_quota = Some(DATA.len() as u64 * 3 / 2);
        Site::with_options(Options { user_storage_quota, ..Options::default() })
    };
    let site = limited();
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    assert_eq!(property(&site.ended(id), FAILED), Some("two"));
    assert_eq!(site.holders(id), [""; 0]);
    site.images.delete(&owner(), id).unwrap();

    let id = site.staged("raw");
    site.import(id, &request(Method::Direct, false)).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, property(&image, FAILED)), (Status::Active, Some("two")));
    assert_eq!(site.holders(id), ["one"]);

    let site = limited();
    let id = site.active();
    site.import(id, &copy()).unwrap();
    let image = site.ended(id);
    assert_eq!((image.locations.len(), property(&image, FAILED)), (1, Some("two")));
    assert_eq!(site.holders(id), ["one"]);
}

#[test]
fn a_copy_is_the_same_or_none() {
    let site = Site::new();
    let id = site.active();
    std::fs::write(site.directory.path().join("one").join(id.as_str()), b"something").unwrap();
    site.import(id, &copy()).unwrap();
    let image = site.ended(id);
    assert_eq!((image.status, image.locations.len()), (Status::Active, 1));
    assert_eq!(property(&image, FAILED), Some("two"));
    assert_eq!(site.holders(id), ["one"]);
    let denied = site.images.begin_import(&owner(), id, &copy());
    assert!(matches!(denied, Err(Error::Forbidden(_))), "{denied:?}");
}

#[test]
fn a_lock_is_kept_for_an_hour_of_silence_and_no_longer() {
    let site = Site::new();
    let catalog = site.catalog();
    let minutes_ago =
        |minutes: i64| Timestamp::from_micros(Timestamp::now().as_micros() - minutes * 60_000_000);
    for (status, minutes, broken) in [
        (TaskStatus::Processing, 59, false),
        (TaskStatus::Processing, 61, true),
        (TaskStatus::Pending, 61, false),
        (TaskStatus::Pending, 121, true),
        (TaskStatus::Success, 61, true),
    ] {
        let id = site.staged("raw");
        let updated_at = minutes_ago(minutes);
        let other = Task { status, updated_at, ..Task::new(TaskKind::ImageImport, Map::new()) };
        catalog.insert_task(&other).unwrap();
        assert!(catalog.lock_image(id, other.id).unwrap());
        if !broken {
            assert_conflict(site.import(id, &direct()), "Image has active task");
            continue;
        }
        site.import(id, &direct()).unwrap();
        assert_eq!(site.ended(id).status, Status::Active);
        let other = catalog.task(other.id).unwrap().unwrap();
        if status == TaskStatus::Success {
            assert_eq!(other.status, status);
        } else {
            assert_eq!(other.message, "Expired lock preempted");
        }
    }
    // A task that is forgotten has nothing.
    let id = site.staged("raw");
    assert!(catalog.lock_image(id, Task::new(TaskKind::ImageImport, Map::new()).id).unwrap());
    site.import(id, &direct()).unwrap();
    assert_eq!(site.ended(id).status, Status::Active);
}

#[test]
fn an_import_that_waits_for_its_turn_keeps_its_image() {
    let site = Site::with(ImportOptions { at_once: 1, ..ImportOptions::default() });
    site.one.wait();
    let [running, waiting] = [site.staged("raw"), site.staged("raw")];
    site.import(running, &direct()).unwrap();
    site.one.has_begun();
    site.import(waiting, &direct()).unwrap();
    let mut task = site.task(waiting);
    task.updated_at = Timestamp::from_micros(0);
    assert!(site.catalog().save_task(&task, &[TaskStatus::Pending]).unwrap());
    assert_conflict(site.import(waiting, &direct()), "Image has active task");
    site.one.go_on();
    assert_eq!(site.ended(waiting).status, Status::Active);
    assert_eq!(site.ended(running).status, Status::Active);
}

#[test]
fn a_task_that_somebody_else_has_ended_ends() {
    let site = Site::new();
    site.one.wait();
    let id = site.staged("raw");
    site.import(id, &direct()).unwrap();
    site.one.has_begun();
    let holder = site.task(id).id.to_string();
    assert!(site.catalog().unlock_image(id, &holder).unwrap());
    site.one.go_on();
    eventually("its data is removed", || site.holders(id).is_empty());
    eventually("its task ends", || site.task(id).status == TaskStatus::Failure);
}
