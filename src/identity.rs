//! Who asks.
//!
//! Every call into `images` takes a [`RequestContext`].  Today the API acts as one configured
//! identity; Keystone tokens will fill the same type.  A mount acts as one, too, or as what [`local`]
//! says of each user of this machine.  What an identity may do is decided in `images::policy`, not
//! here.

mod context;
pub mod local;

pub use context::{ProjectId, RequestContext};
