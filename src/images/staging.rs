//! Data that waits to be imported: the staging area, and the way into it.
//!
//! The area is a directory with a file for each image, named by its id, as Glance has it.  A
//! [`Staging`] takes the data of one image in order; complete, the record says `uploading` and the
//! file is durable, so that it survives a restart; dropped before, both are as they were.  Nobody
//! looks at what the data is until it is imported (Glance: the same).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Images;
use super::crash::{self, Step};
use super::events::Event;
use super::journal::Work;
use super::policy::Action;
use super::quota::totals::{Counted, Hold};
use super::upload::{Incoming, Progress};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::store::file::{FileStore, FileStoreOptions};
use crate::store::{ImageWriter, Store};

/// What Glance calls the store that staged data is in.
pub const STAGING_STORE: &str = "os_glance_staging_store";

/// The staging area.
///
/// The names in it are an image's id, `.tmp-` and the id for what is not complete, and for what
/// else is made on the way into a store, the id with a dot and anything behind it.
pub(super) struct Area {
    store: FileStore,
}

impl Area {
    /// Opens the area, which is made if it is missing.
    ///
    /// # Errors
    /// `Config` when the directory cannot be used.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let options = FileStoreOptions { file_mode: 0o600, ..FileStoreOptions::default() };
        Ok(Self { store: FileStore::open(STAGING_STORE, directory, options)? })
    }

    /// Starts the data of an image.
    ///
    /// # Errors
    /// `Conflict` when there is some already; `StoreFull`, `StoreUnavailable`.
    pub(super) fn create(&self, id: ImageId) -> Result<Box<dyn ImageWriter>> {
        self.store.create(id, None).map_err(|error| match error {
            Error::Conflict(_) => Error::Conflict(format!("The image {id} has data on staging")),
            other => other,
        })
    }

    /// Opens the complete data of an image.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub(super) fn file(&self, id: ImageId) -> Result<File> {
        let reader = self.store.open(&self.store.url_of(id))?;
        let missing = || Error::NotFound(format!("The image {id} is not staged"));
        let file = reader.local_file().ok_or_else(missing)?;
        file.try_clone().map_err(Error::io("open", format_args!("the staged data of {id}")))
    }

    /// The directory that it is in.
    pub(super) fn directory(&self) -> &Path {
        self.store.datadir()
    }

    /// Removes all that there is for an image.
    ///
    /// # Errors
    /// `StoreUnavailable`
    pub(super) fn remove(&self, id: ImageId) -> Result<()> {
        self.store.discard(id)?;
        for path in self.paths()? {
            if let Some((owner, Kind::Beside)) = owner(&path)
                && owner == id
            {
                fs::remove_file(&path).map_err(Error::io("remove", path.display()))?;
            }
        }
        Ok(())
    }

    /// The images that there is anything for.
    fn images(&self) -> Result<Vec<ImageId>> {
        let mut ids: Vec<_> =
            self.paths()?.iter().filter_map(|path| Some(owner(path)?.0)).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn paths(&self) -> Result<Vec<PathBuf>> {
        let failed = |error| Error::io("read", self.store.datadir().display())(error);
        let entries = fs::read_dir(self.store.datadir()).map_err(failed)?;
        entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
    }
}

/// What a file in the area is of its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its data, complete or not.
    Data,
    /// Something that was made of it.
    Beside,
}

/// The image that a file in the area belongs to; `None` for what is not ours.
fn owner(path: &Path) -> Option<(ImageId, Kind)> {
    let name = path.file_name()?.to_str()?;
    if let Some((id, _)) = name.split_once('.').filter(|(id, _)| !id.is_empty()) {
        return Some((id.parse().ok()?, Kind::Beside));
    }
    let id = name.strip_prefix(".tmp-").unwrap_or(name);
    Some((id.parse().ok()?, Kind::Data))
}

/// The data of one image on its way into the staging area.
pub struct Staging {
    images: Arc<Images>,
    recorded: Image,
    /// Taken when the data is complete or given up.
    writer: Option<Box<dyn ImageWriter>>,
    /// Data was begun: what is in the area is ours.
    holds_data: bool,
    expected_size: Option<u64>,
    /// Its part of what the project may stage, where that is limited.
    hold: Option<Hold>,
    /// Its place among the project's uploads, where they are limited.
    _turn: Option<Hold>,
    progress: Arc<Progress>,
    /// Complete or undone: there is nothing left to undo.
    ended: bool,
}

impl Images {
    /// Starts staging data for a record that has none yet; `size` is its length, if it is known.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the image is not `queued`, or has data there;
    /// `OverQuota`.
    pub fn begin_staging(
        self: &Arc<Self>,
        ctx: &RequestContext,
        id: ImageId,
        size: Option<u64>,
    ) -> Result<Staging> {
        let image = self.find(ctx, id)?;
        self.policy().check_image(ctx, Action::ModifyImage, &image)?;
        let announced = size.unwrap_or_default();
        self.totals.check_room(Counted::Staged, &image, announced, &*self.catalog)?;
        self.check_may_become(&image, Status::Uploading)?;
        let turn = self.totals.claim(Counted::Coming, &image, &*self.catalog)?;
        let uploading = Image { status: Status::Uploading, size: None, ..image.clone() };
        let uploading = self.begin_work(&image, uploading, &Work::Stage)?;
        Staging::start(Arc::clone(self), uploading, size, turn)
    }

    /// The staging area.
    ///
    /// # Errors
    /// `Config` when there is none.
    pub(super) fn staging(&self) -> Result<&Area> {
        let none = || Error::Config("there is no staging area (node_staging_uri)".to_string());
        self.staging.as_ref().ok_or_else(none)
    }

    /// Removes what is staged for an image.
    ///
    /// # Errors
    /// `StoreUnavailable`
    pub(super) fn unstage(&self, id: ImageId) -> Result<()> {
        self.staging.as_ref().map_or(Ok(()), |area| area.remove(id))
    }

    /// Removes what was staged for an image that has been deleted; staging in progress finds its
    /// record gone, and removes its own data.
    pub(super) fn forget_staged(&self, image: &Image) {
        let staged = image.status == Status::Uploading && image.size.is_some();
        if (staged || image.status == Status::Importing)
            && let Err(error) = self.unstage(image.id)
        {
            warn!(image = %image.id, %error, "what was staged for it is removed at the next start");
        }
    }

    /// Removes what is staged for images that are gone.  Glance: the same, at its start.
    pub(super) fn sweep_staging(&self) -> Result<()> {
        let Some(area) = &self.staging else { return Ok(()) };
        for id in area.images()? {
            if self.catalog.get(id)?.is_none() {
                info!(image = %id, "what is staged for an image that is gone is removed");
                area.remove(id)?;
            }
        }
        Ok(())
    }

    /// Undoes staging that was interrupted; complete data stays.
    pub(super) fn undo_staging(&self, id: ImageId) -> Result<()> {
        let record = self.catalog.get(id)?;
        if record.is_some_and(|image| image.status == Status::Uploading && image.size.is_some()) {
            return Ok(());
        }
        self.unstage(id)?;
        crash::point(Step::Discarded);
        self.queue_again(id, Status::Uploading)
    }

    /// Puts a record back to `queued`, if it is still where it is said to be.
    pub(super) fn queue_again(&self, id: ImageId, from: Status) -> Result<()> {
        if let Some(image) = self.catalog.get(id)? {
            let mut queued = image.clone();
            queued.status = Status::Queued;
            queued.size = None;
            queued.updated_at = Timestamp::now();
            self.catalog.save(&image, &queued, &[from])?;
        }
        Ok(())
    }
}

impl Staging {
    fn start(
        images: Arc<Images>,
        recorded: Image,
        expected_size: Option<u64>,
        turn: Option<Hold>,
    ) -> Result<Self> {
        let progress = Arc::new(Progress {
            id: recorded.id,
            name: Mutex::new(recorded.name.clone()),
            bytes: AtomicU64::new(0),
            started: Instant::now(),
        });
        let mut staging = Self {
            images,
            recorded,
            writer: None,
            holds_data: false,
            expected_size,
            hold: None,
            _turn: turn,
            progress,
            ended: false,
        };
        staging.images.uploads.lock().push(Arc::clone(&staging.progress));
        // From here on, an error drops `staging`, which undoes what the caller prepared.
        staging.hold = staging.images.totals.begin(Counted::Staged, &staging.recorded)?;
        match (expected_size, &staging.hold) {
            (Some(size), _) => staging.check_length(size)?,
            (None, Some(hold)) => hold.check_any_left(&*staging.images.catalog)?,
            (None, None) => {}
        }
        let writer = staging.images.staging()?.create(staging.recorded.id)?;
        staging.writer = Some(writer);
        staging.holds_data = true;
        Ok(staging)
    }

    fn check_length(&self, length: u64) -> Result<()> {
        let cap = self.images.options().image_size_cap;
        if length > cap {
            return Err(Error::TooLarge(format!(
                "The incoming image is too large: it exceeds the maximum allowed size of {cap} \
                 bytes (image_size_cap)"
            )));
        }
        match self.expected_size {
            Some(expected) if length > expected => Err(Error::Invalid(format!(
                "Size exceeds: expected {expected} bytes, got {length} bytes"
            ))),
            expected => {
                let length = length.max(expected.unwrap_or_default());
                self.hold.as_ref().map_or(Ok(()), |hold| hold.set(&*self.images.catalog, length))
            }
        }
    }

    fn complete_now(&mut self) -> Result<Image> {
        let id = self.recorded.id;
        let Some(writer) = self.writer.take() else { return Err(gone(id)) };
        let size = writer.len();
        if let Some(expected) = self.expected_size.filter(|expected| *expected != size) {
            return Err(Error::Invalid(format!(
                "Size mismatch: expected {expected} bytes, got {size} bytes"
            )));
        }
        if let Some(hold) = &self.hold {
            hold.check(&*self.images.catalog, size)?;
        }
        writer.finish()?;
        crash::point(Step::Finished);
        let mut staged = self.recorded.clone();
        staged.size = Some(size);
        staged.updated_at = Timestamp::now();
        let images = &self.images;
        if !images.catalog.save(&self.recorded, &staged, &[Status::Uploading])? {
            return Err(gone(id));
        }
        crash::point(Step::Committed);
        Ok(staged)
    }

    fn undo(&mut self) -> Result<()> {
        // Data that was there before us is somebody else's.
        if self.holds_data {
            self.images.unstage(self.recorded.id)?;
        }
        self.images.queue_again(self.recorded.id, Status::Uploading)
    }

    fn close(&mut self) {
        self.images.uploads.lock().retain(|other| !Arc::ptr_eq(other, &self.progress));
        if let Err(error) = self.images.journal.end(self.recorded.id) {
            warn!(image = %self.recorded.id, %error, "journal");
        }
        self.ended = true;
    }
}

impl Incoming for Staging {
    fn append(&mut self, data: Bytes) -> Result<()> {
        let id = self.recorded.id;
        let offset = self.writer.as_ref().map_or(0, |writer| writer.len());
        self.check_length(offset.saturating_add(data.len() as u64))?;
        self.writer.as_mut().ok_or_else(|| gone(id))?.write_at(offset, &data)?;
        self.progress.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        crash::point(Step::Written);
        Ok(())
    }

    fn complete(mut self) -> Result<Image> {
        let staged = self.complete_now()?;
        self.close();
        self.images.changes.announce(&[staged.id]);
        self.images.events.tell(Event::Updated(&staged));
        Ok(staged)
    }
}

impl Drop for Staging {
    /// Removes the data and puts the record back, unless it is complete.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let id = self.recorded.id;
        self.writer = None;
        if let Err(error) = self.undo() {
            warn!(image = %id, %error, "unfinished staging is undone later");
            self.images.uploads.lock().retain(|other| !Arc::ptr_eq(other, &self.progress));
            self.images.end_later(id, Work::Stage);
            return;
        }
        self.close();
        self.images.changes.announce(&[id]);
        self.images.tell_updated(id);
    }
}

fn gone(id: ImageId) -> Error {
    Error::Gone(format!("Image {id} was deleted while its data was being staged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_image_that_they_are_named_by() {
        let id = ImageId::random();
        let owner = |name: String| owner(Path::new("/staging").join(name).as_path());
        assert_eq!(owner(id.to_string()), Some((id, Kind::Data)));
        assert_eq!(owner(format!(".tmp-{id}")), Some((id, Kind::Data)));
        assert_eq!(owner(format!("{id}.qcow2")), Some((id, Kind::Beside)));
        assert_eq!(owner("README".to_string()), None);
        assert_eq!(owner(".hidden".to_string()), None);
    }
}
