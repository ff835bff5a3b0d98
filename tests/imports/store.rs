//! A store in front of another one, which waits or fails when it is told to.

use std::sync::Arc;
use std::time::Duration;

use glancefs::catalog::model::ImageId;
use glancefs::error::{Error, Result};
use glancefs::store::{ByteRange, Capacity, ImageReader, ImageWriter, Store, Stored};
use parking_lot::{Condvar, Mutex};

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Default)]
struct Mood {
    fails: bool,
    waits: bool,
    begun: bool,
}

#[derive(Default)]
struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
}

impl Shared {
    fn until(&self, ready: impl Fn(&Mood) -> bool) {
        let mut mood = self.mood.lock();
        while !ready(&mood) {
            assert!(!self.changed.wait_for(&mut mood, PATIENCE).timed_out(), "nobody comes");
        }
    }

    fn set(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock());
        self.changed.notify_all();
    }
}

/// The store.
pub struct Moody {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

impl Moody {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, shared: Arc::default() }
    }

    /// Whether writes fail from now on.
    pub fn fail(&self, fails: bool) {
        self.shared.set(|mood| mood.fails = fails);
    }

    /// Has the next writes wait.
    pub fn wait(&self) {
        self.shared.set(|mood| (mood.waits, mood.begun) = (true, false));
    }

    /// Waits for a write that waits.
    pub fn has_begun(&self) {
        self.shared.until(|mood| mood.begun);
    }

    /// Has them wait no longer.
    pub fn go_on(&self) {
        self.shared.set(|mood| mood.waits = false);
    }
}

impl Store for Moody {
    fn name(&self) -> &str {
        self.store.name()
    }

    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn owns(&self, url: &str) -> bool {
        self.store.owns(url)
    }

    fn name_in(&self, url: &str) -> Option<String> {
        self.store.name_in(url)
    }

    fn is_local(&self) -> bool {
        true
    }

    fn create(&self, id: ImageId, size: Option<u64>) -> Result<Box<dyn ImageWriter>> {
        let writer = self.store.create(id, size)?;
        Ok(Box::new(Writer { writer, shared: Arc::clone(&self.shared) }))
    }

    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>> {
        self.store.open(url)
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.store.list()
    }

    fn delete(&self, url: &str) -> Result<()> {
        self.store.delete(url)
    }

    fn discard(&self, id: ImageId) -> Result<()> {
        self.store.discard(id)
    }

    fn capacity(&self) -> Result<Capacity> {
        self.store.capacity()
    }

    fn allocated(&self, url: &str) -> Option<u64> {
        self.store.allocated(url)
    }
}

struct Writer {
    writer: Box<dyn ImageWriter>,
    shared: Arc<Shared>,
}

impl ImageWriter for Writer {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.shared.set(|mood| mood.begun = true);
        self.shared.until(|mood| !mood.waits);
        if self.shared.mood.lock().fails {
            return Err(Error::StoreFull("no room, as the test wants it".to_string()));
        }
        self.writer.write_at(offset, data)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.writer.read_at(offset, buffer)
    }

    fn punch(&mut self, range: ByteRange) -> Result<()> {
        self.writer.punch(range)
    }

    fn set_len(&mut self, length: u64) -> Result<()> {
        self.writer.set_len(length)
    }

    fn len(&self) -> u64 {
        self.writer.len()
    }

    fn data_extents(&mut self, range: ByteRange) -> Result<Vec<ByteRange>> {
        self.writer.data_extents(range)
    }

    fn copy_from(
        &mut self,
        source: &dyn ImageReader,
        source_offset: u64,
        offset: u64,
        length: u64,
    ) -> Result<u64> {
        self.writer.copy_from(source, source_offset, offset, length)
    }

    fn sync(&mut self) -> Result<()> {
        self.writer.sync()
    }

    fn finish(self: Box<Self>) -> Result<String> {
        self.writer.finish()
    }
}
