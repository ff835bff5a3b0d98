//! Whole images, kept as sparse files on a local disk, up to a bound.
//!
//! The files are in `<image_cache_dir>/glancefs`, a file store of its own: `<id>` is complete and
//! verified, `.tmp-<id>` is being filled.  Beside them are the lock that keeps a second daemon out
//! and the `index`.  (Not in `image_cache_dir` itself: glance-api may keep its own cache there,
//! and would take our files for its own, as we its.)
//!
//! **Verified** means: all bytes went through the image's hash on their way from the store into the
//! file, the hash was right, and the file was on stable storage before it got its name.  The index
//! then notes the file's size, inode and time of change.  At each opening, after a restart too, the
//! file must look like that: whatever wrote to it, cut or replaced it since, the time set back or
//! not, makes it a miss, and it is removed.  What changes below the file system (a disk that
//! returns other bytes without an error) is not seen; an error of the disk is, and the image is
//! read from its store again.
//!
//! **The bound** holds for all that the directory takes on the disk: files, the one being filled
//! (its room is made before the first byte), files that were removed and are still open, and a
//! little for the rest.  Files that are open are never removed to make room.  One thing escapes: a
//! program that maps an image into memory and closes it has it open without our knowing.
//!
//! Which images are kept, and who may read them, is the business of `images`.

mod filling;
mod index;
mod reader;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use filling::Filling;
pub use reader::{Elsewhere, FileOrElse};

use crate::catalog::model::{ImageId, Timestamp};
use crate::error::{Error, Result};
use crate::store::file::{FileStore, FileStoreOptions};
use crate::store::{ImageReader, Store as _};
use index::{Record, Stamp};

/// Where the files are, in the directory that is configured.
const FOLDER: &str = "glancefs";

const LOCK: &str = "lock";

/// What names of unfinished files begin with.
const UNFINISHED: &str = ".tmp-";

/// Room for lock, directory and two copies of an index of [`MAX_FILES`].
const OVERHEAD: u64 = 2 << 20;

/// Files at most.
const MAX_FILES: usize = 2000;

/// `st_blocks` counts in these.
const STAT_BLOCK: u64 = 512;

/// How often the index is written because of what was used.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long to wait for others to remove what has to go.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

/// What a file has to hold to be of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Bytes.
    pub size: u64,
    /// The algorithm and the hash, `sha512:…`.
    pub hash: String,
}

/// A file of the cache, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Whose data it is.
    pub image: ImageId,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes on the disk.
    pub allocated: u64,
    /// When it was verified.
    pub cached_at: Timestamp,
    /// When it was opened last, or verified.
    pub used_at: Timestamp,
    /// How often it was opened.
    pub hits: u64,
    /// Its number: later ones are larger.
    pub number: u64,
    /// Whether it is open now.
    pub open: bool,
}

/// The cache as a whole, in bytes unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFigures {
    /// The bound.
    pub capacity: u64,
    /// What is taken or promised.
    pub used: u64,
    /// How many complete files there are.
    pub files: usize,
}

/// A directory of cached images.
pub struct DiskCache {
    store: FileStore,
    path: PathBuf,
    capacity: u64,
    state: Mutex<State>,
    /// Held until the process ends, however it ends.
    _lock: File,
}

struct State {
    entries: HashMap<ImageId, Entry>,
    /// Out of use, and to be removed.
    doomed: Vec<(ImageId, Entry)>,
    /// Removed, but open: what each takes.
    removed: Vec<(Weak<dyn ImageReader>, u64)>,
    /// Promised to what is being filled.
    reserved: u64,
    /// The number of the file that was verified last.
    last_number: u64,
    /// Whether the index is not what is known.
    unsaved: bool,
    saved: Instant,
}

struct Entry {
    record: Record,
    /// While somebody reads it.
    reader: Option<Weak<dyn ImageReader>>,
}

impl Entry {
    fn is_open(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.strong_count() > 0)
    }
}

impl DiskCache {
    /// Opens the cache in `directory`, which is made if it is missing, for at most `capacity` bytes.
    ///
    /// What is there is looked at by [`tidy`](Self::tidy).
    ///
    /// # Errors
    /// `Config` when the directory cannot be used, or is used by another daemon.
    pub fn open(directory: &Path, capacity: u64) -> Result<Arc<Self>> {
        let unusable = |error: &dyn std::fmt::Display| {
            let shown = directory.display();
            Error::Config(format!("image_cache_dir {shown} cannot be used: {error}"))
        };
        let path = directory.join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        let path = made.and_then(|()| path.canonicalize()).map_err(|error| unusable(&error))?;
        let lock = lock(&path, directory)?;
        let options = FileStoreOptions { file_mode: 0o600, thin_provisioning: true };
        let store = FileStore::open("image cache", &path, options).map_err(|e| unusable(&e))?;
        let mut entries = HashMap::new();
        for (name, record) in index::read(&path) {
            if let Ok(image) = name.parse() {
                entries.insert(image, Entry { record, reader: None });
            }
        }
        let numbers = entries.values().map(|entry: &Entry| entry.record.number);
        let state = State {
            last_number: numbers.max().unwrap_or_default(),
            entries,
            doomed: Vec::new(),
            removed: Vec::new(),
            reserved: 0,
            unsaved: false,
            saved: Instant::now(),
        };
        Ok(Arc::new(Self { store, path, capacity, state: Mutex::new(state), _lock: lock }))
    }

    /// Removes what a crash left, what is not as it was verified, and what is beyond the bound.
    /// Takes its time; to be called once, before anything is filled.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn tidy(&self) -> Result<()> {
        let failed = |error| Error::io("list", self.path.display())(error);
        let mut here = Vec::new();
        for file in fs::read_dir(&self.path).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let name = name.to_str().unwrap_or_default();
            if let Ok(image) = name.parse::<ImageId>() {
                let stamp = file.metadata().map(|file| Stamp::of(&file));
                match self.record(image) {
                    Some(record) if stamp.is_ok_and(|stamp| stamp == record.stamp) => {
                        here.push(image);
                        continue;
                    }
                    Some(_) => warn!(%image, "a cached file was changed by somebody: removed"),
                    None => info!(%image, "a file that was never verified is removed"),
                }
            } else if name == LOCK || name == index::NAME {
                continue;
            } else if !name.starts_with(UNFINISHED) && name != index::NEW_NAME {
                warn!(name, "a file in the image cache is not ours, and left alone");
                continue;
            }
            self.remove(&file.path());
        }
        let mut state = self.state.lock();
        let known = state.entries.len();
        state.entries.retain(|image, entry| here.contains(image) || entry.is_open());
        state.unsaved |= state.entries.len() != known;
        if state.choose_victims(self.capacity, 0).is_err() {
            warn!("image_cache_max_size is too small for any image, or for what is open");
        }
        drop(state);
        self.sweep();
        Ok(())
    }

    /// Opens the file of an image, if there is one that holds just this.
    pub fn reader(&self, image: ImageId, contents: &Contents) -> Option<Arc<dyn ImageReader>> {
        let (record, reader) = {
            let state = self.state.lock();
            let entry = state.entries.get(&image)?;
            (entry.record.clone(), entry.reader.as_ref().and_then(Weak::upgrade))
        };
        let reader = reader.or_else(|| self.store.open(&self.url(image)).ok());
        let file = reader.as_ref().and_then(|reader| reader.local_file()?.metadata().ok());
        let unchanged = file.is_some_and(|file| Stamp::of(&file) == record.stamp);
        if !unchanged || record.contents != *contents {
            warn!(%image, "a cached file is not what was verified: it is not used");
            self.evict(image);
            return None;
        }
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(&image).filter(|e| e.record.stamp == record.stamp)?;
        // All who read it share one, so that it is known whether anybody does.
        let reader = match entry.reader.as_ref().and_then(Weak::upgrade) {
            Some(reader) => reader,
            None => reader?,
        };
        entry.reader = Some(Arc::downgrade(&reader));
        entry.record.used_at = now();
        entry.record.hits += 1;
        state.unsaved = true;
        Some(reader)
    }

    /// Whether there is a file of an image.
    pub fn holds(&self, image: ImageId) -> bool {
        self.state.lock().entries.contains_key(&image)
    }

    /// The images that there are files of.
    pub fn images(&self) -> Vec<ImageId> {
        self.state.lock().entries.keys().copied().collect()
    }

    /// All files, the one that was used last first.
    pub fn list(&self) -> Vec<CachedFile> {
        let state = self.state.lock();
        let shown = |(image, entry): (&ImageId, &Entry)| CachedFile {
            image: *image,
            size: entry.record.contents.size,
            allocated: entry.record.allocated,
            cached_at: Timestamp::from_micros(entry.record.cached_at * 1_000_000),
            used_at: Timestamp::from_micros(entry.record.used_at * 1000),
            hits: entry.record.hits,
            number: entry.record.number,
            open: entry.is_open(),
        };
        let mut files: Vec<_> = state.entries.iter().map(shown).collect();
        drop(state);
        files.sort_unstable_by_key(|file| Reverse((file.used_at, file.image)));
        files
    }

    /// How full it is.
    pub fn figures(&self) -> DiskFigures {
        let mut state = self.state.lock();
        let (used, files) = (state.total(), state.entries.len());
        DiskFigures { capacity: self.capacity, used, files }
    }

    /// Takes an image's file out of use; returns whether there was one.  It goes at the next
    /// [`sweep`](Self::sweep); who reads it goes on.
    pub fn evict(&self, image: ImageId) -> bool {
        self.state.lock().doom(image)
    }

    /// Removes the files that are out of use.
    pub fn sweep(&self) {
        let doomed: Vec<_> = self.state.lock().doomed.iter().map(|(image, _)| *image).collect();
        for image in doomed {
            if !self.remove(&self.path.join(image.as_str())) {
                continue;
            }
            let mut state = self.state.lock();
            if let Some(at) = state.doomed.iter().position(|(doomed, _)| *doomed == image) {
                let (_, entry) = state.doomed.swap_remove(at);
                let allocated = entry.record.allocated;
                state.removed.extend(entry.reader.map(|reader| (reader, allocated)));
            }
        }
    }

    /// Starts the file of an image.  `room` is what it will take at most; that much is made free.
    ///
    /// # Errors
    /// `StoreFull` when it does not fit, under the bound or on the disk; no other image is removed
    /// then.
    pub fn begin(
        self: &Arc<Self>,
        image: ImageId,
        contents: Contents,
        room: u64,
    ) -> Result<Filling> {
        // What is in its way, and was never verified.
        self.evict(image);
        self.sweep();
        self.store.discard(image)?;
        let available = self.store.capacity()?.available;
        if room > available {
            let what = format!("it needs {room} bytes, and the disk has {available} left");
            return Err(Error::StoreFull(what));
        }
        self.make_room(room)?;
        Filling::new(Arc::clone(self), image, contents, room)
    }

    /// Writes the index if something was used or removed since, and it was not written lately.
    pub fn save_sometimes(&self) {
        let state = self.state.lock();
        let due = state.unsaved && state.saved.elapsed() >= SAVE_INTERVAL;
        drop(state);
        if due {
            self.save();
        }
    }

    /// Writes the index.  Not to be called by two at once.
    pub fn save(&self) {
        let mut state = self.state.lock();
        let of = |(image, entry): (&ImageId, &Entry)| (image.to_string(), entry.record.clone());
        let files = state.entries.iter().map(of).collect();
        (state.unsaved, state.saved) = (false, Instant::now());
        drop(state);
        if let Err(error) = index::write(&self.path, files) {
            warn!(%error, "the index of the image cache cannot be written");
            self.state.lock().unsaved = true;
        }
    }

    fn make_room(&self, room: u64) -> Result<()> {
        let mut state = self.state.lock();
        state.choose_victims(self.capacity, room)?;
        state.reserved += room;
        drop(state);
        let until = Instant::now() + REMOVAL_DEADLINE;
        loop {
            self.sweep();
            let mut state = self.state.lock();
            if state.total() <= self.capacity {
                return Ok(());
            }
            if Instant::now() > until {
                state.reserved -= room;
                return Err(Error::StoreFull("cached files cannot be removed".to_string()));
            }
            drop(state);
            // Another thread is removing the rest.
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn record(&self, image: ImageId) -> Option<Record> {
        self.state.lock().entries.get(&image).map(|entry| entry.record.clone())
    }

    fn url(&self, image: ImageId) -> String {
        format!("file://{}/{image}", self.path.display())
    }

    /// Removes a file; returns whether it is gone.
    fn remove(&self, path: &Path) -> bool {
        match fs::remove_file(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                warn!(path = %path.display(), %error, "a cached file cannot be removed");
                false
            }
        }
    }
}

impl State {
    /// What is taken, or promised.
    fn total(&mut self) -> u64 {
        self.removed.retain(|(reader, _)| reader.strong_count() > 0);
        let files = self.entries.values().chain(self.doomed.iter().map(|(_, entry)| entry));
        let files: u64 = files.map(|entry| entry.record.allocated).sum();
        let removed: u64 = self.removed.iter().map(|(_, allocated)| *allocated).sum();
        OVERHEAD + files + removed + self.reserved
    }

    fn doom(&mut self, image: ImageId) -> bool {
        let Some(entry) = self.entries.remove(&image) else { return false };
        self.doomed.push((image, entry));
        self.unsaved = true;
        true
    }

    /// Dooms those that were used longest ago, so that `room` more fits; none if it cannot.
    fn choose_victims(&mut self, capacity: u64, room: u64) -> Result<()> {
        // What is doomed goes anyhow.
        let doomed: u64 = self
            .doomed
            .iter()
            .filter(|(_, entry)| !entry.is_open())
            .map(|(_, entry)| entry.record.allocated)
            .sum();
        let mut total = self.total().saturating_sub(doomed).saturating_add(room);
        let mut count = self.entries.len();
        let closed = self.entries.iter().filter(|(_, entry)| !entry.is_open());
        let mut closed: Vec<_> =
            closed.map(|(image, e)| (e.record.used_at, *image, e.record.allocated)).collect();
        closed.sort_unstable();
        let mut victims = Vec::new();
        for (_, image, allocated) in closed {
            if total <= capacity && count < MAX_FILES {
                break;
            }
            victims.push(image);
            total -= allocated;
            count -= 1;
        }
        if total > capacity {
            return Err(Error::StoreFull(format!(
                "it needs {room} bytes, and with what is open and cannot be removed that is more \
                 than image_cache_max_size = {capacity}"
            )));
        }
        for image in victims {
            info!(%image, "removed from the image cache to make room");
            self.doom(image);
        }
        Ok(())
    }
}

/// Keeps a second daemon out.
fn lock(path: &Path, directory: &Path) -> Result<File> {
    let shown = path.join(LOCK);
    let failed = |error| {
        let name = directory.display();
        Error::Config(format!(
            "image_cache_dir {name} cannot be used: {}: {error}",
            shown.display()
        ))
    };
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&shown);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Config(format!(
            "another glancefs uses image_cache_dir {}: give each one of its own",
            directory.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_micros() / 1000
}

/// Bytes that a file takes on the disk.
fn allocated(file: &fs::Metadata) -> u64 {
    file.blocks().saturating_mul(STAT_BLOCK)
}

#[cfg(test)]
mod tests;
