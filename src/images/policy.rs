//! Who may see and do what.  Glance's default rules, in one table.
//!
//! An image that an identity may not see does not exist for it: that is decided before any of
//! these actions is asked about, and answered with `NotFound`.

use crate::catalog::Catalog;
use crate::catalog::model::{Image, Row, Status, Visibility};
use crate::catalog::query::Viewer;
use crate::error::{Error, Result};
use crate::identity::{ProjectId, RequestContext};

/// Something that a policy allows or not.  The words are those of Glance's `policy.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a record.
    AddImage,
    /// Change a record.
    ModifyImage,
    /// Remove an image.
    DeleteImage,
    /// Show it to everybody.
    PublicizeImage,
    /// Let everybody use it who knows of it.
    CommunitizeImage,
    /// Write its data.
    UploadImage,
    /// Read its data.
    DownloadImage,
    /// Take its data out of use.
    Deactivate,
    /// Put its data back into use.
    Reactivate,
    /// Share it with a project.
    AddMember,
    /// Take it away from one.
    DeleteMember,
    /// Copy its data to further stores.
    CopyImage,
    /// Learn where its data is, to have some of it removed.
    GetImageLocation,
    /// Say where its data is: `PATCH` of `locations`.
    SetImageLocation,
    /// Remove one of the places where its data is, with the data.
    DeleteImageLocation,
    /// Say where the data is of an image that has none: `POST …/locations`.
    AddImageLocation,
    /// Learn where its data is: `GET …/locations`.
    FetchImageLocation,
}

/// Who is allowed an action.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Administrators only.
    Admin,
    /// Members of the owning project, and administrators.
    Owner,
    /// Members of any project that sees the image, and administrators.
    Member,
    /// Those who may read in the owning project, and administrators.
    Reader,
    /// Services (the role `service`: Nova, Cinder), and administrators.
    Service,
    /// Services, members of the owning project, and administrators.
    ServiceOrOwner,
}

impl Action {
    fn rule(self) -> (&'static str, Rule) {
        match self {
            Self::AddImage => ("add_image", Rule::Owner),
            Self::ModifyImage => ("modify_image", Rule::Owner),
            Self::DeleteImage => ("delete_image", Rule::Owner),
            Self::PublicizeImage => ("publicize_image", Rule::Admin),
            Self::CommunitizeImage => ("communitize_image", Rule::Owner),
            Self::UploadImage => ("upload_image", Rule::Owner),
            Self::DownloadImage => ("download_image", Rule::Member),
            Self::Deactivate => ("deactivate", Rule::Owner),
            Self::Reactivate => ("reactivate", Rule::Owner),
            Self::AddMember => ("add_member", Rule::Owner),
            Self::DeleteMember => ("delete_member", Rule::Owner),
            Self::CopyImage => ("copy_image", Rule::Admin),
            Self::GetImageLocation => ("get_image_location", Rule::Reader),
            Self::SetImageLocation => ("set_image_location", Rule::Owner),
            Self::DeleteImageLocation => ("delete_image_location", Rule::Admin),
            Self::AddImageLocation => ("add_image_location", Rule::ServiceOrOwner),
            Self::FetchImageLocation => ("fetch_image_location", Rule::Service),
        }
    }
}

/// Checks that `ctx` may do `action` to an image that it sees.
///
/// # Errors
/// `Forbidden`, in Glance's words.
pub fn check(ctx: &RequestContext, action: Action, image: &Image) -> Result<()> {
    let (name, rule) = action.rule();
    let member_of_owner = owns(ctx, image.owner.as_ref()) && ctx.has_role("member");
    let allowed = ctx.admin
        || match rule {
            Rule::Admin => false,
            Rule::Owner => member_of_owner,
            Rule::Member => ctx.has_role("member"),
            Rule::Reader => owns(ctx, image.owner.as_ref()) && ctx.has_role("reader"),
            Rule::Service => ctx.is_service(),
            Rule::ServiceOrOwner => ctx.is_service() || member_of_owner,
        };
    if !allowed {
        return Err(Error::Forbidden(format!("You are not authorized to complete {name} action.")));
    }
    if action == Action::DownloadImage && image.status == Status::Deactivated && !ctx.admin {
        return Err(Error::Forbidden(
            "The requested image has been deactivated. Image data download is forbidden."
                .to_string(),
        ));
    }
    Ok(())
}

/// Checks that `ctx` may do something to the service that is not about an image (`cache_list`, …):
/// administrators may.
///
/// # Errors
/// `Forbidden`, in Glance's words.
pub fn check_service(ctx: &RequestContext, policy: &str) -> Result<()> {
    if ctx.admin {
        return Ok(());
    }
    Err(Error::Forbidden(format!("You are not authorized to complete {policy} action.")))
}

/// Checks that `ctx` may say what `project` makes of an image that is shared with it.
///
/// # Errors
/// `Forbidden`, in Glance's words.
pub fn check_own_membership(ctx: &RequestContext, project: &ProjectId) -> Result<()> {
    if ctx.admin || (ctx.project.as_ref() == Some(project) && ctx.has_role("member")) {
        return Ok(());
    }
    Err(Error::Forbidden("You are not authorized to complete modify_member action.".to_string()))
}

/// Whether `ctx` may know of the image.
///
/// # Errors
/// When the catalog cannot be asked about memberships.
pub fn sees(ctx: &RequestContext, image: &Image, catalog: &dyn Catalog) -> Result<bool> {
    if ctx.admin
        || matches!(image.visibility, Visibility::Public | Visibility::Community)
        || owns(ctx, image.owner.as_ref())
    {
        return Ok(true);
    }
    match &ctx.project {
        Some(project) if image.visibility == Visibility::Shared => {
            catalog.is_member(image.id, project)
        }
        _ => Ok(false),
    }
}

/// Whether an image belongs into `ctx`'s listings unasked.  Glance: a community image of somebody
/// else is found by those who know of it, and listed for nobody but its owner.
pub fn lists(ctx: &RequestContext, row: &Row) -> bool {
    !row.os_hidden
        && (ctx.admin || row.visibility != Visibility::Community || owns(ctx, row.owner.as_ref()))
}

/// The view of the catalog that `ctx` has.
pub fn viewer(ctx: &RequestContext) -> Viewer {
    Viewer::of(ctx)
}

/// Whether the identity's project is the owner.
pub fn owns(ctx: &RequestContext, owner: Option<&ProjectId>) -> bool {
    owner.is_some() && ctx.project.as_ref() == owner
}
