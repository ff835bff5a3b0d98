//! Who asks.
//!
//! Every call into `images` takes a [`RequestContext`].  Today the API and the mount each act as
//! one configured identity; Keystone tokens will fill the same type.  What an identity may do is
//! decided in `images::policy`, not here.

mod context;
mod credentials;

pub use context::{ProjectId, RequestContext};
pub use credentials::{Credentials, Endpoint, Token};
