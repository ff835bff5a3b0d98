//! The bytes of an image on their way to a client: as fast as it takes them, and no further ahead.
//!
//! A client that keeps up is sent large pieces, several of them ahead, without a copy.  Only so many
//! may be served like that at a time; all others, and those that are slow, get small pieces of their
//! own, so that a thousand clients that hardly take anything hold hardly any memory.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::bridge::{Bridge, died};
use crate::catalog::model::Image;
use crate::error::Result;
use crate::identity::RequestContext;
use crate::images::Images;
use crate::store::{ByteRange, ImageReader};

/// Bytes of a piece for a client that keeps up.
pub(super) const LARGE_PIECE: u64 = 1 << 20;
/// Large pieces that are read before the client takes them.
const LARGE_PIECES_AHEAD: usize = 3;
/// Clients that are served large pieces at a time.
pub(super) const LARGE_DOWNLOADS: usize = 32;

/// Bytes of a piece for any other client.
const SMALL_PIECE: u64 = 64 << 10;
/// Small pieces taken in a row, each in no more than [`SOON`], after which a client keeps up: more
/// than the system takes for it.
const PROOF: usize = 80;
/// A client that takes a small piece in this time, or a large one in [`LATE`], keeps up.
const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_millis(250);

/// The bytes of `range`, for a response body.
pub(super) fn stream(
    bridge: Arc<Bridge>,
    reader: Arc<dyn ImageReader>,
    range: ByteRange,
    account: Account,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pace = Pace::new(Arc::clone(&bridge.large_downloads));
    let (ahead, unsent) = (VecDeque::new(), Arc::default());
    let download = Download { bridge, reader, rest: range, ahead, unsent, pace, account };
    stream::unfold(download, |mut download| async move {
        let piece = download.next().await?;
        Some((piece, download))
    })
}

struct Download {
    bridge: Arc<Bridge>,
    reader: Arc<dyn ImageReader>,
    /// What is not being read yet.
    rest: ByteRange,
    ahead: VecDeque<oneshot::Receiver<Result<Bytes>>>,
    /// What was handed to the server and not yet by it to the system.
    unsent: Arc<Unsent>,
    pace: Pace,
    account: Account,
}

impl Download {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        // The server would take more than it can send.
        self.unsent.less_than(self.pace.piece()).await;
        self.pace.client_asks();
        while self.ahead.len() < self.pace.pieces_ahead() && !self.rest.is_empty() {
            let end = self.rest.end.min(self.rest.start + self.pace.piece());
            let piece = self.rest.start..end;
            self.rest.start = end;
            self.ahead.push_back(self.bridge.start_read(&self.reader, piece));
        }
        let piece = self.ahead.pop_front()?.await.unwrap_or_else(|_| Err(died()));
        let piece = piece.map_err(|error| {
            // The head is sent; all that is left is to break the connection off.
            tracing::error!(%error, "a download breaks off");
            self.account.failed = true;
            io::Error::other(error)
        });
        self.pace.client_gets();
        Some(piece.map(|bytes| {
            self.bridge.reads.answered(bytes.len());
            self.account.bytes += bytes.len() as u64;
            self.unsent.bytes.fetch_add(bytes.len() as u64, Ordering::AcqRel);
            let permit = self.pace.permit.clone();
            Bytes::from_owner(Piece { bytes, unsent: Arc::clone(&self.unsent), _permit: permit })
        }))
    }
}

/// What somebody is sent, for those who are told of it: when it is over, and only then.
pub(super) struct Account {
    pub(super) images: Arc<Images>,
    pub(super) to: RequestContext,
    pub(super) image: Image,
    /// How much was asked for.
    pub(super) wanted: u64,
    /// How much of it was sent.
    pub(super) bytes: u64,
    /// The store has not given all of it.
    pub(super) failed: bool,
}

impl Drop for Account {
    /// Glance: a client that breaks off is not spoken of.
    fn drop(&mut self) {
        let complete = self.bytes == self.wanted;
        if complete || self.failed {
            self.images.was_sent(&self.to, &self.image, self.bytes, complete);
        }
    }
}

#[derive(Default)]
struct Unsent {
    bytes: AtomicU64,
    sent: Notify,
}

impl Unsent {
    async fn less_than(&self, limit: u64) {
        // There is one waiter, and `notify_one` remembers what comes before it waits.
        while self.bytes.load(Ordering::Acquire) >= limit {
            self.sent.notified().await;
        }
    }
}

/// A piece on its way out.
struct Piece {
    bytes: Bytes,
    unsent: Arc<Unsent>,
    /// As long as a large piece is held, its turn is taken.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.bytes.len() as u64, Ordering::AcqRel);
        self.unsent.sent.notify_one();
    }
}

/// How fast one client takes what it is sent.
struct Pace {
    large: Arc<Semaphore>,
    /// While it is served large pieces.
    permit: Option<Arc<OwnedSemaphorePermit>>,
    /// When it was given the last piece.
    given: Option<Instant>,
    in_a_row: usize,
}

impl Pace {
    fn new(large: Arc<Semaphore>) -> Self {
        Self { large, permit: None, given: None, in_a_row: 0 }
    }

    fn piece(&self) -> u64 {
        if self.permit.is_some() { LARGE_PIECE } else { SMALL_PIECE }
    }

    fn pieces_ahead(&self) -> usize {
        if self.permit.is_some() { LARGE_PIECES_AHEAD } else { 1 }
    }

    fn client_gets(&mut self) {
        self.given = Some(Instant::now());
    }

    /// It has taken the last piece.
    fn client_asks(&mut self) {
        let Some(given) = self.given else { return };
        let took = given.elapsed();
        if self.permit.is_some() {
            if took > LATE {
                self.permit = None;
                self.in_a_row = 0;
            }
            return;
        }
        self.in_a_row = if took <= SOON { self.in_a_row + 1 } else { 0 };
        if self.in_a_row >= PROOF {
            self.permit = Arc::clone(&self.large).try_acquire_owned().ok().map(Arc::new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_up_gets_large_pieces_as_long_as_there_are_not_too_many() {
        let large = Arc::new(Semaphore::new(1));
        let [mut one, mut other] = [(); 2].map(|()| Pace::new(Arc::clone(&large)));
        for _ in 0..PROOF {
            assert_eq!((one.piece(), one.pieces_ahead()), (SMALL_PIECE, 1));
            one.given = Some(Instant::now());
            one.client_asks();
        }
        assert_eq!(one.piece(), LARGE_PIECE);
        for _ in 0..2 * PROOF {
            other.given = Some(Instant::now());
            other.client_asks();
        }
        assert_eq!(other.piece(), SMALL_PIECE);
        one.given = Instant::now().checked_sub(2 * LATE);
        one.client_asks();
        assert_eq!(one.piece(), SMALL_PIECE, "it fell asleep");
        other.given = Some(Instant::now());
        other.client_asks();
        assert_eq!(other.piece(), LARGE_PIECE);
    }

    #[test]
    fn a_slow_client_never_gets_large_pieces() {
        let mut pace = Pace::new(Arc::new(Semaphore::new(1)));
        for n in 0..4 * PROOF {
            let took = if n % PROOF == 0 { 50 } else { 0 };
            pace.given = Instant::now().checked_sub(Duration::from_millis(took));
            pace.client_asks();
            assert_eq!(pace.piece(), SMALL_PIECE);
        }
    }
}
