//! Who asks.
//!
//! Every call into `images` takes a [`RequestContext`].  The mount, and the API without
//! authentication, act as one configured identity; else [`keystone`] finds the one that a request's
//! token proves, and [`local`] the one that a user of this machine acts as in the mount.  What an
//! identity may do is decided in `images::policy`, not here.

mod context;
mod credentials;
pub mod keystone;
pub mod local;
mod secret;

pub use context::{ProjectId, RequestContext};
pub use credentials::{Credentials, Endpoint};
pub use secret::Secret;
