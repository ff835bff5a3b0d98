//! Where an image's data is, in the database.  A location is known by its URL, which may be
//! recorded encrypted, each time in other words: so it is found by reading all that an image has.

use rusqlite::{Connection, params};

use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Location, LocationChange};
use crate::error::Result;

/// Writes what differs.
pub(super) fn save(
    connection: &Connection,
    old: &Image,
    new: &Image,
    key: Option<&LocationKey>,
) -> Result<()> {
    let changes = new.location_changes(old);
    let altered = changes.iter().any(|change| matches!(change, LocationChange::Alter(_)));
    let there = if altered { recorded(connection, new.id, key)? } else { Vec::new() };
    for change in &changes {
        match change {
            LocationChange::Add(place) => insert(connection, new, place, key)?,
            LocationChange::Alter(place) => {
                for (row, _) in there.iter().filter(|(_, url)| *url == place.url) {
                    update(connection, *row, new, place)?;
                }
            }
        }
    }
    Ok(())
}

/// The locations of an image that are there: their rows' numbers and URLs.
fn recorded(
    connection: &Connection,
    id: ImageId,
    key: Option<&LocationKey>,
) -> Result<Vec<(i64, String)>> {
    let sql = "SELECT id, value FROM image_locations WHERE image_id = ?1 AND +deleted = 0";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_and_then([id], |row| Ok((row.get(0)?, LocationKey::read(key, row.get(1)?)?)))?;
    found.collect()
}

/// Whether an image still has a location: others may have removed what a change leaves.
pub(super) fn is_somewhere(connection: &Connection, id: ImageId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM image_locations WHERE image_id = ?1 AND +deleted = 0)";
    Ok(connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?)
}

fn insert(
    connection: &Connection,
    image: &Image,
    place: &Location,
    key: Option<&LocationKey>,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO image_locations (image_id, value, meta_data, status, created_at, \
             updated_at, deleted, deleted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)",
        )?
        .execute(params![
            image.id,
            LocationKey::write(key, &place.url)?,
            metadata(place),
            place.status,
            image.updated_at,
            place.is_gone(),
            place.is_gone().then_some(image.updated_at),
        ])?;
    Ok(())
}

fn update(connection: &Connection, row: i64, image: &Image, place: &Location) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE image_locations SET meta_data = ?2, status = ?3, updated_at = ?4, \
             deleted = ?5, deleted_at = ?6 WHERE id = ?1",
        )?
        .execute(params![
            row,
            metadata(place),
            place.status,
            image.updated_at,
            place.is_gone(),
            place.is_gone().then_some(image.updated_at),
        ])?;
    Ok(())
}

fn metadata(place: &Location) -> String {
    serde_json::Value::Object(place.metadata.clone()).to_string()
}
