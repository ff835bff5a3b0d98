//! What is configured about imports: which methods there are, and where data waits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::import_rules::bracketed;
use super::reader::{Reader, bad_value};
use super::{absolute, options};
use crate::error::Result;

/// The methods that exist here.
const METHODS: &[&str] = &["glance-direct", "web-download", "copy-image", "glance-download"];

/// A hundred years: no longer is any time that is meant.
const LONGEST: i64 = 100 * 365 * 24 * 3600;

/// The methods that clients may ask for: those of the operator's that there are.
pub(super) fn methods(reader: &mut Reader) -> Result<Vec<String>> {
    let asked = bracketed(reader, &options::IMPORT_METHODS, |method| Ok(method.to_owned()))?;
    let (there, missing): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|method| METHODS.contains(&method.as_str()));
    if !missing.is_empty() {
        let missing = missing.join(", ");
        reader.notes.push(format!("{}: {missing} cannot be used here", options::IMPORT_METHODS));
    }
    Ok(there)
}

/// Where data waits to be imported.  Glance has two options for it, of which `enabled_backends`
/// chooses one.
pub(super) fn staging_dir(reader: &mut Reader, state_dir: &Path) -> Result<PathBuf> {
    let several = !reader.list(&options::ENABLED_BACKENDS)?.is_empty();
    let uri = reader.text(&options::STAGING_URI)?.filter(|found| !found.text.trim().is_empty());
    let datadir = reader.word(&options::STAGING_DATADIR)?;
    if let Some(datadir) = datadir.filter(|_| several) {
        return absolute(datadir);
    }
    let Some(uri) = uri else { return Ok(state_dir.join("staging")) };
    match uri.text.trim().strip_prefix("file://") {
        Some(path) if path.starts_with('/') => absolute(path),
        _ => Err(bad_value(&options::STAGING_URI, Some(&uri), "write file:///absolute/path")),
    }
}

/// How long a task is remembered.
pub(super) fn task_time_to_live(reader: &mut Reader) -> Result<Duration> {
    let hours = reader.integer(&options::TASK_TIME_TO_LIVE, 0..=LONGEST / 3600)?;
    Ok(Duration::from_secs(hours.unsigned_abs() * 3600))
}

/// How long an import may take.
pub(super) fn timeout(reader: &mut Reader) -> Result<Duration> {
    let seconds = reader.integer(&options::IMPORT_TIMEOUT, 1..=LONGEST)?;
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}
