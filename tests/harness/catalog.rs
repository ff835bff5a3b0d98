//! The catalog as another program on the same database sees and changes it.

use std::collections::BTreeMap;
use std::fs;

use glancefs::catalog::model::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{DEADLINE, Glancefs, Pool};

/// An image's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    pub name: Option<String>,
    pub status: String,
    pub size: Option<i64>,
    pub virtual_size: Option<i64>,
    pub disk_format: Option<String>,
    pub container_format: Option<String>,
    pub checksum: Option<String>,
    pub os_hash_algo: Option<String>,
    pub os_hash_value: Option<String>,
    pub owner: Option<String>,
    pub visibility: String,
    pub protected: bool,
    pub properties: BTreeMap<String, String>,
    /// URLs of its data.
    pub locations: Vec<String>,
}

/// An image to be stored the way glance-api does it: a file in the datadir, and rows.
#[derive(Clone, Debug)]
pub struct Stored<'a> {
    pub name: &'a str,
    pub data: &'a [u8],
    pub status: &'a str,
    pub owner: Option<&'a str>,
    pub visibility: &'a str,
    pub protected: bool,
    pub hidden: bool,
}

impl Default for Stored<'_> {
    fn default() -> Self {
        Self {
            name: "stored",
            data: b"stored",
            status: "active",
            owner: None,
            visibility: "shared",
            protected: false,
            hidden: false,
        }
    }
}

/// Now, as SQLAlchemy writes it.
pub fn glance_time() -> String {
    Timestamp::now().to_database()
}

impl Glancefs {
    /// A connection as another program would make it.
    pub fn database(&self) -> Connection {
        let connection = Connection::open(self.state_dir().join("glance.sqlite")).unwrap();
        connection.busy_timeout(DEADLINE).unwrap();
        connection
    }

    /// Every record that is not deleted, by name and age.
    pub fn records(&self) -> Vec<Record> {
        let connection = self.database();
        let sql = "SELECT * FROM images WHERE deleted = 0 ORDER BY name, created_at, id";
        let mut statement = connection.prepare(sql).unwrap();
        let records = statement.query_map([], |row| record(&connection, row)).unwrap();
        records.map(Result::unwrap).collect()
    }

    /// The one image of this name.
    #[track_caller]
    pub fn image(&self, name: &str) -> Record {
        let mut records = self.records();
        records.retain(|record| record.name.as_deref() == Some(name));
        assert_eq!(records.len(), 1, "images called {name:?}: {records:#?}");
        records.remove(0)
    }

    /// Runs SQL as another program would.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        self.database().execute_batch(sql).unwrap();
    }

    /// Changes an image as glance-api would: columns of `images`, and the time of the change.
    #[track_caller]
    pub fn glance_sets(&self, id: &str, columns: &str) {
        let sql = format!("UPDATE images SET {columns}, updated_at = ?1 WHERE id = ?2");
        assert_eq!(self.database().execute(&sql, params![glance_time(), id]).unwrap(), 1);
    }

    /// Adds an image as glance-api would; returns its id.
    pub fn glance_stores(&self, image: &Stored<'_>) -> String {
        let mut connection = self.database();
        let id = uuid::Uuid::new_v4().to_string();
        // The data comes first, so that nobody finds a record without it.
        let file = match self.pool {
            Some(_) => self.scratch().join(&id),
            None => self.datadir().join(&id),
        };
        fs::write(&file, image.data).unwrap();
        if let Some(pool) = &self.pool {
            pool.put(&id, &file);
            fs::remove_file(file).unwrap();
        }
        let transaction = connection.transaction().unwrap();
        insert(&transaction, image, &id, &self.location(&id));
        transaction.commit().unwrap();
        id
    }

    /// Adds many empty-named images' records at once, without data files.
    pub fn glance_records(&self, images: impl Iterator<Item = String>) {
        let mut connection = self.database();
        let transaction = connection.transaction().unwrap();
        for name in images {
            let image = Stored { name: &name, ..Stored::default() };
            let id = uuid::Uuid::new_v4().to_string();
            insert(&transaction, &image, &id, &self.location(&id));
        }
        transaction.commit().unwrap();
    }

    /// The store and the URL of an image's data.
    fn location(&self, id: &str) -> (&'static str, String) {
        match &self.pool {
            Some(pool) => ("rbd", pool.url(id)),
            None => ("file", format!("file://{}", self.datadir().join(id).display())),
        }
    }

    /// Removes an image's data behind the daemon's back.
    pub fn lose(&self, id: &str) {
        match &self.pool {
            Some(pool) => pool.lose(id),
            None => fs::remove_file(self.datadir().join(id)).unwrap(),
        }
    }

    /// The image of this name is what the file in the scratch directory is: bytes, size, hashes
    /// (computed by coreutils) and format; and it reads back the same.
    #[track_caller]
    pub fn assert_same(&self, name: &str, file: &str, disk_format: &str) -> Record {
        let image = self.image(name);
        let sums = self.sh(&format!("md5sum <{file}; sha512sum <{file}; stat -Lc %s {file}"));
        let mut sums = sums.lines().map(|line| line.split(' ').next().unwrap().to_string());
        let mut next = || sums.next();
        assert_eq!(image.checksum, next(), "{name}: MD5");
        assert_eq!(image.os_hash_value, next(), "{name}: SHA-512");
        assert_eq!(image.size.map(|size| size.to_string()), next(), "{name}: size");
        assert_eq!(image.os_hash_algo.as_deref(), Some("sha512"));
        assert_eq!(image.status, "active");
        assert_eq!(image.disk_format.as_deref(), Some(disk_format), "{name}: format");
        assert_eq!(image.container_format.as_deref(), Some("bare"));
        self.sh(&format!("cmp {file} $M/.by-id/{}", image.id));
        image
    }

    /// Only these images are there: no other record, no other data, nothing in progress.
    #[track_caller]
    pub fn assert_only(&self, names: &[&str]) {
        if self.pool.is_some() {
            // What needs a cluster is undone in the background, and may have to wait for a watch.
            let journal = self.state_dir().join("journal");
            let is_empty = || fs::read_dir(&journal).unwrap().count() == 0;
            super::eventually("nothing is in progress", is_empty);
        }
        let records = self.records();
        let there: Vec<_> = records.iter().map(|record| record.name.as_deref().unwrap()).collect();
        assert_eq!(there, names);
        assert!(records.iter().all(|record| record.status == "active"), "{records:#?}");
        let listing = |directory| {
            let entries = fs::read_dir(self.state_dir().join(directory)).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let mut ids: Vec<_> = records.into_iter().map(|record| record.id).collect();
        ids.sort();
        let held = self.pool.as_ref().map_or_else(|| listing("images"), Pool::list);
        assert_eq!(held, ids);
        assert_eq!(listing("journal"), [""; 0]);
    }
}

fn record(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Record> {
    let id: String = row.get("id")?;
    let mut properties = connection
        .prepare("SELECT name, value FROM image_properties WHERE image_id = ? AND deleted = 0")?;
    let mut locations = connection
        .prepare("SELECT value FROM image_locations WHERE image_id = ? AND deleted = 0")?;
    Ok(Record {
        name: row.get("name")?,
        status: row.get("status")?,
        size: row.get("size")?,
        virtual_size: row.get("virtual_size")?,
        disk_format: row.get("disk_format")?,
        container_format: row.get("container_format")?,
        checksum: row.get("checksum")?,
        os_hash_algo: row.get("os_hash_algo")?,
        os_hash_value: row.get("os_hash_value")?,
        owner: row.get("owner")?,
        visibility: row.get("visibility")?,
        protected: row.get("protected")?,
        properties: properties
            .query_map([&id], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?,
        locations: locations
            .query_map([&id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?,
        id,
    })
}

fn insert(connection: &Connection, image: &Stored<'_>, id: &str, location: &(&str, String)) {
    let now = glance_time();
    connection
        .prepare_cached(
            "INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, \
             disk_format, container_format, owner, min_disk, min_ram, protected, visibility, \
             os_hidden) VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, 'raw', 'bare', ?6, 0, 0, ?7, ?8, ?9)",
        )
        .unwrap()
        .execute(params![
            id,
            image.name,
            image.data.len() as i64,
            image.status,
            now,
            image.owner,
            image.protected,
            image.visibility,
            image.hidden,
        ])
        .unwrap();
    connection
        .prepare_cached(
            "INSERT INTO image_locations (image_id, value, meta_data, status, created_at, \
             updated_at, deleted) VALUES (?1, ?2, ?4, 'active', ?3, ?3, 0)",
        )
        .unwrap()
        .execute(params![id, location.1, now, format!("{{\"store\": \"{}\"}}", location.0)])
        .unwrap();
}
