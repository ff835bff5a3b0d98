//! `glancefs adopt`: records for image data that has none.
//!
//! Three places are looked at: a file store's directory and an RBD pool, where data is adopted as
//! it lies, and any other directory, whose files are copied into a store.  What is adopted, and how,
//! is decided in [`images::adopt`](crate::images::adopt); here it is chosen, shown and counted.

mod directory;
mod report;

use std::path::PathBuf;

use crate::config::Config;
use crate::config::stores::{StoreKind, StoreSettings};
use crate::daemon;
use crate::error::{Error, Result};
use crate::images::adopt::{Adoption, Orphan};
use crate::store::Store;
use report::Report;

/// What `glancefs adopt` was asked for.
#[derive(Debug)]
pub struct AdoptSettings {
    /// Configuration, with the command line applied.
    pub config: Config,
    /// Which stores.
    pub place: Place,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In every store.
    Everywhere,
    /// In the store of this name.
    Store(String),
    /// In the store that is this pool.
    Pool(String),
    /// In this directory; copies go to the store of that name, or the default one.
    Directory(PathBuf, Option<String>),
}

/// Adopts what there is; says of each what came of it.
///
/// # Errors
/// Whatever keeps it from starting; at the end, how many could not be adopted.
pub fn run(settings: &AdoptSettings) -> Result<()> {
    let AdoptSettings { config, place, dry_run } = settings;
    let mut report = Report::new(*dry_run);
    match place {
        Place::Directory(path, store) => match store_of_directory(config, path)? {
            Some(own) => adopt_in(config, own, &mut report)?,
            None => directory::copy(config, path, store.as_deref(), &mut report)?,
        },
        place => {
            for store in chosen(config, place)? {
                adopt_in(config, store, &mut report)?;
            }
        }
    }
    report.finish()
}

fn chosen<'c>(config: &'c Config, place: &Place) -> Result<Vec<&'c StoreSettings>> {
    let wanted = |store: &&StoreSettings| match (place, &store.kind) {
        (Place::Store(name), _) => store.name == *name,
        (Place::Pool(pool), StoreKind::Rbd(rbd)) => rbd.pool == *pool,
        (Place::Pool(_), StoreKind::File(_)) => false,
        (Place::Everywhere | Place::Directory(..), _) => true,
    };
    let chosen: Vec<_> = config.stores.iter().filter(wanted).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<_> = config.stores.iter().map(describe).collect();
    Err(Error::Config(format!(
        "no such store is configured, so the images could not be read: there is {}; give \
         --config-file, or add the store to it",
        names.join(", ")
    )))
}

fn describe(store: &StoreSettings) -> String {
    match &store.kind {
        StoreKind::File(file) => format!("{} ({})", store.name, file.datadir.display()),
        StoreKind::Rbd(rbd) => format!("{} (pool {})", store.name, rbd.pool),
    }
}

/// The file store that a directory is, if it is one's.
fn store_of_directory<'c>(
    config: &'c Config,
    path: &std::path::Path,
) -> Result<Option<&'c StoreSettings>> {
    let wanted = path.canonicalize().map_err(Error::io("open", path.display()))?;
    Ok(config.stores.iter().find(|store| match &store.kind {
        StoreKind::File(file) => file.datadir.canonicalize().is_ok_and(|own| own == wanted),
        StoreKind::Rbd(_) => false,
    }))
}

fn adopt_in(config: &Config, settings: &StoreSettings, report: &mut Report) -> Result<()> {
    config.create_state_dir()?;
    let catalog = config.catalog.open()?.images;
    let store = daemon::open_store(settings)?;
    let options = daemon::image_options(config)?;
    let adoption = Adoption::new(catalog, options, config.project.clone());
    let survey = adoption.survey(&*store)?;
    report.surveyed(&describe(settings), &survey);
    for left in &survey.left {
        report.left(&left.name, &left.reason);
    }
    for orphan in &survey.orphans {
        adopt_one(&adoption, &*store, orphan, report);
    }
    Ok(())
}

fn adopt_one(adoption: &Adoption, store: &dyn Store, orphan: &Orphan, report: &mut Report) {
    let size = match store.open(&orphan.url) {
        Ok(reader) => reader.size(),
        Err(error) => return report.failed(&orphan.name, &error),
    };
    if report.dry_run {
        return report.would(&orphan.name, size);
    }
    let bar = report.start(&orphan.name, size);
    let outcome = adoption.adopt(store, orphan, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    report.done(&orphan.name, outcome);
}
