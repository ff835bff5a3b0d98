//! Deleted images whose data is still there, in the database.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::values::Unsigned;
use super::{SqliteCatalog, write};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{ImageId, Status, Timestamp};
use crate::catalog::pending::{OWN_PROPERTIES, Pending, PendingCatalog, PendingQuery};
use crate::error::Result;

const COLUMNS: &str = "id, name, size, deleted_at";

/// What all of them have in common.
const WAITS: &str = "deleted = 1 AND status = 'pending_delete' AND deleted_at IS NOT NULL";

impl PendingCatalog for SqliteCatalog {
    fn delete_later(&self, id: ImageId, from: &[Status]) -> Result<bool> {
        let (to, now) = (Status::PendingDelete, Timestamp::now());
        self.write(|transaction| write::delete(transaction, id, from, to, now))
    }

    fn pending(&self, query: &PendingQuery) -> Result<Vec<Pending>> {
        self.read(|transaction| list(transaction, query))
    }

    fn pending_image(&self, id: ImageId) -> Result<Option<(Pending, Vec<String>)>> {
        self.read(|transaction| {
            let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?1 AND {WAITS}");
            let found = transaction.prepare_cached(&sql)?.query_row([id], read).optional()?;
            let Some(image) = found else { return Ok(None) };
            let places = places(transaction, id, self.location_key())?;
            Ok(Some((image, places.into_iter().map(|(_, url)| url).collect())))
        })
    }

    fn pending_count(&self) -> Result<u64> {
        self.read(|transaction| {
            let sql = format!("SELECT count(*) FROM images WHERE {WAITS}");
            let count = transaction.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
            let Unsigned(count) = count;
            Ok(count)
        })
    }

    fn end_pending(&self, image: &Pending) -> Result<bool> {
        self.write(|transaction| end(transaction, image, Timestamp::now()))
    }

    fn restore(&self, image: &Pending, urls: &[String]) -> Result<bool> {
        let key = self.location_key();
        self.write(|transaction| restore(transaction, image, urls, key, Timestamp::now()))
    }

    fn is_deleted(&self, id: ImageId) -> Result<bool> {
        self.read(|transaction| {
            let sql = "SELECT EXISTS (SELECT 1 FROM images \
                 WHERE id = ?1 AND deleted = 1 AND status = 'deleted')";
            Ok(transaction.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pending> {
    Ok(Pending {
        id: row.get(0)?,
        name: row.get(1)?,
        size: row.get::<_, Option<Unsigned>>(2)?.map(|size| size.0),
        deleted_at: row.get(3)?,
    })
}

fn list(connection: &Connection, query: &PendingQuery) -> Result<Vec<Pending>> {
    // Nothing comes before the first: no time is earlier, as text, than an empty one.
    let (time, id) = query
        .after
        .map_or_else(Default::default, |(time, id)| (time.to_database(), id.to_string()));
    let sql = format!(
        "SELECT {COLUMNS} FROM images WHERE {WAITS} AND deleted_at <= ?1 \
         AND (deleted_at, id) > (?2, ?3) ORDER BY deleted_at, id LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params![query.until, time, id, query.limit], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Where data of the image waits: the rows' numbers and URLs.
fn places(
    connection: &Connection,
    id: ImageId,
    key: Option<&LocationKey>,
) -> Result<Vec<(i64, String)>> {
    let sql = "SELECT id, value FROM image_locations \
         WHERE image_id = ?1 AND status = 'pending_delete' ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_and_then([id], |row| Ok((row.get(0)?, LocationKey::read(key, row.get(1)?)?)))?;
    found.collect()
}

fn end(connection: &Connection, image: &Pending, now: Timestamp) -> Result<bool> {
    let sql = format!(
        "UPDATE images SET status = 'deleted', updated_at = ?3 \
         WHERE id = ?1 AND deleted_at = ?2 AND {WAITS}"
    );
    let matched =
        connection.prepare_cached(&sql)?.execute(params![image.id, image.deleted_at, now])?;
    if matched > 0 {
        let sql = "UPDATE image_locations SET status = 'deleted', deleted = 1, deleted_at = ?2, \
             updated_at = ?2 WHERE image_id = ?1 AND status = 'pending_delete'";
        connection.prepare_cached(sql)?.execute(params![image.id, now])?;
    }
    Ok(matched > 0)
}

fn restore(
    connection: &Connection,
    image: &Pending,
    urls: &[String],
    key: Option<&LocationKey>,
    now: Timestamp,
) -> Result<bool> {
    let sql = format!(
        "UPDATE images SET status = 'active', deleted = 0, deleted_at = NULL, updated_at = ?3 \
         WHERE id = ?1 AND deleted_at = ?2 AND {WAITS}"
    );
    let matched =
        connection.prepare_cached(&sql)?.execute(params![image.id, image.deleted_at, now])?;
    if matched == 0 {
        return Ok(false);
    }
    restore_belongings(connection, image, now)?;
    for (row, url) in places(connection, image.id, key)? {
        let there = urls.contains(&url);
        let status = if there { "active" } else { "deleted" };
        let sql = "UPDATE image_locations SET status = ?2, deleted = ?3, deleted_at = ?4, \
             updated_at = ?5 WHERE id = ?1";
        let gone_at = (!there).then_some(now);
        connection.prepare_cached(sql)?.execute(params![row, status, !there, gone_at, now])?;
    }
    Ok(true)
}

/// What went with the image comes back with it.  Glance marks the locations first, then the rest; we
/// do it all at once: what was taken from the image before has an earlier stamp than its last
/// location.
fn restore_belongings(connection: &Connection, image: &Pending, now: Timestamp) -> Result<()> {
    let sql = "SELECT max(deleted_at) FROM image_locations \
         WHERE image_id = ?1 AND status = 'pending_delete'";
    let since: Option<Timestamp> =
        connection.prepare_cached(sql)?.query_row([image.id], |row| row.get(0))?;
    let since = since.unwrap_or(image.deleted_at);
    let sql = "UPDATE image_properties SET deleted = 0, deleted_at = NULL, updated_at = ?3 \
         WHERE image_id = ?1 AND deleted = 1 AND deleted_at >= ?2 AND substr(name, 1, 10) != ?4";
    connection.prepare_cached(sql)?.execute(params![image.id, since, now, OWN_PROPERTIES])?;
    for table in ["image_tags", "image_members"] {
        let sql = format!(
            "UPDATE {table} SET deleted = 0, deleted_at = NULL, updated_at = ?3 \
             WHERE image_id = ?1 AND deleted = 1 AND deleted_at >= ?2"
        );
        connection.prepare_cached(&sql)?.execute(params![image.id, since, now])?;
    }
    Ok(())
}
