//! On whose behalf a request acts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use super::status::Fault;
use crate::identity::keystone::{Denied, Keystone, Presented};
use crate::identity::{RequestContext, Secret};

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
    /// Each request's headers say (Keystone tokens, trusted proxies).
    FromHeaders(Arc<Resolve>),
}

impl Identity {
    /// Everybody has to prove an identity to Keystone.
    pub fn of_keystone(keystone: Arc<Keystone>) -> Self {
        let uri = keystone.www_authenticate_uri();
        let challenge = HeaderValue::from_str(&format!("Keystone uri=\"{uri}\"")).ok();
        Self::FromHeaders(Arc::new(move |headers| {
            let (keystone, challenge) = (Arc::clone(&keystone), challenge.clone());
            let presented = presented(headers);
            Box::pin(async move {
                keystone.identify(&presented).await.map_err(|denied| match denied {
                    Denied::Unauthenticated => Stranger::Unauthenticated { challenge },
                    Denied::Unavailable => Stranger::Unavailable,
                })
            })
        }))
    }

    pub(super) async fn of(&self, headers: &HeaderMap) -> Result<RequestContext, Stranger> {
        match self {
            Self::Fixed(context) => Ok(context.clone()),
            Self::FromHeaders(resolve) => resolve(headers).await,
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
