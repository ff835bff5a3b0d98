//! The real core (SQLite catalog, store, journal) in a directory of its own, for tests that put a
//! face on it in this very process.

// No test binary needs all of it.
#![allow(dead_code)]

#[path = "cluster.rs"]
mod cluster;
#[path = "pool.rs"]
mod pool;

use std::path::Path;
use std::sync::Arc;

use cluster::Cluster;
use glancefs::catalog::sqlite::SqliteCatalog;
use glancefs::images::journal::Journal;
use glancefs::images::{Images, Options};
use glancefs::metadefs::Metadefs;
use glancefs::store::Store;
use glancefs::store::file::{FileStore, FileStoreOptions};
use glancefs::store::rbd::RbdStore;
pub use pool::Pool;

/// The images of an empty catalog below `directory`, with their data there or in a pool.
pub fn images(directory: &Path, options: Options) -> Arc<Images> {
    let catalog = SqliteCatalog::open(directory.join("glance.sqlite")).unwrap();
    let store: Arc<dyn Store> = match Pool::if_wanted() {
        Some(pool) => Arc::new(RbdStore::open("rbd", pool.options()).unwrap()),
        None => {
            let datadir = directory.join("images");
            Arc::new(FileStore::open("file", datadir, FileStoreOptions::default()).unwrap())
        }
    };
    let journal = Journal::open(directory.join("journal")).unwrap();
    Images::new(Arc::new(catalog), vec![store], journal, options).unwrap()
}

/// The metadata definitions of the same catalog.
pub fn metadefs(directory: &Path) -> Arc<Metadefs> {
    let catalog = SqliteCatalog::open(directory.join("glance.sqlite")).unwrap();
    Arc::new(Metadefs::new(Arc::new(catalog)))
}
