//! Giving up, in the background, the uploads of daemons that do not come back.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::rounds::Rounds;
use crate::error::Result;
use crate::images::Images;

/// So often in the time after which an upload is given up: who lives renews its records several times.
const ROUNDS: u32 = 8;

/// No less and no more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Starts it, if uploads are ever given up.
///
/// # Errors
/// `Io` when there can be no thread.
pub(super) fn start(images: &Arc<Images>, after: Option<Duration>) -> Result<Option<Rounds>> {
    let Some(after) = after else { return Ok(None) };
    let pause = (after / ROUNDS).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let images = Arc::downgrade(images);
    let round = move |_: &_| {
        if let Err(error) = images.upgrade()?.give_up_uploads() {
            warn!(%error, "uploads that nobody goes on with cannot be looked for now");
        }
        Some(pause)
    };
    Rounds::start("abandoned", round).map(Some)
}
