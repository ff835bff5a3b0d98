//! Metadata definitions in the database.
//!
//! The functions below work within one transaction.  Unlike images, what is removed is gone: the
//! tables know no deleted rows.

mod associations;
mod contents;
mod namespaces;

use rusqlite::{Connection, OptionalExtension, ffi, params};

use super::SqliteCatalog;
use crate::catalog::metadefs::{
    Association, Belongings, Contents, Existing, MetadefCatalog, Namespace, NamespaceQuery, Page,
    ResourceType, Tag, TagColumn,
};
use crate::catalog::query::Direction;
use crate::error::{Error, Result};
use contents::Stored;

impl<T: Stored> Contents<T> for SqliteCatalog {
    fn all(&self, namespace: &str) -> Result<Vec<T>> {
        self.read(|transaction| contents::all(transaction, namespace))
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Option<T>> {
        self.read(|transaction| contents::find(transaction, namespace, name))
    }

    fn add(&self, namespace: &str, new: &[T], replace: bool) -> Result<()> {
        self.write(|transaction| {
            let id = existing(transaction, namespace)?;
            if replace {
                contents::clear::<T>(transaction, id)?;
            }
            contents::add(transaction, id, namespace, new)?;
            Ok(true)
        })
        .map(drop)
    }

    fn change(&self, namespace: &str, name: &str, new: &T) -> Result<bool> {
        self.write(|transaction| contents::change(transaction, namespace, name, new))
    }

    fn remove(&self, namespace: &str, name: &str) -> Result<bool> {
        self.write(|transaction| contents::remove::<T>(transaction, namespace, name))
    }

    fn clear(&self, namespace: &str) -> Result<()> {
        self.write(|transaction| {
            let id = existing(transaction, namespace)?;
            contents::clear::<T>(transaction, id)?;
            Ok(true)
        })
        .map(drop)
    }
}

impl MetadefCatalog for SqliteCatalog {
    fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        self.read(|transaction| namespaces::find(transaction, name))
    }

    fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<(Namespace, Vec<Association>)>> {
        self.read(|transaction| {
            let found = namespaces::list(transaction, query)?;
            let with_associations = |namespace: Namespace| {
                let associations = associations::all(transaction, &namespace.name)?;
                Ok((namespace, associations))
            };
            found.into_iter().map(with_associations).collect()
        })
    }

    fn add_namespace(&self, namespace: &Namespace, belongings: &Belongings) -> Result<()> {
        self.write(|transaction| {
            let id = namespaces::add(transaction, namespace)?;
            let name = &namespace.name;
            for association in &belongings.associations {
                associations::add(transaction, id, name, association)?;
            }
            contents::add(transaction, id, name, &belongings.objects)?;
            contents::add(transaction, id, name, &belongings.tags)?;
            contents::add(transaction, id, name, &belongings.properties)?;
            Ok(true)
        })
        .map(drop)
    }

    fn change_namespace(&self, name: &str, new: &Namespace) -> Result<bool> {
        self.write(|transaction| namespaces::change(transaction, name, new))
    }

    fn remove_namespace(&self, name: &str) -> Result<bool> {
        self.write(|transaction| namespaces::remove(transaction, name))
    }

    fn load(
        &self,
        namespace: &Namespace,
        belongings: &Belongings,
        existing: Existing,
    ) -> Result<bool> {
        self.write(|transaction| {
            let Some(id) = namespaces::load(transaction, namespace, existing)? else {
                return Ok(false);
            };
            let update = existing == Existing::Update;
            for association in &belongings.associations {
                associations::put(transaction, id, association, update)?;
            }
            contents::put(transaction, id, &belongings.properties, update)?;
            contents::put(transaction, id, &belongings.objects, update)?;
            contents::put(transaction, id, &belongings.tags, update)?;
            Ok(true)
        })
    }

    fn tags(&self, namespace: &str, page: &Page<TagColumn>) -> Result<Vec<Tag>> {
        self.read(|transaction| contents::tags(transaction, namespace, page))
    }

    fn resource_types(&self) -> Result<Vec<ResourceType>> {
        self.read(|transaction| associations::resource_types(transaction))
    }

    fn has_resource_type(&self, name: &str) -> Result<bool> {
        self.read(|transaction| Ok(associations::resource_type(transaction, name)?.is_some()))
    }

    fn associations(&self, namespace: &str) -> Result<Vec<Association>> {
        self.read(|transaction| associations::all(transaction, namespace))
    }

    fn associate(&self, namespace: &str, new: &Association) -> Result<()> {
        self.write(|transaction| {
            let id = existing(transaction, namespace)?;
            associations::add(transaction, id, namespace, new)?;
            Ok(true)
        })
        .map(drop)
    }

    fn dissociate(&self, namespace: &str, resource_type: &str) -> Result<bool> {
        self.write(|transaction| associations::remove(transaction, namespace, resource_type))
    }
}

/// The namespace's number in the database.
fn number(connection: &Connection, namespace: &str) -> Result<Option<i64>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM metadef_namespaces WHERE namespace = ?1")?;
    Ok(statement.query_row(params![namespace], |row| row.get(0)).optional()?)
}

/// The number of a namespace that was there a moment ago.
fn existing(connection: &Connection, namespace: &str) -> Result<i64> {
    let gone = || Error::NotFound(format!("Namespace {namespace} not found"));
    number(connection, namespace)?.ok_or_else(gone)
}

/// Turns the violation of a unique constraint into `Conflict`.
pub(super) fn taken(words: impl FnOnce() -> String) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| match error {
        rusqlite::Error::SqliteFailure(
            ffi::Error {
                extended_code: ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
                ..
            },
            _,
        ) => Error::Conflict(words()),
        other => other.into(),
    }
}

/// `column, created_at, id`, all in one direction.
fn order(column: &str, direction: Direction) -> String {
    let direction = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    let mut columns = vec![column];
    columns.extend(["created_at", "id"].into_iter().filter(|tie| *tie != column));
    columns.iter().map(|column| format!("{column} {direction}")).collect::<Vec<_>>().join(", ")
}
