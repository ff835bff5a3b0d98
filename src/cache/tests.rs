//! The cache before a store whose every read is seen, and ends when the test says so.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::error::Error;

const MIB: u64 = 1 << 20;
const GRANULE: u64 = blocks::GRANULE;

/// Data that is different everywhere, with holes where the test wants them.
struct Source {
    size: u64,
    data: Option<Vec<ByteRange>>,
    /// Reads that were started and have not ended.
    under_way: Mutex<VecDeque<(ByteRange, ReadDone)>>,
    asked: Mutex<Vec<ByteRange>>,
}

impl Source {
    fn new(size: u64) -> Arc<Self> {
        Self::with_data(size, None)
    }

    fn with_data(size: u64, data: Option<Vec<ByteRange>>) -> Arc<Self> {
        Arc::new(Self { size, data, under_way: Mutex::default(), asked: Mutex::default() })
    }

    fn bytes(&self, range: ByteRange) -> Vec<u8> {
        let Some(data) = &self.data else { return pattern(range) };
        let mut bytes = vec![0; (range.end - range.start) as usize];
        for data in data {
            let part = data.start.max(range.start)..data.end.min(range.end);
            if !part.is_empty() {
                let at = (part.start - range.start) as usize;
                let pattern = pattern(part);
                bytes[at..at + pattern.len()].copy_from_slice(&pattern);
            }
        }
        bytes
    }

    /// Ends the oldest read; false when there is none.
    fn answer(&self) -> bool {
        let Some((range, done)) = self.under_way.lock().pop_front() else { return false };
        done(Ok(self.bytes(range).into()));
        true
    }

    fn fail(&self) {
        let Some((_, done)) = self.under_way.lock().pop_front() else { return };
        done(Err(Error::StoreUnavailable("lost".to_string())));
    }

    fn answer_all(&self) {
        while self.answer() {}
    }

    /// No byte was asked for twice, and nothing beyond the end.
    fn assert_each_byte_once(&self) -> u64 {
        let mut asked = self.asked.lock().clone();
        asked.sort_by_key(|range| range.start);
        assert!(asked.windows(2).all(|pair| pair[0].end <= pair[1].start), "{asked:?}");
        assert!(asked.iter().all(|range| range.end <= self.size), "{asked:?}");
        asked.iter().map(|range| range.end - range.start).sum()
    }
}

/// Bytes of which none is zero, and that begin again after a number of them that is no power of two.
fn pattern(range: ByteRange) -> Vec<u8> {
    const LENGTH: usize = 7 * 251;
    let once: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8 + 1).collect();
    let (skipped, length) = (range.start as usize % LENGTH, (range.end - range.start) as usize);
    once.repeat(length / LENGTH + 2)[skipped..skipped + length].to_vec()
}

impl ImageReader for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize> {
        unreachable!("nobody waits for the store")
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        self.asked.lock().push(range.clone());
        self.under_way.lock().push_back((range, done));
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        let cut = |data: &ByteRange| data.start.max(range.start)..data.end.min(range.end);
        let data = self.data.as_ref()?;
        Some(data.iter().map(cut).filter(|part| !part.is_empty()).collect())
    }

    fn next_data(&self, _: u64) -> Result<Option<u64>> {
        unreachable!("holes are known or not")
    }

    fn next_hole(&self, _: u64) -> Result<u64> {
        unreachable!("holes are known or not")
    }

    fn local_file(&self) -> Option<&File> {
        None
    }
}

struct Image {
    cache: Arc<BlockCache>,
    source: Arc<Source>,
    reader: Arc<CachedReader>,
    id: ImageId,
}

impl Image {
    fn new(capacity: u64, source: Arc<Source>) -> Self {
        Self::in_cache(BlockCache::new(capacity), source)
    }

    fn in_cache(cache: Arc<BlockCache>, source: Arc<Source>) -> Self {
        let id = ImageId::random();
        let of_store: Arc<dyn ImageReader> = Arc::<Source>::clone(&source);
        let reader = Arc::new(CachedReader::new(Arc::clone(&cache), id, of_store));
        Self { cache, source, reader, id }
    }

    fn start(&self, range: ByteRange) -> Receiver<Result<Bytes>> {
        let (sender, answer) = channel();
        let done = move |outcome| sender.send(outcome).unwrap();
        Arc::clone(&self.reader).start_read(range, Box::new(done));
        answer
    }

    /// Reads, letting the store answer as often as it takes.
    fn read(&self, range: ByteRange) -> Bytes {
        let answer = self.start(range);
        loop {
            match answer.try_recv() {
                Ok(outcome) => return outcome.unwrap(),
                Err(_) => assert!(self.source.answer(), "nothing is under way, and no answer"),
            }
        }
    }

    fn assert_read(&self, range: ByteRange) {
        let expected = self.source.bytes(range.start..range.end.min(self.source.size));
        assert_eq!(self.read(range.clone()), expected, "{range:?}");
    }
}

#[test]
fn a_stream_reads_each_block_once_and_ahead() {
    let image = Image::new(64 * MIB, Source::new(24 * MIB + 12_345));
    for at in 0..25 {
        image.assert_read(at * MIB..(at + 1) * MIB);
    }
    assert_eq!(image.source.assert_each_byte_once(), image.source.size);
    assert!(image.source.asked.lock().len() < 15, "{:?}", image.source.asked.lock());
    let figures = image.cache.figures();
    assert_eq!(figures.fetched_bytes, image.source.size);
    assert_eq!(figures.hit_bytes + figures.missed_bytes, image.source.size);
}

#[test]
fn fifty_readers_of_a_cold_image_read_each_block_once() {
    let image = Image::new(64 * MIB, Source::new(8 * MIB));
    for at in 0..8 {
        let range = at * MIB..(at + 1) * MIB;
        let answers: Vec<_> = (0..50).map(|_| image.start(range.clone())).collect();
        image.source.answer_all();
        for answer in answers {
            assert_eq!(answer.try_recv().unwrap().unwrap(), image.source.bytes(range.clone()));
        }
    }
    assert_eq!(image.source.assert_each_byte_once(), 8 * MIB);
}

#[test]
fn holes_cost_no_read() {
    let data = vec![GRANULE..3 * GRANULE, 40 * GRANULE..41 * GRANULE];
    let image = Image::new(64 * MIB, Source::with_data(64 * MIB, Some(data)));
    for at in 0..64 {
        image.assert_read(at * MIB..(at + 1) * MIB);
    }
    assert_eq!(image.source.assert_each_byte_once(), 3 * GRANULE);
}

#[test]
fn a_small_scattered_read_fetches_little() {
    let image = Image::new(64 * MIB, Source::new(64 * MIB));
    for at in [50, 3, 17, 33, 9] {
        image.assert_read(at * MIB + 5..at * MIB + 4101);
    }
    assert_eq!(image.source.assert_each_byte_once(), 5 * GRANULE);
}

#[test]
fn all_of_it_stays_within_its_bound() {
    let cache = BlockCache::new(8 * MIB);
    let images: Vec<_> =
        (0..20).map(|_| Image::in_cache(Arc::clone(&cache), Source::new(9 * MIB))).collect();
    let mut answers = Vec::new();
    for at in 0..9 {
        for image in &images {
            answers.push((image, at, image.start(at * MIB..(at + 1) * MIB)));
            let figures = cache.figures();
            assert!(figures.used + figures.in_flight <= 8 * MIB, "{figures:?}");
            assert!(figures.in_flight <= 4 * MIB, "{figures:?}");
        }
    }
    while images.iter().any(|image| image.source.answer()) {
        let figures = cache.figures();
        assert!(figures.used + figures.in_flight <= 8 * MIB, "{figures:?}");
    }
    for (image, at, answer) in answers {
        let bytes = answer.try_recv().unwrap().unwrap();
        assert_eq!(bytes, image.source.bytes(at * MIB..(at + 1) * MIB));
    }
}

#[test]
fn a_failed_read_fails_those_who_wait_and_nobody_else() {
    let image = Image::new(64 * MIB, Source::new(8 * MIB));
    let answers = [image.start(0..MIB), image.start(100..200)];
    image.source.fail();
    assert!(answers.iter().all(|answer| answer.try_recv().unwrap().is_err()));
    assert!(image.reader.has_failed());
    image.source.answer_all();
    image.assert_read(0..MIB);
}

#[test]
fn what_is_forgotten_is_read_again_and_who_waits_is_answered() {
    let image = Image::new(64 * MIB, Source::new(8 * MIB));
    image.assert_read(0..GRANULE);
    let waiting = image.start(4 * MIB..4 * MIB + 10);
    image.cache.forget(image.id);
    image.source.answer_all();
    assert!(waiting.try_recv().unwrap().is_ok());
    assert!(!image.cache.holds(image.id));
    assert_eq!(image.cache.figures().used, 0);
    image.assert_read(0..GRANULE);
    assert_eq!(image.source.asked.lock().len(), 3);
}

#[test]
fn readers_on_many_threads_get_what_they_asked_for() {
    let image = Image::new(8 * MIB, Source::new(16 * MIB));
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|seed| {
                let image = &image;
                scope.spawn(move || {
                    let mut at = seed * 1_234_567;
                    for _ in 0..300 {
                        at = (at * 48_271 + 11) % image.source.size;
                        let range = at..(at + 1 + at % 300_000).min(image.source.size);
                        let bytes = image.start(range.clone()).recv().unwrap().unwrap();
                        assert_eq!(bytes, image.source.bytes(range));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                image.source.answer();
            }
        });
        for reader in readers {
            reader.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_reads_in_any_order_give_the_right_bytes(
        size in 1..20 * MIB,
        holes in prop::collection::vec((0..320_u64, 1..40_u64), 0..6),
        reads in prop::collection::vec((0..20 * MIB, 1..2 * MIB, 0..4_usize), 1..30),
    ) {
        let mut data = Vec::new();
        let mut at = 0;
        for (gap, length) in holes {
            let start = at + gap % 50 * GRANULE;
            at = start + length * GRANULE;
            data.push(start..at);
        }
        let data = (!data.is_empty()).then_some(data);
        let image = Image::new(8 * MIB, Source::with_data(size, data));
        let mut waiting = Vec::new();
        for (start, length, answered) in reads {
            let range = start..start + length;
            waiting.push((range.clone(), image.start(range)));
            for _ in 0..answered {
                image.source.answer();
            }
        }
        image.source.answer_all();
        for (range, answer) in waiting {
            let expected = image.source.bytes(range.start.min(size)..range.end.min(size));
            prop_assert_eq!(answer.try_recv().unwrap().unwrap(), expected);
        }
    }
}
