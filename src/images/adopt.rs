//! Records for data that a store holds and no record names.
//!
//! The data stays where it is and is only read: hashes, size and format come from it.  What a
//! record names, in whatever state, is never touched, and neither is what looks like an upload
//! that is not complete.  This needs no journal, since a record is made at once or not at all, and
//! so may be done beside a running daemon.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::digest::{Digester, Digests};
use super::{Options, format, quota};
use crate::catalog::Catalog;
use crate::catalog::model::{Image, ImageId, Status};
use crate::catalog::pending::PendingQuery;
use crate::error::{Error, Result};
use crate::identity::ProjectId;
use crate::store::{ImageReader, Store};

/// Bytes that are read at once: a few objects of an RBD image, which are read side by side.
const PIECE: usize = 16 << 20;

/// Data that can be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name in the store.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The id that the record will have: the name, if it is one.
    pub id: ImageId,
}

/// Data that no record names and that is not adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What a store holds, held against the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How much of it records name.
    pub recorded: usize,
    /// What can be adopted, in the order of names.
    pub orphans: Vec<Orphan>,
    /// What cannot, in the order of names.
    pub left: Vec<LeftAlone>,
}

/// Makes records for data.
pub struct Adoption {
    catalog: Arc<dyn Catalog>,
    options: Options,
    owner: Option<ProjectId>,
}

impl Adoption {
    /// Records go to `catalog` and belong to `owner`.
    pub fn new(catalog: Arc<dyn Catalog>, options: Options, owner: Option<ProjectId>) -> Self {
        Self { catalog, options, owner }
    }

    /// Looks at everything that a store holds.  Reads no data.
    ///
    /// # Errors
    /// The catalog's and the store's.
    pub fn survey(&self, store: &dyn Store) -> Result<Survey> {
        // The store first: what is recorded meanwhile is then in the catalog, not the other way.
        let mut stored = store.list()?;
        let named = self.named_in(store)?;
        stored.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let mut survey = Survey::default();
        for item in stored {
            if named.contains(&item.name) {
                survey.recorded += 1;
                continue;
            }
            match self.orphan(&item.name, item.url)? {
                Ok(orphan) => survey.orphans.push(orphan),
                Err(reason) => survey.left.push(LeftAlone { name: item.name, reason }),
            }
        }
        Ok(survey)
    }

    /// Makes the record of an orphan.  `progress` is told of the bytes that were looked at.
    ///
    /// # Errors
    /// `Conflict` when the id belonged to an image that was deleted, or the data is still being
    /// written; `FormatMismatch` for data that is unsafe to use; the store's and the catalog's.
    pub fn adopt(
        &self,
        store: &dyn Store,
        orphan: &Orphan,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Image> {
        let reader = store.open(&orphan.url)?;
        let mut image = Image::new(orphan.id, self.owner.clone());
        image.name = Some(orphan.name.clone());
        image.container_format = Some("bare".to_string());
        self.judge(&mut image, &*reader)?;
        let digests = digest(&*reader, &self.options, progress)?;
        if store.open(&orphan.url)?.size() != reader.size() {
            return Err(Error::Conflict(format!("{} is still being written", orphan.name)));
        }
        image.checksum = Some(digests.checksum);
        image.os_hash_algo = Some(digests.os_hash_algo);
        image.os_hash_value = Some(digests.os_hash_value);
        image.status = Status::Active;
        image.locations.push(self.options.location(&orphan.url, store));
        quota::check(&image, &self.options)?;
        // As an upload would have left it: an image that others can clone.
        store.offer(&orphan.url)?;
        self.catalog.insert(&image).map_err(|error| match error {
            Error::Conflict(_) => Error::Conflict(format!(
                "its name is the id of an image that was deleted: {}",
                orphan.name
            )),
            error => error,
        })?;
        Ok(image)
    }

    /// The names, inside a store, of all that records name, those of deleted images included whose data
    /// is still to be removed.
    fn named_in(&self, store: &dyn Store) -> Result<HashSet<String>> {
        let mut named = HashSet::new();
        for row in self.catalog.rows(None, super::TIME_PROPERTY)? {
            let Some(image) = self.catalog.get(row.id)? else { continue };
            named.extend(image.locations.iter().filter_map(|place| store.name_in(&place.url)));
        }
        for image in self.catalog.pending(&PendingQuery::everything())? {
            let Some((_, urls)) = self.catalog.pending_image(image.id)? else { continue };
            named.extend(urls.iter().filter_map(|url| store.name_in(url)));
        }
        Ok(named)
    }

    /// What is to be done with something that no location names: adopt it, or why not.
    fn orphan(&self, name: &str, url: Option<String>) -> Result<Result<Orphan, String>> {
        let id = name.parse::<ImageId>().ok();
        if let Some(id) = id
            && let Some(image) = self.catalog.get(id)?
        {
            return Ok(Err(format!("its name is the id of an image that is {}", image.status)));
        }
        let Some(url) = url else {
            return Ok(Err("it looks like an upload that is not complete".to_string()));
        };
        let id = id.unwrap_or_else(ImageId::random);
        Ok(Ok(Orphan { name: name.to_string(), url, id }))
    }

    /// Size and format, as the data has them.
    fn judge(&self, image: &mut Image, reader: &dyn ImageReader) -> Result<()> {
        let size = reader.size();
        if size == 0 {
            return Err(Error::Invalid("it is empty".to_string()));
        }
        let inspection =
            format::inspect(size, &mut |offset, buffer| reader.read_at(offset, buffer))?;
        let format = format::disk_format_for(&inspection, image.name.as_deref());
        self.options.format_rules.check(format, &inspection)?;
        image.disk_format = Some(format.to_string());
        image.size = Some(size);
        image.virtual_size = inspection.virtual_size_as(format);
        Ok(())
    }
}

/// Hashes all of an image; what is a hole is not read.
fn digest(
    reader: &dyn ImageReader,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<Digests> {
    let mut digester = Digester::new(options.hashing_algorithm);
    for_each_piece(reader, |offset, data| {
        digester.update_zeros(offset - digester.taken())?;
        digester.update(data)?;
        progress(digester.taken());
        Ok(())
    })?;
    digester.update_zeros(reader.size() - digester.taken())?;
    digester.finish()
}

/// Reads all data of an image in order, in pieces, with their offsets; holes are left out.
///
/// # Errors
/// The store's, and those of `take`.
pub fn for_each_piece(
    reader: &dyn ImageReader,
    mut take: impl FnMut(u64, Bytes) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    while let Some(data) = reader.next_data(at)? {
        let end = reader.next_hole(data)?.max(data + 1).min(reader.size());
        at = data;
        while at < end {
            let length = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
            let mut buffer = vec![0; length];
            let read = reader.read_at(at, &mut buffer)?;
            if read == 0 {
                let what = format!("the data ends at {at}, before its size");
                return Err(Error::StoreUnavailable(what));
            }
            buffer.truncate(read);
            take(at, Bytes::from(buffer))?;
            at += read as u64;
        }
    }
    Ok(())
}
