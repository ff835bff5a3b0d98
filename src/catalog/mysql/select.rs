//! Turns an [`ImageQuery`] into SQL.  Text and bound values only: nothing here runs a statement.
//!
//! Text is compared as the columns' collation has it, which in Glance's tables takes `A` for `a`: a
//! filter finds what Glance's own would.
//!
//! `+ 0` and `CONCAT` keep the server from using a column's index: it would take the one of a column
//! with few values, and fetch and sort most of the catalog to show the newest 25, instead of walking
//! the index of the order.

use mysql::Value;

use super::values::{Bound, one_of};
use crate::catalog::model::{ImageId, MemberStatus, Visibility};
use crate::catalog::query::{Column, Direction, Filter, ImageQuery, Viewer, VisibilityFilter};
use crate::identity::ProjectId;

const OPEN: &str = "CONCAT(visibility) IN ('public', 'community')";

/// A statement and the values of its `?`, in order.
#[derive(Debug, PartialEq)]
pub(super) struct Select {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Select {
    fn new(sql: String) -> Self {
        Self { sql, values: Vec::new() }
    }

    fn push(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.push(" AND (", []);
        self.push(condition, values);
        self.push(")", []);
    }
}

/// The page that `query` asks for; `marker` holds the values that [`marker`] finds.
pub(super) fn page(columns: &str, query: &ImageQuery, marker: Option<Vec<Value>>) -> Select {
    // Glance never lists a killed image.
    let mut select = Select::new(format!(
        "SELECT {columns} FROM images WHERE deleted + 0 = 0 AND status <> 'killed'"
    ));
    visible(&mut select, query);
    if let Some(hidden) = query.hidden {
        select.and("os_hidden + 0 = ?", [hidden.bound()]);
    }
    for condition in &query.filters {
        filter(&mut select, condition);
    }
    let order = query.order();
    if let Some(values) = marker {
        let keys: Vec<_> = order.iter().copied().zip(values).collect();
        after(&mut select, &keys);
    }
    let terms: Vec<_> =
        order.iter().map(|key| format!("{} {}", sorted(key.0), key.1.word())).collect();
    select.push(&format!(" ORDER BY {}", terms.join(", ")), []);
    if let Some(limit) = query.limit {
        select.push(" LIMIT ?", [i64::try_from(limit).unwrap_or(i64::MAX).bound()]);
    }
    select
}

/// The marker's values of the sort keys; no row when the viewer may not know of it.
pub(super) fn marker(query: &ImageQuery, id: ImageId) -> Select {
    let keys: Vec<_> = query.order().iter().map(|key| sorted(key.0)).collect();
    let mut select = Select::new(format!("SELECT {} FROM images WHERE id = ?", keys.join(", ")));
    select.values.push(id.bound());
    select.and("deleted = 0", []);
    // Glance: `is_image_visible`, which is wider than what is listed.
    let open = format!("owner IS NULL OR {OPEN}");
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Nobody => select.and(&open, []),
        Viewer::Project(project) => {
            let (member, mut values) = shared_with(project, None);
            values.insert(0, project.bound());
            select.and(&format!("{open} OR owner = ? OR {member}"), values);
        }
    }
    select
}

/// Who sees what.  Glance: `_select_images_query` and the start of `_image_get_all`.
fn visible(select: &mut Select, query: &ImageQuery) {
    let project = match &query.viewer {
        Viewer::Admin { project } => project.as_ref(),
        Viewer::Project(project) => {
            let (member, mut values) = shared_with(project, query.member_status);
            values.insert(0, project.bound());
            select.and(&format!("{OPEN} OR owner = ? OR {member}"), values);
            Some(project)
        }
        Viewer::Nobody => {
            select.and(OPEN, []);
            None
        }
    };
    match (query.visibility, project) {
        (VisibilityFilter::All, _) => {}
        (VisibilityFilter::Only(kind), _) => {
            select.and("CONCAT(visibility) = ?", [kind.as_str().bound()]);
        }
        (VisibilityFilter::Usual, None) => select.and("CONCAT(visibility) <> 'community'", []),
        (VisibilityFilter::Usual, Some(project)) => {
            select.and("CONCAT(visibility) <> 'community' OR owner = ?", [project.bound()]);
        }
    }
}

/// The condition that the image is shared with `project`.
fn shared_with(project: &ProjectId, status: Option<MemberStatus>) -> (String, Vec<Value>) {
    let shared = Visibility::Shared.as_str();
    // Counting keeps the server from reading all members first, to look a few images up in them.
    let mut sql = format!(
        "(CONCAT(visibility) = '{shared}' AND (SELECT COUNT(*) FROM image_members AS m WHERE \
         m.image_id = images.id AND m.member = ? AND m.deleted + 0 = 0"
    );
    let mut values = vec![project.bound()];
    if let Some(status) = status {
        sql.push_str(" AND m.status = ?");
        values.push(status.as_str().bound());
    }
    sql.push_str(") > 0)");
    (sql, values)
}

fn filter(select: &mut Select, filter: &Filter) {
    match filter {
        Filter::OneOf(column, words) => {
            let (list, values) = one_of(words.iter().map(String::as_str));
            select.and(&format!("{} {list}", matched(*column)), values);
        }
        Filter::Number(column, number) => {
            select.and(&format!("{} = ?", column.name()), [number.bound()]);
        }
        Filter::Protected(protected) => select.and("protected = ?", [protected.bound()]),
        Filter::SizeMin(bytes) => select.and("size >= ?", [bytes.bound()]),
        Filter::SizeMax(bytes) => select.and("size <= ?", [bytes.bound()]),
        Filter::Time(column, comparison, time) => {
            let condition = format!("{} {} ?", column.name(), comparison.operator());
            select.and(&condition, [time.to_database().bound()]);
        }
        Filter::Tag(tag) => select.and(
            "EXISTS (SELECT 1 FROM image_tags AS t WHERE t.image_id = images.id AND t.value = ? \
             AND t.deleted = 0)",
            [tag.bound()],
        ),
        Filter::Property(property, value) => select.and(
            "EXISTS (SELECT 1 FROM image_properties AS p WHERE p.image_id = images.id \
             AND p.name = ? AND p.value = ? AND p.deleted + 0 = 0)",
            [property.bound(), value.bound()],
        ),
    }
}

/// The condition that an image comes after the marker: for some key it is beyond the marker, and
/// equal to it in all keys before.
fn after(select: &mut Select, keys: &[((Column, Direction), Value)]) {
    if let Some(((column, direction), value)) = keys.first()
        && let Some(bound) = not_before(*column, *direction, value)
    {
        select.and(&bound, [value.clone()]);
    }
    select.push(" AND (", []);
    for (at, ((column, direction), value)) in keys.iter().enumerate() {
        select.push(if at == 0 { "(" } else { " OR (" }, []);
        for ((equal, _), value) in keys.iter().take(at) {
            select.push(&format!("{} <=> ? AND ", sorted(*equal)), [value.clone()]);
        }
        beyond(select, *column, *direction, value);
        select.push(")", []);
    }
    select.push(")", []);
}

/// What every row after the marker meets in the first key, in a form that lets an index start
/// there; `None` where NULL gets in the way.
fn not_before(column: Column, direction: Direction, value: &Value) -> Option<String> {
    match (direction, value) {
        (_, Value::NULL) => None,
        (Direction::Ascending, _) => Some(format!("{} >= ?", sorted(column))),
        (Direction::Descending, _) if column.is_nullable() => None,
        (Direction::Descending, _) => Some(format!("{} <= ?", sorted(column))),
    }
}

/// NULL is the smallest value: that is how MySQL (and SQLite) orders it.  Glance compares NULL as
/// an empty text or 0 here but orders it as NULL, and so loses or repeats images; we do not.
fn beyond(select: &mut Select, column: Column, direction: Direction, value: &Value) {
    let key = sorted(column);
    match (direction, value) {
        (Direction::Ascending, Value::NULL) => select.push(&format!("{key} IS NOT NULL"), []),
        (Direction::Ascending, _) => select.push(&format!("{key} > ?"), [value.clone()]),
        (Direction::Descending, Value::NULL) => select.push("0", []),
        (Direction::Descending, _) if column.is_nullable() => {
            select.push(&format!("({key} < ? OR {key} IS NULL)"), [value.clone()]);
        }
        (Direction::Descending, _) => select.push(&format!("{key} < ?"), [value.clone()]),
    }
}

/// The column in a filter: open to an index only where a value is had by few images.
fn matched(column: Column) -> String {
    match column {
        Column::Visibility => "CONCAT(visibility)".to_string(),
        other => other.name().to_string(),
    }
}

/// The column in an order.  A visibility is ordered by its number in the table's definition but
/// compared by its word, unless that number is asked for.
const fn sorted(column: Column) -> &'static str {
    match column {
        Column::Visibility => "visibility + 0",
        other => other.name(),
    }
}
