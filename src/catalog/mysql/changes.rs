//! What others changed, found by asking little.
//!
//! The server has no number that moves with every commit.  Every change of an image stamps its row,
//! to the second, and the stamps are indexed: those of the last half minute tell whether there was
//! one, however clocks differ within that.  Members are stamped without an index, but the server
//! knows when their table was last written to.  Changes by hand that leave `updated_at` as it was
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

const STAMPS: &str = "SELECT COUNT(*), COALESCE(BIT_XOR(CRC32(CONCAT(id, updated_at))), 0) \
     FROM images WHERE updated_at >= \
     (SELECT LEAST(MAX(updated_at), UTC_TIMESTAMP()) FROM images) - INTERVAL 30 SECOND";

/// Moves when somebody, we included, has changed images or members.
pub(super) fn counter(session: &mut Session<'_>) -> Outcome<i64> {
    let stamps: Option<(u64, u64)> = session.first(STAMPS, Vec::new(), |cells: &mut Cells| {
        Ok::<_, Error>((cells.next()?, cells.next()?))
    })?;
    let mut hash = DefaultHasher::new();
    (stamps, members_mark(session)?).hash(&mut hash);
    Ok(hash.finish().cast_signed())
}

/// Moves when members are written to, but not more than once a second.
fn members_mark(session: &mut Session<'_>) -> Outcome<String> {
    let sql = "SELECT update_time AS t FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = 'image_members'";
    let written: Option<Option<Timestamp>> =
        session.first(sql, Vec::new(), |cells| cells.next())?;
    if let Some(time) = written.flatten() {
        return Ok(time.to_database());
    }
    // Nobody wrote since the server started; or it is one that does not tell.
    let sql = "SELECT CONCAT_WS(' ', COUNT(*), SUM(deleted), MAX(id), MAX(updated_at), \
         SUM(status = 'accepted')) FROM image_members";
    Ok(session.first(sql, Vec::new(), |cells| cells.next())?.unwrap_or_default())
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
pub(super) struct Sharings {
    mark: String,
    /// When that mark was first seen.  A second write within the same second does not move it.
    seen: Option<Instant>,
    known: Arc<HashMap<ImageId, u64>>,
}

impl Sharings {
    /// Brings it up to date.
    pub(super) fn refresh(&mut self, session: &mut Session<'_>) -> Outcome<()> {
        let mark = members_mark(session)?;
        let moved = mark != self.mark || self.seen.is_none();
        if moved {
            (self.mark, self.seen) = (mark, Some(Instant::now()));
        }
        if moved || self.seen.is_some_and(|seen| seen.elapsed() < 2 * RESOLUTION) {
            self.known = Arc::new(all(session)?);
        }
        Ok(())
    }

    /// A number for each image that is shared, which moves with its members.
    pub(super) fn known(&self) -> Arc<HashMap<ImageId, u64>> {
        Arc::clone(&self.known)
    }
}

fn all(session: &mut Session<'_>) -> Outcome<HashMap<ImageId, u64>> {
    let sql = "SELECT image_id, BIT_XOR(CRC32(CONCAT_WS(' ', id, member, status))) \
         FROM image_members WHERE deleted + 0 = 0 GROUP BY image_id";
    let rows = session
        .all(sql, Vec::new(), |cells: &mut Cells| Ok::<_, Error>((cells.next()?, cells.next()?)))?;
    Ok(rows.into_iter().collect())
}
