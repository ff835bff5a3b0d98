//! Changing images in the database.
//!
//! Each function is called within one write transaction, which the caller commits when it answers
//! `true`.  Nothing is ever removed: what goes is marked deleted, and Glance's `purge` takes it
//! away later.

use rusqlite::types::Value;
use rusqlite::{Connection, Error as SqlError, ffi, params, params_from_iter};

use super::locations;
use super::values::{json_array, signed, text_or_null};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// Records a new image.
pub(super) fn insert(
    connection: &Connection,
    image: &Image,
    key: Option<&LocationKey>,
) -> Result<()> {
    let columns = columns(image)?;
    let names = columns.each_ref().map(|column| column.0).join(", ");
    let places = "?, ".repeat(columns.len());
    let sql =
        format!("INSERT INTO images ({names}, id, updated_at, deleted) VALUES ({places} ?, ?, 0)");
    let values = columns.into_iter().map(|column| column.1);
    let rest = [text_or_null(Some(image.id.as_str())), image.updated_at.to_database().into()];
    connection.prepare_cached(&sql)?.execute(params_from_iter(values.chain(rest))).map_err(
        |error| match error {
            SqlError::SqliteFailure(ffi::Error { extended_code, .. }, _)
                if extended_code == ffi::SQLITE_CONSTRAINT_PRIMARYKEY =>
            {
                Error::Conflict(format!("Image ID {} already exists!", image.id))
            }
            other => other.into(),
        },
    )?;
    save_belongings(connection, &Image::new(image.id, None), image, key)
}

/// Writes what differs.  `false`: the record is gone, or not in one of the statuses.
pub(super) fn save(
    connection: &Connection,
    old: &Image,
    new: &Image,
    from: &[Status],
    key: Option<&LocationKey>,
) -> Result<bool> {
    if old.id != new.id {
        return Err(Error::Invalid(format!("image {} cannot become {}", old.id, new.id)));
    }
    let differing = columns(old)?
        .into_iter()
        .zip(columns(new)?)
        .filter_map(|(before, after)| (before != after).then_some(after));
    let mut sql = String::from("UPDATE images SET updated_at = ?");
    let mut values = vec![Value::Text(new.updated_at.to_database())];
    for (column, value) in differing {
        sql.push_str(&format!(", {column} = ?"));
        values.push(value);
    }
    sql.push_str(" WHERE id = ? AND +deleted = 0 AND status IN (SELECT value FROM json_each(?))");
    values.push(Value::Text(new.id.to_string()));
    values.push(Value::Text(words(from)));
    let matched = connection.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    if matched == 0 {
        return Ok(false);
    }
    save_belongings(connection, old, new, key)?;
    let removed = new.locations.len() < old.locations.len();
    Ok(!removed || new.locations.is_empty() || locations::is_somewhere(connection, new.id)?)
}

/// Marks the image and all that belongs to it deleted.  Glance: `image_destroy`.  The image and its
/// locations say from then on that they are `to`: deleted, or pending delete.
pub(super) fn delete(
    connection: &Connection,
    id: ImageId,
    from: &[Status],
    to: Status,
    now: Timestamp,
) -> Result<bool> {
    let matched = connection
        .prepare_cached(
            "UPDATE images SET status = ?4, deleted = 1, deleted_at = ?1, updated_at = ?1 \
             WHERE id = ?2 AND +deleted = 0 AND status IN (SELECT value FROM json_each(?3))",
        )?
        .execute(params![now, id, words(from), to])?;
    if matched == 0 {
        return Ok(false);
    }
    let sql = "UPDATE image_locations SET deleted = 1, deleted_at = ?1, updated_at = ?1, status = ?3 \
         WHERE image_id = ?2 AND +deleted = 0";
    connection.prepare_cached(sql)?.execute(params![now, id, to])?;
    for table in ["image_properties", "image_members", "image_tags"] {
        let sql = format!(
            "UPDATE {table} SET deleted = 1, deleted_at = ?1, updated_at = ?1 \
             WHERE image_id = ?2 AND +deleted = 0"
        );
        connection.prepare_cached(&sql)?.execute(params![now, id])?;
    }
    Ok(true)
}

fn words(statuses: &[Status]) -> String {
    json_array(statuses.iter().map(|status| status.as_str()))
}

/// The record's columns but `id` and `updated_at`, as the database holds them.
fn columns(image: &Image) -> Result<[(&'static str, Value); 16]> {
    let bytes = |number: Option<u64>| -> Result<Value> {
        number.map_or(Ok(Value::Null), |number| signed(number).map(Value::from))
    };
    let text = |text: &Option<String>| text_or_null(text.as_deref());
    Ok([
        ("name", text(&image.name)),
        ("size", bytes(image.size)?),
        ("virtual_size", bytes(image.virtual_size)?),
        ("status", text_or_null(Some(image.status.as_str()))),
        ("visibility", text_or_null(Some(image.visibility.as_str()))),
        ("disk_format", text(&image.disk_format)),
        ("container_format", text(&image.container_format)),
        ("checksum", text(&image.checksum)),
        ("os_hash_algo", text(&image.os_hash_algo)),
        ("os_hash_value", text(&image.os_hash_value)),
        ("owner", text_or_null(image.owner.as_ref().map(ProjectId::as_str))),
        ("min_disk", bytes(Some(image.min_disk))?),
        ("min_ram", bytes(Some(image.min_ram))?),
        ("protected", image.protected.into()),
        ("os_hidden", image.os_hidden.into()),
        ("created_at", image.created_at.to_database().into()),
    ])
}

fn save_belongings(
    connection: &Connection,
    old: &Image,
    new: &Image,
    key: Option<&LocationKey>,
) -> Result<()> {
    save_properties(connection, old, new)?;
    save_tags(connection, old, new)?;
    locations::save(connection, old, new, key)
}

fn save_properties(connection: &Connection, old: &Image, new: &Image) -> Result<()> {
    let now = new.updated_at;
    for (name, value) in &new.properties {
        if old.properties.get(name) == Some(value) {
            continue;
        }
        // A name occurs once for an image, deleted or not: a deleted one comes back to life.
        // Without its deletion time, by which Glance's purge would still remove it.
        connection
            .prepare_cached(
                "INSERT INTO image_properties (image_id, name, value, created_at, updated_at, \
                 deleted) VALUES (?1, ?2, ?3, ?4, ?4, 0) ON CONFLICT (image_id, name) DO UPDATE \
                 SET value = ?3, updated_at = ?4, deleted = 0, deleted_at = NULL",
            )?
            .execute(params![new.id, name, value, now])?;
    }
    for name in old.properties.keys().filter(|name| !new.properties.contains_key(*name)) {
        connection
            .prepare_cached(
                "UPDATE image_properties SET deleted = 1, deleted_at = ?3, updated_at = ?3 \
                 WHERE image_id = ?1 AND name = ?2 AND +deleted = 0",
            )?
            .execute(params![new.id, name, now])?;
    }
    Ok(())
}

fn save_tags(connection: &Connection, old: &Image, new: &Image) -> Result<()> {
    let now = new.updated_at;
    for tag in new.tags.difference(&old.tags) {
        // Nothing but this condition keeps a tag from being there twice.
        connection
            .prepare_cached(
                "INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted) \
                 SELECT ?1, ?2, ?3, ?3, 0 WHERE NOT EXISTS (SELECT 1 FROM image_tags \
                 WHERE image_id = ?1 AND value = ?2 AND deleted = 0)",
            )?
            .execute(params![new.id, tag, now])?;
    }
    for tag in old.tags.difference(&new.tags) {
        connection
            .prepare_cached(
                "UPDATE image_tags SET deleted = 1, deleted_at = ?3, updated_at = ?3 \
                 WHERE image_id = ?1 AND value = ?2 AND deleted = 0",
            )?
            .execute(params![new.id, tag, now])?;
    }
    Ok(())
}
