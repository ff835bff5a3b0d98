//! Types of resources, and where namespaces apply.

use super::events::Definition;
use super::{Metadefs, missing, policy};
use crate::catalog::metadefs::{Association, Namespace, Property, ResourceType};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::events::Change;
use crate::images::policy::Action;

impl Metadefs {
    /// Every type of resources that a namespace was ever said to apply to.
    ///
    /// # Errors
    /// `NotFound` for one who may read no definitions.
    pub fn resource_types(&self, ctx: &RequestContext) -> Result<Vec<ResourceType>> {
        self.check_own(ctx, Action::ListMetadefResourceTypes)?;
        self.catalog.resource_types()
    }

    /// Where a namespace applies.
    ///
    /// # Errors
    /// `NotFound`
    pub fn associations(&self, ctx: &RequestContext, namespace: &str) -> Result<Vec<Association>> {
        let found = self.applying(ctx, namespace)?;
        self.check(ctx, Action::ListMetadefResourceTypes, &found)?;
        if self.check(ctx, Action::GetMetadefResourceType, &found).is_err() {
            return Ok(Vec::new());
        }
        self.catalog.associations(namespace)
    }

    /// Lets a namespace apply to a type of resources, new or known.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when it does already.
    pub fn associate(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        new: &Association,
    ) -> Result<()> {
        let found = self.applying(ctx, namespace)?;
        self.check(ctx, Action::AddMetadefResourceTypeAssociation, &found)?;
        self.catalog.associate(namespace, new)?;
        self.tell_of(Change::Created, namespace, Definition::ResourceType(new));
        Ok(())
    }

    /// Ends that a namespace applies to a type of resources.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`, also when the namespace is protected.
    pub fn dissociate(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        resource_type: &str,
    ) -> Result<()> {
        let found = self.applying(ctx, namespace)?;
        self.check(ctx, Action::RemoveMetadefResourceTypeAssociation, &found)?;
        let not_there =
            || Error::NotFound(format!("Failed to find resource type {resource_type} to delete"));
        let known = self.catalog.associations(namespace)?;
        let known = known.iter().find(|association| association.resource_type == resource_type);
        let association = known.ok_or_else(not_there)?;
        policy::not_protected(&found, || format!("resource-type-association {resource_type}"))?;
        match self.catalog.dissociate(namespace, resource_type)? {
            true => {
                self.tell_of(Change::Deleted, namespace, Definition::ResourceType(association));
                Ok(())
            }
            false => Err(not_there()),
        }
    }

    /// A property by the name that it has on resources of a type.
    ///
    /// # Errors
    /// `NotFound`, also when the name does not begin with the type's prefix.
    pub fn property_on(
        &self,
        ctx: &RequestContext,
        namespace: &str,
        name: &str,
        resource_type: &str,
    ) -> Result<Property> {
        let found = self.applying(ctx, namespace)?;
        self.check(ctx, Action::GetMetadefProperty, &found)?;
        self.check(ctx, Action::GetMetadefResourceType, &found)?;
        if !self.catalog.has_resource_type(resource_type)? {
            return Err(Error::NotFound(format!(
                "The metadata definition resource-type with name={resource_type}, was not found."
            )));
        }
        let known = self.catalog.associations(namespace)?;
        let association = known.into_iter().find(|known| known.resource_type == resource_type);
        let association = association.ok_or_else(|| {
            Error::NotFound(format!(
                "The metadata definition resource-type association of \
                 resource-type={resource_type} to namespace={namespace}, was not found."
            ))
        })?;
        let prefix = association.prefix.filter(|prefix| !prefix.is_empty());
        let bare = prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix));
        match bare {
            Some(bare) => self.content(ctx, namespace, bare),
            None => Err(Error::NotFound(format!(
                "Property {name} does not start with the expected resource type association \
                 prefix of '{}'.",
                prefix.as_deref().unwrap_or("None")
            ))),
        }
    }

    fn applying(&self, ctx: &RequestContext, name: &str) -> Result<Namespace> {
        self.find(ctx, name, missing, missing)
    }
}
