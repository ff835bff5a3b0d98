//! What belonged to images when they were listed a moment ago.
//!
//! To look it up costs the server more than to find a page of records.  Whoever changes properties, tags
//! or locations moves the record's stamp, we as well as glance-api, so what was read is good for as long
//! as that is the same.  Stamps are of whole seconds, and by the clock of who wrote: only what was
//! settled when it was read is remembered.  What somebody changes by hand, and leaves the stamp as it
//! was, is seen within a second all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::catalog::model::{Image, ImageId, Location, Timestamp};

/// How old a stamp is that nobody writes again.
const SETTLED: Duration = Duration::from_secs(60);

/// How long what was read is shown again.
const MEMORY: Duration = Duration::from_millis(800);

/// Of how many images.
const MOST: usize = 1024;

/// What was read a moment ago.
#[derive(Default)]
pub(super) struct Remembered(Mutex<HashMap<ImageId, Known>>);

struct Known {
    read: Instant,
    stamp: Timestamp,
    properties: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    locations: Vec<Location>,
}

impl Known {
    fn is_good(&self) -> bool {
        self.read.elapsed() < MEMORY
    }
}

impl Remembered {
    /// Fills in what is known; says of which images nothing is.
    pub(super) fn recall<'i>(&self, images: &'i mut [Image]) -> Vec<&'i mut Image> {
        let memory = self.0.lock();
        let mut unknown = Vec::new();
        for image in images {
            match memory.get(&image.id) {
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

    /// Notes what was read in a transaction that began at `read`.
    pub(super) fn note(&self, images: &[&mut Image], read: Instant) {
        let now = Timestamp::now();
        let settled = images.iter().filter(|image| is_settled(image.updated_at, now));
        let mut memory = self.0.lock();
        if memory.len() + images.len() > MOST {
            memory.retain(|_, known| known.is_good());
        }
        let room = MOST.saturating_sub(memory.len());
        memory.extend(settled.take(room).map(|image| {
            let known = Known {
                read,
                stamp: image.updated_at,
                properties: image.properties.clone(),
                tags: image.tags.clone(),
                locations: image.locations.clone(),
            };
            (image.id, known)
        }));
    }
}

fn is_settled(stamp: Timestamp, now: Timestamp) -> bool {
    let age = now.as_micros().saturating_sub(stamp.as_micros());
    u64::try_from(age).is_ok_and(|age| Duration::from_micros(age) >= SETTLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(age: i64) -> Image {
        let stamp = Timestamp::from_micros(Timestamp::now().as_micros() - age * 1_000_000);
        Image { updated_at: stamp, ..Image::new(ImageId::random(), None) }
    }

    fn recalled(remembered: &Remembered, image: &Image) -> Option<BTreeSet<String>> {
        let mut found = [Image { tags: BTreeSet::new(), ..image.clone() }];
        let unknown = remembered.recall(&mut found).len();
        (unknown == 0).then(|| found[0].tags.clone())
    }

    #[test]
    fn only_what_is_settled_is_shown_again_and_only_under_the_same_stamp() {
        let remembered = Remembered::default();
        let (mut old, mut young) = (image(61), image(59));
        old.tags.insert("tag".to_owned());
        remembered.note(&[&mut old, &mut young], Instant::now());
        assert_eq!(recalled(&remembered, &old), Some(old.tags.clone()));
        assert_eq!(recalled(&remembered, &young), None);
        assert_eq!(recalled(&remembered, &Image { updated_at: Timestamp::now(), ..old }), None);
    }

    #[test]
    fn what_was_read_long_ago_is_read_again() {
        let remembered = Remembered::default();
        let mut old = image(61);
        let long_ago = Instant::now().checked_sub(MEMORY).unwrap();
        remembered.note(&[&mut old], long_ago);
        assert_eq!(recalled(&remembered, &old), None);
    }
}
