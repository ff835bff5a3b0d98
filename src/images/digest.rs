//! The digests of an image, computed beside the write: Glance's MD5 `checksum` and one secure hash.
//!
//! A [`Digester`] takes the bytes in order.  The first MiB is hashed where it stands, so that small
//! images start no threads; from then on each hash has a thread of its own.  Both share the bytes
//! ([`Bytes`] is counted, not copied) and a bounded queue each, so that a writer that is faster than
//! the slower hash waits for it.

mod algorithm;
mod check;

pub use algorithm::HashAlgorithm;
pub use check::Check;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use algorithm::Hasher;
use bytes::Bytes;
use tracing::warn;

use crate::error::{Error, Result};

/// Bytes that are hashed before there are threads.
const INLINE: u64 = 1 << 20;

/// Bytes that are handed to the threads at once: small writes wake nobody, and large ones are cut.
const BATCH: usize = 512 << 10;

/// Pieces in a batch at most: writes of single bytes must not pile up either.
const PIECES: usize = 4096;

/// Batches that wait for a hash at most: with the one being filled and the one being hashed, 5 MiB.
const QUEUE: usize = 8;

/// The digests of one image, hexadecimal in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// MD5.  Glance: `checksum`.
    pub checksum: String,
    /// The name of the secure hash.
    pub os_hash_algo: String,
    /// The secure hash.
    pub os_hash_value: String,
}

/// Hashes the bytes of one image, in order.
///
/// Dropped before [`finish`](Self::finish), it ends its threads: they stop within a few batches.
#[derive(Debug)]
pub struct Digester {
    algorithm: HashAlgorithm,
    taken: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Both hashes in the caller's thread.
    Inline { checksum: Hasher, secure: Hasher, threads: bool },
    /// Each in its own.
    Threads { checksum: Lane, secure: Lane, batch: Batch },
}

impl Digester {
    /// Begins with no bytes.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        let stage =
            Stage::Inline { checksum: Hasher::md5(), secure: algorithm.hasher(), threads: true };
        Self { algorithm, taken: 0, stage }
    }

    /// How many bytes it has been given: the offset of the byte that must come next.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes; waits while the hashes are too far behind.
    ///
    /// # Errors
    /// `Io` when a hash's thread has died: the digests are lost.
    pub fn update(&mut self, data: Bytes) -> Result<()> {
        self.taken += data.len() as u64;
        self.pass(Piece::Data(data))
    }

    /// Takes `count` zero bytes, as a hole has them.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_zeros(&mut self, count: u64) -> Result<()> {
        self.taken += count;
        self.pass(Piece::Zeros(count))
    }

    /// The digests of everything that came.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn finish(self) -> Result<Digests> {
        let (checksum, os_hash_value) = match self.stage {
            Stage::Inline { checksum, secure, .. } => (checksum.finish(), secure.finish()),
            Stage::Threads { checksum, secure, mut batch } => {
                let rest = batch.take();
                checksum.send(&rest)?;
                secure.send(&rest)?;
                (checksum.finish()?, secure.finish()?)
            }
        };
        let os_hash_algo = self.algorithm.as_str().to_owned();
        Ok(Digests { checksum, os_hash_algo, os_hash_value })
    }

    fn pass(&mut self, mut piece: Piece) -> Result<()> {
        if self.taken > INLINE {
            self.start_threads();
        }
        match &mut self.stage {
            Stage::Inline { checksum, secure, .. } => {
                piece.pass_to(checksum);
                piece.pass_to(secure);
            }
            Stage::Threads { checksum, secure, batch } => {
                while piece.len() > 0 {
                    batch.add(piece.split_front(batch.room()));
                    if batch.room() == 0 {
                        let full = batch.take();
                        checksum.send(&full)?;
                        secure.send(&full)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves both hashes to threads; stays where it is when the system has none to give.
    fn start_threads(&mut self) {
        let Stage::Inline { checksum, secure, threads } = &mut self.stage else {
            return;
        };
        if !*threads {
            return;
        }
        let lanes = Lane::start("md5", checksum)
            .and_then(|checksum| Ok((checksum, Lane::start(self.algorithm.as_str(), secure)?)));
        match lanes {
            Ok((checksum, secure)) => {
                self.stage = Stage::Threads { checksum, secure, batch: Batch::default() };
            }
            Err(error) => {
                warn!(%error, "no threads for the digests: hashing will be slow");
                *threads = false;
            }
        }
    }
}

/// Bytes on their way to a hash.
#[derive(Clone, Debug)]
enum Piece {
    Data(Bytes),
    Zeros(u64),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Zeros(count) => *count,
        }
    }

    fn pass_to(&self, hasher: &mut Hasher) {
        match self {
            Self::Data(data) => hasher.update(data),
            Self::Zeros(count) => hasher.update_zeros(*count),
        }
    }

    /// Takes up to `length` bytes off the front.
    fn split_front(&mut self, length: usize) -> Self {
        match self {
            Self::Data(data) => Self::Data(data.split_to(length.min(data.len()))),
            Self::Zeros(count) => {
                let front = (length as u64).min(*count);
                *count -= front;
                Self::Zeros(front)
            }
        }
    }
}

/// What goes to the threads together: never more than [`BATCH`] bytes or [`PIECES`] pieces.
#[derive(Debug, Default)]
struct Batch {
    pieces: Vec<Piece>,
    length: usize,
}

impl Batch {
    fn room(&self) -> usize {
        if self.pieces.len() < PIECES { BATCH.saturating_sub(self.length) } else { 0 }
    }

    fn add(&mut self, piece: Piece) {
        // A piece is never longer than the room it was cut for.
        self.length = self.length.saturating_add(usize::try_from(piece.len()).unwrap_or(BATCH));
        self.pieces.push(piece);
    }

    fn take(&mut self) -> Arc<[Piece]> {
        self.length = 0;
        std::mem::take(&mut self.pieces).into()
    }
}

/// One hash in its own thread.
#[derive(Debug)]
struct Lane {
    name: &'static str,
    queue: SyncSender<Message>,
    thread: JoinHandle<Option<String>>,
}

enum Message {
    Pieces(Arc<[Piece]>),
    /// Nothing more comes: the digest is wanted.
    Finish,
}

impl Lane {
    /// Starts a thread that goes on from where `hasher` is.
    fn start(name: &'static str, hasher: &Hasher) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let hasher = hasher.clone();
        let thread = Builder::new()
            .name(format!("digest-{name}"))
            .spawn(move || hash_messages(hasher, &messages))?;
        Ok(Self { name, queue, thread })
    }

    fn send(&self, pieces: &Arc<[Piece]>) -> Result<()> {
        self.queue.send(Message::Pieces(Arc::clone(pieces))).map_err(|_| self.died())
    }

    fn finish(self) -> Result<String> {
        self.queue.send(Message::Finish).map_err(|_| self.died())?;
        let died = self.died();
        self.thread.join().ok().flatten().ok_or(died)
    }

    fn died(&self) -> Error {
        Error::Io {
            what: format!("hash image data ({})", self.name),
            source: io::Error::other("the thread that did it has died"),
        }
    }
}

/// The life of a hash's thread; `None` when the digester was dropped.
fn hash_messages(mut hasher: Hasher, messages: &Receiver<Message>) -> Option<String> {
    loop {
        match messages.recv().ok()? {
            Message::Pieces(pieces) => pieces.iter().for_each(|piece| piece.pass_to(&mut hasher)),
            Message::Finish => return Some(hasher.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::algorithm::hexadecimal;
    use super::*;
    use aws_lc_rs::digest as aws;
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    fn digests(algorithm: &str, data: &[u8]) -> Digests {
        let mut digester = Digester::new(algorithm.parse().unwrap());
        digester.update(Bytes::copy_from_slice(data)).unwrap();
        digester.finish().unwrap()
    }

    #[test]
    fn known_answers() {
        for (algorithm, value) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("sha224", "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "sha384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            ("sha512_256", "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
            ("sha3_256", "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
        ] {
            let found = digests(algorithm, b"abc");
            assert_eq!(found.checksum, "900150983cd24fb0d6963f7d28e17f72");
            assert_eq!(
                (found.os_hash_algo.as_str(), found.os_hash_value.as_str()),
                (algorithm, value)
            );
        }
        assert_eq!(digests("SHA512", b"").checksum, "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn an_unknown_algorithm_names_the_choices() {
        let Err(Error::Config(words)) = "crc32".parse::<HashAlgorithm>() else { panic!() };
        assert!(words.contains("sha512, sha384, sha256"), "{words}");
    }

    fn by_command(command: &str, data: &[u8]) -> String {
        let mut child =
            Command::new(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        io::Write::write_all(&mut child.stdin.take().unwrap(), data).unwrap();
        let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        text.split(' ').next().unwrap().to_owned()
    }

    #[test]
    fn large_data_with_holes_gives_what_md5sum_and_sha512sum_give() {
        let mut data: Vec<u8> =
            (0..9_000_001_u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
        data[2_000_000..6_500_000].fill(0);
        let mut digester = Digester::new(HashAlgorithm::Sha512);
        digester.update(Bytes::copy_from_slice(&data[..2_000_000])).unwrap();
        digester.update_zeros(4_500_000).unwrap();
        digester.update(Bytes::copy_from_slice(&data[6_500_000..])).unwrap();
        assert_eq!(digester.taken(), 9_000_001);
        let found = digester.finish().unwrap();
        assert_eq!(found.checksum, by_command("md5sum", &data));
        assert_eq!(found.os_hash_value, by_command("sha512sum", &data));
    }

    fn is_threaded(digester: &Digester) -> bool {
        matches!(digester.stage, Stage::Threads { .. })
    }

    #[test]
    fn only_more_than_a_mebibyte_starts_threads() {
        let mut digester = Digester::new(HashAlgorithm::Sha256);
        digester.update(Bytes::from(vec![1; INLINE as usize])).unwrap();
        assert!(!is_threaded(&digester));
        digester.update(Bytes::from_static(b"x")).unwrap();
        assert!(is_threaded(&digester));
    }

    #[test]
    fn a_thread_that_died_is_an_error_and_no_hang() {
        let mut digester = Digester::new(HashAlgorithm::Sha512);
        digester.stage =
            Stage::Inline { checksum: Hasher::md5(), secure: Hasher::Mortal, threads: true };
        let outcome = (0..100).try_for_each(|_| digester.update_zeros(INLINE + 1));
        assert!(matches!(outcome, Err(Error::Io { .. })), "{outcome:?}");
        assert!(digester.finish().is_err());
    }

    #[test]
    fn a_dropped_digester_ends_its_threads() {
        let mut digester = Digester::new(HashAlgorithm::Sha512);
        let data = Bytes::from(vec![9; 4 << 20]);
        digester.update(data.clone()).unwrap();
        assert!(is_threaded(&digester));
        drop(digester);
        // The threads hold counted references to the data until they end.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !data.is_unique() {
            assert!(Instant::now() < deadline, "the threads live on");
            thread::yield_now();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_split_gives_the_same(
            pieces in prop::collection::vec((0_usize..700_000, any::<bool>()), 0..12),
        ) {
            let mut digester = Digester::new(HashAlgorithm::Sha512);
            let mut whole = Vec::new();
            for (length, hole) in pieces {
                if hole {
                    whole.resize(whole.len() + length, 0);
                    digester.update_zeros(length as u64).unwrap();
                } else {
                    let data: Vec<u8> = (0..length).map(|at| (at >> 3) as u8 ^ 0x5a).collect();
                    whole.extend_from_slice(&data);
                    digester.update(data.into()).unwrap();
                }
            }
            prop_assert_eq!(digester.taken(), whole.len() as u64);
            let found = digester.finish().unwrap();
            prop_assert_eq!(found.checksum, hexadecimal(&Md5::digest(&whole)));
            let secure = aws::digest(&aws::SHA512, &whole);
            prop_assert_eq!(found.os_hash_value, hexadecimal(secure.as_ref()));
        }
    }
}
