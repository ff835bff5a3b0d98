//! Sharing: which projects an image is shared with, and what they make of it.

use super::events::{Change, Event};
use super::policy::{self, Action};
use super::{Images, quota};
use crate::catalog::model::{Image, ImageId, Member, MemberStatus, Timestamp, Visibility};
use crate::error::{Error, Result};
use crate::identity::{ProjectId, RequestContext};

impl Images {
    /// The members of an image that `ctx` may know of: all for its owner, itself for a member.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for an image that is not shared.
    pub fn members(&self, ctx: &RequestContext, id: ImageId) -> Result<Vec<Member>> {
        let image = self.find(ctx, id)?;
        if image.visibility != Visibility::Shared {
            return Err(Error::Forbidden(format!(
                "Not allowed to list members for image {id}: Only shared images have members."
            )));
        }
        self.policy().check_members(ctx, Action::GetMembers, &image)?;
        if self.policy().check_members(ctx, Action::GetMember, &image).is_err() {
            return Ok(Vec::new());
        }
        let mut members = self.catalog.members(id)?;
        members.retain(|member| knows_of(ctx, &image, &member.project));
        Ok(members)
    }

    /// One member.
    ///
    /// # Errors
    /// `NotFound`, also for a member that `ctx` may not know of.
    pub fn member(&self, ctx: &RequestContext, id: ImageId, project: &ProjectId) -> Result<Member> {
        let image = self.find(ctx, id)?;
        if image.visibility != Visibility::Shared {
            return Err(Error::Missing("Only shared images have members.".to_string()));
        }
        self.member_of(ctx, &image, project).map_err(|error| match error {
            // Whoever may not look at it is not told so.
            Error::Forbidden(text) => Error::Missing(text),
            other => other,
        })
    }

    /// Shares an image with a project, which has not answered yet.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for others than the owner, and for an image that is not `shared`;
    /// `Conflict` for one that is a member already; `OverQuota`.
    pub fn add_member(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        project: ProjectId,
    ) -> Result<Member> {
        let image = self.find(ctx, id)?;
        check_shared(&image, "create")?;
        self.policy().check_members(ctx, Action::AddMember, &image)?;
        let members = self.catalog.members(id)?.len();
        quota::within("members", members + 1, self.options.image_member_quota)?;
        let now = Timestamp::now();
        let status = MemberStatus::Pending;
        let member = Member { project, status, created_at: now, updated_at: now };
        self.catalog.add_member(id, &member)?;
        self.changes.announce(&[id]);
        self.events.tell(Event::Member(Change::Created, id, &member));
        Ok(member)
    }

    /// Notes what a member makes of an image: only it, or an administrator, may say that.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub fn set_member_status(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        project: &ProjectId,
        status: MemberStatus,
    ) -> Result<Member> {
        let image = self.find(ctx, id)?;
        check_shared(&image, "update")?;
        let member = self.member_of(ctx, &image, project)?;
        self.policy().check_members(ctx, Action::ModifyMember, &image)?;
        let now = Timestamp::now();
        if !self.catalog.set_member_status(id, project, status, now)? {
            return Err(no_member(id, project));
        }
        self.changes.announce(&[id]);
        let member = Member { status, updated_at: now, ..member };
        self.events.tell(Event::Member(Change::Updated, id, &member));
        Ok(member)
    }

    /// Takes an image away from a project.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for others than the owner.
    pub fn remove_member(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        project: &ProjectId,
    ) -> Result<()> {
        let image = self.find(ctx, id)?;
        check_shared(&image, "delete")?;
        let member = self.member_of(ctx, &image, project)?;
        self.policy().check_members(ctx, Action::DeleteMember, &image)?;
        if !self.catalog.remove_member(id, project, Timestamp::now())? {
            return Err(no_member(id, project));
        }
        self.changes.announce(&[id]);
        self.events.tell(Event::Member(Change::Deleted, id, &member));
        Ok(())
    }

    fn member_of(
        &self,
        ctx: &RequestContext,
        image: &Image,
        project: &ProjectId,
    ) -> Result<Member> {
        self.policy().check_members(ctx, Action::GetMember, image)?;
        let members = if knows_of(ctx, image, project) {
            self.catalog.members(image.id)?
        } else {
            Vec::new()
        };
        let found = members.into_iter().find(|member| member.project == *project);
        found.ok_or_else(|| no_member(image.id, project))
    }
}

/// Whether `ctx` may know that the image is shared with a project.
fn knows_of(ctx: &RequestContext, image: &Image, project: &ProjectId) -> bool {
    ctx.admin || policy::owns(ctx, image.owner.as_ref()) || ctx.project.as_ref() == Some(project)
}

fn check_shared(image: &Image, to: &str) -> Result<()> {
    if image.visibility == Visibility::Shared {
        return Ok(());
    }
    Err(Error::Forbidden(format!("Not allowed to {to} members for image {}.", image.id)))
}

fn no_member(id: ImageId, project: &ProjectId) -> Error {
    Error::Missing(format!("{project} not found in the member list of the image {id}."))
}
