//! What clients of the API ask of the disk cache, in Glance's words.  All of it is for administrators.

use super::Caching;
use crate::cache::disk::CachedFile;
use crate::catalog::model::{ImageId, Status};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::policy::{Action, Nothing, Seen, Target};

/// What is in the cache, and what is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheState {
    /// In the order in which they were cached.
    pub cached: Vec<CachedFile>,
    /// Those that wait to be copied, the next one first.
    pub queued: Vec<ImageId>,
}

/// What of the cache is to go.  Glance: `x-image-cache-clear-target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearTarget {
    /// Files, what waits, and what is being copied.
    All,
    /// Files.
    Cache,
    /// What waits to be copied.
    Queue,
}

impl Images {
    /// Everything in the cache.
    ///
    /// # Errors
    /// `Forbidden` unless the policy lets one; `NotFound` without a cache.
    pub fn cache_state(&self, ctx: &RequestContext, action: Action) -> Result<CacheState> {
        let caching = self.cache_for(ctx, action, &Nothing)?;
        let mut cached = caching.list();
        cached.sort_unstable_by_key(|file| file.number);
        let queued = caching.fills().1.iter().map(|fill| fill.image()).collect();
        Ok(CacheState { cached, queued })
    }

    /// Has an image copied.
    ///
    /// # Errors
    /// `NotFound` for an image or without a cache; `Forbidden`; `Invalid` for one without data;
    /// those of [`Caching::prefetch`].
    pub fn cache_image(&self, ctx: &RequestContext, id: ImageId, action: Action) -> Result<()> {
        self.check_old_resource(ctx, action)?;
        let image = self.find(ctx, id).map_err(|error| in_words_of_cache(error, id))?;
        let caching = self.cache_for(ctx, action, &Seen { image: &image, by: ctx })?;
        if image.status != Status::Active {
            let what = "Only images with status active can be targeted for queueing";
            return Err(Error::Invalid(what.to_owned()));
        }
        caching.prefetch(&image).map(drop)
    }

    /// Takes an image out of the cache, or out of what waits; one that is in neither is fine.
    ///
    /// # Errors
    /// `NotFound` for an image that is neither in the catalog nor here, or without a cache;
    /// `Forbidden`
    pub fn uncache_image(&self, ctx: &RequestContext, id: ImageId, action: Action) -> Result<()> {
        self.check_old_resource(ctx, action)?;
        let caching = match self.find(ctx, id) {
            Err(Error::NotFound(_)) if self.caching().is_some_and(|c| c.knows(id)) => {
                self.cache_for(ctx, action, &Nothing)?
            }
            found => {
                let image = found.map_err(|error| in_words_of_cache(error, id))?;
                self.cache_for(ctx, action, &Seen { image: &image, by: ctx })?
            }
        };
        caching.evict(id);
        Ok(())
    }

    /// Empties the cache; returns how many files went, and how many images wait no more.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound` without a cache.
    pub fn clear_cache(
        &self,
        ctx: &RequestContext,
        target: ClearTarget,
        action: Action,
    ) -> Result<(usize, usize)> {
        let caching = self.cache_for(ctx, action, &Nothing)?;
        Ok(match target {
            ClearTarget::All => {
                let waiting = caching.drop_queue();
                (caching.evict_all(), waiting)
            }
            ClearTarget::Cache => (caching.evict_files(), 0),
            ClearTarget::Queue => (0, caching.drop_queue()),
        })
    }

    /// Removes what is out of use.  The cache does that by itself, and never takes more than its
    /// bound: there is nothing else to clean or to prune.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound` without a cache.
    pub fn tidy_cache(&self, ctx: &RequestContext, action: Action) -> Result<()> {
        self.cache_for(ctx, action, &Nothing)?.disk.sweep();
        Ok(())
    }

    /// Under which URLs daemons can be reached that have a file of an image; this one, at most.
    ///
    /// # Errors
    /// `Forbidden`; `NotFound` for the image or without a cache; `Conflict` when this daemon does
    /// not know its own URL (`worker_self_reference_url`).
    pub fn cached_nodes(&self, ctx: &RequestContext, id: ImageId) -> Result<Vec<String>> {
        let caching = self.cache_for(ctx, Action::ListCachedNodes, &Nothing)?;
        let Some(node) = &self.options().worker_self_reference_url else {
            return Err(Error::Conflict("Centralized caching is not enabled".to_owned()));
        };
        self.find(ctx, id).map_err(|error| in_words_of_cache(error, id))?;
        Ok(caching.holds(id).then(|| node.clone()).into_iter().collect())
    }

    /// The older resources look at the policy before they look at the image.
    fn check_old_resource(&self, ctx: &RequestContext, action: Action) -> Result<()> {
        if action == Action::ManageImageCache {
            self.policy().check_service(ctx, action)?;
        }
        Ok(())
    }

    fn cache_for(
        &self,
        ctx: &RequestContext,
        action: Action,
        target: &dyn Target,
    ) -> Result<&Caching> {
        self.policy().check(ctx, action, target)?;
        self.caching().map(|caching| &**caching).ok_or_else(|| {
            Error::NotFound("Caching via API is not supported at this site.".to_owned())
        })
    }
}

fn in_words_of_cache(error: Error, id: ImageId) -> Error {
    match error {
        Error::NotFound(_) => Error::NotFound(format!("Image {id} not found.")),
        other => other,
    }
}
