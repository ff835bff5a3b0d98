//! The catalog as another program on the same database sees and changes it.

use std::collections::BTreeMap;
use std::fs;

use glancefs::catalog::model::Timestamp;

use super::database::Raw;
use super::{Glancefs, Pool};

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
    pub fn database(&self) -> Raw {
        Raw::to(&self.database)
    }

    /// The same, as glance-api.conf names it.
    pub fn catalog_url(&self) -> String {
        let path = || self.state_dir().join("glance.sqlite");
        self.start.catalog.clone().unwrap_or_else(|| format!("sqlite:///{}", path().display()))
    }

    /// Every record that is not deleted, by name and age.
    pub fn records(&self) -> Vec<Record> {
        let mut raw = self.database();
        let sql =
            format!("SELECT {COLUMNS} FROM images WHERE deleted = 0 ORDER BY name, created_at, id");
        let rows = raw.rows(&sql, &[]);
        rows.into_iter().map(|row| record(&mut raw, row)).collect()
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
        self.database().batch(sql);
    }

    /// Changes an image as glance-api would: columns of `images`, and the time of the change.
    #[track_caller]
    pub fn glance_sets(&self, id: &str, columns: &str) {
        let sql = format!("UPDATE images SET {columns}, updated_at = ? WHERE id = ?");
        assert_eq!(self.database().execute(&sql, &[Some(&glance_time()), Some(id)]), 1);
    }

    /// Adds an image as glance-api would; returns its id.
    pub fn glance_stores(&self, image: &Stored<'_>) -> String {
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
        self.database().together(|raw| insert(raw, image, &id, &self.location(&id)));
        id
    }

    /// Adds many empty-named images' records at once, without data files.
    pub fn glance_records(&self, images: impl Iterator<Item = String>) {
        self.database().together(|raw| {
            for name in images {
                let image = Stored { name: &name, ..Stored::default() };
                let id = uuid::Uuid::new_v4().to_string();
                insert(raw, &image, &id, &self.location(&id));
            }
        });
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

const COLUMNS: &str = "id, name, status, size, virtual_size, disk_format, container_format, \
     checksum, os_hash_algo, os_hash_value, owner, visibility, protected";

fn record(raw: &mut Raw, row: Vec<Option<String>>) -> Record {
    let mut cells = row.into_iter();
    let mut next = || cells.next().unwrap();
    let number = |text: Option<String>| text.map(|text| text.parse().unwrap());
    let id = next().unwrap();
    let of = Some(id.as_str());
    let properties = "SELECT name, value FROM image_properties WHERE image_id = ? AND deleted = 0";
    let locations = "SELECT value FROM image_locations WHERE image_id = ? AND deleted = 0";
    let pair = |row: Vec<Option<String>>| {
        let mut cells = row.into_iter().map(Option::unwrap);
        (cells.next().unwrap(), cells.next().unwrap())
    };
    let properties = raw.rows(properties, &[of]).into_iter().map(pair).collect();
    let locations = raw.rows(locations, &[of]);
    Record {
        name: next(),
        status: next().unwrap(),
        size: number(next()),
        virtual_size: number(next()),
        disk_format: next(),
        container_format: next(),
        checksum: next(),
        os_hash_algo: next(),
        os_hash_value: next(),
        owner: next(),
        visibility: next().unwrap(),
        protected: next().as_deref() != Some("0"),
        properties,
        locations: locations.into_iter().map(|mut row| row.swap_remove(0).unwrap()).collect(),
        id,
    }
}

fn insert(raw: &mut Raw, image: &Stored<'_>, id: &str, location: &(&str, String)) {
    let now = glance_time();
    let bit = |set: bool| if set { "1" } else { "0" };
    raw.execute(
        "INSERT INTO images (id, name, size, status, created_at, updated_at, deleted, \
         disk_format, container_format, owner, min_disk, min_ram, protected, visibility, \
         os_hidden) VALUES (?, ?, ?, ?, ?, ?, 0, 'raw', 'bare', ?, 0, 0, ?, ?, ?)",
        &[
            Some(id),
            Some(image.name),
            Some(&image.data.len().to_string()),
            Some(image.status),
            Some(&now),
            Some(&now),
            image.owner,
            Some(bit(image.protected)),
            Some(image.visibility),
            Some(bit(image.hidden)),
        ],
    );
    let metadata = format!("{{\"store\": \"{}\"}}", location.0);
    raw.execute(
        "INSERT INTO image_locations (image_id, value, meta_data, status, created_at, \
         updated_at, deleted) VALUES (?, ?, ?, 'active', ?, ?, 0)",
        &[Some(id), Some(&location.1), Some(&metadata), Some(&now), Some(&now)],
    );
}
