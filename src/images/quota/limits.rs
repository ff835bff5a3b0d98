//! Limits of a project that somebody else knows: Keystone's unified limits.  Glance:
//! `use_keystone_limits`.

use std::fmt::Debug;

use super::totals::Counted;
use crate::error::Result;
use crate::identity::ProjectId;

/// Who knows the limits of projects.
pub trait ProjectLimits: Debug + Send + Sync {
    /// How much of a resource (`image_size_total`, …) a project may have, in its unit; negative: any
    /// amount.  Without a project: what a project may have for which nothing else was said.  May wait
    /// for the network, but not long.
    ///
    /// # Errors
    /// `Unidentified` when they cannot be had.
    fn limit(&self, project: Option<&ProjectId>, resource: &str) -> Result<i64>;
}

/// How much of its limit a project uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The resource.
    pub resource: &'static str,
    /// What it has, in the resource's unit: MiB, or images.
    pub usage: u64,
    /// What it may have; negative: any amount.
    pub limit: i64,
}

/// What is counted, in the order in which Glance shows it.
pub(super) const ALL: [Counted; 4] =
    [Counted::Stored, Counted::Staged, Counted::Images, Counted::Coming];
