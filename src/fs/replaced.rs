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
        newest(&replaced, id).map(|newest| (newest.id, newest.name.clone()))
    }

    /// Notes that an image takes the place of an older one, or of what has taken that by now, and under
    /// which file name; returns whose place that is: of several that end at once, each another's.
    pub fn take_place(&self, old: ImageId, id: ImageId, name: String) -> ImageId {
        let mut replaced = self.0.lock();
        let old = newest(&replaced, old).map_or(old, |newest| newest.id);
        replaced.put(old, Successor { id, name });
        old
    }
}

fn newest(replaced: &LruCache<ImageId, Successor>, id: ImageId) -> Option<&Successor> {
    let mut newest = replaced.peek(&id)?;
    // No image takes the place of a later one, so this ends.
    while let Some(next) = replaced.peek(&newest.id) {
        newest = next;
    }
    Some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_that_replace_one_image_each_has_the_place_of_another() {
        let replaced = Replaced::default();
        let [old, first, second] = [0; 3].map(|_| ImageId::random());
        assert_eq!(replaced.newest(old), None);
        assert_eq!(replaced.take_place(old, first, "n".into()), old);
        assert_eq!(replaced.take_place(old, second, "n".into()), first);
        assert_eq!(replaced.newest(old), Some((second, "n".into())));
        assert_eq!(replaced.newest(first), Some((second, "n".into())));
    }
}
