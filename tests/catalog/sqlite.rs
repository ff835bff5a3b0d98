//! What is peculiar to SQLite: how values are written, and files.

use std::sync::Barrier;
use std::thread;

use glancefs::catalog::sqlite::SqliteCatalog;
use glancefs::catalog::{Catalog, SyncOutcome};
use glancefs::error::Error;
use rusqlite::Connection;

use super::full_image;

#[test]
fn values_are_written_as_sqlalchemy_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("glance.sqlite");
    SqliteCatalog::open(&path).unwrap().insert(&full_image()).unwrap();
    let raw = Connection::open(path).unwrap();
    let text = |sql: &str| -> String { raw.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(text("SELECT created_at FROM images"), "2026-11-21 01:02:03.123456");
    assert_eq!(text("SELECT updated_at FROM images"), "2026-11-21 01:02:04.000000");
    assert_eq!(text("SELECT protected || os_hidden || deleted FROM images"), "110");
    assert_eq!(text("SELECT typeof(deleted_at) FROM images"), "null");
    let store = "SELECT json_extract(meta_data, '$.store') FROM image_locations ORDER BY id";
    assert_eq!(text(store), "fast");
    assert_eq!(text("SELECT group_concat(DISTINCT status) FROM image_locations"), "active");
}

#[test]
fn sync_makes_a_database_once_and_open_makes_one_too() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.sqlite");
    assert_eq!(SqliteCatalog::version(&path).unwrap(), None);
    assert!(!path.exists());
    std::fs::write(&path, b"").unwrap();
    assert_eq!(SqliteCatalog::version(&path).unwrap(), None);
    assert_eq!(SqliteCatalog::sync(&path).unwrap(), SyncOutcome::Created);
    assert_eq!(SqliteCatalog::sync(&path).unwrap(), SyncOutcome::Current);
    assert_eq!(SqliteCatalog::version(&path).unwrap().as_deref(), Some("2024_1_contract01"));
    SqliteCatalog::open(&path).unwrap();
    let opened = directory.path().join("file:opened?mode=ro");
    SqliteCatalog::open(&opened).unwrap();
    assert_eq!(opened.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_not_this_databases_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |name: &str, word: &str| {
        let path = directory.path().join(name);
        let before = std::fs::read(&path).unwrap();
        match SqliteCatalog::open(&path) {
            Err(Error::Config(why)) => assert!(why.contains(word), "{why}"),
            Err(other) => panic!("{name}: {other:?}"),
            Ok(_) => panic!("{name} was opened"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), before, "{name}");
    };
    std::fs::write(directory.path().join("text"), "not a database, ".repeat(100)).unwrap();
    refused("text", "not an SQLite database");
    let make = |name: &str, sql: &str| {
        let path = directory.path().join(name);
        SqliteCatalog::sync(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    };
    make("older", "UPDATE alembic_version SET version_num = 'train_contract01'");
    refused("older", "glance-manage db_sync");
    make("newer", "UPDATE alembic_version SET version_num = '2030_2_contract01'");
    refused("newer", "newer glancefs");
    make("unversioned", "DROP TABLE alembic_version");
    refused("unversioned", "alembic_version");
    let missing = directory.path().join("no/such/directory");
    match SqliteCatalog::open(missing) {
        Err(Error::Config(why)) => assert!(why.contains("make its directory"), "{why}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn many_that_open_a_new_database_at_once_share_it() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.sqlite");
        let start = Barrier::new(6);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    SqliteCatalog::open(&path).unwrap().insert(&full_image()).unwrap();
                });
            }
        });
        assert_eq!(SqliteCatalog::open(&path).unwrap().summary().unwrap().images, 6);
    }
}
