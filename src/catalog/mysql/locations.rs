//! Where an image's data is, in the database.  A location is known by its URL, which may be
//! recorded encrypted, each time in other words: so it is found by reading all that an image has.

use mysql::Value;

use super::failure::Outcome;
use super::session::Session;
use super::values::{Bound, Cells};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Location, LocationChange};
use crate::error::Error;

/// Writes what differs.
pub(super) fn save(
    session: &mut Session<'_>,
    old: &Image,
    new: &Image,
    key: Option<&LocationKey>,
) -> Outcome<()> {
    let changes = new.location_changes(old);
    let altered = changes.iter().any(|change| matches!(change, LocationChange::Alter(_)));
    let there = if altered { recorded(session, new.id, key)? } else { Vec::new() };
    for change in &changes {
        match change {
            LocationChange::Add(place) => insert(session, new, place, key)?,
            LocationChange::Alter(place) => {
                for (row, _) in there.iter().filter(|(_, url)| *url == place.url) {
                    update(session, *row, new, place)?;
                }
            }
        }
    }
    Ok(())
}

/// The locations of an image that are there: their rows' numbers and URLs.
fn recorded(
    session: &mut Session<'_>,
    id: ImageId,
    key: Option<&LocationKey>,
) -> Outcome<Vec<(i64, String)>> {
    let sql = "SELECT id, value FROM image_locations WHERE image_id = ? AND deleted + 0 = 0 \
         FOR UPDATE";
    session.all(sql, vec![id.bound()], |cells: &mut Cells| {
        let row = cells.next()?;
        Ok::<_, Error>((row, LocationKey::read(key, cells.next()?)?))
    })
}

/// Whether an image still has a location: others may have removed what a change leaves.
pub(super) fn is_somewhere(session: &mut Session<'_>, id: ImageId) -> Outcome<bool> {
    let sql = "SELECT 1 FROM image_locations WHERE image_id = ? AND deleted + 0 = 0 LIMIT 1 \
         FOR UPDATE";
    session.exists(sql, vec![id.bound()])
}

fn insert(
    session: &mut Session<'_>,
    image: &Image,
    place: &Location,
    key: Option<&LocationKey>,
) -> Outcome<()> {
    let mut values = vec![image.id.bound(), LocationKey::write(key, &place.url)?.bound()];
    values.push(image.updated_at.bound());
    values.extend(state(image, place));
    session.execute(
        "INSERT INTO image_locations (image_id, value, created_at, meta_data, status, updated_at, \
         deleted, deleted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )?;
    Ok(())
}

fn update(session: &mut Session<'_>, row: i64, image: &Image, place: &Location) -> Outcome<()> {
    let mut values = state(image, place).to_vec();
    values.push(row.bound());
    session.execute(
        "UPDATE image_locations SET meta_data = ?, status = ?, updated_at = ?, deleted = ?, \
         deleted_at = ? WHERE id = ?",
        values,
    )?;
    Ok(())
}

/// All but where it is.
fn state(image: &Image, place: &Location) -> [Value; 5] {
    [
        serde_json::Value::Object(place.metadata.clone()).to_string().bound(),
        place.status.as_str().bound(),
        image.updated_at.bound(),
        place.is_gone().bound(),
        place.is_gone().then_some(image.updated_at).bound(),
    ]
}
