//! Turns an [`ImageQuery`] into SQL.  Text and bound values only: nothing here runs a statement.
//!
//! A `+` before a column keeps SQLite from using that column's index.  Without statistics it takes
//! any index on an equality to be selective, and would fetch and sort all images that are not
//! deleted to show the newest 25; so the columns with few values are kept out of its choice and it
//! walks the index of the order instead.

use rusqlite::types::Value;

use super::values::json_array;
use crate::catalog::model::{ImageId, MemberStatus, Visibility};
use crate::catalog::query::{Column, Direction, Filter, ImageQuery, Viewer, VisibilityFilter};
use crate::identity::ProjectId;

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
        "SELECT {columns} FROM images WHERE +deleted = 0 AND status <> 'killed'"
    ));
    visible(&mut select, query);
    if let Some(hidden) = query.hidden {
        select.and("+os_hidden = ?", [Value::from(hidden)]);
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
        order.iter().map(|key| format!("{} {}", key.0.name(), key.1.word())).collect();
    select.push(&format!(" ORDER BY {}", terms.join(", ")), []);
    if let Some(limit) = query.limit {
        select.push(" LIMIT ?", [Value::from(i64::try_from(limit).unwrap_or(i64::MAX))]);
    }
    select
}

/// The marker's values of the sort keys; no row when the viewer may not know of it.
pub(super) fn marker(query: &ImageQuery, id: ImageId) -> Select {
    let keys: Vec<_> = query.order().iter().map(|key| key.0.name()).collect();
    let mut select = Select::new(format!("SELECT {} FROM images WHERE id = ?", keys.join(", ")));
    select.values.push(text(id.as_str()));
    select.and("+deleted = 0", []);
    // Glance: `is_image_visible`, which is wider than what is listed.
    let open = "owner IS NULL OR visibility IN ('public', 'community')";
    match &query.viewer {
        Viewer::Admin { .. } => {}
        Viewer::Nobody => select.and(open, []),
        Viewer::Project(project) => {
            let (member, mut values) = shared_with(project, None);
            values.insert(0, text(project.as_str()));
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
            values.insert(0, text(project.as_str()));
            let open = "+visibility IN ('public', 'community')";
            select.and(&format!("{open} OR +owner = ? OR {member}"), values);
            Some(project)
        }
        Viewer::Nobody => {
            select.and("+visibility IN ('public', 'community')", []);
            None
        }
    };
    match (query.visibility, project) {
        (VisibilityFilter::All, _) => {}
        (VisibilityFilter::Only(kind), _) => {
            select.and("+visibility = ?", [text(kind.as_str())]);
        }
        (VisibilityFilter::Usual, None) => select.and("+visibility <> 'community'", []),
        (VisibilityFilter::Usual, Some(project)) => {
            let own = "+visibility <> 'community' OR +owner = ?";
            select.and(own, [text(project.as_str())]);
        }
    }
}

/// The condition that the image is shared with `project`.
fn shared_with(project: &ProjectId, status: Option<MemberStatus>) -> (String, Vec<Value>) {
    let shared = Visibility::Shared.as_str();
    let mut sql = format!(
        "(+visibility = '{shared}' AND EXISTS (SELECT 1 FROM image_members AS m WHERE \
         m.image_id = images.id AND m.member = ? AND +m.deleted = 0"
    );
    let mut values = vec![text(project.as_str())];
    if let Some(status) = status {
        sql.push_str(" AND m.status = ?");
        values.push(text(status.as_str()));
    }
    sql.push_str("))");
    (sql, values)
}

fn filter(select: &mut Select, filter: &Filter) {
    match filter {
        Filter::OneOf(column, words) => match words.as_slice() {
            [word] => select.and(&format!("{} = ?", matched(*column)), [text(word)]),
            _ => {
                let any = format!("{} IN (SELECT value FROM json_each(?))", matched(*column));
                select.and(&any, [text(&json_array(words.iter().map(String::as_str)))]);
            }
        },
        Filter::Number(column, number) => {
            select.and(&format!("{} = ?", matched(*column)), [Value::from(*number)]);
        }
        Filter::Protected(protected) => select.and("protected = ?", [Value::from(*protected)]),
        Filter::SizeMin(bytes) => select.and("size >= ?", [Value::from(*bytes)]),
        Filter::SizeMax(bytes) => select.and("size <= ?", [Value::from(*bytes)]),
        Filter::Time(column, comparison, time) => {
            let operator = comparison.operator();
            select.and(&format!("{} {operator} ?", column.name()), [text(&time.to_database())]);
        }
        Filter::Tag(tag) => select.and(
            "EXISTS (SELECT 1 FROM image_tags AS t WHERE t.image_id = images.id AND t.value = ? \
             AND t.deleted = 0)",
            [text(tag)],
        ),
        Filter::Property(property, value) => select.and(
            "EXISTS (SELECT 1 FROM image_properties AS p WHERE p.image_id = images.id \
             AND p.name = ? AND p.value = ? AND +p.deleted = 0)",
            [text(property), text(value)],
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
            select.push(&format!("{} IS ? AND ", equal.name()), [value.clone()]);
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
        (_, Value::Null) => None,
        (Direction::Ascending, _) => Some(format!("{} >= ?", column.name())),
        (Direction::Descending, _) if column.is_nullable() => None,
        (Direction::Descending, _) => Some(format!("{} <= ?", column.name())),
    }
}

/// NULL is the smallest value: that is how SQLite (and MySQL) orders it.  Glance compares NULL as
/// an empty text or 0 here but orders it as NULL, and so loses or repeats images; we do not.
fn beyond(select: &mut Select, column: Column, direction: Direction, value: &Value) {
    let column_name = column.name();
    match (direction, value) {
        (Direction::Ascending, Value::Null) => {
            select.push(&format!("{column_name} IS NOT NULL"), []);
        }
        (Direction::Ascending, _) => {
            select.push(&format!("{column_name} > ?"), [value.clone()]);
        }
        (Direction::Descending, Value::Null) => select.push("0", []),
        (Direction::Descending, _) if column.is_nullable() => {
            let beyond = format!("({column_name} < ? OR {column_name} IS NULL)");
            select.push(&beyond, [value.clone()]);
        }
        (Direction::Descending, _) => {
            select.push(&format!("{column_name} < ?"), [value.clone()]);
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_string())
}

/// The column in a filter: open to an index only where a value is had by few images.
fn matched(column: Column) -> String {
    let selective =
        matches!(column, Column::Id | Column::Checksum | Column::OsHashValue | Column::Owner);
    format!("{}{}", if selective { "" } else { "+" }, column.name())
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter};

    use super::*;

    /// What SQLite means to do for a page of the query.
    fn plan(query: &ImageQuery, marker: Option<Vec<Value>>) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let select = page("*", query, marker);
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {}", select.sql)).unwrap();
        let steps = statement
            .query_map(params_from_iter(select.values), |row| row.get::<_, String>("detail"))
            .unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    fn default_page(viewer: Viewer) -> ImageQuery {
        ImageQuery { limit: Some(25), ..ImageQuery::all_for(viewer) }
    }

    fn viewers() -> [Viewer; 3] {
        let project = ProjectId::new("p");
        [Viewer::Admin { project: Some(project.clone()) }, Viewer::Project(project), Viewer::Nobody]
    }

    #[test]
    fn a_default_page_walks_the_index_of_its_order() {
        for viewer in viewers() {
            let plan = plan(&default_page(viewer), None);
            assert!(plan.contains("SCAN images USING INDEX created_at_image_idx"), "{plan}");
            // Images made in the same microsecond are put in order by id; no more is sorted.
            assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{plan}");
        }
    }

    #[test]
    fn a_page_after_a_marker_starts_there_in_the_index() {
        for viewer in viewers() {
            let marker = vec![text("2026-11-21 01:02:03.123456"), text("id")];
            let plan = plan(&default_page(viewer), Some(marker));
            let start = "SEARCH images USING INDEX created_at_image_idx (created_at<?)";
            assert!(plan.contains(start), "{plan}");
            assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{plan}");
        }
    }

    #[test]
    fn a_filter_that_few_images_meet_uses_its_index() {
        let mut query = default_page(viewers()[0].clone());
        query.filters = vec![Filter::OneOf(Column::Checksum, vec!["c".into()])];
        let found = plan(&query, None);
        assert!(found.contains("USING INDEX checksum_image_idx"), "{found}");
        query.filters = vec![Filter::OneOf(Column::Id, vec!["a".into(), "b".into()])];
        let found = plan(&query, None);
        assert!(found.contains("sqlite_autoindex_images_1"), "{found}");
    }
}
