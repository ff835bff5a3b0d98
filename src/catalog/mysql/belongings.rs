//! What belongs to an image: its properties, tags and locations.
//!
//! To look them up costs the server more than to find a page of records.  So those of a page are
//! remembered for a moment: others' changes are heard of within a second, as everywhere, and most of
//! them at once, by the record's stamp.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use mysql::Value;
use parking_lot::Mutex;
use serde_json::Map;

use super::failure::Outcome;
use super::session::Session;
use super::values::{WORDS, one_of};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Location, Timestamp};
use crate::error::{Error, Result};

/// How long what was read is shown again.
const MEMORY: Duration = Duration::from_millis(800);

/// Of how many images.
const MOST: usize = 4096;

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
pub(super) fn read<'i>(
    session: &mut Session<'_>,
    images: impl Iterator<Item = &'i mut Image>,
    key: Option<&LocationKey>,
) -> Outcome<()> {
    let mut images: Vec<_> = images.collect();
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
                let location = location(image.id, url, metadata, status, key)?;
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

fn location(
    id: ImageId,
    url: String,
    metadata: Option<String>,
    status: String,
    key: Option<&LocationKey>,
) -> Result<Location> {
    // SQLAlchemy writes JSON's null for None.
    let metadata: Option<Map<_, _>> = match metadata {
        Some(text) => serde_json::from_str(&text).map_err(|error| {
            Error::Catalog(format!("image {id}: metadata of a location: {error}"))
        })?,
        None => None,
    };
    let url =
        LocationKey::read(key, url).map_err(|why| Error::Catalog(format!("image {id}: {why}")))?;
    Ok(Location { url, metadata: metadata.unwrap_or_default(), status })
}

/// What was read a moment ago.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    images: HashMap<ImageId, Known>,
    /// Moves with every change of ours, so that nothing is noted that was read before one.
    changes: u64,
}

struct Known {
    read: Instant,
    /// The record's `updated_at` then.
    stamp: Timestamp,
    properties: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    locations: Vec<Location>,
}

/// When a transaction began.
pub(super) struct Beginning {
    at: Instant,
    changes: u64,
}

impl Known {
    fn is_good(&self) -> bool {
        self.read.elapsed() < MEMORY
    }
}

impl Remembered {
    /// To be asked for before a transaction that ends in [`note`](Self::note).
    pub(super) fn begin(&self) -> Beginning {
        Beginning { at: Instant::now(), changes: self.0.lock().changes }
    }

    /// Fills in what is known; says of which images nothing is.
    pub(super) fn recall<'i>(&self, images: &'i mut [Image]) -> Vec<&'i mut Image> {
        let memory = self.0.lock();
        let mut unknown = Vec::new();
        for image in images {
            match memory.images.get(&image.id) {
                Some(known) if known.stamp == image.updated_at && known.is_good() => {
                    image.properties.clone_from(&known.properties);
                    image.tags.clone_from(&known.tags);
                    image.locations.clone_from(&known.locations);
                }
                _ => unknown.push(image),
            }
        }
        unknown
    }

    /// Notes what was just read, unless we changed something meanwhile.
    pub(super) fn note(&self, images: &[&mut Image], beginning: &Beginning) {
        let mut memory = self.0.lock();
        if memory.changes != beginning.changes {
            return;
        }
        if memory.images.len() + images.len() > MOST {
            memory.images.retain(|_, known| known.is_good());
        }
        let room = MOST.saturating_sub(memory.images.len());
        memory.images.extend(images.iter().take(room).map(|image| {
            let known = Known {
                read: beginning.at,
                stamp: image.updated_at,
                properties: image.properties.clone(),
                tags: image.tags.clone(),
                locations: image.locations.clone(),
            };
            (image.id, known)
        }));
    }

    /// Forgets an image that we changed.
    pub(super) fn forget(&self, id: ImageId) {
        let mut memory = self.0.lock();
        memory.changes += 1;
        memory.images.remove(&id);
    }
}
