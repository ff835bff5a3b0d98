//! How much the images of one project may take together.  Glance: `user_storage_quota`.
//!
//! The catalog counts what is there; what is on its way counts from the moment it is allowed.  Each
//! upload holds the bytes that it is about to have, and a byte that would be one too many is refused
//! before it is written.  Among the uploads of this process, by whichever face, that is exact: one
//! that is completed goes on being counted here until it gives its hold back, and the catalog is
//! asked without it.  What others write to the catalog meanwhile is seen a second later, and once
//! more before an upload is completed.
//!
//! Images without an owner count together, as in Glance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::catalog::model::{Image, ImageId};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// How long what the catalog said is taken for true.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// How often the catalog is asked again because uploads began or ended meanwhile.
const ATTEMPTS: usize = 100;

/// The quota, and what uploads hold of it.
pub(super) struct StorageQuota {
    /// Bytes; `None` for no limit.
    limit: Option<u64>,
    groups: Mutex<HashMap<Option<ProjectId>, Group>>,
}

/// The uploads of one project.
#[derive(Default)]
struct Group {
    held: HashMap<ImageId, Held>,
    /// How often an upload began or ended.
    changes: u64,
    /// What the images without an upload take, and when the catalog said so.
    known: Option<(u64, Instant)>,
}

#[derive(Clone, Copy)]
struct Held {
    /// What the image took before.
    before: u64,
    /// What the upload is to have.
    bytes: u64,
}

/// What one upload holds, until it is dropped.
pub(super) struct Hold {
    quota: Arc<StorageQuota>,
    owner: Option<ProjectId>,
    image: ImageId,
}

impl StorageQuota {
    pub(super) fn new(limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self { limit, groups: Mutex::default() })
    }

    /// An upload of `image` begins; it holds nothing yet.
    pub(super) fn begin(self: &Arc<Self>, image: &Image) -> Option<Hold> {
        self.limit?;
        let copies = image.locations.iter().filter(|location| location.status != "deleted");
        let before = image.size.unwrap_or_default().saturating_mul(copies.count() as u64);
        let mut groups = self.groups.lock();
        let group = groups.entry(image.owner.clone()).or_default();
        group.held.insert(image.id, Held { before, bytes: 0 });
        group.changed();
        let (quota, owner) = (Arc::clone(self), image.owner.clone());
        Some(Hold { quota, owner, image: image.id })
    }
}

impl Group {
    fn changed(&mut self) {
        self.changes += 1;
        self.known = None;
    }

    /// Holds so much for an upload if it fits beside everything else; else what is left for it.
    fn take(&mut self, image: ImageId, bytes: u64, elsewhere: u64, limit: u64) -> Result<(), u64> {
        let others = self.held.iter().fold(elsewhere, |sum, (other, held)| {
            let bytes = if *other == image { 0 } else { held.bytes };
            sum.saturating_add(held.before).saturating_add(bytes)
        });
        let left = limit.saturating_sub(others);
        if bytes > left {
            return Err(left);
        }
        if let Some(held) = self.held.get_mut(&image) {
            held.bytes = bytes;
        }
        Ok(())
    }
}

impl Hold {
    /// The upload is to have so many bytes in all.
    ///
    /// # Errors
    /// `OverQuota` when they do not fit; then it holds what it held.  The catalog's.
    pub(super) fn set(&self, catalog: &dyn Catalog, bytes: u64) -> Result<()> {
        if let Some(held) = self.group(|group| group.held.get(&self.image).copied())
            && bytes <= held.bytes
        {
            self.group(|group| group.held.insert(self.image, Held { bytes, ..held }));
            return Ok(());
        }
        self.fit(catalog, bytes, KNOWN_FOR)
    }

    /// Whether what the upload has still fits, now that it is complete.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub(super) fn check(&self, catalog: &dyn Catalog, bytes: u64) -> Result<()> {
        self.fit(catalog, bytes, Duration::ZERO)
    }

    /// Whether there is room for anything.  Glance: an upload that does not say its size is not
    /// begun otherwise.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub(super) fn check_any_left(&self, catalog: &dyn Catalog) -> Result<()> {
        self.fit(catalog, 1, KNOWN_FOR)?;
        self.set(catalog, 0)
    }

    fn fit(&self, catalog: &dyn Catalog, bytes: u64, known_for: Duration) -> Result<()> {
        let limit = self.quota.limit.unwrap_or(u64::MAX);
        let known = self.group(|group| {
            let (elsewhere, _) = group.known.filter(|(_, at)| at.elapsed() < known_for)?;
            Some(group.take(self.image, bytes, elsewhere, limit))
        });
        if let Some(Ok(())) = known {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let (changes, uploading) =
                self.group(|group| (group.changes, group.held.keys().copied().collect::<Vec<_>>()));
            let elsewhere = catalog.storage_usage(self.owner.as_ref(), &uploading)?;
            let taken = self.group(|group| {
                // Who came or went meanwhile may be counted twice, or not at all.
                if group.changes != changes {
                    return None;
                }
                group.known = Some((elsewhere, Instant::now()));
                Some(group.take(self.image, bytes, elsewhere, limit))
            });
            match taken {
                None => continue,
                Some(Ok(())) => return Ok(()),
                Some(Err(left)) => return Err(over(bytes, left)),
            }
        }
        let what = "too many uploads begin and end at once to count their bytes; try again";
        Err(Error::Conflict(what.to_owned()))
    }

    fn group<T>(&self, look: impl FnOnce(&mut Group) -> T) -> T {
        look(self.quota.groups.lock().entry(self.owner.clone()).or_default())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut groups = self.quota.groups.lock();
        if let Some(group) = groups.get_mut(&self.owner) {
            group.held.remove(&self.image);
            group.changed();
            if group.held.is_empty() {
                groups.remove(&self.owner);
            }
        }
    }
}

fn over(bytes: u64, left: u64) -> Error {
    Error::OverQuota(format!(
        "Image exceeds the storage quota: The size of the data {bytes} will exceed the limit. \
         {left} bytes remaining."
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::catalog::model::{Location, Status};
    use crate::catalog::sqlite::SqliteCatalog;

    fn image(size: Option<u64>, copies: usize) -> Image {
        let mut image = Image::new(ImageId::random(), Some(ProjectId::new("p")));
        image.size = size;
        image.status = if size.is_some() { Status::Active } else { Status::Saving };
        let url = |copy| Location::unnamed(format!("file:///images/{}-{copy}", image.id));
        image.locations = (0..copies).map(url).collect();
        image
    }

    fn catalog() -> (tempfile::TempDir, SqliteCatalog) {
        let directory = tempfile::tempdir().unwrap();
        let catalog = SqliteCatalog::open(directory.path().join("glance.sqlite")).unwrap();
        (directory, catalog)
    }

    #[test]
    fn every_copy_counts_and_the_last_byte_fits() {
        let (_directory, catalog) = catalog();
        catalog.insert(&image(Some(300), 2)).unwrap();
        catalog.insert(&image(Some(50), 0)).unwrap();
        let quota = StorageQuota::new(Some(1000));
        let hold = quota.begin(&image(None, 0)).unwrap();
        hold.set(&catalog, 400).unwrap();
        let refused = hold.set(&catalog, 401).unwrap_err();
        assert!(refused.to_string().contains("data 401") && refused.to_string().contains("400 b"));
        let other = quota.begin(&image(None, 0)).unwrap();
        assert!(other.check_any_left(&catalog).is_err());
        hold.set(&catalog, 100).unwrap();
        other.set(&catalog, 300).unwrap();
        assert!(other.set(&catalog, 301).is_err());
        drop(hold);
        other.set(&catalog, 400).unwrap();
        let mut elsewhere = image(None, 0);
        elsewhere.owner = None;
        quota.begin(&elsewhere).unwrap().set(&catalog, 1000).unwrap();
    }

    #[test]
    fn what_is_completed_is_never_counted_twice_nor_left_out() {
        let (_directory, catalog) = catalog();
        let quota = StorageQuota::new(Some(40 * 7));
        let completed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut upload = image(None, 0);
                        let hold = quota.begin(&upload).unwrap();
                        catalog.insert(&upload).unwrap();
                        if (1..=7).any(|bytes| hold.set(&catalog, bytes).is_err()) {
                            continue;
                        }
                        let recorded = upload.clone();
                        upload.size = Some(7);
                        upload.status = Status::Active;
                        upload.locations = image(Some(7), 1).locations;
                        assert!(catalog.save(&recorded, &upload, &[Status::Saving]).unwrap());
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let owner = ProjectId::new("p");
        let used = catalog.storage_usage(Some(&owner), &[]).unwrap();
        assert_eq!(used, 7 * completed.load(Ordering::Relaxed));
        assert!(used <= 280, "{used}");
        assert!(quota.groups.lock().is_empty());
        // Some may have been refused for what others held and gave up: there is room for those.
        let hold = quota.begin(&image(None, 0)).unwrap();
        hold.set(&catalog, 280 - used).unwrap();
        assert!(hold.set(&catalog, 280 - used + 1).is_err());
    }
}
