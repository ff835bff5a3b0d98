//! The start of an upload: journal first, then the record, then the data.

use std::sync::Arc;

use super::{Upload, UploadOptions};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::crash::{self, Step};
use crate::images::events::Event;
use crate::images::journal::Work;
use crate::images::policy::Action;
use crate::images::quota::totals::Counted;

impl Images {
    /// Starts writing data for a record that has none yet.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid` without formats or for an unknown store; `Conflict` when
    /// the image is not `queued`.
    pub fn begin_upload(
        self: &Arc<Self>,
        ctx: &RequestContext,
        id: ImageId,
        options: &UploadOptions,
    ) -> Result<Upload> {
        let image = self.find(ctx, id)?;
        self.policy().check_image(ctx, Action::UploadImage, &image)?;
        let size = options.size.unwrap_or_default();
        self.totals.check_room(Counted::Stored, &image, size, &*self.catalog)?;
        let store = self.store_named(options.store.as_deref())?;
        if image.disk_format.is_none() || image.container_format.is_none() {
            return Err(Error::Invalid(
                "Properties disk_format, container_format must be set prior to saving data."
                    .to_string(),
            ));
        }
        self.check_may_become(&image, Status::Saving)?;
        let turn = self.totals.claim(Counted::Coming, &image, &*self.catalog)?;
        let work = Work::Upload { store: store.name().to_owned() };
        let saving = Image { status: Status::Saving, ..image.clone() };
        let saving = self.begin_work(&image, saving, &work)?;
        self.tell_prepared(&saving, store.name());
        Upload::start(Arc::clone(self), ctx, saving, work, store, options.size, turn)
    }

    /// Makes a record and starts writing its data, to the default store unless one is named, as
    /// one: the record goes if the data does not become complete.  The disk format is found by
    /// looking at the data.
    ///
    /// # Errors
    /// `Forbidden`, `OverQuota`, `Invalid` for an unknown store; the store's errors.
    pub fn begin_draft(
        self: &Arc<Self>,
        ctx: &RequestContext,
        name: &str,
        store: Option<&str>,
    ) -> Result<Upload> {
        let store = self.store_named(store)?;
        let mut image = Image::new(ImageId::random(), ctx.project.clone());
        image.status = Status::Saving;
        image.container_format = Some("bare".to_string());
        image.name = Some(name.to_string());
        self.check_new(ctx, &image)?;
        self.check_upload_count()?;
        let counted = self.totals.claim(Counted::Images, &image, &*self.catalog)?;
        let turn = self.totals.claim(Counted::Coming, &image, &*self.catalog)?;
        let work = Work::Draft { store: store.name().to_owned() };
        self.journal.begin(image.id, &work)?;
        crash::point(Step::Journaled);
        if let Err(error) = self.catalog.insert(&image) {
            return Err(self.not_begun(image.id, &work, error));
        }
        drop(counted);
        crash::point(Step::Record);
        self.events.tell(Event::Created(&image));
        self.tell_prepared(&image, store.name());
        Upload::start(Arc::clone(self), ctx, image, work, store, None, turn)
    }

    /// Whether data for a record may begin to come, by which it gets this status.
    pub(in crate::images) fn check_may_become(&self, image: &Image, status: Status) -> Result<()> {
        if image.status != Status::Queued {
            return Err(no_way(image.status, status));
        }
        self.check_upload_count()
    }

    /// Notes in the journal and then in the record, which is `queued`, that its data begins to come.
    pub(in crate::images) fn begin_work(
        &self,
        queued: &Image,
        mut begun: Image,
        work: &Work,
    ) -> Result<Image> {
        let id = queued.id;
        self.journal.begin(id, work)?;
        crash::point(Step::Journaled);
        begun.updated_at = Timestamp::now();
        match self.catalog.save(queued, &begun, &[Status::Queued]) {
            Ok(true) => {}
            Ok(false) => {
                self.journal.end(id)?;
                return Err(no_way(begun.status, begun.status));
            }
            Err(error) => return Err(self.not_begun(id, work, error)),
        }
        crash::point(Step::Record);
        self.events.tell(Event::Updated(&begun));
        Ok(begun)
    }

    /// The record was not written; or it was, and the catalog's answer was lost: then it is put back as
    /// soon as the catalog answers.
    fn not_begun(&self, id: ImageId, work: &Work, error: Error) -> Error {
        if error.leaves_unsettled() {
            self.end_later(id, work.clone());
        } else if let Err(journal) = self.journal.end(id) {
            return journal;
        }
        error
    }

    fn check_upload_count(&self) -> Result<()> {
        let limit = self.options.max_uploads;
        if self.uploads.lock().len() < limit {
            return Ok(());
        }
        Err(Error::OverQuota(format!(
            "{limit} uploads are in progress already ([glancefs] max_uploads)"
        )))
    }
}

/// Glance's words; somebody else who was faster has brought it to where it was to go.
fn no_way(from: Status, to: Status) -> Error {
    Error::Conflict(format!("Image status transition from {from} to {to} is not allowed"))
}
