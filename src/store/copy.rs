//! Copying a finished image into a new one where the store cannot do that by itself.
//!
//! The bytes pass through this process and no further: many reads are under way while earlier ones
//! are written, and holes are neither read nor written.  Whoever does something else with the data of
//! an image that is far away reads it in the same way.

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
    let there = |at: u64| offset + (at - source_offset);
    let mut at = source_offset;
    read_data(source, source_offset..end, &mut |data, bytes| {
        clear(target, there(at)..there(data))?;
        at = data + bytes.len() as u64;
        target.write_at(there(data), &bytes)
    })?;
    clear(target, there(at)..there(end))?;
    if target.len() < offset + length { target.set_len(offset + length) } else { Ok(()) }
}

/// Reads all data of a range that the source has, in order, in pieces, with their offsets; holes are
/// left out.  Further pieces are on their way while one is taken.
///
/// # Errors
/// The store's, and those of `take`.
pub fn read_data(
    source: &Arc<dyn ImageReader>,
    range: ByteRange,
    take: &mut dyn FnMut(u64, Bytes) -> Result<()>,
) -> Result<()> {
    let mut under_way = VecDeque::with_capacity(DEPTH);
    let mut at = range.start;
    while at < range.end {
        let data = source.next_data(at)?.map_or(range.end, |data| data.min(range.end));
        let data_end =
            if data < range.end { source.next_hole(data)?.min(range.end) } else { range.end };
        let mut piece = data;
        while piece < data_end {
            if under_way.len() == DEPTH {
                take_first(&mut under_way, take)?;
            }
            let piece_end = data_end.min((piece / PIECE + 1) * PIECE);
            under_way.push_back((piece, read(source, piece..piece_end)));
            piece = piece_end;
        }
        at = data_end;
    }
    while !under_way.is_empty() {
        take_first(&mut under_way, take)?;
    }
    Ok(())
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

fn take_first(
    under_way: &mut VecDeque<(u64, Read)>,
    take: &mut dyn FnMut(u64, Bytes) -> Result<()>,
) -> Result<()> {
    let Some((offset, outcome)) = under_way.pop_front() else { return Ok(()) };
    let lost = |_| Err(Error::StoreUnavailable("a read was never answered".to_string()));
    // A store answers every read that was started.
    take(offset, outcome.recv().unwrap_or_else(lost)?)
}
