//! Which file store is configured, in Glance's two ways of saying so: `default_store` with options
//! in `[glance_store]`, or `enabled_backends` with a section for each store.

use std::path::{Path, PathBuf};

use super::reader::{Found, Reader, bad_value};
use super::{absolute, options};
use crate::error::{Error, Result};

/// The one store there can be today.
pub(super) struct FileStore {
    /// What `enabled_backends` calls it, else `file`.
    pub(super) name: String,
    /// Absolute.
    pub(super) datadir: PathBuf,
    /// Mode of image files.
    pub(super) perm: u32,
}

impl FileStore {
    pub(super) fn read(reader: &mut Reader, state_dir: &Path) -> Result<Self> {
        let name = Self::backend(reader)?;
        let own = |reader: &mut Reader, option| match &name {
            Some(section) => reader.text_in(section, option),
            None => reader.text(option),
        };
        let datadir = own(reader, &options::DATADIR)?;
        let datadirs = own(reader, &options::DATADIRS)?;
        let perm = own(reader, &options::FILE_PERM)?;
        Ok(Self {
            datadir: Self::datadir(datadir, datadirs)?
                .map_or_else(|| Ok(state_dir.join("images")), absolute)?,
            perm: perm.map_or(Ok(0o640), |found| Self::perm(&found))?,
            name: name.unwrap_or_else(|| "file".to_owned()),
        })
    }

    /// The name of the backend of type file that is used, `None` without `enabled_backends`.
    fn backend(reader: &mut Reader) -> Result<Option<String>> {
        let backends = reader.list(&options::ENABLED_BACKENDS)?;
        let default = reader.word(&options::DEFAULT_BACKEND)?;
        let store = reader.text(&options::DEFAULT_STORE)?;
        if backends.is_empty() {
            return match store.as_ref().map_or("file", |found| found.text.trim()) {
                // An empty value stands for the default; glance_store knows both names.
                "" | "file" | "filesystem" => Ok(None),
                _ => Err(bad_value(
                    &options::DEFAULT_STORE,
                    store.as_ref(),
                    "only `file` is possible yet",
                )),
            };
        }
        let mut files = backends.iter().filter_map(|backend| {
            let (name, kind) = backend.split_once(':')?;
            (kind.trim() == "file").then(|| name.trim().to_owned())
        });
        let chosen = match &default {
            Some(default) => files.find(|name| name == default),
            None => files.next(),
        };
        let Some(chosen) = chosen else {
            return Err(Error::Config(format!(
                "{}: only a store of type file is possible yet: write for example `fast:file`, and \
                 the same name in {}",
                options::ENABLED_BACKENDS,
                options::DEFAULT_BACKEND
            )));
        };
        if backends.len() > 1 {
            reader.notes.push(format!(
                "{}: only {chosen} is used, several stores are not possible yet",
                options::ENABLED_BACKENDS
            ));
        }
        Ok(Some(chosen))
    }

    fn datadir(one: Option<Found>, many: Option<Found>) -> Result<Option<PathBuf>> {
        let filled = |found: &Found| !found.text.trim().is_empty();
        if let Some(one) = one.filter(filled) {
            return Ok(Some(one.text.trim().into()));
        }
        let Some(many) = many.filter(filled) else {
            return Ok(None);
        };
        if many.text.contains([',', '\n']) {
            let wanted = "several directories are not possible yet: name one in \
                          filesystem_store_datadir";
            return Err(bad_value(&options::DATADIRS, Some(&many), wanted));
        }
        // Glance: `directory[:priority]`.
        let (path, priority) = many.text.split_once(':').unwrap_or((&many.text, "0"));
        let path = if priority.trim().parse::<u32>().is_ok() { path } else { &many.text };
        Ok(Some(path.trim().into()))
    }

    /// Glance: the digits are octal, 0 leaves the default.
    fn perm(found: &Found) -> Result<u32> {
        let wrong = || {
            let wanted = "write an octal mode that lets the owner read, such as 640";
            bad_value(&options::FILE_PERM, Some(found), wanted)
        };
        match u32::from_str_radix(found.text.trim().trim_start_matches("0o"), 8) {
            Ok(0) => Ok(0o640),
            Ok(mode) if mode <= 0o777 && mode & 0o400 != 0 => Ok(mode),
            _ => Err(wrong()),
        }
    }
}
