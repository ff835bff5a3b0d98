//! Reading whole images out of the database.
//!
//! Each function is called within one transaction, so that a record and what belongs to it are of
//! the same moment.

use mysql::Value;

use super::belongings;
use super::failure::{Failure, Outcome};
use super::select;
use super::session::Session;
use super::values::{Bound, Cells, one_of};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Timestamp};
use crate::catalog::query::ImageQuery;
use crate::catalog::{Summary, Tallied, Tally};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// What [`record`] reads, in its order.
const COLUMNS: &str = "id, name, size, virtual_size, status, visibility, disk_format, \
     container_format, checksum, os_hash_algo, os_hash_value, owner, min_disk, min_ram, protected, \
     os_hidden, created_at, COALESCE(updated_at, created_at)";

/// The image with this id.
pub(super) fn get(
    session: &mut Session<'_>,
    id: ImageId,
    key: Option<&LocationKey>,
) -> Outcome<Option<Image>> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ? AND deleted = 0");
    let mut image = session.first(&sql, vec![id.bound()], image)?;
    if let Some(image) = &mut image {
        belongings::read(session, &mut [image], key)?;
    }
    Ok(image)
}

/// One page; the images without what belongs to them.
pub(super) fn page(session: &mut Session<'_>, query: &ImageQuery) -> Outcome<Vec<Image>> {
    let marker = query.marker.map(|id| marker(session, query, id)).transpose()?;
    let select = select::page(COLUMNS, query, marker);
    session.all(&select.sql, select.values, image)
}

fn marker(session: &mut Session<'_>, query: &ImageQuery, id: ImageId) -> Outcome<Vec<Value>> {
    let select = select::marker(query, id);
    let keys = query.order().len();
    let read = |cells: &mut Cells| (0..keys).map(|_| cells.next()).collect::<Result<Vec<Value>>>();
    let found = session.first(&select.sql, select.values, read)?;
    found.ok_or_else(|| Error::Invalid(Error::no_image(id).to_string()).into())
}

/// The image without what belongs to it.
fn image(cells: &mut Cells) -> Result<Image> {
    let id: String = cells.next()?;
    record(&id, cells).map_err(|error| Error::Catalog(format!("image {id}: {error}")))
}

fn record(id: &str, cells: &mut Cells) -> Result<Image> {
    // The fields are read as they are written here: in the order of the columns.
    Ok(Image {
        id: id.parse()?,
        name: cells.next()?,
        size: cells.next()?,
        virtual_size: cells.next()?,
        status: cells.next()?,
        visibility: cells.next()?,
        disk_format: cells.next()?,
        container_format: cells.next()?,
        checksum: cells.next()?,
        os_hash_algo: cells.next()?,
        os_hash_value: cells.next()?,
        owner: cells.next()?,
        min_disk: cells.next::<Option<u64>>()?.unwrap_or_default(),
        min_ram: cells.next::<Option<u64>>()?.unwrap_or_default(),
        protected: cells.next()?,
        os_hidden: cells.next()?,
        created_at: cells.next()?,
        updated_at: cells.next()?,
        properties: Default::default(),
        tags: Default::default(),
        locations: Vec::new(),
    })
}

/// Whether a project is a member of an image, whatever it made of that.
pub(super) fn is_member(
    session: &mut Session<'_>,
    id: ImageId,
    project: &ProjectId,
) -> Outcome<bool> {
    let sql = "SELECT 1 FROM image_members WHERE image_id = ? AND member = ? AND deleted + 0 = 0";
    session.exists(sql, vec![id.bound(), project.bound()])
}

/// Ids of images shared with a project that accepted them.
pub(super) fn shared_with(session: &mut Session<'_>, project: &ProjectId) -> Outcome<Vec<ImageId>> {
    let sql = "SELECT DISTINCT i.id FROM image_members AS m JOIN images AS i ON i.id = m.image_id \
         WHERE m.member = ? AND m.status = 'accepted' AND m.deleted + 0 = 0 \
         AND CONCAT(i.visibility) = 'shared' AND i.deleted + 0 = 0";
    session.all(sql, vec![project.bound()], |cells| cells.next())
}

/// The catalog as a whole.
pub(super) fn summary(session: &mut Session<'_>) -> Outcome<Summary> {
    let sql = "SELECT (SELECT COUNT(*) FROM images WHERE deleted = 0), MAX(updated_at) FROM images";
    let read = |cells: &mut Cells| {
        let images = cells.next()?;
        Ok::<_, Error>(Summary { images, newest: cells.next::<Option<Timestamp>>()? })
    };
    let found = session.first(sql, Vec::new(), read)?;
    found.ok_or_else(|| Failure::Domain(Error::Catalog("a sum has no row".to_string())))
}

/// What the images of an owner take.
pub(super) fn storage_usage(
    session: &mut Session<'_>,
    owner: Option<&ProjectId>,
    except: &[ImageId],
) -> Outcome<u64> {
    let (list, mut values) = one_of(except.iter().map(ImageId::as_str));
    let but = if except.is_empty() { String::new() } else { format!("AND id NOT {list}") };
    let sql = format!(
        "SELECT COALESCE(SUM(size * (SELECT COUNT(*) FROM image_locations AS l \
         WHERE l.image_id = i.id AND l.status <> 'deleted')), 0) FROM images AS i \
         WHERE owner <=> ? AND deleted + 0 = 0 AND size > 0 \
         AND status NOT IN ('killed', 'deleted', 'pending_delete') {but}"
    );
    values.insert(0, owner.bound());
    Ok(session.first(&sql, values, |cells| cells.next())?.unwrap_or_default())
}

/// How many images an owner has that are counted in a sense, and their sizes.
pub(super) fn tally(
    session: &mut Session<'_>,
    owner: Option<&ProjectId>,
    which: Tallied,
    except: &[ImageId],
) -> Outcome<Tally> {
    let (list, mut values) = one_of(except.iter().map(ImageId::as_str));
    let but = if except.is_empty() { String::new() } else { format!("AND id NOT {list}") };
    // An image that has data is copied to the stores that this property names.
    let copied = "EXISTS (SELECT 1 FROM image_properties AS p WHERE p.image_id = i.id \
         AND p.name = 'os_glance_importing_to_stores' AND p.value <> '')";
    let counted = match which {
        Tallied::There => "1".to_owned(),
        Tallied::Coming => format!("(status IN ('saving', 'uploading', 'importing') OR {copied})"),
        Tallied::Staged => format!("(status IN ('uploading', 'importing') OR {copied})"),
    };
    let sql = format!(
        "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM images AS i \
         WHERE owner <=> ? AND deleted + 0 = 0 \
         AND status NOT IN ('killed', 'deleted', 'pending_delete') AND {counted} {but}"
    );
    values.insert(0, owner.bound());
    let read =
        |cells: &mut Cells| Ok::<_, Error>(Tally { images: cells.next()?, bytes: cells.next()? });
    Ok(session.first(&sql, values, read)?.unwrap_or_default())
}

/// Where images other than `except` have data, if the URL contains `name` or anything encoded.
pub(super) fn locations_of_others(
    session: &mut Session<'_>,
    except: ImageId,
    name: &str,
    key: Option<&LocationKey>,
) -> Outcome<Vec<String>> {
    let all = "SELECT value FROM image_locations WHERE deleted + 0 = 0 AND image_id <> ?";
    let Some(key) = key else {
        let sql = format!("{all} AND (INSTR(value, ?) > 0 OR INSTR(value, '%') > 0)");
        return session.all(&sql, vec![except.bound(), name.bound()], |cells| cells.next());
    };
    // What is encrypted says nothing to the server.
    let mut found: Vec<String> = session
        .all(all, vec![except.bound()], |cells| LocationKey::read(Some(key), cells.next()?))?;
    found.retain(|url| url.contains(name) || url.contains('%'));
    Ok(found)
}
