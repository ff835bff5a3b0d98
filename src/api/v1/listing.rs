//! `/v1/images` and `/v1/images/detail`: the filters of the old API in those of today's.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::meta;
use crate::api::caller::Caller;
use crate::api::listing::{Listing, Parameters, encode};
use crate::api::router::Shared;
use crate::api::status::Fault;
use crate::api::wire;
use crate::catalog::model::Visibility;
use crate::catalog::query::{Column, Filter, VisibilityFilter};
use crate::error::Error;
use crate::identity::RequestContext;

/// What the short listing shows of an image.
const INDEX: &[&str] = &["id", "name", "disk_format", "container_format", "size", "checksum"];

/// Parameters that mean the same today.
const SAME: &[&str] = &[
    "limit",
    "marker",
    "sort_key",
    "sort_dir",
    "name",
    "status",
    "container_format",
    "disk_format",
    "min_ram",
    "min_disk",
    "size_min",
    "size_max",
    "protected",
];

pub(super) async fn index(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    uri: Uri,
) -> Result<Response, Fault> {
    let mut images = list(&api, ctx, &uri).await?;
    for image in &mut images {
        image.retain(|name, _| INDEX.contains(&name.as_str()));
    }
    Ok(wire::json(&json!({ "images": images })))
}

pub(super) async fn detail(
    State(api): State<Shared>,
    Caller(ctx): Caller,
    uri: Uri,
) -> Result<Response, Fault> {
    Ok(wire::json(&json!({ "images": list(&api, ctx, &uri).await? })))
}

async fn list(
    api: &Shared,
    ctx: RequestContext,
    uri: &Uri,
) -> Result<Vec<Map<String, Value>>, Fault> {
    let parameters = Parameters::parse(uri.query().unwrap_or_default());
    let (ctx, only_private) = view(ctx, parameters.get("is_public"));
    let mut query = Listing::parse(&today(&parameters), &ctx, api.images.options())?.query;
    if only_private {
        let others = [Visibility::Private, Visibility::Shared, Visibility::Community];
        let others = others.map(|visibility| visibility.as_str().to_owned()).to_vec();
        query.visibility = VisibilityFilter::All;
        query.filters.push(Filter::OneOf(Column::Visibility, others));
    }
    let images = Arc::clone(&api.images);
    let found = api.bridge.call(move || images.list(&ctx, query)).await;
    let found = found.map_err(|error| match error {
        // The one thing that a listing can miss is its marker, and that was the client's.
        Error::NotFound(text) => Error::Invalid(text),
        other => other,
    })?;
    Ok(found.iter().map(meta::shown).collect())
}

/// The query string of today's API.  What neither API knows does nothing, as in the old one.
fn today(parameters: &Parameters) -> String {
    let translated = parameters.distinct().into_iter().filter_map(|(name, value)| {
        let value = encode(value);
        match name {
            "changes-since" => Some(format!("updated_at=gte:{value}")),
            name if SAME.contains(&name) => Some(format!("{name}={value}")),
            name => Some(format!("{}={value}", encode(name.strip_prefix("property-")?))),
        }
    });
    translated.collect::<Vec<_>>().join("&")
}

/// Whose view is listed, and whether without what is public.  Glance: an administrator sees what a
/// member of its project would, unless `is_public` asks for others; to anybody else that means nothing.
fn view(ctx: RequestContext, is_public: Option<&str>) -> (RequestContext, bool) {
    let word = is_public.map(str::to_ascii_lowercase);
    match (&ctx.project, word.as_deref()) {
        _ if !ctx.admin => (ctx, false),
        (_, Some("none")) => (ctx, false),
        (_, Some("false" | "0" | "no" | "off" | "f" | "n")) => (ctx, true),
        (Some(project), _) => (RequestContext::member_of(project.clone()), false),
        // The operator, who has no project, has all.
        (None, _) => (ctx, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ProjectId;

    #[test]
    fn filters_are_translated() {
        let of = |query| today(&Parameters::parse(query));
        assert_eq!(of("limit=20&name=a+b&is_public=None&deleted=x"), "limit=20&name=a+b");
        assert_eq!(of("property-os=x%26y&size_min=5"), "os=x%26y&size_min=5");
        assert_eq!(of("changes-since=2026-01-01"), "updated_at=gte:2026-01-01");
    }

    #[test]
    fn an_administrator_sees_others_images_only_when_asked() {
        let project = Some(ProjectId::new("p"));
        let admin = RequestContext { project, ..RequestContext::operator() };
        assert!(!view(admin.clone(), None).0.admin);
        assert!(view(admin.clone(), Some("None")).0.admin);
        assert!(view(admin, Some("False")).1);
        assert!(view(RequestContext::operator(), None).0.admin);
        let member = RequestContext::member_of(ProjectId::new("p"));
        assert!(!view(member, Some("False")).1);
    }
}
