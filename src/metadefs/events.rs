//! What happens to definitions, for those who are told of it; as that of images is, in
//! [`crate::images::events`].

use std::sync::Arc;

use super::Metadefs;
use crate::catalog::metadefs::{Association, Belongings, Namespace, Object, Property, Tag};
use crate::images::events::Change;

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A namespace was made, changed or removed; this was its name.
    Namespace(Change, &'a Namespace, &'a str),
    /// All that a namespace has of a kind was removed.
    Cleared(&'a Namespace, Contents),
    /// Something in a namespace was made, changed or removed.
    Definition {
        /// What became of it.
        change: Change,
        /// The namespace's name.
        namespace: &'a str,
        /// As it is now.
        definition: Definition<'a>,
        /// What it was called.
        old_name: &'a str,
    },
}

/// What a namespace has several of.
#[allow(missing_docs, reason = "they are what they are called")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    Objects,
    Properties,
    Tags,
}

/// One of them, or a place where the namespace applies.
#[allow(missing_docs, reason = "they are what they are called")]
#[derive(Clone, Copy, Debug)]
pub enum Definition<'a> {
    Object(&'a Object),
    Property(&'a Property),
    Tag(&'a Tag),
    ResourceType(&'a Association),
}

/// Who is told.
pub trait Listener: Send + Sync {
    /// Something has happened.  Returns at once, whatever becomes of it.
    fn hear(&self, event: Event<'_>);
}

impl Metadefs {
    /// Tells `listener` of what is done from now on; the first one stays.
    pub fn tell_to(&self, listener: Arc<dyn Listener>) {
        // A second one would be a mistake of ours, and is not worth failing for.
        let _ = self.listener.set(listener);
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        if let Some(listener) = self.listener.get() {
            listener.hear(event);
        }
    }

    /// Tells of a namespace that was made with all that it has.
    pub(super) fn tell_made(&self, namespace: &Namespace, belongings: &Belongings) {
        let name = namespace.name.as_str();
        self.tell(Event::Namespace(Change::Created, namespace, name));
        let associations = belongings.associations.iter().map(Definition::ResourceType);
        let objects = belongings.objects.iter().map(Definition::Object);
        let tags = belongings.tags.iter().map(Definition::Tag);
        let properties = belongings.properties.iter().map(Definition::Property);
        for definition in associations.chain(objects).chain(tags).chain(properties) {
            self.tell_of(Change::Created, name, definition);
        }
    }

    /// Tells of something in a namespace whose name stays.
    pub(super) fn tell_of(&self, change: Change, namespace: &str, definition: Definition<'_>) {
        let old_name = match definition {
            Definition::Object(object) => &object.name,
            Definition::Property(property) => &property.name,
            Definition::Tag(tag) => &tag.name,
            Definition::ResourceType(association) => &association.resource_type,
        };
        self.tell(Event::Definition { change, namespace, definition, old_name });
    }
}
