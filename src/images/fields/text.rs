//! Fields as text, for extended attributes.

use serde_json::Value;

use super::{Access, FIELDS, Field, Kind};
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};
use crate::images::options::Options;

/// What stands before a property's name, so that it cannot be mistaken for a field's.
pub const PROPERTY_PREFIX: &str = "property.";

/// A name as a field, or as a property's own name.  A name that is neither a field nor prefixed is
/// a property too, so that reserved names are recognised whichever way they are written.
pub(super) fn split_name(name: &str) -> (Option<&'static Field>, &str) {
    match name.strip_prefix(PROPERTY_PREFIX) {
        Some(property) => (None, property),
        None => (super::find(name), name),
    }
}

/// The names that [`as_text`] has an answer for.
pub fn names(image: &Image, options: &Options) -> Vec<String> {
    let fields = FIELDS.iter().map(|field| field.name);
    let mut names: Vec<_> = fields
        .filter(|name| as_text(image, name, options).is_some())
        .map(ToString::to_string)
        .collect();
    names.extend(image.properties.keys().map(|name| format!("{PROPERTY_PREFIX}{name}")));
    names
}

/// A field, or with [`PROPERTY_PREFIX`] a property, as text; `None` when it is not there, or null.
pub fn as_text(image: &Image, name: &str, options: &Options) -> Option<String> {
    let (field, property) = split_name(name);
    let Some(field) = field else {
        return name
            .starts_with(PROPERTY_PREFIX)
            .then(|| image.properties.get(property).cloned())
            .flatten();
    };
    match field.name {
        "id" => Some(image.id.to_string()),
        "name" => image.name.clone(),
        "status" => Some(image.status.to_string()),
        "visibility" => Some(image.visibility.to_string()),
        "protected" => Some(image.protected.to_string()),
        "os_hidden" => Some(image.os_hidden.to_string()),
        "checksum" => image.checksum.clone(),
        "os_hash_algo" => image.os_hash_algo.clone(),
        "os_hash_value" => image.os_hash_value.clone(),
        "owner" => image.owner.as_ref().map(ToString::to_string),
        "size" => image.size.map(|size| size.to_string()),
        "virtual_size" => image.virtual_size.map(|size| size.to_string()),
        "container_format" => image.container_format.clone(),
        "disk_format" => image.disk_format.clone(),
        "created_at" => Some(image.created_at.to_wire()),
        "updated_at" => Some(image.updated_at.to_wire()),
        "tags" => Some(tags_as_text(image)),
        "min_ram" => Some(image.min_ram.to_string()),
        "min_disk" => Some(image.min_disk.to_string()),
        // Of a deactivated image only an administrator may know it, by the API.
        "direct_url" if options.show_image_direct_url && image.status != Status::Deactivated => {
            options.by_weight(image).first().map(|location| location.url.clone())
        }
        _ => None,
    }
}

/// `a,b`; as a JSON list when a tag itself could be misread.
fn tags_as_text(image: &Image) -> String {
    let unclear = |tag: &String| tag.is_empty() || tag.contains(',') || tag.starts_with('[');
    if image.tags.iter().any(unclear) {
        return Value::from_iter(image.tags.iter().cloned()).to_string();
    }
    image.tags.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Text as the value that a field wants.
pub(super) fn from_text(field: &Field, text: &str) -> Result<Value> {
    if field.access != Access::Writable {
        return Err(super::read_only(field.name));
    }
    match field.kind {
        Kind::Flag => match text {
            "true" | "True" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "0" => Ok(Value::Bool(false)),
            _ => Err(super::wrong(field, "true or false")),
        },
        Kind::Number => match text.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(super::wrong(field, "a whole number")),
        },
        Kind::Tags if text.starts_with('[') => serde_json::from_str(text)
            .map_err(|error| Error::Invalid(format!("'{}': {error}", field.name))),
        Kind::Tags => Ok(text.split(',').filter(|tag| !tag.is_empty()).map(Value::from).collect()),
        Kind::DiskFormat | Kind::ContainerFormat if text.is_empty() => Ok(Value::Null),
        Kind::Locations => Err(super::read_only(field.name)),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::{ImageId, Location};

    #[test]
    fn locations_show_only_where_the_operator_lets_them() {
        let mut image = Image::new(ImageId::random(), None);
        image.locations.push(Location::in_store("file:///x", "s"));
        let mut options = Options::default();
        assert_eq!(as_text(&image, "direct_url", &options), None);
        options.show_image_direct_url = true;
        assert_eq!(as_text(&image, "direct_url", &options).as_deref(), Some("file:///x"));
        assert_eq!(as_text(&image, "locations", &options), None);
    }

    #[test]
    fn null_fields_have_no_name_and_properties_have_their_own() {
        let mut image = Image::new(ImageId::random(), None);
        image.properties.insert("name".into(), "not the name".into());
        let names = names(&image, &Options::default());
        assert!(!names.contains(&"name".to_string()));
        assert!(names.contains(&"property.name".to_string()));
    }

    #[test]
    fn a_tag_with_a_comma_survives() {
        let mut image = Image::new(ImageId::random(), None);
        image.tags = ["a,b".to_string(), "c".to_string()].into();
        let text = as_text(&image, "tags", &Options::default()).unwrap();
        let field = super::super::find("tags").unwrap();
        assert_eq!(from_text(field, &text).unwrap().as_array().unwrap().len(), 2);
    }
}
