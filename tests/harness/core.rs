//! The real core (catalog, store, journal) in a directory of its own, for tests that put a
//! face on it in this very process.

// No test binary needs all of it.
#![allow(dead_code)]

#[path = "cluster.rs"]
mod cluster;
#[path = "database.rs"]
mod database;
#[path = "mariadb.rs"]
mod mariadb;
#[path = "pool.rs"]
mod pool;

use std::path::Path;
use std::sync::Arc;

use cluster::Cluster;
use glancefs::catalog::database::Opened;
use glancefs::images::journal::Journal;
use glancefs::images::{Images, Options};
use glancefs::metadefs::Metadefs;
use glancefs::store::Store;
use glancefs::store::file::{FileStore, FileStoreOptions};
use glancefs::store::rbd::RbdStore;
pub use pool::Pool;

/// The catalog below `directory`, or the one on a server that stands for it, as any program opens it.
pub fn catalog(directory: &Path) -> Opened {
    database::of(directory).open().unwrap()
}

/// The images of an empty catalog below `directory`, with their data there or in a pool: in one
/// store, or in those that `enabled_backends` names, of which the first may be the pool.
pub fn images(directory: &Path, options: Options) -> Arc<Images> {
    let mut names = options.enabled_backends.iter().map(|backend| backend.name.as_str());
    let first = default_store(directory, names.next().unwrap_or("file"));
    let others = names.map(|name| file_store(directory, name));
    let stores = std::iter::once(first).chain(others).collect();
    images_in(directory, stores, options)
}

/// The store that tests may have in a pool.
pub fn default_store(directory: &Path, name: &str) -> Arc<dyn Store> {
    match Pool::if_wanted() {
        Some(pool) => Arc::new(RbdStore::open(name, pool.options()).unwrap()),
        None => file_store(directory, name),
    }
}

/// The same, with these stores.
pub fn images_in(
    directory: &Path,
    stores: Vec<Arc<dyn Store>>,
    mut options: Options,
) -> Arc<Images> {
    let catalog = catalog(directory).images;
    let journal = Journal::open(directory.join("journal")).unwrap();
    options.import.staging.get_or_insert(directory.join("staging"));
    Images::new(catalog, stores, journal, options).unwrap()
}

/// A store in a directory of its name below `directory`; the only one's is `images`.
pub fn file_store(directory: &Path, name: &str) -> Arc<dyn Store> {
    let datadir = directory.join(if name == "file" { "images" } else { name });
    Arc::new(FileStore::open(name, datadir, FileStoreOptions::default()).unwrap())
}

/// The metadata definitions of the same catalog.
pub fn metadefs(directory: &Path) -> Arc<Metadefs> {
    Arc::new(Metadefs::new(catalog(directory).metadefs))
}
