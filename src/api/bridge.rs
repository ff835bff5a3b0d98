//! The one crossing from async to the blocking core.
//!
//! A call runs on a blocking thread, so many at once and no more.  An upload has a thread to itself
//! and is fed through a bounded channel; a download asks for one piece after the other, so that a
//! client who goes away leaves nothing running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{self, JoinHandle};
use tracing::Span;

use super::Settings;
use super::download::{LARGE_DOWNLOADS, LARGE_PIECE};
use super::status::Fault;
use crate::catalog::model::{Image, Timestamp};
use crate::error::{Error, Result};
use crate::images::Images;
use crate::images::upload::Incoming;
use crate::store::{ByteRange, ImageReader};
use crate::telemetry::metrics::FaceReads;

/// Pieces of an upload between the network and the store; they have about half a MiB each.
const PIECES_IN_FLIGHT: usize = 12;
/// Buffers that are kept for the next read.
const IDLE_BUFFERS: usize = 16;
/// What is still taken from a client whose request was refused, so that it reads the answer.
const DRAIN_BYTES: u64 = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);
const DRAIN_IDLE: Duration = Duration::from_secs(2);

/// Runs blocking work for the API.
pub(super) struct Bridge {
    images: Arc<Images>,
    calls: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    buffers: Arc<Buffers>,
    /// Turns for being served large pieces.
    pub(super) large_downloads: Arc<Semaphore>,
    pub(super) reads: FaceReads,
    turn_timeout: Duration,
}

impl Bridge {
    pub(super) fn new(settings: &Settings, images: Arc<Images>) -> Self {
        Self {
            images,
            calls: Arc::new(Semaphore::new(settings.max_calls)),
            uploads: Arc::new(Semaphore::new(settings.max_uploads)),
            buffers: Arc::default(),
            large_downloads: Arc::new(Semaphore::new(LARGE_DOWNLOADS)),
            reads: FaceReads::of("api"),
            turn_timeout: settings.turn_timeout,
        }
    }

    /// Runs one call into the core.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = turn(&self.calls, self.turn_timeout).await?;
        let images = Arc::clone(&self.images);
        let span = Span::current();
        let running = task::spawn_blocking(move || {
            let (_permit, _request) = (permit, span.entered());
            // Whoever asks sees what was finished before, by whichever face.
            images.changes().settle();
            work()
        });
        running.await.unwrap_or_else(|_| Err(died()))
    }

    /// The stores, and of those that do not answer since when; waits for none.
    pub(super) async fn stores(&self) -> Vec<(String, Option<Timestamp>)> {
        let images = Arc::clone(&self.images);
        let look = move || {
            let stores = images.stores().iter().map(|store| {
                let silent = store.condition(Duration::ZERO).silent_since;
                (store.name().to_owned(), silent.map(Timestamp::from))
            });
            Ok(stores.collect())
        };
        // Too busy to look says nothing about the stores.
        self.call(look).await.unwrap_or_default()
    }

    /// Starts an upload.  Returns when the core has agreed to it, before any byte is needed.
    pub(super) async fn upload<U: Incoming>(
        &self,
        begin: impl FnOnce() -> Result<U> + Send + 'static,
    ) -> std::result::Result<UploadPipe, Fault> {
        let permit = turn(&self.uploads, self.turn_timeout).await?;
        let (pieces, inlet) = mpsc::channel(PIECES_IN_FLIGHT);
        let (agree, agreed) = oneshot::channel();
        let span = Span::current();
        let outcome = task::spawn_blocking(move || {
            let (_permit, _request) = (permit, span.entered());
            let upload = begin()?;
            // Nobody listens any more: the client is gone, and the empty channel says so.
            let _ = agree.send(());
            take_in(upload, inlet)
        });
        let pipe = UploadPipe { pieces, outcome };
        match agreed.await {
            Ok(()) => Ok(pipe),
            Err(_) => Err(pipe.outcome().await.err().unwrap_or_else(|| died().into())),
        }
    }

    /// Starts a read for a download, which hears of it when it awaits the answer.
    pub(super) fn start_read(
        &self,
        reader: &Arc<dyn ImageReader>,
        range: ByteRange,
    ) -> oneshot::Receiver<Result<Bytes>> {
        let (answer, answered) = oneshot::channel();
        let reader = Arc::clone(reader);
        if reader.local_file().is_none() {
            let small = range.end - range.start < LARGE_PIECE;
            let length = range.end - range.start;
            let done = move |piece: Result<Bytes>| {
                let piece = piece.and_then(|piece| whole(piece, length));
                // A small piece must not keep the large block that it is part of.
                let copied =
                    |piece: Bytes| if small { Bytes::copy_from_slice(&piece) } else { piece };
                // Nobody listens any more: the client is gone.
                let _ = answer.send(piece.map(copied));
            };
            reader.start_read(range, Box::new(done));
            return answered;
        }
        let (calls, buffers) = (Arc::clone(&self.calls), Arc::clone(&self.buffers));
        let turn_timeout = self.turn_timeout;
        task::spawn(async move {
            let piece = match turn(&calls, turn_timeout).await {
                Ok(permit) => {
                    let read = task::spawn_blocking(move || {
                        let _permit = permit;
                        read_piece(reader.as_ref(), range, &buffers)
                    });
                    read.await.unwrap_or_else(|_| Err(died()))
                }
                Err(error) => Err(error),
            };
            let _ = answer.send(piece);
        });
        answered
    }
}

async fn turn(semaphore: &Arc<Semaphore>, wait: Duration) -> Result<OwnedSemaphorePermit> {
    match tokio::time::timeout(wait, Arc::clone(semaphore).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::StoreUnavailable("The server is too busy; try again later.".to_string())),
    }
}

/// The blocking work panicked.  That is a bug; the panic itself is in the log.
pub(super) fn died() -> Error {
    Error::Io {
        what: "the request's thread died".to_string(),
        source: std::io::Error::other("panic"),
    }
}

/// What goes down an upload's pipe.
enum Piece {
    Data(Bytes),
    End,
}

/// The near end of an upload.  Dropped before [`finish`](Self::finish), it aborts the upload.
pub(super) struct UploadPipe {
    pieces: mpsc::Sender<Piece>,
    outcome: JoinHandle<Result<Image>>,
}

impl UploadPipe {
    /// Hands a piece over, waiting while the pipe is full.  False: the core takes no more.
    pub(super) async fn send(&mut self, data: Bytes) -> bool {
        self.pieces.send(Piece::Data(data)).await.is_ok()
    }

    /// All was sent: completes the image.
    pub(super) async fn finish(self) -> std::result::Result<Image, Fault> {
        // If it fails, the outcome says why.
        let _ = self.pieces.send(Piece::End).await;
        self.outcome().await
    }

    /// How it ended, sooner or later.
    pub(super) async fn outcome(self) -> std::result::Result<Image, Fault> {
        drop(self.pieces);
        Ok(self.outcome.await.unwrap_or_else(|_| Err(died()))?)
    }
}

/// The far end.  Without [`Piece::End`] the client went away, and dropping the upload takes it back.
fn take_in(mut upload: impl Incoming, mut inlet: mpsc::Receiver<Piece>) -> Result<Image> {
    while let Some(piece) = inlet.blocking_recv() {
        match piece {
            Piece::Data(data) => upload.append(data)?,
            Piece::End => return upload.complete(),
        }
    }
    Err(Error::Invalid("The upload broke off.".to_string()))
}

fn read_piece(reader: &dyn ImageReader, range: ByteRange, pool: &Arc<Buffers>) -> Result<Bytes> {
    let length = range.end - range.start;
    let mut piece = pool.take(length as usize);
    piece.length = reader.read_at(range.start, &mut piece.buffer)?;
    whole(Bytes::from_owner(piece), length)
}

/// A read of an image gives all of what was asked for.
fn whole(piece: Bytes, length: u64) -> Result<Bytes> {
    if piece.len() as u64 == length {
        return Ok(piece);
    }
    Err(Error::StoreUnavailable("the image's data ends before its size".to_string()))
}

/// Buffers for large pieces, used again and again: a fresh one would have to be zeroed, page by page,
/// every time.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn take(self: &Arc<Self>, length: usize) -> Lent {
        let kept = if length as u64 == LARGE_PIECE { self.0.lock().pop() } else { None };
        let buffer = kept.unwrap_or_else(|| vec![0; length]);
        Lent { buffer, length, pool: Arc::clone(self) }
    }
}

/// A buffer that goes back when the last reference to its bytes is gone.
struct Lent {
    buffer: Vec<u8>,
    /// How much of it was read.
    length: usize,
    pool: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // A reader never says that it has read more than it was given room for.
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = self.pool.0.lock();
        if self.buffer.len() as u64 == LARGE_PIECE && kept.len() < IDLE_BUFFERS {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

/// Goes on reading a body that nobody wants, within bounds.  Many clients only look at the answer
/// when they have sent everything, and take a closed connection for a failure of the network.
pub(super) fn drain(mut body: Body) {
    use hyper::body::Body as _;
    if body.is_end_stream() {
        return;
    }
    task::spawn(async move {
        let until = Instant::now() + DRAIN_TIME;
        let mut left = DRAIN_BYTES;
        while Instant::now() < until {
            let Ok(Some(Ok(frame))) = tokio::time::timeout(DRAIN_IDLE, body.frame()).await else {
                break;
            };
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    });
}
