//! Locations that are recorded encrypted: `metadata_encryption_key`.

use glancefs::catalog::database::Database;
use glancefs::catalog::location_key::LocationKey;
use glancefs::catalog::model::{Image, Location, Status};

use super::{Fixture, full_image, open};

#[test]
fn encrypted_locations_are_read_changed_and_found() {
    let fixture = Fixture::new();
    let key = Some(LocationKey::new("0123456789abcdef").unwrap());
    let catalog = open(&Database { location_key: key, ..fixture.database.clone() });
    let image = fixture.kept_image(&full_image());
    catalog.insert(&image).unwrap();
    assert_eq!(catalog.get(image.id).unwrap().as_ref(), Some(&image));
    let recorded = fixture.texts("SELECT value FROM image_locations");
    assert!(recorded.iter().all(|url| !url.contains("://")), "{recorded:?}");
    let rows = catalog.rows(None, "mtime").unwrap();
    assert_eq!(rows[0].location.as_deref(), Some(&*image.locations[0].url));

    let mut moved = image.clone();
    moved.locations = vec![image.locations[1].clone(), Location::in_store("rbd://a/b/c/d", "new")];
    moved.locations[0].metadata.insert("checked".into(), true.into());
    assert!(catalog.save(&image, &moved, Status::THERE).unwrap());
    assert_eq!(catalog.get(image.id).unwrap(), Some(moved));
    assert_eq!(fixture.number("SELECT count(*) FROM image_locations WHERE deleted = 1"), 1);

    let other =
        Image { locations: vec![Location::in_store("rbd://f/p/x%2fy", "s")], ..full_image() };
    catalog.insert(&other).unwrap();
    assert_eq!(catalog.locations_of_others(image.id, "none").unwrap(), ["rbd://f/p/x%2fy"]);
    assert_eq!(catalog.locations_of_others(other.id, "b/c/d").unwrap(), ["rbd://a/b/c/d"]);
}

#[test]
fn locations_that_were_recorded_before_the_key_are_read_too() {
    let fixture = Fixture::new();
    let image = fixture.kept_image(&full_image());
    fixture.catalog.insert(&image).unwrap();
    let key = Some(LocationKey::new("k".repeat(32)).unwrap());
    let catalog = open(&Database { location_key: key, ..fixture.database.clone() });
    assert_eq!(catalog.get(image.id).unwrap(), Some(image));
}
