//! Opening the stores that are configured.
//!
//! A store that cannot be opened at all (its libraries are missing, say) keeps the program from
//! starting when it is the default one, and is left out otherwise.  A store that merely does not
//! answer is opened: it is asked in the background, and may come back at any time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::Config;
use crate::config::stores::{FileSettings, RbdSettings, StoreKind, StoreSettings};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::file::{FileStore, FileStoreOptions};
use crate::store::rbd::{RbdOptions, RbdStore};

/// How long a store may take to answer at the start: longer than any store of ours waits itself.
const FIRST_LOOK: Duration = Duration::from_secs(3600);

/// Opens the configured stores, the default one first.
///
/// # Errors
/// `Config` when the default one cannot be opened.
pub(super) fn open(config: &Config) -> Result<Vec<Arc<dyn Store>>> {
    let mut stores = Vec::new();
    for settings in &config.stores {
        match open_with(settings, Some(&config.state_dir)) {
            Ok(store) => stores.push(store),
            Err(error) if !stores.is_empty() => {
                warn!(store = settings.name, %error, "left out: its images cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stores)
}

/// Opens one store.
///
/// # Errors
/// `Config`
pub(crate) fn open_one(settings: &StoreSettings) -> Result<Arc<dyn Store>> {
    open_with(settings, None)
}

/// Opens a store; what it keeps to itself is in the state directory, if it may keep anything.
fn open_with(settings: &StoreSettings, state_dir: Option<&Path>) -> Result<Arc<dyn Store>> {
    let name = settings.name.as_str();
    Ok(match &settings.kind {
        StoreKind::File(file) => {
            Arc::new(FileStore::open(name, &file.datadir, file_options(file))?)
        }
        StoreKind::Rbd(rbd) => {
            let store = RbdStore::open(name, rbd_options(rbd))?;
            Arc::new(match state_dir {
                Some(directory) => store.keep_sizes_in(sizes_file(directory, name)),
                None => store,
            })
        }
    })
}

/// Says in the log which stores do not answer, as soon as that is known; nobody waits for it.
pub(super) fn look_at(stores: &[Arc<dyn Store>]) -> Result<()> {
    for store in stores.iter().filter(|store| !store.is_local()) {
        let store = Arc::clone(store);
        let look = move || {
            let condition = store.condition(FIRST_LOOK);
            let available = condition.capacity.map(|room| room.available);
            if condition.silent_since.is_none() {
                return info!(store = store.name(), available, "the store answers");
            }
            // Which of its words say why.
            let error = store.capacity().err().map(|error| error.to_string());
            warn!(
                store = store.name(),
                error,
                "the store does not answer: until it does, its images are listed and cannot be read"
            );
        };
        let started = thread::Builder::new().name("store".to_string()).spawn(look);
        started.map_err(Error::io("start", "a thread"))?;
    }
    Ok(())
}

fn sizes_file(state_dir: &Path, store: &str) -> PathBuf {
    state_dir.join("cache").join(format!("{}.sizes", store.replace('/', "%2F")))
}

fn file_options(file: &FileSettings) -> FileStoreOptions {
    FileStoreOptions { file_mode: file.perm, thin_provisioning: file.thin_provisioning }
}

fn rbd_options(rbd: &RbdSettings) -> RbdOptions {
    RbdOptions {
        conf: rbd.conf.clone(),
        user: rbd.user.clone(),
        pool: rbd.pool.clone(),
        chunk_mib: rbd.chunk_mib,
        data_pool: rbd.data_pool.clone(),
        connect_timeout: rbd.connect_timeout,
        thin_provisioning: rbd.thin_provisioning,
    }
}
