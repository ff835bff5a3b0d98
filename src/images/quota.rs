//! Limits on what one image may have, in Glance's words; below, those on what a project may have.

pub mod limits;
pub(super) mod totals;

use super::{Options, TIME_PROPERTY, fields};
use crate::catalog::model::Image;
use crate::error::{Error, Result};

/// Checks the number of properties and tags.
///
/// # Errors
/// `OverQuota`
pub fn check(image: &Image, options: &Options) -> Result<()> {
    within("properties", properties(image), options.image_property_quota)?;
    within("tags", image.tags.len(), options.image_tag_quota)
}

/// Whether a change leaves less of what is over its quota (Glance lets one shrink it).
pub fn shrinks(old: &Image, new: &Image) -> bool {
    properties(new) <= properties(old) && new.tags.len() <= old.tags.len()
}

/// How many of the properties are the user's own.
fn properties(image: &Image) -> usize {
    let own = |name: &&String| !fields::is_reserved(name) && *name != TIME_PROPERTY;
    image.properties.keys().filter(own).count()
}

/// A negative limit is none.
pub fn within(what: &str, attempted: usize, limit: i64) -> Result<()> {
    match usize::try_from(limit) {
        Ok(limit) if attempted > limit => Err(Error::OverQuota(format!(
            "The limit has been exceeded on the number of allowed image {what}. \
             Attempted: {attempted}, Maximum: {limit}"
        ))),
        _ => Ok(()),
    }
}
