//! An image's fields as extended attributes: `user.glance.<field>`, and
//! `user.glance.property.<name>` for the owner's own properties.

use crate::catalog::model::Image;
use crate::images::Options;
use crate::images::fields::{self, Edit};

/// What all names start with.
pub const PREFIX: &str = "user.glance.";

/// What a directory has to say: why the last call that failed did.
pub const ERROR: &str = "user.glance.error";

/// How many clones depend on the image's data, in stores that have clones.  Not listed: finding it
/// out asks the store, and nobody can set it.
pub const CHILDREN: &str = "user.glance.children";

/// The field that an attribute's name stands for; `None` for a name that is none of ours.
fn field(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// Whether the name is one of ours.
pub fn is_ours(name: &str) -> bool {
    field(name).is_some()
}

/// The names of all attributes that the image has.
pub fn names(image: &Image, options: &Options) -> Vec<String> {
    fields::names(image, options).into_iter().map(|name| format!("{PREFIX}{name}")).collect()
}

/// An attribute's value.
pub fn value(image: &Image, name: &str, options: &Options) -> Option<String> {
    fields::as_text(image, field(name)?, options)
}

/// The edit that setting an attribute (`Some`) or removing it asks for.  Only a field or, by its
/// full name, a property can be set: a bare name that is neither is a mistake.
///
/// The image's name is the file's and changes with it: a copy that takes attributes along
/// (`cp -a`, `rsync -X`) must not be renamed to its source by them.
pub fn set(name: &str, text: Option<String>) -> Option<Edit> {
    let name = field(name)?;
    let field = fields::find(name).is_some_and(|field| field.name != "name");
    let known = field || name.starts_with(fields::PROPERTY_PREFIX);
    known.then(|| Edit::SetText { name: name.to_string(), text })
}
