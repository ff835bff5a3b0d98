//! The options of Glance that the rules of images depend on, with Glance's names and defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::digest::HashAlgorithm;
use super::format::FormatRules;
use super::import::plugins::Plugin;
use super::import::web::WebRules;
use super::policy::Policy;
use super::quota::limits::ProjectLimits;
use super::scrub::ScrubOptions;
use crate::catalog::model::{Image, Location};
use crate::store::Store;

/// A store that clients may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// `store_description`
    pub description: Option<String>,
    /// `weight`: of an image's locations, those in heavier stores are read first.
    pub weight: i64,
}

/// Where images of distant stores are kept on a local disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCache {
    /// `image_cache_dir`
    pub directory: PathBuf,
    /// Bytes: `image_cache_max_size`
    pub max_size: u64,
}

/// How images are imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Import methods that answers announce (`enabled_import_methods`).
    pub enabled_methods: Vec<String>,
    /// Where data waits to be imported (`node_staging_uri`, `[os_glance_staging_store]`); `None`:
    /// none can be staged.
    pub staging: Option<PathBuf>,
    /// How long a task that has ended is remembered (`[task] task_time_to_live`).
    pub task_time_to_live: Duration,
    /// Imports at once (`[glancefs] max_imports`); further ones wait.
    pub at_once: usize,
    /// How long an import may take (`[glancefs] import_timeout`).
    pub timeout: Duration,
    /// What web-download may ask for (`[import_filtering_opts]`).
    pub web: WebRules,
    /// What is done to images that are imported (`image_import_plugins`).
    pub plugins: Vec<Plugin>,
    /// How the names of properties begin that come along with a peer's image
    /// (`[glance_download_properties] extra_properties`).
    pub peer_properties: Vec<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            enabled_methods: Vec::new(),
            staging: None,
            task_time_to_live: Duration::from_secs(48 * 3600),
            at_once: 4,
            timeout: Duration::from_secs(24 * 3600),
            web: WebRules::default(),
            plugins: Vec::new(),
            peer_properties: Vec::new(),
        }
    }
}

/// What an operator can set about images.  Each field is the option of that name.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the largest image that is accepted.
    pub image_size_cap: u64,
    /// The secure hash computed of every image.
    pub hashing_algorithm: HashAlgorithm,
    /// How strictly data is held against its declared format (`[image_format]`).
    pub format_rules: FormatRules,
    /// Show where the data is as `direct_url`.
    pub show_image_direct_url: bool,
    /// Show where the data is as `locations`.
    pub show_multiple_locations: bool,
    /// Formats that `disk_format` may name.
    pub disk_formats: Vec<String>,
    /// Formats that `container_format` may name.
    pub container_formats: Vec<String>,
    /// Custom properties of one image at most; negative: no limit.
    pub image_property_quota: i64,
    /// Tags of one image at most; negative: no limit.
    pub image_tag_quota: i64,
    /// Most members of one image; negative: no limit.
    pub image_member_quota: i64,
    /// Most locations of one image; negative: no limit.
    pub image_location_quota: i64,
    /// Hash data that a location is given for.
    pub do_secure_hash: bool,
    /// How often that is tried again when the data cannot be read.
    pub http_retries: u32,
    /// Bytes that all images of one project may take; `None` for no limit.
    pub user_storage_quota: Option<u64>,
    /// Who knows what projects may have (`use_keystone_limits`); then `user_storage_quota` does not
    /// count.
    pub project_limits: Option<Arc<dyn ProjectLimits>>,
    /// Images on a page when the client does not say.
    pub limit_param_default: u64,
    /// Images on a page at most.
    pub api_limit_max: u64,
    /// The stores, in the operator's order; empty when stores have no names (`enabled_backends` is
    /// not set).
    pub enabled_backends: Vec<Backend>,
    /// Imports, and tasks in general.
    pub import: ImportOptions,
    /// Bytes of images that are kept in memory (`[glancefs] block_cache_size`).
    pub block_cache_size: u64,
    /// The disk cache; `None` for none.
    pub image_cache: Option<ImageCache>,
    /// The URL of this very daemon, as clients of the cache are told it.
    pub worker_self_reference_url: Option<String>,
    /// Uploads in progress at most, over both faces (`[glancefs] max_uploads`).
    pub max_uploads: usize,
    /// How long an upload may be silent before it is taken for abandoned, `None` for ever
    /// (`[glancefs] give_up_uploads_after`).
    pub give_up_uploads_after: Option<Duration>,
    /// What becomes of the data of deleted images.
    pub scrub: ScrubOptions,
    /// Who may do what (`[oslo_policy]`, `property_protection_file`).
    pub policy: Arc<Policy>,
}

impl Options {
    /// How much a location's store weighs.  Glance: without `enabled_backends`, or in a store that
    /// is not among them, nothing.
    pub fn weight_of(&self, location: &Location) -> i64 {
        let own = |backend: &&Backend| location.store() == Some(backend.name.as_str());
        self.enabled_backends.iter().find(own).map_or(0, |backend| backend.weight)
    }

    /// An image's locations where data can be read, those to be tried first in front.
    pub fn by_weight<'i>(&self, image: &'i Image) -> Vec<&'i Location> {
        let active = image.locations.iter().filter(|location| location.status == "active");
        let mut locations: Vec<&Location> = active.collect();
        // Stable: the record's order decides among equals.
        locations.sort_by_key(|location| std::cmp::Reverse(self.weight_of(location)));
        locations
    }

    /// How a record names data in a store.
    pub fn location(&self, url: &str, store: &dyn Store) -> Location {
        if self.enabled_backends.is_empty() {
            Location::unnamed(url)
        } else {
            Location::in_store(url, store.name())
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let words = |text: &str| text.split(' ').map(String::from).collect();
        Self {
            image_size_cap: 1 << 40,
            hashing_algorithm: HashAlgorithm::default(),
            format_rules: FormatRules::default(),
            show_image_direct_url: false,
            show_multiple_locations: false,
            disk_formats: words("ami ari aki vhd vhdx vmdk raw qcow2 vdi iso ploop luks gpt"),
            container_formats: words("ami ari aki bare ovf ova docker compressed"),
            image_property_quota: 128,
            image_tag_quota: 128,
            image_member_quota: 128,
            image_location_quota: 10,
            do_secure_hash: true,
            http_retries: 3,
            user_storage_quota: None,
            project_limits: None,
            limit_param_default: 25,
            api_limit_max: 1000,
            enabled_backends: Vec::new(),
            import: ImportOptions::default(),
            block_cache_size: 64 << 20,
            image_cache: None,
            worker_self_reference_url: None,
            max_uploads: 1000,
            give_up_uploads_after: None,
            scrub: ScrubOptions::default(),
            policy: Arc::default(),
        }
    }
}
