//! What belongs to an image: its properties, tags and locations.
//!
//! One statement asks for all of it: a page of images costs as many questions as one image.

use std::collections::HashMap;

use mysql::Value;

use super::failure::Outcome;
use super::session::Session;
use super::values::{WORDS, one_of};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::Image;

/// Each kind with its own table: which kind, its number, a name, and more.  The conversion gives all
/// the same collation, whatever each table has: else they could not be in one answer.
const KINDS: [&str; 3] = [
    "SELECT image_id, 'p', id, CONVERT(name USING utf8mb4), CONVERT(value USING utf8mb4), NULL \
     FROM image_properties",
    "SELECT image_id, 't', id, CONVERT(value USING utf8mb4), NULL, NULL FROM image_tags",
    "SELECT image_id, 'l', id, CONVERT(value USING utf8mb4), CONVERT(meta_data USING utf8mb4), \
     CONVERT(status USING utf8mb4) FROM image_locations",
];

/// Fills in what belongs to images.
pub(super) fn read(
    session: &mut Session<'_>,
    images: &mut [&mut Image],
    key: Option<&LocationKey>,
) -> Outcome<()> {
    for some in images.chunks_mut(WORDS / KINDS.len()) {
        read_some(session, some, key)?;
    }
    Ok(())
}

/// One statement for all kinds, however many images.
fn read_some(
    session: &mut Session<'_>,
    images: &mut [&mut Image],
    key: Option<&LocationKey>,
) -> Outcome<()> {
    let (list, mut values) = one_of(images.iter().map(|image| image.id.as_str()));
    // An id that is there twice would be looked up twice.
    values.iter_mut().skip(images.len()).for_each(|filler| *filler = Value::NULL);
    let of = |kind| format!("{kind} WHERE image_id {list} AND deleted + 0 = 0");
    let sql = KINDS.map(of).join(" UNION ALL ");
    let values = KINDS.iter().flat_map(|_| values.iter().cloned()).collect();
    let mut images: HashMap<_, _> = images.iter_mut().map(|image| (image.id, image)).collect();
    let mut locations = Vec::new();
    session.each(&sql, values, |mut cells| {
        let Some(image) = images.get_mut(&cells.next()?) else { return Ok(()) };
        let (kind, number): (String, i64) = (cells.next()?, cells.next()?);
        match &*kind {
            "p" => {
                let (name, value) = (cells.next()?, cells.next::<Option<String>>()?);
                image.properties.insert(name, value.unwrap_or_default());
            }
            "t" => drop(image.tags.insert(cells.next()?)),
            _ => {
                let (url, metadata, status) = (cells.next()?, cells.next()?, cells.next()?);
                let location = LocationKey::location(key, image.id, url, metadata, status)?;
                locations.push((number, image.id, location));
            }
        }
        Ok(())
    })?;
    // In the order in which they were recorded.
    locations.sort_unstable_by_key(|(number, ..)| *number);
    for (_, id, location) in locations {
        if let Some(image) = images.get_mut(&id) {
            image.locations.push(location);
        }
    }
    Ok(())
}
