//! Light rows for a listing of everything.

use std::collections::HashMap;
use std::iter::once;

use mysql::Value;

use super::failure::Outcome;
use super::session::Session;
use super::values::{Bound, Cells, one_of};
use crate::catalog::location_key::LocationKey;
use crate::catalog::model::{ImageId, Row, Timestamp};
use crate::error::Result;

/// Light rows; all of them, or those of some ids.
///
/// Three passes that are joined here: the server's own join would look every image up in more
/// trees, and send the long ids more often.
pub(super) fn rows(
    session: &mut Session<'_>,
    ids: Option<&[ImageId]>,
    time_property: &str,
    key: Option<&LocationKey>,
) -> Outcome<Vec<Row>> {
    let wanted = ids.map(|ids| one_of(ids.iter().map(ImageId::as_str)));
    let mut rows = bare_rows(session, wanted.as_ref())?;
    let places: HashMap<_, _> = rows.iter().enumerate().map(|(at, row)| (row.id, at)).collect();
    let mut each = |sql: &str, value: &str, set: &dyn Fn(&mut Row, Box<str>)| -> Outcome<()> {
        let (some, values) = match &wanted {
            Some((list, values)) => (format!(" AND image_id {list}"), values.clone()),
            None => (String::new(), Vec::new()),
        };
        let values = once(value.bound()).chain(values).collect();
        session.each(
            &format!("{sql} AND deleted + 0 = 0{some} ORDER BY id"),
            values,
            |mut cells| {
                // An id that does not parse was left out above.
                let id = cells.next::<ImageId>().ok();
                let row = id.and_then(|id| places.get(&id)).and_then(|at| rows.get_mut(*at));
                if let (Some(row), Some(text)) = (row, cells.next()?) {
                    set(row, text);
                }
                Ok(())
            },
        )
    };
    each(
        "SELECT image_id, value FROM image_properties WHERE name = ?",
        time_property,
        &|row, text| row.mtime = Some(text),
    )?;
    each(
        "SELECT image_id, value FROM image_locations WHERE status = ?",
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
fn bare_rows(
    session: &mut Session<'_>,
    wanted: Option<&(String, Vec<Value>)>,
) -> Outcome<Vec<Row>> {
    let mut sql = String::from(
        "SELECT id, name, owner, size, status, visibility, protected, os_hidden, created_at, \
         updated_at FROM images WHERE deleted + 0 = 0",
    );
    let mut values = Vec::new();
    if let Some((list, ids)) = wanted {
        sql.push_str(&format!(" AND id {list}"));
        values.clone_from(ids);
    }
    let mut rows = Vec::new();
    session.each(&sql, values, |mut cells| {
        let id: String = cells.next()?;
        match light_row(&id, &mut cells) {
            Ok(row) => rows.push(row),
            // One record that nobody can read must not hide all others.
            Err(error) => {
                tracing::warn!(image = id, %error, "left out an image that cannot be read");
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

fn light_row(id: &str, cells: &mut Cells) -> Result<Row> {
    // The fields are read as they are written here: in the order of the columns.
    let mut row = Row {
        id: id.parse()?,
        name: cells.next()?,
        owner: cells.next()?,
        size: cells.next::<Option<u64>>()?.unwrap_or_default(),
        status: cells.next()?,
        visibility: cells.next()?,
        protected: cells.next()?,
        os_hidden: cells.next()?,
        created_at: cells.next()?,
        updated_at: Timestamp::from_micros(0),
        mtime: None,
        location: None,
    };
    row.updated_at = cells.next::<Option<_>>()?.unwrap_or(row.created_at);
    Ok(row)
}
