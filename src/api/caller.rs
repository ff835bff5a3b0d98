//! On whose behalf a request acts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::status::Fault;
use crate::identity::RequestContext;

/// A request without an identity that may use the API.
#[derive(Clone, Debug, Default)]
pub struct Unauthenticated {
    /// The value of `WWW-Authenticate`: where to get a token.
    pub challenge: Option<HeaderValue>,
}

/// Finds the identity that a request's headers prove.
pub type Resolve = dyn Fn(&HeaderMap) -> Pin<Box<dyn Future<Output = Result<RequestContext, Unauthenticated>> + Send>>
    + Send
    + Sync;

/// Where identities come from.
#[derive(Clone)]
pub enum Identity {
    /// Everybody acts as this one (Glance: no `paste_deploy.flavor`).
    Fixed(RequestContext),
    /// Each request's headers say (Keystone tokens, trusted proxies).
    FromHeaders(Arc<Resolve>),
}

impl Identity {
    pub(super) async fn of(&self, headers: &HeaderMap) -> Result<RequestContext, Unauthenticated> {
        match self {
            Self::Fixed(context) => Ok(context.clone()),
            Self::FromHeaders(resolve) => resolve(headers).await,
        }
    }
}

/// The identity, for a handler.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) RequestContext);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Fault::unauthorized)
    }
}
