//! Namespaces.

use mysql::Value;

use super::{Failure, cut, number, order};
use crate::catalog::metadefs::{Existing, Namespace, NamespaceColumn, NamespaceQuery};
use crate::catalog::mysql::failure::Outcome;
use crate::catalog::mysql::session::Session;
use crate::catalog::mysql::values::{Bound, Cells, one_of};
use crate::catalog::query::Viewer;
use crate::error::{Error, Result};

const COLUMNS: &str =
    "namespace, display_name, description, visibility, protected, owner, created_at, updated_at";

pub(super) fn find(session: &mut Session<'_>, name: &str) -> Outcome<Option<Namespace>> {
    let sql = format!("SELECT {COLUMNS} FROM metadef_namespaces WHERE namespace = ?");
    session.first(&sql, vec![name.bound()], read)
}

fn read(cells: &mut Cells) -> Result<Namespace> {
    // The fields are read as they are written here: in the order of the columns.
    Ok(Namespace {
        name: cells.next()?,
        display_name: cells.next()?,
        description: cells.next()?,
        public: cells.next::<Option<String>>()?.as_deref() == Some("public"),
        protected: cells.next::<Option<bool>>()?.unwrap_or_default(),
        owner: cells.next()?,
        created_at: cells.next()?,
        updated_at: cells.next()?,
    })
}

/// Every row is put in order before any is left out: so a marker does its work although the query
/// itself would not find it, and NULL is nothing special.  There are few namespaces, and servers of
/// Rocky's time have no window functions.
pub(super) fn list(session: &mut Session<'_>, query: &NamespaceQuery) -> Outcome<Vec<Namespace>> {
    let page = &query.page;
    let order = order(column(page.sort), page.direction);
    let (condition, values) = wanted(query);
    let sql = format!("SELECT {COLUMNS}, {condition} FROM metadef_namespaces ORDER BY {order}");
    let ordered = session.all(&sql, values, |cells: &mut Cells| {
        let namespace = read(cells)?;
        Ok::<_, Error>((namespace.name.clone(), cells.next()?, namespace))
    })?;
    Ok(cut(ordered, page.marker.as_deref(), page.limit))
}

/// Whether a namespace is asked for.
fn wanted(query: &NamespaceQuery) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::from("1"), Vec::new());
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Project(project) => {
            sql.push_str(" AND (COALESCE(visibility = 'public', 0) OR owner = ?)");
            values.push(project.bound());
        }
        Viewer::Nobody => sql.push_str(" AND COALESCE(visibility = 'public', 0)"),
    }
    if let Some(public) = query.public {
        sql.push_str(" AND COALESCE(visibility, 'private') = ?");
        values.push(visibility(public).bound());
    }
    if let Some(types) = &query.resource_types {
        let (list, names) = one_of(types.iter().map(String::as_str));
        sql.push_str(&format!(
            " AND id IN (SELECT namespace_id FROM metadef_namespace_resource_types AS a \
             JOIN metadef_resource_types AS t ON t.id = a.resource_type_id WHERE t.name {list})"
        ));
        values.extend(names);
    }
    (format!("({sql})"), values)
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
pub(super) fn add(session: &mut Session<'_>, new: &Namespace) -> Outcome<i64> {
    let sql = format!("INSERT INTO metadef_namespaces ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    let words = || format!("The metadata definition namespace={} already exists.", new.name);
    let mut values = fields(new);
    values.insert(6, new.created_at.bound());
    session.execute(&sql, values).map_err(Failure::taken(words))?;
    Ok(session.last_id().cast_signed())
}

pub(super) fn change(session: &mut Session<'_>, name: &str, new: &Namespace) -> Outcome<bool> {
    let words = || {
        format!(
            "Invalid update. It would result in a duplicate metadata definition namespace with \
             the same name of {}",
            new.name
        )
    };
    let mut values = fields(new);
    values.push(name.bound());
    let changed = session.execute(
        "UPDATE metadef_namespaces SET namespace = ?, display_name = ?, description = ?, \
         visibility = ?, protected = ?, owner = ?, updated_at = ? WHERE namespace = ?",
        values,
    );
    Ok(changed.map_err(Failure::taken(words))? > 0)
}

/// All but the time of its creation.
fn fields(new: &Namespace) -> Vec<Value> {
    vec![
        new.name.as_str().bound(),
        new.display_name.as_ref().bound(),
        new.description.as_ref().bound(),
        visibility(new.public).bound(),
        new.protected.bound(),
        (&new.owner).bound(),
        new.updated_at.bound(),
    ]
}

pub(super) fn remove(session: &mut Session<'_>, name: &str) -> Outcome<bool> {
    let Some(id) = number(session, name)? else { return Ok(false) };
    for table in [
        "metadef_tags",
        "metadef_objects",
        "metadef_properties",
        "metadef_namespace_resource_types",
    ] {
        let sql = format!("DELETE FROM {table} WHERE namespace_id = ?");
        session.execute(&sql, vec![id.bound()])?;
    }
    let sql = "DELETE FROM metadef_namespaces WHERE id = ?";
    Ok(session.execute(sql, vec![id.bound()])? > 0)
}

/// Returns its number; `None` when it is there and to be left alone.
pub(super) fn load(
    session: &mut Session<'_>,
    new: &Namespace,
    existing: Existing,
) -> Outcome<Option<i64>> {
    let Some(id) = number(session, &new.name)? else {
        return add(session, new).map(Some);
    };
    match existing {
        Existing::Keep => Ok(None),
        Existing::Complete => Ok(Some(id)),
        Existing::Update => {
            let stamped = Namespace { updated_at: Some(new.created_at), ..new.clone() };
            change(session, &new.name, &stamped)?;
            Ok(Some(id))
        }
        Existing::Replace => {
            remove(session, &new.name)?;
            add(session, new).map(Some)
        }
    }
}
