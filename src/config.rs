//! What the operator asked for: Glance's own configuration files, typed.
//!
//! [`Config::load`] reads `glance-api.conf` as oslo.config would ([`ini`], `reader`), takes what
//! concerns glancefs ([`options`] is the table) and checks it.  An option without effect is never
//! fatal: [`Config::log_notes`] names each once.  Acting on the values is left to everybody else;
//! `-o` of the mount is in [`mount_options`].

mod database;
pub mod files;
pub mod http;
mod import;
pub mod import_rules;
pub mod ineffective;
pub mod ini;
pub mod keystone;
pub mod logging;
mod memory;
mod mount_identity;
pub mod mount_options;
pub mod network;
pub mod notifications;
pub mod options;
pub mod policy;
mod reader;
pub mod scrubbing;
mod secrets;
pub mod settings;
pub mod stores;

use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use reader::UnusedOption;

use http::Http;
use logging::{LogFormat, Logging};
use notifications::Notifications;

use crate::catalog::database::Database;
use crate::error::{Error, Result};
use crate::identity::local::UidMap;
use crate::identity::{ProjectId, RequestContext};
use import_rules::ImportRules;
use keystone::{TokenChecks, UnifiedLimits};
use policy::PolicyFiles;
use reader::{Reader, bad_value};
use scrubbing::Scrubbing;
use settings::{Origin, Setting};
use stores::{StoreSettings, Stores};

/// Which digest `os_hash_value` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashingAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512 (Glance: the default).
    Sha512,
}

impl HashingAlgorithm {
    /// The name as `os_hash_algo` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// What the command line says about the API's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// Nothing: the configuration decides.
    #[default]
    AsConfigured,
    /// `--listen`.
    On(SocketAddr),
    /// `--no-api`.
    Off,
}

/// What the command line says, which wins over every file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--listen` or `--no-api`.
    pub listen: Listen,
    /// `--project`.
    pub project: Option<ProjectId>,
    /// `--verbose`.
    pub verbose: bool,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

/// Everything that can be configured, checked, with defaults filled in.
///
/// All paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// What outlives the program: catalog, images, journal, admin socket.
    /// `[glancefs] state_dir`; default `/var/lib/glancefs` for root, else `glancefs` under
    /// `$XDG_STATE_HOME` or `~/.local/state`.
    pub state_dir: PathBuf,
    /// The catalog's database.  `[database] connection`; default `<state_dir>/glance.sqlite`.
    pub catalog: Database,
    /// Where images live, the default store first; there is one at least.
    pub stores: Vec<StoreSettings>,
    /// The names of the stores, in the operator's order; empty without `enabled_backends`, where
    /// stores have no names.
    pub enabled_backends: Vec<String>,
    /// Where the API listens, `None` for no API.  `bind_host`, `bind_port`; default
    /// 127.0.0.1:9292, with authentication 0.0.0.0:9292.
    pub listen: Option<SocketAddr>,
    /// Base URL in answers, without a slash at its end.  `public_endpoint`; default: as asked.
    pub public_endpoint: Option<String>,
    /// Bytes of the largest image.  `image_size_cap`; default 1 TiB.
    pub image_size_cap: u64,
    /// Whether `direct_url` is shown.  Default false.
    pub show_image_direct_url: bool,
    /// Whether `locations` are shown.  Default false.
    pub show_multiple_locations: bool,
    /// Digest of new images.  `hashing_algorithm`; default SHA-512.
    pub hashing_algorithm: HashingAlgorithm,
    /// Images in one page when the client does not say, at most `api_limit_max`.  Default 25.
    pub limit_param_default: u32,
    /// Most images in one page.  Default 1000.
    pub api_limit_max: u32,
    /// Most custom properties of an image, `None` for any number.  Default 128.
    pub image_property_quota: Option<u32>,
    /// Most tags of an image, `None` for any number.  Default 128.
    pub image_tag_quota: Option<u32>,
    /// Most members of an image, `None` for any number.  Default 128.
    pub image_member_quota: Option<u32>,
    /// Most locations of an image, `None` for any number.  Default 10.
    pub image_location_quota: Option<u32>,
    /// Whether data that a location is given for is hashed.
    pub do_secure_hash: bool,
    /// How often that is tried again.
    pub http_retries: u32,
    /// Values that `disk_format` may have.
    pub disk_formats: Vec<String>,
    /// Values that `container_format` may have.
    pub container_formats: Vec<String>,
    /// Whether bytes of another format than declared are refused.  Default true.
    pub require_image_format_match: bool,
    /// Where the log goes, and how it looks.
    pub logging: Logging,
    /// The project that the mount acts as, and the API without authentication, `None` for the
    /// operator, who sees all.
    /// `[glancefs] mount_project`, `--project`.
    pub project: Option<ProjectId>,
    /// The same with its roles.  `[glancefs] mount_roles`.
    pub acts_as: RequestContext,
    /// Whom each user of this machine acts as in the mount, `None` for all the same.
    /// `[glancefs] uid_map, unmapped`.
    pub uid_map: Option<UidMap>,
    /// Bytes of images kept in memory.  `[glancefs] block_cache_size`.
    pub block_cache_size: u64,
    /// Where `/metrics` is served, `None` for nowhere.  `[glancefs] metrics_listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// Where images of distant stores are kept on a local disk, `None` for nowhere.
    /// `image_cache_dir`.
    pub image_cache_dir: Option<PathBuf>,
    /// Bytes that they take at most.  `image_cache_max_size`; default 10 GiB.
    pub image_cache_max_size: u64,
    /// Methods of import, those that there are.  `enabled_import_methods`.
    pub enabled_import_methods: Vec<String>,
    /// Where data waits to be imported.  `node_staging_uri`, with `enabled_backends`
    /// `[os_glance_staging_store] filesystem_store_datadir`; default `<state_dir>/staging`.
    pub staging_dir: PathBuf,
    /// How long a task that has ended is remembered.  `[task] task_time_to_live`; default 48 hours.
    pub task_time_to_live: Duration,
    /// Imports at once.  `[glancefs] max_imports`; default 4.
    pub max_imports: usize,
    /// How long an import may take.  `[glancefs] import_timeout`; default 24 hours.
    pub import_timeout: Duration,
    /// How long an upload may be silent before it is taken for abandoned; `None`: for ever.
    /// `[glancefs] give_up_uploads_after`; default two days.
    pub give_up_uploads_after: Option<Duration>,
    /// How HTTP is spoken.
    pub http: Http,
    /// Bytes that all images of one project may take.  `user_storage_quota`; default no limit.
    pub user_storage_quota: Option<u64>,
    /// `worker_self_reference_url`.
    pub worker_self_reference_url: Option<String>,
    /// Uploads in progress at once.  `[glancefs] max_uploads`; default 64.
    pub max_uploads: usize,
    /// What web-download may ask for, and what is done to images that are imported.
    pub import_rules: ImportRules,
    /// What becomes of the data of deleted images.
    pub scrubbing: Scrubbing,
    /// The operator's rules of who may do what.
    pub policy: PolicyFiles,
    /// Keystone, where the API asks it who sends a request; `None`: no authentication.
    /// `[paste_deploy] flavor`, `[keystone_authtoken]`.
    pub token_checks: Option<TokenChecks>,
    /// Keystone, where it says what projects may have.  `use_keystone_limits`, `[oslo_limit]`.
    pub unified_limits: Option<UnifiedLimits>,
    /// Who is told of what is done to images.
    pub notifications: Notifications,
    /// What each option is in force with, and why.
    pub settings: Vec<Setting>,
    /// Options in the files that change nothing.
    pub unused: Vec<UnusedOption>,
    /// Other things that the operator should know, each said once.
    pub notes: Vec<String>,
    /// What it was read from.
    pub files: Vec<PathBuf>,
    /// What the command line said.
    pub overrides: Overrides,
}

impl Config {
    /// Reads the files in order, later ones win; then applies the command line.
    ///
    /// # Errors
    /// `Config` for a value, or values together, that cannot work: says where and what to write.
    pub fn load(files: &[PathBuf], overrides: &Overrides) -> Result<Self> {
        let config = Self::from_reader(Reader::open(files)?, overrides)?;
        Ok(Self { files: files.to_vec(), overrides: overrides.clone(), ..config })
    }

    /// The configuration as the same files and command line have it now.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn read_again(&self) -> Result<Self> {
        Self::load(&self.files, &self.overrides)
    }

    fn from_reader(mut reader: Reader, overrides: &Overrides) -> Result<Self> {
        let reader = &mut reader;
        let state_dir = state_dir(reader, overrides)?;
        let stores = Stores::read(reader, &state_dir)?;
        let api_limit_max = count(reader, &options::API_LIMIT_MAX, 1)?;
        let project = reader.word(&options::MOUNT_PROJECT)?.map(ProjectId::new);
        let project = overrides.project.clone().or(project);
        let mut config = Self {
            catalog: database::database(reader, &state_dir)?,
            stores: stores.stores,
            enabled_backends: stores.enabled_backends,
            listen: listen(reader, overrides.listen)?,
            public_endpoint: reader
                .word(&options::PUBLIC_ENDPOINT)?
                .map(|url| url.trim_end_matches('/').to_owned()),
            image_size_cap: reader.integer(&options::IMAGE_SIZE_CAP, 1..=i64::MAX)?.unsigned_abs(),
            show_image_direct_url: reader.boolean(&options::SHOW_IMAGE_DIRECT_URL)?,
            show_multiple_locations: reader.boolean(&options::SHOW_MULTIPLE_LOCATIONS)?,
            hashing_algorithm: hashing_algorithm(reader)?,
            limit_param_default: count(reader, &options::LIMIT_PARAM_DEFAULT, 1)?
                .min(api_limit_max),
            api_limit_max,
            image_property_quota: quota(reader, &options::IMAGE_PROPERTY_QUOTA)?,
            image_tag_quota: quota(reader, &options::IMAGE_TAG_QUOTA)?,
            image_member_quota: quota(reader, &options::IMAGE_MEMBER_QUOTA)?,
            do_secure_hash: reader.boolean(&options::DO_SECURE_HASH)?,
            http_retries: count(reader, &options::HTTP_RETRIES, 0)?,
            image_location_quota: quota(reader, &options::IMAGE_LOCATION_QUOTA)?,
            http: Http::read(reader)?,
            user_storage_quota: storage_quota(reader)?,
            disk_formats: reader.list(&options::DISK_FORMATS)?,
            container_formats: reader.list(&options::CONTAINER_FORMATS)?,
            require_image_format_match: reader.boolean(&options::REQUIRE_FORMAT_MATCH)?,
            logging: Logging::read(reader, overrides.verbose, overrides.log_format)?,
            acts_as: mount_identity::identity(reader, project.as_ref())?,
            uid_map: mount_identity::uid_map(reader)?,
            project,
            block_cache_size: memory::block_cache_size(reader)?,
            metrics_listen: metrics_listen(reader)?,
            image_cache_dir: reader.word(&options::IMAGE_CACHE_DIR)?.map(absolute).transpose()?,
            image_cache_max_size: reader
                .integer(&options::IMAGE_CACHE_MAX_SIZE, 0..=i64::MAX)?
                .unsigned_abs(),
            enabled_import_methods: import::methods(reader)?,
            staging_dir: import::staging_dir(reader, &state_dir)?,
            task_time_to_live: import::task_time_to_live(reader)?,
            max_imports: count(reader, &options::MAX_IMPORTS, 1)? as usize,
            import_timeout: import::timeout(reader)?,
            give_up_uploads_after: give_up_uploads_after(reader)?,
            worker_self_reference_url: reader.word(&options::WORKER_SELF_REFERENCE_URL)?,
            max_uploads: count(reader, &options::MAX_UPLOADS, 1)? as usize,
            import_rules: ImportRules::read(reader)?,
            scrubbing: Scrubbing::read(reader)?,
            policy: PolicyFiles::read(reader)?,
            token_checks: match overrides.listen {
                Listen::Off => None,
                _ => TokenChecks::read(reader)?,
            },
            unified_limits: UnifiedLimits::read(reader)?,
            notifications: Notifications::read(reader)?,
            state_dir,
            settings: Vec::new(),
            unused: Vec::new(),
            notes: Vec::new(),
            files: Vec::new(),
            overrides: Overrides::default(),
        };
        config.check_exposure(reader);
        config.check_flavor(reader)?;
        let key = config.http.tls.as_ref().and_then(|tls| secrets::private_key(&tls.key));
        reader.notes.extend(key.into_iter().chain(secrets::state_dir(&config.state_dir)));
        config.settings = std::mem::take(&mut reader.settings);
        config.override_settings(overrides);
        config.unused = reader.unused();
        config.notes = std::mem::take(&mut reader.notes);
        Ok(config)
    }

    /// Whom the mount acts as, and the API without authentication.
    pub fn identity(&self) -> RequestContext {
        self.acts_as.clone()
    }

    /// Makes the state directory, for its owner alone, where it is missing.
    pub fn create_state_dir(&self) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.state_dir)
            .map_err(|error| unusable_state_dir(&self.state_dir, &error))
    }

    /// Logs what the operator should know of the files: once, at start.
    pub fn log_notes(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    /// What the operator should know of the files, each a line.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.unused.iter().partition(|option| option.known_to_glance);
        let (registry, known): (Vec<_>, Vec<_>) = known
            .into_iter()
            .partition(|o| o.section == "DEFAULT" && ineffective::is_for_registry(&o.name));
        if !registry.is_empty() {
            let names = names(&registry, false);
            warnings.push(format!(
                "the catalog is used by this process itself, no glance-registry is asked: {names}"
            ));
        }
        if !known.is_empty() {
            let names = names(&known, false);
            warnings.push(format!("{} options have no effect here: {names}", known.len()));
        }
        if !unknown.is_empty() {
            let names = names(&unknown, true);
            warnings.push(format!("unknown, and so without effect (misspelt?): {names}"));
        }
        warnings
    }

    /// Says of the settings that the command line has set what they are.
    fn override_settings(&mut self, overrides: &Overrides) {
        let state_dir = overrides.state_dir.is_some().then(|| self.state_dir.display().to_string());
        let project = overrides.project.as_ref().map(ToString::to_string);
        let debug = overrides.verbose.then(|| "true".to_owned());
        for (option, value, argument) in [
            (&options::STATE_DIR, state_dir, "--state-dir"),
            (&options::MOUNT_PROJECT, project, "--project"),
            (&options::DEBUG, debug, "--verbose"),
        ] {
            let own = |s: &&mut Setting| s.section == option.section && s.name == option.name;
            if let (Some(value), Some(setting)) = (value, self.settings.iter_mut().find(own)) {
                setting.value = Some(value);
                setting.origin = Origin::CommandLine(argument);
            }
        }
    }

    /// Warns of a Keystone that is described and never asked, as many published files have it.
    fn check_flavor(&self, reader: &mut Reader) -> Result<()> {
        let served = self.listen.is_some() && self.token_checks.is_none();
        let described = reader.has_section(options::AUTH_URL.section);
        // Who writes `flavor =` means it.
        if served && described && reader.text(&options::FLAVOR)?.is_none() {
            reader.notes.push(
                "no request is asked for a token, whatever [keystone_authtoken] says: that takes \
                 flavor = keystone in [paste_deploy]"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Warns of serving a network without authentication.
    fn check_exposure(&self, reader: &mut Reader) {
        let exposed = self.listen.filter(|address| !address.ip().is_loopback());
        if let Some(address) = exposed.filter(|_| self.token_checks.is_none()) {
            let acting_as = match &self.project {
                Some(project) => format!("a member of project {project}"),
                None => "the operator, who may do everything".to_owned(),
            };
            reader.notes.push(format!(
                "the API is open to the network at {address} without authentication: whoever \
                 reaches it acts as {acting_as}"
            ));
        }
    }
}

/// The state directory cannot be made or written to: says what to do.
pub fn unusable_state_dir(path: &Path, error: &std::io::Error) -> Error {
    Error::Config(format!(
        "the state directory {} cannot be used: {error}; make it for this user alone (mode 0700), or \
         name another with --state-dir or [glancefs] state_dir",
        path.display()
    ))
}

/// Where everything lives when neither file nor command line says; for commands without a
/// configuration file.
///
/// # Errors
/// `Config` when there is neither `$XDG_STATE_HOME` nor `$HOME` to put it in.
pub fn default_state_dir() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/glancefs"));
    }
    let absolute_from =
        |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute_from("XDG_STATE_HOME")
        .or_else(|| absolute_from("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("glancefs")).ok_or_else(|| {
        Error::Config("neither HOME nor XDG_STATE_HOME is set: give --state-dir".to_owned())
    })
}

fn names(options: &[&UnusedOption], with_place: bool) -> String {
    let name = |option: &&UnusedOption| {
        let place = if with_place { format!(" ({})", option.place) } else { String::new() };
        format!("[{}] {}{place}", option.section, option.name)
    };
    options.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn absolute(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    std::path::absolute(path)
        .map(|path| path.components().collect())
        .map_err(Error::io("find", path.display()))
}

fn state_dir(reader: &mut Reader, overrides: &Overrides) -> Result<PathBuf> {
    let configured = reader.word(&options::STATE_DIR)?.map(PathBuf::from);
    match overrides.state_dir.clone().or(configured) {
        Some(path) => absolute(path),
        None => default_state_dir(),
    }
}

fn listen(reader: &mut Reader, asked: Listen) -> Result<Option<SocketAddr>> {
    let port = reader.integer(&options::BIND_PORT, 0..=65535)?;
    let host = reader.word(&options::BIND_HOST)?;
    match asked {
        Listen::Off => Ok(None),
        Listen::On(address) => Ok(Some(address)),
        Listen::AsConfigured => {
            let port = u16::try_from(port).unwrap_or_default();
            let authenticated = keystone::is_wanted(reader)?;
            let usual = if authenticated { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
            let ip = host.map_or(Ok(usual.into()), |host| resolve(&host))?;
            Ok(Some(SocketAddr::new(ip, port)))
        }
    }
}

fn metrics_listen(reader: &mut Reader) -> Result<Option<SocketAddr>> {
    let Some(found) = reader.text(&options::METRICS_LISTEN)? else { return Ok(None) };
    let address = found.text.trim();
    if address.is_empty() {
        return Ok(None);
    }
    let wanted = "write an address and a port, as 127.0.0.1:9293";
    address.parse().map(Some).map_err(|_| bad_value(&options::METRICS_LISTEN, Some(&found), wanted))
}

fn resolve(host: &str) -> Result<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse() {
        return Ok(ip);
    }
    let found = (bare, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    found.map(|address| address.ip()).ok_or_else(|| {
        Error::Config(format!(
            "{}: no address is known for {host:?}: write an IP address, such as 127.0.0.1",
            options::BIND_HOST
        ))
    })
}

fn hashing_algorithm(reader: &mut Reader) -> Result<HashingAlgorithm> {
    let found = reader.text(&options::HASHING_ALGORITHM)?;
    match found.as_ref().map_or("", |found| found.text.trim()).to_lowercase().as_str() {
        "sha256" => Ok(HashingAlgorithm::Sha256),
        "sha384" => Ok(HashingAlgorithm::Sha384),
        "sha512" => Ok(HashingAlgorithm::Sha512),
        _ => Err(bad_value(
            &options::HASHING_ALGORITHM,
            found.as_ref(),
            "write sha512, sha384 or sha256",
        )),
    }
}

fn count(reader: &mut Reader, option: &options::ConfigOption, least: u32) -> Result<u32> {
    let number = reader.integer(option, least.into()..=i64::MAX)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// How long an upload may be silent; 0 for ever.
fn give_up_uploads_after(reader: &mut Reader) -> Result<Option<Duration>> {
    let seconds = count(reader, &options::GIVE_UP_UPLOADS_AFTER, 0)?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

/// A limit, where a negative number means none (Glance: all `image_*_quota`).
fn quota(reader: &mut Reader, option: &options::ConfigOption) -> Result<Option<u32>> {
    let number = reader.integer(option, i64::MIN..=i64::MAX)?;
    Ok((number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX)))
}

/// Bytes, or a number with a unit right behind it; 0 for no limit.
fn storage_quota(reader: &mut Reader) -> Result<Option<u64>> {
    let found = reader.text(&options::USER_STORAGE_QUOTA)?;
    let text = found.as_ref().map_or("", |found| found.text.trim());
    let text = if text.is_empty() { options::USER_STORAGE_QUOTA.default } else { text };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = ["B", "KB", "MB", "GB", "TB"].iter().position(|known| *known == unit);
    let shift = if unit.is_empty() { Some(0) } else { shift };
    let bytes = shift.zip(number.parse::<u64>().ok()).and_then(|(power, number)| {
        number.checked_mul(1 << (10 * power)).filter(|bytes| i64::try_from(*bytes).is_ok())
    });
    let wanted = "write bytes, or a number with B, KB, MB, GB or TB right behind it, as 500GB";
    let bytes =
        bytes.ok_or_else(|| bad_value(&options::USER_STORAGE_QUOTA, found.as_ref(), wanted));
    bytes.map(|bytes| (bytes > 0).then_some(bytes))
}

#[cfg(test)]
mod tests;
