//! Tasks in the database, and the property of an image that says which of them has it to itself.

use serde_json::Map;

use super::failure::{Failure, Outcome};
use super::schema::Schema;
use super::session::Session;
use super::values::{Bound, Cells, WORDS, one_of};
use super::{MysqlCatalog, write};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::catalog::query::Viewer;
use crate::catalog::tasks::{
    LOCK_PROPERTY, Task, TaskCatalog, TaskColumn, TaskId, TaskQuery, TaskStatus,
};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

impl TaskCatalog for MysqlCatalog {
    fn insert_task(&self, task: &Task) -> Result<()> {
        self.write(|session| insert(session, self.schema, task).map(|()| true)).map(drop)
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.read(|session| {
            let sql = format!("{} WHERE id = ? AND deleted = 0", select(self.schema));
            session.first(&sql, vec![id.bound()], read)
        })
    }

    fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>> {
        self.read(|session| list(session, self.schema, query))
    }

    fn save_task(&self, task: &Task, from: &[TaskStatus]) -> Result<bool> {
        self.write(|session| save(session, task, from))
    }

    fn expire_tasks(&self, now: Timestamp) -> Result<usize> {
        let mut expired = 0;
        self.write(|session| {
            expired = session.execute(
                "UPDATE tasks SET deleted = 1, deleted_at = ? WHERE deleted = 0 AND expires_at <= ?",
                vec![now.bound(), now.bound()],
            )?;
            Ok(expired > 0)
        })?;
        Ok(usize::try_from(expired).unwrap_or(usize::MAX))
    }

    fn lock_image(&self, image: ImageId, task: TaskId) -> Result<bool> {
        self.write(|session| lock(session, image, task))
    }

    fn unlock_image(&self, image: ImageId, holder: &str) -> Result<bool> {
        self.write(|session| {
            let sql = "DELETE FROM image_properties \
                 WHERE image_id = ? AND name = ? AND value = ? AND deleted + 0 = 0";
            let values = vec![image.bound(), LOCK_PROPERTY.bound(), holder.bound()];
            Ok(session.execute(sql, values)? > 0)
        })
    }

    fn save_locked(&self, task: TaskId, old: &Image, new: &Image, from: &[Status]) -> Result<bool> {
        self.write(|session| {
            let sql = "SELECT 1 FROM image_properties \
                 WHERE image_id = ? AND name = ? AND value = ? AND deleted + 0 = 0 FOR UPDATE";
            let values = vec![new.id.bound(), LOCK_PROPERTY.bound(), task.bound()];
            Ok(session.exists(sql, values)?
                && write::save(session, old, new, from, self.location_key())?)
        })
    }
}

fn lock(session: &mut Session<'_>, image: ImageId, task: TaskId) -> Outcome<bool> {
    let sql = "SELECT 1 FROM images WHERE id = ? AND deleted = 0 FOR UPDATE";
    if !session.exists(sql, vec![image.bound()])? {
        return Ok(false);
    }
    let sql = "SELECT deleted FROM image_properties WHERE image_id = ? AND name = ? FOR UPDATE";
    let values = vec![image.bound(), LOCK_PROPERTY.bound()];
    let deleted: Option<bool> = session.first(sql, values, |cells| cells.next())?;
    // A name occurs once for an image, deleted or not: a deleted one comes back to life.
    let sql = match deleted {
        Some(false) => return Ok(false),
        Some(true) => {
            "UPDATE image_properties SET value = ?, updated_at = ?, deleted = 0, \
             deleted_at = NULL WHERE image_id = ? AND name = ?"
        }
        None => {
            "INSERT INTO image_properties (value, created_at, image_id, name, deleted) \
             VALUES (?, ?, ?, ?, 0)"
        }
    };
    let now = Timestamp::now();
    let values = vec![task.bound(), now.bound(), image.bound(), LOCK_PROPERTY.bound()];
    match session.execute(sql, values) {
        Ok(_) => Ok(true),
        // Glance takes the lock without taking the image's row.
        Err(failure) if failure.is_duplicate() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// What stands before `WHERE`, and is read by [`read`].  Before Wallaby a task did not say which
/// image, request and user it was of.
fn select(schema: Schema) -> String {
    let named = match schema.tasks_name_images {
        true => "image_id, request_id, user_id",
        false => "NULL AS image_id, NULL AS request_id, NULL AS user_id",
    };
    format!(
        "SELECT id, type, status, owner, expires_at, created_at, \
         COALESCE(updated_at, created_at), {named}, input, result, message \
         FROM tasks LEFT JOIN task_info ON task_id = id"
    )
}

fn insert(session: &mut Session<'_>, schema: Schema, task: &Task) -> Outcome<()> {
    let taken = || format!("Task ID {} already exists!", task.id);
    let mut columns = "id, type, status, owner, expires_at, created_at, updated_at".to_string();
    let mut values = vec![
        task.id.bound(),
        task.kind.as_str().bound(),
        task.status.as_str().bound(),
        task.owner.as_ref().map_or("", ProjectId::as_str).bound(),
        task.expires_at.bound(),
        task.created_at.bound(),
        task.updated_at.bound(),
    ];
    if schema.tasks_name_images {
        columns.push_str(", image_id, request_id, user_id");
        let of = [task.image.bound(), task.request_id.as_ref().bound(), task.user.as_ref().bound()];
        values.extend(of);
    }
    let places = "?, ".repeat(values.len());
    let sql = format!("INSERT INTO tasks ({columns}, deleted) VALUES ({places}0)");
    session.execute(&sql, values).map_err(Failure::taken(taken))?;
    session.execute(
        "INSERT INTO task_info (task_id, input, result, message) VALUES (?, ?, ?, ?)",
        vec![
            task.id.bound(),
            json(&task.input).bound(),
            result(task).bound(),
            task.message.as_str().bound(),
        ],
    )?;
    Ok(())
}

fn save(session: &mut Session<'_>, task: &Task, from: &[TaskStatus]) -> Outcome<bool> {
    let (list, statuses) = one_of(from.iter().map(|status| status.as_str()));
    let sql = format!(
        "UPDATE tasks SET status = ?, expires_at = ?, updated_at = ? \
         WHERE id = ? AND deleted = 0 AND status {list}"
    );
    let mut values = vec![
        task.status.as_str().bound(),
        task.expires_at.bound(),
        task.updated_at.bound(),
        task.id.bound(),
    ];
    values.extend(statuses);
    if session.execute(&sql, values)? == 0 {
        return Ok(false);
    }
    session.execute(
        "UPDATE task_info SET result = ?, message = ? WHERE task_id = ?",
        vec![result(task).bound(), task.message.as_str().bound(), task.id.bound()],
    )?;
    Ok(true)
}

/// The order is the server's, and where the page begins is found here: a marker does its work
/// although the query itself would not find it, and NULL is nothing special.  (Servers of Rocky's
/// time have no window functions.)
fn list(session: &mut Session<'_>, schema: Schema, query: &TaskQuery) -> Outcome<Vec<Task>> {
    if let Some(marker) = query.marker {
        require(session, marker)?;
    }
    let (column, way) = (column(schema, query.sort), query.direction.word());
    let mut sql = String::from("SELECT id, (expires_at IS NULL OR expires_at > ?)");
    let mut values = vec![query.now.to_database().bound()];
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Project(project) => {
            sql.push_str(" AND owner = ?");
            values.push(project.bound());
        }
        Viewer::Nobody => sql.push_str(" AND owner = ''"),
    }
    for (filtered, wanted) in &query.filters {
        sql.push_str(&format!(" AND COALESCE({} = ?, 0)", self::column(schema, *filtered)));
        values.push(wanted.bound());
    }
    sql.push_str(&format!(
        " FROM tasks WHERE deleted = 0 ORDER BY {column} {way}, created_at {way}, id {way}"
    ));
    let ordered: Vec<(String, bool)> = session
        .all(&sql, values, |cells: &mut Cells| Ok::<_, Error>((cells.next()?, cells.next()?)))?;
    let marker = query.marker.map(|marker| marker.to_string());
    let start = marker.and_then(|marker| ordered.iter().position(|(id, _)| *id == marker));
    let limit =
        query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let after = ordered.into_iter().skip(start.map_or(0, |at| at + 1));
    let page: Vec<_> = after.filter(|(_, wanted)| *wanted).map(|(id, _)| id).take(limit).collect();
    of_ids(session, schema, &page)
}

/// The tasks of these ids, in this order.
fn of_ids(session: &mut Session<'_>, schema: Schema, ids: &[String]) -> Outcome<Vec<Task>> {
    let mut found = Vec::new();
    for some in ids.chunks(WORDS) {
        let (list, values) = one_of(some.iter().map(String::as_str));
        found.extend(session.all(&format!("{} WHERE id {list}", select(schema)), values, read)?);
    }
    found.sort_by_cached_key(|task: &Task| {
        let id = task.id.to_string();
        ids.iter().position(|wanted| *wanted == id)
    });
    Ok(found)
}

/// Refuses a marker that is no task.
fn require(session: &mut Session<'_>, marker: TaskId) -> Outcome<()> {
    let sql = "SELECT 1 FROM tasks WHERE id = ? AND deleted = 0";
    match session.exists(sql, vec![marker.bound()])? {
        true => Ok(()),
        false => Err(Error::NotFound(format!("Could not find task {marker}")).into()),
    }
}

const fn column(schema: Schema, column: TaskColumn) -> &'static str {
    match column {
        TaskColumn::Id => "id",
        TaskColumn::Kind => "type",
        TaskColumn::Status => "status",
        TaskColumn::Owner => "owner",
        TaskColumn::ExpiresAt => "expires_at",
        TaskColumn::CreatedAt => "created_at",
        TaskColumn::UpdatedAt => "updated_at",
        _ if !schema.tasks_name_images => "NULL",
        TaskColumn::Image => "image_id",
        TaskColumn::Request => "request_id",
        TaskColumn::User => "user_id",
    }
}

fn read(cells: &mut Cells) -> Result<Task> {
    // The fields are read as they are written here: in the order of the columns.
    let (id, kind, status) = (cells.next()?, cells.next()?, cells.next()?);
    let owner: String = cells.next()?;
    let (expires_at, created_at, updated_at) = (cells.next()?, cells.next()?, cells.next()?);
    // What POST /v2/tasks names as an image need not be one.
    let image: Option<String> = cells.next()?;
    Ok(Task {
        id,
        kind,
        status,
        owner: Some(owner).filter(|owner| !owner.is_empty()).map(ProjectId::new),
        image: image.and_then(|id| id.parse().ok()),
        request_id: cells.next()?,
        user: cells.next()?,
        input: object(cells)?.unwrap_or_default(),
        result: object(cells)?,
        message: cells.next::<Option<String>>()?.unwrap_or_default(),
        expires_at,
        created_at,
        updated_at,
    })
}

/// A JSON object, NULL, or `null`.
fn object(cells: &mut Cells) -> Result<Option<Map<String, serde_json::Value>>> {
    let Some(text) = cells.next::<Option<String>>()? else { return Ok(None) };
    serde_json::from_str(&text)
        .map_err(|error| Error::Catalog(format!("a task is recorded as no JSON object: {error}")))
}

fn json(object: &Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(object.clone()).to_string()
}

fn result(task: &Task) -> Option<String> {
    task.result.as_ref().map(json)
}
