//! What went wrong in Glance, tried here (the numbers are those of its security notices).

use std::sync::Arc;
use std::time::{Duration, Instant};

use glancefs::catalog::model::{Image, ImageId, Status, Visibility};
use glancefs::error::Error;
use glancefs::identity::RequestContext;
use glancefs::images::fields::Edit;
use glancefs::images::policy::file::Sources;
use glancefs::images::policy::{Action, Policy};
use glancefs::images::upload::{Incoming, UploadOptions};
use glancefs::images::{ImageCache, Images, Options};
use glancefs::store::Store;
use serde_json::{Map, json};

use super::store::Open;
use super::{DATA, active, core, identity, member};

struct Site {
    directory: tempfile::TempDir,
    images: Arc<Images>,
    store: Arc<Open>,
}

impl Site {
    /// Images in a store that is not on this machine.
    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::Builder::new().prefix("glancefs-test-").tempdir().unwrap();
        let store = Arc::new(Open::new(core::file_store(directory.path(), "file")).distant());
        let stores: Vec<Arc<dyn Store>> = vec![store.clone()];
        let mut options = Options::default();
        change(&mut options);
        let images = core::images_in(directory.path(), stores, options);
        Self { directory, images, store }
    }

    fn holds_data(&self, id: ImageId) -> bool {
        self.directory.path().join("images").join(id.to_string()).exists()
    }

    fn reads(&self, by: &RequestContext, id: ImageId) -> Result<Vec<u8>, Error> {
        let open = self.images.open(by, id)?;
        let reader = open.reader.unwrap();
        let mut buffer = vec![0; reader.size() as usize];
        reader.read_at(0, &mut buffer)?;
        Ok(buffer)
    }
}

fn is_hidden(error: &Error) -> bool {
    matches!(error, Error::NotFound(_) | Error::Hidden)
}

/// CVE-2012-4573, CVE-2012-5482
#[test]
fn nobody_deletes_what_another_project_has() {
    let site = Site::with(|_| {});
    let stranger = member("b");
    for visibility in [Visibility::Private, Visibility::Shared, Visibility::Public] {
        let id = active(&site.images, &member("a"), |image| image.visibility = visibility);
        let refused = site.images.delete(&stranger, id).unwrap_err();
        assert_eq!(is_hidden(&refused), visibility != Visibility::Public, "{refused}");
        assert!(matches!(refused, Error::NotFound(_) | Error::Hidden | Error::Forbidden(_)));
        assert!(site.holds_data(id));
        assert_eq!(site.reads(&member("a"), id).unwrap(), DATA);
    }
}

/// CVE-2013-4428: what others have read is in the memory and on the disk of the daemon.
#[test]
fn a_warm_cache_is_no_way_around_the_policy() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "download_image: role:downloader\n").unwrap();
    let sources = Sources { file: Some(policy.path().to_path_buf()), ..Sources::default() };
    let cache = tempfile::tempdir().unwrap();
    let site = Site::with(|options| {
        options.policy = Arc::new(Policy::load(&sources).unwrap());
        let directory = cache.path().join("cache");
        options.image_cache = Some(ImageCache { directory, max_size: 1 << 30 });
    });
    let owner = identity("a", &["member", "reader", "downloader"]);
    let id = active(&site.images, &owner, |image| image.visibility = Visibility::Private);
    // In memory, by two readers, and then on disk.
    assert_eq!(site.reads(&owner, id).unwrap(), DATA);
    assert_eq!(site.reads(&owner, id).unwrap(), DATA);
    let operator = RequestContext::operator();
    site.images.cache_image(&operator, id, Action::CacheImage).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let kept = || site.images.cache_state(&operator, Action::CacheList).unwrap().cached.len();
    while kept() == 0 {
        assert!(Instant::now() < until, "it is not cached");
        std::thread::sleep(Duration::from_millis(5));
    }
    site.store.break_down(true);
    assert_eq!(site.reads(&owner, id).unwrap(), DATA, "from the cache");
    assert!(matches!(site.reads(&member("a"), id), Err(Error::Forbidden(_))));
    assert!(matches!(site.images.open_on_disk(&member("a"), id), Err(Error::Forbidden(_))));
    let stranger = identity("b", &["member", "reader", "downloader"]);
    assert!(is_hidden(&site.reads(&stranger, id).unwrap_err()));
    assert!(is_hidden(&site.images.open_on_disk(&stranger, id).map(drop).unwrap_err()));
}

/// CVE-2015-5251, CVE-2016-0757
#[test]
fn no_status_is_a_way_to_other_bytes() {
    let site = Site::with(|options| options.show_multiple_locations = true);
    let owner = member("a");
    let id = active(&site.images, &owner, |_| {});
    for (name, value) in [("status", json!("queued")), ("checksum", json!("x")), ("size", json!(1))]
    {
        for ctx in [&owner, &RequestContext::operator()] {
            let edit = Edit::Replace { name: name.to_string(), value: value.clone() };
            let refused = site.images.update(ctx, id, &[edit]);
            assert!(matches!(refused, Err(Error::Immutable(_))), "{refused:?}");
        }
    }
    let none = Edit::Replace { name: "locations".to_string(), value: json!([]) };
    assert!(site.images.update(&owner, id, &[none]).is_err());
    let operator = RequestContext::operator();
    let again = |ctx| site.images.begin_upload(ctx, id, &UploadOptions::default()).map(drop);
    let staged = |ctx| site.images.begin_staging(ctx, id, None).map(drop);
    for status in [Status::Active, Status::Deactivated] {
        for ctx in [&owner, &operator] {
            assert!(matches!(again(ctx), Err(Error::Conflict(_))), "{status}");
            assert!(matches!(staged(ctx), Err(Error::Conflict(_))), "{status}");
        }
        // The second time round it is out of use.
        site.images.deactivate(&owner, id).unwrap();
    }
    assert!(is_hidden(&site.images.reactivate(&member("b"), id).unwrap_err()));
    site.images.reactivate(&owner, id).unwrap();
    assert_eq!(site.reads(&owner, id).unwrap(), DATA);
}

/// CVE-2014-9623, CVE-2015-5286
#[test]
fn an_image_deleted_while_it_is_uploaded_leaves_nothing_and_takes_no_quota() {
    let site = Site::with(|options| options.user_storage_quota = Some(100));
    let owner = member("a");
    let queued = || {
        let mut image = Image::new(ImageId::random(), owner.project.clone());
        image.disk_format = Some("raw".to_string());
        image.container_format = Some("bare".to_string());
        site.images.create(&owner, image).unwrap().id
    };
    for _ in 0..3 {
        let id = queued();
        let mut upload = site.images.begin_upload(&owner, id, &UploadOptions::default()).unwrap();
        upload.append(vec![0; 90].into()).unwrap();
        site.images.delete(&owner, id).unwrap();
        // What is deleted still takes its room while it is there.
        assert!(matches!(upload.append(vec![0; 90].into()), Err(Error::OverQuota(_))));
        assert!(Incoming::complete(upload).is_err());
        assert!(!site.holds_data(id));
    }
    let mut upload = site.images.begin_upload(&owner, queued(), &UploadOptions::default()).unwrap();
    upload.append(vec![0; 100].into()).unwrap();
    Incoming::complete(upload).unwrap();
}

/// CVE-2014-9493, CVE-2015-1195, CVE-2022-4134: whoever may say where data is may not point elsewhere.
#[test]
fn a_location_of_another_project_is_no_way_to_its_data() {
    let site = Site::with(|options| options.show_multiple_locations = true);
    let victim = active(&site.images, &member("a"), |image| image.visibility = Visibility::Private);
    let operator = RequestContext::operator();
    let theirs = site.images.get(&operator, victim).unwrap().locations[0].url.clone();
    let mut image = Image::new(ImageId::random(), member("b").project);
    image.disk_format = Some("raw".to_string());
    image.container_format = Some("bare".to_string());
    let id = site.images.create(&member("b"), image).unwrap().id;
    let up = theirs.replace("/images/", "/images/../images/");
    for url in [theirs.as_str(), &up, "file:///etc/passwd", "FILE:///etc/passwd", "rbd://../x"] {
        let value = json!({"url": url, "metadata": {}});
        let add = Edit::AddLocation { position: "-".to_string(), value };
        assert!(site.images.update(&member("b"), id, &[add]).is_err(), "{url}");
        let service = identity("b", &["service", "member", "reader"]);
        assert!(site.images.begin_location(&service, id, url, &Map::new()).is_err(), "{url}");
    }
    site.images.delete(&member("b"), id).unwrap();
    assert_eq!(site.reads(&member("a"), victim).unwrap(), DATA);
}

/// CVE-2013-0212, CVE-2013-1840, CVE-2014-1948
#[test]
fn no_error_tells_where_the_data_is() {
    let site = Site::with(|_| {});
    // What keeps a store from being read is for the log.
    let id = active(&site.images, &member("a"), |_| {});
    site.store.break_down(true);
    let refused = site.reads(&member("a"), id).unwrap_err().to_string();
    assert!(!refused.contains("file://") && !refused.contains("away"), "{refused}");
}
