//! `GET /v2/images`: from a query string to a query, and from images to a page with links.

mod filters;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::status::Fault;
use super::wire::View;
use crate::catalog::model::MemberStatus;
use crate::catalog::model::{Image, ImageId};
use crate::catalog::query::{Column, Direction, Filter, ImageQuery, Viewer};
use crate::identity::RequestContext;
use crate::images::options::Options;

/// What Glance sorts by, with its words.
const SORT_KEYS: &[(&str, Column)] = &[
    ("name", Column::Name),
    ("status", Column::Status),
    ("container_format", Column::ContainerFormat),
    ("disk_format", Column::DiskFormat),
    ("size", Column::Size),
    ("id", Column::Id),
    ("created_at", Column::CreatedAt),
    ("updated_at", Column::UpdatedAt),
];

/// A query string's parameters in order; a name may come several times.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The last value, which is the one that counts.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Every value, in order and without blanks around.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.trim())
    }

    /// Each name once, where it came first, with its last value.
    pub(super) fn distinct(&self) -> Vec<(&str, &str)> {
        let mut distinct: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &self.0 {
            match distinct.iter_mut().find(|(known, _)| known == name) {
                Some((_, last)) => *last = value,
                None => distinct.push((name, value)),
            }
        }
        distinct
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// As Python's `quote_plus`.
pub(super) fn encode(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const UNSAFE: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~').remove(b' ');
    utf8_percent_encode(text, UNSAFE).to_string().replace(' ', "+")
}

/// A listing that was asked for.
pub(super) struct Listing {
    /// What to ask the core.
    pub(super) query: ImageQuery,
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
        let mut query = ImageQuery::all_for(Viewer::of(ctx));
        query.member_status = member_status(&parameters)?;
        filters::apply(&parameters, &mut query)?;
        query.limit = Some(limit(&parameters, options)?);
        query.sort = sort(&parameters)?;
        query.marker = parameters.get("marker").map(marker).transpose()?;
        query.filters.extend(parameters.all("tag").map(|tag| Filter::Tag(tag.to_string())));
        let kept = parameters.distinct().into_iter().filter(|(name, _)| *name != "marker");
        let link = kept.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        Ok(Self { query, link: link.collect::<Vec<_>>().join("&") })
    }

    /// The answer.
    pub(super) fn page<'a>(&'a self, images: &'a [Image], options: &'a Options) -> Page<'a> {
        Page { listing: self, images, options }
    }

    fn first(&self) -> String {
        match self.link.as_str() {
            "" => "/v2/images".to_string(),
            link => format!("/v2/images?{link}"),
        }
    }

    /// A full page has, as far as one can tell, another one behind it.
    fn next(&self, images: &[Image]) -> Option<String> {
        let last = images.last()?;
        if self.query.limit != Some(images.len() as u64) {
            return None;
        }
        let link = match self.link.as_str() {
            "" => String::new(),
            link => format!("{link}&"),
        };
        Some(format!("/v2/images?{link}marker={}", last.id))
    }
}

/// A page of images with its links.
pub(super) struct Page<'a> {
    listing: &'a Listing,
    images: &'a [Image],
    options: &'a Options,
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let admin = matches!(self.listing.query.viewer, Viewer::Admin { .. });
        let options = self.options;
        let views = self.images.iter().map(|image| View { image, options, admin });
        map.serialize_entry("images", &views.collect::<Vec<_>>())?;
        map.serialize_entry("first", &self.listing.first())?;
        map.serialize_entry("schema", "/v2/schemas/images")?;
        if let Some(next) = self.listing.next(self.images) {
            map.serialize_entry("next", &next)?;
        }
        map.end()
    }
}

fn marker(text: &str) -> Result<ImageId, Fault> {
    text.parse().map_err(|_| Fault::bad_request(format!("No image found with ID {text}")))
}

pub(super) fn limit(parameters: &Parameters, options: &Options) -> Result<u64, Fault> {
    let Some(text) = parameters.get("limit") else {
        return Ok(options.limit_param_default.min(options.api_limit_max));
    };
    let limit: i128 =
        text.trim().parse().map_err(|_| Fault::bad_request("limit param must be an integer"))?;
    if limit < 0 {
        return Err(Fault::bad_request("limit param must be positive"));
    }
    Ok(u64::try_from(limit).unwrap_or(u64::MAX).min(options.api_limit_max))
}

fn member_status(parameters: &Parameters) -> Result<Option<MemberStatus>, Fault> {
    match parameters.get("member_status") {
        None => Ok(Some(MemberStatus::Accepted)),
        Some("all") => Ok(None),
        Some(other) => match other.parse() {
            Ok(status) => Ok(Some(status)),
            Err(_) => Err(Fault::bad_request(format!("Invalid status: {other}"))),
        },
    }
}

/// The whole order.  `created_at` and `id` end it if they are not in it, in the direction that was
/// asked for when there was only one.
fn sort(parameters: &Parameters) -> Result<Vec<(Column, Direction)>, Fault> {
    let (mut keys, mut directions) = match parameters.get("sort") {
        Some(sort) => new_style_sort(parameters, sort)?,
        None => old_style_sort(parameters)?,
    };
    if keys.is_empty() {
        keys.push(Column::CreatedAt);
    }
    if directions.is_empty() {
        directions.push(Direction::Descending);
    }
    let mut rest = Direction::Descending;
    if let [only] = directions[..] {
        rest = only;
        directions.resize(keys.len(), only);
    }
    let mut sort: Vec<_> = keys.into_iter().zip(directions).collect();
    for column in [Column::CreatedAt, Column::Id] {
        if !sort.iter().any(|(known, _)| *known == column) {
            sort.push((column, rest));
        }
    }
    Ok(sort)
}

type Sort = (Vec<Column>, Vec<Direction>);

/// `sort=name:asc,size:desc`
fn new_style_sort(parameters: &Parameters, sort: &str) -> Result<Sort, Fault> {
    if parameters.get("sort_key").is_some() || parameters.get("sort_dir").is_some() {
        return Err(Fault::bad_request("Old and new sorting syntax cannot be combined"));
    }
    let mut parsed = Sort::default();
    for part in sort.trim().split(',') {
        let (key, direction) = part.split_once(':').unwrap_or((part, ""));
        parsed.0.push(sort_key(key.trim())?);
        parsed.1.push(match direction {
            "" => Direction::Descending,
            direction => sort_direction(direction.trim())?,
        });
    }
    Ok(parsed)
}

/// `sort_key=name&sort_dir=asc&sort_key=size&sort_dir=desc`
fn old_style_sort(parameters: &Parameters) -> Result<Sort, Fault> {
    let keys = parameters.all("sort_key").map(sort_key).collect::<Result<Vec<_>, _>>()?;
    let directions =
        parameters.all("sort_dir").map(sort_direction).collect::<Result<Vec<_>, _>>()?;
    if directions.len() > 1 && directions.len() != keys.len() {
        return Err(Fault::bad_request(
            "Number of sort dirs does not match the number of sort keys",
        ));
    }
    Ok((keys, directions))
}

fn sort_key(name: &str) -> Result<Column, Fault> {
    let known = SORT_KEYS.iter().find(|(known, _)| *known == name);
    known.map(|(_, column)| *column).ok_or_else(|| {
        let available: Vec<_> = SORT_KEYS.iter().map(|(name, _)| *name).collect();
        Fault::bad_request(format!(
            "Invalid sort key: {name}. It must be one of the following: {}.",
            available.join(", ")
        ))
    })
}

pub(super) fn sort_direction(name: &str) -> Result<Direction, Fault> {
    match name {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        _ => Err(Fault::bad_request(format!("Invalid sort direction: {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(query: &str) -> Result<Listing, Fault> {
        Listing::parse(query, &RequestContext::operator(), &Options::default())
    }

    #[test]
    fn links_keep_the_query_but_not_the_marker() {
        let id = ImageId::random();
        let listing = listing(&format!("a=1&marker={id}&name=x+y%2Cz&a=2&limit=1")).unwrap();
        assert_eq!(listing.first(), "/v2/images?a=2&name=x+y%2Cz&limit=1");
        let image = Image::new(ImageId::random(), None);
        let next = listing.next(std::slice::from_ref(&image)).unwrap();
        assert_eq!(next, format!("{}&marker={}", listing.first(), image.id));
        assert_eq!(listing.next(&[]), None);
    }

    #[test]
    fn one_direction_goes_for_all_keys_and_the_ties() {
        use Direction::{Ascending, Descending};
        let sort = |query| listing(query).unwrap().query.sort;
        let both = sort("sort_key=name&sort_key=size&sort_dir=asc");
        assert!(both.iter().all(|(_, direction)| *direction == Ascending) && both.len() == 4);
        let two = sort("sort=name:asc,size");
        assert_eq!(
            two,
            [
                (Column::Name, Ascending),
                (Column::Size, Descending),
                (Column::CreatedAt, Descending),
                (Column::Id, Descending),
            ]
        );
        assert_eq!(sort("")[0], (Column::CreatedAt, Descending));
    }

    #[test]
    fn limits_stay_within_the_operators() {
        let limit = |query| listing(query).map(|listing| listing.query.limit);
        assert_eq!(limit("").unwrap(), Some(25));
        assert_eq!(limit("limit=0").unwrap(), Some(0));
        assert_eq!(limit("limit=99999999999999999999999").unwrap(), Some(1000));
        assert!(limit("limit=-1").is_err() && limit("limit=x").is_err());
    }
}
