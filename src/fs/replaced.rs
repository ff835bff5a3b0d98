//! Images whose place others have taken (`-o replace`), for those who have looked them up before.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use crate::catalog::model::ImageId;

/// As many as one viewer may have looked up before.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Images that were replaced.
pub struct Replaced(Mutex<LruCache<ImageId, Successor>>);

struct Successor {
    id: ImageId,
    /// The file name of both.
    name: String,
}

impl Default for Replaced {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Replaced {
    /// The image that has taken an image's place by now, and its file name, if one has.
    pub fn newest(&self, id: ImageId) -> Option<(ImageId, String)> {
        let replaced = self.0.lock();
        let mut newest = replaced.peek(&id)?;
        // No image takes the place of a later one, so this ends.
        while let Some(next) = replaced.peek(&newest.id) {
            newest = next;
        }
        Some((newest.id, newest.name.clone()))
    }

    /// Notes that an image has taken the place of an older one, and under which file name.
    pub fn remember(&self, old: ImageId, id: ImageId, name: String) {
        self.0.lock().put(old, Successor { id, name });
    }
}
