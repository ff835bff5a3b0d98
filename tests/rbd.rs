//! The RBD store against a real, private cluster, and against what Ceph's own tools say of it.
//!
//! They need Ceph's packages (see `scripts/test`), and so are ignored unless asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is a failed test")]

#[path = "rbd/failures.rs"]
mod failures;
// Not every test binary needs all that the harness offers.
#[allow(unused_imports)]
mod harness;
#[path = "rbd/removal.rs"]
mod removal;
#[path = "rbd/writing.rs"]
mod writing;

use std::sync::Arc;
use std::time::Duration;

use glancefs::catalog::model::ImageId;
use glancefs::error::{Error, Result};
use glancefs::store::rbd::{RbdOptions, RbdStore};
use glancefs::store::{ImageReader, Store};

use harness::Cluster;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Cluster {
    /// The options of a store as client.glance.
    fn options(&self) -> RbdOptions {
        RbdOptions {
            conf: Some(self.conf()),
            user: Some("glance".into()),
            chunk_mib: 1,
            connect_timeout: Some(Duration::from_secs(20)),
            ..RbdOptions::default()
        }
    }

    fn store(&self) -> RbdStore {
        RbdStore::open("ceph", self.options()).unwrap()
    }
}

/// Bytes that are not zero and differ from block to block.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend((state | 0x0101_0101_0101_0101).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Uploads `data` in one go.
fn put(store: &RbdStore, data: &[u8]) -> (ImageId, String) {
    let id = ImageId::random();
    let mut writer = store.create(id, Some(data.len() as u64)).unwrap();
    writer.write_at(0, data).unwrap();
    (id, writer.finish().unwrap())
}

fn read_all(reader: &dyn ImageReader) -> Result<Vec<u8>> {
    let mut data = vec![7; reader.size() as usize + 10];
    let count = reader.read_at(0, &mut data)?;
    data.truncate(count);
    Ok(data)
}

/// All extents, as a reader of holes and data finds them.
fn extents(reader: &Arc<dyn ImageReader>) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = reader.next_data(at).unwrap() {
        at = reader.next_hole(start).unwrap();
        found.push((start, at));
    }
    found
}

/// Removes what is left of an upload, once the watch of its dead writer has ended.
fn discard_in_the_end(store: &RbdStore, id: ImageId) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match store.discard(id) {
            Err(Error::InUse(_)) if std::time::Instant::now() < until => {
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
            outcome => return outcome.unwrap(),
        }
    }
}

fn is_in_use<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::InUse(_)))
}

fn is_not_found<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::NotFound(_)))
}

fn is_unavailable<T>(outcome: Result<T>) -> bool {
    matches!(outcome, Err(Error::StoreUnavailable(_)))
}
