//! The database's tables and the version they are at: Glance's own, kept by its migration tool.
//!
//! Makes a new database and recognises an existing one.  Upgrading is left to `glance-manage`,
//! which knows how.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior};

use crate::catalog::versions::{OLDER, VERSION};
use crate::error::{Error, Result};

const TABLES: &str = include_str!("schema.sql");

/// What a database file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing yet.
    Empty,
    /// Tables without a version: made by something else, or by a Glance before Ocata.
    Unversioned,
    /// Glance's tables; more than one version while `glance-manage` is between two of them.
    Versions(Vec<String>),
}

/// Looks at what is there, without changing it.
pub(super) fn content(connection: &Connection, path: &Path) -> Result<Content> {
    let not_ours = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::Config(format!(
            "{} is not an SQLite database; name another file in connection",
            path.display()
        )),
        _ => Error::from(error),
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(not_ours)?;
    if tables == 0 {
        return Ok(Content::Empty);
    }
    let versioned = connection
        .query_row("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'", [], |_| Ok(()))
        .optional()?;
    if versioned.is_none() {
        return Ok(Content::Unversioned);
    }
    let mut statement = connection.prepare("SELECT version_num FROM alembic_version ORDER BY 1")?;
    let versions = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(if versions.is_empty() { Content::Unversioned } else { Content::Versions(versions) })
}

/// Refuses everything but a database that this program can work with.
///
/// # Errors
/// `Config`: which version was found, which is needed, and what to do.
pub(super) fn require_current(content: &Content, path: &Path) -> Result<()> {
    let path = path.display();
    let versions = match content {
        Content::Empty => {
            return Err(Error::Config(format!("the database {path} is empty")));
        }
        Content::Unversioned => {
            return Err(Error::Config(format!(
                "the database {path} holds tables but no version of Glance's (table \
                 alembic_version), so it is of another program or of a Glance before Ocata; \
                 version {VERSION} is needed: name another file, or upgrade this one with Glance"
            )));
        }
        Content::Versions(versions) => versions,
    };
    let found = versions.join(", ");
    let known = |version: &String| version == VERSION || OLDER.contains(&version.as_str());
    if !versions.iter().all(known) {
        return Err(Error::Config(format!(
            "the database {path} is at version {found}, which this glancefs does not know; it \
             needs {VERSION}: use a newer glancefs"
        )));
    }
    if !versions.iter().any(|version| version == VERSION) {
        return Err(Error::Config(format!(
            "the database {path} is at version {found}, older than {VERSION}, which is needed: \
             run 'glance-manage db_sync'"
        )));
    }
    Ok(())
}

/// Makes the tables unless somebody was faster.  Returns whether it did.
pub(super) fn create(connection: &mut Connection, path: &Path) -> Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if content(&transaction, path)? != Content::Empty {
        return Ok(false);
    }
    create_tables(&transaction)?;
    transaction.commit()?;
    Ok(true)
}

fn create_tables(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO alembic_version (version_num) VALUES (?1)", [VERSION])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sqlite_master` as lines of `type|name|table|sql`, white space evened out.
    fn described(connection: &Connection) -> String {
        let mut statement = connection
            .prepare("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name")
            .unwrap();
        let lines = statement.query_map([], |row| {
            let sql = row.get::<_, Option<String>>(3)?.unwrap_or_default();
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            let [kind, name, table] = [0, 1, 2].map(|at| row.get::<_, String>(at).unwrap());
            Ok(format!("{kind}|{name}|{table}|{sql}\n"))
        });
        lines.unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_new_database_has_the_schema_of_glance_manage_db_sync() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(create(&mut connection, Path::new("new")).unwrap());
        let recorded = include_str!("../../../tests/data/glance-33-schema.txt");
        assert_eq!(described(&connection), recorded);
        let content = content(&connection, Path::new("new")).unwrap();
        assert_eq!(content, Content::Versions(vec![VERSION.to_string()]));
    }

    #[test]
    fn a_refusal_says_what_was_found_what_is_needed_and_what_to_do() {
        let refusal = |versions: &[&str]| {
            let versions = versions.iter().map(ToString::to_string).collect();
            require_current(&Content::Versions(versions), Path::new("db")).unwrap_err().to_string()
        };
        let older = refusal(&["2023_1_contract01"]);
        assert!(older.contains("2023_1_contract01") && older.contains(VERSION));
        assert!(older.contains("glance-manage db_sync"));
        let newer = refusal(&["2031_1_contract01"]);
        assert!(newer.contains("2031_1_contract01") && newer.contains("newer glancefs"));
        let upgrading = refusal(&[VERSION, "2031_1_expand01"]);
        assert!(upgrading.contains("newer glancefs"));
        let halfway = refusal(&["2023_1_contract01", "2024_1_expand01"]);
        assert!(halfway.contains("glance-manage db_sync"));
    }
}
