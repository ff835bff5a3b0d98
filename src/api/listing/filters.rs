//! Filters of a listing.  What is not a known name is the name of a property.

use super::super::status::Fault;
use super::Parameters;
use crate::catalog::model::Timestamp;
use crate::catalog::query::{Column, Comparison, Filter, ImageQuery, VisibilityFilter};

/// Parameters that are not filters.
const CONTROLS: &[&str] = &[
    "limit",
    "marker",
    "member_status",
    "tag",
    "sort",
    "sort_key",
    "sort_dir",
    "visibility",
    "os_hidden",
    "protected",
    "deleted",
    "changes-since",
];

/// Puts the filters of the query string into the query.
pub(super) fn apply(parameters: &Parameters, query: &mut ImageQuery) -> Result<(), Fault> {
    visibility(parameters, query)?;
    if parameters.get("changes-since").is_some_and(|since| !since.is_empty()) {
        return Err(Fault::bad_request(
            "The \"changes-since\" filter is no longer available on v2.",
        ));
    }
    query.hidden = Some(match parameters.get("os_hidden") {
        None => false,
        Some(text) => truth("os_hidden", &text.to_lowercase())?,
    });
    if let Some(text) = parameters.get("protected") {
        query.filters.push(Filter::Protected(truth("protected", text)?));
    }
    for (name, value) in parameters.distinct() {
        if !CONTROLS.contains(&name) {
            query.filters.push(filter(name, value)?);
        }
    }
    Ok(())
}

fn visibility(parameters: &Parameters, query: &mut ImageQuery) -> Result<(), Fault> {
    query.visibility = match parameters.get("visibility") {
        None => VisibilityFilter::Usual,
        Some("all") => VisibilityFilter::All,
        Some("") => {
            // Passes Glance's check and then matches nothing.
            query.filters.push(Filter::OneOf(Column::Visibility, vec![String::new()]));
            VisibilityFilter::All
        }
        Some(text) => VisibilityFilter::Only(
            text.parse()
                .map_err(|_| Fault::bad_request(format!("Invalid visibility value: {text}")))?,
        ),
    };
    Ok(())
}

fn truth(name: &str, text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::bad_request(format!(
            "Invalid value '{text}' for '{name}' filter. Valid values are 'true' or 'false'."
        ))),
    }
}

fn filter(name: &str, value: &str) -> Result<Filter, Fault> {
    let equals = |column| Filter::OneOf(column, vec![value.to_string()]);
    Ok(match name {
        "size_min" => Filter::SizeMin(range_end(value)?),
        "size_max" => Filter::SizeMax(range_end(value)?),
        "name" => one_of(Column::Name, value)?,
        "id" => one_of(Column::Id, value)?,
        "status" => one_of(Column::Status, value)?,
        "container_format" => one_of(Column::ContainerFormat, value)?,
        "disk_format" => one_of(Column::DiskFormat, value)?,
        "created_at" => time(name, Column::CreatedAt, value)?,
        "updated_at" => time(name, Column::UpdatedAt, value)?,
        "owner" => equals(Column::Owner),
        "checksum" => equals(Column::Checksum),
        "os_hash_algo" => equals(Column::OsHashAlgo),
        "os_hash_value" => equals(Column::OsHashValue),
        "size" => number(Column::Size, value),
        "virtual_size" => number(Column::VirtualSize, value),
        "min_disk" => number(Column::MinDisk, value),
        "min_ram" => number(Column::MinRam, value),
        // Glance looks for a column of that name and fails where there is none.
        _ if name.ends_with("_min") || name.ends_with("_max") => {
            range_end(value)?;
            return Err(Fault::bad_request(format!("Unable to filter on a range of '{name}'.")));
        }
        _ => Filter::Property(name.to_string(), value.to_string()),
    })
}

fn range_end(value: &str) -> Result<i64, Fault> {
    value
        .trim()
        .parse()
        .map_err(|_| Fault::bad_request("Unable to filter on a range with a non-numeric value."))
}

/// A number that is none equals nothing, which a comparison as text says best.
fn number(column: Column, value: &str) -> Filter {
    match value.trim().parse() {
        Ok(number) => Filter::Number(column, number),
        Err(_) => Filter::OneOf(column, vec![value.to_string()]),
    }
}

/// Splits `operator:value`.  A time has colons of its own.
fn operator(value: &str) -> (&str, &str) {
    match value.split_once(':') {
        Some(_) if Timestamp::parse(value).is_some() => ("eq", value),
        Some((operator, threshold)) => (operator, threshold),
        None => ("eq", value),
    }
}

fn one_of(column: Column, value: &str) -> Result<Filter, Fault> {
    match operator(value) {
        ("eq", value) => Ok(Filter::OneOf(column, vec![value.to_string()])),
        ("in", list) => Ok(Filter::OneOf(column, split_list(list)?)),
        (other, _) => {
            Err(Fault::bad_request(format!("Unable to filter by unknown operator '{other}'.")))
        }
    }
}

fn time(name: &str, column: Column, value: &str) -> Result<Filter, Fault> {
    let (operator, text) = operator(value);
    let time = Timestamp::parse(text).ok_or_else(|| {
        Fault::bad_request(format!(
            "Bad \"{name}\" query filter format. Use ISO 8601 DateTime notation."
        ))
    })?;
    let comparison = match operator {
        "eq" => Comparison::Eq,
        "neq" => Comparison::Neq,
        "gt" => Comparison::Gt,
        "gte" => Comparison::Gte,
        "lt" => Comparison::Lt,
        "lte" => Comparison::Lte,
        _ => {
            return Err(Fault::bad_request("Unable to filter on a unknown operator."));
        }
    };
    Ok(Filter::Time(column, comparison, time))
}

/// The values of `in:a,"b,c"`.
fn split_list(list: &str) -> Result<Vec<String>, Fault> {
    check_quotes(list)?;
    let mut values = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let value;
        (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted);
                let (value, behind) = quoted.split_at(end);
                (value, behind.strip_prefix('"').unwrap_or(behind))
            }
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        rest = rest.strip_prefix(',').unwrap_or(rest);
        values.push(value.to_string());
    }
    Ok(values)
}

/// Where a quoted text ends: the first quotation mark without a backslash before it.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

/// Quotation marks stand around whole values.
fn check_quotes(value: &str) -> Result<(), Fault> {
    let fault =
        |what: &str| Err(Fault::bad_request(format!("Invalid filter value {value}. {what}")));
    let bytes = value.as_bytes();
    let mut inside = false;
    for (at, byte) in value.bytes().enumerate() {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        if byte != b'"' || before == Some(&b'\\') {
            continue;
        }
        let behind = bytes.get(at + 1);
        if inside && behind.is_some_and(|byte| *byte != b',') {
            return fault("There is no comma after closing quotation mark.");
        }
        if !inside && before.is_some_and(|byte| *byte != b',') {
            return fault("There is no comma before opening quotation mark.");
        }
        inside = !inside;
    }
    if inside { fault("The quote is not closed.") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_quote_their_values() {
        assert_eq!(split_list(r#"a,"b,c",d"#).unwrap(), ["a", "b,c", "d"]);
        assert_eq!(split_list(r#""a\"b""#).unwrap(), [r#"a\"b"#]);
        for bad in [r#""a"#, r#"a"b""#, r#""a"b"#] {
            assert!(split_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_told_from_operators() {
        let parse = |value| time("created_at", Column::CreatedAt, value);
        let instant = Timestamp::parse("2026-11-21T00:38:18Z").unwrap();
        assert_eq!(
            parse("2026-11-21T00:38:18Z").unwrap(),
            Filter::Time(Column::CreatedAt, Comparison::Eq, instant)
        );
        assert!(parse("gt:2020-01-01T00:00:00+01:00").is_ok());
        assert_eq!(
            parse("foo:2020-01-01").unwrap_err().explanation(),
            "Unable to filter on a unknown operator."
        );
        assert!(parse("gt:bogus").unwrap_err().explanation().starts_with("Bad \"created_at\""));
    }

    #[test]
    fn what_is_no_number_equals_no_number() {
        assert_eq!(
            filter("min_ram", "abc").unwrap(),
            Filter::OneOf(Column::MinRam, vec!["abc".to_string()])
        );
        assert!(filter("size_min", "abc").is_err());
        assert!(filter("foo_max", "1").is_err());
    }
}
