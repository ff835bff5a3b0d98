//! How long a large catalog takes: printed, not judged.
//! `cargo test --release --test catalog timings -- --ignored --nocapture`

use std::ops::Range;
use std::time::Instant;

use glancefs::catalog::model::{Image, ImageId, Location, Status, Timestamp, Visibility};
use glancefs::catalog::query::{Column, Direction, ImageQuery, Viewer};

use super::database::Raw;
use super::{Fixture, project};

/// Inserts many images in one transaction: a durable commit for each would take minutes.
pub(crate) fn insert_all(fixture: &Fixture, images: &[Image]) {
    fixture.raw().together(|raw| images.iter().for_each(|image| insert(raw, image)));
}

fn insert(raw: &mut Raw, image: &Image) {
    let text = |number: u64| number.to_string();
    let (size, ram) = (image.size.map(text), text(image.min_ram));
    let (created, updated) = (image.created_at.to_database(), image.updated_at.to_database());
    let id = Some(image.id.as_str());
    raw.execute(
        "INSERT INTO images (id, name, size, status, visibility, disk_format, owner, min_disk, \
         min_ram, created_at, updated_at, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 0)",
        &[
            id,
            image.name.as_deref(),
            size.as_deref(),
            Some(image.status.as_str()),
            Some(image.visibility.as_str()),
            image.disk_format.as_deref(),
            image.owner.as_ref().map(|owner| owner.as_str()),
            Some(&ram),
            Some(&created),
            Some(&updated),
        ],
    );
    for (name, value) in &image.properties {
        raw.execute(
            "INSERT INTO image_properties (image_id, name, value, created_at, deleted) \
             VALUES (?, ?, ?, '2026-11-21 00:00:00.000000', 0)",
            &[id, Some(name), Some(value)],
        );
    }
    for location in &image.locations {
        raw.execute(
            "INSERT INTO image_locations (image_id, value, meta_data, created_at, deleted) \
             VALUES (?, ?, '{\"store\": \"fast\"}', '2026-11-21 00:00:00.000000', 0)",
            &[id, Some(&location.url)],
        );
    }
}

fn large_catalog(numbers: Range<i64>) -> Vec<Image> {
    let make = |at: i64| {
        let id = ImageId::random();
        let owner = project(&format!("{:032x}", at % 100));
        let mut image = Image::new(id, Some(owner));
        image.name = Some(format!("image number {at} of a large catalog"));
        image.size = Some(1 << 30);
        image.status = Status::Active;
        image.visibility = if at % 10 == 0 { Visibility::Public } else { Visibility::Shared };
        image.created_at = Timestamp::from_micros(1_700_000_000_000_000 + at * 1_000_003);
        image.updated_at = image.created_at;
        let properties = ["os_distro", "os_version", "hw_disk_bus", "glancefs_mtime"];
        image.properties = properties.map(|name| (name.into(), "1700000000.0".into())).into();
        image.locations = vec![Location::in_store(format!("file:///var/lib/images/{id}"), "fast")];
        image
    };
    numbers.map(make).collect()
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what:<50} {:>10.3} ms", start.elapsed().as_secs_f64() * 1000.0);
    result
}

#[test]
#[ignore = "prints how long a catalog of 100,000 images takes"]
fn of_a_catalog_of_100_000_images() {
    let fixture = Fixture::new();
    // In parts, so that no free memory is left that would hide what the rows take.
    let mut some = Vec::new();
    timed("insert, 100 transactions", || {
        for part in 0..100 {
            let images = large_catalog(part * 1000..(part + 1) * 1000);
            insert_all(&fixture, &images);
            some.extend(images.iter().step_by(100).map(|image| image.id));
        }
    });
    let middle = some[500];
    let catalog = timed("open", || fixture.another());
    let viewers = [
        ("admin", Viewer::Admin { project: None }),
        ("project with 1% and 10% public", Viewer::Project(project(&format!("{:032x}", 7)))),
        ("project that owns nothing", Viewer::Project(project("nothing"))),
    ];
    for (who, viewer) in viewers {
        let mut query = ImageQuery { limit: Some(25), ..ImageQuery::all_for(viewer) };
        timed(&format!("{who}: first page, cold"), || catalog.list(&query).unwrap());
        timed(&format!("{who}: first page again"), || catalog.list(&query).unwrap());
        query.sort = vec![(Column::Name, Direction::Ascending)];
        timed(&format!("{who}: first page by name"), || catalog.list(&query).unwrap());
        query.sort.clear();
        if let Viewer::Admin { .. } = query.viewer {
            query.marker = Some(middle);
            timed(&format!("{who}: page in the middle"), || catalog.list(&query).unwrap());
            query.marker = None;
        }
        query.filters =
            vec![glancefs::catalog::query::Filter::OneOf(Column::Name, vec!["none".into()])];
        timed(&format!("{who}: a name that nothing has"), || catalog.list(&query).unwrap());
    }
    let before = resident();
    let rows = timed("rows of all, cold", || catalog.rows(None, "glancefs_mtime").unwrap());
    println!("{:<50} {:>10} KiB", "memory of all rows", resident() - before);
    drop(rows);
    timed("rows of all again", || catalog.rows(None, "glancefs_mtime").unwrap());
    timed("rows of 1000", || catalog.rows(Some(&some), "glancefs_mtime").unwrap());
    timed("summary", || catalog.summary().unwrap());
    timed("one image", || catalog.get(middle).unwrap());
    timed("change counter", || catalog.change_counter().unwrap());
    let one = catalog.get(middle).unwrap().unwrap();
    let hidden = Image { os_hidden: true, ..one.clone() };
    timed("save", || catalog.save(&one, &hidden, Status::THERE).unwrap());
}
