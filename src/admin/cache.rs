//! The side of `glancefs cache`.

use std::path::Path;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::client::{Conversation, print, print_json};
use super::protocol::{Progress, Reply, Request};
use super::report::CachedReport;
use crate::error::{Error, Result};

/// How long the daemon may be silent while it works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints what is in the disk cache of the daemon of a state directory.
///
/// # Errors
/// `NotFound` when none is running there; `Conflict` when it has no disk cache.
pub fn list(state_dir: &Path, json: bool) -> Result<()> {
    match Conversation::begin(state_dir, &Request::CacheList, PATIENCE)?.next()? {
        Reply::CacheList(list) if json => print_json(&list),
        Reply::CacheList(list) => print(&list.to_string()),
        _ => Err(super::client::not_understood()),
    }
}

/// Has images copied to the disk cache, one after the other, and says of each what came of it.
///
/// # Errors
/// `NotFound` when no daemon is running; at the end, how many could not be cached.
pub fn prefetch(state_dir: &Path, images: &[String]) -> Result<()> {
    each(images, "cached", |image| {
        let request = Request::CachePrefetch(image.to_owned());
        let mut replies = Conversation::begin(state_dir, &request, PATIENCE)?;
        let bar = bar(image);
        let cached = follow(&mut replies, &bar);
        bar.finish_and_clear();
        let cached = cached?;
        let name = cached.name.as_deref().unwrap_or("(no name)").escape_debug();
        let (size, allocated) = (HumanBytes(cached.size), HumanBytes(cached.allocated));
        println!("cached  {}  {name}  {size}, {allocated} on disk", cached.id);
        Ok(())
    })
}

/// Removes images from the disk cache, and says of each what came of it.
///
/// # Errors
/// As [`prefetch`].
pub fn evict(state_dir: &Path, images: &[String]) -> Result<()> {
    each(images, "evicted", |image| {
        evicted(state_dir, &Request::CacheEvict(image.to_owned()))?;
        println!("evicted  {image}");
        Ok(())
    })
}

/// Removes all images from the disk cache.
///
/// # Errors
/// As [`list`].
pub fn evict_all(state_dir: &Path) -> Result<()> {
    let count = evicted(state_dir, &Request::CacheEvictAll)?;
    println!("{count} evicted");
    Ok(())
}

fn evicted(state_dir: &Path, request: &Request) -> Result<usize> {
    match Conversation::begin(state_dir, request, PATIENCE)?.next()? {
        Reply::Evicted(count) => Ok(count),
        _ => Err(super::client::not_understood()),
    }
}

/// Does something to each; what fails does not keep it from the others.
fn each(images: &[String], done: &str, act: impl Fn(&str) -> Result<()>) -> Result<()> {
    let mut failed = 0;
    for image in images {
        match act(image) {
            Ok(()) => {}
            // Nobody is there to ask for the others either.
            Err(error @ (Error::NotFound(_) | Error::Forbidden(_))) => return Err(error),
            Err(error) => {
                failed += 1;
                println!("failed  {}: {error}", image.escape_debug());
            }
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Conflict(format!("{failed} could not be {done}; see above")))
}

fn follow(replies: &mut Conversation, bar: &ProgressBar) -> Result<CachedReport> {
    loop {
        match replies.next()? {
            Reply::Progress(Progress { bytes, size }) => {
                bar.set_length(size);
                bar.set_position(bytes);
            }
            Reply::Cached(cached) => return Ok(cached),
            _ => return Err(super::client::not_understood()),
        }
    }
}

/// A bar; hidden unless standard error is a terminal.
fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(name.to_owned());
    // The template is a constant; should it be wrong, the usual look does.
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
