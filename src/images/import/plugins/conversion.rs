//! The plugin `image_conversion`: every image in one format, by qemu-img in a sandbox.
//! Glance: section `[image_conversion]`.
//!
//! qemu-img believes what headers say; so nothing that [`format`](mod@format) has not
//! found to be alone and sound comes before it.  It is told the format, never asked to guess, and
//! it is given open files, never names: neither a backing file nor anything else is opened for it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::json;
use tracing::{debug, info};

use super::Plugins;
use super::sandbox::{Limits, Sandbox};
use crate::catalog::model::Image;
use crate::error::{Error, Result};
use crate::images::format::{self, DetectedFormat, FormatRules, Inspection};
use crate::images::import::unnamed::unnamed_file;
use crate::images::import::watch::Watch;

/// Address space of qemu-img: several times what its largest conversion was seen to take.
const MEMORY: u64 = 1 << 30;

/// What images are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// A disk's own bytes.
    #[default]
    Raw,
    /// QEMU's format.
    Qcow2,
    /// VMware's, in one file.
    Vmdk,
}

impl OutputFormat {
    /// The word for it, Glance's and qemu-img's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
        }
    }

    /// The format of this word.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2, Self::Vmdk].into_iter().find(|format| format.as_str() == word)
    }
}

/// How images are converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// `output_format`
    pub output: OutputFormat,
    /// What is tolerated in an image (`[image_format]`).
    pub rules: FormatRules,
    /// Where `qemu-img` is.
    pub program: PathBuf,
    /// Where it runs.
    pub sandbox: Sandbox,
}

impl Conversion {
    /// Converts the data; `image` gets the new format and virtual size.  A CD stays one.
    ///
    /// # Errors
    /// `FormatMismatch` for data that is not what the record says, or unsafe; `TooLarge`; `Invalid`
    /// with qemu-img's words; `Io`; those of the watch.
    pub(super) fn run(
        &self,
        plugins: &Plugins,
        image: &mut Image,
        data: File,
        watch: &Watch,
    ) -> Result<File> {
        let declared = image.disk_format.clone().unwrap_or_default();
        let found = inspect(&data)?;
        self.rules.check(&declared, &found)?;
        if (declared.as_str(), found.format) == ("iso", DetectedFormat::Iso) {
            debug!(image = %image.id, "a CD is not converted");
            return Ok(data);
        }
        let driver = driver(&declared, &found)?;
        image.virtual_size = found.virtual_size_as(&declared);
        if declared == self.output.as_str() {
            debug!(image = %image.id, declared, "has the wanted format already");
            return Ok(data);
        }
        let cap = plugins.size_cap;
        if found.virtual_size.is_none_or(|size| size > cap) {
            return Err(Error::TooLarge(format!(
                "The disk in the image exceeds the maximum allowed size of {cap} bytes \
                 (image_size_cap)"
            )));
        }
        let output = unnamed_file(&plugins.directory)?;
        self.convert(driver, (&data, &output), cap, watch)?;
        self.accept(image, &output)?;
        info!(image = %image.id, from = declared, to = self.output.as_str(), "converted");
        Ok(output)
    }

    fn convert(&self, driver: &str, files: (&File, &File), cap: u64, watch: &Watch) -> Result<()> {
        let file = json!({ "driver": "file", "filename": "/dev/stdin" });
        let mut source = json!({ "driver": driver, "read-only": true, "file": file });
        if driver == "qcow2" {
            // Inspection found none; should it have missed one, it is still not opened.
            source["backing"] = serde_json::Value::Null;
        }
        let source = format!("json:{source}");
        let arguments: Vec<OsString> =
            ["convert", "-O", self.output.as_str(), &source, "/dev/stdout"]
                .map(OsString::from)
                .to_vec();
        // More processor time than the time there is makes no sense on one processor; it has some
        // more for the threads that write.
        let cpu = watch.left().as_secs().saturating_mul(2).max(1);
        let limits = Limits { memory: MEMORY, cpu, length: cap };
        self.sandbox.run(&self.program, &arguments, files, limits, watch)
    }

    /// Whether the result is what was wanted: a guest may have hidden one format in another.
    fn accept(&self, image: &mut Image, output: &File) -> Result<()> {
        let found = inspect(output)?;
        let wanted = self.output.as_str();
        self.rules.check(wanted, &found)?;
        let right = match self.output {
            OutputFormat::Raw => found.format.is_raw_to_glance(),
            OutputFormat::Qcow2 => found.format == DetectedFormat::Qcow2,
            OutputFormat::Vmdk => found.format == DetectedFormat::Vmdk,
        };
        if !right {
            return Err(Error::FormatMismatch("Converted image in unexpected format".to_owned()));
        }
        image.disk_format = Some(wanted.to_owned());
        image.container_format = Some("bare".to_owned());
        image.virtual_size = found.virtual_size_as(wanted);
        Ok(())
    }
}

fn inspect(data: &File) -> Result<Inspection> {
    let failed = || Error::io("read", "staged data");
    let size = data.metadata().map_err(failed())?.len();
    format::inspect(size, &mut |offset, buffer| data.read_at(buffer, offset).map_err(failed()))
}

/// QEMU's name for a format, when the data is what the record says.
fn driver(declared: &str, found: &Inspection) -> Result<&'static str> {
    use DetectedFormat as Found;
    match (declared, found.format) {
        ("qcow2", Found::Qcow2) => Ok("qcow2"),
        ("vmdk", Found::Vmdk) => Ok("vmdk"),
        ("vdi", Found::Vdi) => Ok("vdi"),
        ("vhdx", Found::Vhdx) => Ok("vhdx"),
        ("vhd", Found::Vhd | Found::VhdFixed) => Ok("vpc"),
        ("raw", other) if other.is_raw_to_glance() => Ok("raw"),
        _ => Err(Error::FormatMismatch("Image format mismatch".to_owned())),
    }
}
