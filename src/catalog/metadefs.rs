//! The catalog of metadata definitions: which keys images, volumes and flavors may carry, and what
//! they mean.  Glance: the tables `metadef_*`.
//!
//! Everything belongs to a namespace and is known by its name there.  Who may see or change what
//! is decided in the room [`metadefs`](crate::metadefs).

use serde_json::{Map, Value};

use super::model::Timestamp;
use super::query::{Direction, Viewer};
use crate::error::Result;
use crate::identity::ProjectId;

/// A set of definitions.  Glance: table `metadef_namespaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Unique in the catalog, at most 80 characters: `OS::Compute::CPUPinning`.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// For people, longer.
    pub description: Option<String>,
    /// Visible to everybody, not to its owner alone.
    pub public: bool,
    /// Neither it nor what is in it may be deleted.
    pub protected: bool,
    /// The owning project; `admin` for what was loaded from files.
    pub owner: ProjectId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed; never, for what was loaded from files.
    pub updated_at: Option<Timestamp>,
}

/// That a namespace applies to a type of resources.  Glance: `metadef_namespace_resource_types`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// The type's name: `OS::Glance::Image`.
    pub resource_type: String,
    /// What stands before each property's name on resources of this type.
    pub prefix: Option<String>,
    /// Which of the resource's sets of properties is meant.
    pub properties_target: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// A type of resources that some namespace applies to, or once did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceType {
    /// Its name.
    pub name: String,
    /// When it was first named.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// The definition of one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name, unique in the namespace.
    pub name: String,
    /// Its JSON schema, as it is stored.
    pub schema: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// Properties that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name, unique in the namespace.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Names of the properties that must be there; stored with commas between them.
    pub required: Vec<String>,
    /// Each property's JSON schema, as it is stored.
    pub properties: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// A word to mark resources with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The word, unique in the namespace.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
}

/// All that a namespace has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belongings {
    /// Where it applies.
    pub associations: Vec<Association>,
    /// Its properties.
    pub properties: Vec<Property>,
    /// Its objects.
    pub objects: Vec<Object>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A part of a list: in an order, from somewhere on, so many.  What is equal in the order is
/// ordered by its age and id, in the same direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<Column> {
    /// What decides the order.
    pub sort: Column,
    /// Its direction.
    pub direction: Direction,
    /// The name of what comes right before the page.  One that is not there is the beginning.
    pub marker: Option<String>,
    /// How many at most; `None`: all.
    pub limit: Option<u64>,
}

/// What namespaces can be ordered by.
#[allow(missing_docs, reason = "the fields of a namespace")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceColumn {
    Id,
    Name,
    DisplayName,
    Description,
    Visibility,
    Protected,
    Owner,
    CreatedAt,
    UpdatedAt,
}

/// What tags can be ordered by.
#[allow(missing_docs, reason = "the fields of a tag")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagColumn {
    Id,
    Name,
    CreatedAt,
    UpdatedAt,
}

/// Which namespaces are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceQuery {
    /// Who asks.
    pub viewer: Viewer,
    /// Only public ones, or only others.
    pub public: Option<bool>,
    /// Only those that apply to one of these types of resources.
    pub resource_types: Option<Vec<String>>,
    /// Which part of them.
    pub page: Page<NamespaceColumn>,
}

/// What to do about a namespace that is loaded and there already.  Glance: the options of
/// `glance-manage db load_metadefs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it as it is.
    Keep,
    /// Add what it lacks.
    Complete,
    /// Add what it lacks, and replace what it has by the same name.
    Update,
    /// Remove it with all it has first.
    Replace,
}

/// What one namespace has of one kind: [`Object`], [`Property`] or [`Tag`].
///
/// `NotFound` is answered when the namespace is gone.
pub trait Contents<T>: Send + Sync {
    /// All of them, in the order of their names.
    ///
    /// # Errors
    /// The catalog's own.
    fn all(&self, namespace: &str) -> Result<Vec<T>>;

    /// The one of this name.
    ///
    /// # Errors
    /// The catalog's own.
    fn find(&self, namespace: &str, name: &str) -> Result<Option<T>>;

    /// Records new ones, all or none; with `replace`, in place of all there are.
    ///
    /// # Errors
    /// `Conflict` when a name is taken.
    fn add(&self, namespace: &str, new: &[T], replace: bool) -> Result<()>;

    /// Puts `new` in the place of the one called `name`.  Returns whether that was there.
    ///
    /// # Errors
    /// `Conflict` when the new name is taken by another one.
    fn change(&self, namespace: &str, name: &str, new: &T) -> Result<bool>;

    /// Removes the one of this name.  Returns whether it was there.
    ///
    /// # Errors
    /// The catalog's own.
    fn remove(&self, namespace: &str, name: &str) -> Result<bool>;

    /// Removes all.
    ///
    /// # Errors
    /// The catalog's own.
    fn clear(&self, namespace: &str) -> Result<()>;
}

/// Where metadata definitions live.  Calls block; see [`Catalog`](super::Catalog).
pub trait MetadefCatalog: Contents<Object> + Contents<Property> + Contents<Tag> {
    /// The namespace of this name.
    ///
    /// # Errors
    /// The catalog's own.
    fn namespace(&self, name: &str) -> Result<Option<Namespace>>;

    /// One page of namespaces, each with where it applies.
    ///
    /// # Errors
    /// The catalog's own.
    fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<(Namespace, Vec<Association>)>>;

    /// Records a namespace with all that it has, or nothing.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, or one occurs twice in it.
    fn add_namespace(&self, namespace: &Namespace, belongings: &Belongings) -> Result<()>;

    /// Puts `new` in the place of the namespace called `name`, which keeps what it has.  Returns
    /// whether that was there.
    ///
    /// # Errors
    /// `Conflict` when the new name is taken by another one.
    fn change_namespace(&self, name: &str, new: &Namespace) -> Result<bool>;

    /// Removes the namespace with all it has.  Types of resources stay.  Returns whether it was
    /// there.
    ///
    /// # Errors
    /// The catalog's own.
    fn remove_namespace(&self, name: &str) -> Result<bool>;

    /// Records a namespace that may be there already.  Returns whether anything was done.
    ///
    /// # Errors
    /// The catalog's own.
    fn load(
        &self,
        namespace: &Namespace,
        belongings: &Belongings,
        existing: Existing,
    ) -> Result<bool>;

    /// A page of a namespace's tags.
    ///
    /// # Errors
    /// The catalog's own.
    fn tags(&self, namespace: &str, page: &Page<TagColumn>) -> Result<Vec<Tag>>;

    /// Every type of resources, the oldest first.
    ///
    /// # Errors
    /// The catalog's own.
    fn resource_types(&self) -> Result<Vec<ResourceType>>;

    /// Whether there is a type of resources of this name.
    ///
    /// # Errors
    /// The catalog's own.
    fn has_resource_type(&self, name: &str) -> Result<bool>;

    /// Where a namespace applies, in the order in which that was said.
    ///
    /// # Errors
    /// The catalog's own.
    fn associations(&self, namespace: &str) -> Result<Vec<Association>>;

    /// Lets a namespace apply to a type of resources, which is recorded if it is new.
    ///
    /// # Errors
    /// `Conflict` when it does already; `NotFound` when the namespace is gone.
    fn associate(&self, namespace: &str, new: &Association) -> Result<()>;

    /// Ends that a namespace applies to a type.  Returns whether it did.
    ///
    /// # Errors
    /// The catalog's own.
    fn dissociate(&self, namespace: &str, resource_type: &str) -> Result<bool>;
}
