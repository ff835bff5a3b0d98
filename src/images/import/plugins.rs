//! What the operator has done to an image on its way in.  Glance: `[image_import_opts]
//! image_import_plugins`, its own plugins by their own names.
//!
//! A plugin works on the data before it goes to a store, in a file that may have no name, and on
//! the record as it will be.  It answers with the file that has the data now: the same, or another
//! without a name, so that neither a failure nor a crash leaves anything behind.  When plugins run
//! (Glance: for every method but copy-image), and what a failure means, is the flow's business.

pub mod conversion;
pub mod decompression;
pub mod metadata;
pub mod sandbox;
mod zip;

use std::fs::File;
use std::path::PathBuf;

use super::watch::Watch;
use crate::catalog::model::Image;
use crate::error::Result;
use crate::identity::RequestContext;
use conversion::Conversion;
use metadata::InjectMetadata;

/// One of the operator's plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `no_op`
    NoOp,
    /// `image_conversion`
    Conversion(Conversion),
    /// `image_decompression`
    Decompression,
    /// `inject_image_metadata`
    InjectMetadata(InjectMetadata),
}

/// The operator's plugins, in their order, and what all of them need.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Run one after the other.
    pub list: Vec<Plugin>,
    /// The directory on whose file system new data is written.
    pub directory: PathBuf,
    /// Bytes of data at most (`image_size_cap`).
    pub size_cap: u64,
}

impl Plugins {
    /// Does what the plugins do to the data of an image that `ctx` imports.  `image` is the record
    /// as it will be.
    ///
    /// # Errors
    /// `FormatMismatch`, `TooLarge`, `Invalid`, `Io`, `Config`; those of the watch.  The data and
    /// the record are then as the plugins before have left them.
    pub fn run(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
        mut data: File,
        watch: &Watch,
    ) -> Result<File> {
        for plugin in &self.list {
            watch.check()?;
            data = match plugin {
                Plugin::NoOp => data,
                Plugin::Conversion(conversion) => conversion.run(self, image, data, watch)?,
                Plugin::Decompression => decompression::run(self, image, data, watch)?,
                Plugin::InjectMetadata(inject) => {
                    inject.run(ctx, image);
                    data
                }
            };
        }
        Ok(data)
    }
}
