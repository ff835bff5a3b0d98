//! The stores of the recordings: `fast` and `slow` take images; `web`, which `all_stores` does not
//! mean, takes none, and has those of the recorded web server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use glancefs::catalog::model::ImageId;
use glancefs::error::{Error, Result};
use glancefs::images::{Images, Options};
use glancefs::store::file::open_file;
use glancefs::store::{Capacity, ImageReader, ImageWriter, Store, Stored};

use super::core;

/// The images of an empty catalog, in these stores.
pub fn images(directory: &Path, options: Options) -> Arc<Images> {
    let mut stores = vec![core::default_store(directory, "fast")];
    stores.push(core::file_store(directory, "slow"));
    let image = directory.join("img.raw");
    std::fs::write(&image, vec![0; super::files::LENGTH]).unwrap();
    stores.push(Arc::new(Web { image }));
    core::images_in(directory, stores, options)
}

/// In the place of Glance's store `http`: nothing can be written to it, and any number of images may
/// have the same data there.
struct Web {
    image: PathBuf,
}

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

    fn owns(&self, url: &str) -> bool {
        url.starts_with("http://")
    }

    fn takes_location(&self, url: &str) -> bool {
        self.owns(url)
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

    fn open(&self, url: &str) -> Result<Arc<dyn ImageReader>> {
        let path = url.split('#').next().unwrap();
        if path.ends_with("/img.raw") {
            return open_file(&self.image);
        }
        Err(Error::NotFound(format!("HTTP 404 for {url}")))
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
