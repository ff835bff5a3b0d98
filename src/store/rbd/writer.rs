//! Writing an image: many writes under way, at any offset, and the size found out as it goes.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use super::super::{ByteRange, ImageReader, ImageWriter};
use super::connection::{Connection, c_string};
use super::errno::Errno;
use super::extents::{Extents, GRANULE, granules_around};
use super::image::{Access, Image};
use super::location::Location;
use super::pipeline::Pipeline;
use super::{EXTENTS_KEY, Inner, SNAPSHOT, removal, waiting};
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};

/// Writes are gathered up to this size, and end at multiples of it: a request costs the cluster
/// about the same however short it is.
const PIECE: u64 = 4 << 20;

/// An image of unknown size grows by no more than this at a time.  Glance: the same.
const GROWTH_MAX: u64 = 8 << 30;

/// Zeros are left out in blocks of this size: smaller ones are written faster than left out.
const HOLE: u64 = 64 << 10;

static ZEROS: [u8; HOLE as usize] = [0; HOLE as usize];

/// What was gathered but not yet queued.
struct Pending {
    offset: u64,
    data: Vec<u8>,
}

impl Pending {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// An image that is being written.
pub(super) struct RbdWriter {
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    /// Its name in the pool.
    name: CString,
    /// `pool/name`, for messages.
    target: String,
    /// There until the image is complete or given up.
    image: Option<Arc<Image>>,
    pipeline: Pipeline,
    pending: Option<Pending>,
    /// As the upload sees it.
    length: u64,
    /// As Ceph sees it: never less.
    size: u64,
    /// By how much to grow next.
    growth: u64,
    /// What may hold something else than zeros.
    data: Extents,
    finished: bool,
    /// The cluster has not answered in time: nothing more is asked of it.
    unanswered: Cell<bool>,
}

impl RbdWriter {
    pub(super) fn create(inner: Arc<Inner>, id: ImageId, size: Option<u64>) -> Result<Self> {
        let connection = inner.cluster.connection()?;
        let target = inner.target(id.as_str());
        let name = c_string(id.as_str())?;
        let size = size.unwrap_or_default();
        if let Err(error) = Image::create(&connection, &name, size, &inner.layout(&connection)) {
            inner.cluster.note(&connection, error);
            return Err(match error {
                Errno::EXIST => Error::Conflict(format!("RBD image {target} exists already")),
                error => error.error("create RBD image", &target),
            });
        }
        let mut writer = Self {
            growth: inner.chunk_size(),
            pipeline: Pipeline::new(connection.limit()),
            inner,
            connection,
            name,
            target,
            image: None,
            pending: None,
            length: 0,
            size,
            data: Extents::default(),
            finished: false,
            unanswered: Cell::new(false),
        };
        // From here on, dropping the writer removes the image.
        let opened = Image::open(&writer.connection, &writer.name, None, Access::Write);
        writer.image = Some(opened.map_err(|error| writer.error("open", error))?);
        Ok(writer)
    }

    fn error(&self, action: &str, error: Errno) -> Error {
        if error == Errno::TIMEDOUT {
            self.unanswered.set(true);
        }
        if let Some(image) = &self.image {
            image.note(error);
        }
        self.inner.cluster.note(&self.connection, error);
        error.error(&format!("{action} RBD image"), &self.target)
    }

    fn image(&self) -> Result<&Arc<Image>> {
        self.image.as_ref().ok_or_else(|| self.error("use", Errno::IO))
    }

    /// The end of `length` bytes at `offset`, where an image can have one.
    fn end(&self, offset: u64, length: u64) -> Result<u64> {
        let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok());
        end.ok_or_else(|| self.error("write", Errno::FBIG))
    }

    /// Makes room up to `end`: each time twice as much as before.
    fn ensure(&mut self, end: u64) -> Result<()> {
        if end <= self.size {
            return Ok(());
        }
        let grown = self.size.saturating_add(self.growth).min(i64::MAX as u64);
        self.resize(end.max(grown))?;
        self.growth = self.growth.saturating_mul(2).min(GROWTH_MAX);
        Ok(())
    }

    fn resize(&mut self, size: u64) -> Result<()> {
        let resized = self.image()?.resize(size);
        resized.map_err(|error| match error {
            // Ceph's words for more objects than it can count.
            Errno::INVAL => self.error("grow", Errno::FBIG),
            error => self.error("resize", error),
        })?;
        self.size = size;
        Ok(())
    }

    /// Queues what was gathered.
    fn send_pending(&mut self) -> Result<()> {
        let Some(Pending { offset, data }) = self.pending.take() else { return Ok(()) };
        let sent = self.pipeline.write(self.image()?, offset, data);
        sent.map_err(|error| self.error("write", error))
    }

    /// Waits for all writes so far.
    fn drain(&mut self) -> Result<()> {
        self.send_pending()?;
        self.pipeline.drain().map_err(|error| self.error("write", error))
    }

    /// Gathers data that has room already.
    fn gather(&mut self, mut offset: u64, mut data: &[u8]) -> Result<()> {
        self.data.insert_granules(offset..offset + data.len() as u64);
        while !data.is_empty() {
            if self.pending.as_ref().is_some_and(|pending| pending.end() != offset) {
                self.send_pending()?;
            }
            let left = (offset / PIECE + 1) * PIECE - offset;
            let count = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
            let (now, later) = data.split_at(count);
            let pending = self.pending.get_or_insert_with(|| Pending {
                offset,
                data: self.pipeline.buffer(PIECE as usize),
            });
            pending.data.extend_from_slice(now);
            offset += count as u64;
            data = later;
            if offset.is_multiple_of(PIECE) {
                self.send_pending()?;
            }
        }
        Ok(())
    }

    /// Writes all but blocks of zeros where there are zeros already.
    fn gather_thin(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let mut at = 0;
        let mut run = 0;
        while at < data.len() {
            let start = offset + at as u64;
            let end = granules_around(start..start + 1, HOLE).end;
            // A block's rest always fits.
            let length = (data.len() - at).min((end - start) as usize);
            let block = data.get(at..at + length).unwrap_or_default();
            let hole = ZEROS.get(..length) == Some(block)
                && !self.data.intersects(&(start..start + length as u64));
            if hole {
                self.gather(offset + run as u64, data.get(run..at).unwrap_or_default())?;
                run = at + length;
            }
            at += length;
        }
        self.gather(offset + run as u64, data.get(run..).unwrap_or_default())
    }

    /// Everything of [`ImageWriter::finish`] but closing: the image is complete when this is done.
    fn complete(&mut self) -> Result<()> {
        self.drain()?;
        let image = Arc::clone(self.image()?);
        self.pipeline.flush(&image).map_err(|error| self.error("flush", error))?;
        if self.size != self.length {
            self.resize(self.length)?;
        }
        image.create_snapshot(SNAPSHOT).map_err(|error| self.error("snapshot", error))?;
        match self.record_extents(&image) {
            // The next step would wait as long again.
            Err(Errno::TIMEDOUT) => {
                return Err(self.error("record the extents of", Errno::TIMEDOUT));
            }
            Err(error) => {
                tracing::warn!(image = self.target, %error, "the extents could not be recorded");
            }
            Ok(()) => {}
        }
        image.protect(SNAPSHOT).map_err(|error| self.error("protect the snapshot of", error))
    }

    /// Records where the data is, for every node to find.
    fn record_extents(&mut self, image: &Arc<Image>) -> Result<(), Errno> {
        let snapshots = image.snapshots()?;
        let snapshot = snapshots.iter().find(|snapshot| snapshot.name.as_c_str() == SNAPSHOT);
        let snapshot = snapshot.ok_or(Errno::NOENT)?;
        let record = self.data.record(&image.internal_id()?, snapshot.id);
        let record = CString::new(record).map_err(|_| Errno::INVAL)?;
        image.set_metadata(EXTENTS_KEY, record)
    }

    fn name(&self) -> &CStr {
        &self.name
    }
}

impl ImageWriter for RbdWriter {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let end = self.end(offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        self.ensure(end)?;
        if self.inner.options().thin_provisioning {
            self.gather_thin(offset, data)?;
        } else {
            self.gather(offset, data)?;
        }
        self.length = self.length.max(end);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.drain()?;
        let left = self.length.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = buffer.get_mut(..length).unwrap_or_default();
        waiting::read(self.image()?, offset, wanted).map_err(|error| self.error("read", error))?;
        Ok(length)
    }

    fn punch(&mut self, range: ByteRange) -> Result<()> {
        let range = range.start..range.end.min(self.length);
        if range.is_empty() || !self.data.intersects(&range) {
            return Ok(());
        }
        self.send_pending()?;
        let zeroed = self.pipeline.zero(self.image()?, range.clone());
        zeroed.map_err(|error| self.error("punch a hole in", error))?;
        // Granules that it covers in part keep their data.
        let whole = range.start.next_multiple_of(GRANULE)..range.end / GRANULE * GRANULE;
        self.data.remove(whole.start..whole.end.max(whole.start));
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> Result<()> {
        self.end(length, 0)?;
        if length > self.length {
            self.ensure(length)?;
        } else if self.data.intersects(&(length..self.length)) {
            // What is cut off must not come back when it grows again.
            self.drain()?;
            self.resize(length)?;
            self.data.remove(length..u64::MAX);
        }
        self.length = length;
        Ok(())
    }

    fn len(&self) -> u64 {
        self.length
    }

    fn data_extents(&mut self, range: ByteRange) -> Result<Vec<ByteRange>> {
        Ok(self.data.within(range.start..range.end.min(self.length)))
    }

    fn copy_from(
        &mut self,
        _source: &dyn ImageReader,
        _source_offset: u64,
        _offset: u64,
        _length: u64,
    ) -> Result<u64> {
        Err(Error::Unsupported("the store cannot copy this image by itself".into()))
    }

    fn sync(&mut self) -> Result<()> {
        self.drain()?;
        self.pipeline.flush(self.image()?).map_err(|error| self.error("flush", error))
    }

    fn finish(mut self: Box<Self>) -> Result<String> {
        self.complete()?;
        let image = self.name.to_string_lossy().into_owned();
        let options = self.inner.options();
        let snapshot = SNAPSHOT.to_string_lossy();
        let url = Location::url(self.connection.fsid(), &options.pool, &image, &snapshot);
        let end = self.length;
        let allocated = self.data.within(0..end).iter().map(|run| run.end - run.start).sum();
        self.inner.remember_size(&image, allocated);
        self.finished = true;
        // Closes it, and with that the watch ends.
        self.image = None;
        Ok(url)
    }
}

impl Drop for RbdWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if self.unanswered.get() {
            tracing::warn!(target = self.target, "an abandoned upload is left for `discard`");
            return;
        }
        // What is under way ends first, well or badly; then the watch, which would block removal.
        if let Err(error) = self.pipeline.drain() {
            self.error("write", error);
        }
        self.image = None;
        if self.unanswered.get() {
            return;
        }
        if let Err(error) = removal::discard(&self.connection, self.name()) {
            let error = self.error("remove the unfinished", error);
            tracing::warn!(%error, "an abandoned upload was left behind");
        }
    }
}
