//! Who may see and change definitions.  Glance's default rules: readers see what is public or their
//! project's, administrators see and change everything, nobody else changes anything.

use crate::catalog::metadefs::Namespace;
use crate::error::{Error, Result};
use crate::identity::RequestContext;

/// What is said to one who may not know.  Glance: WebOb's usual words for a 404.
pub(super) const HIDDEN: &str = "The resource could not be found.";

/// Whether `ctx` may know that the namespace is there.
pub(super) fn is_visible(ctx: &RequestContext, namespace: &Namespace) -> bool {
    ctx.admin || namespace.public || ctx.project.as_ref() == Some(&namespace.owner)
}

/// Whether `ctx` may read definitions at all.
pub(super) fn may_list(ctx: &RequestContext) -> Result<()> {
    if ctx.admin || ctx.has_role("reader") { Ok(()) } else { Err(hidden()) }
}

/// Whether `ctx` may read what is in the namespace.
pub(super) fn may_read(ctx: &RequestContext, namespace: &Namespace) -> Result<()> {
    if is_visible(ctx, namespace) { may_list(ctx) } else { Err(hidden()) }
}

/// Whether `ctx` may do `action`, a word of Glance's `policy.yaml`, to the namespace.
pub(super) fn may_write(ctx: &RequestContext, namespace: &Namespace, action: &str) -> Result<()> {
    may_read(ctx, namespace)?;
    admin_only(ctx, action)
}

/// Whether `ctx` may make a namespace.
pub(super) fn may_add_namespace(ctx: &RequestContext) -> Result<()> {
    may_list(ctx)?;
    admin_only(ctx, "add_metadef_namespace")
}

fn admin_only(ctx: &RequestContext, action: &str) -> Result<()> {
    if ctx.admin {
        return Ok(());
    }
    Err(Error::Forbidden(format!("You are not authorized to complete {action} action.")))
}

/// Refuses to delete anything of a protected namespace.
pub(super) fn not_protected(namespace: &Namespace, what: impl FnOnce() -> String) -> Result<()> {
    if !namespace.protected {
        return Ok(());
    }
    let what = what();
    Err(Error::Forbidden(format!("Metadata definition {what} is protected and cannot be deleted.")))
}

fn hidden() -> Error {
    Error::NotFound(HIDDEN.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::Timestamp;
    use crate::identity::ProjectId;

    fn namespace(public: bool) -> Namespace {
        Namespace {
            name: "n".to_string(),
            display_name: None,
            description: None,
            public,
            protected: false,
            owner: ProjectId::new("owner"),
            created_at: Timestamp::now(),
            updated_at: None,
        }
    }

    #[test]
    fn a_private_namespace_is_for_its_project_and_administrators() {
        let [owner, stranger] =
            ["owner", "stranger"].map(|id| RequestContext::member_of(ProjectId::new(id)));
        assert!(may_read(&owner, &namespace(false)).is_ok());
        assert!(may_read(&stranger, &namespace(true)).is_ok());
        assert!(may_read(&RequestContext::operator(), &namespace(false)).is_ok());
        let refused = may_read(&stranger, &namespace(false));
        assert!(matches!(refused, Err(Error::NotFound(_))));
    }

    #[test]
    fn who_may_not_change_learns_no_more_than_who_may_not_read() {
        let stranger = RequestContext::member_of(ProjectId::new("stranger"));
        let change = |public| may_write(&stranger, &namespace(public), "x");
        assert!(matches!(change(true), Err(Error::Forbidden(_))));
        assert!(matches!(change(false), Err(Error::NotFound(_))));
        let nobody = RequestContext { roles: Vec::new(), ..stranger };
        assert!(matches!(may_read(&nobody, &namespace(true)), Err(Error::NotFound(_))));
    }
}
