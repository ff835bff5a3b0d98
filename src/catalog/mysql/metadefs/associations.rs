//! Types of resources, and where namespaces apply.

use super::Failure;
use crate::catalog::metadefs::{Association, ResourceType};
use crate::catalog::mysql::failure::Outcome;
use crate::catalog::mysql::session::Session;
use crate::catalog::mysql::values::{Bound, Cells};
use crate::error::Error;

pub(super) fn resource_types(session: &mut Session<'_>) -> Outcome<Vec<ResourceType>> {
    let sql = "SELECT name, created_at, updated_at FROM metadef_resource_types ORDER BY id";
    session.all(sql, Vec::new(), |cells: &mut Cells| {
        let (name, created_at) = (cells.next()?, cells.next()?);
        Ok::<_, Error>(ResourceType { name, created_at, updated_at: cells.next()? })
    })
}

/// The number of a type.
pub(super) fn resource_type(session: &mut Session<'_>, name: &str) -> Outcome<Option<i64>> {
    let sql = "SELECT id FROM metadef_resource_types WHERE name = ?";
    session.first(sql, vec![name.bound()], |cells| cells.next())
}

/// The number of a type, which is recorded if it is new.  What comes from files (`seeded`) is
/// marked as part of the system.  Glance: `protected`.
fn make_resource_type(session: &mut Session<'_>, new: &Association, seeded: bool) -> Outcome<i64> {
    if let Some(id) = resource_type(session, &new.resource_type)? {
        return Ok(id);
    }
    // Somebody else may be as fast: theirs is as good.
    session.execute(
        "INSERT INTO metadef_resource_types (name, protected, created_at, updated_at) \
         VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)",
        vec![
            new.resource_type.as_str().bound(),
            seeded.bound(),
            new.created_at.bound(),
            new.updated_at.bound(),
        ],
    )?;
    Ok(session.last_id().cast_signed())
}

/// Where a namespace applies.  The rows keep no order but their time, to the second: those of one
/// second are in the order of their types.
pub(super) fn all(session: &mut Session<'_>, namespace: &str) -> Outcome<Vec<Association>> {
    let sql = "SELECT t.name, a.prefix, a.properties_target, a.created_at, a.updated_at \
         FROM metadef_namespace_resource_types AS a \
         JOIN metadef_resource_types AS t ON t.id = a.resource_type_id \
         JOIN metadef_namespaces AS n ON n.id = a.namespace_id \
         WHERE n.namespace = ? ORDER BY a.created_at, a.resource_type_id";
    session.all(sql, vec![namespace.bound()], |cells: &mut Cells| {
        Ok::<_, Error>(Association {
            resource_type: cells.next()?,
            prefix: cells.next()?,
            properties_target: cells.next()?,
            created_at: cells.next()?,
            updated_at: cells.next()?,
        })
    })
}

pub(super) fn add(
    session: &mut Session<'_>,
    namespace: i64,
    name: &str,
    new: &Association,
) -> Outcome<()> {
    let words = || {
        format!(
            "The metadata definition resource-type association of resource-type={} to \
             namespace={name} already exists.",
            new.resource_type
        )
    };
    let id = make_resource_type(session, new, false)?;
    insert(session, namespace, id, new, "").map_err(Failure::taken(words))
}

/// Records one that may be there already; with `update`, in the place of that.
pub(super) fn put(
    session: &mut Session<'_>,
    namespace: i64,
    new: &Association,
    update: bool,
) -> Outcome<()> {
    let id = make_resource_type(session, new, true)?;
    let conflict = if update {
        " ON DUPLICATE KEY UPDATE prefix = VALUES(prefix), \
         properties_target = VALUES(properties_target), updated_at = VALUES(created_at)"
    } else {
        " ON DUPLICATE KEY UPDATE namespace_id = namespace_id"
    };
    insert(session, namespace, id, new, conflict)
}

fn insert(
    session: &mut Session<'_>,
    namespace: i64,
    resource_type: i64,
    new: &Association,
    conflict: &str,
) -> Outcome<()> {
    let sql = format!(
        "INSERT INTO metadef_namespace_resource_types (namespace_id, resource_type_id, prefix, \
         properties_target, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?){conflict}"
    );
    let values = vec![
        namespace.bound(),
        resource_type.bound(),
        new.prefix.as_ref().bound(),
        new.properties_target.as_ref().bound(),
        new.created_at.bound(),
        new.updated_at.bound(),
    ];
    session.execute(&sql, values).map(drop)
}

pub(super) fn remove(
    session: &mut Session<'_>,
    namespace: &str,
    resource_type: &str,
) -> Outcome<bool> {
    let removed = session.execute(
        "DELETE FROM metadef_namespace_resource_types WHERE \
         namespace_id = (SELECT id FROM metadef_namespaces WHERE namespace = ?) AND \
         resource_type_id = (SELECT id FROM metadef_resource_types WHERE name = ?)",
        vec![namespace.bound(), resource_type.bound()],
    )?;
    Ok(removed > 0)
}
