//! The data of one image into one store: read once, hashed on the way, durable under its name.

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::images::adopt::for_each_piece;
use crate::images::crash::{self, Step};
use crate::images::digest::{Digester, Digests, HashAlgorithm};
use crate::store::copy::read_data;
use crate::store::{ImageReader, ImageWriter, Store};

/// Data that a store has, and that no record names yet.
pub(super) struct Stored {
    pub(super) store: Arc<dyn Store>,
    pub(super) url: String,
    pub(super) digests: Digests,
    /// Bytes.
    pub(super) size: u64,
    /// Bytes of the disk inside, if somebody has looked.
    pub(super) virtual_size: Option<u64>,
}

/// Why data did not get into a store.
pub(super) struct Failed {
    pub(super) error: Error,
    /// The store could not remove what it had got.
    pub(super) left_behind: bool,
}

/// Copies all of `source` into `store`.  `progress` is told how many bytes have been taken, and
/// says whether to go on.
pub(super) fn transfer(
    store: &Arc<dyn Store>,
    id: ImageId,
    source: &Arc<dyn ImageReader>,
    algorithm: HashAlgorithm,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Stored, Failed> {
    let nothing = |error| Failed { error, left_behind: false };
    let mut writer = store.create(id, Some(source.size())).map_err(nothing)?;
    // From here on, what the store has under this id is ours.
    let poured = pour(&mut *writer, source, algorithm, progress);
    let finished = match poured {
        Ok(digests) => writer.finish().map(|url| (url, digests)),
        Err(error) => {
            drop(writer);
            Err(error)
        }
    };
    match finished {
        Ok((url, digests)) => {
            crash::point(Step::ImportStored);
            let size = source.size();
            Ok(Stored { store: Arc::clone(store), url, digests, size, virtual_size: None })
        }
        Err(error) => Err(Failed { error, left_behind: store.discard(id).is_err() }),
    }
}

fn pour(
    writer: &mut dyn ImageWriter,
    source: &Arc<dyn ImageReader>,
    algorithm: HashAlgorithm,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Digests> {
    let mut digester = Digester::new(algorithm);
    progress(0)?;
    let mut take = |offset, data: Bytes| {
        digester.update_zeros(offset - digester.taken())?;
        writer.write_at(offset, &data)?;
        digester.update(data)?;
        crash::point(Step::ImportWritten);
        progress(digester.taken())
    };
    if source.local_file().is_some() {
        for_each_piece(&**source, take)?;
    } else {
        read_data(source, 0..source.size(), &mut take)?;
    }
    digester.update_zeros(source.size() - digester.taken())?;
    if writer.len() < source.size() {
        writer.set_len(source.size())?;
    }
    writer.sync()?;
    progress(source.size())?;
    digester.finish()
}

impl Stored {
    /// Removes it again; returns whether the store could.
    pub(super) fn remove(&self) -> bool {
        matches!(self.store.delete(&self.url), Ok(()) | Err(Error::NotFound(_)))
    }
}
