//! Reading a finished image, and never taking a removed one for zeros.
//!
//! A read-only handle is told of nothing.  When its image is removed elsewhere, the objects that
//! are gone read as holes: zeros, or the data of what it was cloned from.  So where an object
//! answers nothing but zeros although there should be data, the snapshot is looked for, after the
//! read.  Ceph removes objects only when the snapshot is gone, so as long as it is there what was
//! read was right.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::{ByteRange, ImageReader, ReadDone};
use super::connection::{Connection, Pool, c_string};
use super::errno::Errno;
use super::extents::Extents;
use super::hand_over::HandOver;
use super::image::{Access, Image};
use super::location::Location;
use super::{EXTENTS_KEY, Inner, SNAPSHOT, waiting};
use crate::error::{Error, Result};

/// How long a range that was not answered in time is not asked for again.  The kernel asks for what
/// it could not read ahead once more, at once, and whoever reads would wait twice.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So many such ranges are remembered.
const UNANSWERED_MAX: usize = 32;

/// How to see whether the image is still there.
struct Witness {
    /// The object that says which snapshots there are.
    header: CString,
    /// The snapshot that is read; an image may be read without one.
    snapshot: Option<u64>,
    /// Objects are named by this and a number, which is the offset in these units.
    prefix: String,
    stripe_unit: u64,
    /// Where they are, if not in the image's own pool.
    data_pool: Option<Pool>,
    /// Whether objects that are gone show something else than zeros.
    cloned: bool,
}

/// Reads of so many bytes are answered on librbd's thread where nothing has to be looked for: the
/// change of threads takes longer than the answer.  Longer ones would hold up what ends after them.
const ANSWERED_AT_ONCE: usize = 256 << 10;

/// A finished image, open.
pub struct RbdReader {
    inner: Arc<Inner>,
    image: Arc<Image>,
    /// Its name in the pool.
    name: String,
    /// `pool/name`, for messages.
    target: String,
    size: u64,
    witness: Witness,
    /// As recorded with the image, or as its objects tell; that is asked for once.
    extents: OnceLock<Extents>,
    removed: AtomicBool,
    /// What was not answered in time lately, and when.
    unanswered: Mutex<VecDeque<(Instant, ByteRange)>>,
    hand_over: HandOver,
}

impl RbdReader {
    pub(super) fn open(inner: Arc<Inner>, location: &Location) -> Result<Arc<Self>> {
        let connection = inner.cluster.connection()?;
        let target = inner.target(&location.image);
        let opened = Self::open_image(&connection, location).and_then(|(image, snapshot)| {
            let info = image.info()?;
            let witness = Witness::of(&image, snapshot.as_deref())?;
            let recorded = recorded_extents(&image, &witness, info.size)?;
            Ok((image, info.size, witness, recorded))
        });
        let (image, size, witness, recorded) = opened.map_err(|error| {
            inner.cluster.note(&connection, error);
            match error {
                Errno::NOENT => Error::NotFound(format!("no image data at RBD image {target}")),
                error => error.error("open RBD image", &target),
            }
        })?;
        if let Some(extents) = &recorded {
            inner.remember_size(&location.image, extents.bytes());
        }
        Ok(Arc::new(Self {
            hand_over: inner.hand_over(),
            inner,
            image,
            name: location.image.clone(),
            target,
            size,
            witness,
            extents: recorded.map(OnceLock::from).unwrap_or_default(),
            removed: AtomicBool::new(false),
            unanswered: Mutex::default(),
        }))
    }

    /// Opens the snapshot; for locations of the old kind the usual one, or the image itself.
    fn open_image(
        connection: &Arc<Connection>,
        location: &Location,
    ) -> Result<(Arc<Image>, Option<CString>), Errno> {
        let text = |text: &str| c_string(text).map_err(|_| Errno::NOENT);
        let name = text(&location.image)?;
        let open = |snapshot: Option<&CStr>| {
            let image = Image::open(connection, &name, snapshot, Access::Read)?;
            Ok((image, snapshot.map(CStr::to_owned)))
        };
        match &location.snapshot {
            Some(snapshot) => open(Some(&text(snapshot)?)),
            None => match open(Some(SNAPSHOT)) {
                Err(Errno::NOENT) => open(None),
                outcome => outcome,
            },
        }
    }

    fn error(&self, action: &str, error: Errno) -> Error {
        if error == Errno::STALE {
            self.removed.store(true, Ordering::Release);
        }
        self.image.note(error);
        self.inner.cluster.note(self.image.connection(), error);
        error.error(&format!("{action} RBD image"), &self.target)
    }

    /// Fails if a part of this range was not answered just now.
    fn check_answered(&self, range: &ByteRange) -> Result<(), Errno> {
        let mut unanswered = self.unanswered.lock();
        unanswered.retain(|(when, _)| when.elapsed() < RETRY_AFTER);
        let overlaps = |other: &ByteRange| other.start < range.end && range.start < other.end;
        let failed = unanswered.iter().any(|(_, other)| overlaps(other));
        if failed { Err(Errno::TIMEDOUT) } else { Ok(()) }
    }

    /// Notes a range that was not answered in time.
    fn note_unanswered(&self, range: ByteRange) {
        let mut unanswered = self.unanswered.lock();
        if unanswered.len() >= UNANSWERED_MAX {
            unanswered.pop_front();
        }
        unanswered.push_back((Instant::now(), range));
    }

    /// Reads what lies within the image.
    fn read(&self, offset: u64, wanted: &mut [u8]) -> Result<(), Errno> {
        if self.removed.load(Ordering::Acquire) {
            return Err(Errno::STALE);
        }
        let range = offset..offset + wanted.len() as u64;
        self.check_answered(&range)?;
        let read = waiting::read(&self.image, offset, wanted);
        let outcome = read.and_then(|()| self.verify(offset, wanted));
        if outcome == Err(Errno::TIMEDOUT) {
            self.note_unanswered(range);
        }
        outcome
    }

    /// As [`is_there`](Self::is_there); `false` when it is not.
    ///
    /// # Errors
    /// When that cannot be found out in time: opening the image again would take as long.
    pub(super) fn is_good(&self) -> Result<bool> {
        match self.is_there() {
            Err(Errno::TIMEDOUT) => Err(self.error("open", Errno::TIMEDOUT)),
            found => Ok(found.is_ok()),
        }
    }

    /// Whether the image is still what was opened.
    pub(super) fn is_there(&self) -> Result<(), Errno> {
        if self.removed.load(Ordering::Acquire) {
            return Err(Errno::STALE);
        }
        self.witness.look(self.image.connection().pool())
    }

    /// From here on every read fails: its data is being removed.
    pub(super) fn mark_removed(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// Where there is data.
    fn extents(&self) -> Result<&Extents, Errno> {
        if let Some(extents) = self.extents.get() {
            return Ok(extents);
        }
        let extents = self.image.data(self.size)?;
        // Those of an image that is being removed would lack what is gone.
        self.is_there()?;
        self.inner.remember_size(&self.name, extents.bytes());
        Ok(self.extents.get_or_init(|| extents))
    }

    /// Sees to it that its size is known.
    pub(super) fn measure(&self) -> Result<()> {
        self.extents().map(drop).map_err(|error| self.error("find data in", error))
    }

    /// Fails if what was read at `offset` may be what a removed image shows.
    fn verify(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if self.removed.load(Ordering::Acquire) {
            return Err(Errno::STALE);
        }
        let suspects = self.suspects(offset, data)?;
        if suspects.is_empty() && !self.witness.cloned {
            return Ok(());
        }
        self.is_there()?;
        self.witness.look_for_objects(self.image.connection().pool(), &suspects)
    }

    /// Whether what was read is right without [`verify`](Self::verify) having to ask anything.
    fn is_plainly_right(&self, offset: u64, data: &[u8]) -> bool {
        !self.removed.load(Ordering::Acquire)
            && !self.witness.cloned
            && self.zero_parts(offset, data).next().is_none()
    }

    /// Where objects have answered nothing but zeros although there should be data.
    fn suspects(&self, offset: u64, data: &[u8]) -> Result<Vec<u64>, Errno> {
        let mut suspects = Vec::new();
        for part in self.zero_parts(offset, data) {
            if self.extents()?.intersects(&part) {
                suspects.push(part.start);
            }
        }
        Ok(suspects)
    }

    /// What objects have answered nothing but zeros for.
    fn zero_parts<'a>(
        &self,
        offset: u64,
        mut data: &'a [u8],
    ) -> impl Iterator<Item = ByteRange> + use<'a> {
        let unit = self.witness.stripe_unit;
        let mut start = offset;
        let parts = std::iter::from_fn(move || {
            let left = unit - start % unit;
            let length = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
            let (part, rest) = data.split_at_checked(length)?;
            let range = start..start + length as u64;
            (data, start) = (rest, range.end);
            Some((range, part)).filter(|_| length > 0)
        });
        parts.filter(|(_, part)| is_zero(part)).map(|(range, _)| range)
    }
}

impl ImageReader for RbdReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let wanted = buffer.get_mut(..length).unwrap_or_default();
        self.read(offset, wanted).map_err(|error| self.error("read", error))?;
        Ok(length)
    }

    /// `done` is called on one of the few threads that all readers of a store share, or on librbd's,
    /// at the latest when Ceph's own timeouts have ended the request.
    fn start_read(self: Arc<Self>, range: ByteRange, done: ReadDone) {
        let end = range.end.min(self.size);
        let length = usize::try_from(end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length == 0 {
            return done(Ok(Bytes::new()));
        }
        let (offset, range) = (range.start, range.start..end);
        if let Err(error) = self.check_answered(&range) {
            return done(Err(self.error("read", error)));
        }
        let reader = Arc::clone(&self);
        let finish = self.hand_over.clone();
        let buffers = Arc::clone(&self.inner.buffers);
        let buffer = buffers.take(length);
        self.image.start_read(
            offset,
            length,
            buffer,
            Box::new(move |outcome| {
                let at_once = length <= ANSWERED_AT_ONCE
                    && outcome
                        .as_ref()
                        .is_ok_and(|buffer| reader.is_plainly_right(offset, buffer.as_ref()));
                let answer = move || {
                    let read = outcome.and_then(|buffer| {
                        reader.verify(offset, buffer.as_ref())?;
                        Ok(buffers.lend(buffer))
                    });
                    if matches!(read, Err(Errno::TIMEDOUT)) {
                        reader.note_unanswered(range);
                    }
                    done(read.map_err(|error| reader.error("read", error)));
                };
                if at_once { answer() } else { finish.give(Box::new(answer)) }
            }),
        );
    }

    fn known_data(&self, range: ByteRange) -> Option<Vec<ByteRange>> {
        self.extents.get().map(|extents| extents.within(range))
    }

    fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        let extents = self.extents().map_err(|error| self.error("find data in", error))?;
        Ok(extents.next_data(offset).filter(|data| *data < self.size))
    }

    fn next_hole(&self, offset: u64) -> Result<u64> {
        let extents = self.extents().map_err(|error| self.error("find holes in", error))?;
        Ok(extents.next_hole(offset.min(self.size)).min(self.size))
    }

    fn local_file(&self) -> Option<&File> {
        None
    }
}

impl Witness {
    fn of(image: &Arc<Image>, snapshot: Option<&CStr>) -> Result<Self, Errno> {
        let snapshot = match snapshot {
            Some(name) => {
                let snapshots = image.snapshots()?;
                let snapshot = snapshots.iter().find(|snapshot| snapshot.name.as_c_str() == name);
                Some(snapshot.ok_or(Errno::NOENT)?.id)
            }
            None => None,
        };
        let pool = image.connection().pool();
        let number = image.data_pool();
        let data_pool = if pool.number() == number { None } else { Some(pool.numbered(number)?) };
        let header = format!("rbd_header.{}", image.internal_id()?);
        Ok(Self {
            header: CString::new(header).map_err(|_| Errno::INVAL)?,
            snapshot,
            prefix: image.object_prefix()?,
            stripe_unit: image.stripe_unit()?.max(1),
            data_pool,
            cloned: image.overlap()? > 0,
        })
    }

    /// Whether the snapshot, or the image if none is read, is still there.
    fn look(&self, pool: &Pool) -> Result<(), Errno> {
        let answer = match pool.execute(&self.header, c"get_snapcontext") {
            Err(Errno::NOENT) => return Err(Errno::STALE),
            answer => answer?,
        };
        let snapshots = snapshot_ids(&answer).ok_or(Errno::IO)?;
        match self.snapshot {
            Some(id) if !snapshots.contains(&id) => Err(Errno::STALE),
            _ => Ok(()),
        }
    }

    /// Without a snapshot, objects go before the image does: whether those at the offsets are there.
    fn look_for_objects(&self, pool: &Pool, offsets: &[u64]) -> Result<(), Errno> {
        if self.snapshot.is_some() {
            return Ok(());
        }
        let pool = self.data_pool.as_ref().unwrap_or(pool);
        for offset in offsets {
            let object = format!("{}.{:016x}", self.prefix, offset / self.stripe_unit);
            let object = CString::new(object).map_err(|_| Errno::INVAL)?;
            if !pool.has_object(&object)? {
                return Err(Errno::STALE);
            }
        }
        Ok(())
    }
}

/// The extents that were recorded with the snapshot that is read.
fn recorded_extents(
    image: &Arc<Image>,
    witness: &Witness,
    size: u64,
) -> Result<Option<Extents>, Errno> {
    let Some(snapshot) = witness.snapshot else { return Ok(None) };
    let Some(record) = image.metadata(EXTENTS_KEY)? else { return Ok(None) };
    Ok(Extents::parse(&record, &image.internal_id()?, snapshot, size))
}

/// The ids in the answer of `get_snapcontext`: the newest id, a count, and so many ids.
fn snapshot_ids(answer: &[u8]) -> Option<Vec<u64>> {
    let (_newest, rest) = answer.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (ids, _) = rest.as_chunks::<8>();
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    Some(ids.get(..count)?.iter().map(|id| u64::from_le_bytes(*id)).collect())
}

fn is_zero(data: &[u8]) -> bool {
    // Most data differs at once; the rest is compared with itself, which is fast.
    match data.split_first() {
        Some((0, rest)) => data.get(..rest.len()) == Some(rest),
        Some(_) => false,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_told_from_data() {
        assert!(is_zero(&[]) && is_zero(&[0]) && is_zero(&[0; 4097]));
        assert!(!is_zero(&[1]) && !is_zero(&[0, 0, 3]) && !is_zero(&[5, 0, 0]));
    }

    #[test]
    fn snapshots_are_read_from_the_header() {
        let mut answer = Vec::new();
        answer.extend(9_u64.to_le_bytes());
        answer.extend(2_u32.to_le_bytes());
        answer.extend(9_u64.to_le_bytes());
        answer.extend(4_u64.to_le_bytes());
        assert_eq!(snapshot_ids(&answer), Some(vec![9, 4]));
        assert_eq!(snapshot_ids(&answer[..20]), None, "cut short");
        assert_eq!(snapshot_ids(&[]), None);
        assert_eq!(snapshot_ids(&[0; 12]), Some(vec![]));
    }
}
