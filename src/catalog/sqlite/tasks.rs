//! Tasks in the database, and the property of an image that says which of them has it to itself.

use rusqlite::types::{FromSqlError, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::Map;

use super::values::json_array;
use super::{SqliteCatalog, write};
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::catalog::query::{Direction, Viewer};
use crate::catalog::tasks::{
    LOCK_PROPERTY, Task, TaskCatalog, TaskColumn, TaskId, TaskQuery, TaskStatus,
};
use crate::error::{Error, Result};
use crate::identity::ProjectId;

const COLUMNS: &str = "id, type, status, owner, expires_at, created_at, \
     coalesce(updated_at, created_at) AS changed_at, image_id, request_id, user_id, \
     input, result, message";

impl TaskCatalog for SqliteCatalog {
    fn insert_task(&self, task: &Task) -> Result<()> {
        self.write(|transaction| insert(transaction, task).map(|()| true)).map(drop)
    }

    fn task(&self, id: TaskId) -> Result<Option<Task>> {
        self.read(|transaction| {
            let sql = format!(
                "SELECT {COLUMNS} FROM tasks LEFT JOIN task_info ON task_id = id \
                 WHERE id = ?1 AND deleted = 0"
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            Ok(statement.query_row([id], read).optional()?)
        })
    }

    fn tasks(&self, query: &TaskQuery) -> Result<Vec<Task>> {
        self.read(|transaction| list(transaction, query))
    }

    fn save_task(&self, task: &Task, from: &[TaskStatus]) -> Result<bool> {
        self.write(|transaction| save(transaction, task, from))
    }

    fn expire_tasks(&self, now: Timestamp) -> Result<usize> {
        let mut expired = 0;
        self.write(|transaction| {
            expired = transaction
                .prepare_cached(
                    "UPDATE tasks SET deleted = 1, deleted_at = ?1 \
                     WHERE deleted = 0 AND expires_at <= ?1",
                )?
                .execute([now])?;
            Ok(expired > 0)
        })?;
        Ok(expired)
    }

    fn lock_image(&self, image: ImageId, task: TaskId) -> Result<bool> {
        self.write(|transaction| {
            // A name occurs once for an image, deleted or not: a deleted one comes back to life.
            let locked = transaction
                .prepare_cached(
                    "INSERT INTO image_properties (image_id, name, value, created_at, deleted) \
                     SELECT id, ?2, ?3, ?4, 0 FROM images WHERE id = ?1 AND +deleted = 0 \
                     ON CONFLICT (image_id, name) DO UPDATE \
                     SET value = ?3, updated_at = ?4, deleted = 0, deleted_at = NULL \
                     WHERE deleted <> 0",
                )?
                .execute(params![image, LOCK_PROPERTY, task, Timestamp::now()])?;
            Ok(locked > 0)
        })
    }

    fn unlock_image(&self, image: ImageId, holder: &str) -> Result<bool> {
        self.write(|transaction| {
            let unlocked = transaction
                .prepare_cached(
                    "DELETE FROM image_properties \
                     WHERE image_id = ?1 AND name = ?2 AND value = ?3 AND +deleted = 0",
                )?
                .execute(params![image, LOCK_PROPERTY, holder])?;
            Ok(unlocked > 0)
        })
    }

    fn save_locked(&self, task: TaskId, old: &Image, new: &Image, from: &[Status]) -> Result<bool> {
        self.write(|transaction| {
            let holds = transaction
                .prepare_cached(
                    "SELECT 1 FROM image_properties \
                     WHERE image_id = ?1 AND name = ?2 AND value = ?3 AND +deleted = 0",
                )?
                .exists(params![new.id, LOCK_PROPERTY, task])?;
            Ok(holds && write::save(transaction, old, new, from, self.location_key())?)
        })
    }
}

fn insert(connection: &Connection, task: &Task) -> Result<()> {
    let taken = || format!("Task ID {} already exists!", task.id);
    connection
        .prepare_cached(
            "INSERT INTO tasks (id, type, status, owner, expires_at, created_at, updated_at, \
             deleted, image_id, request_id, user_id) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
        )?
        .execute(params![
            task.id,
            task.kind,
            task.status,
            task.owner.as_ref().map_or("", ProjectId::as_str),
            task.expires_at,
            task.created_at,
            task.updated_at,
            task.image,
            task.request_id,
            task.user,
        ])
        .map_err(super::metadefs::taken(taken))?;
    connection
        .prepare_cached(
            "INSERT INTO task_info (task_id, input, result, message) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![task.id, json(&task.input), result(task), task.message])?;
    Ok(())
}

fn save(connection: &Connection, task: &Task, from: &[TaskStatus]) -> Result<bool> {
    let from = json_array(from.iter().map(|status| status.as_str()));
    let matched = connection
        .prepare_cached(
            "UPDATE tasks SET status = ?2, expires_at = ?3, updated_at = ?4 \
             WHERE id = ?1 AND deleted = 0 AND status IN (SELECT value FROM json_each(?5))",
        )?
        .execute(params![task.id, task.status, task.expires_at, task.updated_at, from])?;
    if matched == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached("UPDATE task_info SET result = ?2, message = ?3 WHERE task_id = ?1")?
        .execute(params![task.id, result(task), task.message])?;
    Ok(true)
}

/// Every row is given its place in the order before any is left out: so a marker does its work
/// although the query itself would not find it, and NULL is nothing special.
fn list(connection: &Connection, query: &TaskQuery) -> Result<Vec<Task>> {
    let marker = query.marker.map(|marker| exists(connection, marker)).transpose()?;
    let column = column(query.sort);
    let way = match query.direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    let mut sql = format!(
        "WITH placed AS (SELECT *, row_number() OVER (ORDER BY {column} {way}, created_at {way}, \
         id {way}) AS place FROM tasks WHERE deleted = 0) \
         SELECT {COLUMNS} FROM placed LEFT JOIN task_info ON task_id = id \
         WHERE place > coalesce((SELECT place FROM placed WHERE id = ?), 0) \
         AND (expires_at IS NULL OR expires_at > ?)"
    );
    let text = |text: &str| Value::Text(text.to_string());
    let marker = marker.map_or(Value::Null, |marker| text(&marker.to_string()));
    let mut values = vec![marker, text(&query.now.to_database())];
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Project(project) => {
            sql.push_str(" AND owner = ?");
            values.push(text(project.as_str()));
        }
        Viewer::Nobody => sql.push_str(" AND owner = ''"),
    }
    for (filtered, wanted) in &query.filters {
        sql.push_str(&format!(" AND {} = ?", self::column(*filtered)));
        values.push(text(wanted));
    }
    sql.push_str(" ORDER BY place LIMIT ?");
    // SQLite: a negative limit is none.
    values.push(query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)).into());
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The marker, if there is such a task.
fn exists(connection: &Connection, marker: TaskId) -> Result<TaskId> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM tasks WHERE id = ?1 AND deleted = 0")?;
    let missing = || Error::NotFound(format!("Could not find task {marker}"));
    statement.exists([marker])?.then_some(marker).ok_or_else(missing)
}

const fn column(column: TaskColumn) -> &'static str {
    match column {
        TaskColumn::Id => "id",
        TaskColumn::Kind => "type",
        TaskColumn::Status => "status",
        TaskColumn::Owner => "owner",
        TaskColumn::Image => "image_id",
        TaskColumn::Request => "request_id",
        TaskColumn::User => "user_id",
        TaskColumn::ExpiresAt => "expires_at",
        TaskColumn::CreatedAt => "created_at",
        TaskColumn::UpdatedAt => "updated_at",
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Task> {
    let owner: String = row.get("owner")?;
    // What POST /v2/tasks names as an image need not be one.
    let image: Option<String> = row.get("image_id")?;
    Ok(Task {
        id: row.get("id")?,
        kind: row.get("type")?,
        status: row.get("status")?,
        owner: Some(owner).filter(|owner| !owner.is_empty()).map(ProjectId::new),
        image: image.and_then(|id| id.parse().ok()),
        request_id: row.get("request_id")?,
        user: row.get("user_id")?,
        input: object(row, "input")?.unwrap_or_default(),
        result: object(row, "result")?,
        message: row.get::<_, Option<String>>("message")?.unwrap_or_default(),
        expires_at: row.get("expires_at")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("changed_at")?,
    })
}

/// A JSON object, NULL, or `null`.
fn object(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Map<String, serde_json::Value>>> {
    let Some(text) = row.get::<_, Option<String>>(name)? else { return Ok(None) };
    serde_json::from_str(&text).map_err(|error| FromSqlError::other(error).into())
}

fn json(object: &Map<String, serde_json::Value>) -> String {
    serde_json::Value::Object(object.clone()).to_string()
}

fn result(task: &Task) -> Option<String> {
    task.result.as_ref().map(json)
}
