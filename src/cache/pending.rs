//! A read that waits for blocks, and putting its pieces together.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::store::ReadDone;

/// What holes are answered with.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; 1 << 20]));

/// So many zeros.
pub(super) fn zeros(length: usize) -> Bytes {
    if length <= ZEROS.len() { ZEROS.slice(..length) } else { Bytes::from(vec![0; length]) }
}

/// Pieces as one; a single one is not copied.
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1
        && let Some(piece) = pieces.pop()
    {
        return piece;
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        joined.extend_from_slice(&piece);
    }
    joined.freeze()
}

/// A read some of whose pieces are still to come.
pub(super) struct Pending(Mutex<Inner>);

struct Inner {
    pieces: Vec<Option<Bytes>>,
    missing: usize,
    /// Taken when the read ends.
    done: Option<ReadDone>,
}

impl Pending {
    /// `None` stands for a piece that is to come.
    pub(super) fn new(pieces: Vec<Option<Bytes>>, done: ReadDone) -> Self {
        let missing = pieces.iter().filter(|piece| piece.is_none()).count();
        Self(Mutex::new(Inner { pieces, missing, done: Some(done) }))
    }

    /// A piece has come.  The last one ends the read.
    pub(super) fn set(&self, index: usize, bytes: Bytes) {
        let mut inner = self.0.lock();
        let Some(piece @ None) = inner.pieces.get_mut(index) else { return };
        *piece = Some(bytes);
        inner.missing -= 1;
        if inner.missing == 0
            && let Some(done) = inner.done.take()
        {
            let pieces = std::mem::take(&mut inner.pieces);
            drop(inner);
            done(Ok(join(pieces.into_iter().flatten().collect())));
        }
    }

    /// A piece cannot be had, which ends the read.
    pub(super) fn fail(&self, reason: &str) {
        let done = self.0.lock().done.take();
        if let Some(done) = done {
            done(failure(reason));
        }
    }
}

/// Why a read failed, for each of those who waited for it.
fn failure<T>(reason: &str) -> Result<T> {
    Err(Error::StoreUnavailable(reason.to_string()))
}
