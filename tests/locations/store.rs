//! A store in front of a directory: its files may be given as locations, as the images of a pool may,
//! and it fails when it is told to.

// No test binary needs all of it.
#![allow(dead_code)]

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use glancefs::catalog::model::ImageId;
use glancefs::error::{Error, Result};
use glancefs::store::{ByteRange, Capacity, ImageReader, ImageWriter, ReadDone, Store, Stored};

/// The store.
pub struct Open {
    store: Arc<dyn Store>,
    distant: bool,
    opened: AtomicUsize,
    broken: AtomicBool,
    failing_reads: Arc<AtomicUsize>,
}

impl Open {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            distant: false,
            opened: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            failing_reads: Arc::default(),
        }
    }

    /// The same, as if it were not on this machine: what is read from it is kept.
    pub fn distant(self) -> Self {
        Self { distant: true, ..self }
    }

    /// How often something was opened in it.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Whether it is away from now on.
    pub fn break_down(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Has the next reads fail.
    pub fn fail_reads(&self, count: usize) {
        self.failing_reads.store(count, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::StoreUnavailable("away, as the test wants it".to_string()));
        }
        Ok(())
    }
}

impl Store for Open {
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

    fn takes_location(&self, url: &str) -> bool {
        let properties = self.store.properties();
        let directory = properties["data_dir"].as_str().unwrap();
        self.name_in(url).is_some_and(|name| url == format!("file://{directory}/{name}"))
    }

    fn is_local(&self) -> bool {
        !self.distant
    }

    fn create(&self, id: ImageId, size: Option<u64>) -> Result<Box<dyn ImageWriter>> {
        self.check()?;
        self.store.create(id, size)
    }

    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>> {
        self.check()?;
        self.opened.fetch_add(1, Ordering::SeqCst);
        let reader = self.store.open(url)?;
        Ok(Arc::new(Reader { reader, failing: Arc::clone(&self.failing_reads) }))
    }

    fn list(&self) -> Result<Vec<Stored>> {
        self.store.list()
    }

    fn delete(&self, url: &str) -> Result<()> {
        self.check()?;
        self.store.delete(url)
    }

    fn discard(&self, id: ImageId) -> Result<()> {
        self.check()?;
        self.store.discard(id)
    }

    fn capacity(&self) -> Result<Capacity> {
        self.store.capacity()
    }

    fn allocated(&self, url: &str) -> Option<u64> {
        self.store.allocated(url)
    }
}

struct Reader {
    reader: Arc<dyn ImageReader>,
    failing: Arc<AtomicUsize>,
}

impl ImageReader for Reader {
    fn size(&self) -> u64 {
        self.reader.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let fewer = |count: usize| count.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Err(Error::StoreUnavailable("no answer, as the test wants it".to_string()));
        }
        self.reader.read_at(offset, buffer)
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        Arc::clone(&self.reader).start_read(range, done);
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        self.reader.known_data(range)
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        self.reader.next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        self.reader.next_hole(offset)
    }

    fn local_file(&self) -> Option<&File> {
        None
    }
}
