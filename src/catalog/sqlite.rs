//! The embedded catalog: SQLite.
//!
//! The file is a Glance database, to the letter, so that the real Glance can work on it before,
//! after and beside us.  One connection writes, a few read; each is lent to one call at a time and
//! every wait has a deadline.  A write transaction begins `IMMEDIATE`: it has the write lock
//! before it reads, so that none has to be given up halfway.
//!
//! - `schema`: the tables and their version;
//! - `connection`: how the file is opened, and the pools;
//! - `select`: listings as SQL;
//! - `read`, `write`, `locations`, `members`: images out of the database and into it;
//! - `pending`: deleted images whose data is still there;
//! - `metadefs`: metadata definitions;
//! - `tasks`: tasks, and which of them has an image to itself;
//! - `values`: how single values are written.

mod connection;
mod locations;
mod members;
mod metadefs;
mod pending;
mod read;
mod schema;
mod select;
mod tasks;
mod values;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{ErrorCode, Transaction, TransactionBehavior};

use super::location_key::LocationKey;
use super::model::{Image, ImageId, Member, MemberStatus, Row, Status, Timestamp};
use super::query::ImageQuery;
use super::{Catalog, Summary, SyncOutcome, Tallied, Tally};
use crate::error::{Error, Result};
use crate::identity::ProjectId;
use connection::{PATIENCE, Pool};
use schema::Content;

/// Reading connections; a listing takes milliseconds, so a few serve many threads.
const READERS: usize = 4;

/// A catalog in a file.
pub struct SqliteCatalog {
    path: PathBuf,
    readers: Pool,
    writer: Pool,
    /// What the writer last said about changes by others.
    foreign_changes: AtomicI64,
    location_key: Option<LocationKey>,
}

impl SqliteCatalog {
    /// Opens the database at `path`, made (mode 0600) where there is none or an empty file.
    ///
    /// # Errors
    /// `Config` when the file is no database, not Glance's, or of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::sync(path)?;
        let connect = || {
            let connection = connection::open(path)?;
            connection::configure(&connection, path)?;
            Ok::<_, Error>(connection)
        };
        let writer = connect()?;
        let readers = (0..READERS).map(|_| connect()).collect::<Result<_>>()?;
        let catalog = Self {
            path: path.to_path_buf(),
            readers: Pool::new(readers, PATIENCE),
            writer: Pool::new(vec![writer], PATIENCE),
            foreign_changes: AtomicI64::new(0),
            location_key: None,
        };
        // Now, so that it has an answer even while a write is under way.
        catalog.change_counter()?;
        Ok(catalog)
    }

    /// Reads and writes locations encrypted.
    pub fn with_location_key(self, location_key: Option<LocationKey>) -> Self {
        Self { location_key, ..self }
    }

    /// Makes the database at `path` where there is none or an empty file; once made, says so.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sync(path: impl AsRef<Path>) -> Result<SyncOutcome> {
        let path = path.as_ref();
        connection::create_file(path)?;
        let mut connection = connection::open(path)?;
        let mut content = schema::content(&connection, path)?;
        if content == Content::Empty {
            if schema::create(&mut connection, path)? {
                return Ok(SyncOutcome::Created);
            }
            content = schema::content(&connection, path)?;
        }
        schema::require_current(&content, path)?;
        Ok(SyncOutcome::Current)
    }

    /// The version of the database at `path`, in Glance's numbering; `None` where there is no
    /// database, an empty one, or one without a version.  Changes nothing.
    ///
    /// # Errors
    /// `Config` when the file is no database.
    pub fn version(path: impl AsRef<Path>) -> Result<Option<String>> {
        let path = path.as_ref();
        if !path.try_exists().map_err(Error::io("look for", path.display()))? {
            return Ok(None);
        }
        match schema::content(&connection::open(path)?, path)? {
            Content::Empty | Content::Unversioned => Ok(None),
            Content::Versions(versions) => Ok(Some(versions.join(", "))),
        }
    }

    fn location_key(&self) -> Option<&LocationKey> {
        self.location_key.as_ref()
    }

    /// Runs `work` on one state of the database.
    fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        self.readers.lend(|connection| work(&connection.transaction()?))
    }

    /// Runs `work` with the write lock; what it wrote stays when it answers `true`.
    fn write(&self, work: impl FnOnce(&Transaction<'_>) -> Result<bool>) -> Result<bool> {
        self.writer.lend(|connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(|error| self.begin_failed(error))?;
            let done = work(&transaction)?;
            if done {
                transaction.commit()?;
            }
            Ok(done)
        })
    }

    fn begin_failed(&self, error: rusqlite::Error) -> Error {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => Error::Catalog(format!(
                "the database {} is busy: another process has been writing for {PATIENCE:?}",
                self.path.display()
            )),
            _ => error.into(),
        }
    }
}

impl Catalog for SqliteCatalog {
    fn insert(&self, image: &Image) -> Result<()> {
        let key = self.location_key();
        self.write(|transaction| write::insert(transaction, image, key).map(|()| true)).map(drop)
    }

    fn get(&self, id: ImageId) -> Result<Option<Image>> {
        self.read(|transaction| read::get(transaction, id, self.location_key()))
    }

    fn list(&self, query: &ImageQuery) -> Result<Vec<Image>> {
        self.read(|transaction| read::list(transaction, query, self.location_key()))
    }

    fn save(&self, old: &Image, new: &Image, from: &[Status]) -> Result<bool> {
        self.write(|transaction| write::save(transaction, old, new, from, self.location_key()))
    }

    fn delete(&self, id: ImageId, from: &[Status]) -> Result<bool> {
        let (to, now) = (Status::Deleted, Timestamp::now());
        self.write(|transaction| write::delete(transaction, id, from, to, now))
    }

    fn rows(&self, ids: Option<&[ImageId]>, time_property: &str) -> Result<Vec<Row>> {
        self.read(|transaction| read::rows(transaction, ids, time_property, self.location_key()))
    }

    fn changed_since(&self, since: Timestamp) -> Result<Vec<(ImageId, Timestamp)>> {
        self.read(|transaction| read::changed_since(transaction, since))
    }

    fn summary(&self) -> Result<Summary> {
        self.read(|transaction| read::summary(transaction))
    }

    fn tally(
        &self,
        owner: Option<&ProjectId>,
        which: Tallied,
        except: &[ImageId],
    ) -> Result<Tally> {
        self.read(|transaction| read::tally(transaction, owner, which, except))
    }

    fn storage_usage(&self, owner: Option<&ProjectId>, except: &[ImageId]) -> Result<u64> {
        self.read(|transaction| read::storage_usage(transaction, owner, except))
    }

    /// SQLite's `data_version` of the writing connection, which moves for the commits of every
    /// connection but that one: so for others' changes and not for ours.  Never waits: while a
    /// write of ours is under way (5 s at most before it has the lock) the last answer is given
    /// again, and what others did meanwhile shows right after it.
    fn change_counter(&self) -> Result<i64> {
        let asked = self.writer.try_lend(|connection| {
            let version = connection
                .prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))?;
            self.foreign_changes.store(version, Ordering::Relaxed);
            Ok(version)
        });
        asked.unwrap_or_else(|| Ok(self.foreign_changes.load(Ordering::Relaxed)))
    }

    /// Stamps are kept to the microsecond, which two changes do not share.
    fn stamp_resolution(&self) -> Duration {
        Duration::ZERO
    }

    fn sharings(&self) -> Result<Arc<HashMap<ImageId, u64>>> {
        self.read(|transaction| members::sharings(transaction).map(Arc::new))
    }

    fn locations_of_others(&self, except: ImageId, name: &str) -> Result<Vec<String>> {
        let key = self.location_key();
        self.read(|transaction| read::locations_of_others(transaction, except, name, key))
    }

    fn shared_with(&self, project: &ProjectId) -> Result<Vec<ImageId>> {
        self.read(|transaction| read::shared_with(transaction, project))
    }

    fn members(&self, id: ImageId) -> Result<Vec<Member>> {
        self.read(|transaction| members::all(transaction, id))
    }

    fn add_member(&self, id: ImageId, member: &Member) -> Result<()> {
        self.write(|transaction| members::add(transaction, id, member).map(|()| true)).map(drop)
    }

    fn set_member_status(
        &self,
        id: ImageId,
        project: &ProjectId,
        status: MemberStatus,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(|transaction| members::set_status(transaction, id, project, status, now))
    }

    fn remove_member(&self, id: ImageId, project: &ProjectId, now: Timestamp) -> Result<bool> {
        self.write(|transaction| members::remove(transaction, id, project, now))
    }

    fn is_member(&self, id: ImageId, project: &ProjectId) -> Result<bool> {
        self.read(|transaction| read::is_member(transaction, id, project))
    }
}
