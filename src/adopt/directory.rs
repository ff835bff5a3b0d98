//! Copying the image files of a directory into a store.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::Report;
use crate::catalog::model::Image;
use crate::catalog::query::{Column, Filter, ImageQuery, Viewer, VisibilityFilter};
use crate::config::Config;
use crate::daemon::House;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::images::adopt::for_each_piece;
use crate::store::ImageReader;
use crate::store::file::open_file;

/// What the names of files end with that somebody has not finished writing.
const UNFINISHED: &[&str] =
    &["~", ".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".download"];

/// Uploads each file of a directory, not of those below it, unless the catalog has it already.
pub(super) fn copy(
    config: &Config,
    directory: &Path,
    store: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let files = files_in(directory)?;
    // Uploads need the journal, and with it the state directory for themselves.
    let config = &Config { image_cache_dir: None, ..config.clone() };
    let house = House::open(config)?;
    for path in files {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name else { continue };
        if let Some(reason) = unfit(&name) {
            report.left(&name, reason);
            continue;
        }
        let reader = match open_file(&path) {
            Ok(reader) => reader,
            Err(error) => {
                report.failed(&name, &error);
                continue;
            }
        };
        copy_one(&house.images, config, &name, &*reader, store, report);
    }
    Ok(())
}

/// Regular files, in the order of their names.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io("read", directory.display())(error);
    let entries = std::fs::read_dir(directory).map_err(failed)?;
    let entries: Vec<DirEntry> = entries.collect::<std::io::Result<_>>().map_err(failed)?;
    let regular = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    let mut files: Vec<_> =
        entries.iter().filter(|entry| regular(entry)).map(DirEntry::path).collect();
    files.sort_unstable();
    Ok(files)
}

fn unfit(name: &str) -> Option<&'static str> {
    if name.starts_with('.') {
        Some("it is hidden")
    } else if UNFINISHED.iter().any(|end| name.ends_with(end)) {
        Some("by its name, somebody has not finished writing it")
    } else {
        None
    }
}

fn copy_one(
    images: &Arc<Images>,
    config: &Config,
    name: &str,
    reader: &dyn ImageReader,
    store: Option<&str>,
    report: &mut Report,
) {
    let size = reader.size();
    match is_there(images, config, name, size) {
        Ok(false) if size == 0 => return report.left(name, "it is empty"),
        Ok(false) => {}
        Ok(true) => return report.left(name, "an image of this name and size is there already"),
        Err(error) => return report.failed(name, &error),
    }
    if report.dry_run {
        return report.would(name, size);
    }
    let bar = report.start(name, size);
    let outcome = upload(images, config, name, reader, store, &mut |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    report.done(name, outcome);
}

fn is_there(images: &Images, config: &Config, name: &str, size: u64) -> Result<bool> {
    let viewer = match &config.project {
        Some(project) => Viewer::Project(project.clone()),
        None => Viewer::Admin { project: None },
    };
    let query = ImageQuery {
        visibility: VisibilityFilter::All,
        hidden: None,
        filters: vec![Filter::OneOf(Column::Name, vec![name.to_string()])],
        ..ImageQuery::all_for(viewer)
    };
    let same = images.list(&config.identity(), query)?;
    Ok(same.iter().any(|image| image.size == Some(size)))
}

fn upload(
    images: &Arc<Images>,
    config: &Config,
    name: &str,
    reader: &dyn ImageReader,
    store: Option<&str>,
    progress: &mut dyn FnMut(u64),
) -> Result<Image> {
    let mut upload = images.begin_draft(&config.identity(), name, store)?;
    for_each_piece(reader, |offset, data| {
        let end = offset + data.len() as u64;
        upload.write_at(offset, data)?;
        progress(end);
        Ok(())
    })?;
    if upload.len() != reader.size() {
        upload.set_len(reader.size())?;
    }
    upload.publish()
}
