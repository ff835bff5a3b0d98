//! How much the images of one project may have together.  Glance: `user_storage_quota`, and Keystone's
//! unified limits.
//!
//! The catalog counts what is there; what is on its way counts from the moment it is allowed.  Each
//! upload holds what it is about to have, and a byte, or an image, that would be one too many is
//! refused before it is written.  Among the uploads of this process, by whichever face, that is exact:
//! one that is completed goes on being counted here until it gives its hold back, and the catalog is
//! asked without it.  What others write to the catalog meanwhile is seen a second later, and once more
//! before an upload is completed.
//!
//! Images without an owner count together, as in Glance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::limits::{ALL, ProjectLimits, Usage};
use crate::catalog::model::{Image, ImageId};
use crate::catalog::{Catalog, Tallied};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// How long what the catalog said is taken for true.
const KNOWN_FOR: Duration = Duration::from_secs(1);

/// How often the catalog is asked again because uploads began or ended meanwhile.
const ATTEMPTS: usize = 100;

/// What a project may have so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Bytes of images, every copy counted.
    Stored,
    /// Bytes that wait to be imported.
    Staged,
    /// Images.
    Images,
    /// Images whose data is on its way.
    Coming,
}

impl Counted {
    /// Keystone's name for it.
    fn resource(self) -> &'static str {
        match self {
            Self::Stored => "image_size_total",
            Self::Staged => "image_stage_total",
            Self::Images => "image_count_total",
            Self::Coming => "image_count_uploading",
        }
    }

    /// A limit of Keystone's in our unit: bytes, or images.
    fn in_ours(self, limit: u64) -> u64 {
        limit.saturating_mul(1 << self.shift())
    }

    /// How many of ours are one of Keystone's, as a power of two.
    fn shift(self) -> u32 {
        match self {
            Self::Stored | Self::Staged => 20,
            Self::Images | Self::Coming => 0,
        }
    }

    /// What an owner has of it, but for some images.
    fn had(
        self,
        catalog: &dyn Catalog,
        owner: Option<&ProjectId>,
        except: &[ImageId],
    ) -> Result<u64> {
        Ok(match self {
            Self::Stored => catalog.storage_usage(owner, except)?,
            Self::Staged => catalog.tally(owner, Tallied::Staged, except)?.bytes,
            Self::Images => catalog.tally(owner, Tallied::There, except)?.images,
            Self::Coming => catalog.tally(owner, Tallied::Coming, except)?.images,
        })
    }

    /// What an image has of it before anything is added.
    fn of(self, image: &Image) -> u64 {
        if self != Self::Stored {
            return 0;
        }
        let copies = image.locations.iter().filter(|location| location.status != "deleted");
        image.size.unwrap_or_default().saturating_mul(copies.count() as u64)
    }
}

impl Counted {
    /// So much more does not fit beside the others, in the words of Glance and oslo.limit.
    fn over(self, owner: Option<&ProjectId>, limit: u64, amount: u64, others: u64) -> Error {
        let (usage, delta) = match self {
            // Its record counts already.
            Self::Coming => (others + amount, 0),
            _ => (others >> self.shift(), amount.div_ceil(1 << self.shift())),
        };
        let project = owner.map_or("None", ProjectId::as_str);
        Error::OverQuota(format!(
            "The request returned a 413 Request Entity Too Large. This generally means that rate \
             limiting or a quota threshold was breached.\n\nThe response body:\nProject {project} is \
             over a limit for [Resource {} is over limit of {limit} due to current usage {usage} and \
             delta {delta}]",
            self.resource()
        ))
    }
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// So many bytes, for every project: `user_storage_quota`.
    Fixed(u64),
    /// Keystone's, in its unit.
    Unified(u64),
}

/// The limits, and what is on its way.
pub(crate) struct Totals {
    /// `user_storage_quota`; no longer asked about where Keystone knows.
    fixed: Option<u64>,
    unified: Option<Arc<dyn ProjectLimits>>,
    /// In the order of [`ALL`].
    quotas: [Arc<Quota>; 4],
}

/// One of them.
struct Quota {
    counted: Counted,
    groups: Mutex<HashMap<Option<ProjectId>, Group>>,
}

/// The uploads of one project.
#[derive(Default)]
struct Group {
    held: HashMap<ImageId, Held>,
    /// How often an upload began or ended.
    changes: u64,
    /// What the images without an upload have, and when the catalog said so.
    known: Option<(u64, Instant)>,
}

#[derive(Clone, Copy)]
struct Held {
    /// What the image had before.
    before: u64,
    /// What the upload is to have.
    amount: u64,
}

/// What one upload holds, until it is dropped.
pub(crate) struct Hold {
    quota: Arc<Quota>,
    limit: Limit,
    owner: Option<ProjectId>,
    image: ImageId,
}

impl Totals {
    pub(crate) fn new(fixed: Option<u64>, unified: Option<Arc<dyn ProjectLimits>>) -> Self {
        let quota = |counted| Arc::new(Quota { counted, groups: Mutex::default() });
        Self { fixed, unified, quotas: ALL.map(quota) }
    }

    /// Something of `image` is to begin that counts; it holds nothing yet.  `None` without a limit.
    ///
    /// # Errors
    /// Those of who knows the limits.
    pub(crate) fn begin(&self, counted: Counted, image: &Image) -> Result<Option<Hold>> {
        let limit = match (&self.unified, self.fixed) {
            (Some(unified), _) => {
                let limit = unified.limit(image.owner.as_ref(), counted.resource())?;
                u64::try_from(limit).ok().map(Limit::Unified)
            }
            (None, Some(bytes)) if counted == Counted::Stored => Some(Limit::Fixed(bytes)),
            _ => None,
        };
        let quota = self.quotas.iter().find(|quota| quota.counted == counted);
        Ok(limit.zip(quota).map(|(limit, quota)| quota.begin(image, limit)))
    }

    /// As [`begin`](Self::begin), and counts one image.
    ///
    /// # Errors
    /// `OverQuota`; the catalog's, and those of who knows the limits.
    pub(crate) fn claim(
        &self,
        counted: Counted,
        image: &Image,
        catalog: &dyn Catalog,
    ) -> Result<Option<Hold>> {
        let hold = self.begin(counted, image)?;
        hold.as_ref().map_or(Ok(()), |hold| hold.set(catalog, 1))?;
        Ok(hold)
    }

    /// Whether so much more of an image has room by Keystone's limits, before anything else is asked.
    /// What is on its way is not counted yet.  Glance: the first of all checks.
    ///
    /// # Errors
    /// `OverQuota`; the catalog's, and those of who knows the limits.
    pub(crate) fn check_room(
        &self,
        counted: Counted,
        image: &Image,
        amount: u64,
        catalog: &dyn Catalog,
    ) -> Result<()> {
        let owner = image.owner.as_ref();
        let Some(unified) = &self.unified else { return Ok(()) };
        let Ok(limit) = u64::try_from(unified.limit(owner, counted.resource())?) else {
            return Ok(());
        };
        let had = counted.had(catalog, owner, &[])?;
        if had.saturating_add(amount) <= counted.in_ours(limit) {
            return Ok(());
        }
        Err(counted.over(owner, limit, amount, had))
    }

    /// What a project has of what Keystone limits; nothing where Keystone does not.
    ///
    /// # Errors
    /// The catalog's, and those of who knows the limits.
    pub(crate) fn usage(
        &self,
        catalog: &dyn Catalog,
        project: Option<&ProjectId>,
    ) -> Result<Vec<Usage>> {
        let Some(unified) = &self.unified else { return Ok(Vec::new()) };
        let usage = |counted: Counted| {
            let resource = counted.resource();
            let limit = unified.limit(project, resource)?;
            let usage = counted.had(catalog, project, &[])? >> counted.shift();
            Ok(Usage { resource, usage, limit })
        };
        ALL.into_iter().map(usage).collect()
    }
}

impl Quota {
    fn begin(self: &Arc<Self>, image: &Image, limit: Limit) -> Hold {
        let before = self.counted.of(image);
        let mut groups = self.groups.lock();
        let group = groups.entry(image.owner.clone()).or_default();
        group.held.insert(image.id, Held { before, amount: 0 });
        group.changed();
        let (quota, owner) = (Arc::clone(self), image.owner.clone());
        Hold { quota, limit, owner, image: image.id }
    }
}

impl Group {
    fn changed(&mut self) {
        self.changes += 1;
        self.known = None;
    }

    /// Holds so much for an upload if it fits beside everything else; else how much that is.
    fn take(&mut self, image: ImageId, amount: u64, elsewhere: u64, limit: u64) -> Result<(), u64> {
        let others = self.held.iter().fold(elsewhere, |sum, (other, held)| {
            let amount = if *other == image { 0 } else { held.amount };
            sum.saturating_add(held.before).saturating_add(amount)
        });
        if amount > limit.saturating_sub(others) {
            return Err(others);
        }
        if let Some(held) = self.held.get_mut(&image) {
            held.amount = amount;
        }
        Ok(())
    }
}

impl Hold {
    /// The upload is to have so much in all.
    ///
    /// # Errors
    /// `OverQuota` when it does not fit; then it holds what it held.  The catalog's.
    pub(crate) fn set(&self, catalog: &dyn Catalog, amount: u64) -> Result<()> {
        if let Some(held) = self.group(|group| group.held.get(&self.image).copied())
            && amount <= held.amount
        {
            self.group(|group| group.held.insert(self.image, Held { amount, ..held }));
            return Ok(());
        }
        self.fit(catalog, amount, KNOWN_FOR)
    }

    /// Whether what the upload has still fits, now that it is complete.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub(crate) fn check(&self, catalog: &dyn Catalog, amount: u64) -> Result<()> {
        self.fit(catalog, amount, Duration::ZERO)
    }

    /// Whether there is room for anything.  Glance: an upload that does not say its size is not
    /// begun otherwise.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub(crate) fn check_any_left(&self, catalog: &dyn Catalog) -> Result<()> {
        self.fit(catalog, 1, KNOWN_FOR)?;
        self.set(catalog, 0)
    }

    /// In our unit: bytes, or images.
    fn limit(&self) -> u64 {
        match self.limit {
            Limit::Fixed(bytes) => bytes,
            Limit::Unified(limit) => self.quota.counted.in_ours(limit),
        }
    }

    fn fit(&self, catalog: &dyn Catalog, amount: u64, known_for: Duration) -> Result<()> {
        let limit = self.limit();
        let known = self.group(|group| {
            let (elsewhere, _) = group.known.filter(|(_, at)| at.elapsed() < known_for)?;
            Some(group.take(self.image, amount, elsewhere, limit))
        });
        if let Some(Ok(())) = known {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            let (changes, uploading) =
                self.group(|group| (group.changes, group.held.keys().copied().collect::<Vec<_>>()));
            let elsewhere = self.quota.counted.had(catalog, self.owner.as_ref(), &uploading)?;
            let taken = self.group(|group| {
                // Who came or went meanwhile may be counted twice, or not at all.
                if group.changes != changes {
                    return None;
                }
                group.known = Some((elsewhere, Instant::now()));
                Some(group.take(self.image, amount, elsewhere, limit))
            });
            match taken {
                None => continue,
                Some(Ok(())) => return Ok(()),
                Some(Err(others)) => return Err(self.over(amount, others)),
            }
        }
        let what = "too many uploads begin and end at once to count them; try again";
        Err(Error::Conflict(what.to_owned()))
    }

    fn group<T>(&self, look: impl FnOnce(&mut Group) -> T) -> T {
        look(self.quota.groups.lock().entry(self.owner.clone()).or_default())
    }

    /// In Glance's words.
    fn over(&self, amount: u64, others: u64) -> Error {
        match self.limit {
            Limit::Unified(limit) => {
                self.quota.counted.over(self.owner.as_ref(), limit, amount, others)
            }
            Limit::Fixed(limit) => Error::OverQuota(format!(
                "Image exceeds the storage quota: The size of the data {amount} will exceed the \
                 limit. {} bytes remaining.",
                limit.saturating_sub(others)
            )),
        }
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

    fn bytes(limit: u64) -> Totals {
        Totals::new(Some(limit), None)
    }

    fn begin(totals: &Totals, image: &Image) -> Hold {
        totals.begin(Counted::Stored, image).unwrap().unwrap()
    }

    /// The same of everything, for everybody.
    #[derive(Debug)]
    struct Flat(i64);

    impl ProjectLimits for Flat {
        fn limit(&self, _: Option<&ProjectId>, _: &str) -> Result<i64> {
            Ok(self.0)
        }
    }

    #[test]
    fn every_copy_counts_and_the_last_byte_fits() {
        let (_directory, catalog) = catalog();
        catalog.insert(&image(Some(300), 2)).unwrap();
        catalog.insert(&image(Some(50), 0)).unwrap();
        let quota = bytes(1000);
        let hold = begin(&quota, &image(None, 0));
        hold.set(&catalog, 400).unwrap();
        let refused = hold.set(&catalog, 401).unwrap_err();
        assert!(refused.to_string().contains("data 401") && refused.to_string().contains("400 b"));
        let other = begin(&quota, &image(None, 0));
        assert!(other.check_any_left(&catalog).is_err());
        hold.set(&catalog, 100).unwrap();
        other.set(&catalog, 300).unwrap();
        assert!(other.set(&catalog, 301).is_err());
        drop(hold);
        other.set(&catalog, 400).unwrap();
        let mut elsewhere = image(None, 0);
        elsewhere.owner = None;
        begin(&quota, &elsewhere).set(&catalog, 1000).unwrap();
    }

    #[test]
    fn what_is_completed_is_never_counted_twice_nor_left_out() {
        let (_directory, catalog) = catalog();
        let quota = bytes(40 * 7);
        let completed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut upload = image(None, 0);
                        let hold = begin(&quota, &upload);
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
        assert!(quota.quotas.iter().all(|quota| quota.groups.lock().is_empty()));
        // Some may have been refused for what others held and gave up: there is room for those.
        let hold = begin(&quota, &image(None, 0));
        hold.set(&catalog, 280 - used).unwrap();
        assert!(hold.set(&catalog, 280 - used + 1).is_err());
    }

    #[test]
    fn however_many_are_made_at_once_no_image_is_one_too_many() {
        let (_directory, catalog) = catalog();
        let totals = Totals::new(Some(1), Some(Arc::new(Flat(20))));
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let image = image(None, 0);
                        let Ok(_claim) = totals.claim(Counted::Images, &image, &catalog) else {
                            continue;
                        };
                        catalog.insert(&image).unwrap();
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(made.load(Ordering::Relaxed) <= 20);
        while totals.claim(Counted::Images, &image(None, 0), &catalog).is_ok() {
            catalog.insert(&image(None, 0)).unwrap();
        }
        let owner = ProjectId::new("p");
        assert_eq!(catalog.tally(Some(&owner), Tallied::There, &[]).unwrap().images, 20);
    }

    #[test]
    fn keystones_limits_are_in_mib_and_refusals_in_its_words() {
        let (_directory, catalog) = catalog();
        let totals = Totals::new(Some(1), Some(Arc::new(Flat(2))));
        let hold = begin(&totals, &image(None, 0));
        hold.set(&catalog, 2 << 20).unwrap();
        let refused = hold.set(&catalog, (2 << 20) + 1).unwrap_err().to_string();
        let words = "Project p is over a limit for [Resource image_size_total is over limit of 2 due \
                     to current usage 0 and delta 3]";
        assert!(refused.ends_with(words), "{refused}");
        let unlimited = Totals::new(Some(1), Some(Arc::new(Flat(-1))));
        assert!(unlimited.begin(Counted::Stored, &image(None, 0)).unwrap().is_none());
        let none = Totals::new(None, Some(Arc::new(Flat(0))));
        assert!(none.claim(Counted::Coming, &image(None, 0), &catalog).is_err());
    }
}
