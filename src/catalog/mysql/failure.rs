//! What can go wrong while talking to the server, and which of it is worth another try.

use mysql::{DriverError, Error as SqlError};

use crate::error::Error;

/// The result of everything that is done within a transaction.
pub type Outcome<T> = Result<T, Failure>;

/// Why something was not done.
#[derive(Debug)]
pub enum Failure {
    /// The server refused, or was not reached.
    Server(SqlError),
    /// The catalog's own reason.
    Domain(Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Server(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Domain(error)
    }
}

/// What the server says when somebody else's transaction went first, ours was undone, and it may be
/// tried again: a deadlock (by which Galera reports a failed certification, too), a lock that was
/// waited for in vain, also that of a table's next number (1467), a snapshot that is too old, a
/// statement that Galera broke off, and a table that was altered under a prepared statement.
const CONFLICTS: &[u16] = &[1213, 1205, 1020, 1317, 1412, 1467, 1615];

/// What it says when this server cannot serve now, although another one behind the same address,
/// or the same one soon, may: shutting down, too many connections, a connection that was killed, a
/// Galera node that is not in sync (1047), a server that became read-only.
const AWAY: &[u16] = &[1040, 1047, 1053, 1129, 1203, 1290, 1836, 1927];

/// A unique key is taken.
const DUPLICATES: &[u16] = &[1022, 1062, 1586];

/// A value that the column cannot hold, or be compared with: too long, out of range, or with
/// characters beyond its set.
const UNFIT: &[u16] = &[1264, 1267, 1270, 1271, 1366, 1406];

impl Failure {
    /// Whether the transaction was undone for somebody else's sake.
    pub(super) fn is_conflict(&self) -> bool {
        self.is_one_of(CONFLICTS)
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Server(error) => error.is_connectivity_error() || self.is_one_of(AWAY),
            Self::Domain(_) => false,
        }
    }

    /// Whether another try cannot help: no TLS where it is asked for, an authentication that is
    /// not known here.
    pub(super) fn is_for_ever(&self) -> bool {
        match self {
            Self::Server(SqlError::DriverError(error)) => !matches!(
                error,
                DriverError::ConnectTimeout
                    | DriverError::CouldNotConnect(_)
                    | DriverError::PacketOutOfSync
                    | DriverError::UnexpectedPacket
                    | DriverError::SetupError
                    | DriverError::Timeout
            ),
            Self::Server(SqlError::TlsError(_)) => true,
            _ => !self.is_lost(),
        }
    }

    /// Whether a unique key is taken.
    pub(super) fn is_duplicate(&self) -> bool {
        self.is_one_of(DUPLICATES)
    }

    fn is_one_of(&self, codes: &[u16]) -> bool {
        matches!(self, Self::Server(SqlError::MySqlError(error)) if codes.contains(&error.code))
    }

    /// Turns the violation of a unique key into `Conflict`.
    pub(super) fn taken(words: impl FnOnce() -> String) -> impl FnOnce(Self) -> Self {
        move |failure| match failure.is_duplicate() {
            true => Self::Domain(Error::Conflict(words())),
            false => failure,
        }
    }

    /// In the words of the domain.
    pub(super) fn into_error(self) -> Error {
        let unfit = self.is_one_of(UNFIT);
        let passing = self.is_lost() || self.is_conflict();
        match self {
            Self::Domain(error) => error,
            Self::Server(SqlError::MySqlError(error)) if unfit => {
                Error::Invalid(format!("the catalog cannot hold such a value: {}", error.message))
            }
            Self::Server(error) if passing => Error::CatalogUnavailable(error.to_string()),
            // The others' own words name a server and a port, never a password.
            Self::Server(error) => Error::Catalog(error.to_string()),
        }
    }
}
