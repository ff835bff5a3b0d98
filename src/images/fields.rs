//! The one table of image fields: what each is, who may set it, and how it is written.
//!
//! Three users share it: creating by the API, changing by the API, and the mount's extended
//! attributes.  A *field* is one that every image has; a *property* is the owner's own.  Who may
//! change an image at all, and how many properties it may have, is decided by the caller.

mod edit;
mod new;
mod text;

pub use edit::{Edit, apply, settable};
pub use new::{new_image, refuse_shown_only};
pub use text::{PROPERTY_PREFIX, as_text, names};

use serde_json::Value;

use crate::catalog::model::{Image, Visibility};
use crate::error::{Error, Result};
use crate::identity::ProjectId;
use crate::images::options::Options;

/// Characters that a property's name may have.  Glance: LP #1737952.
pub const MAX_PROPERTY_NAME: usize = 255;
/// The largest `min_disk` and `min_ram`: the database's INTEGER.
pub const MAX_NUMBER: u64 = i32::MAX as u64;

/// Names that no property may have.  Glance: `_reserved_properties`.
const RESERVED: &[&str] = &["location", "deleted", "deleted_at"];
/// Names that begin so are the server's.  Glance: `GLANCE_RESERVED_NS`.
const RESERVED_PREFIX: &str = "os_glance_";

/// Who may set a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The client.
    Writable,
    /// The client when it creates the image, nobody later.
    AtCreation,
    /// The server.
    ReadOnly,
    /// Nobody: it is not in the record but made up when an image is shown.
    Shown,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A UUID.
    Id,
    /// Text of so many characters at most.
    Text(Option<u32>),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of the words in the option `disk_formats`.
    DiskFormat,
    /// One of the words in the option `container_formats`.
    ContainerFormat,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Number,
    /// A set of texts.
    Tags,
    /// A list of locations.
    Locations,
}

/// A field that every image has.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name on the wire, and after `user.glance.`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Who may set it.
    pub access: Access,
    /// Whether it may be null.
    pub nullable: bool,
    /// What the schema says about it, in Glance's words.
    pub description: &'static str,
}

const fn field(
    name: &'static str,
    kind: Kind,
    access: Access,
    nullable: bool,
    description: &'static str,
) -> Field {
    Field { name, kind, access, nullable, description }
}

/// Every field, in the order in which Glance's schema lists them.
pub const FIELDS: &[Field] = {
    use Access::{AtCreation, ReadOnly, Shown, Writable};
    use Kind::{ContainerFormat, DiskFormat, Flag, Id, Locations, Number, Tags, Text, Word};
    const STATUS: &[&str] = &[
        "queued",
        "saving",
        "active",
        "killed",
        "deleted",
        "uploading",
        "importing",
        "pending_delete",
        "deactivated",
    ];
    const VISIBILITY: &[&str] = &["community", "public", "private", "shared"];
    const NULL: bool = true;
    const SET: bool = false;
    &[
        field("id", Id, AtCreation, SET, "An identifier for the image"),
        field("name", Text(Some(255)), Writable, NULL, "Descriptive name for the image"),
        field("status", Word(STATUS), ReadOnly, SET, "Status of the image"),
        field("visibility", Word(VISIBILITY), Writable, SET, "Scope of image accessibility"),
        field("protected", Flag, Writable, SET, "If true, image will not be deletable."),
        field(
            "os_hidden",
            Flag,
            Writable,
            SET,
            "If true, image will not appear in default image list response.",
        ),
        field("checksum", Text(Some(32)), ReadOnly, NULL, "md5 hash of image contents."),
        field(
            "os_hash_algo",
            Text(Some(64)),
            ReadOnly,
            NULL,
            "Algorithm to calculate the os_hash_value",
        ),
        field(
            "os_hash_value",
            Text(Some(128)),
            ReadOnly,
            NULL,
            "Hexdigest of the image contents using the algorithm specified by the os_hash_algo",
        ),
        field("owner", Text(Some(255)), Writable, NULL, "Owner of the image"),
        field("size", Number, ReadOnly, NULL, "Size of image file in bytes"),
        field("virtual_size", Number, ReadOnly, NULL, "Virtual size of image in bytes"),
        field("container_format", ContainerFormat, Writable, NULL, "Format of the container"),
        field("disk_format", DiskFormat, Writable, NULL, "Format of the disk"),
        field("created_at", Text(None), ReadOnly, SET, "Date and time of image registration"),
        field(
            "updated_at",
            Text(None),
            ReadOnly,
            SET,
            "Date and time of the last image modification",
        ),
        field("tags", Tags, Writable, SET, "List of strings related to the image"),
        field(
            "direct_url",
            Text(None),
            Shown,
            SET,
            "URL to access the image file kept in external store",
        ),
        field("min_ram", Number, Writable, SET, "Amount of ram (in MB) required to boot image."),
        field(
            "min_disk",
            Number,
            Writable,
            SET,
            "Amount of disk space (in GB) required to boot image.",
        ),
        field("self", Text(None), Shown, SET, "An image self url"),
        field("file", Text(None), Shown, SET, "An image file url"),
        field(
            "stores",
            Text(None),
            Shown,
            SET,
            "Store in which image data resides.  Only present when the operator has enabled \
             multiple stores.  May be a comma-separated list of store identifiers.",
        ),
        field("schema", Text(None), Shown, SET, "An image schema url"),
        field(
            "locations",
            Locations,
            Writable,
            SET,
            "A set of URLs to access the image file kept in external store",
        ),
    ]
};

/// The field of that name; `None` for everything that is a property.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// Whether only the server may set a property of this name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX)
}

fn read_only(name: &str) -> Error {
    Error::Immutable(format!("Attribute '{name}' is read-only."))
}

fn reserved(name: &str) -> String {
    format!("Attribute '{name}' is reserved.")
}

/// Gives a writable field its value.  The types were checked against the schema by the API, with
/// better words; this is what keeps everybody else honest.
fn set(image: &mut Image, field: &Field, value: &Value, options: &Options) -> Result<()> {
    match field.name {
        "name" => image.name = text(field, value)?,
        "visibility" => image.visibility = word(field, value)?,
        "protected" => image.protected = flag(field, value)?,
        "os_hidden" => image.os_hidden = flag(field, value)?,
        "owner" => image.owner = text(field, value)?.map(ProjectId::new),
        "min_disk" => image.min_disk = number(field, value)?,
        "min_ram" => image.min_ram = number(field, value)?,
        "tags" => image.tags = tags(field, value)?,
        "disk_format" => image.disk_format = format(field, value, &options.disk_formats)?,
        "container_format" => {
            image.container_format = format(field, value, &options.container_formats)?;
        }
        other => return Err(read_only(other)),
    }
    Ok(())
}

fn wrong(field: &Field, wanted: &str) -> Error {
    Error::Invalid(format!("'{}' must be {wanted}.", field.name))
}

fn text(field: &Field, value: &Value) -> Result<Option<String>> {
    let text = match value {
        Value::Null if field.nullable => return Ok(None),
        Value::String(text) => text,
        _ => return Err(wrong(field, "a text")),
    };
    match field.kind {
        Kind::Text(Some(most)) if text.chars().count() > most as usize => {
            Err(wrong(field, &format!("at most {most} characters long")))
        }
        _ => Ok(Some(text.clone())),
    }
}

fn word(field: &Field, value: &Value) -> Result<Visibility> {
    value.as_str().ok_or_else(|| wrong(field, "a text"))?.parse()
}

fn flag(field: &Field, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(field, "true or false"))
}

fn number(field: &Field, value: &Value) -> Result<u64> {
    // JSON Schema counts 5.0 as an integer.
    let whole = value.as_i64().or_else(|| {
        value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64)
    });
    let number = whole.ok_or_else(|| wrong(field, "a whole number"))?;
    let name = field.name;
    match u64::try_from(number) {
        Ok(number) if number <= MAX_NUMBER => Ok(number),
        Ok(_) => Err(Error::Invalid(format!(
            "'{name}' value out of range, must not exceed {MAX_NUMBER}."
        ))),
        Err(_) => Err(Error::Invalid(format!(
            "Invalid value '{number}' for parameter '{name}': Cannot be a negative value"
        ))),
    }
}

fn tags(field: &Field, value: &Value) -> Result<std::collections::BTreeSet<String>> {
    let list = value.as_array().ok_or_else(|| wrong(field, "a list of texts"))?;
    list.iter().map(|tag| valid_tag(field, tag)).collect()
}

fn valid_tag(field: &Field, tag: &Value) -> Result<String> {
    match tag.as_str() {
        Some(tag) if tag.chars().count() <= 255 => Ok(tag.to_string()),
        _ => Err(wrong(field, "a list of texts of at most 255 characters")),
    }
}

fn format(field: &Field, value: &Value, known: &[String]) -> Result<Option<String>> {
    let format = text(field, value)?;
    match &format {
        Some(word) if !known.contains(word) => {
            Err(wrong(field, &format!("one of {}", known.join(", "))))
        }
        _ => Ok(format),
    }
}

/// Glance takes no characters beyond the Basic Multilingual Plane into fields, since its MySQL
/// tables may hold three bytes a character.
fn check_plane(name: &str, value: &Value) -> Result<()> {
    let beyond = |text: &str| text.chars().any(|c| c > '\u{ffff}');
    if beyond(name) {
        return Err(Error::Invalid("Property names can't contain 4 byte unicode.".to_string()));
    }
    if value.as_str().is_some_and(beyond) {
        let name = title(name);
        return Err(Error::Invalid(format!("{name} can't contain 4 byte unicode characters.")));
    }
    Ok(())
}

/// `min_disk` → `Min_Disk`.
fn title(name: &str) -> String {
    let mut after_letter = false;
    let mut titled = String::with_capacity(name.len());
    for c in name.chars() {
        if after_letter {
            titled.extend(c.to_lowercase());
        } else {
            titled.extend(c.to_uppercase());
        }
        after_letter = c.is_alphabetic();
    }
    titled
}
