//! Which stores are configured, in Glance's two ways of saying so: `stores` and `default_store` with
//! options in `[glance_store]` (in 2013 `[DEFAULT]`), or `enabled_backends` with a section for each
//! store.  What kinds there are and how each is set is said here; opening them is left to others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::options::ConfigOption;
use super::reader::{Found, Reader, bad_value};
use super::{absolute, options};
use crate::error::{Error, Result};

/// One store, as it is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// What `enabled_backends` calls it; without that, its kind.
    pub name: String,
    /// `store_description`, for people.
    pub description: Option<String>,
    /// `weight`: of an image's locations, those in heavier stores are read first.  Default 0.
    pub weight: i64,
    /// What it is, and where.
    pub kind: StoreKind,
}

/// The kinds of stores that there are, each with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A directory.
    File(FileSettings),
    /// A pool of a Ceph cluster.
    Rbd(RbdSettings),
}

/// A directory with a file for each image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Absolute.  `filesystem_store_datadir`; default `<state_dir>/images`.
    pub datadir: PathBuf,
    /// Mode of image files.  `filesystem_store_file_perm`; default 0640.
    pub perm: u32,
    /// Whether runs of zero bytes become holes.  `filesystem_thin_provisioning`; default false.
    pub thin_provisioning: bool,
}

/// A pool with an RBD image for each image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbdSettings {
    /// `rbd_store_ceph_conf`; `None`: where Ceph looks by itself.
    pub conf: Option<PathBuf>,
    /// `rbd_store_user`; `None`: `admin`.
    pub user: Option<String>,
    /// `rbd_store_pool`; default `images`.
    pub pool: String,
    /// `rbd_store_chunk_size`: MiB of an object, a power of two; default 8.
    pub chunk_mib: u32,
    /// `rbd_store_data_pool`: where the data goes, if not into the pool itself.
    pub data_pool: Option<String>,
    /// `rados_connect_timeout`; `None`: as Ceph's own configuration says; zero: no limit.
    pub connect_timeout: Option<Duration>,
    /// `rbd_thin_provisioning`; default false.
    pub thin_provisioning: bool,
}

/// All stores, and whether they have names.
pub(super) struct Stores {
    /// The default one first, the others in the operator's order.
    pub(super) stores: Vec<StoreSettings>,
    /// The names, in the operator's order; empty without `enabled_backends`.
    pub(super) enabled_backends: Vec<String>,
}

/// A kind's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Rbd,
}

impl Stores {
    pub(super) fn read(reader: &mut Reader, state_dir: &Path) -> Result<Self> {
        let backends = reader.list(&options::ENABLED_BACKENDS)?;
        let default_backend = reader.word(&options::DEFAULT_BACKEND)?;
        let single = Single::read(reader)?;
        if backends.is_empty() {
            return single.stores(reader, state_dir);
        }
        let backends = usable_backends(reader, &backends)?;
        let mut stores = Vec::new();
        for (name, kind) in &backends {
            let mut own = Own { reader, section: Some(name) };
            stores.push(own.store(name, *kind, state_dir)?);
        }
        if let Some(default) = default_backend {
            let position = stores.iter().position(|store| store.name == default);
            let position = position.ok_or_else(|| {
                let choices: Vec<_> = stores.iter().map(|store| store.name.as_str()).collect();
                Error::Config(format!(
                    "{} must be one of {}: {}",
                    options::DEFAULT_BACKEND,
                    options::ENABLED_BACKENDS,
                    choices.join(", ")
                ))
            })?;
            // The others keep their order.
            let chosen = stores.remove(position);
            stores.insert(0, chosen);
        }
        check_distinct(&stores)?;
        let enabled_backends = backends.into_iter().map(|(name, _)| name).collect();
        Ok(Self { stores, enabled_backends })
    }
}

/// The backends whose kind there is here; the others are named in a note.
fn usable_backends(reader: &mut Reader, backends: &[String]) -> Result<Vec<(String, Kind)>> {
    let mut usable: Vec<(String, Kind)> = Vec::new();
    let mut left_out = Vec::new();
    for backend in backends {
        let (name, kind) = backend.split_once(':').unwrap_or((backend, ""));
        let name = name.trim();
        match Kind::named(kind.trim()) {
            Some(_) if usable.iter().any(|(other, _)| other == name) => {
                let twice = format!(
                    "{} names {name} twice: give each store a name of its own",
                    options::ENABLED_BACKENDS
                );
                return Err(Error::Config(twice));
            }
            Some(kind) => usable.push((name.to_owned(), kind)),
            None => left_out.push(backend.as_str()),
        }
    }
    if usable.is_empty() {
        return Err(Error::Config(format!(
            "{}: stores of type file and rbd are possible here: write for example `fast:file, \
             ceph:rbd`, with a section for each",
            options::ENABLED_BACKENDS
        )));
    }
    if !left_out.is_empty() {
        reader.notes.push(format!(
            "{}: {} left out, only stores of type file and rbd are possible here",
            options::ENABLED_BACKENDS,
            left_out.join(", ")
        ));
    }
    Ok(usable)
}

/// What is said without `enabled_backends`.
struct Single {
    /// `stores` or `known_stores`: names, or paths of classes.
    named: Vec<String>,
    default: Option<Found>,
}

impl Single {
    fn read(reader: &mut Reader) -> Result<Self> {
        let named = reader.list(&options::STORES)?;
        Ok(Self { named, default: reader.text(&options::DEFAULT_STORE)? })
    }

    /// The default store, and those of `stores` that are named besides.
    fn stores(self, reader: &mut Reader, state_dir: &Path) -> Result<Stores> {
        let kinds: Vec<Kind> = self.named.iter().filter_map(|name| Kind::named(name)).collect();
        let default = match &self.default {
            // An empty value stands for the default, too.
            Some(found) if found.place.is_some() && !found.text.trim().is_empty() => {
                Kind::named(found.text.trim()).ok_or_else(|| {
                    bad_value(&options::DEFAULT_STORE, Some(found), "write file or rbd")
                })?
            }
            _ if kinds.contains(&Kind::File) => Kind::File,
            _ => kinds.first().copied().unwrap_or(Kind::File),
        };
        let mut stores = Vec::new();
        let others = kinds.into_iter().filter(|kind| *kind != default);
        for kind in std::iter::once(default).chain(others) {
            let mut own = Own { reader, section: None };
            let store = own.store(kind.name(), kind, state_dir)?;
            if !stores.contains(&store) {
                stores.push(store);
            }
        }
        Ok(Stores { stores, enabled_backends: Vec::new() })
    }
}

impl Kind {
    /// The kind that a configuration names: `rbd`, or the class that it was in 2013.
    fn named(name: &str) -> Option<Self> {
        let mut parts = name.rsplit('.');
        let module = match parts.next() {
            // glance.store.rbd.Store
            Some("Store") => parts.next(),
            last => last,
        };
        match module? {
            "file" | "filesystem" => Some(Self::File),
            "rbd" => Some(Self::Rbd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Rbd => "rbd",
        }
    }
}

/// Two stores in one place would each remove what the other has under way.
fn check_distinct(stores: &[StoreSettings]) -> Result<()> {
    for (index, store) in stores.iter().enumerate() {
        let same = |other: &&StoreSettings| match (&store.kind, &other.kind) {
            (StoreKind::File(one), StoreKind::File(other)) => one.datadir == other.datadir,
            (StoreKind::Rbd(one), StoreKind::Rbd(other)) => {
                one.pool == other.pool && one.conf == other.conf
            }
            _ => false,
        };
        if let Some(other) = stores.iter().skip(index + 1).find(same) {
            return Err(Error::Config(format!(
                "stores {} and {} are in the same place: give each a directory or pool of its own",
                store.name, other.name
            )));
        }
    }
    Ok(())
}

/// The options of one store: in its own section, or in `[glance_store]`.
struct Own<'r> {
    reader: &'r mut Reader,
    section: Option<&'r str>,
}

impl Own<'_> {
    fn store(&mut self, name: &str, kind: Kind, state_dir: &Path) -> Result<StoreSettings> {
        let description = match self.section {
            Some(_) => self.word(&options::STORE_DESCRIPTION)?,
            None => None,
        };
        let weight = match self.section {
            Some(_) => self.integer(&options::STORE_WEIGHT, i64::MIN..=i64::MAX)?,
            None => 0,
        };
        let kind = match kind {
            Kind::File => StoreKind::File(self.file(state_dir)?),
            Kind::Rbd => StoreKind::Rbd(self.rbd()?),
        };
        Ok(StoreSettings { name: name.to_owned(), description, weight, kind })
    }

    fn file(&mut self, state_dir: &Path) -> Result<FileSettings> {
        let (one, many) = (self.text(&options::DATADIR)?, self.text(&options::DATADIRS)?);
        let perm = self.text(&options::FILE_PERM)?;
        let datadir = match (datadir(one, many)?, self.section) {
            (Some(datadir), _) => absolute(datadir)?,
            (None, None) => state_dir.join("images"),
            // Several stores must not share the embedded one's directory.
            (None, Some(name)) => state_dir.join("images").join(name),
        };
        Ok(FileSettings {
            datadir,
            perm: perm.map_or(Ok(0o640), |found| file_mode(&found))?,
            thin_provisioning: self.boolean(&options::THIN)?,
        })
    }

    fn rbd(&mut self) -> Result<RbdSettings> {
        let chunk = self.integer(&options::RBD_CHUNK_SIZE, 1..=32)?;
        let chunk_mib = u32::try_from(chunk).unwrap_or_default();
        if !chunk_mib.is_power_of_two() {
            let found = self.text(&options::RBD_CHUNK_SIZE)?;
            let wanted = "write 1, 2, 4, 8, 16 or 32";
            return Err(bad_value(&options::RBD_CHUNK_SIZE, found.as_ref(), wanted));
        }
        let timeout = self.integer(&options::RADOS_TIMEOUT, -1..=i64::from(i32::MAX))?;
        Ok(RbdSettings {
            conf: self.word(&options::RBD_CONF)?.map(absolute).transpose()?,
            user: self.word(&options::RBD_USER)?,
            pool: self.word(&options::RBD_POOL)?.unwrap_or_else(|| "images".to_owned()),
            chunk_mib,
            data_pool: self.word(&options::RBD_DATA_POOL)?,
            connect_timeout: u64::try_from(timeout).ok().map(Duration::from_secs),
            thin_provisioning: self.boolean(&options::RBD_THIN)?,
        })
    }

    fn text(&mut self, option: &ConfigOption) -> Result<Option<Found>> {
        match self.section {
            Some(section) => self.reader.text_in(section, option),
            None => self.reader.text(option),
        }
    }

    fn word(&mut self, option: &ConfigOption) -> Result<Option<String>> {
        Ok(Reader::as_word(self.text(option)?))
    }

    fn boolean(&mut self, option: &ConfigOption) -> Result<bool> {
        let found = self.text(option)?;
        Reader::as_boolean(option, found)
    }

    fn integer(
        &mut self,
        option: &ConfigOption,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64> {
        let found = self.text(option)?;
        Reader::as_integer(option, found, range)
    }
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
fn file_mode(found: &Found) -> Result<u32> {
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
