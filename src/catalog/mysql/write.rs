//! Changing images in the database.
//!
//! Each function is called within one transaction, which the caller commits when it answers `true`.
//! Each begins with the image's own row: that is locked then, and what follows happens to one
//! caller at a time.  Nothing is ever removed: what goes is marked deleted, and Glance's `purge`
//! takes it away later.

use mysql::Value;

use super::failure::{Failure, Outcome};
use super::locations;
use super::members;
use super::session::Session;
use super::values::{Bound, one_of, signed};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::Error;

/// Records a new image.
pub(super) fn insert(
    session: &mut Session<'_>,
    image: &Image,
    key: Option<&LocationKey>,
) -> Outcome<()> {
    let columns = columns(image)?;
    let names = columns.each_ref().map(|column| column.0).join(", ");
    let places = "?, ".repeat(columns.len());
    let sql =
        format!("INSERT INTO images ({names}, id, updated_at, deleted) VALUES ({places} ?, ?, 0)");
    let values = columns.into_iter().map(|column| column.1);
    let values = values.chain([image.id.bound(), image.updated_at.bound()]).collect();
    let exists = || format!("Image ID {} already exists!", image.id);
    session.execute(&sql, values).map_err(Failure::taken(exists))?;
    save_belongings(session, &Image::new(image.id, None), image, key)
}

/// Writes what differs.  `false`: the record is gone, or not in one of the statuses.
pub(super) fn save(
    session: &mut Session<'_>,
    old: &Image,
    new: &Image,
    from: &[Status],
    key: Option<&LocationKey>,
) -> Outcome<bool> {
    if old.id != new.id {
        return Err(Error::Invalid(format!("image {} cannot become {}", old.id, new.id)).into());
    }
    let differing = columns(old)?
        .into_iter()
        .zip(columns(new)?)
        .filter_map(|(before, after)| (before != after).then_some(after));
    let mut sql = String::from("UPDATE images SET updated_at = ?");
    let mut values = vec![new.updated_at.bound()];
    for (column, value) in differing {
        sql.push_str(&format!(", {column} = ?"));
        values.push(value);
    }
    let (list, statuses) = words(from);
    sql.push_str(&format!(" WHERE id = ? AND deleted = 0 AND status {list}"));
    values.push(new.id.bound());
    values.extend(statuses);
    if session.execute(&sql, values)? == 0 {
        return Ok(false);
    }
    save_belongings(session, old, new, key)?;
    let removed = new.locations.len() < old.locations.len();
    Ok(!removed || new.locations.is_empty() || locations::is_somewhere(session, new.id)?)
}

/// Marks the image and all that belongs to it deleted.  Glance: `image_destroy`.  The image and its
/// locations say from then on that they are `to`: deleted, or pending delete.
pub(super) fn delete(
    session: &mut Session<'_>,
    id: ImageId,
    from: &[Status],
    to: Status,
    now: Timestamp,
) -> Outcome<bool> {
    let (list, statuses) = words(from);
    let sql = format!(
        "UPDATE images SET status = ?, deleted = 1, deleted_at = ?, updated_at = ? \
         WHERE id = ? AND deleted = 0 AND status {list}"
    );
    let mut values = vec![to.as_str().bound(), now.bound(), now.bound(), id.bound()];
    values.extend(statuses);
    if session.execute(&sql, values)? == 0 {
        return Ok(false);
    }
    let sql = "UPDATE image_locations SET deleted = 1, deleted_at = ?, updated_at = ?, status = ? \
         WHERE image_id = ? AND deleted + 0 = 0";
    let values = vec![now.bound(), now.bound(), to.as_str().bound(), id.bound()];
    session.execute(sql, values)?;
    for table in ["image_properties", "image_tags"] {
        let sql = format!(
            "UPDATE {table} SET deleted = 1, deleted_at = ?, updated_at = ? \
             WHERE image_id = ? AND deleted + 0 = 0"
        );
        session.execute(&sql, vec![now.bound(), now.bound(), id.bound()])?;
    }
    members::remove_all(session, id, now)?;
    Ok(true)
}

fn words(statuses: &[Status]) -> (String, Vec<Value>) {
    one_of(statuses.iter().map(|status| status.as_str()))
}

/// The record's columns but `id` and `updated_at`, as the database holds them.
fn columns(image: &Image) -> Outcome<[(&'static str, Value); 16]> {
    let bytes = |number: Option<u64>| number.map_or(Ok(Value::NULL), signed);
    let text = |text: &Option<String>| text.as_ref().bound();
    Ok([
        ("name", text(&image.name)),
        ("size", bytes(image.size)?),
        ("virtual_size", bytes(image.virtual_size)?),
        ("status", image.status.as_str().bound()),
        ("visibility", image.visibility.as_str().bound()),
        ("disk_format", text(&image.disk_format)),
        ("container_format", text(&image.container_format)),
        ("checksum", text(&image.checksum)),
        ("os_hash_algo", text(&image.os_hash_algo)),
        ("os_hash_value", text(&image.os_hash_value)),
        ("owner", image.owner.as_ref().bound()),
        ("min_disk", bytes(Some(image.min_disk))?),
        ("min_ram", bytes(Some(image.min_ram))?),
        ("protected", image.protected.bound()),
        ("os_hidden", image.os_hidden.bound()),
        ("created_at", image.created_at.bound()),
    ])
}

fn save_belongings(
    session: &mut Session<'_>,
    old: &Image,
    new: &Image,
    key: Option<&LocationKey>,
) -> Outcome<()> {
    save_properties(session, old, new)?;
    save_tags(session, old, new)?;
    locations::save(session, old, new, key)
}

fn save_properties(session: &mut Session<'_>, old: &Image, new: &Image) -> Outcome<()> {
    let now = new.updated_at;
    // First, since to the database a new name may be the same as one that goes: `a` and `A`.
    for name in old.properties.keys().filter(|name| !new.properties.contains_key(*name)) {
        session.execute(
            "UPDATE image_properties SET deleted = 1, deleted_at = ?, updated_at = ? \
             WHERE image_id = ? AND name = ? AND deleted + 0 = 0",
            vec![now.bound(), now.bound(), new.id.bound(), name.bound()],
        )?;
    }
    let differs = |name: &String, value: &String| old.properties.get(name) != Some(value);
    let written: Vec<_> =
        new.properties.iter().filter(|(name, value)| differs(name, value)).collect();
    for (name, value) in &written {
        // A name occurs once for an image, deleted or not: a deleted one comes back to life.
        // Without its deletion time, by which Glance's purge would still remove it.
        session.execute(
            "INSERT INTO image_properties (image_id, name, value, created_at, updated_at, \
             deleted) VALUES (?, ?, ?, ?, ?, 0) ON DUPLICATE KEY UPDATE \
             name = IF(deleted, VALUES(name), name), value = VALUES(value), \
             updated_at = VALUES(updated_at), deleted = 0, deleted_at = NULL",
            vec![new.id.bound(), name.bound(), value.bound(), now.bound(), now.bound()],
        )?;
    }
    require_names(session, new.id, written.iter().map(|(name, _)| name.as_str()))
}

/// Refuses names that are the same to the database and not to us.
fn require_names<'a>(
    session: &mut Session<'_>,
    id: ImageId,
    names: impl Iterator<Item = &'a str>,
) -> Outcome<()> {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let (list, mut values) = one_of(names.iter().copied());
    values.insert(0, id.bound());
    let sql = format!(
        "SELECT name FROM image_properties WHERE image_id = ? AND name {list} AND deleted + 0 = 0"
    );
    let there: Vec<String> = session.all(&sql, values, |cells| cells.next())?;
    match names.iter().find(|name| !there.iter().any(|other| other == *name)) {
        None => Ok(()),
        Some(name) => Err(Error::Conflict(format!(
            "image {id} has a property already whose name is the same as '{name}' to the database"
        ))
        .into()),
    }
}

/// Tags are compared byte for byte, as Glance does before it writes any.
fn save_tags(session: &mut Session<'_>, old: &Image, new: &Image) -> Outcome<()> {
    let now = new.updated_at;
    for tag in new.tags.difference(&old.tags) {
        // Nothing but this keeps a tag from being there twice.  (One statement for both would take
        // the lock of the whole table's numbers.)
        let there = "SELECT 1 FROM image_tags WHERE image_id = ? AND value = ? \
             AND BINARY value = BINARY ? AND deleted = 0";
        if session.exists(there, vec![new.id.bound(), tag.bound(), tag.bound()])? {
            continue;
        }
        session.execute(
            "INSERT INTO image_tags (image_id, value, created_at, updated_at, deleted) \
             VALUES (?, ?, ?, ?, 0)",
            vec![new.id.bound(), tag.bound(), now.bound(), now.bound()],
        )?;
    }
    for tag in old.tags.difference(&new.tags) {
        session.execute(
            "UPDATE image_tags SET deleted = 1, deleted_at = ?, updated_at = ? \
             WHERE image_id = ? AND value = ? AND BINARY value = BINARY ? AND deleted = 0",
            vec![now.bound(), now.bound(), new.id.bound(), tag.bound(), tag.bound()],
        )?;
    }
    Ok(())
}
