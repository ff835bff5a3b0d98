//! The RBD store: a pool of a Ceph cluster, one RBD image an image, named by its id.
//!
//! It is Glance's RBD store: either may read, write and delete what the other wrote, and Cinder,
//! Nova and QEMU find what they expect, a protected snapshot `snap` to clone from.  Ceph's libraries
//! are loaded when such a store is opened (`library`); all unsafe code of glancefs is in this
//! module.  `connection` and `cluster` are the way to the cluster, `image` and `completion` an RBD
//! image and its requests, `bounded` sees to it that no call waits for ever.  `writer` (through
//! `pipeline`), `reader` (through `read`, `waiting` and `hand_over`) and `removal` are the store's three
//! sides, and `trash` what the last cannot remove at once; `extents` is where data is, `location` what URLs say, `room` and `sizes` what is known of
//! the store and of its images without asking.
//!
//! Besides what Glance writes, an image gets a metadata entry `_glancefs_extents`: where its data
//! is, to 4 KiB, for all nodes to know.

mod bounded;
mod buffers;
mod cluster;
mod completion;
mod connection;
mod errno;
mod extents;
mod hand_over;
mod image;
mod library;
mod listing;
mod location;
mod offering;
mod pipeline;
mod read;
mod reader;
mod removal;
mod room;
mod sizes;
mod trash;
mod waiting;
mod writer;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Capacity, Condition, ImageReader, ImageWriter, Purged, Store, Stored};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use buffers::Buffers;
use cluster::Cluster;
use connection::{Connection, c_string};
use errno::Errno;
use hand_over::HandOver;
use image::Layout;
use location::Location;
pub use reader::RbdReader;
use room::Room;
use sizes::Sizes;
use trash::Entry;
use writer::RbdWriter;

/// What is read, cloned and protected.  Glance: the same.
const SNAPSHOT: &CStr = c"snap";

/// The metadata entry that records extents.  It sorts before `conf_`, so that librbd does not fetch
/// it at every open.
const EXTENTS_KEY: &CStr = c"_glancefs_extents";

/// Where an [`RbdStore`] is and how it writes.  The names are those of Glance's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbdOptions {
    /// `rbd_store_ceph_conf`; without it, Ceph looks in its usual places.
    pub conf: Option<PathBuf>,
    /// `rbd_store_user`: `glance` for `client.glance`; without it, `admin`.
    pub user: Option<String>,
    /// `rbd_store_pool`
    pub pool: String,
    /// `rbd_store_chunk_size`: the size of objects in MiB, a power of two.
    pub chunk_mib: u32,
    /// `rbd_store_data_pool`: where the data goes, if not into the pool itself (an erasure-coded
    /// pool cannot hold the rest of an image).
    pub data_pool: Option<String>,
    /// `rados_connect_timeout` in full seconds: how long Ceph may take for any one operation, as in
    /// Glance's driver.  `None` (Glance: −1) leaves that to ceph.conf, and where that has no bound,
    /// it is 30 s.  Zero, which means no bound to Glance, is 10 minutes: nothing here waits for
    /// ever.
    pub connect_timeout: Option<Duration>,
    /// `rbd_thin_provisioning`: whether zeros that are written where nothing was become holes.
    pub thin_provisioning: bool,
}

impl Default for RbdOptions {
    /// Glance's defaults.
    fn default() -> Self {
        Self {
            conf: None,
            user: None,
            pool: "images".into(),
            chunk_mib: 8,
            data_pool: None,
            connect_timeout: None,
            thin_provisioning: false,
        }
    }
}

/// To be called before the process ends, if it may end while a cluster is being asked: Ceph's
/// libraries would abort it.
pub fn leave_in_peace() {
    library::leave_in_peace();
}

/// A pool that holds the data of images.
pub struct RbdStore {
    name: String,
    inner: Arc<Inner>,
}

/// What the store shares with its readers and writers.
struct Inner {
    cluster: Cluster,
    /// Objects of new images have 2^order bytes.
    order: u8,
    data_pool: Option<CString>,
    /// Readers that are open, by the image's name.
    readers: Mutex<HashMap<String, Weak<RbdReader>>>,
    sizes: Sizes,
    room: Room,
    hand_over: OnceLock<HandOver>,
    buffers: Arc<Buffers>,
}

impl RbdStore {
    /// Opens the store.  The cluster is not asked before it is needed, and need not be there now.
    ///
    /// # Errors
    /// `Config` when Ceph's libraries (package librbd1) or its configuration are missing, or an
    /// option makes no sense.
    pub fn open(name: impl Into<String>, options: RbdOptions) -> Result<Self> {
        let order = order_of(options.chunk_mib)?;
        let data_pool = options.data_pool.as_deref().map(c_string).transpose()?;
        let inner = Inner {
            cluster: Cluster::new(options)?,
            order,
            data_pool,
            readers: Mutex::default(),
            sizes: Sizes::default(),
            room: Room::default(),
            hand_over: OnceLock::new(),
            buffers: Arc::default(),
        };
        Ok(Self { name: name.into(), inner: Arc::new(inner) })
    }

    /// Keeps in a file how much images really take, so that it is known after a restart; those that
    /// it does not know are looked at when somebody asks, in the background.
    pub fn keep_sizes_in(self, file: PathBuf) -> Self {
        self.inner.keep_sizes_in(file);
        self
    }

    /// The cluster's id; asks the cluster if its configuration does not say.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub fn fsid(&self) -> Result<String> {
        match self.inner.cluster.known_fsid() {
            Some(fsid) => Ok(fsid),
            None => Ok(self.inner.cluster.connection()?.fsid().to_owned()),
        }
    }

    /// The pool's name.
    pub fn pool(&self) -> &str {
        &self.inner.options().pool
    }

    /// Opens finished data, with what an [`ImageReader`] alone does not offer: asynchronous reads.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_reader(&self, url: &str) -> Result<Arc<RbdReader>> {
        let location = self.inner.location(url)?;
        if let Some(reader) = self.inner.open_one(&location.image)? {
            return Ok(reader);
        }
        let reader = RbdReader::open(Arc::clone(&self.inner), &location)?;
        let mut readers = self.inner.readers.lock();
        readers.retain(|_, reader| reader.strong_count() > 0);
        readers.insert(location.image, Arc::downgrade(&reader));
        Ok(reader)
    }

    /// How many clones there are of an image's snapshot.  Those in pools that this user may not
    /// read count as one.
    ///
    /// # Errors
    /// `NotFound`, `StoreUnavailable`.
    pub fn children(&self, url: &str) -> Result<u64> {
        let (location, connection) = self.inner.reach(url)?;
        let (name, snapshot) = names(&location)?;
        let count = offering::count_children(&connection, &name, &snapshot);
        count.map_err(|error| {
            self.inner.failure(&connection, "list the clones of", &location, error)
        })
    }

    fn not_purged(&self, connection: &Arc<Connection>, entry: &Entry, error: Errno) -> Error {
        self.inner.cluster.note(connection, error);
        let (id, pool) = (entry.id.to_string_lossy(), self.pool());
        if error == Errno::BUSY {
            return Error::InUse(format!(
                "RBD image {} in the trash of pool {pool} is in use: a snapshot of it has clones \
                 (rbd children --all --pool {pool} --image-id {id}) or it is open for writing",
                entry.name
            ));
        }
        error.error("purge RBD image", &self.inner.target(&entry.name))
    }

    /// Does something to the image and snapshot that a URL means.
    fn at<T>(
        &self,
        url: &str,
        action: &str,
        act: impl FnOnce(&Arc<Connection>, &CStr, &CStr) -> Result<T, Errno>,
    ) -> Result<T> {
        let (location, connection) = self.inner.reach(url)?;
        let (name, snapshot) = names(&location)?;
        act(&connection, &name, &snapshot)
            .map_err(|error| self.inner.failure(&connection, action, &location, error))
    }
}

impl Inner {
    fn options(&self) -> &RbdOptions {
        self.cluster.options()
    }

    /// `pool/image`, for messages.
    fn target(&self, image: &str) -> String {
        format!("{}/{image}", self.options().pool)
    }

    fn chunk_size(&self) -> u64 {
        1 << self.order
    }

    fn layout(&self, connection: &Connection) -> Layout {
        Layout {
            order: self.order,
            features: connection.default_features(),
            data_pool: self.data_pool.clone(),
        }
    }

    /// What a URL means, if it is in this pool as far as can be said without asking.
    fn location(&self, url: &str) -> Result<Location> {
        let location = Location::parse(url).filter(|location| self.holds(location));
        location.ok_or_else(|| no_data(url))
    }

    fn holds(&self, location: &Location) -> bool {
        location.place.as_ref().is_none_or(|place| {
            let fsid = self.cluster.known_fsid();
            place.pool == self.options().pool && fsid.is_none_or(|fsid| fsid == place.fsid)
        })
    }

    /// What a URL means, and the way there.
    fn reach(&self, url: &str) -> Result<(Location, Arc<Connection>)> {
        let location = self.location(url)?;
        let connection = self.cluster.connection()?;
        // Now the cluster's id is known for certain.
        if self.holds(&location) { Ok((location, connection)) } else { Err(no_data(url)) }
    }

    fn failure(
        &self,
        connection: &Arc<Connection>,
        action: &str,
        location: &Location,
        error: Errno,
    ) -> Error {
        self.cluster.note(connection, error);
        let target = self.target(&location.image);
        match error {
            Errno::NOENT => Error::NotFound(format!("no image data at RBD image {target}")),
            Errno::BUSY => Error::InUse(format!(
                "RBD image {target} is in use: it has clones (rbd children {target}@snap) or is \
                 open for writing (rbd status {target})"
            )),
            error => error.error(&format!("{action} RBD image"), &target),
        }
    }

    /// A reader that is open already and still good.
    fn open_one(&self, image: &str) -> Result<Option<Arc<RbdReader>>> {
        let reader = self.readers.lock().get(image).and_then(Weak::upgrade);
        let Some(reader) = reader else { return Ok(None) };
        Ok(reader.is_good()?.then_some(reader))
    }

    /// Forgets an image that is being removed, and tells those who read it.
    fn forget(self: &Arc<Self>, image: &str) {
        self.forget_size(image);
        let reader = self.readers.lock().remove(image);
        if let Some(reader) = reader.and_then(|reader| reader.upgrade()) {
            reader.mark_removed();
        }
    }

    fn hand_over(&self) -> HandOver {
        self.hand_over.get_or_init(HandOver::new).clone()
    }
}

impl Store for RbdStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "rbd"
    }

    /// Without asking the cluster: as long as its id is not known, the pool's name decides.
    fn owns(&self, url: &str) -> bool {
        self.inner.location(url).is_ok()
    }

    fn name_in(&self, url: &str) -> Option<String> {
        Some(self.inner.location(url).ok()?.image)
    }

    /// In the full form, of this cluster as far as its id is known (opening it, it is).
    fn takes_location(&self, url: &str) -> bool {
        self.inner.location(url).is_ok_and(|location| location.written().as_deref() == Some(url))
    }

    fn properties(&self) -> serde_json::Map<String, serde_json::Value> {
        let options = self.inner.options();
        [
            ("chunk_size".to_string(), self.inner.chunk_size().into()),
            ("pool".to_string(), self.pool().into()),
            ("thin_provisioning".to_string(), options.thin_provisioning.into()),
            ("fsid".to_string(), self.inner.cluster.known_fsid().into()),
        ]
        .into_iter()
        .collect()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn withdraw(&self, url: &str) -> Result<()> {
        self.at(url, "withdraw", offering::withdraw)
    }

    fn offer(&self, url: &str) -> Result<()> {
        self.at(url, "protect", offering::offer)
    }

    /// Those in pools that this user may not read count as one.
    fn children(&self, url: &str) -> Result<Option<u64>> {
        Self::children(self, url).map(Some)
    }

    /// An image without the snapshot `snap` is not finished, or is none of Glance's.
    fn list(&self) -> Result<Vec<Stored>> {
        let connection = self.inner.cluster.connection()?;
        let pool = self.pool();
        let failed = |error: Errno| {
            self.inner.cluster.note(&connection, error);
            error.error("list the images of pool", pool)
        };
        let mut stored = Vec::new();
        for image in listing::names(&connection).map_err(failed)? {
            let finished = match listing::has_snapshot(&connection, &image, SNAPSHOT) {
                // It went meanwhile.
                Err(Errno::NOENT) => continue,
                outcome => outcome.map_err(failed)?,
            };
            let Ok(name) = image.into_string() else { continue };
            let snapshot = SNAPSHOT.to_string_lossy();
            let url = finished.then(|| Location::url(connection.fsid(), pool, &name, &snapshot));
            stored.push(Stored { name, url });
        }
        Ok(stored)
    }

    fn create(&self, id: ImageId, size: Option<u64>) -> Result<Box<dyn ImageWriter>> {
        Ok(Box::new(RbdWriter::create(Arc::clone(&self.inner), id, size)?))
    }

    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>> {
        Ok(self.open_reader(url)?)
    }

    fn delete(&self, url: &str) -> Result<()> {
        let (location, connection) = self.inner.reach(url)?;
        let (name, snapshot) = names(&location)?;
        removal::delete(&connection, &name, &snapshot)
            .map_err(|error| self.inner.failure(&connection, "remove", &location, error))?;
        self.inner.forget(&location.image);
        Ok(())
    }

    fn is_read_here(&self, url: &str) -> bool {
        let Ok(location) = self.inner.location(url) else { return false };
        let readers = self.inner.readers.lock();
        readers.get(&location.image).is_some_and(|reader| reader.strong_count() > 0)
    }

    fn discard(&self, id: ImageId) -> Result<()> {
        let connection = self.inner.cluster.connection()?;
        let location = Location { place: None, image: id.to_string(), snapshot: None };
        let (name, _) = names(&location)?;
        removal::discard(&connection, &name)
            .map_err(|error| self.inner.failure(&connection, "discard", &location, error))?;
        self.inner.forget(&location.image);
        Ok(())
    }

    fn purge_trash(
        &self,
        age: Duration,
        is_ours: &dyn Fn(ImageId) -> Result<bool>,
    ) -> Result<Vec<Purged>> {
        let connection = self.inner.cluster.connection()?;
        let entries = trash::entries(&connection).map_err(|error| {
            self.inner.cluster.note(&connection, error);
            error.error("list the trash of pool", self.pool())
        })?;
        let mut purged = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_older_than(age)) {
            let Ok(id) = entry.name.parse() else { continue };
            if !is_ours(id)? {
                continue;
            }
            let outcome = match trash::purge(&connection, entry) {
                Ok(false) | Err(Errno::NOENT) => continue,
                outcome => outcome.map(drop),
            };
            let away = outcome == Err(Errno::TIMEDOUT);
            let outcome = outcome.map_err(|error| self.not_purged(&connection, entry, error));
            purged.push(Purged { id, outcome });
            if away {
                break;
            }
        }
        Ok(purged)
    }

    fn capacity(&self) -> Result<Capacity> {
        self.inner.ask_capacity()?.ok_or_else(|| {
            Error::StoreUnavailable(format!(
                "the Ceph cluster does not say how much room there is for pool {}: does a manager \
                 run?",
                self.pool()
            ))
        })
    }

    fn condition(&self, patience: Duration) -> Condition {
        self.inner.condition(patience)
    }

    fn allocated(&self, url: &str) -> Option<u64> {
        self.inner.size_of(self.inner.location(url).ok()?)
    }
}

/// The names of the image and of its snapshot; locations of the old kind have the usual one.
fn names(location: &Location) -> Result<(CString, CString)> {
    let snapshot = location.snapshot.as_deref().map(c_string).transpose()?;
    Ok((c_string(&location.image)?, snapshot.unwrap_or_else(|| SNAPSHOT.to_owned())))
}

fn no_data(url: &str) -> Error {
    Error::NotFound(format!("no image data at {url}"))
}

/// The order of objects of so many MiB.
fn order_of(chunk_mib: u32) -> Result<u8> {
    // librbd makes objects of 4 KiB to 32 MiB.
    if chunk_mib.is_power_of_two() && chunk_mib <= 32 {
        // At most 25.
        return Ok(20 + chunk_mib.trailing_zeros() as u8);
    }
    Err(Error::Config(format!(
        "rbd_store_chunk_size = {chunk_mib} makes no RBD image: it is in MiB, and must be 1, 2, 4, \
         8, 16 or 32"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunk_size_gives_the_order() {
        assert_eq!(order_of(8).ok(), Some(23));
        assert_eq!(order_of(1).ok(), Some(20));
        for bad in [0, 3, 12, 64, u32::MAX] {
            assert!(matches!(order_of(bad), Err(Error::Config(_))), "{bad}");
        }
    }
}
