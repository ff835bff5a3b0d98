//! The operator's catalog: MySQL or MariaDB, alone or as a Galera cluster.
//!
//! The tables are Glance's own, to the letter, and other daemons and glance-api work on them at the
//! same time.  Every call is one transaction on a connection of a bounded pool.  A transaction that
//! the server undid for another's sake is done again, and so is one whose connection broke before
//! it was to be committed: a server that restarts, or an address that moves to another, is waited
//! for, ten seconds at most.
//!
//! Times are kept to the second, as the columns have them; text is compared as the collation of the
//! tables says (in Glance's: `A` is `a`).
//!
//! - `server`, `pool`: which server, and connections to it;
//! - `session`, `values`, `failure`: one transaction, what it is given and answers, what goes wrong;
//! - `schema`: the tables and their version;
//! - `select`: listings as SQL;
//! - `read`, `belongings`, `remembered`, `rows`, `write`, `locations`, `members`: images out of the
//!   database and into it;
//! - `changes`: what others did;
//! - `pending`: deleted images whose data is still there;
//! - `metadefs`: metadata definitions;
//! - `tasks`: tasks, and which of them has an image to itself.

mod belongings;
mod changes;
mod failure;
mod locations;
mod members;
mod metadefs;
mod pending;
mod pool;
mod read;
mod remembered;
mod rows;
mod schema;
mod select;
pub mod server;
mod session;
mod tasks;
mod values;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ::mysql::Conn;
use parking_lot::Mutex;

use super::location_key::LocationKey;
use super::model::{Image, ImageId, Member, MemberStatus, Row, Status, Timestamp};
use super::query::ImageQuery;
use super::{Catalog, Summary, SyncOutcome, Tallied, Tally};
use crate::error::{Error, Result};
use crate::identity::ProjectId;
use changes::Known;
use failure::{Failure, Outcome};
use pool::Pool;
use remembered::Remembered;
use schema::{Content, Schema};
use server::Server;
use session::Session;
use values::WORDS;

/// How long a call goes on trying: for a connection, for a server that went away, for others that
/// change the same rows.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before the first new try; doubled for each, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A catalog on a server.
pub struct MysqlCatalog {
    pool: Pool,
    schema: Schema,
    location_key: Option<LocationKey>,
    /// Copied for each question, so that it is not locked while the server is asked.
    known: Mutex<Known>,
    remembered: Remembered,
}

impl MysqlCatalog {
    /// Opens the database, made where it is empty.
    ///
    /// # Errors
    /// `Config` when the server is not there or lets nobody in, or the database is not Glance's or
    /// of a version that is not known.
    pub fn open(server: &Server, location_key: Option<LocationKey>) -> Result<Self> {
        Self::prepare(server, location_key).map(|(catalog, _)| catalog)
    }

    /// Makes the tables of a database where it is empty; once made, says so.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sync(server: &Server) -> Result<SyncOutcome> {
        Self::prepare(server, None).map(|(_, outcome)| outcome)
    }

    /// The version of the database, in Glance's numbering; `None` where there is none.  Changes
    /// nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for the database's content.
    pub fn version(server: &Server) -> Result<Option<String>> {
        let pool = Pool::new(server);
        pool::await_server(&pool, server)?;
        match in_transaction(&pool, Instant::now() + PATIENCE, schema::content) {
            Ok(Content::Versions(versions)) => Ok(Some(versions.join(", "))),
            Ok(Content::Empty | Content::Unversioned) => Ok(None),
            Err(failure) => Err(failure.into_error()),
        }
    }

    fn prepare(server: &Server, location_key: Option<LocationKey>) -> Result<(Self, SyncOutcome)> {
        let pool = Pool::new(server);
        pool::await_server(&pool, server)?;
        let prepare = |session: &mut Session<'_>| {
            let mut content = schema::content(session)?;
            let mut outcome = SyncOutcome::Current;
            if content == Content::Empty {
                schema::create(session)?;
                outcome = SyncOutcome::Created;
                content = schema::content(session)?;
            }
            Ok((schema::require_usable(session, &content, server)?, outcome))
        };
        // Others may be at it, too.
        let (schema, outcome) =
            attempt(|deadline| in_transaction(&pool, deadline, prepare).map_err(Attempt::again))?;
        let (known, remembered) = (Mutex::default(), Remembered::default());
        Ok((Self { pool, schema, location_key, known, remembered }, outcome))
    }

    fn location_key(&self) -> Option<&LocationKey> {
        self.location_key.as_ref()
    }

    /// Runs `work` on one state of the database.
    fn read<T>(&self, mut work: impl FnMut(&mut Session<'_>) -> Outcome<T>) -> Result<T> {
        attempt(|deadline| in_transaction(&self.pool, deadline, &mut work).map_err(Attempt::again))
    }

    /// Runs `work` as one change, which stays when it answers `true`.  It may be run more than once.
    fn write(&self, mut work: impl FnMut(&mut Session<'_>) -> Outcome<bool>) -> Result<bool> {
        attempt(|deadline| {
            let mut committing = false;
            let lent = self.pool.lend(deadline, |connection| {
                transact(connection, &mut work, |done| {
                    committing = *done;
                    if *done { "COMMIT" } else { "ROLLBACK" }
                })
            });
            // A conflict at the commit (Galera: a failed certification) undid the change as well.
            lent.map_err(|failure| match committing && failure.is_lost() {
                true => Attempt::Unknown(failure),
                false => Attempt::again(failure),
            })
        })
    }
}

/// Why a try did not end well.
enum Attempt {
    /// Another may.
    Again(Failure),
    /// Another would not.
    Failed(Failure),
    /// It may even have ended well.
    Unknown(Failure),
}

impl Attempt {
    fn again(failure: Failure) -> Self {
        match failure.is_conflict() || (failure.is_lost() && !failure.is_for_ever()) {
            true => Self::Again(failure),
            false => Self::Failed(failure),
        }
    }
}

/// Does something again and again until it is done, cannot be, or [`PATIENCE`] is at its end.
fn attempt<T>(mut once: impl FnMut(Instant) -> Result<T, Attempt>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    loop {
        let failure = match once(end) {
            Ok(done) => return Ok(done),
            Err(Attempt::Unknown(failure)) => {
                return Err(Error::CatalogUnavailable(format!(
                    "the connection broke while a change was being committed, so that it may \
                     or may not be recorded: {}",
                    failure.into_error()
                )));
            }
            Err(Attempt::Failed(failure)) => return Err(failure.into_error()),
            Err(Attempt::Again(failure)) => failure,
        };
        if Instant::now() + pause > end {
            return Err(failure.into_error());
        }
        tracing::debug!(?failure, "the database is asked again");
        // Others that collided with this one wait differently long.
        thread::sleep(pause.mul_f64(0.5 + f64::from(jitter()) / 256.0));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Some number.
fn jitter() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

/// Runs `work` in a transaction that changes nothing.
fn in_transaction<T>(
    pool: &Pool,
    deadline: Instant,
    work: impl FnOnce(&mut Session<'_>) -> Outcome<T>,
) -> Outcome<T> {
    pool.lend(deadline, |connection| transact(connection, work, |_| "ROLLBACK"))
}

/// Runs `work` in a transaction, which begins with its first statement and ends as `end` says when
/// it was done.
fn transact<T>(
    connection: &mut Conn,
    work: impl FnOnce(&mut Session<'_>) -> Outcome<T>,
    end: impl FnOnce(&T) -> &'static str,
) -> Outcome<T> {
    let mut session = Session::new(connection);
    let outcome = work(&mut session);
    match &outcome {
        Ok(done) => session.run(end(done))?,
        // A connection that is lost takes the transaction with it.
        Err(failure) if failure.is_lost() => {}
        Err(_) => session.run("ROLLBACK")?,
    }
    outcome
}

impl Catalog for MysqlCatalog {
    fn insert(&self, image: &Image) -> Result<()> {
        let key = self.location_key();
        self.write(|session| write::insert(session, image, key).map(|()| true)).map(drop)
    }

    fn get(&self, id: ImageId) -> Result<Option<Image>> {
        self.read(|session| read::get(session, id, self.location_key()))
    }

    fn list(&self, query: &ImageQuery) -> Result<Vec<Image>> {
        self.read(|session| {
            let since = Instant::now();
            let mut images = read::page(session, query)?;
            let mut unknown = self.remembered.recall(&mut images);
            belongings::read(session, &mut unknown, self.location_key())?;
            self.remembered.note(&unknown, since);
            Ok(images)
        })
    }

    fn save(&self, old: &Image, new: &Image, from: &[Status]) -> Result<bool> {
        self.write(|session| write::save(session, old, new, from, self.location_key()))
    }

    fn delete(&self, id: ImageId, from: &[Status]) -> Result<bool> {
        let (to, now) = (Status::Deleted, Timestamp::now());
        self.write(|session| write::delete(session, id, from, to, now))
    }

    fn rows(&self, ids: Option<&[ImageId]>, time_property: &str) -> Result<Vec<Row>> {
        let key = self.location_key();
        let Some(ids) = ids else {
            return self.read(|session| rows::rows(session, None, time_property, key));
        };
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for some in ids.chunks(WORDS) {
            found.extend(self.read(|session| rows::rows(session, Some(some), time_property, key))?);
        }
        Ok(found)
    }

    fn changed_since(&self, since: Timestamp) -> Result<Vec<(ImageId, Timestamp)>> {
        self.read(|session| changes::since(session, since))
    }

    fn summary(&self) -> Result<Summary> {
        self.read(read::summary)
    }

    /// Moves for our own changes as well.
    fn change_counter(&self) -> Result<i64> {
        let mut known = self.known.lock().clone();
        let counter = self.read(|session| known.counter(session))?;
        *self.known.lock() = known;
        Ok(counter)
    }

    fn stamp_resolution(&self) -> Duration {
        changes::RESOLUTION
    }

    fn sharings(&self) -> Result<Arc<HashMap<ImageId, u64>>> {
        let mut known = self.known.lock().clone();
        let sharings = self.read(|session| known.sharings(session))?;
        *self.known.lock() = known;
        Ok(sharings)
    }

    fn tally(
        &self,
        owner: Option<&ProjectId>,
        which: Tallied,
        except: &[ImageId],
    ) -> Result<Tally> {
        self.read(|session| read::tally(session, owner, which, except))
    }

    fn storage_usage(&self, owner: Option<&ProjectId>, except: &[ImageId]) -> Result<u64> {
        self.read(|session| read::storage_usage(session, owner, except))
    }

    fn locations_of_others(&self, except: ImageId, name: &str) -> Result<Vec<String>> {
        self.read(|session| read::locations_of_others(session, except, name, self.location_key()))
    }

    fn shared_with(&self, project: &ProjectId) -> Result<Vec<ImageId>> {
        self.read(|session| read::shared_with(session, project))
    }

    fn members(&self, id: ImageId) -> Result<Vec<Member>> {
        self.read(|session| members::all(session, id))
    }

    fn add_member(&self, id: ImageId, member: &Member) -> Result<()> {
        self.write(|session| members::add(session, id, member).map(|()| true)).map(drop)
    }

    fn set_member_status(
        &self,
        id: ImageId,
        project: &ProjectId,
        status: MemberStatus,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(|session| members::set_status(session, id, project, status, now))
    }

    fn remove_member(&self, id: ImageId, project: &ProjectId, now: Timestamp) -> Result<bool> {
        self.write(|session| members::remove(session, id, project, now))
    }

    fn is_member(&self, id: ImageId, project: &ProjectId) -> Result<bool> {
        self.read(|session| read::is_member(session, id, project))
    }
}
