//! A change of a record, held against the policy before it is made.

use super::fields::{self, Edit};
use super::policy::protections::{self, Operation};
use super::{Action, Images};
use crate::catalog::model::{Image, Visibility};
use crate::error::{Error, Result};
use crate::identity::RequestContext;

impl Images {
    /// Applies one change to a record in memory of which `ctx` sees all properties.  Glance: who
    /// asks is looked at before what is asked for, one change after the other.
    ///
    /// # Errors
    /// `Forbidden`, `Hidden`, `Refused`; those of [`fields::apply`] and of changes of locations.
    pub(super) fn edit(&self, ctx: &RequestContext, image: &mut Image, edit: &Edit) -> Result<()> {
        if self.edit_locations(ctx, image, edit)? {
            return Ok(());
        }
        let name = edit.target();
        let is_field = is_of_a_field(edit);
        let is_owner = is_field && name == "owner" && !ctx.admin;
        if is_owner && matches!(edit, Edit::Replace { .. }) {
            return Err(not_the_owner());
        }
        if is_field
            && name == "visibility"
            && let Some(Ok(to)) = edit.new_text().map(str::parse::<Visibility>)
        {
            self.policy().check_shown(ctx, to, image)?;
        }
        self.policy().check_image(ctx, Action::ModifyImage, image)?;
        if is_owner {
            // Glance lets `add` through.
            return Err(not_the_owner());
        }
        let before = image.properties.get(name).cloned();
        fields::apply(image, edit, &self.options)?;
        if is_field {
            return Ok(());
        }
        let done = match (&before, image.properties.get(name)) {
            (None, Some(_)) => Operation::Create,
            (Some(_), None) => Operation::Delete,
            _ => Operation::Update,
        };
        if self.policy().allows_property(ctx, done, name) {
            return Ok(());
        }
        Err(protections::refused(name))
    }

    /// Checks that `ctx` may have altered a record that is not published yet so.
    ///
    /// # Errors
    /// `Forbidden`, `Refused`
    pub(super) fn check_draft(
        &self,
        ctx: &RequestContext,
        before: &Image,
        after: &Image,
    ) -> Result<()> {
        if after.owner != before.owner && !ctx.admin {
            return Err(not_the_owner());
        }
        if after.visibility != before.visibility {
            self.policy().check_shown(ctx, after.visibility, before)?;
        }
        let check = |operation, name: &String| {
            let allowed = self.policy().allows_property(ctx, operation, name);
            if allowed { Ok(()) } else { Err(protections::refused(name)) }
        };
        for (name, value) in &after.properties {
            match before.properties.get(name) {
                None => check(Operation::Create, name)?,
                Some(old) if old != value => check(Operation::Update, name)?,
                Some(_) => {}
            }
        }
        let gone = before.properties.keys().filter(|name| !after.properties.contains_key(*name));
        gone.into_iter().try_for_each(|name| check(Operation::Delete, name))
    }
}

fn not_the_owner() -> Error {
    Error::Refused("Owner can't be updated by non admin.".to_string())
}

/// Whether it is a field of every image that is changed, and no property.
fn is_of_a_field(edit: &Edit) -> bool {
    match edit {
        Edit::SetText { name, .. } if name.starts_with(fields::PROPERTY_PREFIX) => false,
        edit => fields::find(edit.target()).is_some(),
    }
}
