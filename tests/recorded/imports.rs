//! The stores of the recordings: `fast` and `slow` take images; `web`, which `all_stores` does not mean, takes none.

use std::path::Path;
use std::sync::Arc;

use glancefs::catalog::model::ImageId;
use glancefs::error::{Error, Result};
use glancefs::images::{Images, Options};
use glancefs::store::{Capacity, ImageReader, ImageWriter, Store, Stored};

use super::core;

/// The images of an empty catalog, in these stores.
pub fn images(directory: &Path, options: Options) -> Arc<Images> {
    let mut stores = vec![core::default_store(directory, "fast")];
    stores.push(core::file_store(directory, "slow"));
    stores.push(Arc::new(Web));
    core::images_in(directory, stores, options)
}

/// In the place of Glance's store `http`: nothing can be written to it.
struct Web;

fn nothing<T>() -> Result<T> {
    Err(Error::Unsupported("Adding images to store is disabled.".to_string()))
}

impl Store for Web {
    fn name(&self) -> &str {
        "web"
    }

    fn kind(&self) -> &'static str {
        "http"
    }

    fn owns(&self, _url: &str) -> bool {
        false
    }

    fn name_in(&self, _url: &str) -> Option<String> {
        None
    }

    fn is_local(&self) -> bool {
        true
    }

    fn create(&self, _id: ImageId, _size: Option<u64>) -> Result<Box<dyn ImageWriter>> {
        nothing()
    }

    fn open(&self, _url: &str) -> Result<Arc<dyn ImageReader>> {
        nothing()
    }

    fn list(&self) -> Result<Vec<Stored>> {
        Ok(Vec::new())
    }

    fn delete(&self, _url: &str) -> Result<()> {
        nothing()
    }

    fn discard(&self, _id: ImageId) -> Result<()> {
        Ok(())
    }

    fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity { total: 0, available: 0 })
    }

    fn allocated(&self, _url: &str) -> Option<u64> {
        None
    }
}
