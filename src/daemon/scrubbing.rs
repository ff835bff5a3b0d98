//! What `glancefs scrub` asks for, done: by the running daemon, or where there is none by the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::admin::{KeptReport, PendingList, PendingReport, ScrubReport};
use crate::catalog::model::Image;
use crate::catalog::pending::Pending;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::images::scrub::{ScrubOptions, Scrubbed};

/// Images that are looked at without asking the catalog again.
const PAGE: u32 = 1000;

/// How often those who wait hear that it goes on.
const PROGRESS: Duration = Duration::from_millis(500);

/// What the configuration says.
pub(super) fn options(config: &Config) -> ScrubOptions {
    let wanted = &config.scrubbing;
    ScrubOptions {
        delayed_delete: wanted.delayed_delete,
        scrub_time: wanted.scrub_time,
        at_once: wanted.pool_size,
        purge_trash_after: wanted.purge_trash_after,
    }
}

/// The images that wait.
///
/// # Errors
/// The catalog's.
pub(crate) fn list(images: &Images) -> Result<PendingList> {
    let waiting = images.pending(None, i32::MAX.unsigned_abs())?;
    Ok(PendingList { waiting: waiting.iter().map(|image| pending_report(images, image)).collect() })
}

fn pending_report(images: &Images, image: &Pending) -> PendingReport {
    PendingReport {
        id: image.id.to_string(),
        name: image.name.clone(),
        size: image.size,
        deleted_at: image.deleted_at.to_wire(),
        due_at: images.due_at(image).to_wire(),
    }
}

/// Removes all data that is due.  `go_on` is asked now and then; when it says no, nobody waits for it,
/// and nothing more is begun.
///
/// # Errors
/// The catalog's.
pub(crate) fn once(images: &Images, go_on: &mut dyn FnMut() -> bool) -> Result<ScrubReport> {
    let ended = AtomicBool::new(false);
    let (sender, working) = channel::<()>();
    thread::scope(|scope| {
        let work = || {
            // Goes when the work is done.
            let _sender = sender;
            all_that_is_due(images, &ended)
        };
        let started = thread::Builder::new().name("scrub".to_owned()).spawn_scoped(scope, work);
        let worker = started.map_err(Error::io("start", "a thread"))?;
        while working.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
            if !go_on() {
                ended.store(true, Ordering::Release);
            }
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn all_that_is_due(images: &Images, ended: &AtomicBool) -> Result<ScrubReport> {
    let report = Mutex::new(ScrubReport::default());
    let told = |scrubbed: Scrubbed| {
        note(&mut report.lock(), images, scrubbed);
        !ended.load(Ordering::Acquire)
    };
    let mut place = images.scrub(None, PAGE, &told)?;
    while place.is_some() && !ended.load(Ordering::Acquire) {
        place = images.scrub(place, PAGE, &told)?;
    }
    let mut report = report.into_inner();
    for purged in images.purge_trash() {
        match purged.outcome {
            Ok(()) => report.purged.push(purged.id.to_string()),
            Err(error) => report.kept.push(kept(purged.id.to_string(), &error)),
        }
    }
    Ok(report)
}

fn note(report: &mut ScrubReport, images: &Images, Scrubbed { image, outcome }: Scrubbed) {
    match outcome {
        Ok(true) => report.scrubbed.push(pending_report(images, &image)),
        Ok(false) => {}
        Err(error) => report.kept.push(kept(image.id.to_string(), &error)),
    }
}

fn kept(id: String, error: &Error) -> KeptReport {
    KeptReport { id, reason: error.to_string(), in_use: matches!(error, Error::InUse(_)) }
}

/// Brings an image back by its id.
///
/// # Errors
/// Why it cannot be.
pub(crate) fn restore(images: &Images, id: &str) -> Result<String> {
    let Image { id, name, .. } = images.restore(id.parse()?)?;
    let name = name.as_deref().unwrap_or("(no name)").escape_debug().to_string();
    Ok(format!("{id}  {name}"))
}
