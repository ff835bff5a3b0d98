//! Filling the catalog from Glance's files: one namespace in each, as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{SYSTEM_OWNER, document};
use crate::catalog::metadefs::{Belongings, Existing, MetadefCatalog, Namespace};
use crate::catalog::model::Timestamp;
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The namespace of this name is in the catalog as the file has it.
    Done(String),
    /// The namespace of this name was there, and was left as it is.
    Kept(String),
}

/// Loads what [`path`] loads, and prints a line for each file.
///
/// # Errors
/// As [`path`]; `Config` when a file could not be loaded, which was then said.
pub fn run(catalog: &dyn MetadefCatalog, from: &Path, existing: Existing) -> Result<()> {
    let outcomes = path(catalog, from, existing)?;
    let mut failed = 0;
    for (file, outcome) in &outcomes {
        match outcome {
            Ok(Loaded::Done(namespace)) => println!("loaded  {namespace}  {}", file.display()),
            Ok(Loaded::Kept(namespace)) => println!("kept  {namespace}  {}", file.display()),
            Err(error) => {
                failed += 1;
                println!("failed  {}: {error}", file.display());
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => {
            Err(Error::Config(format!("{failed} of {} files were not loaded", outcomes.len())))
        }
    }
}

/// Loads the file `path`, or each file in the directory `path` whose name ends in `.json`, in the
/// order of their names.  A file is loaded whole or not at all, and one that cannot be does not
/// keep the others from it.
///
/// # Errors
/// `Io` when there is no such file or directory, `Config` when it holds no such file.
pub fn path(
    catalog: &dyn MetadefCatalog,
    path: &Path,
    existing: Existing,
) -> Result<Vec<(PathBuf, Result<Loaded>)>> {
    let files = files(path)?;
    if files.is_empty() {
        return Err(Error::Config(format!("{} holds no file *.json", path.display())));
    }
    let load = |file: PathBuf| {
        let outcome = load(catalog, &file, existing);
        (file, outcome)
    };
    Ok(files.into_iter().map(load).collect())
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("read", path.display())(error);
    if fs::metadata(path).map_err(failed)?.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "json") && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn load(catalog: &dyn MetadefCatalog, file: &Path, existing: Existing) -> Result<Loaded> {
    let (namespace, belongings) = read(file)?;
    Ok(match catalog.load(&namespace, &belongings, existing)? {
        true => Loaded::Done(namespace.name),
        false => Loaded::Kept(namespace.name),
    })
}

fn read(file: &Path) -> Result<(Namespace, Belongings)> {
    let bytes = fs::read(file).map_err(Error::io("read", file.display()))?;
    let document = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Invalid(format!("this is not JSON: {error}")))?;
    let Value::Object(document) = document else {
        return Err(Error::Invalid("this is not a JSON object".to_string()));
    };
    let fields = document::fields(&document)?;
    let belongings = document::Reader::of_files().belongings(&document)?;
    let namespace = Namespace {
        name: fields.name,
        display_name: fields.display_name,
        description: fields.description,
        public: fields.public,
        protected: fields.protected,
        owner: fields.owner.unwrap_or_else(|| ProjectId::new(SYSTEM_OWNER)),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    Ok((namespace, belongings))
}
