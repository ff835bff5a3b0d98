//! Which parts of an image hold data: kept while it is written, recorded with it, read back.
//!
//! The record is a line of text that is bound to one snapshot of one image, since Ceph copies an
//! image's metadata to its clones, whose data is another.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::ByteRange;

/// Data is known to this granularity at best: that of the file systems that sparse files come from.
pub(super) const GRANULE: u64 = 4 << 10;

/// A record is no longer than this; a finer one is made coarser until it fits.
const RECORD_MAX: usize = 64 << 10;

/// More runs than this are not worth remembering.
const RUNS_MAX: usize = 1 << 19;

const VERSION: &str = "1";

/// Ranges in order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// Start and end.
    runs: BTreeMap<u64, u64>,
}

impl Extents {
    /// Everything up to `end`.
    pub(super) fn whole(end: u64) -> Self {
        let mut extents = Self::default();
        extents.insert(0..end);
        extents
    }

    /// Adds a range.
    pub(super) fn insert(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.runs.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.runs.range(start..=end).next() {
            end = end.max(next_end);
            self.runs.remove(&next);
        }
        self.runs.insert(start, end);
    }

    /// Adds the granules that a range touches.
    pub(super) fn insert_granules(&mut self, range: ByteRange) {
        if !range.is_empty() {
            self.insert(granules_around(range, GRANULE));
            self.bound();
        }
    }

    /// Takes a range away.
    pub(super) fn remove(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let touched = self.within(range.clone());
        for part in touched {
            if let Some((&start, &end)) = self.runs.range(..=part.start).next_back() {
                self.runs.remove(&start);
                self.insert(start..range.start.max(start));
                self.insert(range.end.min(end)..end);
            }
        }
    }

    /// The parts that lie in `range`, cut to it.
    pub(super) fn within(&self, range: ByteRange) -> Vec<ByteRange> {
        self.overlapping(&range)
            .map(|run| run.start.max(range.start)..run.end.min(range.end))
            .collect()
    }

    /// Whether any of `range` is data.
    pub(super) fn intersects(&self, range: &ByteRange) -> bool {
        self.overlapping(range).next().is_some()
    }

    fn overlapping(&self, range: &ByteRange) -> impl Iterator<Item = ByteRange> {
        let first = self.runs.range(..=range.start).next_back().map_or(range.start, |run| *run.0);
        let (start, end) = (range.start, range.end);
        let runs = self.runs.range(first..end.max(first)).map(|(&start, &end)| start..end);
        runs.filter(move |run| start < end && run.end > start && run.start < end)
    }

    /// The first data at or after `offset`.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        self.overlapping(&(offset..u64::MAX)).next().map(|run| run.start.max(offset))
    }

    /// The first hole at or after `offset`.
    pub(super) fn next_hole(&self, offset: u64) -> u64 {
        let run = self.overlapping(&(offset..offset.saturating_add(1))).next();
        run.map_or(offset, |run| run.end)
    }

    /// How many bytes are data.
    pub(super) fn bytes(&self) -> u64 {
        self.runs.iter().map(|(start, end)| end - start).sum()
    }

    /// Gives up on the details once they take too much room: all up to the last is data.
    pub(super) fn bound(&mut self) {
        if self.runs.len() > RUNS_MAX
            && let Some((_, &end)) = self.runs.last_key_value()
        {
            *self = Self::whole(end);
        }
    }

    /// The record for the snapshot `snapshot` of the image with the (internal) id `image`.
    pub(super) fn record(&self, image: &str, snapshot: u64) -> String {
        let mut granule = GRANULE;
        loop {
            let record = self.record_by(granule, image, snapshot);
            if record.len() <= RECORD_MAX {
                return record;
            }
            granule *= 2;
        }
    }

    /// `1 <image> <snapshot> <granule> <gap>+<length> …`, gaps and lengths in granules.
    fn record_by(&self, granule: u64, image: &str, snapshot: u64) -> String {
        let mut coarse = Self::default();
        for (&start, &end) in &self.runs {
            coarse.insert(granules_around(start..end, granule));
        }
        let mut record = format!("{VERSION} {image} {snapshot} {granule}");
        let mut at = 0;
        for (start, end) in coarse.runs {
            // Writing to a String cannot fail.
            let _ = write!(record, " {}+{}", (start - at) / granule, (end - start) / granule);
            at = end;
        }
        record
    }

    /// Reads a record; `None` when it is not one for this snapshot of this image of `size` bytes.
    pub(super) fn parse(record: &str, image: &str, snapshot: u64, size: u64) -> Option<Self> {
        let mut words = record.split(' ');
        let bound = words.next() == Some(VERSION)
            && words.next() == Some(image)
            && words.next()?.parse() == Ok(snapshot);
        let granule: u64 = words.next()?.parse().ok()?;
        if !bound || granule == 0 {
            return None;
        }
        let mut extents = Self::default();
        let mut at: u64 = 0;
        for word in words {
            let (gap, length) = word.split_once('+')?;
            let start = at.checked_add(gap.parse::<u64>().ok()?.checked_mul(granule)?)?;
            at = start.checked_add(length.parse::<u64>().ok()?.checked_mul(granule)?)?;
            extents.insert(start..at.min(size));
            // A record that says more than there is belongs to something else.
            if start >= size && length != "0" {
                return None;
            }
        }
        Some(extents)
    }
}

/// The whole granules that a range touches.
pub(super) fn granules_around(range: ByteRange, granule: u64) -> ByteRange {
    let start = range.start / granule * granule;
    start..range.end.checked_next_multiple_of(granule).unwrap_or(range.end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const G: u64 = GRANULE;

    fn extents(ranges: &[ByteRange]) -> Extents {
        let mut extents = Extents::default();
        for range in ranges {
            extents.insert(range.clone());
        }
        extents
    }

    #[test]
    fn what_is_recorded_is_read_back_for_that_snapshot_only() {
        let data = extents(&[0..G, 5 * G..9 * G]);
        let record = data.record("abc", 7);
        assert_eq!(record, "1 abc 7 4096 0+1 4+4");
        assert_eq!(Extents::parse(&record, "abc", 7, 20 * G), Some(data.clone()));
        let cut = Extents::parse(&record, "abc", 7, 8 * G + 10);
        assert_eq!(cut, Some(extents(&[0..G, 5 * G..8 * G + 10])));
        assert_eq!(Extents::parse(&record, "abd", 7, 20 * G), None, "another image");
        assert_eq!(Extents::parse(&record, "abc", 8, 20 * G), None, "another snapshot");
        assert_eq!(Extents::parse(&record, "abc", 7, 5 * G), None, "a shorter image");
        for bad in ["", "1 abc 7", "1 abc 7 0 0+1", "1 abc 7 4 1", "1 abc 7 4 1+", "2 abc 7 4 1+1"]
        {
            assert_eq!(Extents::parse(bad, "abc", 7, 1 << 20), None, "{bad}");
        }
        let far = "1 abc 7 65536 99999999999999999999+1";
        assert_eq!(Extents::parse(far, "abc", 7, u64::MAX), None);
    }

    #[test]
    fn a_record_that_would_be_too_long_is_coarser_and_covers_all() {
        let scattered: Vec<ByteRange> = (0..100_000).map(|n| n * 2 * G..(n * 2 + 1) * G).collect();
        let data = extents(&scattered);
        let record = data.record("abc", 7);
        assert!(record.len() <= RECORD_MAX);
        let read = Extents::parse(&record, "abc", 7, 200_000 * G).unwrap();
        assert!(scattered.iter().all(|range| read.within(range.clone()) == [range.clone()]));
    }

    #[test]
    fn data_and_holes_are_found() {
        let data = extents(&[10..20, 30..40]);
        assert_eq!(
            [0, 10, 15, 20, 39].map(|at| data.next_data(at)),
            [Some(10), Some(10), Some(15), Some(30), Some(39)]
        );
        assert_eq!(data.next_data(40), None);
        assert_eq!([0, 10, 19, 20, 35, 99].map(|at| data.next_hole(at)), [0, 20, 20, 20, 40, 99]);
        assert!(data.intersects(&(19..21)) && !data.intersects(&(20..30)));
        assert!(!data.intersects(&(15..15)));
        assert_eq!(data.bytes(), 20);
    }

    proptest! {
        #[test]
        fn they_are_a_set_of_bytes(steps in prop::collection::vec((any::<bool>(), 0..60_u64, 0..30_u64), 0..20)) {
            let mut model = [false; 100];
            let mut data = Extents::default();
            for (add, start, length) in steps {
                let range = start..start + length;
                model[start as usize..range.end as usize].fill(add);
                if add { data.insert(range) } else { data.remove(range) }
            }
            for at in 0..100_u64 {
                prop_assert_eq!(data.intersects(&(at..at + 1)), model[at as usize], "{}", at);
            }
            // Neither overlapping nor touching.
            let runs: Vec<_> = data.runs.iter().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
            prop_assert_eq!(data.bytes(), model.iter().filter(|byte| **byte).count() as u64);
        }
    }
}
