//! What can be done to metadata definitions, and by whom.
//!
//! The API and the command line call [`Metadefs`], and nothing else; it puts Glance's rules between
//! them and the catalog.  Definitions describe images' properties but are not enforced: nothing
//! here knows an image.
//!
//! - `policy`: who may see and change what;
//! - `contents`: objects, properties and tags, for which the rules are the same;
//! - `resource_types`: where namespaces apply;
//! - [`document`]: definitions out of JSON, of requests and of files;
//! - [`property_type`]: what the definition of a property may say;
//! - [`events`]: telling of what is done;
//! - [`load`]: filling the catalog from files.

mod contents;
pub mod document;
pub mod events;
pub mod load;
mod policy;
pub mod property_type;
mod resource_types;

use std::sync::{Arc, OnceLock};

pub use contents::Kind;

use crate::catalog::metadefs::{
    Association, Belongings, Contents, MetadefCatalog, Namespace, NamespaceQuery,
};
use crate::catalog::model::Timestamp;
use crate::error::{Error, Result};
use crate::identity::{ProjectId, RequestContext};
use crate::images::events::Change;
use crate::images::policy::{Action, Policy};
use events::Event;

/// The owner of what no project makes: what is loaded from files, and what the operator makes.
/// Glance: the loader's default.
pub const SYSTEM_OWNER: &str = "admin";

/// What a client says about a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Its name.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// For people, longer.
    pub description: Option<String>,
    /// Visible to everybody.
    pub public: bool,
    /// Not to be deleted.
    pub protected: bool,
    /// The owning project, if it is not the client's.
    pub owner: Option<ProjectId>,
}

/// The metadata definitions of one catalog.
pub struct Metadefs {
    catalog: Arc<dyn MetadefCatalog>,
    policy: Arc<Policy>,
    listener: OnceLock<Arc<dyn events::Listener>>,
}

impl Metadefs {
    /// The definitions in `catalog`, under the default rules.
    pub fn new(catalog: Arc<dyn MetadefCatalog>) -> Self {
        Self { catalog, policy: Arc::default(), listener: OnceLock::new() }
    }

    /// The same under other rules.
    pub fn with_policy(self, policy: Arc<Policy>) -> Self {
        Self { policy, ..self }
    }

    /// Makes a namespace with all that it has, or nothing.
    ///
    /// # Errors
    /// `Forbidden`; `Conflict` when a name is taken or occurs twice.
    pub fn create(
        &self,
        ctx: &RequestContext,
        fields: Fields,
        belongings: Belongings,
    ) -> Result<(Namespace, Belongings)> {
        self.check_own(ctx, Action::AddMetadefNamespace)?;
        for (there, action) in [
            (!belongings.associations.is_empty(), Action::AddMetadefResourceTypeAssociation),
            (!belongings.objects.is_empty(), Action::AddMetadefObject),
            (!belongings.properties.is_empty(), Action::AddMetadefProperty),
            (!belongings.tags.is_empty(), Action::AddMetadefTag),
        ] {
            if there {
                self.check_own(ctx, action)?;
            }
        }
        let now = Timestamp::now();
        let owner = fields.owner.or_else(|| ctx.project.clone());
        let namespace = Namespace {
            name: fields.name,
            display_name: fields.display_name,
            description: fields.description,
            public: fields.public,
            protected: fields.protected,
            owner: owner.unwrap_or_else(|| ProjectId::new(SYSTEM_OWNER)),
            created_at: now,
            updated_at: Some(now),
        };
        self.catalog.add_namespace(&namespace, &belongings)?;
        self.tell_made(&namespace, &belongings);
        Ok((namespace, shown(belongings)))
    }

    /// A page of the namespaces that `ctx` sees, each with where it applies.
    ///
    /// # Errors
    /// `NotFound` when the marker is not there, or nothing of all this may be seen.
    pub fn list(
        &self,
        ctx: &RequestContext,
        query: &NamespaceQuery,
    ) -> Result<Vec<(Namespace, Vec<Association>)>> {
        self.check_own(ctx, Action::GetMetadefNamespaces)?;
        self.check_own(ctx, Action::ListMetadefResourceTypes)?;
        if let Some(marker) = &query.page.marker {
            self.find(ctx, marker, unknown, unknown)?;
        }
        let mut listed = self.catalog.namespaces(query)?;
        listed.retain(|(found, _)| self.check(ctx, Action::GetMetadefNamespace, found).is_ok());
        Ok(listed)
    }

    /// A namespace with all that it has.  For a type of resources, the names of properties are as
    /// on those: with the prefix.
    ///
    /// # Errors
    /// `NotFound`
    pub fn show(
        &self,
        ctx: &RequestContext,
        name: &str,
        resource_type: Option<&str>,
    ) -> Result<(Namespace, Belongings)> {
        let namespace = match self.catalog.namespace(name)? {
            None => return Err(Error::NotFound(unknown(name))),
            Some(namespace) if !policy::is_visible(ctx, &namespace) => return Err(Error::Hidden),
            Some(namespace) => namespace,
        };
        for action in [
            Action::GetMetadefNamespace,
            Action::ListMetadefResourceTypes,
            Action::GetMetadefObjects,
            Action::GetMetadefProperties,
            Action::GetMetadefTags,
        ] {
            self.check(ctx, action, &namespace)?;
        }
        let catalog = &*self.catalog;
        let mut belongings = shown(Belongings {
            associations: catalog.associations(name)?,
            properties: Contents::all(catalog, name)?,
            objects: Contents::all(catalog, name)?,
            tags: catalog.tags(name, &contents::newest_first())?,
        });
        let wanted = belongings
            .associations
            .iter()
            .find(|association| Some(association.resource_type.as_str()) == resource_type);
        if let Some(prefix) = wanted.and_then(|association| association.prefix.clone()) {
            put_before_names(&mut belongings, &prefix);
        }
        Ok((namespace, belongings))
    }

    /// Gives a namespace other fields; what is not said becomes the default.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the new name is taken.
    pub fn change(&self, ctx: &RequestContext, name: &str, fields: Fields) -> Result<Namespace> {
        let old = self.find(ctx, name, missing, missing)?;
        self.check(ctx, Action::ModifyMetadefNamespace, &old)?;
        let owner = fields.owner.or_else(|| ctx.project.clone());
        let new = Namespace {
            name: fields.name,
            display_name: fields.display_name,
            description: fields.description,
            public: fields.public,
            protected: fields.protected,
            owner: owner.unwrap_or(old.owner),
            created_at: old.created_at,
            updated_at: Some(Timestamp::now()),
        };
        if self.catalog.change_namespace(name, &new)? {
            self.tell(Event::Namespace(Change::Updated, &new, name));
            Ok(new)
        } else {
            Err(Error::NotFound(missing(name)))
        }
    }

    /// Removes a namespace with all that it has.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also for one that is protected.
    pub fn remove(&self, ctx: &RequestContext, name: &str) -> Result<()> {
        let namespace = self.removable(ctx, name, None)?;
        if self.catalog.remove_namespace(name)? {
            self.tell(Event::Namespace(Change::Deleted, &namespace, name));
            Ok(())
        } else {
            Err(Error::NotFound(missing(name)))
        }
    }

    /// Checks that `ctx` may remove the namespace, or all that it has.
    fn removable(
        &self,
        ctx: &RequestContext,
        name: &str,
        more: Option<Action>,
    ) -> Result<Namespace> {
        let namespace = self.find(ctx, name, missing, missing)?;
        self.check(ctx, Action::DeleteMetadefNamespace, &namespace)?;
        more.map_or(Ok(()), |action| self.check(ctx, action, &namespace))?;
        policy::not_protected(&namespace, || format!("namespace {name}"))?;
        Ok(namespace)
    }

    /// The namespace, for anything that is to be done with it.  Glance has different words for one
    /// that is not there and one that is hidden, and not the same everywhere.
    fn find(
        &self,
        ctx: &RequestContext,
        name: &str,
        missing: fn(&str) -> String,
        hidden: fn(&str) -> String,
    ) -> Result<Namespace> {
        match self.catalog.namespace(name)? {
            None => Err(Error::NotFound(missing(name))),
            Some(namespace) if policy::is_visible(ctx, &namespace) => Ok(namespace),
            Some(_) => Err(Error::NotFound(hidden(name))),
        }
    }
}

/// What is usually said of a namespace that is not there.
fn missing(name: &str) -> String {
    format!("Namespace {name} not found")
}

/// What the database of Glance says of one.
fn unknown(name: &str) -> String {
    format!("Metadata definition namespace={name} was not found.")
}

/// All that a namespace has, as clients see it.
fn shown(belongings: Belongings) -> Belongings {
    Belongings {
        properties: belongings.properties.into_iter().map(Kind::shown).collect(),
        objects: belongings.objects.into_iter().map(Kind::shown).collect(),
        ..belongings
    }
}

fn put_before_names(belongings: &mut Belongings, prefix: &str) {
    for property in &mut belongings.properties {
        property.name.insert_str(0, prefix);
    }
    for object in &mut belongings.objects {
        let properties = std::mem::take(&mut object.properties);
        object.properties = properties
            .into_iter()
            .map(|(name, schema)| (format!("{prefix}{name}"), schema))
            .collect();
        for name in &mut object.required {
            name.insert_str(0, prefix);
        }
    }
}
