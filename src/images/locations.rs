//! Where the data of images is: what may be said about that, and by whom.
//!
//! A location is an URL that the catalog records.  Whoever may write one could otherwise have the
//! server read, hand out or delete whatever it can reach, so each is held against the stores first.
//!
//! - here: removing an image's data from one of its stores, and whose data a location names;
//! - `check`: which URL may become a location;
//! - `edit`: `PATCH` of `locations`;
//! - `digests`: what clients say the data is.
//!
//! A location that is checked and hashed in the background is an import (`import::location`).

mod check;
mod digests;
mod edit;

use super::policy::{Action, Policy};
use super::{ATTEMPTS, Images};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
pub use digests::Expected;

impl Images {
    /// Removes an image's data from one of the stores that have it.
    ///
    /// # Errors
    /// `NotFound`, also when the store does not have it; `Forbidden` for others than administrators,
    /// and for the only store; `Conflict` for an unknown store and an image that is not `active`;
    /// `InUse` when clones depend on it.
    pub fn delete_from_store(&self, ctx: &RequestContext, store: &str, id: ImageId) -> Result<()> {
        if !self.options.enabled_backends.iter().any(|backend| backend.name == store) {
            return Err(Error::Conflict(format!(
                "The selected store {store} is not available on this node."
            )));
        }
        for _ in 0..ATTEMPTS {
            let image = self.find(ctx, id).map_err(|error| match error {
                Error::NotFound(_) => Error::NotFound(format!("Failed to find image {id}")),
                other => other,
            })?;
            let remaining = without(self.policy(), ctx, &image, store)?;
            let removed =
                self.remove_locations(&image, &remaining).map_err(|error| match error {
                    Error::InUse(why) => Error::InUse(format!(
                        "The data for Image {id} could not be deleted because it is in use: {why}"
                    )),
                    other => other,
                })?;
            if removed {
                self.changes.announce(&[id]);
                return Ok(());
            }
        }
        Err(Error::Conflict(format!("Image {id} is being changed by others; try again")))
    }

    /// Where an image's data is.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for others than services and administrators.
    pub fn locations(&self, ctx: &RequestContext, id: ImageId) -> Result<Image> {
        let image = self.find(ctx, id)?;
        self.policy().check_image(ctx, Action::FetchImageLocation, &image)?;
        Ok(image)
    }

    /// Whether a URL names data that another image has, too.
    ///
    /// # Errors
    /// The catalog's.
    pub(super) fn is_others(&self, id: ImageId, url: &str) -> Result<bool> {
        let Some(store) = self.store_of(url) else { return Ok(false) };
        let Some(name) = store.name_in(url) else { return Ok(false) };
        let others = self.catalog.locations_of_others(id, &name)?;
        Ok(others.iter().any(|other| store.name_in(other).as_ref() == Some(&name)))
    }
}

/// An image with data says what format it has.
///
/// # Errors
/// `Invalid`, in Glance's words.
pub(super) fn check_formats(image: &Image) -> Result<()> {
    let fields =
        [("disk_format", &image.disk_format), ("container_format", &image.container_format)];
    let missing: Vec<_> =
        fields.iter().filter(|(_, format)| format.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(Error::Invalid(format!("Properties {missing} must be set prior to saving data.")))
}

/// The record without its location in a store.
fn without(policy: &Policy, ctx: &RequestContext, image: &Image, store: &str) -> Result<Image> {
    let id = image.id;
    policy.check_image(ctx, Action::GetImageLocation, image)?;
    policy.check_image(ctx, Action::DeleteImageLocation, image)?;
    if image.status != Status::Active {
        return Err(Error::Conflict(
            "It's not allowed to remove image data from store if image status is not 'active'"
                .to_string(),
        ));
    }
    if image.locations.len() == 1 {
        return Err(Error::Forbidden(
            "Cannot delete image data from the only store containing it. Consider deleting the \
             image instead."
                .to_string(),
        ));
    }
    let position = image.locations.iter().position(|place| place.store() == Some(store));
    let position = position
        .ok_or_else(|| Error::NotFound(format!("Image {id} is not stored in store {store}.")))?;
    let mut remaining = image.clone();
    remaining.locations.remove(position);
    remaining.updated_at = Timestamp::now();
    Ok(remaining)
}
