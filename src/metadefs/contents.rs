//! Objects, properties and tags of a namespace.  The rules are the same for all three; the words
//! are not.

use super::events::{self, Definition, Event};
use super::{Metadefs, missing, policy, property_type, unknown};
use crate::catalog::metadefs::{
    Contents, MetadefCatalog, Namespace, Object, Page, Property, Tag, TagColumn,
};
use crate::catalog::model::Timestamp;
use crate::catalog::query::Direction;
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::events::Change;
use crate::images::policy::Action;

/// What Glance calls a kind of content.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The actions of `policy.yaml`.
    add: Action,
    modify: Action,
    remove: Action,
    see: Action,
    list: Action,
    /// Whether, in a list, each is asked about, too.
    each_is_asked_about: bool,
    /// What removing all of them needs beside what removing the namespace does.
    clear: Option<Action>,
    /// In "Could not find …".
    sought: &'static str,
    /// In "Metadata definition … is protected".
    noun: &'static str,
    /// Whether a name that is taken has words of its own when it comes by a change.
    own_words_for_duplicates: bool,
}

/// A kind of content.
pub trait Kind: Sized + Send {
    /// What Glance calls it.
    const WORDS: Words;
    /// What those who are told call all of it.
    const CONTENTS: events::Contents;

    /// Where it is stored.
    fn contents(catalog: &dyn MetadefCatalog) -> &dyn Contents<Self>;

    /// Its name.
    fn name(&self) -> &str;

    /// It, for those who are told.
    fn definition(&self) -> Definition<'_>;

    /// When it was made, to be set.
    fn created_at(&mut self) -> &mut Timestamp;

    /// What is said about its namespace when that is not there.
    fn unknown_namespace(name: &str) -> String {
        missing(name)
    }

    /// As clients see it.
    fn shown(self) -> Self {
        self
    }
}

impl Kind for Object {
    const WORDS: Words = Words {
        add: Action::AddMetadefObject,
        modify: Action::ModifyMetadefObject,
        remove: Action::DeleteMetadefObject,
        see: Action::GetMetadefObject,
        list: Action::GetMetadefObjects,
        each_is_asked_about: true,
        clear: None,
        sought: "metadata object",
        noun: "object",
        own_words_for_duplicates: true,
    };
    const CONTENTS: events::Contents = events::Contents::Objects;

    fn contents(catalog: &dyn MetadefCatalog) -> &dyn Contents<Self> {
        catalog
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn definition(&self) -> Definition<'_> {
        Definition::Object(self)
    }

    fn created_at(&mut self) -> &mut Timestamp {
        &mut self.created_at
    }

    fn unknown_namespace(name: &str) -> String {
        unknown(name)
    }

    fn shown(self) -> Self {
        let properties = self.properties.into_iter();
        let shown = properties.map(|(name, schema)| (name, property_type::shown_value(schema)));
        Self { properties: shown.collect(), ..self }
    }
}

impl Kind for Property {
    const WORDS: Words = Words {
        add: Action::AddMetadefProperty,
        modify: Action::ModifyMetadefProperty,
        remove: Action::RemoveMetadefProperty,
        see: Action::GetMetadefProperty,
        list: Action::GetMetadefProperties,
        each_is_asked_about: false,
        clear: None,
        sought: "property",
        noun: "property",
        own_words_for_duplicates: true,
    };
    const CONTENTS: events::Contents = events::Contents::Properties;

    fn contents(catalog: &dyn MetadefCatalog) -> &dyn Contents<Self> {
        catalog
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn definition(&self) -> Definition<'_> {
        Definition::Property(self)
    }

    fn created_at(&mut self) -> &mut Timestamp {
        &mut self.created_at
    }

    fn shown(self) -> Self {
        Self { schema: property_type::shown(&self.schema), ..self }
    }
}

impl Kind for Tag {
    const WORDS: Words = Words {
        add: Action::AddMetadefTag,
        modify: Action::ModifyMetadefTag,
        remove: Action::DeleteMetadefTag,
        see: Action::GetMetadefTag,
        list: Action::GetMetadefTags,
        each_is_asked_about: false,
        clear: Some(Action::DeleteMetadefTags),
        sought: "metadata tag",
        noun: "tag",
        own_words_for_duplicates: false,
    };
    const CONTENTS: events::Contents = events::Contents::Tags;

    fn contents(catalog: &dyn MetadefCatalog) -> &dyn Contents<Self> {
        catalog
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn definition(&self) -> Definition<'_> {
        Definition::Tag(self)
    }

    fn created_at(&mut self) -> &mut Timestamp {
        &mut self.created_at
    }
}

/// The order in which Glance lists what nobody asked to order.
pub(super) fn newest_first() -> Page<TagColumn> {
    let direction = Direction::Descending;
    Page { sort: TagColumn::CreatedAt, direction, marker: None, limit: None }
}

impl Metadefs {
    /// Adds one to a namespace.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the name is taken.
    pub fn add_content<T: Kind>(&self, ctx: &RequestContext, namespace: &str, new: T) -> Result<T> {
        let found = self.namespace_of::<T>(ctx, namespace)?;
        self.check(ctx, T::WORDS.add, &found)?;
        self.contents::<T>().add(namespace, std::slice::from_ref(&new), false)?;
        self.tell_of(Change::Created, namespace, new.definition());
        Ok(new.shown())
    }

    /// Adds tags to a namespace, all or none; unless they are to be appended, in the place of all
    /// it has.  No tags replace none (Glance: the same).
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when a name is taken or occurs twice.
    pub fn add_tags(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        new: &[Tag],
        append: bool,
    ) -> Result<()> {
        let found = self.namespace_of::<Tag>(ctx, namespace)?;
        self.check(ctx, Action::AddMetadefTags, &found)?;
        if new.is_empty() {
            return Ok(());
        }
        self.contents::<Tag>().add(namespace, new, !append)?;
        for tag in new {
            self.tell_of(Change::Created, namespace, Definition::Tag(tag));
        }
        Ok(())
    }

    /// All of one kind that a namespace has, in the order of their names.
    ///
    /// # Errors
    /// `NotFound`
    pub fn contents_of<T: Kind>(&self, ctx: &RequestContext, namespace: &str) -> Result<Vec<T>> {
        let found = self.namespace_of::<T>(ctx, namespace)?;
        self.check(ctx, T::WORDS.list, &found)?;
        let mut all = self.contents::<T>().all(namespace)?;
        if T::WORDS.each_is_asked_about && self.check(ctx, T::WORDS.see, &found).is_err() {
            all.clear();
        }
        Ok(all.into_iter().map(T::shown).collect())
    }

    /// A page of a namespace's tags.
    ///
    /// # Errors
    /// `NotFound`, also when the marker is not there.
    pub fn tags_of(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        page: &Page<TagColumn>,
    ) -> Result<Vec<Tag>> {
        let found = self.namespace_of::<Tag>(ctx, namespace)?;
        self.check(ctx, Action::GetMetadefTags, &found)?;
        if let Some(marker) = &page.marker {
            self.existing::<Tag>(namespace, marker)?;
        }
        self.catalog.tags(namespace, page)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// `NotFound`
    pub fn content<T: Kind>(&self, ctx: &RequestContext, namespace: &str, name: &str) -> Result<T> {
        let found = self.namespace_of::<T>(ctx, namespace)?;
        self.check(ctx, T::WORDS.see, &found)?;
        self.existing::<T>(namespace, name).map(T::shown)
    }

    /// Puts `new` in the place of the one called `name`.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the new name is taken.
    pub fn change_content<T: Kind>(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        name: &str,
        mut new: T,
    ) -> Result<T> {
        let found = self.namespace_of::<T>(ctx, namespace)?;
        self.check(ctx, T::WORDS.modify, &found)?;
        *new.created_at() = *self.existing::<T>(namespace, name)?.created_at();
        let changed = self.contents::<T>().change(namespace, name, &new);
        let changed = changed.map_err(|error| match error {
            Error::Conflict(_) if T::WORDS.own_words_for_duplicates => Error::Conflict(format!(
                "Invalid update. It would result in a duplicate metadata definition {} with the \
                 same name={} in namespace={namespace}.",
                T::WORDS.noun,
                new.name()
            )),
            other => other,
        })?;
        if !changed {
            return Err(not_there::<T>(name));
        }
        let (change, definition) = (Change::Updated, new.definition());
        self.tell(Event::Definition { change, namespace, definition, old_name: name });
        Ok(new.shown())
    }

    /// Removes the one of this name.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also when the namespace is protected.
    pub fn remove_content<T: Kind>(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        name: &str,
    ) -> Result<()> {
        let found = self.namespace_of::<T>(ctx, namespace)?;
        self.check(ctx, T::WORDS.remove, &found)?;
        let old = self.existing::<T>(namespace, name)?;
        policy::not_protected(&found, || format!("{} {name}", T::WORDS.noun))?;
        if self.contents::<T>().remove(namespace, name)? {
            self.tell_of(Change::Deleted, namespace, old.definition());
            Ok(())
        } else {
            Err(not_there::<T>(name))
        }
    }

    /// Removes all of one kind that a namespace has.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also when the namespace is protected.
    pub fn clear_contents<T: Kind>(&self, ctx: &RequestContext, namespace: &str) -> Result<()> {
        let found = self.removable(ctx, namespace, T::WORDS.clear)?;
        self.contents::<T>().clear(namespace)?;
        self.tell(Event::Cleared(&found, T::CONTENTS));
        Ok(())
    }

    fn contents<T: Kind>(&self) -> &dyn Contents<T> {
        T::contents(&*self.catalog)
    }

    fn namespace_of<T: Kind>(&self, ctx: &RequestContext, name: &str) -> Result<Namespace> {
        self.find(ctx, name, T::unknown_namespace, missing)
    }

    fn existing<T: Kind>(&self, namespace: &str, name: &str) -> Result<T> {
        self.contents::<T>().find(namespace, name)?.ok_or_else(|| not_there::<T>(name))
    }
}

fn not_there<T: Kind>(name: &str) -> Error {
    Error::NotFound(format!("Could not find {} {name}", T::WORDS.sought))
}
