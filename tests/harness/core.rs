//! The real core (SQLite catalog, file store, journal) in a directory of its own, for tests that
//! put a face on it in this very process.

use std::path::Path;
use std::sync::Arc;

use glancefs::catalog::sqlite::SqliteCatalog;
use glancefs::images::journal::Journal;
use glancefs::images::{Images, Options};
use glancefs::store::Store;
use glancefs::store::file::{FileStore, FileStoreOptions};

/// The images of an empty catalog below `directory`.
pub fn images(directory: &Path, options: Options) -> Arc<Images> {
    let catalog = SqliteCatalog::open(directory.join("glance.sqlite")).unwrap();
    let datadir = directory.join("images");
    let store = FileStore::open("file", datadir, FileStoreOptions::default()).unwrap();
    let stores: Vec<Arc<dyn Store>> = vec![Arc::new(store)];
    let journal = Journal::open(directory.join("journal")).unwrap();
    Images::new(Arc::new(catalog), stores, journal, options).unwrap()
}
