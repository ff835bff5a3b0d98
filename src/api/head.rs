//! How large the head of a request may be, while it comes and when it is there.
//!
//! hyper takes a hundred headers, and its one bound of their size is that of its buffer, which is
//! large for the sake of uploads; thousands of connections with half a head each must not take that
//! much.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::http::{HeaderMap, StatusCode, Uri};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes of a path and its query.  Twice of what Glance's web server takes by default.
const URI: usize = 16 << 10;
/// Bytes of one header.  Glance: `max_header_line`, 16384 by default and more for large tokens.
const LINE: usize = 32 << 10;
/// Bytes of all headers.
const HEADERS: usize = 64 << 10;
/// Bytes that are read at most while no request is in progress: a head, and what comes with it.
const UNTIL_HEAD: usize = 160 << 10;
/// Bytes that are read at once then.
const PIECE: usize = 32 << 10;

/// Refuses a head that is too large.
pub(super) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), StatusCode> {
    if uri.path_and_query().map_or(0, |path| path.as_str().len()) > URI {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let mut all = 0;
    for (name, value) in headers {
        let line = name.as_str().len() + value.len();
        all += line;
        if line > LINE || all > HEADERS {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
    }
    Ok(())
}

/// Counts what a connection reads between its requests.
#[derive(Clone, Default)]
pub(super) struct HeadBudget(Arc<Counts>);

#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    read: AtomicUsize,
}

impl HeadBudget {
    /// How much may be read now; `None` while a request is in progress: then as much as one likes.
    pub(super) fn room(&self) -> Option<usize> {
        if self.0.requests.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(UNTIL_HEAD.saturating_sub(self.0.read.load(Ordering::Acquire)).min(PIECE))
    }

    /// Notes that bytes were read while no request was in progress.
    pub(super) fn note(&self, bytes: usize) {
        self.0.read.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A request is in progress until what this returns is dropped.
    pub(super) fn request(&self) -> Request {
        self.0.requests.fetch_add(1, Ordering::AcqRel);
        Request(Arc::clone(&self.0))
    }
}

/// A request in progress, or its body.
pub(super) struct Request(Arc<Counts>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.read.store(0, Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body, which is part of its request for as long as anybody may read it.
pub(super) struct CountedBody {
    pub(super) body: Incoming,
    pub(super) _request: Request,
}

impl Body for CountedBody {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_a_limit_as_a_whole_and_in_each_part() {
        let uri = |length: usize| format!("/{}", "a".repeat(length)).parse().unwrap();
        let none = HeaderMap::new();
        assert_eq!(check(&uri(8000), &none), Ok(()));
        assert_eq!(check(&uri(URI), &none), Err(StatusCode::URI_TOO_LONG));
        let headers = |count: usize, length: usize| {
            let mut headers = HeaderMap::new();
            for at in 0..count {
                let name = axum::http::HeaderName::try_from(format!("x-{at}")).unwrap();
                headers.insert(name, "v".repeat(length).parse().unwrap());
            }
            headers
        };
        // A token of Keystone's may be long.
        assert_eq!(check(&uri(1), &headers(1, 30_000)), Ok(()));
        let too_large = Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(check(&uri(1), &headers(1, 40_000)), too_large);
        assert_eq!(check(&uri(1), &headers(7, 10_000)), too_large);
    }

    #[test]
    fn only_what_is_read_between_requests_counts() {
        let budget = HeadBudget::default();
        assert_eq!(budget.room(), Some(PIECE));
        budget.note(UNTIL_HEAD - 1);
        assert_eq!(budget.room(), Some(1));
        let (request, body) = (budget.request(), budget.request());
        assert_eq!(budget.room(), None);
        drop(request);
        assert_eq!(budget.room(), None);
        drop(body);
        assert_eq!(budget.room(), Some(PIECE));
        budget.note(UNTIL_HEAD + 1);
        assert_eq!(budget.room(), Some(0));
    }
}
