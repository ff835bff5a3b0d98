//! Metadata definitions in the database.
//!
//! The functions below work within one transaction.  Unlike images, what is removed is gone: the
//! tables know no deleted rows.

mod associations;
mod contents;
mod namespaces;

use super::MysqlCatalog;
use super::failure::{Failure, Outcome};
use super::session::Session;
use super::values::Bound;
use crate::catalog::metadefs::{
    Association, Belongings, Contents, Existing, MetadefCatalog, Namespace, NamespaceQuery, Page,
    ResourceType, Tag, TagColumn,
};
use crate::catalog::query::Direction;
use crate::error::{Error, Result};
use contents::Stored;

impl<T: Stored> Contents<T> for MysqlCatalog {
    fn all(&self, namespace: &str) -> Result<Vec<T>> {
        self.read(|session| contents::all(session, namespace))
    }

    fn find(&self, namespace: &str, name: &str) -> Result<Option<T>> {
        self.read(|session| contents::find(session, namespace, name))
    }

    fn add(&self, namespace: &str, new: &[T], replace: bool) -> Result<()> {
        self.write(|session| {
            let id = existing(session, namespace)?;
            if replace {
                contents::clear::<T>(session, id)?;
            }
            contents::add(session, id, namespace, new)?;
            Ok(true)
        })
        .map(drop)
    }

    fn change(&self, namespace: &str, name: &str, new: &T) -> Result<bool> {
        self.write(|session| contents::change(session, namespace, name, new))
    }

    fn remove(&self, namespace: &str, name: &str) -> Result<bool> {
        self.write(|session| contents::remove::<T>(session, namespace, name))
    }

    fn clear(&self, namespace: &str) -> Result<()> {
        self.write(|session| {
            let id = existing(session, namespace)?;
            contents::clear::<T>(session, id)?;
            Ok(true)
        })
        .map(drop)
    }
}

impl MetadefCatalog for MysqlCatalog {
    fn namespace(&self, name: &str) -> Result<Option<Namespace>> {
        self.read(|session| namespaces::find(session, name))
    }

    fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<(Namespace, Vec<Association>)>> {
        self.read(|session| {
            let found = namespaces::list(session, query)?;
            let mut with_associations = |namespace: Namespace| {
                let associations = associations::all(session, &namespace.name)?;
                Ok((namespace, associations))
            };
            found.into_iter().map(&mut with_associations).collect()
        })
    }

    fn add_namespace(&self, namespace: &Namespace, belongings: &Belongings) -> Result<()> {
        self.write(|session| {
            let id = namespaces::add(session, namespace)?;
            let name = &namespace.name;
            for association in &belongings.associations {
                associations::add(session, id, name, association)?;
            }
            contents::add(session, id, name, &belongings.objects)?;
            contents::add(session, id, name, &belongings.tags)?;
            contents::add(session, id, name, &belongings.properties)?;
            Ok(true)
        })
        .map(drop)
    }

    fn change_namespace(&self, name: &str, new: &Namespace) -> Result<bool> {
        self.write(|session| namespaces::change(session, name, new))
    }

    fn remove_namespace(&self, name: &str) -> Result<bool> {
        self.write(|session| namespaces::remove(session, name))
    }

    fn load(
        &self,
        namespace: &Namespace,
        belongings: &Belongings,
        existing: Existing,
    ) -> Result<bool> {
        self.write(|session| {
            let Some(id) = namespaces::load(session, namespace, existing)? else {
                return Ok(false);
            };
            let update = existing == Existing::Update;
            for association in &belongings.associations {
                associations::put(session, id, association, update)?;
            }
            contents::put(session, id, &belongings.properties, update)?;
            contents::put(session, id, &belongings.objects, update)?;
            contents::put(session, id, &belongings.tags, update)?;
            Ok(true)
        })
    }

    fn tags(&self, namespace: &str, page: &Page<TagColumn>) -> Result<Vec<Tag>> {
        self.read(|session| contents::tags(session, namespace, page))
    }

    fn resource_types(&self) -> Result<Vec<ResourceType>> {
        self.read(associations::resource_types)
    }

    fn has_resource_type(&self, name: &str) -> Result<bool> {
        self.read(|session| Ok(associations::resource_type(session, name)?.is_some()))
    }

    fn associations(&self, namespace: &str) -> Result<Vec<Association>> {
        self.read(|session| associations::all(session, namespace))
    }

    fn associate(&self, namespace: &str, new: &Association) -> Result<()> {
        self.write(|session| {
            let id = existing(session, namespace)?;
            associations::add(session, id, namespace, new)?;
            Ok(true)
        })
        .map(drop)
    }

    fn dissociate(&self, namespace: &str, resource_type: &str) -> Result<bool> {
        self.write(|session| associations::remove(session, namespace, resource_type))
    }
}

/// The namespace's number in the database.
fn number(session: &mut Session<'_>, namespace: &str) -> Outcome<Option<i64>> {
    let sql = "SELECT id FROM metadef_namespaces WHERE namespace = ?";
    session.first(sql, vec![namespace.bound()], |cells| cells.next())
}

/// The number of a namespace that was there a moment ago, locked until the change is done.
fn existing(session: &mut Session<'_>, namespace: &str) -> Outcome<i64> {
    let sql = "SELECT id FROM metadef_namespaces WHERE namespace = ? FOR UPDATE";
    let id = session.first(sql, vec![namespace.bound()], |cells| cells.next())?;
    let gone = || Failure::Domain(Error::NotFound(format!("Namespace {namespace} not found")));
    id.ok_or_else(gone)
}

/// `column, created_at, id`, all in one direction.
fn order(column: &str, direction: Direction) -> String {
    let mut columns = vec![column];
    columns.extend(["created_at", "id"].into_iter().filter(|tie| *tie != column));
    let word = direction.word();
    columns.iter().map(|column| format!("{column} {word}")).collect::<Vec<_>>().join(", ")
}

/// A part of what was found in order, from behind the marker on: `(name, wanted)`.
fn cut<T>(ordered: Vec<(String, bool, T)>, marker: Option<&str>, limit: Option<u64>) -> Vec<T> {
    let is_marker = |(name, _, _): &(String, bool, T)| marker == Some(name);
    let start = ordered.iter().position(is_marker).map_or(0, |at| at + 1);
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let wanted = ordered.into_iter().skip(start).filter(|(_, wanted, _)| *wanted);
    wanted.map(|(_, _, found)| found).take(limit).collect()
}
