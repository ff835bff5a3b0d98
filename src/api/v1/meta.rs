//! An image in headers, `x-image-meta-…`, and as the JSON of the old API.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::api::status::Fault;
use crate::catalog::model::{Image, Visibility};
use crate::images::TIME_PROPERTY;
use crate::images::fields::{self, Edit};

const PREFIX: &str = "x-image-meta-";
const PROPERTY: &str = "x-image-meta-property-";

/// Headers that name data outside of the request, under all their names.
const ELSEWHERE: &[&str] = &[
    "x-image-meta-location",
    "x-image-meta-copy_from",
    "x-image-meta-copy-from",
    "x-glance-api-copy-from",
];

/// What a client says about an image.
#[derive(Debug, Default)]
pub(super) struct Meta {
    /// By the names of today's API.
    fields: Map<String, Value>,
    /// As they are written; new ones only.
    properties: Map<String, Value>,
    is_public: Option<bool>,
    /// Bytes of the data, as announced.
    pub(super) size: Option<u64>,
    /// MD5 of the data, as announced.
    pub(super) checksum: Option<String>,
    /// Where the data is to go.
    pub(super) store: Option<String>,
}

impl Meta {
    /// Reads the headers.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        if let Some(name) = ELSEWHERE.iter().find(|name| headers.contains_key(**name)) {
            return Err(Fault::forbidden(format!(
                "{name} is not allowed: the data of an image has to be sent with the request"
            )));
        }
        let mut meta = Self::default();
        for (name, value) in headers {
            // Glance: both spellings are one.
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if let Some(name) = name.as_str().strip_prefix(PROPERTY) {
                meta.properties.insert(name.replace('-', "_"), text.into());
            } else if let Some(name) = name.as_str().strip_prefix(PREFIX) {
                meta.set(&name.replace('-', "_"), text)?;
            }
        }
        Ok(meta)
    }

    fn set(&mut self, name: &str, text: String) -> Result<(), Fault> {
        match name {
            "size" => self.size = Some(number(name, &text)?),
            "min_disk" | "min_ram" => {
                self.fields.insert(name.to_owned(), number(name, &text)?.into());
            }
            "protected" => {
                self.fields.insert(name.to_owned(), flag(&text).into());
            }
            "is_public" => self.is_public = Some(flag(&text)),
            "checksum" => self.checksum = Some(text).filter(|text| !text.is_empty()),
            "store" => self.store = Some(text),
            "id" | "name" | "disk_format" | "container_format" | "owner" => {
                let empty_is_none = text.is_empty() && name != "name";
                let value = if empty_is_none { Value::Null } else { text.into() };
                self.fields.insert(name.to_owned(), value);
            }
            // Glance: what is not a field of an image, or is the server's, does nothing.
            _ => {}
        }
        Ok(())
    }

    /// The body with which today's API would make this image.  What is not public is `shared`: the
    /// owner's own until somebody is made a member, which is what it was in the old API.
    pub(super) fn for_new_image(&self) -> Map<String, Value> {
        let mut body = self.fields.clone();
        body.extend(self.properties.clone());
        if self.is_public == Some(true) {
            body.insert("visibility".to_owned(), Visibility::Public.as_str().into());
        }
        body
    }

    /// The changes to an image that is there; with `purge`, properties that are not named go.
    pub(super) fn edits(&self, image: &Image, purge: bool) -> Vec<Edit> {
        let replace = |name: &str, value: &Value| Edit::Replace {
            name: name.to_owned(),
            value: value.clone(),
        };
        let fields = self.fields.iter().filter(|(name, _)| *name != "id");
        let mut edits: Vec<Edit> = fields.map(|(name, value)| replace(name, value)).collect();
        let public = image.visibility == Visibility::Public;
        let visibility = match self.is_public {
            Some(true) => Some(Visibility::Public),
            Some(false) if public => Some(Visibility::Shared),
            _ => None,
        };
        edits.extend(visibility.map(|v| replace("visibility", &v.as_str().into())));
        let add = |(name, value): (&String, &Value)| Edit::Add {
            name: name.clone(),
            value: value.clone(),
            fresh: false,
        };
        edits.extend(self.properties.iter().map(add));
        let own = |name: &&String| !fields::is_reserved(name) && *name != TIME_PROPERTY;
        let unnamed = image.properties.keys().filter(own);
        let unnamed = unnamed.filter(|name| purge && !self.properties.contains_key(*name));
        edits.extend(unnamed.map(|name| Edit::Remove { name: name.clone() }));
        edits
    }
}

/// Whether an update is to leave no property but those that it names; Glance: unless told otherwise.
pub(super) fn purges(headers: &HeaderMap) -> bool {
    let told = headers.get("x-glance-registry-purge-props").map(HeaderValue::as_bytes);
    told.is_none_or(|told| flag(&String::from_utf8_lossy(told)))
}

/// Data needs formats.
pub(super) fn check_formats(image: &Image) -> Result<(), Fault> {
    for (what, value) in [("disk", &image.disk_format), ("container", &image.container_format)] {
        if value.is_none() {
            return Err(Fault::bad_request(format!("Invalid {what} format 'None' for image.")));
        }
    }
    Ok(())
}

fn number(name: &str, text: &str) -> Result<u64, Fault> {
    text.trim().parse().map_err(|_| {
        Fault::bad_request(format!("Cannot convert image {name} '{text}' to an integer."))
    })
}

/// oslo's idea of true; everything else is false.
fn flag(text: &str) -> bool {
    ["1", "t", "true", "on", "y", "yes"].iter().any(|yes| text.trim().eq_ignore_ascii_case(yes))
}

/// The image in full.
pub(super) fn shown(image: &Image) -> Map<String, Value> {
    // Whole seconds, in the form of the time.
    let time = |time: String| time.trim_end_matches('Z').to_owned() + ".000000";
    let mut shown = Map::new();
    let mut add = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    add("id", image.id.as_str().into());
    add("name", json!(image.name));
    add("disk_format", json!(image.disk_format));
    add("container_format", json!(image.container_format));
    add("size", image.size.unwrap_or(0).into());
    add("virtual_size", json!(image.virtual_size));
    add("status", image.status.as_str().into());
    add("checksum", json!(image.checksum));
    add("min_disk", json!(image.min_disk));
    add("min_ram", json!(image.min_ram));
    add("owner", json!(image.owner.as_ref().map(|owner| owner.as_str())));
    add("is_public", (image.visibility == Visibility::Public).into());
    add("protected", image.protected.into());
    add("deleted", false.into());
    add("deleted_at", Value::Null);
    add("created_at", time(image.created_at.to_wire()).into());
    add("updated_at", time(image.updated_at.to_wire()).into());
    add("properties", properties(image).into());
    shown
}

fn properties(image: &Image) -> Map<String, Value> {
    let own = image.properties.iter().filter(|(name, _)| !fields::is_reserved(name));
    own.map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// The image in headers.  A value with line ends loses those; a property whose name cannot be a
/// header's is left out.
pub(super) fn write(image: &Image, headers: &mut HeaderMap) {
    let mut put = |name: String, value: &Value| {
        let text = match value {
            Value::Null => String::new(),
            Value::Bool(yes) => (if *yes { "True" } else { "False" }).to_owned(),
            Value::String(text) => text.replace(|c: char| c.is_control(), " "),
            other => other.to_string(),
        };
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name), HeaderValue::from_bytes(text.as_bytes()))
        {
            headers.insert(name, value);
        }
    };
    for (name, value) in &shown(image) {
        match value {
            Value::Object(properties) => {
                properties.iter().for_each(|(name, value)| put(format!("{PROPERTY}{name}"), value));
            }
            value => put(format!("{PREFIX}{name}"), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::ImageId;

    fn meta(headers: &[(&'static str, &'static str)]) -> Result<Meta, Fault> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Meta::of(&headers.collect())
    }

    #[test]
    fn headers_become_fields_and_properties() {
        let meta = meta(&[
            ("x-image-meta-name", "cirros"),
            ("x-image-meta-is_public", "True"),
            ("x-image-meta-min-ram", "64"),
            ("x-image-meta-size", "7"),
            ("x-image-meta-deleted", "False"),
            ("x-image-meta-property-os-distro", "x"),
        ])
        .unwrap();
        let body =
            json!({"name": "cirros", "min_ram": 64, "os_distro": "x", "visibility": "public"});
        assert_eq!(Value::from(meta.for_new_image()), body);
        assert_eq!(meta.size, Some(7));
    }

    #[test]
    fn data_elsewhere_is_refused_whatever_it_is_called() {
        for name in ELSEWHERE {
            assert_eq!(meta(&[(name, "file:///etc/shadow")]).unwrap_err().status, 403);
        }
        assert!(meta(&[("x-image-meta-size", "seven")]).is_err());
    }

    #[test]
    fn an_update_purges_only_what_it_does_not_name() {
        let mut image = Image::new(ImageId::random(), None);
        for name in ["a", "b", "os_glance_x", TIME_PROPERTY] {
            image.properties.insert(name.to_owned(), "old".to_owned());
        }
        let meta = meta(&[("x-image-meta-property-a", "new")]).unwrap();
        let removed = |purge| {
            let edits = meta.edits(&image, purge);
            let removed = edits.iter().filter(|edit| matches!(edit, Edit::Remove { .. }));
            removed.map(|edit| edit.target().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(removed(true), ["b"]);
        assert!(removed(false).is_empty());
    }

    #[test]
    fn no_value_breaks_out_of_its_header() {
        let mut image = Image::new(ImageId::random(), None);
        image.name = Some("a\r\nX-Evil: é".to_owned());
        image.properties.insert("not a header".to_owned(), "x".to_owned());
        let mut headers = HeaderMap::new();
        write(&image, &mut headers);
        assert_eq!(headers["x-image-meta-name"].as_bytes(), "a  X-Evil: é".as_bytes());
        assert_eq!(headers["x-image-meta-is_public"], "False");
        assert_eq!(headers["x-image-meta-owner"], "");
        assert!(!headers.keys().any(|name| name.as_str().contains("not")));
    }
}
