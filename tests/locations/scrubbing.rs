//! Deleted images whose data is in several stores, and several scrubbers on one catalog.

use std::collections::HashSet;
use std::sync::Mutex;

use glancefs::images::journal::Journal;
use glancefs::images::scrub::{ScrubOptions, Scrubbed};

use super::*;

fn delayed(options: &mut Options) {
    options.scrub = ScrubOptions { delayed_delete: true, at_once: 3, ..ScrubOptions::default() };
}

/// Scrubs all that is due; returns what came of each.
fn scrub(images: &Images) -> Vec<Scrubbed> {
    let done = Mutex::new(Vec::new());
    let mut place = None;
    loop {
        let told = |scrubbed| {
            done.lock().unwrap().push(scrubbed);
            true
        };
        place = images.scrub(place, 7, &told).unwrap();
        if place.is_none() {
            return done.into_inner().unwrap();
        }
    }
}

/// Another daemon on the same catalog, with some of the stores.
fn another(site: &Site, stores: &[&str]) -> Arc<Images> {
    let directory = site.directory.path();
    let stores = stores.iter().map(|name| core::file_store(directory, name)).collect();
    let journal = Journal::open(directory.join("another-journal")).unwrap();
    let mut options = Options::default();
    delayed(&mut options);
    Images::new(core::catalog(directory).images, stores, journal, options).unwrap()
}

#[test]
fn of_two_scrubbers_one_scrubs_each_image_and_none_fails() {
    let site = Site::with(delayed);
    let ids: HashSet<ImageId> = (0..30).map(|_| site.in_both()).collect();
    for id in &ids {
        site.images.delete(&owner(), *id).unwrap();
        assert!(site.holds("light", id) && site.holds("heavy", id));
    }
    let other = another(&site, &["light", "heavy"]);
    assert_eq!(other.pending_count(), 30);
    let done = thread::scope(|scope| {
        let both = [&site.images, &other].map(|images| scope.spawn(|| scrub(images)));
        both.map(|scrubber| scrubber.join().unwrap()).into_iter().flatten().collect::<Vec<_>>()
    });
    let scrubbed: Vec<_> = done.into_iter().filter(|one| *one.outcome.as_ref().unwrap()).collect();
    assert_eq!(scrubbed.len(), 30);
    assert_eq!(scrubbed.iter().map(|one| one.image.id).collect::<HashSet<_>>(), ids);
    for id in ids {
        assert!(!site.holds("light", id) && !site.holds("heavy", id));
    }
    assert!(site.images.pending(None, 9).unwrap().is_empty());
    assert_eq!(site.images.pending_count(), 0);
}

#[test]
fn an_image_comes_back_from_the_stores_that_still_have_it() {
    let site = Site::with(delayed);
    let id = site.in_both();
    site.images.delete(&owner(), id).unwrap();
    site.heavy.break_down(true);
    let away = site.images.restore(id).unwrap_err();
    assert!(matches!(away, Error::StoreUnavailable(_)), "{away}");
    site.heavy.break_down(false);
    std::fs::remove_file(site.directory.path().join("light").join(id.as_str())).unwrap();
    let image = site.images.restore(id).unwrap();
    assert_eq!(image.status, Status::Active);
    assert_eq!(image.locations.len(), 1);
    assert_eq!(image.locations[0].store(), Some("heavy"));
    assert_eq!(scrub(&site.images).len(), 0);
    assert!(site.holds("heavy", id));
}

#[test]
fn data_in_a_store_that_is_not_configured_waits() {
    let site = Site::with(delayed);
    let id = site.in_both();
    site.images.delete(&owner(), id).unwrap();
    let done = scrub(&another(&site, &["light"]));
    let refused = done[0].outcome.as_ref().unwrap_err().to_string();
    assert!(refused.contains("no store that is configured"), "{refused}");
    assert!(site.holds("light", id) && site.holds("heavy", id));
    assert!(*scrub(&site.images)[0].outcome.as_ref().unwrap());
    assert!(!site.holds("light", id) && !site.holds("heavy", id));
}

/// Data that another image's location names, too, is that image's.
#[test]
fn what_another_image_has_too_stays_with_it() {
    let site = Site::with(delayed);
    let id = site.active("light");
    let url = site.image(id).locations[0].url.clone();
    site.images.delete(&owner(), id).unwrap();
    // As a Glance on the same database may do it.
    let mut twin = Image::new(ImageId::random(), owner().project);
    twin.status = Status::Active;
    twin.locations.push(Location::in_store(url, "light"));
    site.catalog().insert(&twin).unwrap();
    assert!(*scrub(&site.images)[0].outcome.as_ref().unwrap());
    assert!(site.holds("light", id));
    assert!(site.images.pending(None, 9).unwrap().is_empty());
}
