//! Which URL may become a location.
//!
//! A client's URL is only ever taken when it is just what a store of ours would have written for an
//! image of its own: its cluster, its pool, nothing encoded otherwise, and never a file (OSSA-2014-041,
//! OSSA-2015-002).  Two images never get the same data (OSSN-0065, CVE-2022-4134): what another
//! image has, or is named by another image's id, is refused as if it were not there.

use tracing::info;

use super::super::Images;
use crate::catalog::model::{ImageId, Location};
use crate::error::{Error, Result};

impl Images {
    /// The location that a client's URL means, for this image, with what it says about it.
    ///
    /// # Errors
    /// `Invalid`, in Glance's words and without a reason: what is there is none of a client's
    /// business.
    pub(in crate::images) fn location_at(
        &self,
        id: ImageId,
        url: &str,
        mut metadata: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Location> {
        let store = self.stores.iter().find(|store| store.takes_location(url));
        let Some(store) = store else { return Err(invalid(id, url, "no store takes it")) };
        let named = store.name_in(url).and_then(|name| name.parse::<ImageId>().ok());
        if named.is_some_and(|named| named != id) {
            return Err(invalid(id, url, "it is named by another image's id"));
        }
        if self.is_others(id, url)? {
            return Err(invalid(id, url, "another image has it"));
        }
        if !self.options.enabled_backends.is_empty() {
            metadata.insert("store".to_string(), store.name().into());
        }
        Ok(Location { url: url.to_string(), metadata, status: "active".to_string() })
    }

    /// Bytes of the data at a location, as its store says.
    ///
    /// # Errors
    /// `Invalid` when there is none; the store's.
    pub(in crate::images) fn size_at(&self, id: ImageId, location: &Location) -> Result<u64> {
        let url = &location.url;
        let Some(store) = self.store_of(url) else { return Err(invalid(id, url, "no store")) };
        match store.open(url).map(|reader| reader.size()) {
            Ok(0) => Err(invalid(id, url, "it is empty")),
            Err(Error::NotFound(why)) => Err(invalid(id, url, &why)),
            size => size,
        }
    }
}

fn invalid(id: ImageId, url: &str, why: &str) -> Error {
    info!(image = %id, url, why, "not taken for a location");
    Error::Invalid("Invalid location".to_string())
}
