//! What a project's images come to, as quotas and limits count it.

use glancefs::catalog::model::{Image, ImageId, Location, Status};
use glancefs::catalog::{Tallied, Tally};

use super::{Fixture, project};

const COPIED_TO: &str = "os_glance_importing_to_stores";

/// An image of `p1` with so many copies of its data.
fn inserted(fixture: &Fixture, status: Status, size: Option<u64>, copies: usize) -> Image {
    let mut image = Image::new(ImageId::random(), Some(project("p1")));
    (image.status, image.size) = (status, size);
    let url = |copy| Location::unnamed(format!("file:///images/{}-{copy}", image.id));
    image.locations = (0..copies).map(url).collect();
    fixture.catalog.insert(&image).unwrap();
    image
}

#[test]
fn images_of_a_project_are_counted_with_their_sizes() {
    let fixture = Fixture::new();
    let tallied = |owner: &str, which, except: &[ImageId]| {
        let Tally { images, bytes } =
            fixture.catalog.tally(Some(&project(owner)), which, except).unwrap();
        (images, bytes)
    };
    assert_eq!(tallied("p1", Tallied::There, &[]), (0, 0));
    let stored = inserted(&fixture, Status::Active, Some(300), 2);
    inserted(&fixture, Status::Queued, None, 0);
    let saving = inserted(&fixture, Status::Saving, None, 0);
    inserted(&fixture, Status::Importing, Some(7), 0);
    let gone = inserted(&fixture, Status::Active, Some(1), 1);
    assert!(fixture.catalog.delete(gone.id, Status::THERE).unwrap());
    for (value, size) in [("fast,slow", 20), ("", 1000)] {
        let mut copied = Image::new(ImageId::random(), Some(project("p1")));
        (copied.status, copied.size) = (Status::Active, Some(size));
        copied.properties.insert(COPIED_TO.into(), value.into());
        fixture.catalog.insert(&copied).unwrap();
    }
    assert_eq!(tallied("p1", Tallied::There, &[]), (6, 1327));
    assert_eq!(tallied("p1", Tallied::There, &[stored.id, saving.id]), (4, 1027));
    assert_eq!(tallied("p1", Tallied::Coming, &[]), (3, 27));
    assert_eq!(tallied("p1", Tallied::Coming, &[saving.id]), (2, 27));
    assert_eq!(tallied("p1", Tallied::Staged, &[]), (2, 27));
    assert_eq!(tallied("p2", Tallied::There, &[]), (0, 0));
    assert_eq!(fixture.catalog.tally(None, Tallied::There, &[]).unwrap(), Tally::default());
    let usage = |except: &[ImageId]| fixture.catalog.storage_usage(Some(&project("p1")), except);
    assert_eq!((usage(&[]).unwrap(), usage(&[stored.id]).unwrap()), (600, 0));
}
