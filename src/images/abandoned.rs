//! Uploads that nobody will end: those of a daemon that does not come back.
//!
//! While a record says `saving`, it belongs to whoever writes its data.  What this daemon had begun is
//! in its journal, and its next start undoes it (`recovery`).  Of what others have begun there is only
//! the record: once that has not changed for so long that its writer is taken for dead
//! (`give_up_uploads_after`), the data goes and the image is `queued` again.
//!
//! So that nobody takes the living for dead, a daemon renews the time in the records of what it is
//! writing.  glance-api does not; but in a directory the time of its file shows that it lives, and in a
//! Ceph pool the watch of its image.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use tracing::{debug, info, warn};

use super::Images;
use crate::catalog::model::{Image, Status, Timestamp};
use crate::catalog::query::{Column, Comparison, Filter, ImageQuery, Viewer, VisibilityFilter};
use crate::error::{Error, Result};

/// Images that the catalog is asked for at once.
const PAGE: u64 = 1000;

impl Images {
    /// Renews the records of what is being written here, and gives up what nobody has been writing for
    /// too long.
    ///
    /// # Errors
    /// The catalog's, or the journal's; what cannot be done for one image is logged.
    pub fn give_up_uploads(&self) -> Result<()> {
        let Some(age) = self.options.give_up_uploads_after else { return Ok(()) };
        let mut query = saving_since(ago(age / 2));
        loop {
            let unchanged = self.catalog.list(&query)?;
            // After the list: what has begun since then is not in it.
            let ours = self.journal.entries()?;
            let ours: HashSet<_> = ours.into_iter().map(|entry| entry.id).collect();
            for image in &unchanged {
                if ours.contains(&image.id) {
                    self.renew(image)?;
                } else if image.updated_at < ago(age) {
                    self.abandon(image, age);
                }
            }
            match unchanged.last() {
                Some(last) if unchanged.len() as u64 == PAGE => query.marker = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    fn renew(&self, image: &Image) -> Result<()> {
        let renewed = Image { updated_at: Timestamp::now(), ..image.clone() };
        self.catalog.save(image, &renewed, &[Status::Saving]).map(drop)
    }

    fn abandon(&self, image: &Image, age: Duration) {
        let id = image.id;
        match self.try_to_abandon(image, age) {
            Ok(true) => {
                info!(image = %id, "an upload that nobody goes on with is given up (give_up_uploads_after)");
                self.changes.announce(&[id]);
            }
            Ok(false) => {}
            Err(error @ Error::InUse(_)) => debug!(image = %id, %error, "somebody is writing it"),
            Err(error) => warn!(image = %id, %error, "an upload cannot be given up yet"),
        }
    }

    /// The data first: while the record says `saving` nobody else may start.
    fn try_to_abandon(&self, image: &Image, age: Duration) -> Result<bool> {
        let alive_since = SystemTime::now() - age;
        for store in &self.stores {
            if store.last_written(image.id)?.is_some_and(|written| written > alive_since) {
                return Ok(false);
            }
        }
        // Somebody may have ended or renewed it meanwhile.
        if self.catalog.get(image.id)?.as_ref() != Some(image) || !image.locations.is_empty() {
            return Ok(false);
        }
        for store in &self.stores {
            store.discard(image.id)?;
        }
        let queued =
            Image { status: Status::Queued, updated_at: Timestamp::now(), ..image.clone() };
        self.catalog.save(image, &queued, &[Status::Saving])
    }
}

fn ago(time: Duration) -> Timestamp {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(Timestamp::now().as_micros().saturating_sub(micros))
}

/// What is `saving` and has not changed since then.
fn saving_since(time: Timestamp) -> ImageQuery {
    ImageQuery {
        visibility: VisibilityFilter::All,
        member_status: None,
        hidden: None,
        filters: vec![
            Filter::OneOf(Column::Status, vec![Status::Saving.as_str().to_owned()]),
            Filter::Time(Column::UpdatedAt, Comparison::Lt, time),
        ],
        limit: Some(PAGE),
        ..ImageQuery::all_for(Viewer::Admin { project: None })
    }
}
