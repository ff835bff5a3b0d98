//! Where an operator's rules of who may do what are: `[oslo_policy]` and `property_protection_file`.
//! What is in the files is left to `images::policy`.

use std::path::{Path, PathBuf};

use super::options::{self, ConfigOption};
use super::reader::{Found, Reader, bad_value};
use super::{absolute, import_rules};
use crate::error::{Error, Result};

/// The files of rules; those that are named here exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// `policy_file`; default `policy.yaml` beside a configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// `policy_dirs`; default `policy.d` there, if there is one.
    pub directories: Vec<PathBuf>,
    /// `property_protection_file`; default none.
    pub protections: Option<PathBuf>,
    /// Whether that names policies, not roles.  `property_protection_rule_format`.
    pub protections_name_policies: bool,
}

impl PolicyFiles {
    pub(super) fn read(reader: &mut Reader) -> Result<Self> {
        let protections = reader.text(&options::PROPERTY_PROTECTION_FILE)?;
        let protections = protections.filter(|found| !found.text.trim().is_empty());
        let protections = protections
            .map(|found| required(reader, &options::PROPERTY_PROTECTION_FILE, &found))
            .transpose()?;
        for (option, usual) in
            [(&options::ENFORCE_NEW_DEFAULTS, true), (&options::ENFORCE_SCOPE, true)]
        {
            if reader.boolean(option)? != usual {
                let note = format!("{option} = {} has no effect", !usual);
                reader.notes.push(note);
            }
        }
        Ok(Self {
            file: file(reader)?,
            directories: directories(reader)?,
            protections,
            protections_name_policies: names_policies(reader)?,
        })
    }
}

fn file(reader: &mut Reader) -> Result<Option<PathBuf>> {
    let option = &options::POLICY_FILE;
    let found = match reader.text(option)? {
        Some(found) if found.text.trim().is_empty() => return Ok(None),
        Some(found) => return required(reader, option, &found).map(Some),
        None => Found::derived(option, "policy.yaml".to_string(), None),
    };
    let there = search(reader, &found);
    if there.is_none() {
        let old = beside(reader, &found).map(|directory| directory.join("policy.json"));
        if let Some(old) = old.into_iter().find(|old| old.is_file()) {
            let note = format!(
                "{} is not read, as Glance does not: name it as {option}, if its rules are to hold",
                old.display()
            );
            reader.notes.push(note);
        }
    }
    Ok(there)
}

/// Those that are not there are not missed, as in oslo.policy.
fn directories(reader: &mut Reader) -> Result<Vec<PathBuf>> {
    let option = &options::POLICY_DIRS;
    let names = import_rules::bracketed(reader, option, |name| Ok(name.to_owned()))?;
    let place = reader.text(option)?.and_then(|found| found.place);
    let mut directories = Vec::new();
    for name in names {
        let found = Found::derived(option, name, place.clone());
        let Some(directory) = search(reader, &found) else { continue };
        if !directory.is_dir() {
            return Err(bad_value(option, Some(&found), "directories"));
        }
        directories.push(directory);
    }
    Ok(directories)
}

fn names_policies(reader: &mut Reader) -> Result<bool> {
    let option = &options::PROPERTY_PROTECTION_RULE_FORMAT;
    let found = reader.text(option)?;
    match found.as_ref().map(|found| found.text.trim().to_lowercase()).as_deref() {
        None | Some("" | "roles") => Ok(false),
        Some("policies") => Ok(true),
        Some(_) => Err(bad_value(option, found.as_ref(), "roles or policies")),
    }
}

/// A file that was named has to be there.
fn required(reader: &Reader, option: &ConfigOption, found: &Found) -> Result<PathBuf> {
    let path = search(reader, found).filter(|path| path.is_file());
    path.ok_or_else(|| {
        let place = found.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        Error::Config(format!(
            "{place}{option}: there is no file {} (a relative path begins beside the configuration \
             file)",
            found.text.trim()
        ))
    })
}

fn search(reader: &Reader, found: &Found) -> Option<PathBuf> {
    let name = Path::new(found.text.trim());
    let places = beside(reader, found).map(|directory| directory.join(name));
    let path = places.into_iter().find(|path| path.exists())?;
    absolute(path.to_string_lossy().into_owned()).ok()
}

/// Where relative paths begin: beside the file that says so, then beside the others, the last one
/// first.  An absolute path is itself wherever it begins.
fn beside(reader: &Reader, found: &Found) -> impl Iterator<Item = PathBuf> + use<> {
    let own = found.place.as_ref().map(|place| place.file.clone());
    let files: Vec<PathBuf> = own.into_iter().chain(reader.paths().rev().cloned()).collect();
    files.into_iter().map(|file| file.parent().unwrap_or(Path::new("")).to_path_buf())
}
