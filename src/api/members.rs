//! `/v2/images/{id}/members` and below: sharing.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::caller::Caller;
use super::router::{NoBody, PathId, Shared, path_parts, resource};
use super::status::Fault;
use super::wire;
use crate::catalog::model::{ImageId, Member, MemberStatus};
use crate::error::Error;
use crate::identity::ProjectId;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/images/{id}/members", resource("GET, POST", get(list).post(add))).route(
        "/images/{id}/members/{member}",
        resource("GET, PUT, DELETE", get(show).put(answer).delete(remove)),
    )
}

/// The project in the path.
struct PathMember(ProjectId);

impl<S: Send + Sync> FromRequestParts<S> for PathMember {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        match path_parts(parts, state).await?.pop() {
            Some((_, project)) => Ok(Self(ProjectId::new(project))),
            None => Err(Fault::no_resource()),
        }
    }
}

async fn list(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    _: NoBody,
) -> Result<Response, Fault> {
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let members = api.bridge.call(move || images.members(&ctx, image)).await;
    let members = members.map_err(|error| fault(&id, error))?;
    let members: Vec<Value> = members.iter().map(|member| view(image, member)).collect();
    Ok(wire::json(&json!({"members": members, "schema": "/v2/schemas/members"})))
}

async fn add(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = wire::read_json(&headers, body, &api.settings).await?;
    let project = match body.get("member") {
        None | Some(Value::Null) => {
            return Err(Fault::bad_request("Member to be added not specified"));
        }
        Some(Value::String(project)) if project.is_empty() => {
            return Err(Fault::bad_request("Member can't be empty"));
        }
        Some(Value::String(project)) if project.chars().count() > 255 => {
            return Err(Fault::bad_request("Invalid member format"));
        }
        Some(Value::String(project)) => ProjectId::new(project.as_str()),
        Some(_) => return Err(Fault::bad_request("Invalid member format")),
    };
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let added = api.bridge.call(move || images.add_member(&ctx, image, project)).await;
    let added = added.map_err(|error| match error {
        Error::OverQuota(text) => {
            Fault::too_large(format!("Image member limit exceeded for image {image}: {text}:"))
        }
        other => fault(&id, other),
    })?;
    Ok(wire::json(&view(image, &added)))
}

async fn show(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    PathMember(project): PathMember,
    _: NoBody,
) -> Result<Response, Fault> {
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let member = api.bridge.call(move || images.member(&ctx, image, &project)).await;
    Ok(wire::json(&view(image, &member.map_err(|error| fault(&id, error))?)))
}

async fn answer(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    PathMember(project): PathMember,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let body = wire::read_json(&headers, body, &api.settings).await?;
    let status = match body.get("status") {
        None => return Err(Fault::bad_request("Status not specified")),
        Some(status) => status.as_str().and_then(|status| status.parse::<MemberStatus>().ok()),
    };
    let status = status.ok_or_else(|| {
        Fault::bad_request(
            "Incorrect request: Status must be \"pending\", \"accepted\" or \"rejected\".",
        )
    })?;
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let changed = move || images.set_member_status(&ctx, image, &project, status);
    let member = api.bridge.call(changed).await.map_err(|error| fault(&id, error))?;
    Ok(wire::json(&view(image, &member)))
}

async fn remove(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    id: PathId,
    PathMember(project): PathMember,
    _: NoBody,
) -> Result<Response, Fault> {
    let image = id.parse(missing)?;
    let images = Arc::clone(&api.images);
    let removed = api.bridge.call(move || images.remove_member(&ctx, image, &project)).await;
    removed.map_err(|error| fault(&id, error))?;
    // Glance: without the type that its other empty answers have.
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn view(image: ImageId, member: &Member) -> Value {
    json!({
        "member_id": member.project.as_str(),
        "image_id": image.as_str(),
        "status": member.status.as_str(),
        "created_at": member.created_at.to_wire(),
        "updated_at": member.updated_at.to_wire(),
        "schema": "/v2/schemas/member",
    })
}

fn fault(id: &PathId, error: Error) -> Fault {
    match error {
        Error::NotFound(_) => Fault::not_found(missing(&id.text)),
        Error::Missing(text) => Fault::not_found(text),
        other => other.into(),
    }
}

fn missing(id: &str) -> String {
    format!("Image {id} not found.")
}
