//! Changing one field or property of an image.

use serde_json::Value;

use super::Access;
use super::text::{from_text, split_name};
use crate::catalog::model::{Image, Status};
use crate::error::{Error, Result};
use crate::images::options::Options;

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Sets a field or property, whether or not it is there.
    Add {
        /// The field's or property's name.
        name: String,
        /// The new value.
        value: Value,
        /// It must not be there yet (Glance: the old v2.0 patch format).
        fresh: bool,
    },
    /// Sets a field, or a property that is there.
    Replace {
        /// The field's or property's name.
        name: String,
        /// The new value.
        value: Value,
    },
    /// Removes a property.
    Remove {
        /// The property's name.
        name: String,
    },
    /// Adds one location.
    AddLocation {
        /// Where in the list: a number, or `-` for its end.
        position: String,
        /// `url`, `metadata` and perhaps `validation_data`.
        value: Value,
    },
    /// Removes one location, with its data.
    RemoveLocation {
        /// Where in the list: a number, or `-` for the last.
        position: String,
    },
    /// Sets (or with `None`, removes) what an extended attribute names, from text.
    SetText {
        /// A field's name, or [`super::PROPERTY_PREFIX`] and a property's.
        name: String,
        /// The value, as [`super::as_text`] writes it.
        text: Option<String>,
    },
}

impl Edit {
    /// The field or property that it changes.
    pub fn target(&self) -> &str {
        match self {
            Self::Add { name, .. } | Self::Replace { name, .. } | Self::Remove { name } => name,
            Self::AddLocation { .. } | Self::RemoveLocation { .. } => "locations",
            Self::SetText { name, .. } => split_name(name).1,
        }
    }

    /// The value that it gives, for those that are checked against a policy (`visibility`).
    pub fn new_text(&self) -> Option<&str> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } => value.as_str(),
            Self::SetText { text, .. } => text.as_deref(),
            Self::Remove { .. } | Self::AddLocation { .. } | Self::RemoveLocation { .. } => None,
        }
    }
}

/// Whether a client may name this field or property in a change at all.
///
/// # Errors
/// `Immutable` when it is the server's.
pub fn settable(name: &str) -> Result<()> {
    match super::find(name) {
        Some(field) if field.access == Access::Writable => Ok(()),
        Some(_) => Err(super::read_only(name)),
        None if super::is_reserved(name) => Err(Error::Immutable(super::reserved(name))),
        None => Ok(()),
    }
}

/// Applies one change to a record in memory.
///
/// # Errors
/// `Immutable`, `Refused` (a field cannot be removed), `Missing`, `NameTaken` (`fresh`), `Invalid`,
/// `Unsupported` (locations: they need the stores, and are not changed here).
pub fn apply(image: &mut Image, edit: &Edit, options: &Options) -> Result<()> {
    settable(edit.target())?;
    match edit {
        Edit::Add { name, value, fresh } => {
            if name == "locations" {
                return Err(locations());
            }
            let there = super::find(name).is_some() || image.properties.contains_key(name);
            if *fresh && there {
                return Err(Error::NameTaken(format!("Property {name} already present.")));
            }
            put(image, name, value, options)
        }
        Edit::Replace { name, value } => {
            if name == "locations" {
                return Err(locations());
            }
            if super::find(name).is_none() && !image.properties.contains_key(name) {
                return Err(missing(name));
            }
            put(image, name, value, options)
        }
        Edit::Remove { name } => remove(image, name),
        Edit::AddLocation { .. } | Edit::RemoveLocation { .. } => Err(locations()),
        Edit::SetText { name, text } => set_text(image, name, text.as_deref(), options),
    }
}

fn put(image: &mut Image, name: &str, value: &Value, options: &Options) -> Result<()> {
    super::check_plane(name, value)?;
    match super::find(name) {
        Some(field) => {
            format_is_open(image, name)?;
            super::set(image, field, value, options)
        }
        None => {
            let text = value
                .as_str()
                .ok_or_else(|| Error::Invalid(format!("Property '{name}' must be a text.")))?;
            image.properties.insert(name.to_string(), text.to_string());
            Ok(())
        }
    }
}

fn remove(image: &mut Image, name: &str) -> Result<()> {
    if super::find(name).is_some() {
        return Err(Error::Refused(format!("Property {name} may not be removed.")));
    }
    image.properties.remove(name).map(drop).ok_or_else(|| missing(name))
}

fn set_text(image: &mut Image, name: &str, text: Option<&str>, options: &Options) -> Result<()> {
    match (split_name(name), text) {
        ((Some(field), _), Some(text)) => {
            format_is_open(image, field.name)?;
            super::set(image, field, &from_text(field, text)?, options)
        }
        ((Some(field), _), None) if field.nullable => {
            format_is_open(image, field.name)?;
            super::set(image, field, &Value::Null, options)
        }
        ((Some(field), _), None) => {
            Err(Error::Refused(format!("Property {} may not be removed.", field.name)))
        }
        ((None, property), None) => remove(image, property),
        ((None, property), Some(text)) => {
            if property.chars().count() > super::MAX_PROPERTY_NAME {
                return Err(Error::Invalid(format!("'{property}' is too long for a property.")));
            }
            image.properties.insert(property.to_string(), text.to_string());
            Ok(())
        }
    }
}

/// The formats describe the data, so they are fixed once there is some.
fn format_is_open(image: &Image, name: &str) -> Result<()> {
    let open = matches!(image.status, Status::Queued | Status::Importing);
    if matches!(name, "disk_format" | "container_format") && !open {
        return Err(Error::Immutable(format!(
            "Attribute {name} can be only replaced for a queued image."
        )));
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::Missing(format!("Property {name} does not exist."))
}

fn locations() -> Error {
    Error::Unsupported("Locations cannot be changed in this way.".to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::model::ImageId;

    fn image() -> Image {
        let mut image = Image::new(ImageId::random(), None);
        image.properties.insert("my".into(), "v".into());
        image
    }

    fn try_edit(image: &mut Image, edit: Edit) -> Result<()> {
        apply(image, &edit, &Options::default())
    }

    #[test]
    fn properties_come_and_go_and_fields_only_change() {
        let mut image = image();
        let add = |name: &str, value, fresh| Edit::Add { name: name.into(), value, fresh };
        try_edit(&mut image, add("p", json!("1"), false)).unwrap();
        try_edit(&mut image, add("p", json!("2"), false)).unwrap();
        let taken = try_edit(&mut image, add("p", json!("3"), true)).unwrap_err();
        assert!(matches!(taken, Error::NameTaken(_)));
        assert_eq!(image.properties["p"], "2");
        try_edit(&mut image, Edit::Remove { name: "p".into() }).unwrap();
        let gone = try_edit(&mut image, Edit::Remove { name: "p".into() }).unwrap_err();
        assert!(matches!(gone, Error::Missing(_)));
        let name = try_edit(&mut image, Edit::Remove { name: "name".into() }).unwrap_err();
        assert!(matches!(name, Error::Refused(_)));
    }

    #[test]
    fn formats_are_fixed_once_there_is_data() {
        let mut image = image();
        let set = Edit::Replace { name: "disk_format".into(), value: json!("raw") };
        try_edit(&mut image, set.clone()).unwrap();
        image.status = Status::Active;
        assert!(matches!(try_edit(&mut image, set).unwrap_err(), Error::Immutable(_)));
    }

    #[test]
    fn text_sets_every_type() {
        let mut image = image();
        for (name, text) in [
            ("protected", "true"),
            ("min_ram", "7"),
            ("tags", "a,b"),
            ("property.os_distro", "debian"),
            ("visibility", "public"),
        ] {
            let edit = Edit::SetText { name: name.into(), text: Some(text.into()) };
            try_edit(&mut image, edit).unwrap();
            assert_eq!(super::super::as_text(&image, name, &Options::default()).unwrap(), text);
        }
        assert!(image.protected && image.min_ram == 7 && image.tags.len() == 2);
    }

    #[test]
    fn the_servers_fields_are_nobodys() {
        for name in ["status", "size", "os_glance_x", "deleted"] {
            let edit = Edit::SetText { name: name.into(), text: Some("x".into()) };
            assert!(matches!(try_edit(&mut image(), edit).unwrap_err(), Error::Immutable(_)));
        }
        let sly = Edit::SetText { name: "property.os_glance_x".into(), text: Some("x".into()) };
        assert!(matches!(try_edit(&mut image(), sly).unwrap_err(), Error::Immutable(_)));
    }
}
