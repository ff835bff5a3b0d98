//! Objects, properties and tags: three tables of one shape.

use mysql::Value;
use serde_json::Map;

use super::{Failure, cut, order};
use crate::catalog::metadefs::{Object, Page, Property, Tag, TagColumn};
use crate::catalog::model::Timestamp;
use crate::catalog::mysql::failure::Outcome;
use crate::catalog::mysql::session::Session;
use crate::catalog::mysql::values::{Bound, Cells};
use crate::error::{Error, Result};

/// Name, creation and change, which every row has.
type Common = (String, Timestamp, Option<Timestamp>);

/// A kind of content, as a row.  Every row has a name and two times; `COLUMNS` are the others.
pub trait Stored: Sized {
    /// The table.
    const TABLE: &'static str;
    /// The kind's own columns.
    const COLUMNS: &'static [&'static str];

    /// Name, creation and change.
    fn common(&self) -> (&str, Timestamp, Option<Timestamp>);

    /// The values of `COLUMNS`.
    fn values(&self) -> Vec<Value>;

    /// Makes one of what all have and of the values of `COLUMNS`.
    fn read(common: Common, own: &mut dyn FnMut() -> Result<Option<String>>) -> Result<Self>;

    /// What to say when the name is taken.  Glance: the very words.
    fn taken(name: &str, namespace: &str) -> String;
}

impl Stored for Property {
    const TABLE: &'static str = "metadef_properties";
    const COLUMNS: &'static [&'static str] = &["json_schema"];

    fn common(&self) -> (&str, Timestamp, Option<Timestamp>) {
        (&self.name, self.created_at, self.updated_at)
    }

    fn values(&self) -> Vec<Value> {
        vec![json(&self.schema)]
    }

    fn read(common: Common, own: &mut dyn FnMut() -> Result<Option<String>>) -> Result<Self> {
        let (name, created_at, updated_at) = common;
        Ok(Self { schema: schema(&name, own()?)?, name, created_at, updated_at })
    }

    fn taken(name: &str, namespace: &str) -> String {
        format!(
            "A metadata definition property with name={name} already exists in \
             namespace={namespace}."
        )
    }
}

impl Stored for Object {
    const TABLE: &'static str = "metadef_objects";
    const COLUMNS: &'static [&'static str] = &["description", "required", "json_schema"];

    fn common(&self) -> (&str, Timestamp, Option<Timestamp>) {
        (&self.name, self.created_at, self.updated_at)
    }

    fn values(&self) -> Vec<Value> {
        let required = Some(self.required.join(",")).filter(|names| !names.is_empty());
        vec![self.description.as_ref().bound(), required.bound(), json(&self.properties)]
    }

    fn read(common: Common, own: &mut dyn FnMut() -> Result<Option<String>>) -> Result<Self> {
        let (name, created_at, updated_at) = common;
        let description = own()?;
        let required = own()?.filter(|names| !names.is_empty());
        let required = required.map(|names| names.split(',').map(str::to_string).collect());
        Ok(Self {
            description,
            required: required.unwrap_or_default(),
            properties: schema(&name, own()?)?,
            name,
            created_at,
            updated_at,
        })
    }

    fn taken(name: &str, namespace: &str) -> String {
        format!(
            "A metadata definition object with name={name} already exists in \
             namespace={namespace}."
        )
    }
}

impl Stored for Tag {
    const TABLE: &'static str = "metadef_tags";
    const COLUMNS: &'static [&'static str] = &[];

    fn common(&self) -> (&str, Timestamp, Option<Timestamp>) {
        (&self.name, self.created_at, self.updated_at)
    }

    fn values(&self) -> Vec<Value> {
        Vec::new()
    }

    fn read(common: Common, _: &mut dyn FnMut() -> Result<Option<String>>) -> Result<Self> {
        let (name, created_at, updated_at) = common;
        Ok(Self { name, created_at, updated_at })
    }

    fn taken(name: &str, namespace: &str) -> String {
        format!(
            "A metadata tag with name={name} already exists in namespace={namespace}. (Please \
             note that metadata tag names are case insensitive)."
        )
    }
}

fn json(object: &Map<String, serde_json::Value>) -> Value {
    serde_json::Value::Object(object.clone()).to_string().bound()
}

/// `json_schema`, which Glance's loader leaves `null` for an object without properties.
fn schema(name: &str, text: Option<String>) -> Result<Map<String, serde_json::Value>> {
    match serde_json::from_str(&text.unwrap_or_default()) {
        Ok(serde_json::Value::Object(schema)) => Ok(schema),
        Ok(serde_json::Value::Null) => Ok(Map::new()),
        _ => Err(Error::Catalog(format!("the metadata definition {name} is not a JSON object"))),
    }
}

/// What stands between `SELECT` and `ORDER BY`, for one namespace; [`row`] reads it.
fn of_namespace<T: Stored>() -> String {
    let own: String = T::COLUMNS.iter().map(|column| format!(", c.{column}")).collect();
    format!(
        "SELECT c.name, c.created_at, c.updated_at{own} FROM {} AS c \
         JOIN metadef_namespaces AS n ON n.id = c.namespace_id WHERE n.namespace = ?",
        T::TABLE
    )
}

fn row<T: Stored>(cells: &mut Cells) -> Result<T> {
    let common = (cells.next()?, cells.next()?, cells.next()?);
    T::read(common, &mut || cells.next())
}

/// Glance asks for no order and so gets that of the index.
pub(super) fn all<T: Stored>(session: &mut Session<'_>, namespace: &str) -> Outcome<Vec<T>> {
    let sql = format!("{} ORDER BY c.name", of_namespace::<T>());
    session.all(&sql, vec![namespace.bound()], row)
}

pub(super) fn find<T: Stored>(
    session: &mut Session<'_>,
    namespace: &str,
    name: &str,
) -> Outcome<Option<T>> {
    let sql = format!("{} AND c.name = ?", of_namespace::<T>());
    session.first(&sql, vec![namespace.bound(), name.bound()], row)
}

/// A page of tags; see the page of namespaces.
pub(super) fn tags(
    session: &mut Session<'_>,
    namespace: &str,
    page: &Page<TagColumn>,
) -> Outcome<Vec<Tag>> {
    let column = match page.sort {
        TagColumn::Id => "id",
        TagColumn::Name => "name",
        TagColumn::CreatedAt => "created_at",
        TagColumn::UpdatedAt => "updated_at",
    };
    let order = order(column, page.direction).replace(", ", ", c.");
    let sql = format!("{} ORDER BY c.{order}", of_namespace::<Tag>());
    let ordered = session.all(&sql, vec![namespace.bound()], row::<Tag>)?;
    let ordered = ordered.into_iter().map(|tag| (tag.name.clone(), true, tag)).collect();
    Ok(cut(ordered, page.marker.as_deref(), page.limit))
}

pub(super) fn add<T: Stored>(
    session: &mut Session<'_>,
    id: i64,
    namespace: &str,
    new: &[T],
) -> Outcome<()> {
    for item in new {
        let words = || T::taken(item.common().0, namespace);
        insert(session, id, item, "").map_err(Failure::taken(words))?;
    }
    Ok(())
}

/// Records some that may be there already; with `update`, in the place of those.
pub(super) fn put<T: Stored>(
    session: &mut Session<'_>,
    id: i64,
    new: &[T],
    update: bool,
) -> Outcome<()> {
    let own: String =
        T::COLUMNS.iter().map(|column| format!(", {column} = VALUES({column})")).collect();
    let conflict = if update {
        format!(" ON DUPLICATE KEY UPDATE updated_at = VALUES(created_at){own}")
    } else {
        " ON DUPLICATE KEY UPDATE id = id".to_string()
    };
    for item in new {
        insert(session, id, item, &conflict)?;
    }
    Ok(())
}

fn insert<T: Stored>(session: &mut Session<'_>, id: i64, item: &T, conflict: &str) -> Outcome<()> {
    let own: String = T::COLUMNS.iter().map(|column| format!(", {column}")).collect();
    let places = ", ?".repeat(T::COLUMNS.len());
    let sql = format!(
        "INSERT INTO {} (namespace_id, name, created_at, updated_at{own}) \
         VALUES (?, ?, ?, ?{places}){conflict}",
        T::TABLE
    );
    let (name, created_at, updated_at) = item.common();
    let common = [id.bound(), name.bound(), created_at.bound(), updated_at.bound()];
    session.execute(&sql, common.into_iter().chain(item.values()).collect()).map(drop)
}

pub(super) fn change<T: Stored>(
    session: &mut Session<'_>,
    namespace: &str,
    name: &str,
    new: &T,
) -> Outcome<bool> {
    let own: String = T::COLUMNS.iter().map(|column| format!(", {column} = ?")).collect();
    let sql = format!(
        "UPDATE {} SET name = ?, updated_at = ?{own} WHERE namespace_id = \
         (SELECT id FROM metadef_namespaces WHERE namespace = ?) AND name = ?",
        T::TABLE
    );
    let (new_name, _, updated_at) = new.common();
    let values = [new_name.bound(), updated_at.bound()].into_iter().chain(new.values());
    let values = values.chain([namespace.bound(), name.bound()]).collect();
    let words = || T::taken(new_name, namespace);
    Ok(session.execute(&sql, values).map_err(Failure::taken(words))? > 0)
}

pub(super) fn remove<T: Stored>(
    session: &mut Session<'_>,
    namespace: &str,
    name: &str,
) -> Outcome<bool> {
    let sql = format!(
        "DELETE FROM {} WHERE namespace_id = (SELECT id FROM metadef_namespaces \
         WHERE namespace = ?) AND name = ?",
        T::TABLE
    );
    Ok(session.execute(&sql, vec![namespace.bound(), name.bound()])? > 0)
}

pub(super) fn clear<T: Stored>(session: &mut Session<'_>, id: i64) -> Outcome<()> {
    let sql = format!("DELETE FROM {} WHERE namespace_id = ?", T::TABLE);
    session.execute(&sql, vec![id.bound()]).map(drop)
}
