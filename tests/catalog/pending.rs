//! Deleted images whose data is still there.

use std::time::Duration;

use glancefs::catalog::model::{Member, MemberStatus};
use glancefs::catalog::pending::{Pending, PendingQuery};

use super::*;

/// An active image with a property, a tag, a member and two locations.
fn whole(fixture: &Fixture) -> Image {
    let mut image = Image::new(ImageId::random(), Some(ProjectId::new("p".to_string())));
    image.name = Some("größer".into());
    image.size = Some(5);
    image.status = Status::Active;
    image.properties.insert("distro".into(), "debian".into());
    image.properties.insert("os_glance_failed_import".into(), "x".into());
    image.tags.insert("t".into());
    image.locations = ["file:///a/1", "file:///b/1"].map(|url| Location::in_store(url, "s")).into();
    fixture.catalog.insert(&image).unwrap();
    image
}

fn everything(fixture: &Fixture) -> Vec<Pending> {
    fixture.catalog.pending(&PendingQuery::everything()).unwrap()
}

#[test]
fn an_image_deleted_for_later_waits_and_is_nowhere_else() {
    let fixture = Fixture::new();
    let image = whole(&fixture);
    assert!(!fixture.catalog.delete_later(image.id, &[Status::Queued]).unwrap());
    assert!(everything(&fixture).is_empty());
    assert!(fixture.catalog.delete_later(image.id, Status::THERE).unwrap());
    assert!(!fixture.catalog.delete_later(image.id, Status::THERE).unwrap());
    assert!(fixture.catalog.get(image.id).unwrap().is_none());
    assert!(fixture.catalog.rows(None, "mtime").unwrap().is_empty());
    assert!(!fixture.catalog.is_deleted(image.id).unwrap(), "not with its data");
    assert_eq!(fixture.catalog.storage_usage(image.owner.as_ref(), &[]).unwrap(), 0);
    let statuses = fixture.texts("SELECT status FROM image_locations WHERE deleted = 1");
    assert_eq!(statuses, ["pending_delete", "pending_delete"]);
    assert_eq!(fixture.catalog.pending_count().unwrap(), 1);
    let (pending, urls) = fixture.catalog.pending_image(image.id).unwrap().unwrap();
    assert_eq!(everything(&fixture), std::slice::from_ref(&pending));
    assert_eq!(urls, ["file:///a/1", "file:///b/1"]);
    assert_eq!((pending.name, pending.size), (image.name, image.size));
}

#[test]
fn one_of_two_scrubbers_ends_it() {
    let fixture = Fixture::new();
    let id = whole(&fixture).id;
    fixture.catalog.delete_later(id, Status::THERE).unwrap();
    let pending = everything(&fixture).remove(0);
    let other = Pending { deleted_at: Timestamp::from_micros(1_000_000), ..pending.clone() };
    assert!(!fixture.catalog.end_pending(&other).unwrap(), "another deletion than that");
    assert!(fixture.catalog.end_pending(&pending).unwrap());
    assert!(!fixture.another().end_pending(&pending).unwrap());
    assert!(!fixture.catalog.restore(&pending, &["file:///a/1".into()]).unwrap());
    assert!(fixture.catalog.is_deleted(id).unwrap() && everything(&fixture).is_empty());
    let waiting = "SELECT count(*) FROM image_locations WHERE status != 'deleted'";
    assert_eq!(fixture.number(waiting), 0);
    assert_eq!(fixture.catalog.pending_count().unwrap(), 0);
    assert!(!fixture.catalog.is_deleted(ImageId::random()).unwrap());
}

#[test]
fn an_image_comes_back_with_what_it_had_and_the_data_there_is() {
    let fixture = Fixture::new();
    let mut image = whole(&fixture);
    let now = now();
    for (project, status) in [("a", MemberStatus::Accepted), ("b", MemberStatus::Pending)] {
        let project = ProjectId::new(project.to_string());
        let member = Member { project, status, created_at: now, updated_at: now };
        fixture.catalog.add_member(image.id, &member).unwrap();
    }
    fixture.catalog.delete_later(image.id, Status::THERE).unwrap();
    let pending = everything(&fixture).remove(0);
    assert!(fixture.catalog.restore(&pending, &["file:///b/1".into()]).unwrap());
    assert!(!fixture.another().restore(&pending, &["file:///b/1".into()]).unwrap());
    let back = fixture.catalog.get(image.id).unwrap().unwrap();
    image.properties.remove("os_glance_failed_import");
    image.locations.remove(0);
    image.updated_at = back.updated_at;
    assert_eq!(back, fixture.kept_image(&image));
    let members = fixture.catalog.members(image.id).unwrap();
    let members: Vec<_> = members.iter().map(|m| (m.project.as_str(), m.status)).collect();
    assert_eq!(members, [("a", MemberStatus::Accepted), ("b", MemberStatus::Pending)]);
    let times = "SELECT count(*) FROM images WHERE deleted_at IS NOT NULL";
    assert_eq!(fixture.number(times), 0, "Glance's purge goes by it");
    // And again.
    assert!(fixture.catalog.delete_later(image.id, Status::THERE).unwrap());
    let pending = everything(&fixture).remove(0);
    assert!(fixture.catalog.restore(&pending, &["file:///b/1".into()]).unwrap());
    assert_eq!(fixture.catalog.members(image.id).unwrap().len(), 2);
}

/// As the real Glance does it: first the locations, then the properties, then the rest.
#[test]
fn what_glance_deleted_comes_back_without_what_went_before() {
    let fixture = Fixture::new();
    let id = whole(&fixture).id;
    let mut raw = fixture.raw();
    let mut delete = |table: &str, rest: &str, time: &str| {
        let sql = format!("UPDATE {table} SET deleted = 1, deleted_at = ? {rest}");
        raw.execute(&sql, &[Some(time)]);
    };
    delete("image_tags", "", "2026-11-21 10:00:00.000000");
    delete("image_locations", ", status = 'pending_delete'", "2026-11-21 11:00:01.000000");
    delete("image_properties", "", "2026-11-21 11:00:02.000000");
    delete("images", ", status = 'pending_delete'", "2026-11-21 11:00:03.000000");
    let pending = everything(&fixture).remove(0);
    assert_eq!(pending.deleted_at, Timestamp::parse("2026-11-21 11:00:03").unwrap());
    assert!(fixture.catalog.restore(&pending, &["file:///a/1".into()]).unwrap());
    let back = fixture.catalog.get(id).unwrap().unwrap();
    assert_eq!(back.properties.keys().collect::<Vec<_>>(), ["distro"]);
    assert!(back.tags.is_empty(), "it was taken an hour before");
    assert_eq!(back.locations.len(), 1);
}

#[test]
fn they_are_listed_in_pages_by_the_time_of_their_deletion() {
    let fixture = Fixture::new();
    let mut ids: Vec<_> = (0..5).map(|_| whole(&fixture).id).collect();
    ids.sort();
    let base = Timestamp::parse("2026-11-21 10:00:00").unwrap();
    let at = |seconds: u64| {
        Timestamp::from_micros(base.as_micros() + Duration::from_secs(seconds).as_micros() as i64)
    };
    for (n, id) in ids.iter().enumerate() {
        fixture.catalog.delete_later(*id, Status::THERE).unwrap();
        // Two of one moment.
        let time = at([4, 3, 2, 2, 1][n]).to_database();
        let sql = "UPDATE images SET deleted_at = ? WHERE id = ?";
        fixture.raw().execute(sql, &[Some(&time), Some(id.as_str())]);
    }
    let page = |until: u64, after, limit| {
        let query = PendingQuery { until: at(until), after, limit };
        let page = fixture.catalog.pending(&query).unwrap();
        page.into_iter().map(|image| (image.deleted_at, image.id)).collect::<Vec<_>>()
    };
    let first = page(3, None, 2);
    assert_eq!(first, [(at(1), ids[4]), (at(2), ids[2])]);
    assert_eq!(page(3, Some(first[1]), 2), [(at(2), ids[3]), (at(3), ids[1])]);
    assert_eq!(page(3, Some((at(3), ids[1])), 2), []);
    assert_eq!(page(9, None, 9).len(), 5);
}
