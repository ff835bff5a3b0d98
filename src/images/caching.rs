//! Which images are kept in the disk cache, and when they are copied there.
//!
//! An image of a distant store that is opened for the second time is copied in the background, one
//! image at a time (`fill`), and so is one that an operator asks for (`requests`: by the API),
//! wherever it is: a directory may be a slow one.  It goes when it is deleted or deactivated: when
//! that is announced, or found when the daemon starts.  Whether somebody may read an image is decided
//! before anybody comes here.

mod fill;
mod requests;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

pub use requests::{CacheState, ClearTarget};

use super::TIME_PROPERTY;
use super::digest::Check;
use super::options::ImageCache;
use crate::cache::disk::{CachedFile, Contents, DiskCache, DiskFigures, FileOrElse};
use crate::catalog::Catalog;
use crate::catalog::model::{Image, ImageId, Status};
use crate::error::{Error, Result};
use crate::store::{ImageReader, Store};

/// How often an image is opened before it is copied.
const HOT: u32 = 2;

/// Images whose openings are counted, and images that are never copied until the next start.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Images that wait to be copied.
const QUEUE: usize = 1000;

/// How often the cache is looked after when there is nothing to do.
const IDLE: Duration = Duration::from_secs(10);

/// How long an image that could not be copied is left alone, however often it is opened.
const RETRY: Duration = Duration::from_secs(600);

/// How long the end waits for what is being copied to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// The disk cache of one catalog's images.
pub struct Caching {
    catalog: Arc<dyn Catalog>,
    stores: Vec<Arc<dyn Store>>,
    disk: Arc<DiskCache>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    opened: LruCache<ImageId, u32>,
    /// Never to be copied, and why.
    refused: LruCache<ImageId, String>,
    /// Not to be copied again soon: when that was tried.
    failed: LruCache<ImageId, Instant>,
    queue: VecDeque<Arc<Fill>>,
    filling: Option<Arc<Fill>>,
    /// Whether files are to be removed.
    sweep: bool,
    ending: bool,
    ended: bool,
}

/// The copying of one image, waiting, under way or ended.
pub struct Fill {
    image: ImageId,
    bytes: AtomicU64,
    size: u64,
    cancelled: AtomicBool,
    outcome: Mutex<Option<Result<(), String>>>,
    ended: Condvar,
}

impl Fill {
    fn new(image: ImageId, size: u64) -> Arc<Self> {
        Arc::new(Self {
            image,
            bytes: AtomicU64::new(0),
            size,
            cancelled: AtomicBool::new(false),
            outcome: Mutex::new(None),
            ended: Condvar::new(),
        })
    }

    /// Whose data is copied.
    pub fn image(&self) -> ImageId {
        self.image
    }

    /// Bytes of the image that are done, holes included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the image.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Waits for the end, or so long; then why it failed, if it did.
    pub fn wait(&self, time: Duration) -> Option<Result<(), String>> {
        let mut outcome = self.outcome.lock();
        if outcome.is_none() {
            self.ended.wait_for(&mut outcome, time);
        }
        outcome.clone()
    }

    fn end(&self, outcome: Result<(), String>) {
        self.outcome.lock().get_or_insert(outcome);
        self.ended.notify_all();
    }
}

impl Caching {
    /// Opens the cache, if one is configured, and begins to look after it in the background.
    ///
    /// # Errors
    /// `Config` when the directory cannot be used, unless all stores are local: then none is needed.
    pub(super) fn start(
        catalog: &Arc<dyn Catalog>,
        stores: &[Arc<dyn Store>],
        settings: Option<&ImageCache>,
    ) -> Result<Option<Arc<Self>>> {
        let Some(settings) = settings else { return Ok(None) };
        let disk = match DiskCache::open(&settings.directory, settings.max_size) {
            Err(error) if stores.iter().all(|store| store.is_local()) => {
                warn!(%error, "there is no image cache; all images are on this machine anyhow");
                return Ok(None);
            }
            opened => opened?,
        };
        let state = State {
            opened: LruCache::new(REMEMBERED),
            refused: LruCache::new(REMEMBERED),
            failed: LruCache::new(REMEMBERED),
            queue: VecDeque::new(),
            filling: None,
            sweep: false,
            ending: false,
            ended: false,
        };
        let caching = Arc::new(Self {
            catalog: Arc::clone(catalog),
            stores: stores.to_vec(),
            disk,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let this = Arc::clone(&caching);
        std::thread::Builder::new()
            .name("image-cache".to_owned())
            .spawn(move || this.work())
            .map_err(Error::io("start", "a thread"))?;
        Ok(Some(caching))
    }

    /// All cached images, the one that was used last first.
    pub fn list(&self) -> Vec<CachedFile> {
        self.disk.list()
    }

    /// How full it is.
    pub fn figures(&self) -> DiskFigures {
        self.disk.figures()
    }

    /// What is being copied, and then what waits to be.
    pub fn fills(&self) -> (Option<Arc<Fill>>, Vec<Arc<Fill>>) {
        let state = self.state.lock();
        let wanted = state.queue.iter().filter(|fill| !fill.cancelled.load(Ordering::Relaxed));
        (state.filling.clone(), wanted.cloned().collect())
    }

    /// Has an image copied, unless it is there.
    ///
    /// # Errors
    /// `Conflict` for one that is not active; `Unsupported` for one that cannot be verified or was
    /// found to be wrong; `OverQuota` when too many wait.
    pub fn prefetch(&self, image: &Image) -> Result<Arc<Fill>> {
        if image.status != Status::Active {
            return Err(Error::Conflict(format!("it is {}", image.status)));
        }
        if contents_of(image).is_none() {
            return Err(Error::Unsupported(UNVERIFIABLE.to_string()));
        }
        let size = image.size.unwrap_or_default();
        let mut state = self.state.lock();
        if let Some(reason) = state.refused.peek(&image.id) {
            return Err(Error::Unsupported(reason.clone()));
        }
        if let Some(fill) = state.pending(image.id) {
            return Ok(Arc::clone(fill));
        }
        let fill = Fill::new(image.id, size);
        if self.disk.holds(image.id) {
            fill.end(Ok(()));
        } else if state.ending || !state.enqueue(Arc::clone(&fill)) {
            return Err(Error::OverQuota(format!("{QUEUE} images wait to be cached already")));
        }
        drop(state);
        self.changed.notify_all();
        Ok(fill)
    }

    /// Removes an image from the cache; returns whether it was there.  Who reads it goes on.
    pub fn evict(&self, image: ImageId) -> bool {
        let was_there = self.forget(image);
        self.disk.sweep();
        was_there
    }

    /// Removes all images from the cache, those that wait or are being copied too; returns how many
    /// there were.
    pub fn evict_all(&self) -> usize {
        self.drop_queue();
        let filling = self.state.lock().filling.as_ref().map(|fill| fill.image);
        filling.map(|image| self.forget(image));
        self.evict_files()
    }

    /// Removes all images from the cache; returns how many there were.
    fn evict_files(&self) -> usize {
        let count = self.disk.images().into_iter().filter(|image| self.forget(*image)).count();
        self.disk.sweep();
        count
    }

    /// Copies nothing of what waits to be; returns how many that were.
    fn drop_queue(&self) -> usize {
        let queue = std::mem::take(&mut self.state.lock().queue);
        queue.iter().for_each(|fill| fill.end(Err("everything was evicted".to_string())));
        queue.len()
    }

    /// The file of an image whose data is at `url` in `store`, if there is one.
    pub(super) fn reader(
        &self,
        image: &Image,
        url: &str,
        store: &Arc<dyn Store>,
    ) -> Option<Arc<dyn ImageReader>> {
        if !self.disk.holds(image.id) {
            return None;
        }
        let contents = contents_of(image)?;
        let Some(file) = self.disk.reader(image.id, &contents) else {
            self.sweep_soon();
            return None;
        };
        let (store, url) = (Arc::clone(store), url.to_owned());
        let elsewhere = Box::new(move || store.open(&url));
        Some(Arc::new(FileOrElse::new(Arc::clone(&self.disk), image.id, file, elsewhere)))
    }

    /// Whether there is a file of an image.
    pub(super) fn holds(&self, image: ImageId) -> bool {
        self.disk.holds(image)
    }

    /// Whether there is a file of an image, or is to be one.
    pub(super) fn knows(&self, image: ImageId) -> bool {
        self.disk.holds(image) || self.state.lock().pending(image).is_some()
    }

    /// An image was opened, and read from its store.
    pub(super) fn note_open(&self, image: &Image) {
        if image.status != Status::Active || contents_of(image).is_none() {
            return;
        }
        let mut state = self.state.lock();
        let failed_lately = state.failed.peek(&image.id).is_some_and(|at| at.elapsed() < RETRY);
        if failed_lately || state.refused.contains(&image.id) || state.pending(image.id).is_some() {
            return;
        }
        let count = state.opened.get_or_insert_mut(image.id, || 0);
        *count += 1;
        if *count < HOT {
            return;
        }
        state.opened.pop(&image.id);
        // When too many wait already, it is counted anew.
        state.enqueue(Fill::new(image.id, image.size.unwrap_or_default()));
        drop(state);
        self.changed.notify_all();
    }

    /// An image is gone, or may not be read any more; returns whether there was a file of it.
    pub(super) fn forget(&self, image: ImageId) -> bool {
        let mut state = self.state.lock();
        state.opened.pop(&image);
        if let Some(fill) = state.pending(image) {
            fill.cancelled.store(true, Ordering::Relaxed);
        }
        drop(state);
        let was_there = self.disk.evict(image);
        if was_there {
            self.sweep_soon();
        }
        was_there
    }

    /// Stops copying, and waits for it, but not long.
    pub(super) fn shut_down(&self) {
        let until = Instant::now() + STOP_DEADLINE;
        let mut state = self.state.lock();
        state.ending = true;
        self.changed.notify_all();
        while !state.ended {
            if self.changed.wait_until(&mut state, until).timed_out() {
                return warn!("an image is still being copied to the cache: it is dropped");
            }
        }
    }

    fn sweep_soon(&self) {
        self.state.lock().sweep = true;
        self.changed.notify_all();
    }

    /// The life of the thread that looks after the cache.
    fn work(&self) {
        // Whoever is served now comes first.  For Linux this is about the thread alone.
        let _ = rustix::process::nice(10);
        if let Err(error) = self.disk.tidy() {
            warn!(%error, "the image cache is not tidied");
        }
        self.drop_what_went();
        while self.wait_for_work() {
            let next = {
                let mut state = self.state.lock();
                state.filling = state.queue.pop_front();
                state.filling.clone()
            };
            if let Some(fill) = next {
                self.fill(&fill);
            }
            self.disk.sweep();
            self.disk.save_sometimes();
        }
        self.disk.save();
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until there is something to do; false at the end.
    fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock();
        while !state.ending && state.queue.is_empty() && !state.sweep {
            if self.changed.wait_for(&mut state, IDLE).timed_out() {
                break;
            }
        }
        state.sweep = false;
        !state.ending
    }

    /// Drops the files of images that were deleted or deactivated while nobody looked.
    fn drop_what_went(&self) {
        let images = self.disk.images();
        if images.is_empty() {
            return;
        }
        match self.catalog.rows(Some(&images), TIME_PROPERTY) {
            Ok(rows) => {
                let active = rows.iter().filter(|row| row.status == Status::Active);
                let active: std::collections::HashSet<_> = active.map(|row| row.id).collect();
                for image in images.into_iter().filter(|image| !active.contains(image)) {
                    info!(%image, "no longer an active image: removed from the image cache");
                    self.forget(image);
                }
            }
            // Nobody gets at them without a record anyhow.
            Err(error) => warn!(%error, "the image cache is not compared with the catalog"),
        }
    }
}

impl State {
    /// The copying of an image, waiting or under way.
    fn pending(&self, image: ImageId) -> Option<&Arc<Fill>> {
        let all = self.filling.iter().chain(&self.queue);
        let mut wanted = all.filter(|fill| !fill.cancelled.load(Ordering::Relaxed));
        wanted.find(|fill| fill.image == image)
    }

    fn enqueue(&mut self, fill: Arc<Fill>) -> bool {
        let room = self.queue.len() < QUEUE;
        if room {
            self.queue.push_back(fill);
        }
        room
    }
}

const UNVERIFIABLE: &str = "its record has no size, or no hash to verify it by";

/// What a file must hold to stand for the image's data; `None` for what cannot be verified.
fn contents_of(image: &Image) -> Option<Contents> {
    Some(Contents { size: image.size?, hash: Check::name(image)? })
}
