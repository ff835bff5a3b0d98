//! Which database the catalog is in, and opening it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::location_key::LocationKey;
use super::metadefs::MetadefCatalog;
use super::mysql::MysqlCatalog;
use super::mysql::server::Server;
use super::sqlite::SqliteCatalog;
use super::{Catalog, SyncOutcome};
use crate::error::Result;

/// A database, and how its locations are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Where it is.
    pub place: Place,
    /// The key of encrypted locations.
    pub location_key: Option<LocationKey>,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file: SQLite.
    File(PathBuf),
    /// On a server: MySQL or MariaDB.
    Server(Box<Server>),
}

/// A catalog that is open: images and tasks, and metadata definitions.
pub struct Opened {
    /// Images and tasks.
    pub images: Arc<dyn Catalog>,
    /// Metadata definitions.
    pub metadefs: Arc<dyn MetadefCatalog>,
}

impl Opened {
    fn new<T: Catalog + MetadefCatalog + 'static>(catalog: T) -> Self {
        let catalog = Arc::new(catalog);
        Self { images: Arc::<T>::clone(&catalog), metadefs: catalog }
    }
}

impl Database {
    /// A file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::File(path.into()), location_key: None }
    }

    /// The file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Server(_) => None,
        }
    }

    /// Opens the catalog, made where there is none.
    ///
    /// # Errors
    /// `Config` when it is not there, not Glance's, or of a version that cannot be worked with.
    pub fn open(&self) -> Result<Opened> {
        let key = self.location_key.clone();
        Ok(match &self.place {
            Place::File(path) => Opened::new(SqliteCatalog::open(path)?.with_location_key(key)),
            Place::Server(server) => Opened::new(MysqlCatalog::open(server, key)?),
        })
    }

    /// Makes the tables where there are none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sync(&self) -> Result<SyncOutcome> {
        match &self.place {
            Place::File(path) => SqliteCatalog::sync(path),
            Place::Server(server) => MysqlCatalog::sync(server),
        }
    }

    /// The version, in Glance's numbering; `None` where there is none.  Changes nothing.
    ///
    /// # Errors
    /// `Config` when the database cannot be read.
    pub fn version(&self) -> Result<Option<String>> {
        match &self.place {
            Place::File(path) => SqliteCatalog::version(path),
            Place::Server(server) => MysqlCatalog::version(server),
        }
    }
}

impl fmt::Display for Database {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => path.display().fmt(f),
            Place::Server(server) => server.fmt(f),
        }
    }
}
