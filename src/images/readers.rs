//! The data of images, open for reading.
//!
//! What is far away is read through the block cache, and stays open for a while after its last
//! reader: a reader that comes back, as those of an NFS server do for every request, finds its blocks,
//! its streams and an open image.  What has a verified file in the disk cache is read from there.

mod counted;

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tracing::warn;

use super::TIME_PROPERTY;
use super::caching::Caching;
use super::changes::Face;
use crate::cache::{BlockCache, CachedReader, Figures};
use crate::catalog::Catalog;
use crate::catalog::model::{Image, ImageId, Status};
use crate::error::Result;
use crate::store::{ImageReader, Store};
use counted::CountedReader;

/// Images that stay open without a reader.
const KEPT_OPEN: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// What is open, and the caches that it is read through.
pub(super) struct Readers {
    catalog: Arc<dyn Catalog>,
    cache: Arc<BlockCache>,
    caching: Option<Arc<Caching>>,
    open: Mutex<LruCache<ImageId, Open>>,
}

struct Open {
    url: String,
    reader: Arc<CachedReader>,
}

impl Readers {
    pub(super) fn new(
        catalog: Arc<dyn Catalog>,
        cache: Arc<BlockCache>,
        caching: Option<Arc<Caching>>,
    ) -> Arc<Self> {
        let open = Mutex::new(LruCache::new(KEPT_OPEN));
        Arc::new(Self { catalog, cache, caching, open })
    }

    /// Opens the data at `url`, in `store`, of an image.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn open(
        &self,
        image: &Image,
        url: &str,
        store: &Arc<dyn Store>,
    ) -> Result<Arc<dyn ImageReader>> {
        if let Some(reader) = self.open_near(image, url, store)? {
            return Ok(reader);
        }
        if let Some(caching) = &self.caching {
            caching.note_open(image);
        }
        if let Some(reader) = self.kept(image.id, url) {
            return Ok(reader);
        }
        let source = Arc::new(CountedReader::new(store.open(url)?, store.name()));
        let reader = Arc::new(CachedReader::new(Arc::clone(&self.cache), image.id, source));
        let open = Open { url: url.to_owned(), reader: Arc::clone(&reader) };
        // Closing what it displaces may take its time, so it is done outside the lock.
        let displaced = self.open.lock().push(image.id, open);
        drop(displaced);
        // It may have been removed while it was opened, and forgotten before it was kept: its data
        // would stay for as long as it is open.  The record goes first, so this sees that.
        self.changed(&[image.id]);
        Ok(reader)
    }

    /// Opens the data if it is on this machine: in the disk cache, or in a local store.
    ///
    /// # Errors
    /// The local store's.
    pub(super) fn open_near(
        &self,
        image: &Image,
        url: &str,
        store: &Arc<dyn Store>,
    ) -> Result<Option<Arc<dyn ImageReader>>> {
        match self.caching.as_ref().and_then(|caching| caching.reader(image, url, store)) {
            Some(reader) => Ok(Some(reader)),
            None if store.is_local() => store.open(url).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there is a file of an image in the disk cache.
    pub(super) fn is_on_disk(&self, image: ImageId) -> bool {
        self.caching.as_ref().is_some_and(|caching| caching.holds(image))
    }

    /// The disk cache, where there is one.
    pub(super) fn caching(&self) -> Option<&Arc<Caching>> {
        self.caching.as_ref()
    }

    /// Figures of the cache.
    pub(super) fn figures(&self) -> Figures {
        self.cache.figures()
    }

    /// Forgets what is known of an image's data.
    pub(super) fn forget(&self, image: ImageId) {
        let closed = self.open.lock().pop(&image);
        drop(closed);
        self.cache.forget(image);
        if let Some(caching) = &self.caching {
            caching.forget(image);
        }
    }

    fn knows(&self, image: ImageId) -> bool {
        self.open.lock().contains(&image)
            || self.cache.holds(image)
            || self.caching.as_ref().is_some_and(|caching| caching.knows(image))
    }

    fn kept(&self, image: ImageId, url: &str) -> Option<Arc<dyn ImageReader>> {
        let mut open = self.open.lock();
        let kept = open.get(&image)?;
        if kept.url == url && !kept.reader.has_failed() {
            return Some(Arc::<CachedReader>::clone(&kept.reader));
        }
        let closed = open.pop(&image);
        drop(open);
        drop(closed);
        None
    }
}

impl Face for Readers {
    /// Data of an image that is gone, or taken out of use, is not kept.
    fn changed(&self, ids: &[ImageId]) {
        let known: Vec<ImageId> = ids.iter().copied().filter(|id| self.knows(*id)).collect();
        if known.is_empty() {
            return;
        }
        let rows = self.catalog.rows(Some(&known), TIME_PROPERTY).unwrap_or_else(|error| {
            warn!(%error, "what is cached of images that changed is dropped");
            Vec::new()
        });
        for id in known {
            if !rows.iter().any(|row| row.id == id && row.status == Status::Active) {
                self.forget(id);
            }
        }
    }

    fn settle(&self) {}
}
