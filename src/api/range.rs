//! Which bytes of an image a download asks for.
//!
//! Glance reads `Range`, and for old clients `Content-Range`, with WebOb's parsers; what they let
//! through and what they refuse is kept.

use axum::http::{HeaderMap, HeaderName, header};

use super::status::Fault;
use crate::store::ByteRange;

/// The bytes that the headers ask for; `None` for all of them.
pub(super) fn requested(headers: &HeaderMap, size: u64) -> Result<Option<ByteRange>, Fault> {
    if let Some(range) = text(headers, header::RANGE) {
        return from_range(&range, size).map(Some);
    }
    if let Some(range) = text(headers, header::CONTENT_RANGE) {
        return from_content_range(&range, size).map(Some);
    }
    Ok(None)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

fn from_range(text: &str, size: u64) -> Result<ByteRange, Fault> {
    if text.contains(',') {
        return Err(Fault::bad_request(
            "Requests with multiple ranges are not supported in Glance. You may make multiple \
             single-range requests instead.",
        ));
    }
    let (first, last) = parse_range(text).ok_or_else(|| Fault::range("Invalid Range header."))?;
    let range = match (first, last) {
        (None, suffix) => match suffix.unwrap_or(0) {
            // `-0` is read as the number 0: all bytes.
            0 => 0..size,
            suffix => size.saturating_sub(suffix)..size,
        },
        (Some(first), None) => first..size,
        (Some(first), Some(last)) => first..size.min(last.saturating_add(1)),
    };
    let suffix = first.is_none() && last.is_some_and(|last| last > 0);
    if range.start >= size && !suffix {
        return Err(out_of_bounds("Range", size));
    }
    Ok(range)
}

fn out_of_bounds(name: &str, size: u64) -> Fault {
    Fault::range(format!(
        "Invalid start position in {name} header. Start position MUST be in the inclusive range \
         [0, {}].",
        i128::from(size) - 1
    ))
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`; blanks are allowed, and so is anything behind.
fn parse_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let unit = text.get(..5).filter(|unit| unit.eq_ignore_ascii_case("bytes"))?;
    let rest = text[unit.len()..].trim_start_matches(' ').strip_prefix('=')?;
    let (first, rest) = digits(rest.trim_start_matches(' '));
    let rest = rest.trim_start_matches(' ').strip_prefix('-')?;
    let (last, _) = digits(rest.trim_start_matches(' '));
    match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        found => Some(found),
    }
}

/// The number that a text begins with.  One too large to count is as good as the largest.
fn digits(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    if number.is_empty() {
        return (None, rest);
    }
    (Some(number.parse().unwrap_or(u64::MAX)), rest)
}

fn from_content_range(text: &str, size: u64) -> Result<ByteRange, Fault> {
    let invalid = || Fault::range("Invalid Content-Range header.");
    let (first, last, length) = parse_content_range(text).ok_or_else(invalid)?;
    if length.is_none() && last >= size {
        return Err(Fault::range(format!(
            "Invalid stop position in Content-Range header. The stop position MUST be in the \
             inclusive range [0, {}].",
            i128::from(size) - 1
        )));
    }
    if first >= size {
        return Err(out_of_bounds("Content-Range", size));
    }
    // Glance would announce bytes that it does not have.
    Ok(first..size.min(last + 1))
}

/// `bytes a-b/n` or `bytes a-b/*`.
fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (first, rest) = digits(text.strip_prefix("bytes ")?);
    let (last, rest) = digits(rest.strip_prefix('-')?);
    let (first, last) = (first?, last?);
    let rest = rest.strip_prefix('/')?;
    let (length, rest) = digits(rest);
    if length.is_none() && !rest.starts_with('*') {
        return None;
    }
    let fits = first <= last && last < length.unwrap_or(u64::MAX);
    fits.then_some((first, last, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<ByteRange> {
        from_range(text, 4096).ok()
    }

    #[test]
    fn ranges_of_4096_bytes() {
        for (text, bytes) in [
            ("bytes=0-99", 0..100),
            ("bytes=100-", 100..4096),
            ("bytes=-100", 3996..4096),
            ("bytes=4000-9999", 4000..4096),
            ("bytes=0-0", 0..1),
            ("bytes=-0", 0..4096),
            ("bytes=-9999", 0..4096),
            ("Bytes = 1 - 2", 1..3),
            ("bytes=0-99999999999999999999999", 0..4096),
        ] {
            assert_eq!(range(text), Some(bytes), "{text}");
        }
        for text in ["bytes=4096-", "bytes=10-5", "bytes=0-1,5-6", "bits=0-1", "bytes=abc", "é"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn content_ranges_of_4096_bytes() {
        let range = |text| from_content_range(text, 4096).ok();
        assert_eq!(range("bytes 0-99/4096"), Some(0..100));
        assert_eq!(range("bytes 0-99/*"), Some(0..100));
        assert_eq!(range("bytes 4000-4999/5000"), Some(4000..4096));
        for text in ["bytes 100-*/4096", "bytes 9000-9999/10000", "bogus", "bytes 0-5000/*"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn an_empty_image_has_no_range() {
        assert!(from_range("bytes=0-", 0).is_err());
        assert_eq!(from_range("bytes=-5", 0).unwrap(), 0..0);
    }
}
