//! How the catalog's types are written in the database, and read from it.

use std::str::FromStr;

use mysql::{Row, Value};

use super::failure::Outcome;
use crate::catalog::model::{ImageId, MemberStatus, Status, Timestamp, Visibility};
use crate::catalog::tasks::{TaskId, TaskKind, TaskStatus};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// A row whose cells are read in the order of the statement's columns.
pub(super) struct Cells {
    row: Row,
    next: usize,
}

impl Cells {
    pub(super) fn new(row: Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next cell.
    ///
    /// # Errors
    /// `Catalog` when it is not of this type.
    pub(super) fn next<T: Cell>(&mut self) -> Result<T> {
        let at = self.next;
        self.next += 1;
        let value = self.row.take(at).unwrap_or(Value::NULL);
        T::read(value).map_err(|why| {
            let name = self.row.columns_ref().get(at).map(|column| column.name_str().into_owned());
            Error::Catalog(format!("column {}: {why}", name.unwrap_or_default()))
        })
    }
}

/// What can be read from a cell; else, why not.
pub(super) trait Cell: Sized {
    fn read(value: Value) -> Result<Self, String>;
}

impl<T: Cell> Cell for Option<T> {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::NULL => Ok(None),
            value => T::read(value).map(Some),
        }
    }
}

impl Cell for Value {
    fn read(value: Value) -> Result<Self, String> {
        Ok(value)
    }
}

impl Cell for String {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::Bytes(bytes) => Self::from_utf8(bytes).map_err(|error| error.to_string()),
            Value::Int(number) => Ok(number.to_string()),
            Value::NULL => Err("is not there".to_string()),
            _ => Err("is not a text".to_string()),
        }
    }
}

impl Cell for Box<str> {
    fn read(value: Value) -> Result<Self, String> {
        String::read(value).map(String::into_boxed_str)
    }
}

impl Cell for i64 {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::Int(number) => Ok(number),
            Value::UInt(number) => Self::try_from(number).map_err(|error| error.to_string()),
            // What is summed up is a decimal number, which comes as text.
            Value::Bytes(_) => String::read(value)?.parse().map_err(|_| "is no number".to_string()),
            _ => Err("is no number".to_string()),
        }
    }
}

impl Cell for u64 {
    fn read(value: Value) -> Result<Self, String> {
        match value {
            Value::UInt(number) => Ok(number),
            value => Self::try_from(i64::read(value)?).map_err(|_| "is negative".to_string()),
        }
    }
}

impl Cell for bool {
    fn read(value: Value) -> Result<Self, String> {
        Ok(i64::read(value)? != 0)
    }
}

impl Cell for ProjectId {
    fn read(value: Value) -> Result<Self, String> {
        String::read(value).map(Self::new)
    }
}

impl Cell for Timestamp {
    fn read(value: Value) -> Result<Self, String> {
        let Value::Date(year, month, day, hour, minute, second, micros) = value else {
            return Err("is not a time".to_string());
        };
        Self::from_civil((year, month, day), (hour, minute, second), micros)
            .ok_or_else(|| "is not a time".to_string())
    }
}

macro_rules! text {
    ($($kind:ty),*) => {$(
        impl Cell for $kind {
            fn read(value: Value) -> Result<Self, String> {
                Self::from_str(&String::read(value)?).map_err(|error| error.to_string())
            }
        }
    )*};
}

text!(ImageId, MemberStatus, Status, TaskId, TaskKind, TaskStatus, Visibility);

/// What a `?` stands for.
pub(super) trait Bound {
    fn bound(self) -> Value;
}

impl Bound for &str {
    fn bound(self) -> Value {
        Value::Bytes(self.as_bytes().to_vec())
    }
}

impl Bound for &String {
    fn bound(self) -> Value {
        self.as_str().bound()
    }
}

impl Bound for String {
    fn bound(self) -> Value {
        Value::Bytes(self.into_bytes())
    }
}

impl Bound for ImageId {
    fn bound(self) -> Value {
        self.as_str().bound()
    }
}

impl Bound for TaskId {
    fn bound(self) -> Value {
        self.to_string().bound()
    }
}

impl Bound for &ProjectId {
    fn bound(self) -> Value {
        self.as_str().bound()
    }
}

impl Bound for bool {
    fn bound(self) -> Value {
        Value::Int(self.into())
    }
}

impl Bound for i64 {
    fn bound(self) -> Value {
        Value::Int(self)
    }
}

/// The whole second: that is what Glance's columns keep.  MySQL would round the rest, and put half
/// of all changes into the future.
impl Bound for Timestamp {
    fn bound(self) -> Value {
        let second = Self::from_micros(self.as_micros() - self.as_micros().rem_euclid(1_000_000));
        second.to_database().bound()
    }
}

impl<T: Bound> Bound for Option<T> {
    fn bound(self) -> Value {
        self.map_or(Value::NULL, Bound::bound)
    }
}

/// How many words one statement is given at most; the protocol counts them in 16 bits.
pub(super) const WORDS: usize = 4096;

/// The signed form of a count or a number of bytes, as the column has it.
pub(super) fn signed(number: u64) -> Outcome<Value> {
    let fits = i64::try_from(number).map(Value::Int);
    let refused = || Error::Invalid(format!("{number} is more than the catalog can record"));
    fits.map_err(|_| refused().into())
}

/// `IN (?, ?, …)` for these, and what they stand for.  The list is filled up to a power of two, so
/// that there are few statements to prepare; of none it is `IN (NULL)`, which nothing is.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = words.into_iter().map(Bound::bound).collect();
    let Some(last) = values.last().cloned() else { return ("IN (NULL)".to_string(), values) };
    values.resize(values.len().next_power_of_two(), last);
    (format!("IN (?{})", ", ?".repeat(values.len() - 1)), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_second_and_never_into_the_future() {
        let time = Timestamp::parse("2026-11-21 01:02:03.999999").unwrap();
        assert_eq!(time.bound(), "2026-11-21 01:02:03.000000".bound());
        let read = Timestamp::read(Value::Date(2026, 11, 21, 1, 2, 3, 5)).unwrap();
        assert_eq!(read, Timestamp::parse("2026-11-21 01:02:03.000005").unwrap());
        assert!(Timestamp::read(Value::Date(0, 0, 0, 0, 0, 0, 0)).is_err());
    }

    #[test]
    fn lists_have_few_lengths() {
        assert_eq!(one_of([]).0, "IN (NULL)");
        assert_eq!(one_of(["a"]), ("IN (?)".to_string(), vec!["a".bound()]));
        let (sql, values) = one_of(["a", "b", "c"]);
        assert_eq!(sql, "IN (?, ?, ?, ?)");
        assert_eq!(values, ["a", "b", "c", "c"].map(Bound::bound));
    }

    #[test]
    fn a_sum_is_read_as_a_number() {
        assert_eq!(u64::read("12".bound()), Ok(12));
        assert!(u64::read(Value::Int(-1)).is_err());
        assert!(i64::read("x".bound()).is_err());
    }
}
