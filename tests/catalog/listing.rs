//! Listings: paging against an order made in memory, filters, and who sees what.

use std::cmp::Ordering;

use glancefs::catalog::model::{Image, ImageId, MemberStatus, Status, Timestamp, Visibility};
use glancefs::catalog::query::{
    Column, Comparison, Direction, Filter, ImageQuery, Viewer, VisibilityFilter,
};
use glancefs::error::Error;

use super::{Fixture, database, full_image, project};

/// Shares an image, as the members API of a Glance on the same database would.
pub(crate) fn add_member(fixture: &Fixture, image: &Image, member: &str, status: &str) {
    fixture.raw().execute(
        "INSERT INTO image_members (image_id, member, can_share, created_at, updated_at, \
         deleted, status) VALUES (?, ?, 0, '2026-11-21 00:00:00.000000', NULL, 0, ?)",
        &[Some(image.id.as_str()), Some(member), Some(status)],
    );
}

/// A repeatable sequence of numbers below `below` (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.roll(choices.len() as u64)).unwrap()].clone()
    }
}

/// Images with many equal and many missing values.
fn many_images(dice: &mut Dice, count: usize) -> Vec<Image> {
    let words = [None, Some(""), Some("a"), Some("A"), Some("é"), Some("😀"), Some("zz")]
        .map(|word| word.map(String::from));
    let make = |_| {
        let mut image = Image::new(ImageId::random(), Some(project("p")));
        image.name = dice.one_of(&words);
        image.disk_format = dice.one_of(&words[..3]);
        image.size = dice.one_of(&[None, Some(0), Some(1), Some(1 << 40)]);
        image.status = dice.one_of(&[Status::Queued, Status::Active]);
        image.min_ram = dice.roll(3);
        image.created_at =
            Timestamp::from_micros(1_700_000_000_000_000 + dice.roll(200) as i64 * 250_000);
        image.updated_at = image.created_at;
        image
    };
    (0..count).map(make).collect()
}

/// The name as the database compares it: on a server without case and accents.
fn folded(image: &Image) -> Option<String> {
    let name = image.name.clone()?;
    Some(if database::is_on_server() { name.to_lowercase().replace('é', "e") } else { name })
}

fn compare(column: Column, a: &Image, b: &Image) -> Ordering {
    match column {
        Column::Name => folded(a).cmp(&folded(b)),
        Column::DiskFormat => a.disk_format.cmp(&b.disk_format),
        Column::Size => a.size.cmp(&b.size),
        Column::Status => a.status.as_str().cmp(b.status.as_str()),
        Column::MinRam => a.min_ram.cmp(&b.min_ram),
        Column::CreatedAt => a.created_at.cmp(&b.created_at),
        Column::UpdatedAt => a.updated_at.cmp(&b.updated_at),
        Column::Id => a.id.cmp(&b.id),
        other => panic!("no order by {other:?} here"),
    }
}

/// Every page of a query, one after the other.
fn all_pages(fixture: &Fixture, mut query: ImageQuery) -> Vec<ImageId> {
    let mut ids = Vec::new();
    loop {
        let page = fixture.catalog.list(&query).unwrap();
        assert!(page.len() as u64 <= query.limit.unwrap());
        let Some(last) = page.last() else { return ids };
        query.marker = Some(last.id);
        ids.extend(page.iter().map(|image| image.id));
        assert!(ids.len() <= 1000, "pages repeat: {query:?}");
    }
}

#[test]
fn the_pages_together_are_the_whole_listing_in_order() {
    let fixture = Fixture::new();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut images = many_images(&mut dice, 1000);
    super::timings::insert_all(&fixture, &images);
    images = images.iter().map(|image| fixture.kept_image(image)).collect();
    let columns = [
        Column::Name,
        Column::DiskFormat,
        Column::Size,
        Column::Status,
        Column::MinRam,
        Column::CreatedAt,
        Column::UpdatedAt,
        Column::Id,
    ];
    for round in 0..60 {
        let directions = [Direction::Ascending, Direction::Descending];
        let keys = dice.roll(4);
        let sort: Vec<_> =
            (0..keys).map(|_| (dice.one_of(&columns), dice.one_of(&directions))).collect();
        let last = if let [(_, only)] = sort[..] { only } else { Direction::Descending };
        images.sort_by(|a, b| {
            let total = [(Column::CreatedAt, last), (Column::Id, last)];
            let mut keys = sort.iter().chain(&total);
            keys.find_map(|(column, direction)| match (compare(*column, a, b), direction) {
                (Ordering::Equal, _) => None,
                (order, Direction::Ascending) => Some(order),
                (order, Direction::Descending) => Some(order.reverse()),
            })
            .unwrap_or(Ordering::Equal)
        });
        let viewer = dice.one_of(&[Viewer::Admin { project: None }, Viewer::Project(project("p"))]);
        let limit = Some(dice.one_of(&[17, 100, 999]));
        let query = ImageQuery { sort: sort.clone(), limit, ..ImageQuery::all_for(viewer) };
        let expected: Vec<_> = images.iter().map(|image| image.id).collect();
        assert!(all_pages(&fixture, query) == expected, "round {round}: {sort:?} {limit:?}");
    }
}

#[test]
fn a_page_holds_whole_images() {
    let fixture = Fixture::new();
    let mut images = [full_image(), full_image(), full_image()];
    for (age, image) in images.iter_mut().enumerate() {
        image.created_at = Timestamp::from_micros((10 - age as i64) * 1_000_000);
        image.tags.insert(format!("t{age}"));
        fixture.catalog.insert(image).unwrap();
    }
    let mut query = ImageQuery {
        hidden: Some(true),
        visibility: VisibilityFilter::All,
        ..ImageQuery::all_for(Viewer::Admin { project: None })
    };
    let kept = images.each_ref().map(|image| fixture.kept_image(image));
    assert_eq!(fixture.catalog.list(&query).unwrap(), kept);
    query.limit = Some(0);
    assert_eq!(fixture.catalog.list(&query).unwrap(), []);
}

/// Inserts an image after `change` and gives its id.
fn inserted(fixture: &Fixture, change: impl FnOnce(&mut Image)) -> Image {
    let mut image = Image::new(ImageId::random(), Some(project("p1")));
    change(&mut image);
    fixture.catalog.insert(&image).unwrap();
    image
}

#[test]
fn each_filter_lists_the_images_that_meet_it() {
    let fixture = Fixture::new();
    let time = Timestamp::from_micros(1_000_000);
    let wanted = inserted(&fixture, |image| {
        let id = image.id;
        *image = Image { visibility: Visibility::Private, os_hidden: false, ..full_image() };
        image.id = id;
        image.updated_at = time;
    });
    let wanted = fixture.kept_image(&wanted);
    inserted(&fixture, |image| image.size = Some(1));
    inserted(&fixture, |image| image.tags = ["y".to_string()].into());
    let one_of = |column, words: &[&str]| {
        Filter::OneOf(column, words.iter().map(ToString::to_string).collect())
    };
    let name = wanted.name.as_deref().unwrap();
    let filters = [
        one_of(Column::Name, &[name]),
        one_of(Column::Name, &["no", name]),
        one_of(Column::Id, &[wanted.id.as_str()]),
        one_of(Column::Status, &["active", "killed"]),
        one_of(Column::DiskFormat, &["qcow2"]),
        one_of(Column::Checksum, &[wanted.checksum.as_deref().unwrap()]),
        one_of(Column::Visibility, &["private"]),
        Filter::Number(Column::MinRam, 512),
        Filter::Protected(true),
        Filter::SizeMin(2),
        Filter::Time(Column::UpdatedAt, Comparison::Eq, time),
        Filter::Time(Column::UpdatedAt, Comparison::Lte, time),
        Filter::Time(Column::CreatedAt, Comparison::Lt, Timestamp::now()),
        Filter::Tag("x".into()),
        Filter::Property("emoji 😀".into(), "𝔘".into()),
    ];
    let viewer = Viewer::Admin { project: None };
    for filter in filters {
        let filters = match filter {
            Filter::Time(Column::CreatedAt, ..) => vec![filter, Filter::Tag("x".into())],
            other => vec![other],
        };
        let query = ImageQuery { filters, ..ImageQuery::all_for(viewer.clone()) };
        let found = fixture.catalog.list(&query).unwrap();
        assert_eq!(found, std::slice::from_ref(&wanted), "{query:?}");
    }
    for none in [
        one_of(Column::Name, &[]),
        Filter::SizeMax(0),
        Filter::Time(Column::UpdatedAt, Comparison::Lt, time),
        Filter::Property("emoji 😀".into(), "other".into()),
    ] {
        let query = ImageQuery { filters: vec![none], ..ImageQuery::all_for(viewer.clone()) };
        assert_eq!(fixture.catalog.list(&query).unwrap(), [], "{query:?}");
    }
}

#[test]
fn killed_and_deleted_images_are_not_listed() {
    let fixture = Fixture::new();
    inserted(&fixture, |image| image.status = Status::Killed);
    let deleted = inserted(&fixture, |_| {});
    fixture.catalog.delete(deleted.id, Status::THERE).unwrap();
    let query = ImageQuery::all_for(Viewer::Admin { project: None });
    assert_eq!(fixture.catalog.list(&query).unwrap(), []);
}

/// One image of each visibility and owner; the shared ones of `p1` have `p2` as a member in
/// every status.
fn matrix(fixture: &Fixture) {
    for owner in ["p1", "p2"] {
        for visibility in Visibility::ALL {
            if *visibility != Visibility::Shared {
                inserted(fixture, |image| {
                    image.name = Some(format!("{owner} {visibility}"));
                    image.owner = Some(project(owner));
                    image.visibility = *visibility;
                });
            }
        }
    }
    for status in ["accepted", "pending", "rejected"] {
        let image = inserted(fixture, |image| image.name = Some(format!("p1 {status}")));
        add_member(fixture, &image, "p2", status);
        add_member(fixture, &image, "p3", "accepted");
    }
    // A membership that ended, and one of an image that is no longer shared.
    let ended = inserted(fixture, |image| image.name = Some("p1 ended".into()));
    add_member(fixture, &ended, "p2", "accepted");
    let end = "UPDATE image_members SET deleted = 1, deleted_at = '2026-11-21' WHERE image_id = ?";
    fixture.raw().execute(end, &[Some(ended.id.as_str())]);
    let withdrawn = inserted(fixture, |image| {
        image.name = Some("p1 withdrawn".into());
        image.visibility = Visibility::Private;
    });
    add_member(fixture, &withdrawn, "p2", "accepted");
}

#[test]
fn each_viewer_sees_what_glance_shows_it() {
    use VisibilityFilter::{All, Only, Usual};
    let fixture = Fixture::new();
    matrix(&fixture);
    let check = |viewer: &Viewer, visibility, member_status, expected: &[&str]| {
        let viewer = viewer.clone();
        let sort = vec![(Column::Name, Direction::Ascending)];
        let query = ImageQuery { visibility, member_status, sort, ..ImageQuery::all_for(viewer) };
        let images = fixture.catalog.list(&query).unwrap();
        let names: Vec<_> = images.iter().map(|image| image.name.clone().unwrap()).collect();
        assert_eq!(names, expected, "{query:?}");
    };
    let accepted = Some(MemberStatus::Accepted);
    let everything = [
        "p1 accepted",
        "p1 community",
        "p1 ended",
        "p1 pending",
        "p1 private",
        "p1 public",
        "p1 rejected",
        "p1 withdrawn",
        "p2 community",
        "p2 private",
        "p2 public",
    ];
    let but = |left_out: &[&str]| -> Vec<&str> {
        everything.into_iter().filter(|name| !left_out.contains(name)).collect()
    };
    let admin = Viewer::Admin { project: Some(project("p1")) };
    check(&admin, Usual, accepted, &but(&["p2 community"]));
    check(&admin, All, accepted, &everything);
    check(
        &admin,
        Only(Visibility::Private),
        accepted,
        &["p1 private", "p1 withdrawn", "p2 private"],
    );
    let no_project = Viewer::Admin { project: None };
    check(&no_project, Usual, accepted, &but(&["p1 community", "p2 community"]));

    let two = Viewer::Project(project("p2"));
    let own = ["p2 community", "p2 private", "p2 public"];
    let with = |more: &[&'static str]| [more, &own].concat();
    check(&two, Usual, accepted, &with(&["p1 accepted", "p1 public"]));
    check(&two, Usual, Some(MemberStatus::Pending), &with(&["p1 pending", "p1 public"]));
    check(&two, Usual, Some(MemberStatus::Rejected), &with(&["p1 public", "p1 rejected"]));
    let of_any_status = ["p1 accepted", "p1 pending", "p1 public", "p1 rejected"];
    check(&two, Usual, None, &with(&of_any_status));
    check(&two, All, accepted, &with(&["p1 accepted", "p1 community", "p1 public"]));
    check(&two, Only(Visibility::Community), accepted, &["p1 community", "p2 community"]);
    check(&two, Only(Visibility::Shared), accepted, &["p1 accepted"]);
    check(&two, Only(Visibility::Private), accepted, &["p2 private"]);

    check(&Viewer::Nobody, Usual, None, &["p1 public", "p2 public"]);
    let open = ["p1 community", "p1 public", "p2 community", "p2 public"];
    check(&Viewer::Nobody, All, None, &open);
}

#[test]
fn a_project_is_told_which_images_are_shared_with_it() {
    let fixture = Fixture::new();
    matrix(&fixture);
    let shared = fixture.catalog.shared_with(&project("p2")).unwrap();
    let names: Vec<_> =
        shared.iter().map(|id| fixture.catalog.get(*id).unwrap().unwrap().name.unwrap()).collect();
    assert_eq!(names, ["p1 accepted"]);
    assert_eq!(fixture.catalog.shared_with(&project("p1")).unwrap(), []);
}

#[test]
fn a_marker_that_the_viewer_cannot_see_is_invalid() {
    let fixture = Fixture::new();
    let private = inserted(&fixture, |image| image.visibility = Visibility::Private);
    let shared = inserted(&fixture, |_| {});
    add_member(&fixture, &shared, "p2", "pending");
    let deleted = inserted(&fixture, |image| image.visibility = Visibility::Public);
    fixture.catalog.delete(deleted.id, Status::THERE).unwrap();
    let valid = |viewer: Viewer, marker| {
        let query = ImageQuery { marker: Some(marker), ..ImageQuery::all_for(viewer) };
        match fixture.catalog.list(&query) {
            Ok(_) => true,
            Err(Error::Invalid(_)) => false,
            Err(other) => panic!("{other:?}"),
        }
    };
    let two = Viewer::Project(project("p2"));
    assert!(valid(Viewer::Admin { project: None }, private.id));
    assert!(valid(Viewer::Project(project("p1")), private.id));
    assert!(!valid(two.clone(), private.id));
    assert!(valid(two.clone(), shared.id));
    assert!(!valid(Viewer::Nobody, shared.id));
    assert!(!valid(two, deleted.id));
    assert!(!valid(Viewer::Admin { project: None }, ImageId::random()));
}
