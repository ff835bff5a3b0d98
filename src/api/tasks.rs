//! `/v2/tasks`, `/v2/tasks/{id}`, and the tasks of an image: `/v2/images/{id}/tasks`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::caller::Caller;
use super::listing::{Parameters, encode, limit, sort_direction};
use super::router::{NoBody, PathId, Shared, resource};
use super::status::Fault;
use super::{address, wire};
use crate::catalog::model::Timestamp;
use crate::catalog::query::{Direction, Viewer};
use crate::catalog::tasks::{Task, TaskColumn, TaskKind, TaskQuery, TaskStatus};
use crate::error::Error;
use crate::identity::{ProjectId, RequestContext};
use crate::images::options::Options;
use crate::images::policy::Action;

/// What a list can be ordered by and, but for times, filtered by.
const COLUMNS: &[(&str, TaskColumn)] = &[
    ("id", TaskColumn::Id),
    ("type", TaskColumn::Kind),
    ("status", TaskColumn::Status),
    ("owner", TaskColumn::Owner),
    ("image_id", TaskColumn::Image),
    ("request_id", TaskColumn::Request),
    ("user_id", TaskColumn::User),
    ("expires_at", TaskColumn::ExpiresAt),
    ("created_at", TaskColumn::CreatedAt),
    ("updated_at", TaskColumn::UpdatedAt),
];

const NEVER_DELETED: &str = "This operation is currently not permitted on Glance Tasks. They are \
     auto deleted after reaching the time based on their expires_at property.";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/tasks", resource("GET, POST", get(list).post(create)))
        .route("/tasks/{id}", resource("GET, DELETE", get(show).delete(delete)))
        .route("/images/{id}/tasks", resource("GET", get(of_image)))
}

async fn list(State(api): State<Shared>, Caller(ctx): Caller, uri: Uri) -> Result<Response, Fault> {
    api.images.policy().check_service(&ctx, Action::TasksApiAccess)?;
    let listing = Listing::parse(uri.query().unwrap_or_default(), &ctx, api.images.options())?;
    let query = listing.query.clone();
    let images = Arc::clone(&api.images);
    let found = api.bridge.call(move || images.tasks(&ctx, &query)).await;
    let found = found.map_err(|error| match error {
        // The one thing that a listing can miss is its marker, and that was the client's.
        Error::NotFound(text) => Error::Invalid(text),
        other => other,
    })?;
    Ok(wire::json(&listing.page(&found)))
}

async fn create(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    api.images.policy().check_service(&ctx, Action::TasksApiAccess)?;
    let body = wire::read_json(&headers, body, &api.settings).await?;
    for name in ["type", "input"] {
        if body.get(name).is_none() {
            return Err(Fault::bad_request(format!("Task '{name}' is required")));
        }
    }
    api.schemas.check_task(&body)?;
    let kind: TaskKind = body["type"].as_str().unwrap_or_default().parse()?;
    let input = body["input"].as_object().cloned().unwrap_or_default();
    let images = Arc::clone(&api.images);
    let task = api.bridge.call(move || images.create_task(&ctx, kind, input)).await?;
    let mut response = wire::json(&whole(&task));
    *response.status_mut() = StatusCode::CREATED;
    let url = format!("{}{}", address::url_of(&headers, &api.settings), href(&task));
    if let Ok(url) = HeaderValue::try_from(url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    Ok(response)
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    api.images.policy().check_service(&ctx, Action::TasksApiAccess)?;
    let missing = |_| Fault::not_found(format!("Could not find task {}", id.text));
    let task = id.text.parse().map_err(missing)?;
    let images = Arc::clone(&api.images);
    let task = api.bridge.call(move || images.task(&ctx, task)).await?;
    Ok(wire::json(&whole(&task)))
}

async fn delete(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    _: PathId,
) -> Result<Response, Fault> {
    api.images.policy().check_service(&ctx, Action::TasksApiAccess)?;
    Err(Fault::never_allowed("GET", NEVER_DELETED))
}

async fn of_image(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let image = id.text.parse().map_err(|_| Fault::no_resource())?;
    let images = Arc::clone(&api.images);
    let tasks = api.bridge.call(move || images.tasks_of(&ctx, image)).await;
    let tasks = tasks.map_err(|error| match error {
        Error::NotFound(_) => Fault::no_resource(),
        other => other.into(),
    })?;
    let rows: Vec<Value> = tasks.iter().map(row).collect();
    Ok(wire::json(&json!({ "tasks": rows })))
}

/// A listing that was asked for.
struct Listing {
    query: TaskQuery,
    /// The query string without the marker, for the links.
    link: String,
}

impl Listing {
    fn parse(query: &str, ctx: &RequestContext, options: &Options) -> Result<Self, Fault> {
        let parameters = Parameters::parse(query);
        let direction = parameters.get("sort_dir").map(sort_direction).transpose()?;
        let filters = filters(&parameters)?;
        let marker = parameters.get("marker").filter(|marker| !marker.is_empty());
        let marker = marker
            .map(|marker| marker.parse().map_err(|_| Fault::bad_request("Invalid marker format")));
        let query = TaskQuery {
            filters,
            direction: direction.unwrap_or(Direction::Descending),
            marker: marker.transpose()?,
            limit: Some(limit(&parameters, options)?),
            sort: sort_key(&parameters)?,
            ..TaskQuery::all_for(Viewer::of(ctx))
        };
        let kept = parameters.distinct().into_iter().filter(|(name, _)| *name != "marker");
        let link = kept.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        Ok(Self { query, link: link.collect::<Vec<_>>().join("&") })
    }

    /// The answer.  A full page has, as far as one can tell, another one behind it.
    fn page(&self, tasks: &[Task]) -> Value {
        let link = self.link.as_str();
        let with = |mark: &str, and: &str| match link {
            "" => String::new(),
            link => format!("{mark}{link}{and}"),
        };
        let mut page = Map::new();
        page.insert("tasks".to_string(), tasks.iter().map(line).map(Value::Object).collect());
        page.insert("first".to_string(), format!("/v2/tasks{}", with("?", "")).into());
        page.insert("schema".to_string(), "/v2/schemas/tasks".into());
        let full = self.query.limit == Some(tasks.len() as u64);
        if let Some(last) = tasks.last().filter(|_| full) {
            let next = format!("/v2/tasks?{}marker={}", with("", "&"), last.id);
            page.insert("next".to_string(), next.into());
        }
        Value::Object(page)
    }
}

fn filters(parameters: &Parameters) -> Result<Vec<(TaskColumn, String)>, Fault> {
    let given = |name| parameters.get(name).filter(|word| !word.is_empty());
    if let Some(word) = given("status")
        && word.parse::<TaskStatus>().is_err()
    {
        return Err(Fault::bad_request(format!("Invalid status value: {word}")));
    }
    // Glance was never taught the newer types.
    if let Some(word) = given("type").filter(|word| *word != TaskKind::Import.as_str()) {
        return Err(Fault::bad_request(format!("Invalid type value: {word}")));
    }
    let texts = COLUMNS.iter().filter(|(name, _)| !name.ends_with("_at"));
    let filters = texts.filter_map(|(name, column)| Some((*column, given(name)?.to_string())));
    Ok(filters.collect())
}

fn sort_key(parameters: &Parameters) -> Result<TaskColumn, Fault> {
    let Some(wanted) = parameters.get("sort_key") else { return Ok(TaskColumn::CreatedAt) };
    let found = COLUMNS.iter().find(|(name, _)| *name == wanted).map(|(_, column)| *column);
    found.ok_or_else(|| Fault::bad_request("Sort key supplied was not valid."))
}

fn href(task: &Task) -> String {
    format!("/v2/tasks/{}", task.id)
}

fn owner(task: &Task) -> &str {
    task.owner.as_ref().map_or("", ProjectId::as_str)
}

/// A task's line in a list.
fn line(task: &Task) -> Map<String, Value> {
    let mut line = Map::new();
    let mut show = |name: &str, value: Value| line.insert(name.to_string(), value);
    show("id", task.id.to_string().into());
    show("type", task.kind.as_str().into());
    show("status", task.status.as_str().into());
    show("owner", owner(task).into());
    show("created_at", task.created_at.to_wire().into());
    show("updated_at", task.updated_at.to_wire().into());
    show("self", href(task).into());
    show("schema", "/v2/schemas/task".into());
    if let Some(end) = task.expires_at {
        show("expires_at", end.to_wire().into());
    }
    line
}

/// All of a task, by itself.
fn whole(task: &Task) -> Map<String, Value> {
    let mut shown = line(task);
    let mut show = |name: &str, value: Value| shown.insert(name.to_string(), value);
    show("input", task.input.clone().into());
    show("message", task.message.as_str().into());
    show("result", task.result.clone().map_or(Value::Null, Value::Object));
    let image = task.image.map(|id| id.to_string());
    for (name, value) in
        [("image_id", &image), ("request_id", &task.request_id), ("user_id", &task.user)]
    {
        if let Some(value) = value {
            show(name, value.as_str().into());
        }
    }
    shown
}

/// A task of an image.  Glance shows the row of its database, as Python writes it.
fn row(task: &Task) -> Value {
    let time = |time: Timestamp| time.to_database().replace(' ', "T");
    json!({
        "id": task.id.to_string(),
        "type": task.kind.as_str(),
        "status": task.status.as_str(),
        "owner": owner(task),
        "expires_at": task.expires_at.map(time),
        "created_at": time(task.created_at),
        "updated_at": time(task.updated_at),
        "deleted_at": null,
        "deleted": false,
        "image_id": task.image.map(|id| id.to_string()),
        "request_id": task.request_id,
        "user_id": task.user,
        "input": task.input,
        "result": task.result,
        "message": task.message,
    })
}
