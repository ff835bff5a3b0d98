//! What projects may have, as Keystone says it, for images.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::error::Result;
use crate::identity::ProjectId;
use crate::identity::keystone::limits::KeystoneLimits;
use crate::images::quota::limits::ProjectLimits;

struct OfKeystone(KeystoneLimits);

impl fmt::Debug for OfKeystone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfKeystone")
    }
}

impl ProjectLimits for OfKeystone {
    fn limit(&self, project: Option<&ProjectId>, resource: &str) -> Result<i64> {
        self.0.limit(project, resource)
    }
}

/// Those that the configuration asks for.
///
/// # Errors
/// `Config` for files of TLS that cannot be used.
pub(super) fn of(config: &Config) -> Result<Option<Arc<dyn ProjectLimits>>> {
    let Some(limits) = &config.unified_limits else { return Ok(None) };
    Ok(Some(Arc::new(OfKeystone(KeystoneLimits::new(limits)?))))
}
