//! Namespaces.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::{number, order, taken};
use crate::catalog::metadefs::{Existing, Namespace, NamespaceColumn, NamespaceQuery};
use crate::catalog::query::Viewer;
use crate::catalog::sqlite::values::json_array;
use crate::error::Result;

const COLUMNS: &str =
    "namespace, display_name, description, visibility, protected, owner, created_at, updated_at";

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Namespace>> {
    let sql = format!("SELECT {COLUMNS} FROM metadef_namespaces WHERE namespace = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([name], read).optional()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Namespace> {
    Ok(Namespace {
        name: row.get("namespace")?,
        display_name: row.get("display_name")?,
        description: row.get("description")?,
        public: row.get::<_, Option<String>>("visibility")?.as_deref() == Some("public"),
        protected: row.get::<_, Option<bool>>("protected")?.unwrap_or_default(),
        owner: row.get("owner")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// Every row is given its place in the order before any is left out: so a marker does its work
/// although the query itself would not find it, and NULL is nothing special.
pub(super) fn list(connection: &Connection, query: &NamespaceQuery) -> Result<Vec<Namespace>> {
    let page = &query.page;
    let order = order(column(page.sort), page.direction);
    let mut sql = format!(
        "WITH placed AS (SELECT *, row_number() OVER (ORDER BY {order}) AS place \
         FROM metadef_namespaces) \
         SELECT {COLUMNS} FROM placed WHERE place > coalesce((SELECT place FROM placed \
         WHERE namespace = ?), 0)"
    );
    let text = |text: &str| Value::Text(text.to_string());
    let mut values = vec![page.marker.as_deref().map_or(Value::Null, text)];
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Project(project) => {
            sql.push_str(" AND (visibility = 'public' OR owner = ?)");
            values.push(text(project.as_str()));
        }
        Viewer::Nobody => sql.push_str(" AND visibility = 'public'"),
    }
    if let Some(public) = query.public {
        sql.push_str(" AND coalesce(visibility, 'private') = ?");
        values.push(text(visibility(public)));
    }
    if let Some(types) = &query.resource_types {
        sql.push_str(
            " AND id IN (SELECT namespace_id FROM metadef_namespace_resource_types AS a \
             JOIN metadef_resource_types AS t ON t.id = a.resource_type_id \
             WHERE t.name IN (SELECT value FROM json_each(?)))",
        );
        values.push(Value::Text(json_array(types.iter().map(String::as_str))));
    }
    sql.push_str(" ORDER BY place LIMIT ?");
    // SQLite: a negative limit is none.
    values.push(page.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)).into());
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

const fn column(column: NamespaceColumn) -> &'static str {
    match column {
        NamespaceColumn::Id => "id",
        NamespaceColumn::Name => "namespace",
        NamespaceColumn::DisplayName => "display_name",
        NamespaceColumn::Description => "description",
        NamespaceColumn::Visibility => "visibility",
        NamespaceColumn::Protected => "protected",
        NamespaceColumn::Owner => "owner",
        NamespaceColumn::CreatedAt => "created_at",
        NamespaceColumn::UpdatedAt => "updated_at",
    }
}

const fn visibility(public: bool) -> &'static str {
    if public { "public" } else { "private" }
}

/// Returns its number.
pub(super) fn add(connection: &Connection, new: &Namespace) -> Result<i64> {
    let sql = format!(
        "INSERT INTO metadef_namespaces ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    );
    let words = || format!("The metadata definition namespace={} already exists.", new.name);
    connection
        .prepare_cached(&sql)?
        .execute(params![
            new.name,
            new.display_name,
            new.description,
            visibility(new.public),
            new.protected,
            new.owner,
            new.created_at,
            new.updated_at,
        ])
        .map_err(taken(words))?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn change(connection: &Connection, name: &str, new: &Namespace) -> Result<bool> {
    let words = || {
        format!(
            "Invalid update. It would result in a duplicate metadata definition namespace with \
             the same name of {}",
            new.name
        )
    };
    let changed = connection
        .prepare_cached(
            "UPDATE metadef_namespaces SET namespace = ?2, display_name = ?3, description = ?4, \
             visibility = ?5, protected = ?6, owner = ?7, updated_at = ?8 WHERE namespace = ?1",
        )?
        .execute(params![
            name,
            new.name,
            new.display_name,
            new.description,
            visibility(new.public),
            new.protected,
            new.owner,
            new.updated_at,
        ])
        .map_err(taken(words))?;
    Ok(changed > 0)
}

pub(super) fn remove(connection: &Connection, name: &str) -> Result<bool> {
    let Some(id) = number(connection, name)? else { return Ok(false) };
    for table in [
        "metadef_tags",
        "metadef_objects",
        "metadef_properties",
        "metadef_namespace_resource_types",
    ] {
        let sql = format!("DELETE FROM {table} WHERE namespace_id = ?1");
        connection.prepare_cached(&sql)?.execute([id])?;
    }
    connection.prepare_cached("DELETE FROM metadef_namespaces WHERE id = ?1")?.execute([id])?;
    Ok(true)
}

/// Returns its number; `None` when it is there and to be left alone.
pub(super) fn load(
    connection: &Connection,
    new: &Namespace,
    existing: Existing,
) -> Result<Option<i64>> {
    let Some(id) = number(connection, &new.name)? else {
        return add(connection, new).map(Some);
    };
    match existing {
        Existing::Keep => Ok(None),
        Existing::Complete => Ok(Some(id)),
        Existing::Update => {
            let stamped = Namespace { updated_at: Some(new.created_at), ..new.clone() };
            change(connection, &new.name, &stamped)?;
            Ok(Some(id))
        }
        Existing::Replace => {
            remove(connection, &new.name)?;
            add(connection, new).map(Some)
        }
    }
}
