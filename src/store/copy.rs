//! Copying a finished image into a new one where the store cannot do that by itself.
//!
//! The bytes pass through this process and no further: many reads are under way while earlier ones
//! are written, and holes are neither read nor written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;

use super::{ByteRange, ImageReader, ImageWriter};
use crate::error::{Error, Result};

/// Bytes of one read.
const PIECE: u64 = 4 << 20;

/// Reads under way.
const DEPTH: usize = 4;

/// Copies `length` bytes, which the source has.
///
/// # Errors
/// Those of both stores; part of it may be written then.
pub fn copy(
    source: &Arc<dyn ImageReader>,
    source_offset: u64,
    target: &mut dyn ImageWriter,
    offset: u64,
    length: u64,
) -> Result<()> {
    let end = source_offset + length;
    let mut under_way = VecDeque::with_capacity(DEPTH);
    let mut at = source_offset;
    while at < end {
        let data = source.next_data(at)?.map_or(end, |data| data.min(end));
        let there = |at| offset + (at - source_offset);
        clear(target, there(at)..there(data))?;
        let data_end = if data < end { source.next_hole(data)?.min(end) } else { end };
        let mut piece = data;
        while piece < data_end {
            if under_way.len() == DEPTH {
                write_first(&mut under_way, target)?;
            }
            let piece_end = data_end.min((piece / PIECE + 1) * PIECE);
            under_way.push_back((there(piece), read(source, piece..piece_end)));
            piece = piece_end;
        }
        at = data_end;
    }
    while !under_way.is_empty() {
        write_first(&mut under_way, target)?;
    }
    if target.len() < offset + length { target.set_len(offset + length) } else { Ok(()) }
}

/// Makes a range of the target read as zeros, as far as there is anything.
fn clear(target: &mut dyn ImageWriter, range: ByteRange) -> Result<()> {
    let range = range.start..range.end.min(target.len());
    if range.is_empty() { Ok(()) } else { target.punch(range) }
}

type Read = Receiver<Result<Bytes>>;

fn read(source: &Arc<dyn ImageReader>, range: ByteRange) -> Read {
    let (sender, outcome) = sync_channel(1);
    let done = move |bytes| {
        // Nobody waits any more when an earlier piece has failed.
        let _ = sender.send(bytes);
    };
    Arc::clone(source).start_read(range, Box::new(done));
    outcome
}

fn write_first(under_way: &mut VecDeque<(u64, Read)>, target: &mut dyn ImageWriter) -> Result<()> {
    let Some((offset, outcome)) = under_way.pop_front() else { return Ok(()) };
    let lost = |_| Err(Error::StoreUnavailable("a read was never answered".to_string()));
    // A store answers every read that was started.
    target.write_at(offset, &outcome.recv().unwrap_or_else(lost)?)
}
