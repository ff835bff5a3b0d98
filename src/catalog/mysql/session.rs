//! One transaction: statements, the values bound to them, and the rows that come back.

use mysql::prelude::Queryable;
use mysql::{Conn, Params, Value};

use super::failure::{Failure, Outcome};
use super::values::Cells;

/// A connection within a transaction.  Statements are prepared once on each connection.
pub(super) struct Session<'c> {
    connection: &'c mut Conn,
}

impl<'c> Session<'c> {
    pub(super) fn new(connection: &'c mut Conn) -> Self {
        Self { connection }
    }

    /// Runs a statement without values or rows.
    pub(super) fn run(&mut self, sql: &str) -> Outcome<()> {
        Ok(self.connection.query_drop(sql)?)
    }

    /// Writes; returns how many rows were matched, whether they were altered by it or not.
    pub(super) fn execute(&mut self, sql: &str, values: Vec<Value>) -> Outcome<u64> {
        self.connection.exec_drop(sql, bound(values))?;
        Ok(self.connection.affected_rows())
    }

    /// The number that the last row written was given.
    pub(super) fn last_id(&self) -> u64 {
        self.connection.last_insert_id()
    }

    /// Shows each row as it comes.
    pub(super) fn each(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        mut show: impl FnMut(Cells) -> Outcome<()>,
    ) -> Outcome<()> {
        for row in self.connection.exec_iter(sql, bound(values))? {
            show(Cells::new(row?))?;
        }
        Ok(())
    }

    /// All rows.
    pub(super) fn all<T, E: Into<Failure>>(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        read: impl Fn(&mut Cells) -> Result<T, E>,
    ) -> Outcome<Vec<T>> {
        let mut found = Vec::new();
        self.each(sql, values, |mut cells| {
            found.push(read(&mut cells).map_err(Into::into)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The first row.
    pub(super) fn first<T, E: Into<Failure>>(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        read: impl Fn(&mut Cells) -> Result<T, E>,
    ) -> Outcome<Option<T>> {
        Ok(self.all(sql, values, read)?.into_iter().next())
    }

    /// Whether there is any row.
    pub(super) fn exists(&mut self, sql: &str, values: Vec<Value>) -> Outcome<bool> {
        Ok(self.first(sql, values, |_| Ok::<_, Failure>(()))?.is_some())
    }
}

fn bound(values: Vec<Value>) -> Params {
    if values.is_empty() { Params::Empty } else { Params::Positional(values) }
}
