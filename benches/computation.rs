//! What is computed for every read and every byte, without disk, network or kernel: `cargo bench`.
//! What those make of it is measured by `scripts/bench`.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glancefs::cache::{BlockCache, CachedReader};
use glancefs::catalog::model::ImageId;
use glancefs::error::Result;
use glancefs::images::digest::{Digester, HashAlgorithm};
use glancefs::store::{ByteRange, ImageReader, ReadDone};

const MIB: u64 = 1 << 20;

/// A store that has every byte at hand.
struct Instant {
    size: u64,
    bytes: Bytes,
}

impl Instant {
    fn new(size: u64) -> Arc<Self> {
        Arc::new(Self { size, bytes: Bytes::from(vec![7; 4 << 20]) })
    }
}

impl ImageReader for Instant {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _offset: u64, buffer: &mut [u8]) -> Result<usize> {
        buffer.fill(7);
        Ok(buffer.len())
    }

    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        done(Ok(self.bytes.slice(..(range.end - range.start) as usize)));
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        Some(vec![range])
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn next_hole(&self, _offset: u64) -> Result<u64> {
        Ok(self.size)
    }

    fn local_file(&self) -> Option<&File> {
        None
    }
}

fn read(reader: &Arc<CachedReader>, range: ByteRange) {
    let done: ReadDone = Box::new(|bytes| drop(black_box(bytes)));
    Arc::clone(reader).start_read(range, done);
}

fn opened(size: u64, cache: u64) -> Arc<CachedReader> {
    Arc::new(CachedReader::new(BlockCache::new(cache), ImageId::random(), Instant::new(size)))
}

/// Reads of what is in the cache: one block, part of one, and parts of two.
fn hits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache hit");
    let reader = opened(64 * MIB, 128 * MIB);
    (0..64).for_each(|at| read(&reader, at * MIB..(at + 1) * MIB));
    for (name, length) in [("4 KiB scattered", 4096), ("128 KiB scattered", 128 << 10)] {
        let mut at = 0;
        group.throughput(Throughput::Bytes(length)).bench_function(name, |bencher| {
            bencher.iter(|| {
                at = (at + 7_919 * 4096) % (63 * MIB);
                read(&reader, at..at + length);
            });
        });
    }
    group.throughput(Throughput::Bytes(MIB)).bench_function("1 MiB of two blocks", |bencher| {
        bencher.iter(|| read(&reader, 4 * MIB - MIB / 2..4 * MIB + MIB / 2));
    });
    group.finish();
}

/// Reads of what is not in the cache, from a store that answers at once: telling streams apart,
/// reading ahead, giving blocks up.
fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cache miss");
    let size = 1024 * MIB;
    for count in [1, 8] {
        let reader = opened(size, 256 * MIB);
        let (part, mut turn) = (size / count, 0);
        group.throughput(Throughput::Bytes(MIB));
        group.bench_function(BenchmarkId::new("streams of 1 MiB reads", count), |bencher| {
            bencher.iter(|| {
                let at = turn % count * part + turn / count * MIB % part;
                turn += 1;
                read(&reader, at..at + MIB);
            });
        });
    }
    let (reader, mut at) = (opened(size, 8 * MIB), 0);
    group.throughput(Throughput::Bytes(4096)).bench_function("4 KiB scattered", |bencher| {
        bencher.iter(|| {
            at = (at + 104_729 * 4096) % (size - MIB);
            read(&reader, at..at + 4096);
        });
    });
    group.finish();
}

/// Both digests of an image, as it comes in pieces.
fn digests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    group.sample_size(10);
    let pieces: Vec<Bytes> = vec![Bytes::from(vec![7; MIB as usize]); 32];
    for algorithm in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        let id = BenchmarkId::new("md5 and", format!("{algorithm:?}"));
        group.throughput(Throughput::Bytes(32 * MIB));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let mut digester = Digester::new(algorithm);
                let fed = pieces.iter().try_for_each(|piece| digester.update(piece.clone()));
                black_box(fed.and_then(|()| digester.finish()))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hits, streams, digests);
criterion_main!(benches);
