//! What was found in the bytes against what was declared: which `disk_format` to record, and
//! whether an upload is accepted.  Glance: `set_data` in `glance/location.py`.
//!
//! It only judges; whether it is asked at all (Glance: only for container format `bare`) is for
//! the upload to decide.

use tracing::warn;

use super::{DetectedFormat, Inspection, PartitionTable, Unsafe};
use crate::error::{Error, Result};

/// The words that Glance can tell by looking.  Content that looks like nothing may be declared to
/// be anything but these.
const INSPECTABLE: [&str; 10] =
    ["raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "qed", "iso", "gpt", "luks"];

/// Words that no byte can confirm, so that a file's name may choose them.
const ONLY_BY_NAME: [&str; 4] = ["ami", "ari", "aki", "ploop"];

/// How strictly content is judged.  Glance: section `[image_format]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatRules {
    /// Whether content of another format than declared is refused.
    /// Glance: `require_image_format_match`.
    pub require_match: bool,
    /// Checks of partition tables that only warn.  Glance: `gpt_safety_checks_nonfatal`.
    pub nonfatal_checks: Vec<String>,
}

impl Default for FormatRules {
    fn default() -> Self {
        Self { require_match: true, nonfatal_checks: Vec::new() }
    }
}

impl FormatRules {
    /// Judges an upload whose image was declared to be `declared`.
    ///
    /// # Errors
    /// `FormatMismatch`, in Glance's words, when the content is something else, could be several
    /// things, or is unsafe.
    pub fn check(&self, declared: &str, inspection: &Inspection) -> Result<()> {
        if let Err(mismatch) = matches(declared, inspection) {
            if self.require_match {
                return Err(mismatch);
            }
            warn!(%mismatch, declared, "image format did not match; accepted by configuration");
        }
        match &inspection.unsafe_because {
            Some(problem) if self.is_fatal(declared, problem) => Err(Error::FormatMismatch(
                format!("Image failed safety checks: {}", problem.reason),
            )),
            Some(problem) => {
                warn!(check = problem.check, reason = problem.reason, "non-fatal safety check");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Kernels and ramdisks may begin with what only looks like a partition table.
    fn is_fatal(&self, declared: &str, problem: &Unsafe) -> bool {
        let table = problem.check == "mbr";
        let tolerated = self.nonfatal_checks.iter().any(|check| check == problem.check);
        !(table && (tolerated || matches!(declared, "aki" | "ari")))
    }
}

/// Judges an upload by Glance's default rules; see [`FormatRules::check`].
///
/// # Errors
/// `FormatMismatch`, in Glance's words.
pub fn check_declared(declared: &str, inspection: &Inspection) -> Result<()> {
    FormatRules::default().check(declared, inspection)
}

fn matches(declared: &str, inspection: &Inspection) -> Result<()> {
    if let Some(formats) = &inspection.ambiguous {
        return Err(Error::FormatMismatch(format!("Multiple formats detected: {formats}")));
    }
    let found = inspection.format.as_str();
    let to_glance = name_to_glance(inspection);
    let uninspectable = to_glance == "raw" && !INSPECTABLE.contains(&declared);
    if declared == found || declared == to_glance || uninspectable {
        return Ok(());
    }
    if declared == "raw" {
        warn!(found, "image claims to be raw but is not; accepted as raw");
        return Ok(());
    }
    Err(Error::FormatMismatch(format!(
        "Image disk_format {declared} does not match stream data {to_glance}"
    )))
}

/// What Glance's inspector would call it: any disk with a partition table is `gpt`.
fn name_to_glance(inspection: &Inspection) -> &'static str {
    match (inspection.format, inspection.partition_table) {
        (format, Some(PartitionTable::Mbr | PartitionTable::Gpt)) if format.is_raw_to_glance() => {
            "gpt"
        }
        (format, None) if format.is_raw_to_glance() => "raw",
        (format, _) => format.as_str(),
    }
}

/// The `disk_format` to record for an image whose uploader named none: always one of Glance's
/// default words.  The bytes decide; where they say nothing, the ending of `file_name` may.
///
/// LUKS, QED, partitioned disks and compressed files are `raw`: Glance has no other word for them
/// unless an operator adds one, and consumers take them byte for byte.
pub fn disk_format_for(inspection: &Inspection, file_name: Option<&str>) -> &'static str {
    use DetectedFormat as Found;
    match inspection.format {
        Found::Qcow2 | Found::Vmdk | Found::Vhd | Found::VhdFixed => inspection.format.as_str(),
        Found::Vhdx | Found::Vdi | Found::Iso | Found::Ploop => inspection.format.as_str(),
        Found::Raw if inspection.partition_table.is_none() => by_name(file_name).unwrap_or("raw"),
        Found::Raw | Found::Qed | Found::Luks => "raw",
        Found::Gzip | Found::Xz | Found::Bzip2 | Found::Zstd => "raw",
    }
}

fn by_name(file_name: Option<&str>) -> Option<&'static str> {
    let (_, ending) = file_name?.rsplit_once('.')?;
    ONLY_BY_NAME.into_iter().find(|word| ending.eq_ignore_ascii_case(word))
}

impl Inspection {
    /// The `virtual_size` that Glance records with this `disk_format`: the format's own where the
    /// declaration is right, the length of what passes as raw, else none; never zero.
    pub fn virtual_size_as(&self, declared: &str) -> Option<u64> {
        let size = if declared == "raw" {
            Some(self.size)
        } else if declared == self.format.as_str() {
            self.virtual_size
        } else if declared == name_to_glance(self) {
            // A partitioned disk that is declared `gpt`.
            Some(self.size)
        } else {
            None
        };
        size.filter(|size| *size > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(format: DetectedFormat) -> Inspection {
        Inspection {
            size: 4096,
            format,
            virtual_size: Some(1 << 30),
            partition_table: None,
            unsafe_because: None,
            ambiguous: None,
        }
    }

    fn partitioned() -> Inspection {
        Inspection {
            partition_table: Some(PartitionTable::Gpt),
            virtual_size: Some(4096),
            ..found(DetectedFormat::Raw)
        }
    }

    fn refusal(declared: &str, inspection: &Inspection) -> String {
        match check_declared(declared, inspection) {
            Err(Error::FormatMismatch(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mismatch_is_told_in_glances_words() {
        let mut raw = found(DetectedFormat::Raw);
        raw.virtual_size = Some(4096);
        assert_eq!(
            refusal("qcow2", &raw),
            "Image disk_format qcow2 does not match stream data raw"
        );
        assert_eq!(
            refusal("iso", &partitioned()),
            "Image disk_format iso does not match stream data gpt"
        );
        assert_eq!(
            refusal("ami", &found(DetectedFormat::Vmdk)),
            "Image disk_format ami does not match stream data vmdk"
        );
    }

    #[test]
    fn raw_and_what_cannot_be_inspected_are_accepted() {
        for format in [DetectedFormat::Qcow2, DetectedFormat::Iso, DetectedFormat::Gzip] {
            assert!(check_declared("raw", &found(format)).is_ok());
        }
        for declared in ["raw", "ami", "ari", "aki", "ploop"] {
            assert!(check_declared(declared, &found(DetectedFormat::Raw)).is_ok());
        }
        assert!(check_declared("raw", &partitioned()).is_ok());
        assert!(check_declared("gpt", &partitioned()).is_ok());
    }

    #[test]
    fn unsafe_content_is_refused_whatever_it_was_declared() {
        let mut image = found(DetectedFormat::Qcow2);
        image.unsafe_because = Some(Unsafe::new("backing_file", "Image has a backing file"));
        for declared in ["qcow2", "raw"] {
            let words = refusal(declared, &image);
            assert_eq!(words, "Image failed safety checks: Image has a backing file");
        }
        let lenient = FormatRules { require_match: false, nonfatal_checks: vec!["mbr".into()] };
        assert!(lenient.check("vmdk", &image).is_err());
    }

    #[test]
    fn ambiguous_content_is_refused_even_as_raw() {
        let image =
            Inspection { ambiguous: Some("qcow2,iso".into()), ..found(DetectedFormat::Iso) };
        assert_eq!(refusal("raw", &image), "Multiple formats detected: qcow2,iso");
    }

    #[test]
    fn the_operator_may_loosen_the_rules() {
        let mut disk = partitioned();
        disk.unsafe_because = Some(Unsafe::new("mbr", "MBR PTE 0 has invalid boot flag"));
        assert!(check_declared("raw", &disk).is_err());
        let lenient = FormatRules { require_match: false, nonfatal_checks: vec!["mbr".into()] };
        assert!(lenient.check("raw", &disk).is_ok());
        assert!(lenient.check("qcow2", &disk).is_ok());
    }

    #[test]
    fn the_bytes_decide_and_a_name_only_refines_raw() {
        let raw = found(DetectedFormat::Raw);
        assert_eq!(disk_format_for(&raw, None), "raw");
        assert_eq!(disk_format_for(&raw, Some("vmlinuz.AKI")), "aki");
        assert_eq!(disk_format_for(&raw, Some("disk.qcow2")), "raw");
        assert_eq!(disk_format_for(&partitioned(), Some("disk.ami")), "raw");
        assert_eq!(disk_format_for(&found(DetectedFormat::Qcow2), Some("x.iso")), "qcow2");
        assert_eq!(disk_format_for(&found(DetectedFormat::Luks), None), "raw");
    }

    #[test]
    fn the_virtual_size_follows_the_declaration() {
        let image = found(DetectedFormat::Qcow2);
        assert_eq!(image.virtual_size_as("qcow2"), Some(1 << 30));
        assert_eq!(image.virtual_size_as("raw"), Some(4096));
        assert_eq!(partitioned().virtual_size_as("gpt"), Some(4096));
        assert_eq!(found(DetectedFormat::Raw).virtual_size_as("ami"), None);
        let empty = Inspection { size: 0, ..found(DetectedFormat::Raw) };
        assert_eq!(empty.virtual_size_as("raw"), None);
    }
}
