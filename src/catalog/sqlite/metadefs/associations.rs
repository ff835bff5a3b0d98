//! Types of resources, and where namespaces apply.

use rusqlite::{Connection, OptionalExtension, params};

use super::taken;
use crate::catalog::metadefs::{Association, ResourceType};
use crate::error::Result;

pub(super) fn resource_types(connection: &Connection) -> Result<Vec<ResourceType>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, created_at, updated_at FROM metadef_resource_types ORDER BY id",
    )?;
    let found = statement.query_map([], |row| {
        Ok(ResourceType { name: row.get(0)?, created_at: row.get(1)?, updated_at: row.get(2)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The number of a type.
pub(super) fn resource_type(connection: &Connection, name: &str) -> Result<Option<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM metadef_resource_types WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// The number of a type, which is recorded if it is new.  What comes from files (`seeded`) is
/// marked as part of the system.  Glance: `protected`.
fn make_resource_type(connection: &Connection, new: &Association, seeded: bool) -> Result<i64> {
    if let Some(id) = resource_type(connection, &new.resource_type)? {
        return Ok(id);
    }
    connection
        .prepare_cached(
            "INSERT INTO metadef_resource_types (name, protected, created_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![new.resource_type, seeded, new.created_at, new.updated_at])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn all(connection: &Connection, namespace: &str) -> Result<Vec<Association>> {
    let mut statement = connection.prepare_cached(
        "SELECT t.name, a.prefix, a.properties_target, a.created_at, a.updated_at \
         FROM metadef_namespace_resource_types AS a \
         JOIN metadef_resource_types AS t ON t.id = a.resource_type_id \
         JOIN metadef_namespaces AS n ON n.id = a.namespace_id \
         WHERE n.namespace = ?1 ORDER BY a.rowid",
    )?;
    let found = statement.query_map([namespace], |row| {
        Ok(Association {
            resource_type: row.get(0)?,
            prefix: row.get(1)?,
            properties_target: row.get(2)?,
            created_at: row.get(3)?,
            updated_at: row.get(4)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn add(
    connection: &Connection,
    namespace: i64,
    name: &str,
    new: &Association,
) -> Result<()> {
    let words = || {
        format!(
            "The metadata definition resource-type association of resource-type={} to \
             namespace={name} already exists.",
            new.resource_type
        )
    };
    let id = make_resource_type(connection, new, false)?;
    insert(connection, namespace, id, new, "").map_err(taken(words))
}

/// Records one that may be there already; with `update`, in the place of that.
pub(super) fn put(
    connection: &Connection,
    namespace: i64,
    new: &Association,
    update: bool,
) -> Result<()> {
    let id = make_resource_type(connection, new, true)?;
    let conflict = if update {
        " ON CONFLICT DO UPDATE SET prefix = excluded.prefix, \
         properties_target = excluded.properties_target, updated_at = excluded.created_at"
    } else {
        " ON CONFLICT DO NOTHING"
    };
    Ok(insert(connection, namespace, id, new, conflict)?)
}

fn insert(
    connection: &Connection,
    namespace: i64,
    resource_type: i64,
    new: &Association,
    conflict: &str,
) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO metadef_namespace_resource_types (namespace_id, resource_type_id, prefix, \
         properties_target, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6){conflict}"
    );
    connection.prepare_cached(&sql)?.execute(params![
        namespace,
        resource_type,
        new.prefix,
        new.properties_target,
        new.created_at,
        new.updated_at,
    ])?;
    Ok(())
}

pub(super) fn remove(
    connection: &Connection,
    namespace: &str,
    resource_type: &str,
) -> Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM metadef_namespace_resource_types WHERE \
             namespace_id = (SELECT id FROM metadef_namespaces WHERE namespace = ?1) AND \
             resource_type_id = (SELECT id FROM metadef_resource_types WHERE name = ?2)",
        )?
        .execute([namespace, resource_type])?;
    Ok(removed > 0)
}
