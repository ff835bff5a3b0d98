//! The database's tables and the version they are at: Glance's own, kept by its migration tool.
//!
//! Makes a new database and recognises an existing one, of Glance's Rocky release at the earliest:
//! since then columns and tables were added and nothing else, so that what is there can be read and
//! written as it is.  Upgrading is left to `glance-manage`, which knows how.

use super::failure::{Failure, Outcome};
use super::server::Server;
use super::session::Session;
use super::values::Bound;
use crate::catalog::versions::{OLDER, VERSION};
use crate::error::{Error, Result};

/// The earliest version whose `images` has every column that is used here.
const EARLIEST: &str = "rocky_expand02";

const TABLES: &str = include_str!("schema.sql");

/// What a database holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing yet, or what a broken-off creation left: tables, and none of them versioned.
    Empty,
    /// Tables without a version: made by something else, or by a Glance before Ocata.
    Unversioned,
    /// Glance's tables; more than one version while `glance-manage` is between two of them.
    Versions(Vec<String>),
}

/// Looks at what is there, without changing it.
pub(super) fn content(session: &mut Session<'_>) -> Outcome<Content> {
    let tables: Vec<String> = session.all(
        "SELECT table_name AS t FROM information_schema.tables WHERE table_schema = DATABASE()",
        Vec::new(),
        |cells| cells.next(),
    )?;
    if tables.is_empty() {
        return Ok(Content::Empty);
    }
    if !tables.iter().any(|name| name == "alembic_version") {
        return Ok(Content::Unversioned);
    }
    let versions: Vec<String> =
        session.all("SELECT version_num FROM alembic_version ORDER BY 1", Vec::new(), |cells| {
            cells.next()
        })?;
    // That table is the first to be made and the last to be filled, by Glance too.
    Ok(if versions.is_empty() { Content::Empty } else { Content::Versions(versions) })
}

/// Makes the tables that are not there.  May be done by several at once, and again after it was
/// broken off: the server has no transactions around tables.
pub(super) fn create(session: &mut Session<'_>) -> Outcome<()> {
    for statement in TABLES.split_inclusive(";\n") {
        session.run(statement.trim().trim_end_matches(';'))?;
    }
    session.execute(
        "INSERT INTO alembic_version (version_num) VALUES (?) \
         ON DUPLICATE KEY UPDATE version_num = version_num",
        vec![VERSION.bound()],
    )?;
    session.run("COMMIT")
}

/// What older versions lack, and how to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schema {
    /// `tasks` says for which image, by which request and for whom (Wallaby).
    pub(super) tasks_name_images: bool,
}

/// Refuses everything but a database that this program can work with.
///
/// # Errors
/// `Config`: which version was found, which is needed, and what to do.
pub(super) fn require_usable(
    session: &mut Session<'_>,
    content: &Content,
    server: &Server,
) -> Outcome<Schema> {
    match content {
        Content::Versions(versions) => recognise(versions, server)?,
        Content::Unversioned => {
            return Err(Failure::Domain(Error::Config(format!(
                "the database {server} holds tables but no version of Glance's (table \
                 alembic_version), so it is of another program or of a Glance before Ocata: name \
                 another database, or upgrade this one with Glance"
            ))));
        }
        Content::Empty => {
            return Err(Failure::Domain(Error::Config(format!("the database {server} is empty"))));
        }
    }
    let sql = "SELECT 1 FROM information_schema.columns WHERE table_schema = DATABASE() \
         AND table_name = ? AND column_name = ?";
    let mut has =
        |table: &str, column: &str| session.exists(sql, vec![table.bound(), column.bound()]);
    // A version row may be wrong: a creation that was broken off upon an older database.
    if !has("images", "os_hash_value")? {
        return Err(Failure::Domain(Error::Config(format!(
            "the database {server} lacks the column images.os_hash_value, although its version is \
             not older than {EARLIEST}: repair it with glance-manage"
        ))));
    }
    Ok(Schema { tasks_name_images: has("tasks", "user_id")? })
}

fn recognise(versions: &[String], server: &Server) -> Result<()> {
    let found = versions.join(", ");
    let age = |version: &String| {
        let older = OLDER.iter().position(|known| known == version);
        older.or((version == VERSION).then_some(OLDER.len()))
    };
    let Some(ages) = versions.iter().map(age).collect::<Option<Vec<_>>>() else {
        return Err(Error::Config(format!(
            "the database {server} is at version {found}, which this glancefs does not know; it \
             knows those up to {VERSION}: use a newer glancefs"
        )));
    };
    let earliest = OLDER.iter().position(|known| *known == EARLIEST);
    if ages.iter().copied().max() < earliest {
        return Err(Error::Config(format!(
            "the database {server} is at version {found}, older than Glance's Rocky release \
             ({EARLIEST}), which is needed at least: run 'glance-manage db sync'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(versions: &[&str]) -> Result<(), String> {
        let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
        recognise(&versions, &Server::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_release_from_rocky_on_is_recognised() {
        for version in ["rocky_contract02", "train_contract01", "2023_1_contract01", VERSION] {
            assert_eq!(recognised(&[version]), Ok(()));
        }
        // An upgrade that is under way only adds to it.
        assert_eq!(recognised(&["2023_1_contract01", "2024_1_expand01"]), Ok(()));
    }

    #[test]
    fn a_refusal_says_what_was_found_and_what_to_do() {
        let older = recognised(&["queens_contract01"]).unwrap_err();
        assert!(older.contains("queens_contract01") && older.contains("glance-manage db sync"));
        let newer = recognised(&[VERSION, "2031_1_expand01"]).unwrap_err();
        assert!(newer.contains("2031_1_expand01") && newer.contains("newer glancefs"));
    }
}
