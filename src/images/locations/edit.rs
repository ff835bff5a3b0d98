//! `PATCH` of `locations`: one is added or removed, or all are said anew.
//!
//! What is removed loses its data, as in Glance; so the caller saves such a change with
//! [`Images::remove_locations`].

use serde_json::{Map, Value};

use super::super::policy::Action;
use super::super::{Images, fields::Edit, quota};
use super::digests;
use crate::catalog::model::{Image, Location, Status};
use crate::error::{Error, Result};
use crate::identity::RequestContext;

impl Images {
    /// Applies a change of locations to a record in memory; `false` when it is of something else.
    ///
    /// # Errors
    /// `Forbidden`, `Refused`; `Conflict` for an image that is neither `queued` nor `active`;
    /// `Invalid` for data that may not be, or is not, this image's; `OverQuota`.
    pub(in crate::images) fn edit_locations(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
        edit: &Edit,
    ) -> Result<bool> {
        match edit {
            Edit::AddLocation { position, value } => self.add_location(ctx, image, position, value),
            Edit::RemoveLocation { position } => self.remove_location(ctx, image, position),
            Edit::Replace { name, value } if name == "locations" => {
                self.replace_locations(ctx, image, value)
            }
            _ => return Ok(false),
        }
        .map(|()| true)
    }

    fn add_location(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
        position: &str,
        value: &Value,
    ) -> Result<()> {
        self.policy().check_image(ctx, Action::SetImageLocation, image)?;
        self.check_visible("add")?;
        check_status(image, "add", &[Status::Active, Status::Queued])?;
        let digests = digests::said(image, std::slice::from_ref(value), &self.options)?;
        let count = image.locations.len();
        let wrong = || Error::Invalid("Invalid position for adding a location.".to_string());
        let position = index(position, count).ok_or_else(wrong)?.min(count);
        quota::within("locations", count + 1, self.options.image_location_quota)?;
        let location = self.location_of(image, value)?;
        if image.locations.iter().any(|other| other.url == location.url) {
            return Err(duplicate(&location));
        }
        self.note_size(image, &location)?;
        image.locations.insert(position, location);
        self.activate(image, digests)
    }

    fn replace_locations(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
        value: &Value,
    ) -> Result<()> {
        let values = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() {
            // OSSA-2016-006: nor is this a way back to `queued`.
            return Err(Error::Refused("Cannot set locations to empty list.".to_string()));
        }
        self.policy().check_image(ctx, Action::SetImageLocation, image)?;
        self.check_visible("update")?;
        check_status(image, "replace", &[Status::Active, Status::Queued])?;
        let digests = digests::said(image, values, &self.options)?;
        quota::within("locations", values.len(), self.options.image_location_quota)?;
        let mut locations: Vec<Location> = Vec::new();
        for value in values {
            let said = |other: &&Location| value["url"] == other.url.as_str();
            // One that is there stays, with what is said of it now: nobody is asked about it again.
            let location = match image.locations.iter().find(said) {
                Some(there) => Location { metadata: metadata_of(value, there), ..there.clone() },
                None if image.locations.is_empty() => self.location_of(image, value)?,
                None => return Err(not_empty()),
            };
            if locations.iter().any(|other| other.url == location.url) {
                return Err(duplicate(&location));
            }
            locations.push(location);
        }
        if locations.len() < image.locations.len() {
            return Err(not_empty());
        }
        for location in &locations {
            self.note_size(image, location)?;
        }
        image.locations = locations;
        self.activate(image, digests)
    }

    fn remove_location(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
        position: &str,
    ) -> Result<()> {
        self.policy().check_image(ctx, Action::DeleteImageLocation, image)?;
        self.check_visible("remove")?;
        check_status(image, "remove", &[Status::Active])?;
        if image.locations.len() == 1 {
            // OSSA-2016-006
            let text = "Cannot remove last location in the image.";
            return Err(Error::Refused(text.to_string()));
        }
        let last = image.locations.len().saturating_sub(1);
        let position = index(position, last).filter(|position| *position <= last);
        let wrong = || Error::Invalid("Invalid position for removing a location.".to_string());
        image.locations.remove(position.ok_or_else(wrong)?);
        Ok(())
    }

    fn check_visible(&self, verb: &str) -> Result<()> {
        if self.options.show_multiple_locations {
            return Ok(());
        }
        Err(Error::Forbidden(format!(
            "It's not allowed to {verb} locations if locations are invisible."
        )))
    }

    fn location_of(&self, image: &Image, value: &Value) -> Result<Location> {
        let url = value["url"].as_str().unwrap_or_default();
        let metadata = value["metadata"].as_object().cloned().unwrap_or_default();
        self.location_at(image.id, url, metadata)
    }

    /// All of an image's locations have the same data, so they have the same size.
    fn note_size(&self, image: &mut Image, location: &Location) -> Result<()> {
        if image.locations.iter().any(|there| there.url == location.url) {
            return Ok(());
        }
        let size = self.size_at(image.id, location)?;
        if *image.size.get_or_insert(size) != size && image.status == Status::Active {
            let text = format!("{} has {size} bytes, the image has others", location.url);
            tracing::info!(image = %image.id, text, "not taken for a location");
            return Err(Error::Invalid("Invalid location".to_string()));
        }
        image.size = Some(size);
        Ok(())
    }

    /// An image that had no data has it now.
    fn activate(&self, image: &mut Image, digests: Option<digests::Said>) -> Result<()> {
        if image.status != Status::Queued {
            return Ok(());
        }
        super::check_formats(image)?;
        if let Some(said) = digests {
            image.checksum = said.checksum.or(image.checksum.take());
            image.os_hash_algo = Some(said.os_hash_algo);
            image.os_hash_value = Some(said.os_hash_value);
        }
        image.status = Status::Active;
        Ok(())
    }
}

fn check_status(image: &Image, verb: &str, allowed: &[Status]) -> Result<()> {
    if allowed.contains(&image.status) {
        return Ok(());
    }
    let status = image.status;
    Err(Error::Conflict(format!(
        "It's not allowed to {verb} locations if image status is {status}."
    )))
}

/// The place in a list that a JSON pointer names: a number, or `-` for `end`.
fn index(position: &str, end: usize) -> Option<usize> {
    if position == "-" {
        return Some(end);
    }
    let digits = !position.is_empty() && position.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| position.parse().unwrap_or(usize::MAX))
}

/// What is said of a location that is there already, which goes on being in its store.
fn metadata_of(value: &Value, there: &Location) -> Map<String, Value> {
    let mut metadata = value["metadata"].as_object().cloned().unwrap_or_default();
    match there.metadata.get("store") {
        Some(store) => metadata.insert("store".to_string(), store.clone()),
        None => metadata.remove("store"),
    };
    metadata
}

/// Where the data is can be said anew only of an image that has none: else its bytes would change
/// under its id.
fn not_empty() -> Error {
    Error::Invalid("Original locations is not empty".to_string())
}

fn duplicate(location: &Location) -> Error {
    Error::Invalid(format!("The location {} already exists", location.url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_number_or_the_end() {
        assert_eq!(index("-", 3), Some(3));
        assert_eq!(index("0", 3), Some(0));
        assert_eq!(index("99999999999999999999999", 3), Some(usize::MAX));
        for wrong in ["", "x", "-1", "+1", "1x"] {
            assert_eq!(index(wrong, 3), None, "{wrong}");
        }
    }
}
