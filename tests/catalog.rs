//! The catalog on a real database: what is written can be read, and the rules of writing hold.
//!
//! On an SQLite file, and with `GLANCEFS_TEST_CATALOG=mysql` on a MariaDB.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "harness/database.rs"]
mod database;
#[path = "catalog/encrypted.rs"]
mod encrypted;
#[path = "catalog/listing.rs"]
mod listing;
#[path = "harness/mariadb.rs"]
mod mariadb;
#[path = "catalog/metadefs.rs"]
mod metadefs;
#[path = "catalog/mysql.rs"]
mod mysql_server;
#[path = "catalog/pending.rs"]
mod pending;
#[path = "catalog/releases.rs"]
mod releases;
#[path = "catalog/sharing.rs"]
mod sharing;
#[path = "catalog/sqlite.rs"]
mod sqlite_file;
#[path = "catalog/tasks.rs"]
mod tasks;
#[path = "catalog/timings.rs"]
mod timings;
#[path = "catalog/totals.rs"]
mod totals;

use glancefs::catalog::Catalog;
use glancefs::catalog::database::{Database, Place};
use glancefs::catalog::metadefs::MetadefCatalog;
use glancefs::catalog::model::{Image, ImageId, Location, Status, Timestamp, Visibility};
use glancefs::catalog::mysql::MysqlCatalog;
use glancefs::catalog::sqlite::SqliteCatalog;
use glancefs::error::Error;
use glancefs::identity::ProjectId;
use tempfile::TempDir;

use database::Raw;

/// All that a catalog is.
trait Whole: Catalog + MetadefCatalog {}

impl<T: Catalog + MetadefCatalog> Whole for T {}

/// A catalog of its own, in a file or on a server.
struct Fixture {
    catalog: Box<dyn Whole>,
    database: Database,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = database::of(directory.path());
        if database::is_on_server() {
            database::make_wide_tables(&database);
        }
        Self { catalog: open(&database), database, directory }
    }

    /// A second catalog on the same database.
    fn another(&self) -> Box<dyn Whole> {
        open(&self.database)
    }

    /// A connection as another program would make it.
    fn raw(&self) -> Raw {
        Raw::to(&self.database)
    }

    /// The one integer that `sql` answers.
    fn number(&self, sql: &str) -> i64 {
        self.raw().number(sql)
    }

    /// The first column of what `sql` finds.
    fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.raw().rows(sql, &[]);
        rows.into_iter().map(|mut row| row.swap_remove(0).unwrap()).collect()
    }

    /// The database as glance-api.conf names it.
    fn url(&self) -> String {
        match &self.database.place {
            Place::File(path) => format!("sqlite:///{}", path.display()),
            Place::Server(server) => mariadb::Server::shared().url(&server.database),
        }
    }

    /// The moment that is recorded for a moment: Glance's columns keep seconds on a server.
    fn kept(&self, time: Timestamp) -> Timestamp {
        match database::is_on_server() {
            true => Timestamp::from_micros(time.as_micros() / 1_000_000 * 1_000_000),
            false => time,
        }
    }

    /// The image that is recorded for an image.
    fn kept_image(&self, image: &Image) -> Image {
        let (created_at, updated_at) = (self.kept(image.created_at), self.kept(image.updated_at));
        Image { created_at, updated_at, ..image.clone() }
    }
}

/// This second.
fn now() -> Timestamp {
    Timestamp::from_micros(Timestamp::now().as_micros() / 1_000_000 * 1_000_000)
}

fn open(database: &Database) -> Box<dyn Whole> {
    let key = database.location_key.clone();
    match &database.place {
        Place::File(path) => Box::new(SqliteCatalog::open(path).unwrap().with_location_key(key)),
        Place::Server(server) => Box::new(MysqlCatalog::open(server, key).unwrap()),
    }
}

fn project(name: &str) -> ProjectId {
    ProjectId::new(name)
}

/// An image with something in every field.
fn full_image() -> Image {
    let mut location = Location::in_store("file:///var/lib/images/1", "fast");
    location.metadata.insert("nested".into(), serde_json::json!({"a": [1, "é"]}));
    Image {
        name: Some("Größe 𝔘𝔫𝔦 😀 %2F".into()),
        size: Some(1 << 40),
        virtual_size: Some(1 << 41),
        status: Status::Active,
        visibility: Visibility::Community,
        disk_format: Some("qcow2".into()),
        container_format: Some("bare".into()),
        checksum: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
        os_hash_algo: Some("sha512".into()),
        os_hash_value: Some("ab".repeat(64)),
        min_disk: 3,
        min_ram: 512,
        protected: true,
        os_hidden: true,
        created_at: Timestamp::parse("2026-11-21 01:02:03.123456").unwrap(),
        updated_at: Timestamp::parse("2026-11-21 01:02:04").unwrap(),
        properties: [("os_distro", "debian"), ("empty", ""), ("emoji 😀", "𝔘")]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .into(),
        tags: ["x", "ünï😀"].map(String::from).into(),
        locations: vec![location, Location::in_store("rbd://f/p/i/snap", "slow")],
        ..Image::new(ImageId::random(), Some(project("p1")))
    }
}

#[test]
fn an_image_reads_back_as_it_was_inserted() {
    let fixture = Fixture::new();
    for image in [full_image(), Image::new(ImageId::random(), None)] {
        fixture.catalog.insert(&image).unwrap();
        let read = fixture.catalog.get(image.id).unwrap();
        assert_eq!(read, Some(fixture.kept_image(&image)));
    }
    assert_eq!(fixture.catalog.get(ImageId::random()).unwrap(), None);
}

#[test]
fn an_id_is_never_used_again_even_after_deletion() {
    let fixture = Fixture::new();
    let image = full_image();
    fixture.catalog.insert(&image).unwrap();
    assert!(matches!(fixture.catalog.insert(&image), Err(Error::Conflict(_))));
    assert!(fixture.catalog.delete(image.id, &[Status::Active]).unwrap());
    assert!(matches!(fixture.catalog.insert(&image), Err(Error::Conflict(_))));
    assert_eq!(fixture.catalog.get(image.id).unwrap(), None);
    assert_eq!(fixture.number("SELECT count(*) FROM image_tags"), 2);
}

#[test]
fn a_save_writes_every_field_that_differs() {
    let fixture = Fixture::new();
    let new = full_image();
    let old = Image::new(new.id, None);
    fixture.catalog.insert(&old).unwrap();
    assert!(fixture.catalog.save(&old, &new, &[Status::Queued]).unwrap());
    assert_eq!(fixture.catalog.get(new.id).unwrap(), Some(fixture.kept_image(&new)));
    assert!(fixture.catalog.save(&new, &old, &[Status::Active]).unwrap());
    assert_eq!(fixture.catalog.get(new.id).unwrap(), Some(fixture.kept_image(&old)));
}

#[test]
fn saves_of_different_fields_both_survive() {
    let fixture = Fixture::new();
    let read = full_image();
    fixture.catalog.insert(&read).unwrap();
    let mut renamed = read.clone();
    renamed.name = Some("new".into());
    renamed.properties.insert("a".into(), "1".into());
    let mut tagged = read.clone();
    tagged.tags.insert("t".into());
    tagged.min_ram = 7;
    tagged.properties.insert("b".into(), "2".into());
    for change in [&renamed, &tagged, &tagged] {
        assert!(fixture.catalog.save(&read, change, Status::THERE).unwrap());
    }
    let now = fixture.catalog.get(read.id).unwrap().unwrap();
    assert_eq!((now.name.as_deref(), now.min_ram), (Some("new"), 7));
    assert_eq!((&now.properties["a"][..], &now.properties["b"][..]), ("1", "2"));
    assert_eq!(fixture.number("SELECT count(*) FROM image_tags WHERE value = 't'"), 1);
}

#[test]
fn a_save_from_another_status_writes_nothing() {
    let fixture = Fixture::new();
    let old = full_image();
    fixture.catalog.insert(&old).unwrap();
    let mut new = old.clone();
    new.status = Status::Deactivated;
    new.tags.clear();
    assert!(!fixture.catalog.save(&old, &new, &[Status::Queued, Status::Saving]).unwrap());
    assert!(!fixture.catalog.save(&old, &new, &[]).unwrap());
    assert!(!fixture.catalog.delete(old.id, &[Status::Queued]).unwrap());
    assert_eq!(fixture.catalog.get(old.id).unwrap(), Some(fixture.kept_image(&old)));
    assert!(fixture.catalog.delete(old.id, &[Status::Active]).unwrap());
    assert!(!fixture.catalog.save(&old, &new, Status::THERE).unwrap());
    assert!(!fixture.catalog.delete(old.id, Status::THERE).unwrap());
}

#[test]
fn a_property_deleted_and_set_again_is_the_same_record_alive() {
    let fixture = Fixture::new();
    let with = full_image();
    let mut without = with.clone();
    without.properties.clear();
    fixture.catalog.insert(&with).unwrap();
    let deleted =
        "SELECT count(*) FROM image_properties WHERE deleted = 1 AND deleted_at IS NOT NULL";
    assert!(fixture.catalog.save(&with, &without, Status::THERE).unwrap());
    assert_eq!(fixture.number(deleted), 3);
    assert_eq!(fixture.catalog.get(with.id).unwrap(), Some(fixture.kept_image(&without)));
    assert!(fixture.catalog.save(&without, &with, Status::THERE).unwrap());
    assert_eq!(fixture.catalog.get(with.id).unwrap(), Some(fixture.kept_image(&with)));
    // Glance's purge goes by the time alone.
    let purged = "SELECT count(*) FROM image_properties WHERE deleted_at IS NOT NULL";
    assert_eq!(fixture.number(purged), 0);
}

#[test]
fn a_location_that_is_to_be_removed_is_marked_deleted_with_its_status() {
    let fixture = Fixture::new();
    let mut old = full_image();
    let kept = Location::in_store("file:///var/lib/images/2", "kept");
    old.locations.push(kept.clone());
    fixture.catalog.insert(&old).unwrap();
    let mut new = old.clone();
    new.locations[0].status = "pending_delete".into();
    new.locations.remove(1);
    assert!(fixture.catalog.save(&old, &new, Status::THERE).unwrap());
    assert_eq!(fixture.catalog.get(old.id).unwrap().unwrap().locations, [kept]);
    let statuses = fixture.texts(
        "SELECT status FROM image_locations WHERE deleted = 1 AND deleted_at IS NOT NULL \
         ORDER BY id",
    );
    assert_eq!(statuses, ["pending_delete", "deleted"]);
}

#[test]
fn deletion_marks_all_that_belongs_to_the_image() {
    let fixture = Fixture::new();
    let (image, other) = (full_image(), full_image());
    fixture.catalog.insert(&image).unwrap();
    fixture.catalog.insert(&other).unwrap();
    listing::add_member(&fixture, &image, "p2", "accepted");
    let before = fixture.kept(Timestamp::now());
    assert!(fixture.catalog.delete(image.id, &[Status::Active]).unwrap());
    for (table, records) in [
        ("images", 1),
        ("image_properties", 3),
        ("image_tags", 2),
        ("image_locations", 2),
        ("image_members", 1),
    ] {
        let marked =
            format!("SELECT count(*) FROM {table} WHERE deleted = 1 AND deleted_at IS NOT NULL");
        assert_eq!(fixture.number(&marked), records, "{table}");
    }
    let status = "SELECT count(*) FROM images WHERE status = 'deleted'";
    assert_eq!(fixture.number(status), 1);
    let locations = "SELECT count(*) FROM image_locations WHERE status = 'deleted'";
    assert_eq!(fixture.number(locations), 2);
    let changed = fixture.catalog.changed_since(before).unwrap();
    assert_eq!(changed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [image.id]);
    assert_eq!(fixture.catalog.get(other.id).unwrap(), Some(fixture.kept_image(&other)));
    let summary = fixture.catalog.summary().unwrap();
    assert_eq!(summary.images, 1);
    assert!(summary.newest >= Some(before));
}

#[test]
fn rows_are_the_images_that_are_there_with_time_and_location() {
    let fixture = Fixture::new();
    let (image, mut bare, gone) = (full_image(), Image::new(ImageId::random(), None), full_image());
    bare.properties.insert("other".into(), "x".into());
    for each in [&image, &bare, &gone] {
        fixture.catalog.insert(each).unwrap();
    }
    fixture.catalog.delete(gone.id, Status::THERE).unwrap();
    let rows = fixture.catalog.rows(None, "os_distro").unwrap();
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row.id == image.id).unwrap();
    assert_eq!(row.name.as_deref(), image.name.as_deref());
    assert_eq!((row.size, row.status, row.visibility), (1 << 40, image.status, image.visibility));
    assert_eq!((row.protected, row.os_hidden, &row.owner), (true, true, &image.owner));
    let kept = fixture.kept_image(&image);
    assert_eq!((row.created_at, row.updated_at), (kept.created_at, kept.updated_at));
    assert_eq!(row.mtime.as_deref(), Some("debian"));
    assert_eq!(row.location.as_deref(), Some("file:///var/lib/images/1"));
    let some = fixture.catalog.rows(Some(&[bare.id, gone.id, bare.id]), "os_distro").unwrap();
    assert_eq!(some.len(), 1);
    assert_eq!((some[0].id, some[0].size, &some[0].mtime), (bare.id, 0, &None));
    assert_eq!((&some[0].name, &some[0].location), (&None, &None));
    assert_eq!(fixture.catalog.rows(Some(&[]), "os_distro").unwrap(), []);
}
