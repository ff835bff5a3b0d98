//! The one table from what went wrong to what the client is told.
//!
//! A [`Fault`] is an answer that is not the one asked for: a status, Glance's words, and sometimes
//! headers.  How the words look as text, HTML or JSON is up to [`fault`](super::fault).

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};

use super::caller::Stranger;
use crate::error::Error;

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) words: Words,
    /// The one header that some faults have.
    pub(super) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// What it says.  Glance's error pages have an explanation and room for a detail below it.
#[derive(Clone, Debug)]
pub(super) enum Words {
    /// An explanation made for the occasion.
    Explanation(String),
    /// The status's usual explanation and a detail.
    Detail(String),
    /// An explanation and nothing around it.
    Bare(String),
    /// The method is not among those of the resource.
    Method,
    /// The media type of the body is not wanted; says which is.
    MediaType(String),
}

impl Fault {
    fn new(status: StatusCode, words: Words) -> Self {
        Self { status, words, header: None }
    }

    fn explained(status: StatusCode, explanation: impl Into<String>) -> Self {
        Self::new(status, Words::Explanation(explanation.into()))
    }

    fn detailed(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, Words::Detail(detail.into()))
    }

    pub(super) fn bad_request(explanation: impl Into<String>) -> Self {
        Self::explained(StatusCode::BAD_REQUEST, explanation)
    }

    pub(super) fn forbidden(explanation: impl Into<String>) -> Self {
        Self::explained(StatusCode::FORBIDDEN, explanation)
    }

    pub(super) fn not_found(explanation: impl Into<String>) -> Self {
        Self::explained(StatusCode::NOT_FOUND, explanation)
    }

    /// Nothing is served under this path.
    pub(super) fn no_resource() -> Self {
        Self::detailed(StatusCode::NOT_FOUND, "")
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, Words::Method);
        fault.with(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// A method that Glance knows and always refuses, with its reason.
    pub(super) fn never_allowed(allow: &'static str, reason: &str) -> Self {
        let fault = Self::new(StatusCode::METHOD_NOT_ALLOWED, Words::Bare(reason.to_string()));
        fault.with(header::ALLOW, HeaderValue::from_static(allow))
    }

    pub(super) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Words::MediaType(detail.into()))
    }

    pub(super) fn unauthorized() -> Self {
        Self::detailed(StatusCode::UNAUTHORIZED, "")
    }

    /// Who could tell whose request it is does not answer.  keystonemiddleware: its words.
    fn unidentified() -> Self {
        let detail = "The Keystone service is temporarily unavailable.";
        Self::detailed(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub(super) fn too_large(explanation: impl Into<String>) -> Self {
        Self::explained(StatusCode::PAYLOAD_TOO_LARGE, explanation)
    }

    pub(super) fn timed_out() -> Self {
        Self::detailed(StatusCode::REQUEST_TIMEOUT, "")
    }

    /// The head of the request is refused for its size.
    pub(super) fn head(status: StatusCode) -> Self {
        Self::detailed(status, "")
    }

    pub(super) fn range(detail: impl Into<String>) -> Self {
        Self::detailed(StatusCode::RANGE_NOT_SATISFIABLE, detail)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    #[cfg(test)]
    pub(super) fn explanation(&self) -> &str {
        match &self.words {
            Words::Explanation(text) => text,
            _ => "",
        }
    }
}

impl From<Stranger> for Fault {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unauthenticated { challenge: Some(challenge) } => {
                Self::unauthorized().with(header::WWW_AUTHENTICATE, challenge)
            }
            Stranger::Unauthenticated { challenge: None } => Self::unauthorized(),
            Stranger::Unavailable => Self::unidentified(),
        }
    }
}

/// The table.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        use StatusCode as S;
        let text = error.to_string();
        match error {
            Error::NotFound(_) => Self::explained(S::NOT_FOUND, text),
            Error::Hidden => Self::no_resource(),
            Error::Forbidden(_) | Error::Immutable(_) => Self::explained(S::FORBIDDEN, text),
            Error::Refused(_) => Self::detailed(S::FORBIDDEN, text),
            Error::Missing(_) | Error::NameTaken(_) => Self::detailed(S::CONFLICT, text),
            Error::Invalid(_) => Self::explained(S::BAD_REQUEST, text),
            Error::Conflict(_) | Error::InUse(_) => Self::explained(S::CONFLICT, text),
            Error::Gone(_) => Self::explained(S::GONE, text),
            Error::TooLarge(_) | Error::OverQuota(_) | Error::StoreFull(_) => {
                Self::explained(S::PAYLOAD_TOO_LARGE, text)
            }
            Error::FormatMismatch(_) => Self::unsupported_media_type(text),
            Error::Unsupported(_) => Self::explained(S::BAD_REQUEST, text),
            Error::Unidentified(_) => Self::detailed(S::SERVICE_UNAVAILABLE, text),
            Error::StoreUnavailable(_) => Self::explained(S::SERVICE_UNAVAILABLE, text),
            // What these say is the operator's business, not the client's.
            Error::CatalogUnavailable(_) => {
                tracing::error!(error = %text, "request failed");
                Self::detailed(S::SERVICE_UNAVAILABLE, "")
            }
            Error::Catalog(_) | Error::Config(_) | Error::Io { .. } => {
                tracing::error!(error = %text, "request failed");
                Self::detailed(S::INTERNAL_SERVER_ERROR, "")
            }
        }
    }
}

/// The reason phrase.  Glance (WebOb) has its own idea of two of them.
pub(super) fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
        StatusCode::RANGE_NOT_SATISFIABLE => "Request Range Not Satisfiable",
        other => other.canonical_reason().unwrap_or("Error"),
    }
}

/// The explanation that a status has when nobody gives a better one.  Glance: WebOb's.
pub(super) fn usual_explanation(status: StatusCode) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        StatusCode::UNAUTHORIZED => {
            "This server could not verify that you are authorized to access the document you \
             requested. Either you supplied the wrong credentials (e.g., bad password), or your \
             browser does not understand how to supply the credentials required."
        }
        StatusCode::FORBIDDEN => "Access was denied to this resource.",
        StatusCode::NOT_FOUND => "The resource could not be found.",
        StatusCode::REQUEST_TIMEOUT => {
            "The server has waited too long for the request to be sent by the client."
        }
        StatusCode::CONFLICT => "There was a conflict when trying to complete your request.",
        StatusCode::RANGE_NOT_SATISFIABLE => "The Range requested is not available.",
        StatusCode::SERVICE_UNAVAILABLE => {
            "The server is currently unavailable. Please try again at a later time."
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            "The server has either erred or is incapable of performing the requested operation."
        }
        other => return Cow::Owned(format!("{}.", title(other))),
    })
}
