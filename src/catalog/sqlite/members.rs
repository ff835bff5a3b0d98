//! Members of images in the database.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, Error as SqlError, ErrorCode, params};

use crate::catalog::model::{ImageId, Member, MemberStatus, Timestamp};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// The members of an image, in the order in which they were added.
pub(super) fn all(connection: &Connection, image: ImageId) -> Result<Vec<Member>> {
    let sql = "SELECT member, status, created_at, updated_at FROM image_members \
         WHERE image_id = ?1 AND +deleted = 0 ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let members = statement.query_map([image], |row| {
        let created_at = row.get(2)?;
        Ok(Member {
            project: row.get(0)?,
            status: row.get(1)?,
            created_at,
            updated_at: row.get::<_, Option<_>>(3)?.unwrap_or(created_at),
        })
    })?;
    Ok(members.collect::<Result<_, _>>()?)
}

/// A number for each image that has members, which moves with them.
pub(super) fn sharings(connection: &Connection) -> Result<HashMap<ImageId, u64>> {
    // With the stamp, so that who was taken away and told again since the last look is a change.
    let sql = "SELECT image_id, member, status, updated_at FROM image_members WHERE deleted = 0";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut sharings: HashMap<ImageId, u64> = HashMap::new();
    while let Some(row) = rows.next()? {
        let image = row.get(0)?;
        let mut hash = DefaultHasher::new();
        for column in 1..=3 {
            row.get::<_, Option<String>>(column)?.hash(&mut hash);
        }
        *sharings.entry(image).or_default() ^= hash.finish();
    }
    Ok(sharings)
}

/// Adds a member that is not there yet.
pub(super) fn add(connection: &Connection, image: ImageId, member: &Member) -> Result<()> {
    let Member { project, status, created_at, updated_at } = member;
    let duplicated =
        || Error::Conflict(format!("Member {project} is duplicated for image {image}"));
    // The table's own constraint takes no two rows that are not deleted for the same.
    if super::read::is_member(connection, image, project)? {
        return Err(duplicated());
    }
    let sql = "INSERT INTO image_members \
         (image_id, member, can_share, status, created_at, updated_at, deleted) \
         SELECT id, ?2, 0, ?3, ?4, ?5, 0 FROM images WHERE id = ?1 AND +deleted = 0";
    let values = params![image, project, status.as_str(), created_at, updated_at];
    match connection.prepare_cached(sql)?.execute(values) {
        Ok(1) => Ok(()),
        Ok(_) => Err(Error::no_image(image)),
        Err(SqlError::SqliteFailure(failure, _))
            if failure.code == ErrorCode::ConstraintViolation =>
        {
            Err(duplicated())
        }
        Err(error) => Err(error.into()),
    }
}

/// Notes what a member makes of an image.  `false`: it is no member.
pub(super) fn set_status(
    connection: &Connection,
    image: ImageId,
    project: &ProjectId,
    status: MemberStatus,
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE image_members SET status = ?3, updated_at = ?4 \
         WHERE image_id = ?1 AND member = ?2 AND +deleted = 0";
    let values = params![image, project, status.as_str(), now];
    Ok(connection.prepare_cached(sql)?.execute(values)? > 0)
}

/// Marks a member deleted.  `false`: it was none.
pub(super) fn remove(
    connection: &Connection,
    image: ImageId,
    project: &ProjectId,
    now: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE image_members SET deleted = 1, deleted_at = ?3, updated_at = ?3 \
         WHERE image_id = ?1 AND member = ?2 AND +deleted = 0";
    Ok(connection.prepare_cached(sql)?.execute(params![image, project, now])? > 0)
}
