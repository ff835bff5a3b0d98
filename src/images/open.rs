//! Opening an image for reading.

use std::sync::Arc;

use tracing::warn;

use super::{Images, TIME_PROPERTY};
use crate::catalog::model::{Image, ImageId, Row};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::store::ImageReader;

/// An image and its data, open for reading.
#[derive(Clone)]
pub struct OpenImage {
    /// The record as it was when it was opened.
    pub image: Image,
    /// The data; `None` while the image has none.
    pub reader: Option<Arc<dyn ImageReader>>,
}

impl OpenImage {
    /// What a directory needs of it, as [`super::Images::rows`] gives it for images that are still there.
    pub fn row(&self) -> Row {
        let image = &self.image;
        let text = |text: &String| text.as_str().into();
        let active = image.locations.iter().find(|location| location.status == "active");
        Row {
            id: image.id,
            name: image.name.as_ref().map(text),
            owner: image.owner.clone(),
            size: image.size.unwrap_or(0),
            status: image.status,
            visibility: image.visibility,
            protected: image.protected,
            os_hidden: image.os_hidden,
            created_at: image.created_at,
            updated_at: image.updated_at,
            mtime: image.properties.get(TIME_PROPERTY).map(text),
            location: active.map(|location| text(&location.url)),
        }
    }
}

impl Images {
    /// Opens an image's data for reading.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` (deactivated, too); `StoreUnavailable` when no copy can be opened.
    pub fn open(&self, ctx: &RequestContext, id: ImageId) -> Result<OpenImage> {
        let image = self.readable(ctx, id)?;
        if !image.status.has_data() {
            return Ok(OpenImage { image, reader: None });
        }
        match self.reader_of(&image) {
            Ok(reader) => Ok(OpenImage { image, reader: Some(reader) }),
            Err(error) => {
                // Deleted meanwhile, the record before the data: then that is what is wrong.
                self.find(ctx, id)?;
                Err(error)
            }
        }
    }

    /// Opens an image's data for reading, if a file of it is in the disk cache; never waits for the
    /// network.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`
    pub fn open_on_disk(&self, ctx: &RequestContext, id: ImageId) -> Result<Option<OpenImage>> {
        if !self.readers.is_on_disk(id) {
            return Ok(None);
        }
        let image = self.readable(ctx, id)?;
        for location in self.options.by_weight(&image) {
            let Some(store) = self.store_of(&location.url) else { continue };
            // What fails here is tried again, and said, by whoever opens it from afar.
            if let Ok(Some(reader)) = self.readers.open_near(&image, &location.url, store) {
                return Ok(Some(OpenImage { image, reader: Some(reader) }));
            }
        }
        Ok(None)
    }

    /// The record of an image whose data `ctx` may read.
    fn readable(&self, ctx: &RequestContext, id: ImageId) -> Result<Image> {
        let mut image = self.find(ctx, id)?;
        self.policy().check_download(ctx, &image)?;
        self.policy().hide_properties(ctx, &mut image);
        Ok(image)
    }

    fn reader_of(&self, image: &Image) -> Result<Arc<dyn ImageReader>> {
        let mut failure = None;
        for location in self.options.by_weight(image) {
            let url = &location.url;
            match self.store_of(url).map(|store| self.readers.open(image, url, store)) {
                Some(Ok(reader)) => return Ok(reader),
                Some(Err(error)) => failure = Some(error.to_string()),
                None => failure = Some(format!("no configured store holds {}", location.url)),
            }
        }
        let reason = failure.unwrap_or_else(|| "it has no location".to_string());
        warn!(image = %image.id, reason, "data cannot be opened");
        Err(Error::StoreUnavailable(format!("The data of image {} cannot be opened", image.id)))
    }
}
