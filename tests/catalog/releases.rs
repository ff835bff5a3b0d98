//! Glance's own tables on a server, as each of its releases has made them.

use std::path::PathBuf;
use std::process::Command;

use glancefs::catalog::database::{Database, Place};
use glancefs::catalog::model::{Image, Member, MemberStatus, Status};
use glancefs::catalog::mysql::MysqlCatalog;
use glancefs::catalog::query::Viewer;
use glancefs::catalog::tasks::{Task, TaskCatalog, TaskColumn, TaskKind, TaskQuery};
use glancefs::catalog::{Catalog, SyncOutcome};
use glancefs::error::Error;
use serde_json::Map;

use super::database::{Raw, on_server};
use super::mariadb::Server;
use super::mysql_server::{image, open, try_open};
use super::{now, project};

/// Every table as the server describes it.
fn described(raw: &mut Raw) -> Vec<String> {
    let tables = raw.rows("SHOW TABLES", &[]);
    let describe = |mut row: Vec<Option<String>>| {
        let table = row.swap_remove(0).unwrap();
        raw.rows(&format!("SHOW CREATE TABLE {table}"), &[])[0][1].clone().unwrap()
    };
    tables.into_iter().map(describe).collect()
}

/// A database that is empty yet, and what runs the real `glance-manage db` on it.
fn glances_own() -> (Database, impl Fn(&[&str])) {
    let name = Server::shared().new_database();
    let directory = tempfile::tempdir().unwrap();
    let connection = format!("[database]\nconnection = {}\n", Server::shared().url(&name));
    std::fs::write(directory.path().join("glance.conf"), connection).unwrap();
    let glance = std::env::var_os("GLANCEFS_TEST_OPENSTACK").unwrap();
    let manage = move |arguments: &[&str]| {
        let done = Command::new(PathBuf::from(&glance).join("bin/glance-manage"))
            .arg("--config-file")
            .arg(directory.path().join("glance.conf"))
            .arg("db")
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    (on_server(&name), manage)
}

#[test]
#[ignore = "needs MariaDB and the real Glance"]
fn the_tables_are_those_of_glance_manage_db_sync() {
    let (theirs, manage) = glances_own();
    manage(&["sync"]);
    let ours = on_server(&Server::shared().new_database());
    let Place::Server(address) = &ours.place else { panic!("no server") };
    assert_eq!(MysqlCatalog::version(address).unwrap(), None);
    assert_eq!(MysqlCatalog::sync(address).unwrap(), SyncOutcome::Created);
    assert_eq!(MysqlCatalog::sync(address).unwrap(), SyncOutcome::Current);
    assert_eq!(MysqlCatalog::version(address).unwrap().as_deref(), Some("2024_1_contract01"));
    let (ours, theirs) = (described(&mut Raw::to(&ours)), described(&mut Raw::to(&theirs)));
    assert_eq!(ours.len(), 16);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

#[test]
#[ignore = "needs MariaDB and the real Glance"]
fn databases_of_releases_from_rocky_on_are_worked_with_and_older_ones_refused() {
    let (database, manage) = glances_own();
    manage(&["upgrade", "queens_contract01"]);
    match try_open(&database) {
        Err(Error::Config(why)) => assert!(why.contains("db sync"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
    let mut all = Vec::new();
    for (version, tasks_name_users) in [
        ("rocky_contract02", false),
        // Between two releases.
        ("wallaby_expand01", true),
        ("2023_1_contract01", true),
        ("2024_1_contract01", true),
    ] {
        manage(&["upgrade", version]);
        let catalog = open(&database);
        work_with(&catalog, tasks_name_users);
        let kept = image();
        catalog.insert(&kept).unwrap();
        all.push(kept);
        for image in &all {
            assert_eq!(catalog.get(image.id).unwrap().as_ref(), Some(image), "{version}");
        }
    }
}

/// Does each kind of thing to a catalog.
fn work_with(catalog: &MysqlCatalog, tasks_name_users: bool) {
    let made = image();
    catalog.insert(&made).unwrap();
    let changed = Image { name: Some("changed".into()), tags: [].into(), ..made.clone() };
    assert!(catalog.save(&made, &changed, Status::THERE).unwrap());
    let member = Member {
        project: project("p2"),
        status: MemberStatus::Accepted,
        created_at: now(),
        updated_at: now(),
    };
    catalog.add_member(made.id, &member).unwrap();
    assert_eq!(catalog.members(made.id).unwrap(), [member]);
    let bare =
        Task { created_at: now(), updated_at: now(), ..Task::new(TaskKind::Import, Map::new()) };
    let named = Task { user: Some("u".into()), ..bare.clone() };
    catalog.insert_task(&named).unwrap();
    let recorded = if tasks_name_users { &named } else { &bare };
    assert_eq!(catalog.task(bare.id).unwrap().as_ref(), Some(recorded));
    let mut query = TaskQuery::all_for(Viewer::Admin { project: None });
    query.filters = vec![(TaskColumn::User, "u".to_string())];
    assert_eq!(!catalog.tasks(&query).unwrap().is_empty(), tasks_name_users);
    assert!(catalog.delete(made.id, Status::THERE).unwrap());
    assert_eq!(catalog.get(made.id).unwrap(), None);
}
