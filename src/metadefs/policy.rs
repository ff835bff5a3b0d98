//! Who may see and change definitions.  The rules are those of [`crate::images::policy`]; here is what
//! they are asked about, and that one who may not see a namespace is told that there is none.

use super::Metadefs;
use crate::catalog::metadefs::Namespace;
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::policy::{Action, Own, Target};

/// Whether `ctx` may know that the namespace is there, as far as owner and visibility matter.
/// Glance: what its database decides.
pub(super) fn is_visible(ctx: &RequestContext, namespace: &Namespace) -> bool {
    ctx.admin || namespace.public || ctx.project.as_ref() == Some(&namespace.owner)
}

impl Metadefs {
    /// Checks that `ctx` may do something to the namespace.
    pub(super) fn check(
        &self,
        ctx: &RequestContext,
        action: Action,
        namespace: &Namespace,
    ) -> Result<()> {
        self.check_target(ctx, action, namespace)
    }

    /// Checks that `ctx` may do something that is about no namespace yet.
    pub(super) fn check_own(&self, ctx: &RequestContext, action: Action) -> Result<()> {
        self.check_target(ctx, action, &Own(ctx))
    }

    fn check_target(
        &self,
        ctx: &RequestContext,
        action: Action,
        target: &dyn Target,
    ) -> Result<()> {
        self.policy.check(ctx, action, target).map_err(|refused| {
            let seen = Action::GetMetadefNamespace;
            let hidden = action == seen || !self.policy.allows(ctx, seen, target);
            if hidden { Error::Hidden } else { refused }
        })
    }
}

/// Refuses to delete anything of a protected namespace.
pub(super) fn not_protected(namespace: &Namespace, what: impl FnOnce() -> String) -> Result<()> {
    if !namespace.protected {
        return Ok(());
    }
    let what = what();
    Err(Error::Forbidden(format!("Metadata definition {what} is protected and cannot be deleted.")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::model::Timestamp;
    use crate::catalog::sqlite::SqliteCatalog;
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

    fn asked(ctx: &RequestContext, action: Action, public: bool) -> Result<()> {
        let directory = tempfile::tempdir().unwrap();
        let catalog = SqliteCatalog::open(directory.path().join("glance.sqlite")).unwrap();
        Metadefs::new(Arc::new(catalog)).check(ctx, action, &namespace(public))
    }

    #[test]
    fn a_private_namespace_is_for_its_project_and_administrators() {
        let [owner, stranger] =
            ["owner", "stranger"].map(|id| RequestContext::member_of(ProjectId::new(id)));
        let read = |ctx, public| asked(ctx, Action::GetMetadefObjects, public);
        assert!(read(&owner, false).is_ok());
        assert!(read(&stranger, true).is_ok());
        let operator = RequestContext::operator();
        assert!(read(&operator, false).is_ok());
        assert!(matches!(read(&stranger, false), Err(Error::Hidden)));
    }

    #[test]
    fn who_may_not_change_learns_no_more_than_who_may_not_read() {
        let stranger = RequestContext::member_of(ProjectId::new("stranger"));
        let change = |public| asked(&stranger, Action::AddMetadefTag, public);
        assert!(matches!(change(true), Err(Error::Forbidden(_))));
        assert!(matches!(change(false), Err(Error::Hidden)));
        let nobody = RequestContext { roles: Vec::new(), ..stranger };
        assert!(matches!(asked(&nobody, Action::GetMetadefTags, true), Err(Error::Hidden)));
    }
}
