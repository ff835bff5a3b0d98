//! The plugin `image_decompression`: unpacks gzip and zip, as Glance does.
//!
//! What was packed is a stranger's: it is unpacked by memory-safe code into a file that ends at the
//! size cap, and zeros, of which bombs are made, take no room.  LHA, which Glance unpacks where a
//! library happens to be installed, is refused as where it is not.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::Crc;
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use tracing::info;

use super::Plugins;
use super::zip::{self, Method};
use crate::catalog::model::Image;
use crate::error::{Error, Result};
use crate::images::format::source::Source;
use crate::images::import::unnamed::unnamed_file;
use crate::images::import::watch::Watch;

/// Bytes that are unpacked at once.
const PIECE: usize = 256 << 10;

/// What a hole is made of.
const BLOCK: usize = 4096;

/// Unpacks the data where it is packed and the record does not say that it shall stay so
/// (`container_format` `compressed`).
///
/// # Errors
/// `Invalid` for what cannot be unpacked; `TooLarge`; `Io`; those of the watch.
pub(super) fn run(plugins: &Plugins, image: &Image, data: File, watch: &Watch) -> Result<File> {
    if image.container_format.as_deref() == Some("compressed") {
        return Ok(data);
    }
    let mut head = [0; 5];
    let length = data.read_at(&mut head, 0).map_err(Error::io("read", "staged data"))?;
    let mut output =
        Output { file: unnamed_file(&plugins.directory)?, length: 0, cap: plugins.size_cap };
    // In Glance's order.
    match head.get(..length).unwrap_or_default() {
        [b'P', b'K', 3, 4, ..] => unzip(&data, &mut output, watch)?,
        [_, _, b'-', b'l', b'h'] => {
            return Err(Error::Invalid("No lhafile available.".to_owned()));
        }
        [0x1f, 0x8b, 8, ..] => {
            let packed = BufReader::with_capacity(PIECE, Piece::whole(&data)?);
            output.fill(&mut MultiGzDecoder::new(packed), watch)?;
        }
        _ => return Ok(data),
    }
    info!(image = %image.id, size = output.length, "unpacked");
    output.finish()
}

fn unzip(data: &File, output: &mut Output, watch: &Watch) -> Result<()> {
    let size = data.metadata().map_err(Error::io("read", "staged data"))?.len();
    let mut read_at = |offset, buffer: &mut [u8]| {
        data.read_at(buffer, offset).map_err(Error::io("read", "staged data"))
    };
    let entry = zip::only_entry(&mut Source::new(size, &mut read_at))?;
    let packed = Piece { file: data, at: entry.start, end: entry.start + entry.packed };
    let packed = BufReader::with_capacity(PIECE, packed);
    let crc = match entry.method {
        Method::Stored => output.fill(&mut { packed }, watch)?,
        Method::Deflated => output.fill(&mut DeflateDecoder::new(packed), watch)?,
    };
    if output.length != entry.unpacked || crc != entry.crc {
        return Err(Error::Invalid("The zip archive is damaged".to_owned()));
    }
    Ok(())
}

/// A part of a file, to be read from its beginning to its end.
struct Piece<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> Piece<'a> {
    fn whole(file: &'a File) -> Result<Self> {
        let end = file.metadata().map_err(Error::io("read", "staged data"))?.len();
        Ok(Self { file, at: 0, end })
    }
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Where unpacked data goes.
struct Output {
    file: File,
    length: u64,
    cap: u64,
}

impl Output {
    /// Writes all there is; returns its checksum.
    fn fill(&mut self, unpacked: &mut dyn Read, watch: &Watch) -> Result<u32> {
        let mut piece = vec![0; PIECE];
        let mut crc = Crc::new();
        loop {
            watch.check()?;
            let read = unpacked.read(&mut piece).map_err(|error| {
                Error::Invalid(format!("The image cannot be unpacked: {error}"))
            })?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(crc.sum());
            };
            crc.update(bytes);
            self.append(bytes)?;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.length.saturating_add(bytes.len() as u64) > self.cap {
            return Err(Error::TooLarge(format!(
                "Image exceeds the maximum allowed size of {} bytes (image_size_cap) when it is \
                 unpacked",
                self.cap
            )));
        }
        for block in bytes.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                let written = self.file.write_all_at(block, self.length);
                written.map_err(Error::io("write", "unpacked data"))?;
            }
            self.length += block.len() as u64;
        }
        Ok(())
    }

    fn finish(self) -> Result<File> {
        self.file.set_len(self.length).map_err(Error::io("write", "unpacked data"))?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests;
