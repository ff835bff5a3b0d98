//! How the catalog's types are written in the database: SQLAlchemy's conventions.

use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

use crate::catalog::model::{ImageId, MemberStatus, Status, Timestamp, Visibility};
use crate::catalog::tasks::{TaskId, TaskKind, TaskStatus};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// A word or an id: text that its own type reads and writes.
macro_rules! text {
    ($($kind:ty),*) => {$(
        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Self::from_str(value.as_str()?).map_err(FromSqlError::other)
            }
        }

        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.as_str()))
            }
        }
    )*};
}

text!(ImageId, MemberStatus, Status, TaskKind, TaskStatus, Visibility);

impl FromSql for ProjectId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::new)
    }
}

impl ToSql for ProjectId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_str()))
    }
}

impl FromSql for TaskId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

impl ToSql for TaskId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.to_string()))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        let not_a_time = || FromSqlError::other(Error::Invalid(format!("'{text}' is not a time")));
        Self::parse(text).ok_or_else(not_a_time)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.to_database()))
    }
}

/// A count or a number of bytes, which SQLite keeps with a sign.
pub(super) struct Unsigned(pub(super) u64);

impl FromSql for Unsigned {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let signed = value.as_i64()?;
        u64::try_from(signed).map(Self).map_err(|_| FromSqlError::OutOfRange(signed))
    }
}

/// The signed form of a count or a number of bytes.
pub(super) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number)
        .map_err(|_| Error::Invalid(format!("{number} is more than the catalog can record")))
}

/// Text or NULL.
pub(super) fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.to_string()))
}

/// Ids or words as one bound value: `… IN (SELECT value FROM json_each(?))` is one statement for
/// any number of them.
pub(super) fn json_array<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    serde_json::Value::from(words).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_that_a_glance_wrote() {
        let micros = |text: &str| Timestamp::parse(text).map(Timestamp::as_micros);
        let whole = 1_795_222_923_000_000;
        assert_eq!(micros("2026-11-21 01:02:03"), Some(whole));
        assert_eq!(micros("2026-11-21 01:02:03.000456"), Some(whole + 456));
        assert_eq!(micros("2026-11-21T01:02:03Z"), Some(whole));
        assert_eq!(micros("2026-11-21 03:02:03+02:00"), Some(whole));
        assert_eq!(micros("2026-11-21 01:02:61x"), None);
        let time = Timestamp::from_micros(whole + 7);
        assert_eq!(time.to_database(), "2026-11-21 01:02:03.000007");
        assert_eq!(Timestamp::parse(&time.to_database()), Some(time));
    }

    #[test]
    fn a_number_that_the_database_cannot_hold_is_refused() {
        assert_eq!(signed(5).unwrap(), 5);
        assert!(matches!(signed(u64::MAX), Err(Error::Invalid(_))));
        assert!(Unsigned::column_result(ValueRef::Integer(-1)).is_err());
    }
}
