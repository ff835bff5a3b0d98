//! Deleted images whose data is still there, in the database.

use mysql::Value;

use super::failure::Outcome;
use super::session::Session;
use super::values::{Bound, Cells};
use super::{MysqlCatalog, write};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{ImageId, Status, Timestamp};
use crate::catalog::pending::{OWN_PROPERTIES, Pending, PendingCatalog, PendingQuery};
use crate::error::{Error, Result};

const COLUMNS: &str = "id, name, size, deleted_at";

/// What all of them have in common.
const WAITS: &str = "deleted = 1 AND status = 'pending_delete' AND deleted_at IS NOT NULL";

impl PendingCatalog for MysqlCatalog {
    fn delete_later(&self, id: ImageId, from: &[Status]) -> Result<bool> {
        let (to, now) = (Status::PendingDelete, Timestamp::now());
        self.write(|session| write::delete(session, id, from, to, now))
    }

    fn pending(&self, query: &PendingQuery) -> Result<Vec<Pending>> {
        self.read(|session| list(session, query))
    }

    fn pending_image(&self, id: ImageId) -> Result<Option<(Pending, Vec<String>)>> {
        self.read(|session| {
            let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ? AND {WAITS}");
            let Some(image) = session.first(&sql, vec![id.bound()], read)? else {
                return Ok(None);
            };
            let places = places(session, id, "", self.location_key())?;
            Ok(Some((image, places.into_iter().map(|(_, url)| url).collect())))
        })
    }

    fn pending_count(&self) -> Result<u64> {
        self.read(|session| {
            let sql = format!("SELECT COUNT(*) FROM images WHERE {WAITS}");
            Ok(session.first(&sql, Vec::new(), |cells| cells.next())?.unwrap_or(0))
        })
    }

    fn end_pending(&self, image: &Pending) -> Result<bool> {
        self.write(|session| end(session, image, Timestamp::now()))
    }

    fn restore(&self, image: &Pending, urls: &[String]) -> Result<bool> {
        let key = self.location_key();
        self.write(|session| restore(session, image, urls, key, Timestamp::now()))
    }

    fn is_deleted(&self, id: ImageId) -> Result<bool> {
        let sql = "SELECT 1 FROM images WHERE id = ? AND deleted = 1 AND status = 'deleted'";
        self.read(|session| session.exists(sql, vec![id.bound()]))
    }
}

/// A time that is compared with what was read: some have made the columns keep more than seconds.
fn exact(time: Timestamp) -> Value {
    time.to_database().bound()
}

fn read(cells: &mut Cells) -> Result<Pending> {
    Ok(Pending {
        id: cells.next()?,
        name: cells.next()?,
        size: cells.next()?,
        deleted_at: cells.next()?,
    })
}

fn list(session: &mut Session<'_>, query: &PendingQuery) -> Outcome<Vec<Pending>> {
    let mut sql = format!("SELECT {COLUMNS} FROM images WHERE {WAITS} AND deleted_at <= ?");
    let mut values = vec![exact(query.until)];
    if let Some((time, id)) = query.after {
        sql.push_str(" AND (deleted_at > ? OR (deleted_at = ? AND id > ?))");
        values.extend([exact(time), exact(time), id.bound()]);
    }
    sql.push_str(&format!(" ORDER BY deleted_at, id LIMIT {}", query.limit));
    session.all(&sql, values, read)
}

/// Where data of the image waits: the rows' numbers and URLs.
fn places(
    session: &mut Session<'_>,
    id: ImageId,
    lock: &str,
    key: Option<&LocationKey>,
) -> Outcome<Vec<(i64, String)>> {
    let sql = format!(
        "SELECT id, value FROM image_locations \
         WHERE image_id = ? AND status = 'pending_delete' ORDER BY id {lock}"
    );
    session.all(&sql, vec![id.bound()], |cells: &mut Cells| {
        let row = cells.next()?;
        Ok::<_, Error>((row, LocationKey::read(key, cells.next()?)?))
    })
}

fn end(session: &mut Session<'_>, image: &Pending, now: Timestamp) -> Outcome<bool> {
    let sql = format!(
        "UPDATE images SET status = 'deleted', updated_at = ? \
         WHERE id = ? AND deleted_at = ? AND {WAITS}"
    );
    let values = vec![now.bound(), image.id.bound(), exact(image.deleted_at)];
    let matched = session.execute(&sql, values)? > 0;
    if matched {
        let sql = "UPDATE image_locations SET status = 'deleted', deleted = 1, deleted_at = ?, \
             updated_at = ? WHERE image_id = ? AND status = 'pending_delete'";
        session.execute(sql, vec![now.bound(), now.bound(), image.id.bound()])?;
    }
    Ok(matched)
}

fn restore(
    session: &mut Session<'_>,
    image: &Pending,
    urls: &[String],
    key: Option<&LocationKey>,
    now: Timestamp,
) -> Outcome<bool> {
    let sql = format!(
        "UPDATE images SET status = 'active', deleted = 0, deleted_at = NULL, updated_at = ? \
         WHERE id = ? AND deleted_at = ? AND {WAITS}"
    );
    let values = vec![now.bound(), image.id.bound(), exact(image.deleted_at)];
    if session.execute(&sql, values)? == 0 {
        return Ok(false);
    }
    restore_belongings(session, image, now)?;
    for (row, url) in places(session, image.id, "FOR UPDATE", key)? {
        let there = urls.contains(&url);
        let status = if there { "active" } else { "deleted" };
        let gone_at = (!there).then_some(now);
        session.execute(
            "UPDATE image_locations SET status = ?, deleted = ?, deleted_at = ?, updated_at = ? \
             WHERE id = ?",
            vec![status.bound(), (!there).bound(), gone_at.bound(), now.bound(), row.bound()],
        )?;
    }
    Ok(true)
}

/// What went with the image comes back with it.  Glance marks the locations first, then the rest; we
/// do it all at once: what was taken from the image before has an earlier stamp than its last
/// location (or the same, within a second, which is all that is kept here).
fn restore_belongings(session: &mut Session<'_>, image: &Pending, now: Timestamp) -> Outcome<()> {
    let sql = "SELECT MAX(deleted_at) FROM image_locations \
         WHERE image_id = ? AND status = 'pending_delete' FOR UPDATE";
    let since: Option<Option<Timestamp>> =
        session.first(sql, vec![image.id.bound()], |cells| cells.next())?;
    let since = since.flatten().unwrap_or(image.deleted_at);
    for (table, but) in [
        ("image_properties", " AND SUBSTR(name, 1, 10) != ?"),
        ("image_tags", ""),
        ("image_members", ""),
    ] {
        let sql = format!(
            "UPDATE {table} SET deleted = 0, deleted_at = NULL, updated_at = ? \
             WHERE image_id = ? AND deleted + 0 = 1 AND deleted_at >= ?{but}"
        );
        let mut values = vec![now.bound(), image.id.bound(), exact(since)];
        values.extend((!but.is_empty()).then(|| OWN_PROPERTIES.bound()));
        session.execute(&sql, values)?;
    }
    Ok(())
}
