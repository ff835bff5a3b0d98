//! What `glancefs adopt` prints: a line for each image, and a bar while one is read, where somebody
//! looks on.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::catalog::model::Image;
use crate::error::{Error, Result};
use crate::images::adopt::Survey;

/// Prints and counts.
pub(super) struct Report {
    pub(super) dry_run: bool,
    adopted: usize,
    left: usize,
    failed: usize,
}

impl Report {
    pub(super) fn new(dry_run: bool) -> Self {
        Self { dry_run, adopted: 0, left: 0, failed: 0 }
    }

    /// A store has been looked at.
    pub(super) fn surveyed(&self, store: &str, survey: &Survey) {
        let (recorded, orphans) = (survey.recorded, survey.orphans.len());
        println!("{store}: {recorded} in the catalog, {orphans} to adopt");
    }

    /// A bar for an image of so many bytes; hidden unless standard error is a terminal.
    pub(super) fn start(&self, name: &str, size: u64) -> ProgressBar {
        let bar = ProgressBar::new(size).with_message(name.to_string());
        // The template is a constant; should it be wrong, the usual look does.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ) {
            bar.set_style(style);
        }
        bar
    }

    /// An image has been adopted, or could not be.
    pub(super) fn done(&mut self, name: &str, outcome: Result<Image>) {
        match outcome {
            Ok(image) => {
                self.adopted += 1;
                let size = HumanBytes(image.size.unwrap_or_default());
                let format = image.disk_format.as_deref().unwrap_or("raw");
                println!("adopted  {name}  {}  {format}  {size}", image.id);
            }
            Err(error @ (Error::Conflict(_) | Error::Invalid(_) | Error::FormatMismatch(_))) => {
                self.left(name, &error.to_string());
            }
            Err(error) => self.failed(name, &error),
        }
    }

    /// An image would be adopted.
    pub(super) fn would(&mut self, name: &str, size: u64) {
        self.adopted += 1;
        println!("would adopt  {name}  {}", HumanBytes(size));
    }

    /// Something is not adopted, for a good reason.
    pub(super) fn left(&mut self, name: &str, reason: &str) {
        self.left += 1;
        println!("left     {name}: {reason}");
    }

    /// Something should have been adopted.
    pub(super) fn failed(&mut self, name: &str, error: &Error) {
        self.failed += 1;
        println!("failed   {name}: {error}");
    }

    /// The last line.
    pub(super) fn finish(&self) -> Result<()> {
        let verb = if self.dry_run { "to adopt" } else { "adopted" };
        println!("{} {verb}, {} left alone, {} failed", self.adopted, self.left, self.failed);
        if self.failed == 0 {
            return Ok(());
        }
        let failed = self.failed;
        Err(Error::StoreUnavailable(format!("{failed} could not be adopted; see above")))
    }
}
