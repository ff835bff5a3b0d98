//! What others changed, found by asking little.
//!
//! The server has no number that moves with every commit, but it knows, to the second and without
//! reading any row, when a table was last written to: that is asked several times a second.  What it
//! was then is told by the stamps of the images, to the second as well, which are indexed; and by all
//! members, which are stamped without an index.  Changes by hand that leave `updated_at` as it was
//! are not seen.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Outcome;
use super::session::Session;
use super::values::{Bound, Cells};
use crate::catalog::model::{ImageId, Timestamp};
use crate::error::Error;

/// How far apart two changes must be for their stamps to differ: the columns keep whole seconds.
pub(super) const RESOLUTION: Duration = Duration::from_secs(1);

/// A table for each question: only then does the server look at no other.
const WRITTEN: &str = "SELECT \
     (SELECT update_time FROM information_schema.tables \
      WHERE table_schema = DATABASE() AND table_name = 'images'), \
     (SELECT update_time FROM information_schema.tables \
      WHERE table_schema = DATABASE() AND table_name = 'image_members')";

/// The newest stamps, wherever clocks are within half a minute of each other.
const IMAGES: &str = "SELECT CONCAT_WS(' ', COUNT(*), BIT_XOR(CRC32(CONCAT(id, updated_at)))) \
     FROM (SELECT id, updated_at FROM images \
           WHERE updated_at <= UTC_TIMESTAMP() + INTERVAL 30 SECOND \
           ORDER BY updated_at DESC LIMIT 1000) AS newest";

const MEMBERS: &str = "SELECT CONCAT_WS(' ', COUNT(*), SUM(deleted), MAX(id), MAX(updated_at), \
     SUM(status = 'accepted')) FROM image_members";

/// How often the tables are looked at of a server that does not know when they were written to:
/// nobody did since it started, or it is one that does not tell.
const LOOK: Duration = Duration::from_millis(700);

/// What is known of the tables that others write to.
#[derive(Clone, Default)]
pub(super) struct Known {
    images: Mark,
    members: Mark,
    sharings: Sharings,
}

/// Moves when a table is written to, but not more than once a second.
#[derive(Clone, Default)]
struct Mark {
    text: String,
    /// When the table itself was looked at for it.
    looked: Option<Instant>,
}

impl Known {
    /// Moves when somebody, we included, has changed images or members.
    pub(super) fn counter(&mut self, session: &mut Session<'_>) -> Outcome<i64> {
        self.look(session)?;
        let mut hash = DefaultHasher::new();
        (&self.images.text, &self.members.text).hash(&mut hash);
        Ok(hash.finish().cast_signed())
    }

    /// A number for each image that is shared, which moves with its members.
    pub(super) fn sharings(
        &mut self,
        session: &mut Session<'_>,
    ) -> Outcome<Arc<HashMap<ImageId, u64>>> {
        self.look(session)?;
        self.sharings.refresh(session, &self.members.text)?;
        Ok(Arc::clone(&self.sharings.known))
    }

    fn look(&mut self, session: &mut Session<'_>) -> Outcome<()> {
        let written = session.first(WRITTEN, Vec::new(), |cells: &mut Cells| {
            Ok::<_, Error>((cells.next()?, cells.next()?))
        })?;
        let (images, members): (Option<Timestamp>, Option<Timestamp>) = written.unwrap_or_default();
        if images.is_none() && members.is_none() {
            self.images.look(session, IMAGES)?;
            return self.members.look(session, MEMBERS);
        }
        self.images = Mark::written(images);
        self.members = Mark::written(members);
        Ok(())
    }
}

impl Mark {
    /// `None`: never, by a server that would know.
    fn written(time: Option<Timestamp>) -> Self {
        Self { text: time.map(Timestamp::to_database).unwrap_or_default(), looked: None }
    }

    /// Takes what `sql` finds in the table for it.
    fn look(&mut self, session: &mut Session<'_>, sql: &str) -> Outcome<()> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            let found = session.first(sql, Vec::new(), |cells| cells.next())?;
            *self = Self { text: found.unwrap_or_default(), looked: Some(Instant::now()) };
        }
        Ok(())
    }
}

/// Records stamped at or after `since`, with their stamps.
pub(super) fn since(
    session: &mut Session<'_>,
    since: Timestamp,
) -> Outcome<Vec<(ImageId, Timestamp)>> {
    let sql = "SELECT id, updated_at FROM images WHERE updated_at >= ?";
    session.all(sql, vec![since.bound()], |cells: &mut Cells| {
        Ok::<_, Error>((cells.next()?, cells.next()?))
    })
}

/// The last answer about members, which is good until they are written to.
#[derive(Clone, Default)]
struct Sharings {
    mark: String,
    /// When that mark was first seen.  A second write within the same second does not move it.
    seen: Option<Instant>,
    known: Arc<HashMap<ImageId, u64>>,
}

impl Sharings {
    /// Brings it up to date with what is marked so.
    fn refresh(&mut self, session: &mut Session<'_>, mark: &str) -> Outcome<()> {
        let moved = mark != self.mark || self.seen.is_none();
        if moved {
            (self.mark, self.seen) = (mark.to_owned(), Some(Instant::now()));
        }
        if moved || self.seen.is_some_and(|seen| seen.elapsed() < 2 * RESOLUTION) {
            self.known = Arc::new(all(session)?);
        }
        Ok(())
    }
}

fn all(session: &mut Session<'_>) -> Outcome<HashMap<ImageId, u64>> {
    let sql = "SELECT image_id, BIT_XOR(CRC32(CONCAT_WS(' ', id, member, status))) \
         FROM image_members WHERE deleted + 0 = 0 GROUP BY image_id";
    let rows = session
        .all(sql, Vec::new(), |cells: &mut Cells| Ok::<_, Error>((cells.next()?, cells.next()?)))?;
    Ok(rows.into_iter().collect())
}
