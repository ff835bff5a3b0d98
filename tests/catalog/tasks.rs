//! Tasks in the database, and which of them has an image to itself.

use glancefs::catalog::model::{Image, ImageId, Status, Timestamp};
use glancefs::catalog::query::{Direction, Viewer};
use glancefs::catalog::tasks::{
    LOCK_PROPERTY, Task, TaskColumn, TaskId, TaskKind, TaskQuery, TaskStatus,
};
use glancefs::error::Error;
use serde_json::{Map, json};

use crate::{Fixture, now, project};

fn task(owner: &str) -> Task {
    let input = json!({"image_id": "x", "backend": ["fast"], "größer": null});
    Task {
        owner: Some(project(owner)),
        created_at: now(),
        updated_at: now(),
        ..Task::new(TaskKind::ImageImport, input.as_object().unwrap().clone())
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(now().as_micros() + seconds * 1_000_000)
}

fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

#[test]
fn a_task_is_read_as_it_was_written() {
    let fixture = Fixture::new();
    let image = ImageId::random();
    let full = Task {
        image: Some(image),
        request_id: Some("req-1".into()),
        user: Some("u".into()),
        result: Some(json!({"image_id": image.as_str()}).as_object().unwrap().clone()),
        message: "Copied 1 MiB".into(),
        expires_at: Some(at(60)),
        ..task("p")
    };
    fixture.catalog.insert_task(&full).unwrap();
    assert_eq!(fixture.catalog.task(full.id).unwrap(), Some(full.clone()));
    assert!(matches!(fixture.catalog.insert_task(&full), Err(Error::Conflict(_))));
    let empty =
        Task { created_at: now(), updated_at: now(), ..Task::new(TaskKind::Import, Map::new()) };
    fixture.catalog.insert_task(&empty).unwrap();
    assert_eq!(fixture.catalog.task(empty.id).unwrap(), Some(empty));
    assert_eq!(fixture.catalog.task(TaskId::random()).unwrap(), None);
}

#[test]
fn a_status_changes_only_from_where_it_is_said_to_be() {
    let fixture = Fixture::new();
    let mut task = task("p");
    fixture.catalog.insert_task(&task).unwrap();
    task.status = TaskStatus::Processing;
    let save = |task: &Task, from| fixture.catalog.save_task(task, from).unwrap();
    assert!(!save(&task, &[TaskStatus::Processing]));
    assert!(save(&task, &[TaskStatus::Pending]));
    task.status = TaskStatus::Failure;
    task.message = "no".into();
    task.expires_at = Some(at(60));
    assert!(save(&task, TaskStatus::UNFINISHED));
    assert!(!save(&Task { status: TaskStatus::Success, ..task.clone() }, TaskStatus::UNFINISHED));
    assert_eq!(fixture.catalog.task(task.id).unwrap(), Some(task));
}

#[test]
fn lists_are_filtered_ordered_and_cut() {
    let fixture = Fixture::new();
    let image = ImageId::random();
    let [mut one, mut two, mut three] = [task("a"), task("b"), task("a")];
    (one.created_at, two.created_at, three.created_at) = (at(-30), at(-20), at(-10));
    two.status = TaskStatus::Failure;
    three.image = Some(image);
    for task in [&one, &two, &three] {
        fixture.catalog.insert_task(task).unwrap();
    }
    let all = TaskQuery::all_for(Viewer::Admin { project: None });
    let list = |query: &TaskQuery| ids(&fixture.catalog.tasks(query).unwrap());
    assert_eq!(list(&all), [three.id, two.id, one.id]);
    let page = TaskQuery { marker: Some(three.id), limit: Some(1), ..all.clone() };
    assert_eq!(list(&page), [two.id]);
    let filtered =
        |column, word: &str| TaskQuery { filters: vec![(column, word.to_string())], ..all.clone() };
    assert_eq!(list(&filtered(TaskColumn::Status, "failure")), [two.id]);
    assert_eq!(list(&filtered(TaskColumn::Image, image.as_str())), [three.id]);
    let (sort, direction) = (TaskColumn::Owner, Direction::Ascending);
    assert_eq!(list(&TaskQuery { sort, direction, ..all.clone() }), [one.id, three.id, two.id]);
    let mine = TaskQuery::all_for(Viewer::Project(project("b")));
    assert_eq!(list(&mine), [two.id]);
    assert_eq!(list(&TaskQuery::all_for(Viewer::Nobody)), []);
    let lost = TaskQuery { marker: Some(TaskId::random()), ..all };
    assert!(matches!(fixture.catalog.tasks(&lost), Err(Error::NotFound(_))));
}

#[test]
fn what_has_expired_is_not_there() {
    let fixture = Fixture::new();
    let old = Task { expires_at: Some(at(-1)), ..task("p") };
    let young = Task { expires_at: Some(at(60)), ..task("p") };
    for task in [&old, &young] {
        fixture.catalog.insert_task(task).unwrap();
    }
    let all = TaskQuery::all_for(Viewer::Admin { project: None });
    assert_eq!(ids(&fixture.catalog.tasks(&all).unwrap()), [young.id]);
    assert_eq!(fixture.catalog.expire_tasks(Timestamp::now()).unwrap(), 1);
    assert_eq!(fixture.catalog.expire_tasks(Timestamp::now()).unwrap(), 0);
    assert_eq!(fixture.catalog.task(old.id).unwrap(), None);
    // It stays in the database for Glance's own purge.
    assert_eq!(fixture.number("SELECT count(*) FROM tasks WHERE deleted = 1"), 1);
}

#[test]
fn one_task_has_an_image_to_itself() {
    let fixture = Fixture::new();
    let catalog = &fixture.catalog;
    let image = Image::new(ImageId::random(), Some(project("p")));
    catalog.insert(&image).unwrap();
    let [first, second] = [TaskId::random(), TaskId::random()];
    assert!(catalog.lock_image(image.id, first).unwrap());
    assert!(!catalog.lock_image(image.id, first).unwrap());
    assert!(!catalog.lock_image(image.id, second).unwrap());
    assert!(!catalog.unlock_image(image.id, &second.to_string()).unwrap());
    let locked = catalog.get(image.id).unwrap().unwrap();
    assert_eq!(locked.properties[LOCK_PROPERTY], first.to_string());
    let mut importing = locked.clone();
    importing.status = Status::Importing;
    let from = &[Status::Queued];
    assert!(!catalog.save_locked(second, &locked, &importing, from).unwrap());
    assert!(catalog.save_locked(first, &locked, &importing, from).unwrap());
    assert!(catalog.unlock_image(image.id, &first.to_string()).unwrap());
    assert!(!catalog.save_locked(first, &importing, &locked, &[Status::Importing]).unwrap());
    assert!(catalog.lock_image(image.id, second).unwrap());
    assert!(!catalog.lock_image(ImageId::random(), second).unwrap(), "there is no such image");
}

#[test]
fn a_lock_that_went_with_a_change_can_be_taken_again() {
    let fixture = Fixture::new();
    let catalog = &fixture.catalog;
    let image = Image::new(ImageId::random(), None);
    catalog.insert(&image).unwrap();
    let task = TaskId::random();
    assert!(catalog.lock_image(image.id, task).unwrap());
    let locked = catalog.get(image.id).unwrap().unwrap();
    let mut done = locked.clone();
    done.properties.remove(LOCK_PROPERTY);
    assert!(catalog.save_locked(task, &locked, &done, &[Status::Queued]).unwrap());
    assert!(catalog.lock_image(image.id, TaskId::random()).unwrap());
}
