//! An image that is open for reading.

use std::sync::Arc;

use super::TIME_PROPERTY;
use crate::catalog::model::{Image, Row};
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
