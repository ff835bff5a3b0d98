//! Members of images in the database.

use super::failure::{Failure, Outcome};
use super::read::is_member;
use super::session::Session;
use super::values::{Bound, Cells};
use crate::catalog::model::{ImageId, Member, MemberStatus, Timestamp};
use crate::error::Error;
use crate::identity::ProjectId;

/// The members of an image, in the order in which they were added.
pub(super) fn all(session: &mut Session<'_>, image: ImageId) -> Outcome<Vec<Member>> {
    let sql = "SELECT member, status, created_at, updated_at FROM image_members \
         WHERE image_id = ? AND deleted + 0 = 0 ORDER BY id";
    session.all(sql, vec![image.bound()], |cells: &mut Cells| {
        let (project, status, created_at) = (cells.next()?, cells.next()?, cells.next()?);
        let updated_at = cells.next::<Option<_>>()?.unwrap_or(created_at);
        Ok::<_, Error>(Member { project, status, created_at, updated_at })
    })
}

/// Adds a member that is not there yet.
pub(super) fn add(session: &mut Session<'_>, image: ImageId, member: &Member) -> Outcome<()> {
    let Member { project, status, created_at, updated_at } = member;
    let duplicated = || format!("Member {project} is duplicated for image {image}");
    // The table's own constraint takes two rows for the same that are not deleted: the lock is what
    // lets one be added at a time.
    let sql = "SELECT 1 FROM images WHERE id = ? AND deleted = 0 FOR UPDATE";
    let there = session.exists(sql, vec![image.bound()])?;
    if is_member(session, image, project)? {
        return Err(Error::Conflict(duplicated()).into());
    }
    if !there {
        return Err(Error::no_image(image).into());
    }
    let values = vec![
        image.bound(),
        project.bound(),
        status.as_str().bound(),
        created_at.bound(),
        updated_at.bound(),
    ];
    let sql = "INSERT INTO image_members \
         (image_id, member, can_share, status, created_at, updated_at, deleted) \
         VALUES (?, ?, 0, ?, ?, ?, 0)";
    session.execute(sql, values).map_err(Failure::taken(duplicated))?;
    Ok(())
}

/// Notes what a member makes of an image.  `false`: it is no member.
pub(super) fn set_status(
    session: &mut Session<'_>,
    image: ImageId,
    project: &ProjectId,
    status: MemberStatus,
    now: Timestamp,
) -> Outcome<bool> {
    let sql = "UPDATE image_members SET status = ?, updated_at = ? \
         WHERE image_id = ? AND member = ? AND deleted + 0 = 0";
    let values = vec![status.as_str().bound(), now.bound(), image.bound(), project.bound()];
    Ok(session.execute(sql, values)? > 0)
}

/// Marks a member deleted.  `false`: it was none.
pub(super) fn remove(
    session: &mut Session<'_>,
    image: ImageId,
    project: &ProjectId,
    now: Timestamp,
) -> Outcome<bool> {
    let stamp = free_stamp(session, image, now)?;
    let sql = "UPDATE image_members SET deleted = 1, deleted_at = ?, updated_at = ? \
         WHERE image_id = ? AND member = ? AND deleted + 0 = 0";
    let values = vec![stamp.bound(), now.bound(), image.bound(), project.bound()];
    Ok(session.execute(sql, values)? > 0)
}

/// Marks all members of an image deleted.
pub(super) fn remove_all(session: &mut Session<'_>, image: ImageId, now: Timestamp) -> Outcome<()> {
    let stamp = free_stamp(session, image, now)?;
    let sql = "UPDATE image_members SET deleted = 1, deleted_at = ?, updated_at = ? \
         WHERE image_id = ? AND deleted + 0 = 0";
    session.execute(sql, vec![stamp.bound(), now.bound(), image.bound()])?;
    Ok(())
}

/// When a member may be said to have gone: now, but never in the same second as one before, which
/// the table's constraint takes for the same.
fn free_stamp(session: &mut Session<'_>, image: ImageId, now: Timestamp) -> Outcome<Timestamp> {
    let sql = "SELECT MAX(deleted_at) FROM image_members WHERE image_id = ? FOR UPDATE";
    let last: Option<Option<Timestamp>> =
        session.first(sql, vec![image.bound()], |cells| cells.next())?;
    let next = last.flatten().map(|last| Timestamp::from_micros(last.as_micros() + 1_000_000));
    Ok(next.map_or(now, |next| next.max(now)))
}
