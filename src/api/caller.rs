//! On whose behalf a request acts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::status::Fault;
use crate::identity::keystone::{Denied, Keystone, Presented};
use crate::identity::{Credentials, RequestContext, Secret};

/// Why a request has no identity that may use the API.
#[derive(Clone, Debug)]
pub enum Stranger {
    /// It proves none.
    Unauthenticated {
        /// The value of `WWW-Authenticate`: where to get a token.
        challenge: Option<HeaderValue>,
    },
    /// Whoever could tell does not answer.
    Unavailable,
}

/// Finds the identity that a request's headers prove.
pub type Resolve = dyn Fn(&HeaderMap) -> Pin<Box<dyn Future<Output = Result<RequestContext, Stranger>> + Send>>
    + Send
    + Sync;

/// Where identities come from.
#[derive(Clone)]
pub enum Identity {
    /// Everybody acts as this one (Glance: no `paste_deploy.flavor`).
    Fixed(RequestContext),
    /// Each request's headers say (trusted proxies).
    FromHeaders(Arc<Resolve>),
    /// Each request's token says, if Keystone takes it.
    Keystone(Arc<Keystone>),
}

impl Identity {
    /// Everybody has to prove an identity to Keystone.
    pub fn of_keystone(keystone: Arc<Keystone>) -> Self {
        Self::Keystone(keystone)
    }

    /// Whether requests have to prove an identity.
    pub(super) fn is_proved(&self) -> bool {
        !matches!(self, Self::Fixed(_))
    }

    pub(super) async fn of(&self, headers: &HeaderMap) -> Result<RequestContext, Stranger> {
        match self {
            Self::Fixed(context) => Ok(context.clone()),
            Self::FromHeaders(resolve) => resolve(headers).await,
            Self::Keystone(keystone) => {
                keystone.identify(&presented(headers)).await.map_err(|denied| match denied {
                    Denied::Unauthenticated => {
                        let uri = keystone.www_authenticate_uri();
                        let challenge = HeaderValue::from_str(&format!("Keystone uri=\"{uri}\""));
                        Stranger::Unauthenticated { challenge: challenge.ok() }
                    }
                    Denied::Unavailable => Stranger::Unavailable,
                })
            }
        }
    }

    /// What it takes to ask other image services on behalf of who sent a request.
    pub(super) async fn credentials(&self, headers: &HeaderMap) -> Option<Credentials> {
        match self {
            Self::Keystone(keystone) => keystone.credentials(&presented(headers)).await,
            Self::Fixed(_) | Self::FromHeaders(_) => None,
        }
    }
}

/// The tokens in a request's headers.  keystonemiddleware: the same headers; white space around a
/// token does not matter.
fn presented(headers: &HeaderMap) -> Presented {
    let token = |name: &str| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        (!text.is_empty()).then(|| Secret::new(text))
    };
    Presented {
        user: token("x-auth-token").or_else(|| token("x-storage-token")),
        service: token("x-service-token"),
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
