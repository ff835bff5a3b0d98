//! Reading images out of the database, whole or as light rows.
//!
//! Each function is called within one read transaction, so that a record and what belongs to it
//! are of the same moment.

use std::collections::HashMap;
use std::iter::once;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params_from_iter};

use super::select;
use super::values::{Unsigned, json_array};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{Image, ImageId, Row, Timestamp};
use crate::catalog::query::ImageQuery;
use crate::catalog::{Summary, Tallied, Tally};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

/// What [`record`] reads, by name.
const COLUMNS: &str = "id, name, size, virtual_size, status, visibility, disk_format, \
     container_format, checksum, os_hash_algo, os_hash_value, owner, min_disk, min_ram, protected, \
     os_hidden, created_at, coalesce(updated_at, created_at) AS changed_at";

/// The image with this id.
pub(super) fn get(
    connection: &Connection,
    id: ImageId,
    key: Option<&LocationKey>,
) -> Result<Option<Image>> {
    let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?1 AND +deleted = 0");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut images = statement.query_and_then([id], image)?.collect::<Result<Vec<_>>>()?;
    add_belongings(connection, &mut images, key)?;
    Ok(images.pop())
}

/// One page.
pub(super) fn list(
    connection: &Connection,
    query: &ImageQuery,
    key: Option<&LocationKey>,
) -> Result<Vec<Image>> {
    let marker = query.marker.map(|id| marker(connection, query, id)).transpose()?;
    let select = select::page(COLUMNS, query, marker);
    let mut statement = connection.prepare_cached(&select.sql)?;
    let mut images = statement
        .query_and_then(params_from_iter(select.values), image)?
        .collect::<Result<Vec<_>>>()?;
    add_belongings(connection, &mut images, key)?;
    Ok(images)
}

fn marker(connection: &Connection, query: &ImageQuery, id: ImageId) -> Result<Vec<Value>> {
    let select = select::marker(query, id);
    let mut statement = connection.prepare_cached(&select.sql)?;
    let keys = statement.column_count();
    statement
        .query_row(params_from_iter(select.values), |row| (0..keys).map(|at| row.get(at)).collect())
        .optional()?
        .ok_or_else(|| Error::Invalid(Error::no_image(id).to_string()))
}

fn image(row: &SqlRow<'_>) -> Result<Image> {
    record(row).map_err(|error| {
        let id: String = row.get("id").unwrap_or_default();
        Error::Catalog(format!("image {id}: {error}"))
    })
}

/// The image without what belongs to it.
fn record(row: &SqlRow<'_>) -> rusqlite::Result<Image> {
    let bytes = |column| -> rusqlite::Result<_> {
        Ok(row.get::<_, Option<Unsigned>>(column)?.map(|number| number.0))
    };
    Ok(Image {
        id: row.get("id")?,
        name: row.get("name")?,
        size: bytes("size")?,
        virtual_size: bytes("virtual_size")?,
        status: row.get("status")?,
        visibility: row.get("visibility")?,
        disk_format: row.get("disk_format")?,
        container_format: row.get("container_format")?,
        checksum: row.get("checksum")?,
        os_hash_algo: row.get("os_hash_algo")?,
        os_hash_value: row.get("os_hash_value")?,
        owner: row.get("owner")?,
        min_disk: bytes("min_disk")?.unwrap_or_default(),
        min_ram: bytes("min_ram")?.unwrap_or_default(),
        protected: row.get("protected")?,
        os_hidden: row.get("os_hidden")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("changed_at")?,
        properties: Default::default(),
        tags: Default::default(),
        locations: Vec::new(),
    })
}

/// Fills in properties, tags and locations: one statement for each kind, however many images.
fn add_belongings(
    connection: &Connection,
    images: &mut [Image],
    key: Option<&LocationKey>,
) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let ids = json_array(images.iter().map(|image| image.id.as_str()));
    let mut images: HashMap<_, _> = images.iter_mut().map(|image| (image.id, image)).collect();
    let mut each = |sql: &str, add: &dyn Fn(&mut Image, &SqlRow<'_>) -> Result<()>| {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([&ids])?;
        while let Some(row) = rows.next()? {
            if let Some(image) = images.get_mut(&row.get(0)?) {
                add(image, row)?;
            }
        }
        Ok::<_, Error>(())
    };
    each(
        "SELECT image_id, name, value FROM image_properties \
         WHERE image_id IN (SELECT value FROM json_each(?1)) AND +deleted = 0",
        &|image, row| {
            let value: Option<String> = row.get(2)?;
            image.properties.insert(row.get(1)?, value.unwrap_or_default());
            Ok(())
        },
    )?;
    each(
        "SELECT image_id, value FROM image_tags \
         WHERE image_id IN (SELECT value FROM json_each(?1)) AND +deleted = 0",
        &|image, row| {
            image.tags.insert(row.get(1)?);
            Ok(())
        },
    )?;
    each(
        "SELECT image_id, value, meta_data, status FROM image_locations \
         WHERE image_id IN (SELECT value FROM json_each(?1)) AND +deleted = 0 ORDER BY id",
        &|image, row| {
            let location =
                LocationKey::location(key, image.id, row.get(1)?, row.get(2)?, row.get(3)?)?;
            image.locations.push(location);
            Ok(())
        },
    )
}

/// Restricts what belongs to images to those of some ids.
const SOME_IMAGES: &str = " AND image_id IN (SELECT value FROM json_each(?2))";

/// Light rows; all of them, or those of some ids.
///
/// Three passes that are joined here: SQLite's own join looks every image up in more trees, which
/// takes longer for a whole catalog.
pub(super) fn rows(
    connection: &Connection,
    ids: Option<&[ImageId]>,
    time_property: &str,
    key: Option<&LocationKey>,
) -> Result<Vec<Row>> {
    let wanted: Option<String> = ids.map(|ids| json_array(ids.iter().map(ImageId::as_str)));
    let mut rows = bare_rows(connection, wanted.as_deref())?;
    let places: HashMap<_, _> = rows.iter().enumerate().map(|(at, row)| (row.id, at)).collect();
    let mut each = |sql: &str, value: &str, set: &dyn Fn(&mut Row, Box<str>)| -> Result<()> {
        let some = if wanted.is_some() { SOME_IMAGES } else { "" };
        let mut statement = connection.prepare_cached(&format!("{sql}{some} ORDER BY id"))?;
        let mut found = statement.query(params_from_iter(once(value).chain(wanted.as_deref())))?;
        while let Some(next) = found.next()? {
            // An id that does not parse was left out above.
            let row =
                next.get(0).ok().and_then(|id| places.get(&id)).and_then(|at| rows.get_mut(*at));
            if let (Some(row), Some(text)) = (row, next.get(1)?) {
                set(row, text);
            }
        }
        Ok(())
    };
    each(
        "SELECT image_id, value FROM image_properties WHERE name = ?1 AND +deleted = 0",
        time_property,
        &|row, text| row.mtime = Some(text),
    )?;
    each(
        "SELECT image_id, value FROM image_locations WHERE status = ?1 AND +deleted = 0",
        "active",
        &|row, text| {
            // One that cannot be decrypted is as good as none in a listing.
            if row.location.is_none() {
                row.location = LocationKey::read(key, text.into()).ok().map(String::into);
            }
        },
    )?;
    Ok(rows)
}

/// The rows without time and location.
fn bare_rows(connection: &Connection, wanted: Option<&str>) -> Result<Vec<Row>> {
    let mut sql = String::from(
        "SELECT id, name, owner, size, status, visibility, protected, os_hidden, created_at, \
         updated_at FROM images WHERE +deleted = 0",
    );
    if wanted.is_some() {
        sql.push_str(" AND id IN (SELECT value FROM json_each(?1))");
    }
    let mut rows = Vec::new();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(wanted))?;
    while let Some(next) = found.next()? {
        match light_row(next) {
            Ok(row) => rows.push(row),
            // One record that nobody can read must not hide all others.
            Err(error) => {
                let id: String = next.get(0).unwrap_or_default();
                tracing::warn!(image = id, %error, "left out an image that cannot be read");
            }
        }
    }
    Ok(rows)
}

fn light_row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let created_at: Timestamp = row.get(8)?;
    Ok(Row {
        id: row.get(0)?,
        name: row.get(1)?,
        owner: row.get(2)?,
        size: row.get::<_, Option<Unsigned>>(3)?.map_or(0, |size| size.0),
        status: row.get(4)?,
        visibility: row.get(5)?,
        protected: row.get(6)?,
        os_hidden: row.get(7)?,
        created_at,
        updated_at: row.get::<_, Option<_>>(9)?.unwrap_or(created_at),
        mtime: None,
        location: None,
    })
}

/// Records stamped at or after `since`, with their stamps.
pub(super) fn changed_since(
    connection: &Connection,
    since: Timestamp,
) -> Result<Vec<(ImageId, Timestamp)>> {
    let sql = "SELECT id, updated_at FROM images WHERE updated_at >= ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let stamped = statement
        .query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(stamped)
}

/// Whether a project is a member of an image, whatever it made of that.
pub(super) fn is_member(connection: &Connection, id: ImageId, project: &ProjectId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM image_members \
         WHERE image_id = ?1 AND member = ?2 AND +deleted = 0)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row((id, project), |row| row.get(0))?)
}

/// Ids of images shared with a project that accepted them.
pub(super) fn shared_with(connection: &Connection, project: &ProjectId) -> Result<Vec<ImageId>> {
    let sql = "SELECT DISTINCT i.id FROM image_members AS m JOIN images AS i ON i.id = m.image_id \
         WHERE m.member = ?1 AND m.status = 'accepted' AND +m.deleted = 0 \
         AND +i.visibility = 'shared' AND +i.deleted = 0";
    ids(connection, sql, project)
}

fn ids(connection: &Connection, sql: &str, value: impl rusqlite::ToSql) -> Result<Vec<ImageId>> {
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map([value], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

/// The catalog as a whole.
pub(super) fn summary(connection: &Connection) -> Result<Summary> {
    let sql = "SELECT (SELECT count(*) FROM images WHERE deleted = 0), max(updated_at) FROM images";
    let summary = connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(Summary { images: row.get::<_, Unsigned>(0)?.0, newest: row.get(1)? })
    })?;
    Ok(summary)
}

/// What the images of an owner take.
pub(super) fn storage_usage(
    connection: &Connection,
    owner: Option<&ProjectId>,
    except: &[ImageId],
) -> Result<u64> {
    let sql = "SELECT coalesce(sum(size * (SELECT count(*) FROM image_locations AS l \
         WHERE l.image_id = i.id AND l.status != 'deleted')), 0) FROM images AS i \
         WHERE owner IS ?1 AND +deleted = 0 AND size > 0 \
         AND status NOT IN ('killed', 'deleted', 'pending_delete') \
         AND id NOT IN (SELECT value FROM json_each(?2))";
    let except = json_array(except.iter().map(ImageId::as_str));
    let owner = owner.map(ProjectId::as_str);
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row((owner, except), |row| row.get::<_, Unsigned>(0))?.0)
}

/// How many images an owner has that are counted in a sense, and their sizes.
pub(super) fn tally(
    connection: &Connection,
    owner: Option<&ProjectId>,
    which: Tallied,
    except: &[ImageId],
) -> Result<Tally> {
    // An image that has data is copied to the stores that this property names.
    let copied = "EXISTS (SELECT 1 FROM image_properties AS p WHERE p.image_id = i.id \
         AND p.name = 'os_glance_importing_to_stores' AND p.value != '')";
    let counted = match which {
        Tallied::There => "1".to_owned(),
        Tallied::Coming => format!("(status IN ('saving', 'uploading', 'importing') OR {copied})"),
        Tallied::Staged => format!("(status IN ('uploading', 'importing') OR {copied})"),
    };
    let sql = format!(
        "SELECT count(*), coalesce(sum(size), 0) FROM images AS i \
         WHERE owner IS ?1 AND +deleted = 0 AND status NOT IN ('killed', 'deleted', 'pending_delete') \
         AND {counted} AND id NOT IN (SELECT value FROM json_each(?2))"
    );
    let except = json_array(except.iter().map(ImageId::as_str));
    let owner = owner.map(ProjectId::as_str);
    let mut statement = connection.prepare_cached(&sql)?;
    let tally = statement.query_row((owner, except), |row| {
        Ok(Tally { images: row.get::<_, Unsigned>(0)?.0, bytes: row.get::<_, Unsigned>(1)?.0 })
    })?;
    Ok(tally)
}

/// Where images other than `except` have data, if the URL contains `name` or anything encoded.
pub(super) fn locations_of_others(
    connection: &Connection,
    except: ImageId,
    name: &str,
    key: Option<&LocationKey>,
) -> Result<Vec<String>> {
    if let Some(key) = key {
        return encrypted_locations_of_others(connection, except, name, key);
    }
    let mut statement = connection.prepare_cached(
        "SELECT value FROM image_locations WHERE +deleted = 0 AND image_id != ?1 \
         AND (instr(value, ?2) > 0 OR instr(value, '%') > 0)",
    )?;
    let urls = statement.query_map((except, name), |row| row.get(0))?;
    Ok(urls.collect::<rusqlite::Result<_>>()?)
}

/// What is encrypted says nothing to the database.
fn encrypted_locations_of_others(
    connection: &Connection,
    except: ImageId,
    name: &str,
    key: &LocationKey,
) -> Result<Vec<String>> {
    let sql = "SELECT value FROM image_locations WHERE +deleted = 0 AND image_id != ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let urls =
        statement.query_and_then([except], |row| LocationKey::read(Some(key), row.get(0)?))?;
    let mut found = urls.collect::<Result<Vec<_>>>()?;
    found.retain(|url| url.contains(name) || url.contains('%'));
    Ok(found)
}
