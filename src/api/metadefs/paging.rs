//! What a query string asks of a list of definitions.

use serde_json::{Map, Value};

use crate::api::listing::{Parameters, encode, limit, sort_direction};
use crate::api::status::Fault;
use crate::catalog::metadefs::{NamespaceColumn, NamespaceQuery, Page, TagColumn};
use crate::catalog::query::{Direction, Viewer};
use crate::identity::RequestContext;
use crate::images::options::Options;

const NAMESPACE_SORT_KEYS: &[(&str, NamespaceColumn)] = &[
    ("id", NamespaceColumn::Id),
    ("namespace", NamespaceColumn::Name),
    ("display_name", NamespaceColumn::DisplayName),
    ("description", NamespaceColumn::Description),
    ("visibility", NamespaceColumn::Visibility),
    ("protected", NamespaceColumn::Protected),
    ("owner", NamespaceColumn::Owner),
    ("created_at", NamespaceColumn::CreatedAt),
    ("updated_at", NamespaceColumn::UpdatedAt),
];

const TAG_SORT_KEYS: &[(&str, TagColumn)] = &[
    ("id", TagColumn::Id),
    ("name", TagColumn::Name),
    ("created_at", TagColumn::CreatedAt),
    ("updated_at", TagColumn::UpdatedAt),
];

/// A listing of namespaces that was asked for.
pub(super) struct Listing {
    pub(super) query: NamespaceQuery,
    /// The query string without the marker, for the links.
    link: String,
}

impl Listing {
    pub(super) fn parse(
        query: &str,
        ctx: &RequestContext,
        options: &Options,
    ) -> Result<Self, Fault> {
        let parameters = Parameters::parse(query);
        let public = visibility(&parameters, &["public", "private"])?;
        let types = parameters.get("resource_types");
        let query = NamespaceQuery {
            viewer: Viewer::of(ctx),
            public: public.map(|visibility| visibility == "public"),
            resource_types: types.map(|types| types.split(',').map(str::to_string).collect()),
            page: Page {
                sort: sort_key(&parameters, NAMESPACE_SORT_KEYS, NamespaceColumn::CreatedAt)?,
                direction: direction(&parameters)?,
                marker: marker(&parameters),
                limit: Some(limit(&parameters, options)?),
            },
        };
        let kept = parameters.distinct().into_iter().filter(|(name, _)| *name != "marker");
        let link = kept.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        Ok(Self { query, link: link.collect::<Vec<_>>().join("&") })
    }

    /// The answer.  A full page has, as far as one can tell, another one behind it.
    pub(super) fn page(&self, namespaces: Vec<Map<String, Value>>) -> Value {
        const PATH: &str = "/v2/metadefs/namespaces";
        let mut page = Map::new();
        let full = self.query.page.limit == Some(namespaces.len() as u64);
        let last = namespaces.last().and_then(|last| last["namespace"].as_str()).map(encode);
        page.insert("namespaces".to_string(), namespaces.into_iter().collect());
        let link = self.link.as_str();
        if let Some(last) = last.filter(|_| full) {
            let and = if link.is_empty() { "" } else { "&" };
            page.insert("next".to_string(), format!("{PATH}?{link}{and}marker={last}").into());
        }
        page.insert("schema".to_string(), "/v2/schemas/metadefs/namespaces".into());
        let mark = if link.is_empty() { "" } else { "?" };
        page.insert("first".to_string(), format!("{PATH}{mark}{link}").into());
        Value::Object(page)
    }
}

/// The page of tags that was asked for.
pub(super) fn tags(query: &str, options: &Options) -> Result<Page<TagColumn>, Fault> {
    let parameters = Parameters::parse(query);
    visibility(&parameters, &["public", "private", "shared"])?;
    let limited = parameters.get("limit").filter(|limit| !limit.is_empty());
    Ok(Page {
        sort: sort_key(&parameters, TAG_SORT_KEYS, TagColumn::CreatedAt)?,
        direction: direction(&parameters)?,
        marker: marker(&parameters),
        limit: limited.map(|_| limit(&parameters, options)).transpose()?,
    })
}

/// Glance checks what is asked of a list of objects, and then shows all of them.
pub(super) fn check_objects(query: &str, options: &Options) -> Result<(), Fault> {
    let parameters = Parameters::parse(query);
    visibility(&parameters, &["public", "private", "shared"])?;
    direction(&parameters)?;
    if parameters.get("limit").is_some() && limit(&parameters, options)? == 0 {
        return Err(Fault::bad_request("limit param must be positive"));
    }
    Ok(())
}

/// The type of resources as which properties are to be shown.
pub(super) fn resource_type(query: &str) -> Result<Option<String>, Fault> {
    let parameters = Parameters::parse(query);
    visibility(&parameters, &["public", "private"])?;
    Ok(parameters.get("resource_type").filter(|name| !name.is_empty()).map(str::to_string))
}

fn visibility<'a>(parameters: &'a Parameters, known: &[&str]) -> Result<Option<&'a str>, Fault> {
    match parameters.get("visibility").filter(|word| !word.is_empty()) {
        Some(word) if !known.contains(&word) => {
            Err(Fault::bad_request(format!("Invalid visibility value: {word}")))
        }
        word => Ok(word),
    }
}

fn marker(parameters: &Parameters) -> Option<String> {
    parameters.get("marker").filter(|name| !name.is_empty()).map(str::to_string)
}

fn direction(parameters: &Parameters) -> Result<Direction, Fault> {
    parameters.get("sort_dir").map_or(Ok(Direction::Descending), sort_direction)
}

fn sort_key<Column: Copy>(
    parameters: &Parameters,
    known: &[(&str, Column)],
    usual: Column,
) -> Result<Column, Fault> {
    let Some(wanted) = parameters.get("sort_key") else { return Ok(usual) };
    let found = known.iter().find(|(name, _)| *name == wanted).map(|(_, column)| *column);
    found.ok_or_else(|| {
        let available: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        Fault::bad_request(format!(
            "Invalid sort key: {wanted}. It must be one of the following: {}.",
            available.join(", ")
        ))
    })
}
