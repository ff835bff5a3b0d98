//! What is acted on, as rules see it: the names that `%(name)s` may have, and their texts.

use std::borrow::Cow;

use crate::catalog::metadefs::Namespace;
use crate::catalog::model::{Image, Row, Visibility};
use crate::identity::{ProjectId, RequestContext};

/// Something that rules are asked about.
pub trait Target {
    /// The text that a name stands for, written as Python would; `None` when there is no such name,
    /// and then nothing matches it.
    fn field(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Nothing in particular.
pub struct Nothing;

impl Target for Nothing {
    fn field(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

/// Something of one's own: to list, say, what is one's own.
pub struct Own<'a>(pub &'a RequestContext);

impl Target for Own<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let project = || self.0.project.as_ref().map_or("None", ProjectId::as_str);
        (name == "project_id").then(|| Cow::Borrowed(project()))
    }
}

/// A record that is to be made.  Glance: with these three names.
pub struct NewImage<'a>(pub &'a Image);

impl Target for NewImage<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "project_id" | "owner" => owner(self.0.owner.as_ref()),
            "visibility" => Some(self.0.visibility.as_str().into()),
            _ => None,
        }
    }
}

/// An image that somebody sees.
pub struct Seen<'a> {
    /// The image.
    pub image: &'a Image,
    /// Who sees it.
    pub by: &'a RequestContext,
}

impl Target for Seen<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let image = self.image;
        Some(match name {
            "project_id" | "owner" => return owner(image.owner.as_ref()),
            "member_id" | "member" => {
                return member(image.visibility, image.owner.as_ref(), self.by);
            }
            "visibility" => image.visibility.as_str().into(),
            "id" | "image_id" => Cow::Owned(image.id.to_string()),
            "name" => text(&image.name),
            "status" => image.status.as_str().into(),
            "protected" => flag(image.protected),
            "os_hidden" => flag(image.os_hidden),
            "disk_format" => text(&image.disk_format),
            "container_format" => text(&image.container_format),
            "checksum" => text(&image.checksum),
            "os_hash_algo" => text(&image.os_hash_algo),
            "os_hash_value" => text(&image.os_hash_value),
            "size" => number(image.size),
            "virtual_size" => number(image.virtual_size),
            "min_disk" => number(Some(image.min_disk)),
            "min_ram" => number(Some(image.min_ram)),
            property => return image.properties.get(property).map(|text| text.as_str().into()),
        })
    }
}

/// The names that a [`SeenRow`] has an answer for.
pub(super) const OF_A_ROW: &[&str] = &[
    "project_id",
    "owner",
    "member_id",
    "member",
    "visibility",
    "id",
    "image_id",
    "status",
    "protected",
    "os_hidden",
];

/// What a directory knows of an image that somebody sees.
pub(super) struct SeenRow<'a> {
    pub(super) row: &'a Row,
    pub(super) by: &'a RequestContext,
}

impl Target for SeenRow<'_> {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let row = self.row;
        match name {
            "project_id" | "owner" => owner(row.owner.as_ref()),
            "member_id" | "member" => member(row.visibility, row.owner.as_ref(), self.by),
            "visibility" => Some(row.visibility.as_str().into()),
            "id" | "image_id" => Some(Cow::Owned(row.id.to_string())),
            "status" => Some(row.status.as_str().into()),
            "protected" => Some(flag(row.protected)),
            "os_hidden" => Some(flag(row.os_hidden)),
            _ => None,
        }
    }
}

impl Target for Namespace {
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "project_id" => Some(self.owner.as_str().into()),
            "visibility" => Some(if self.public { "public" } else { "private" }.into()),
            _ => None,
        }
    }
}

/// What nobody owns matches nobody (in Glance, one without a project).
fn owner(owner: Option<&ProjectId>) -> Option<Cow<'_, str>> {
    owner.map(|owner| owner.as_str().into())
}

/// Who sees a shared image of somebody else was made a member of it.
fn member<'a>(
    visibility: Visibility,
    owner: Option<&ProjectId>,
    by: &'a RequestContext,
) -> Option<Cow<'a, str>> {
    let shared = visibility == Visibility::Shared && by.project.as_ref() != owner;
    by.project.as_ref().filter(|_| shared).map(|project| project.as_str().into())
}

fn text(text: &Option<String>) -> Cow<'_, str> {
    text.as_deref().unwrap_or("None").into()
}

fn number(number: Option<u64>) -> Cow<'static, str> {
    number.map_or("None".into(), |number| number.to_string().into())
}

fn flag(flag: bool) -> Cow<'static, str> {
    if flag { "True" } else { "False" }.into()
}
