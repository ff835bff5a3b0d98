//! Connections to the database file: how one is opened, and the pools they are lent from.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Result};

/// How long a call waits, at most: for a connection, and for another process's write.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Statements kept ready on each connection; there are about 80, and as many shapes of a listing
/// as users think of.
const STATEMENTS: usize = 128;

/// KiB of pages that one connection keeps.
const PAGE_CACHE_KIB: i64 = 8 * 1024;

/// Makes an empty file, readable by its owner only, where there is none.
pub(super) fn create_file(path: &Path) -> Result<()> {
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::Config(format!(
            "cannot create the database {}: {error}; make its directory, for this user to write to, or \
             change connection",
            path.display()
        ))),
    }
}

/// Opens an existing file and changes nothing in it.
pub(super) fn open(path: &Path) -> Result<Connection> {
    // No mutex: a connection is used by one thread at a time.  No URI: a path is a path.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| {
        Error::Config(format!("the database {} cannot be opened: {error}", path.display()))
    })?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Gives a connection the properties that the catalog relies on.
///
/// Write-ahead log: readers and a writer do not wait for each other.  It stays a property of the
/// file, and the real Glance works with it.  Full synchronisation: a commit survives a power cut.
pub(super) fn configure(connection: &Connection, path: &Path) -> Result<()> {
    let mode = use_write_ahead_log(connection)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::Config(format!(
            "the database {} cannot use a write-ahead log (its journal mode stays '{mode}'): \
             put it on a local file system",
            path.display()
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Returns the journal mode that the file has now.
///
/// To turn the log on, SQLite needs the file to itself and does not wait for that as it waits for
/// other locks: two processes that open a new file at once would fail each other.
fn use_write_ahead_log(connection: &Connection) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mode =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0));
        match mode {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// Connections that are lent to one caller at a time.  The lock is held only to take or give back.
pub(super) struct Pool {
    idle: Mutex<Vec<Connection>>,
    returned: Condvar,
    patience: Duration,
}

impl Pool {
    /// A pool of these connections.
    pub(super) fn new(connections: Vec<Connection>, patience: Duration) -> Self {
        Self { idle: Mutex::new(connections), returned: Condvar::new(), patience }
    }

    /// Lends a connection to `work`, waiting for one until the deadline.
    ///
    /// # Errors
    /// `Catalog("… busy …")` when none came back in time.
    pub(super) fn lend<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.patience;
        let mut idle = self.idle.lock();
        while idle.is_empty() {
            if self.returned.wait_until(&mut idle, deadline).timed_out() {
                break;
            }
        }
        let taken = idle.pop();
        drop(idle);
        match taken {
            Some(connection) => Loan { pool: self, connection: Some(connection) }.run(work),
            None => Err(Error::Catalog(format!(
                "the database is busy: no connection was free within {:?}",
                self.patience
            ))),
        }
    }

    /// Lends a connection if one is free now; `None` otherwise.
    pub(super) fn try_lend<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T>,
    ) -> Option<Result<T>> {
        let connection = self.idle.lock().pop()?;
        Some(Loan { pool: self, connection: Some(connection) }.run(work))
    }
}

/// Gives the connection back, even when the borrower panics.
struct Loan<'p> {
    pool: &'p Pool,
    /// There until the loan is dropped.
    connection: Option<Connection>,
}

impl Loan<'_> {
    fn run<T>(mut self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        match &mut self.connection {
            Some(connection) => work(connection),
            None => Err(Error::Catalog("a connection was lent twice".to_string())),
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.idle.lock().push(connection);
            self.pool.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool_of_one(patience: Duration) -> Pool {
        Pool::new(vec![Connection::open_in_memory().unwrap()], patience)
    }

    #[test]
    fn waiting_for_a_lent_connection_ends_at_the_deadline() {
        let pool = pool_of_one(Duration::from_millis(10));
        let nested = pool.lend(|_| {
            assert!(pool.try_lend(|_| Ok(())).is_none());
            pool.lend(|_| Ok(()))
        });
        assert!(matches!(nested, Err(Error::Catalog(why)) if why.contains("busy")));
        pool.lend(|_| Ok(())).unwrap();
    }

    #[test]
    fn a_connection_comes_back_from_a_borrower_that_panics() {
        let pool = pool_of_one(Duration::from_millis(10));
        let borrower = std::panic::AssertUnwindSafe(|| pool.lend(|_| -> Result<()> { panic!() }));
        assert!(std::panic::catch_unwind(borrower).is_err());
        pool.lend(|_| Ok(())).unwrap();
    }
}
