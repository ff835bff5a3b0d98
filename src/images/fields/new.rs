//! A new image from what a client sent.

use serde_json::{Map, Value};

use super::{Access, MAX_PROPERTY_NAME};
use crate::catalog::model::{Image, ImageId};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::options::Options;

/// Refuses fields that exist only on the wire.  Glance looks for these before anything else is
/// checked, so the API asks before it validates the body against the schema.
///
/// # Errors
/// `Immutable`.
pub fn refuse_shown_only(body: &Map<String, Value>) -> Result<()> {
    let shown = super::FIELDS.iter().filter(|field| field.access == Access::Shown);
    match shown.map(|field| field.name).find(|name| body.contains_key(*name)) {
        Some(name) => Err(super::read_only(name)),
        None => Ok(()),
    }
}

/// The queued record that `body` describes.  Its owner is the asking project unless the body names
/// another, which `images::policy` has to allow.
///
/// # Errors
/// `Immutable`, `Refused` (reserved names), `Invalid`.
pub fn new_image(
    body: &Map<String, Value>,
    ctx: &RequestContext,
    options: &Options,
) -> Result<Image> {
    refuse_shown_only(body)?;
    for name in body.keys().filter(|name| super::find(name).is_none()) {
        check_property_name(name)?;
    }
    let id = match body.get("id") {
        Some(id) => id.as_str().unwrap_or_default().parse()?,
        None => ImageId::random(),
    };
    let mut image = Image::new(id, ctx.project.clone());
    for (name, value) in body {
        set(&mut image, name, value, options)?;
    }
    Ok(image)
}

fn check_property_name(name: &str) -> Result<()> {
    if name.chars().count() > MAX_PROPERTY_NAME {
        let message = "Custom property should not be greater than 255 characters.";
        return Err(Error::Invalid(message.to_string()));
    }
    if super::is_reserved(name) {
        return Err(Error::Refused(super::reserved(name)));
    }
    Ok(())
}

fn set(image: &mut Image, name: &str, value: &Value, options: &Options) -> Result<()> {
    let Some(field) = super::find(name) else {
        super::check_plane(name, value)?;
        let text = value
            .as_str()
            .ok_or_else(|| Error::Invalid(format!("Property '{name}' must be a text.")))?;
        image.properties.insert(name.to_string(), text.to_string());
        return Ok(());
    };
    match (field.name, field.access) {
        // Glance takes the two as if they were properties and never shows them.
        ("os_hash_algo" | "os_hash_value", _) | (_, Access::AtCreation) => Ok(()),
        ("locations", _) => Err(Error::Immutable(super::reserved(name))),
        (_, Access::Writable) => {
            super::check_plane(name, value)?;
            super::set(image, field, value, options)
        }
        (_, Access::ReadOnly | Access::Shown) => Err(super::read_only(name)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::ProjectId;

    fn create(body: Value) -> Result<Image> {
        let ctx = RequestContext::member_of(ProjectId::new("p"));
        let Value::Object(body) = body else { panic!("an object") };
        new_image(&body, &ctx, &Options::default())
    }

    #[test]
    fn fields_and_properties_are_told_apart() {
        let image = create(json!({
            "name": "n", "min_ram": 5, "tags": ["b", "a", "a"], "os_distro": "x", "protected": true,
        }))
        .unwrap();
        assert_eq!(image.name.as_deref(), Some("n"));
        assert_eq!((image.min_ram, image.protected, image.tags.len()), (5, true, 2));
        assert_eq!(image.properties.len(), 1);
        assert_eq!(image.owner, Some(ProjectId::new("p")));
    }

    #[test]
    fn what_only_the_server_sets_is_refused() {
        for body in [json!({"status": "active"}), json!({"self": "x"}), json!({"locations": []})] {
            assert!(matches!(create(body).unwrap_err(), Error::Immutable(_)));
        }
        for body in [json!({"deleted_at": "x"}), json!({"os_glance_x": "x"})] {
            assert!(matches!(create(body).unwrap_err(), Error::Refused(_)));
        }
    }

    #[test]
    fn numbers_stay_in_the_range_of_the_database() {
        for value in [json!(-1), json!(2_147_483_648_u64), json!("5"), json!(1.5)] {
            assert!(matches!(create(json!({"min_disk": value})).unwrap_err(), Error::Invalid(_)));
        }
        assert_eq!(create(json!({"min_disk": 5.0})).unwrap().min_disk, 5);
    }

    #[test]
    fn characters_beyond_three_bytes_are_refused_with_the_fields_name() {
        let message = create(json!({"name": "😀"})).unwrap_err().to_string();
        assert_eq!(message, "Name can't contain 4 byte unicode characters.");
    }
}
