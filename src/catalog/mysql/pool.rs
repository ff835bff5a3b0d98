//! Connections to the server: how one is made, and the pool that they are lent from.

use std::time::{Duration, Instant};

use mysql::consts::CapabilityFlags;
use mysql::prelude::Queryable;
use mysql::{Conn, Opts, OptsBuilder};
use parking_lot::{Condvar, Mutex};

use super::failure::{Failure, Outcome};
use super::server::Server;
use crate::error::{Error, Result};

/// Statements kept ready on each connection; there are about 80, and as many shapes of a listing
/// as users think of.
const STATEMENTS: usize = 256;

/// How long unacknowledged bytes may be on their way before a connection counts as lost: an address
/// that moved to another machine is noticed by that.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// What each connection is told first.
///
/// A transaction begins by itself and is ended by us: that saves asking for its begin.  One state of
/// the database for all statements of a transaction, which is the servers' default but may be set
/// otherwise.  Values that do not fit are refused and not cut (oslo.db: the same mode).
/// A lock of somebody else is waited for no longer than a caller would; the change is tried again.
const INIT: &[&str] = &[
    "SET SESSION autocommit = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION sql_mode = 'TRADITIONAL'",
    "SET SESSION innodb_lock_wait_timeout = 5",
    "SET SESSION lock_wait_timeout = 30",
];

fn options(server: &Server) -> Opts {
    let mut init: Vec<String> = INIT.iter().map(ToString::to_string).collect();
    if let Some(kinds) = server.wsrep_sync_wait {
        init.push(format!("SET SESSION wsrep_sync_wait = {kinds}"));
    }
    let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    OptsBuilder::new()
        .ip_or_hostname(Some(server.host.clone()))
        .tcp_port(server.port)
        .socket(server.socket.clone())
        // A connection is what was asked for, not a socket that the server happens to name.
        .prefer_socket(false)
        .user(Some(server.user.clone()))
        .pass(server.password.as_ref().map(|password| password.reveal().to_string()))
        .db_name(Some(server.database.clone()))
        .ssl_opts(server.tls.as_ref().map(super::server::Tls::options))
        .tcp_connect_timeout(Some(server.connect_timeout))
        .read_timeout(Some(server.answer_timeout))
        .write_timeout(Some(server.answer_timeout))
        .tcp_keepalive_time_ms(Some(millis(UNACKNOWLEDGED)))
        .tcp_user_timeout_ms(Some(millis(UNACKNOWLEDGED)))
        // An update tells whether there is such a record, not whether it was another before.
        .additional_capabilities(CapabilityFlags::CLIENT_FOUND_ROWS)
        .stmt_cache_size(STATEMENTS)
        .init(init)
        .into()
}

fn connect(options: &Opts) -> mysql::Result<Conn> {
    let mut connection = Conn::new(options.clone())?;
    // MySQL from 8 on (MariaDB counts from 10) answers questions about tables with what was true
    // yesterday, unless told otherwise.
    if (8..10).contains(&connection.server_version().0) {
        connection.query_drop("SET SESSION information_schema_stats_expiry = 0")?;
    }
    // What is asked for by many ids is found by its index without trying each id first.  Servers of
    // before 2018 do not know this.
    let _ = connection.query_drop("SET SESSION eq_range_index_dive_limit = 2");
    Ok(connection)
}

/// Connections that are lent to one caller at a time: `max_pool_size` are kept, `max_overflow` more
/// are made when those are all lent.  The lock is held only to take or give back.
pub(super) struct Pool {
    options: Opts,
    /// Connections kept for the next caller.
    kept: usize,
    /// Connections at once.
    limit: usize,
    recycle: Option<Duration>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Pooled>,
    /// Connections there are, idle or lent.
    open: usize,
}

struct Pooled {
    connection: Conn,
    made: Instant,
}

impl Pool {
    /// A pool without a connection yet.
    pub(super) fn new(server: &Server) -> Self {
        Self {
            options: options(server),
            kept: server.max_pool_size,
            limit: server.max_pool_size + server.max_overflow,
            recycle: server.recycle,
            state: Mutex::default(),
            returned: Condvar::new(),
        }
    }

    /// Lends a connection to `work`, waiting for one until the deadline.
    ///
    /// # Errors
    /// `CatalogUnavailable` when none came back in time; what connecting says; and what `work`
    /// does.
    pub(super) fn lend<T>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut Conn) -> Outcome<T>,
    ) -> Outcome<T> {
        let pooled = self.take(deadline)?;
        let mut loan = Loan { pool: self, pooled: Some(pooled), sound: false };
        let outcome = match &mut loan.pooled {
            Some(pooled) => work(&mut pooled.connection),
            None => Err(Error::Catalog("a connection was lent twice".to_string()).into()),
        };
        match &outcome {
            Err(failure) if failure.is_lost() => self.forget_idle(),
            _ => loan.sound = true,
        }
        outcome
    }

    fn take(&self, deadline: Instant) -> Outcome<Pooled> {
        let mut state = self.state.lock();
        loop {
            while let Some(pooled) = state.idle.pop() {
                if self.recycle.is_none_or(|age| pooled.made.elapsed() < age) {
                    return Ok(pooled);
                }
                state.open -= 1;
                // Ending a connection talks to the server.
                parking_lot::MutexGuard::unlocked(&mut state, || drop(pooled));
            }
            if state.open < self.limit {
                state.open += 1;
                break;
            }
            if self.returned.wait_until(&mut state, deadline).timed_out() {
                return Err(Error::CatalogUnavailable(format!(
                    "the database is busy: all {} connections (max_pool_size + max_overflow) \
                     were in use",
                    self.limit
                ))
                .into());
            }
        }
        drop(state);
        match connect(&self.options) {
            Ok(connection) => Ok(Pooled { connection, made: Instant::now() }),
            Err(error) => {
                self.closed();
                Err(Failure::Server(error))
            }
        }
    }

    /// Whoever lost one connection has most likely lost all: the others are as old.
    fn forget_idle(&self) {
        let mut state = self.state.lock();
        let stale = std::mem::take(&mut state.idle);
        state.open -= stale.len();
        drop(state);
        self.returned.notify_all();
        drop(stale);
    }

    fn closed(&self) {
        self.state.lock().open -= 1;
        self.returned.notify_one();
    }

    fn give_back(&self, pooled: Pooled) {
        let mut state = self.state.lock();
        if state.idle.len() < self.kept {
            state.idle.push(pooled);
        } else {
            state.open -= 1;
            parking_lot::MutexGuard::unlocked(&mut state, || drop(pooled));
        }
        drop(state);
        self.returned.notify_one();
    }
}

/// Gives the connection back, or ends it when it may be in the middle of something: after a loss,
/// and when the borrower panics.
struct Loan<'p> {
    pool: &'p Pool,
    /// There until the loan is dropped.
    pooled: Option<Pooled>,
    sound: bool,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        match self.pooled.take() {
            Some(pooled) if self.sound => self.pool.give_back(pooled),
            Some(_) => self.pool.closed(),
            None => {}
        }
    }
}

/// Makes sure that the server is there and lets us in, waiting for it as `max_retries` and
/// `retry_interval` say.
///
/// # Errors
/// `Config`: it does not let us in; or it was not there in time.
pub(super) fn await_server(pool: &Pool, server: &Server) -> Result<()> {
    let mut tries = 0;
    loop {
        let patience = Instant::now() + server.connect_timeout;
        let failure = match pool.lend(patience, |_| Ok(())) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        let more = server.max_retries.is_none_or(|most| tries < most);
        let for_ever = failure.is_for_ever();
        let why = failure.into_error();
        if for_ever || !more {
            return Err(Error::Config(format!("the database {server} cannot be opened: {why}")));
        }
        tries += 1;
        tracing::warn!(%why, "the database {server} does not answer; trying again");
        std::thread::sleep(server.retry_interval);
    }
}
