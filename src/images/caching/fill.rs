//! Copying one image from its store to the disk cache, verified on the way.
//!
//! Read past the block cache, so that nothing goes from there; a few reads at a time, so that others
//! hardly notice.  Only what holds data is read, and only what is not zero is written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{error, info};

use super::{Caching, Fill, UNVERIFIABLE, contents_of};
use crate::cache::disk::Filling;
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};
use crate::images::digest::Check;
use crate::store::{ByteRange, ImageReader};

/// Bytes that are read at once.
const PIECE: u64 = 4 << 20;

/// Reads that are under way at a time.
const AHEAD: usize = 3;

/// How long a cancelled fill goes on at most.
const LOOK: Duration = Duration::from_millis(100);

/// Why an image is not cached.
enum Failure {
    /// The data is not what the record says: trying again is of no use.
    Wrong(String),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Caching {
    /// Copies an image, and says in the log what came of it.
    pub(super) fn fill(&self, fill: &Arc<Fill>) {
        let started = Instant::now();
        let outcome = self.try_fill(fill);
        let image = fill.image;
        let mut state = self.state.lock();
        state.filling = None;
        let outcome = match outcome {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                info!(%image, bytes = fill.size, seconds, "is in the image cache");
                Ok(())
            }
            Err(Failure::Wrong(reason)) => {
                error!(%image, reason, "is not cached: the data in the store is not the image's");
                state.refused.put(image, reason.clone());
                Err(reason)
            }
            Err(Failure::Error(error)) => {
                info!(%image, %error, "is not cached");
                if !matches!(error, Error::Gone(_)) {
                    state.failed.put(image, Instant::now());
                }
                Err(error.to_string())
            }
        };
        drop(state);
        fill.end(outcome);
    }

    fn try_fill(&self, fill: &Fill) -> Result<(), Failure> {
        self.go_on(fill)?;
        let image = self.active(fill)?;
        let unverifiable = || Error::Unsupported(UNVERIFIABLE.to_string());
        let contents = contents_of(&image).ok_or_else(unverifiable)?;
        let mut check = Check::of(&image).ok_or_else(unverifiable)?;
        let reader = self.source(&image)?;
        if reader.size() != contents.size {
            let (found, recorded) = (reader.size(), contents.size);
            let what = format!("its data has {found} bytes, and by its record {recorded}");
            return Err(Failure::Wrong(what));
        }
        let data = data_of(&*reader, || self.go_on(fill))?;
        let mut filling = self.disk.begin(image.id, contents, Filling::room_for(&data))?;
        self.copy(fill, &reader, data, &mut check, &mut filling)?;
        check.finish().map_err(Failure::Wrong)?;
        self.go_on(fill)?;
        filling.finish()?;
        // Whoever announced a change before the file was there found nothing to remove.
        if let Err(error) = self.active(fill) {
            self.forget(fill.image);
            return Err(error.into());
        }
        Ok(())
    }

    /// The record, while its data may be read.
    fn active(&self, fill: &Fill) -> Result<Image> {
        let image = self.catalog.get(fill.image)?;
        let image = image.ok_or_else(|| Error::no_image(fill.image))?;
        match image.status {
            Status::Active => Ok(image),
            status => Err(Error::Conflict(format!("it is {status}"))),
        }
    }

    /// Opens the data in the first store that has it.
    fn source(&self, image: &Image) -> Result<Arc<dyn ImageReader>> {
        let mut failure = Error::StoreUnavailable("no configured store holds it".to_string());
        for location in image.locations.iter().filter(|location| location.status == "active") {
            let url = &location.url;
            let Some(store) = self.stores.iter().find(|store| store.owns(url)) else { continue };
            match store.open(url) {
                Ok(reader) => return Ok(reader),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn copy(
        &self,
        fill: &Fill,
        reader: &Arc<dyn ImageReader>,
        data: Vec<ByteRange>,
        check: &mut Check,
        filling: &mut Filling,
    ) -> Result<()> {
        let mut rest = data.into_iter().flat_map(pieces);
        let mut ahead = VecDeque::new();
        loop {
            while ahead.len() < AHEAD
                && let Some(piece) = rest.next()
            {
                let (sender, answer) = channel();
                // Nobody waits for it any more when this was given up.
                let done = move |outcome| drop(sender.send(outcome));
                Arc::clone(reader).start_read(piece.clone(), Box::new(done));
                ahead.push_back((piece, answer));
            }
            let Some((piece, answer)) = ahead.pop_front() else { break };
            let bytes = self.wait_for(&answer, fill)?;
            if bytes.len() as u64 != piece.end - piece.start {
                return Err(Error::StoreUnavailable("the data ends before its size".to_string()));
            }
            check.update_zeros(piece.start - check.taken());
            check.update(&bytes);
            filling.write(piece.start, &bytes)?;
            fill.bytes.store(check.taken(), Ordering::Relaxed);
            self.go_on(fill)?;
        }
        check.update_zeros(fill.size - check.taken());
        fill.bytes.store(check.taken(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a read; the store sees to it that it ends.
    fn wait_for(&self, answer: &Receiver<Result<Bytes>>, fill: &Fill) -> Result<Bytes> {
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => self.go_on(fill)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::StoreUnavailable("a read was lost".to_string()));
                }
            }
        }
    }

    /// Whether to go on; removes what has to go meanwhile.
    fn go_on(&self, fill: &Fill) -> Result<()> {
        if fill.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Gone("it was removed, or taken out of use, meanwhile".to_string()));
        }
        let mut state = self.state.lock();
        if state.ending {
            return Err(Error::Gone("glancefs ends".to_string()));
        }
        let sweep = std::mem::take(&mut state.sweep);
        drop(state);
        if sweep {
            self.disk.sweep();
        }
        Ok(())
    }
}

/// The parts of an image that hold data, in order.
fn data_of(reader: &dyn ImageReader, go_on: impl Fn() -> Result<()>) -> Result<Vec<ByteRange>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = reader.next_data(at)? {
        at = reader.next_hole(start)?.max(start + 1);
        found.push(start..at.min(reader.size()));
        go_on()?;
    }
    Ok(found)
}

/// Cuts a range where whole multiples of [`PIECE`] are.
fn pieces(range: ByteRange) -> impl Iterator<Item = ByteRange> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = ((at / PIECE + 1) * PIECE).min(range.end);
        let piece = at..end;
        at = end;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_multiples_and_leave_nothing_out() {
        let cut: Vec<_> = pieces(PIECE - 5..2 * PIECE + 1).collect();
        assert_eq!(cut, [PIECE - 5..PIECE, PIECE..2 * PIECE, 2 * PIECE..2 * PIECE + 1]);
        assert_eq!(pieces(7..7).count(), 0);
    }
}
