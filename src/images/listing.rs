//! Which images somebody is shown: pages of records for the API, rows for the directory.

use std::collections::HashSet;

use super::policy::{self, Action, Own};
use super::{Images, TIME_PROPERTY};
use crate::catalog::model::{Image, ImageId, Row, Visibility};
use crate::catalog::query::ImageQuery;
use crate::error::Result;
use crate::identity::RequestContext;

impl Images {
    /// A page of records, of those that `ctx` may list.
    ///
    /// # Errors
    /// `Invalid` for a marker that is not there.
    pub fn list(&self, ctx: &RequestContext, query: ImageQuery) -> Result<Vec<Image>> {
        self.policy().check(ctx, Action::GetImages, &Own(ctx))?;
        let mut images =
            self.list_shown(ctx, ImageQuery { viewer: policy::viewer(ctx), ..query })?;
        images.iter_mut().for_each(|image| {
            self.policy().hide_properties(ctx, image);
            self.name_stores(image);
        });
        Ok(images)
    }

    /// Images that the policy shows: as many as asked for, if there are.
    fn list_shown(&self, ctx: &RequestContext, mut query: ImageQuery) -> Result<Vec<Image>> {
        let wanted = query.limit;
        let mut shown = Vec::new();
        loop {
            let page = self.catalog.list(&query)?;
            let more = query.limit.is_some_and(|limit| page.len() as u64 == limit);
            query.marker = page.last().map(|image| image.id);
            shown.extend(page.into_iter().filter(|image| self.policy().shows(ctx, image)));
            let lacking = wanted.unwrap_or(0).saturating_sub(shown.len() as u64);
            if !more || lacking == 0 {
                return Ok(shown);
            }
            query.limit = Some(lacking);
        }
    }

    /// What a directory needs of each image that `ctx` may see; with `ids`, of those.
    ///
    /// # Errors
    /// The catalog's.
    pub fn rows(&self, ctx: &RequestContext, ids: Option<&[ImageId]>) -> Result<Vec<Row>> {
        let mut rows = self.catalog.rows(ids, TIME_PROPERTY)?;
        if !ctx.admin {
            let shared = match &ctx.project {
                Some(project) => self.catalog.shared_with(project)?,
                None => Vec::new(),
            };
            let shared: HashSet<ImageId> = shared.into_iter().collect();
            rows.retain(|row| {
                matches!(row.visibility, Visibility::Public | Visibility::Community)
                    || policy::owns(ctx, row.owner.as_ref())
                    || (row.visibility == Visibility::Shared && shared.contains(&row.id))
            });
        }
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            if self.policy().shows_row(ctx, &row, &*self.catalog)? {
                shown.push(row);
            }
        }
        Ok(shown)
    }
}
