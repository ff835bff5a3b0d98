//! Objects, properties and tags: three tables of one shape.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use serde_json::Map;

use super::{order, taken};
use crate::catalog::metadefs::{Object, Page, Property, Tag, TagColumn};
use crate::catalog::model::Timestamp;
use crate::catalog::sqlite::values::text_or_null;
use crate::error::{Error, Result};

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

    /// Reads a row.
    fn read(row: &Row<'_>) -> Result<Self>;

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

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            schema: schema(row)?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
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
        let required = self.required.join(",");
        vec![
            text_or_null(self.description.as_deref()),
            text_or_null(Some(required.as_str()).filter(|names| !names.is_empty())),
            json(&self.properties),
        ]
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        let required: Option<String> = row.get("required")?;
        let required = required.filter(|names| !names.is_empty());
        Ok(Self {
            name: row.get("name")?,
            description: row.get("description")?,
            required: required
                .map(|names| names.split(',').map(str::to_string).collect())
                .unwrap_or_default(),
            properties: schema(row)?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
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

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }

    fn taken(name: &str, namespace: &str) -> String {
        format!(
            "A metadata tag with name={name} already exists in namespace={namespace}. (Please \
             note that metadata tag names are case insensitive)."
        )
    }
}

fn json(object: &Map<String, serde_json::Value>) -> Value {
    Value::Text(serde_json::Value::Object(object.clone()).to_string())
}

/// `json_schema`, which Glance's loader leaves `null` for an object without properties.
fn schema(row: &Row<'_>) -> Result<Map<String, serde_json::Value>> {
    let text: String = row.get("json_schema")?;
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(schema)) => Ok(schema),
        Ok(serde_json::Value::Null) => Ok(Map::new()),
        _ => {
            let name: String = row.get("name")?;
            Err(Error::Catalog(format!("the metadata definition {name} is not a JSON object")))
        }
    }
}

/// What stands between `SELECT` and `ORDER BY`, for one namespace.
fn of_namespace<T: Stored>() -> String {
    let own: String = T::COLUMNS.iter().map(|column| format!(", c.{column}")).collect();
    format!(
        "SELECT c.id, c.name, c.created_at, c.updated_at{own} FROM {} AS c \
         JOIN metadef_namespaces AS n ON n.id = c.namespace_id WHERE n.namespace = ?1",
        T::TABLE
    )
}

/// Glance asks for no order and so gets that of the index.
pub(super) fn all<T: Stored>(connection: &Connection, namespace: &str) -> Result<Vec<T>> {
    let sql = format!("{} ORDER BY c.name", of_namespace::<T>());
    connection.prepare_cached(&sql)?.query_and_then([namespace], T::read)?.collect()
}

pub(super) fn find<T: Stored>(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<Option<T>> {
    let sql = format!("{} AND c.name = ?2", of_namespace::<T>());
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_and_then([namespace, name], T::read)?.next().transpose()
}

/// A page of tags; see the page of namespaces.
pub(super) fn tags(
    connection: &Connection,
    namespace: &str,
    page: &Page<TagColumn>,
) -> Result<Vec<Tag>> {
    let column = match page.sort {
        TagColumn::Id => "id",
        TagColumn::Name => "name",
        TagColumn::CreatedAt => "created_at",
        TagColumn::UpdatedAt => "updated_at",
    };
    let sql = format!(
        "WITH placed AS (SELECT *, row_number() OVER (ORDER BY {}) AS place FROM ({})) \
         SELECT * FROM placed WHERE place > coalesce((SELECT place FROM placed \
         WHERE name = ?2), 0) ORDER BY place LIMIT ?3",
        order(column, page.direction),
        of_namespace::<Tag>(),
    );
    // SQLite: a negative limit is none.
    let limit = page.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_and_then(params![namespace, page.marker, limit], Tag::read)?.collect()
}

pub(super) fn add<T: Stored>(
    connection: &Connection,
    id: i64,
    namespace: &str,
    new: &[T],
) -> Result<()> {
    for item in new {
        let words = || T::taken(item.common().0, namespace);
        insert(connection, id, item, "").map_err(taken(words))?;
    }
    Ok(())
}

/// Records some that may be there already; with `update`, in the place of those.
pub(super) fn put<T: Stored>(
    connection: &Connection,
    id: i64,
    new: &[T],
    update: bool,
) -> Result<()> {
    let own: String =
        T::COLUMNS.iter().map(|column| format!(", {column} = excluded.{column}")).collect();
    let conflict = if update {
        format!(" ON CONFLICT DO UPDATE SET updated_at = excluded.created_at{own}")
    } else {
        " ON CONFLICT DO NOTHING".to_string()
    };
    for item in new {
        insert(connection, id, item, &conflict)?;
    }
    Ok(())
}

fn insert<T: Stored>(
    connection: &Connection,
    id: i64,
    item: &T,
    conflict: &str,
) -> rusqlite::Result<()> {
    let own: String = T::COLUMNS.iter().map(|column| format!(", {column}")).collect();
    let places = ", ?".repeat(T::COLUMNS.len());
    let sql = format!(
        "INSERT INTO {} (namespace_id, name, created_at, updated_at{own}) \
         VALUES (?, ?, ?, ?{places}){conflict}",
        T::TABLE
    );
    let (name, created_at, updated_at) = item.common();
    let time = |time: Timestamp| Value::Text(time.to_database());
    let common = [
        Value::Integer(id),
        Value::Text(name.to_string()),
        time(created_at),
        updated_at.map_or(Value::Null, time),
    ];
    let values = common.into_iter().chain(item.values());
    connection.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
}

pub(super) fn change<T: Stored>(
    connection: &Connection,
    namespace: &str,
    name: &str,
    new: &T,
) -> Result<bool> {
    let own: String = T::COLUMNS.iter().map(|column| format!(", {column} = ?")).collect();
    let sql = format!(
        "UPDATE {} SET name = ?, updated_at = ?{own} WHERE namespace_id = \
         (SELECT id FROM metadef_namespaces WHERE namespace = ?) AND name = ?",
        T::TABLE
    );
    let (new_name, _, updated_at) = new.common();
    let text = |text: &str| Value::Text(text.to_string());
    let time = updated_at.map_or(Value::Null, |time| Value::Text(time.to_database()));
    let values = [text(new_name), time].into_iter().chain(new.values());
    let values = values.chain([text(namespace), text(name)]);
    let words = || T::taken(new_name, namespace);
    let mut statement = connection.prepare_cached(&sql)?;
    let changed = statement.execute(params_from_iter(values)).map_err(taken(words))?;
    Ok(changed > 0)
}

pub(super) fn remove<T: Stored>(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<bool> {
    let sql = format!(
        "DELETE FROM {} WHERE namespace_id = (SELECT id FROM metadef_namespaces \
         WHERE namespace = ?1) AND name = ?2",
        T::TABLE
    );
    Ok(connection.prepare_cached(&sql)?.execute([namespace, name])? > 0)
}

pub(super) fn clear<T: Stored>(connection: &Connection, id: i64) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE namespace_id = ?1", T::TABLE);
    connection.prepare_cached(&sql)?.execute([id])?;
    Ok(())
}
