//! Several catalogs and threads on one database at the same time.

use std::thread;
use std::time::{Duration, Instant};

use glancefs::catalog::model::{Image, ImageId, Member, MemberStatus, Status, Timestamp};
use glancefs::error::Error;
use glancefs::identity::ProjectId;
use glancefs::images::changes::ForeignChanges;

use super::{Fixture, Whole, database, full_image};

#[test]
fn two_catalogs_on_one_file_see_each_others_changes() {
    let fixture = Fixture::new();
    let (one, two) = (&fixture.catalog, fixture.another());
    let image = full_image();
    one.insert(&image).unwrap();
    assert_eq!(two.get(image.id).unwrap(), Some(fixture.kept_image(&image)));
    let mut renamed = image.clone();
    renamed.name = None;
    assert!(two.save(&image, &renamed, Status::THERE).unwrap());
    assert_eq!(one.get(image.id).unwrap(), Some(fixture.kept_image(&renamed)));
}

#[test]
fn the_change_counter_moves_for_others_changes_only() {
    if database::is_on_server() {
        return; // It moves for one's own, too: see the tests of the server.
    }
    let fixture = Fixture::new();
    let (one, two) = (&fixture.catalog, fixture.another());
    let counters = || (one.change_counter().unwrap(), two.change_counter().unwrap());
    let start = counters();
    let image = full_image();
    one.insert(&image).unwrap();
    let after_insert = counters();
    assert_eq!(after_insert.0, start.0);
    assert_ne!(after_insert.1, start.1);
    one.get(image.id).unwrap();
    two.get(image.id).unwrap();
    assert!(!two.delete(image.id, &[Status::Queued]).unwrap());
    assert_eq!(counters(), after_insert);
    assert!(two.delete(image.id, Status::THERE).unwrap());
    let after_delete = counters();
    assert_ne!(after_delete.0, after_insert.0);
    assert_eq!(after_delete.1, after_insert.1);
    // A change by somebody else just before one of our own must not be lost in it.
    fixture.raw().execute("UPDATE images SET min_ram = 1", &[]);
    one.insert(&full_image()).unwrap();
    assert_ne!(counters().0, after_delete.0);
}

#[test]
fn what_others_do_to_the_members_of_an_image_is_reported() {
    let fixture = Fixture::new();
    let (mine, others) = (&*fixture.catalog, fixture.another());
    // Young stamps are reported more than once: this image has none.
    let created_at = Timestamp::from_micros(Timestamp::now().as_micros() - 3_600_000_000);
    let image = Image { created_at, updated_at: created_at, ..full_image() };
    mine.insert(&image).unwrap();
    mine.insert(&full_image()).unwrap();
    let mut changes = ForeignChanges::from_now(mine).unwrap();
    let mut assert_reported = |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !changes.poll(mine).unwrap().contains(&image.id) {
            assert!(Instant::now() < deadline, "{what}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let now = Timestamp::now();
    let project = ProjectId::new("p2");
    let status = MemberStatus::Pending;
    let member = Member { project: project.clone(), status, created_at: now, updated_at: now };
    others.add_member(image.id, &member).unwrap();
    assert_reported("added");
    assert!(others.set_member_status(image.id, &project, MemberStatus::Accepted, now).unwrap());
    assert_reported("accepted, without another stamp");
    assert!(others.remove_member(image.id, &project, now).unwrap());
    assert_reported("removed");
}

#[test]
fn concurrent_writers_all_succeed() {
    let fixture = Fixture::new();
    let other = fixture.another();
    thread::scope(|scope| {
        for worker in 0..8 {
            let catalog = if worker % 2 == 0 { &fixture.catalog } else { &other };
            let fixture = &fixture;
            scope.spawn(move || {
                for _ in 0..10 {
                    let image = full_image();
                    catalog.insert(&image).unwrap();
                    let mut tagged = image.clone();
                    tagged.tags.insert(format!("{worker}"));
                    assert!(catalog.save(&image, &tagged, Status::THERE).unwrap());
                    assert_eq!(catalog.get(image.id).unwrap(), Some(fixture.kept_image(&tagged)));
                }
            });
        }
    });
    assert_eq!(fixture.catalog.summary().unwrap().images, 80);
}

#[test]
fn of_many_that_change_the_status_one_does() {
    let fixture = Fixture::new();
    let other = fixture.another();
    let queued = Image::new(ImageId::random(), None);
    fixture.catalog.insert(&queued).unwrap();
    let saving = Image { status: Status::Saving, ..queued.clone() };
    let change = |catalog: &dyn Whole| catalog.save(&queued, &saving, &[Status::Queued]).unwrap();
    let winners = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|at| if at % 2 == 0 { &fixture.catalog } else { &other })
            .map(|catalog| scope.spawn(|| change(&**catalog)))
            .collect();
        workers.into_iter().map(|each| each.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(winners, 1);
}

#[test]
fn members_are_added_answer_and_go() {
    let fixture = Fixture::new();
    let catalog = &fixture.catalog;
    let image = full_image();
    catalog.insert(&image).unwrap();
    let now = fixture.kept(Timestamp::now());
    let member = |project| Member {
        project: ProjectId::new(project),
        status: MemberStatus::Pending,
        created_at: now,
        updated_at: now,
    };
    let (one, two) = (member("one"), member("two"));
    catalog.add_member(image.id, &one).unwrap();
    catalog.add_member(image.id, &two).unwrap();
    assert!(matches!(catalog.add_member(image.id, &one), Err(Error::Conflict(_))));
    assert!(matches!(catalog.add_member(ImageId::random(), &one), Err(Error::NotFound(_))));
    assert_eq!(catalog.members(image.id).unwrap(), [one.clone(), two.clone()]);
    let accept = |project| {
        catalog.set_member_status(image.id, project, MemberStatus::Accepted, now).unwrap()
    };
    assert!(accept(&one.project) && !accept(&ProjectId::new("three")));
    assert!(catalog.remove_member(image.id, &two.project, now).unwrap());
    assert!(!catalog.remove_member(image.id, &two.project, now).unwrap());
    let accepted = Member { status: MemberStatus::Accepted, ..one };
    assert_eq!(catalog.members(image.id).unwrap(), [accepted]);
    // One that went may come back, any number of times.
    for _ in 0..2 {
        catalog.add_member(image.id, &two).unwrap();
        assert!(catalog.remove_member(image.id, &two.project, Timestamp::now()).unwrap());
    }
}
