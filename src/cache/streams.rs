//! Telling streams from random access, and how far to read ahead.
//!
//! One for each image, whoever reads it through whatever handles: a reader that opens the file
//! anew for each piece is still one stream.

use crate::store::ByteRange;

/// Streams that are told apart in one image.
const STREAMS: usize = 16;

/// The kernel asks for parts of one stream at the same time, so they come out of order by this at
/// most, and by no more than half of what the stream has come to: else scattered reads, which come
/// close to one another by chance, would be taken for streams.
const DISORDER: u64 = 4 << 20;

/// Before there is a reason to think of a stream, the next read must follow closely.
const GAP: u64 = 128 << 10;

/// How far a stream is read ahead at first.
const FIRST_WINDOW: u64 = 1 << 20;

/// The streams of one image.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    clock: u64,
}

#[derive(Debug)]
struct Stream {
    /// Where the last of its reads ended.
    next: u64,
    /// Bytes of its reads.
    length: u64,
    /// Whether a second read has followed the first.
    confirmed: bool,
    /// Up to where it was read ahead.
    ahead: u64,
    window: u64,
    used: u64,
}

/// What to make of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Part of nothing that is known.
    Random,
    /// Part of a stream: this is what it wants next, as far as it was not said before.
    Stream(ByteRange),
}

impl Streams {
    /// Notes a read, and says what else will be wanted, at most `most` bytes ahead.
    pub(super) fn note(&mut self, read: &ByteRange, most: u64) -> Advice {
        self.clock += 1;
        let clock = self.clock;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.takes(read)) else {
            self.begin(read);
            return Advice::Random;
        };
        stream.used = clock;
        stream.confirmed = true;
        stream.length += read.end - read.start;
        stream.next = stream.next.max(read.end);
        stream.ahead = stream.ahead.max(stream.next);
        if stream.ahead - stream.next > stream.window / 2 {
            return Advice::Stream(stream.ahead..stream.ahead);
        }
        let from = stream.ahead;
        stream.ahead = stream.next + stream.window.min(most);
        stream.window = (stream.window * 2).min(most.max(FIRST_WINDOW));
        Advice::Stream(from..stream.ahead.max(from))
    }

    /// Of what [`note`](Self::note) said is wanted up to `end`, only what is before `reached` was
    /// asked for; the rest is said again.
    pub(super) fn fell_short(&mut self, end: u64, reached: u64) {
        for stream in self.streams.iter_mut().filter(|stream| stream.ahead == end) {
            stream.ahead = reached.max(stream.next);
        }
    }

    fn begin(&mut self, read: &ByteRange) {
        if self.streams.len() >= STREAMS
            && let Some(oldest) =
                (0..self.streams.len()).min_by_key(|at| self.streams.get(*at).map(|s| s.used))
        {
            self.streams.swap_remove(oldest);
        }
        self.streams.push(Stream {
            next: read.end,
            length: read.end - read.start,
            confirmed: false,
            ahead: read.end,
            window: FIRST_WINDOW,
            used: self.clock,
        });
    }
}

impl Stream {
    fn takes(&self, read: &ByteRange) -> bool {
        if self.confirmed {
            let disorder = DISORDER.min(self.length / 2);
            read.start <= self.next.saturating_add(disorder)
                && self.next <= read.end.saturating_add(disorder)
        } else {
            (self.next..=self.next.saturating_add(GAP)).contains(&read.start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MOST: u64 = 32 * MIB;

    #[test]
    fn a_stream_is_read_ahead_further_and_further_each_byte_once() {
        let mut streams = Streams::default();
        assert_eq!(streams.note(&(0..MIB), MOST), Advice::Random);
        let (mut ahead, mut widest) = (MIB, 0);
        for at in 1..200 {
            let Advice::Stream(more) = streams.note(&(at * MIB..(at + 1) * MIB), MOST) else {
                panic!("it goes on")
            };
            assert_eq!(more.start, ahead.max((at + 1) * MIB));
            ahead = more.end;
            widest = widest.max(ahead - (at + 1) * MIB);
            assert!(ahead >= (at + 1) * MIB);
        }
        assert_eq!(widest, MOST);
    }

    #[test]
    fn requests_of_one_stream_may_come_out_of_order() {
        let mut streams = Streams::default();
        streams.note(&(0..MIB), MOST);
        for at in [1, 3, 2, 4, 6, 7, 5] {
            let advice = streams.note(&(at * MIB..(at + 1) * MIB), MOST);
            assert!(matches!(advice, Advice::Stream(_)), "{at}");
        }
        assert_eq!(streams.streams.len(), 1);
    }

    #[test]
    fn scattered_reads_are_hardly_ever_taken_for_a_stream() {
        let mut streams = Streams::default();
        let (mut at, mut streamed) = (1_u64, 0);
        for _ in 0..20_000 {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let start = (at >> 33) % (512 * MIB) / 131_072 * 131_072;
            if let Advice::Stream(more) = streams.note(&(start..start + 131_072), MOST) {
                streamed += more.end - more.start;
            }
        }
        let read = 20_000 * 131_072;
        assert!(streamed < read / 4, "{} MiB ahead of {} MiB", streamed / MIB, read / MIB);
    }

    #[test]
    fn two_streams_and_scattered_reads_do_not_disturb_each_other() {
        let mut streams = Streams::default();
        for at in 0..50 {
            let one = streams.note(&(at * MIB..(at + 1) * MIB), MOST);
            let two = streams.note(&((1000 + at) * MIB..(1001 + at) * MIB), MOST);
            let scattered = (5000 + at * 77) * MIB;
            let three = streams.note(&(scattered..scattered + 4096), MOST);
            assert_eq!(three, Advice::Random);
            if at > 0 {
                assert!(matches!((one, two), (Advice::Stream(_), Advice::Stream(_))));
            }
        }
    }

    #[test]
    fn a_seek_begins_anew() {
        let mut streams = Streams::default();
        for at in 0..40 {
            streams.note(&(at * MIB..(at + 1) * MIB), MOST);
        }
        assert_eq!(streams.note(&(900 * MIB..901 * MIB), MOST), Advice::Random);
        let Advice::Stream(more) = streams.note(&(901 * MIB..902 * MIB), MOST) else { panic!() };
        assert_eq!(more, 902 * MIB..902 * MIB + FIRST_WINDOW);
    }

    #[test]
    fn what_was_not_asked_for_is_said_again() {
        let mut streams = Streams::default();
        streams.note(&(0..MIB), MOST);
        let Advice::Stream(more) = streams.note(&(MIB..2 * MIB), MOST) else { panic!() };
        streams.fell_short(more.end, 3 * MIB);
        let Advice::Stream(more) = streams.note(&(2 * MIB..3 * MIB), MOST) else { panic!() };
        assert_eq!(more.start, 3 * MIB);
    }

    #[test]
    fn nothing_is_read_ahead_when_there_is_no_room_for_it() {
        let mut streams = Streams::default();
        streams.note(&(0..MIB), 0);
        assert_eq!(streams.note(&(MIB..2 * MIB), 0), Advice::Stream(2 * MIB..2 * MIB));
    }
}
