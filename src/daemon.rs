//! The one place that puts the parts together: catalog, stores, images, and the faces on top.
//!
//! Order matters.  What can fail for a reason that a user must mend (lock, database, port,
//! mountpoint) is tried before anything is shown; at the end, the faces stop taking work before
//! what they stand on goes.

mod abandoned;
mod background;
mod ending;
mod imports;
mod limits;
mod lock;
mod metrics;
mod operations;
mod privileges;
mod rounds;
mod scrubber;
pub(crate) mod scrubbing;
mod stores;
mod supervisor;

pub(crate) use stores::open_one as open_store;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Resource;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;

use crate::admin::{self, AdminSocket, MountReport};
use crate::api;
use crate::config::Config;
use crate::config::mount_options::MountOptions;
use crate::config::policy::PolicyFiles;
use crate::error::{Error, Result};
use crate::fs::filesystem::Filesystem;
use crate::fs::session::{self, Mount};
use crate::identity::keystone::{Keystone, QUESTIONS_AT_ONCE};
use crate::images::changes::{ForeignChanges, POLL};
use crate::images::format::FormatRules;
use crate::images::journal::Journal;
use crate::images::policy::Policy;
use crate::images::policy::file::Sources;
use crate::images::policy::protections::Format;
use crate::images::{Backend, ImageCache, Images, ImportOptions, Options};
use crate::metadefs::Metadefs;
use crate::notifications::{self, Deliveries, Notifier};
use ending::{Ending, Reload};
use metrics::MetricsServer;
use privileges::Duty;
use rounds::Rounds;
use supervisor::{Supervisor, Vitals};

/// How long uploads in progress may go on after the daemon was told to end.
const UPLOADS_DEADLINE: Duration = Duration::from_secs(10);

/// How long a mount that mount(8) asks for waits for the one before to end.
const BEFORE_DEADLINE: Duration = Duration::from_secs(15);

/// Threads that may wait for the core, and for Keystone, on behalf of the API.
const BLOCKING_THREADS: usize = 64 + QUESTIONS_AT_ONCE;

/// What `glancefs mount` was asked for.
#[derive(Debug)]
pub struct MountSettings {
    /// Configuration, with the command line applied.
    pub config: Config,
    /// The directory to mount on, as given.
    pub mountpoint: PathBuf,
    /// `-o`.
    pub options: MountOptions,
    /// Leave the terminal once the mount answers.
    pub background: bool,
    /// What the mount table is to name as mounted.
    pub source: Option<String>,
}

/// Mounts, and serves the API unless it is off, until told to end.
///
/// # Errors
/// Whatever keeps it from starting, with what to do about it.
pub fn mount(settings: MountSettings) -> Result<()> {
    let MountSettings { config, mountpoint, options, background, source } = settings;
    privileges::give_up(&config, Duty::Mount);
    raise_file_limit();
    let runtime = runtime()?;
    let counting = MetricsServer::bind(&runtime, &config)?;
    let patience = if background { BEFORE_DEADLINE } else { Duration::ZERO };
    let house = House::open_within(&config, patience, Some(&mountpoint))?;
    let deliveries = house.notify(notifications::start(&config.notifications, &runtime)?);
    let ending = Ending::listen(&runtime)?;
    let server = Server::bind(&runtime, &config)?;
    if config.uid_map.is_some() && !options.allow_other {
        warn!("[glancefs] uid_map has no effect without -o allow_other");
    }
    let (shown, read_only) = (options.to_string(), options.read_only);
    let filesystem = Filesystem::new(Arc::clone(&house.images), file_settings(&config, options))?;
    let mount = session::mount(filesystem, &mountpoint, source.as_deref())?;
    let report =
        MountReport { mountpoint: mount.mountpoint().display().to_string(), options: shown };
    let served = server.map(|server| server.start(&runtime, &config, &house));
    let _counting = counting.map(|counting| counting.start(&runtime, &house.images));
    let _rounds = if read_only { None } else { Some(rounds(&house.images, &config)?) };
    let admin = house.admit(&config, vec![report], served.as_ref().map(|served| served.address))?;
    if background {
        background::enter()?;
    }
    let api = served.as_ref().map_or_else(
        || "no API is served".to_string(),
        |served| format!("the Image API answers at {}", served.url()),
    );
    let status = format!("images are in {}, {api}", mount.mountpoint().display());
    let shown = Faces { mount: Some(mount), served, admin };
    println!("glancefs: {status}");
    if background {
        background::leave_stdout()?;
    }
    let ended = shown.show(&runtime, config, ending, status);
    house.leave(deliveries, &runtime);
    ended
}

/// Serves the API alone, until told to end.
///
/// # Errors
/// Whatever keeps it from starting, with what to do about it.
pub fn serve(config: Config) -> Result<()> {
    privileges::give_up(&config, Duty::Serve);
    raise_file_limit();
    let runtime = runtime()?;
    let counting = MetricsServer::bind(&runtime, &config)?;
    let house = House::open(&config)?;
    let deliveries = house.notify(notifications::start(&config.notifications, &runtime)?);
    let ending = Ending::listen(&runtime)?;
    let Some(server) = Server::bind(&runtime, &config)? else {
        return Err(Error::Config("there is nothing to serve: the API is off".to_string()));
    };
    let served = server.start(&runtime, &config, &house);
    let _counting = counting.map(|counting| counting.start(&runtime, &house.images));
    let _rounds = rounds(&house.images, &config)?;
    let admin = house.admit(&config, Vec::new(), Some(served.address))?;
    let status = format!("the Image API answers at {}", served.url());
    println!("glancefs: {status}");
    let shown = Faces { mount: None, served: Some(served), admin };
    let ended = shown.show(&runtime, config, ending, status);
    house.leave(deliveries, &runtime);
    ended
}

/// What answers to the outside.
struct Faces {
    mount: Option<Mount>,
    served: Option<Served>,
    admin: AdminSocket,
}

impl Faces {
    /// Answers until told to end, and then ends in order.
    fn show(
        self,
        runtime: &tokio::runtime::Runtime,
        config: Config,
        ending: Ending,
        status: String,
    ) -> Result<()> {
        let supervisor = Supervisor::from_environment();
        let tls = self.served.as_ref().and_then(|served| served.tls.clone());
        supervisor.watch(Vitals {
            mountpoint: self.mount.as_ref().map(|mount| mount.mountpoint().to_owned()),
            runtime: runtime.handle().clone(),
            api: self.served.as_ref().map(|served| served.task.abort_handle()),
        })?;
        supervisor.ready(&status);
        let reload = Reload { config, tls, supervisor: supervisor.clone(), status };
        runtime.block_on(ending.wait(self.mount.as_ref(), reload));
        supervisor.stopping();
        finish(runtime, self.served, self.mount, self.admin);
        Ok(())
    }
}

/// Everything below the faces, and the lock that keeps a second daemon out.
pub(crate) struct House {
    pub(crate) images: Arc<Images>,
    metadefs: Arc<Metadefs>,
    /// Held until the process ends, however it ends.
    _lock: File,
}

impl House {
    /// Opens everything.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with what to do about it.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        Self::open_within(config, Duration::ZERO, None)
    }

    /// The same; another daemon that is ending may take so long for it, and may have left a mount
    /// at `mountpoint`.
    fn open_within(config: &Config, patience: Duration, mountpoint: Option<&Path>) -> Result<Self> {
        config.create_state_dir()?;
        let lock = lock::lock(config, patience, mountpoint)?;
        let catalog = config.catalog.open()?;
        let stores = stores::open(config)?;
        let journal = Journal::open(config.state_dir.join("journal"))?;
        let images = Images::new(catalog.images, stores, journal, image_options(config)?)?;
        follow_others(Arc::clone(&images))?;
        let policy = Arc::clone(&images.options().policy);
        let metadefs = Arc::new(Metadefs::new(catalog.metadefs).with_policy(policy));
        Ok(Self { images, metadefs, _lock: lock })
    }

    /// Has what happens told to those whom the operator wants to hear of it.
    fn notify(&self, notifications: Option<(Arc<Notifier>, Deliveries)>) -> Option<Deliveries> {
        let (notifier, deliveries) = notifications?;
        self.images.events().tell_to(Arc::<Notifier>::clone(&notifier));
        self.metadefs.tell_to(notifier);
        Some(deliveries)
    }

    /// Ends, and then lets those hear of it who have not yet.
    fn leave(self, deliveries: Option<Deliveries>, runtime: &tokio::runtime::Runtime) {
        drop(self);
        if let Some(deliveries) = deliveries {
            deliveries.finish(runtime);
        }
    }

    /// Lets `glancefs status` and `glancefs cache` ask.
    fn admit(
        &self,
        config: &Config,
        mounts: Vec<MountReport>,
        api: Option<SocketAddr>,
    ) -> Result<AdminSocket> {
        stores::look_at(self.images.stores())?;
        let images = Arc::clone(&self.images);
        let operations = operations::Daemon::new(images, config.identity(), mounts, api);
        admin::serve(&config.state_dir, Arc::new(operations))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.images.shut_down();
        crate::store::rbd::leave_in_peace();
    }
}

/// What the configuration says about images.
///
/// # Errors
/// `Config`
pub(crate) fn image_options(config: &Config) -> Result<Options> {
    let quota = |quota: Option<u32>| quota.map_or(-1, i64::from);
    let backend = |name: &String| {
        let store = config.stores.iter().find(|store| store.name == *name);
        let description = store.and_then(|store| store.description.clone());
        let weight = store.map_or(0, |store| store.weight);
        Backend { name: name.clone(), description, weight }
    };
    let format_rules =
        FormatRules { require_match: config.require_image_format_match, ..FormatRules::default() };
    Ok(Options {
        image_size_cap: config.image_size_cap,
        hashing_algorithm: config.hashing_algorithm.name().parse()?,
        format_rules: format_rules.clone(),
        show_image_direct_url: config.show_image_direct_url,
        show_multiple_locations: config.show_multiple_locations,
        disk_formats: config.disk_formats.clone(),
        container_formats: config.container_formats.clone(),
        image_property_quota: quota(config.image_property_quota),
        image_tag_quota: quota(config.image_tag_quota),
        image_member_quota: quota(config.image_member_quota),
        image_location_quota: quota(config.image_location_quota),
        do_secure_hash: config.do_secure_hash,
        http_retries: config.http_retries,
        user_storage_quota: config.user_storage_quota,
        project_limits: limits::of(config)?,
        limit_param_default: config.limit_param_default.into(),
        api_limit_max: config.api_limit_max.into(),
        enabled_backends: config.enabled_backends.iter().map(backend).collect(),
        import: import_options(config, &format_rules)?,
        block_cache_size: config.block_cache_size,
        image_cache: config.image_cache_dir.as_ref().map(|directory| ImageCache {
            directory: directory.clone(),
            max_size: config.image_cache_max_size,
        }),
        worker_self_reference_url: config.worker_self_reference_url.clone(),
        max_uploads: config.max_uploads,
        give_up_uploads_after: config.give_up_uploads_after,
        scrub: scrubbing::options(config),
        policy: Arc::new(Policy::load(&policy_sources(&config.policy))?),
    })
}

/// Where the operator's rules are.
fn policy_sources(files: &PolicyFiles) -> Sources {
    let format = if files.protections_name_policies { Format::Policies } else { Format::Roles };
    Sources {
        file: files.file.clone(),
        directories: files.directories.clone(),
        protections: files.protections.clone().map(|file| (file, format)),
    }
}

fn import_options(config: &Config, format_rules: &FormatRules) -> Result<ImportOptions> {
    Ok(ImportOptions {
        enabled_methods: config.enabled_import_methods.clone(),
        staging: Some(config.staging_dir.clone()),
        task_time_to_live: config.task_time_to_live,
        at_once: config.max_imports,
        timeout: config.import_timeout,
        web: imports::web_rules(config),
        plugins: imports::plugins(config, format_rules)?,
        peer_properties: config.import_rules.peer_properties.clone(),
    })
}

fn file_settings(config: &Config, options: MountOptions) -> crate::fs::Settings {
    crate::fs::Settings {
        context: config.identity(),
        // Who cannot get in needs no identity.
        uid_map: config.uid_map.clone().filter(|_| options.allow_other),
        read_only: options.read_only,
        replace: options.replace,
        chmod: options.chmod,
        allow_other: options.allow_other,
        uid: options.uid.unwrap_or(rustix::process::geteuid().as_raw()),
        gid: options.gid.unwrap_or(rustix::process::getegid().as_raw()),
        umask: options.umask.unwrap_or(0) as u16,
        kernel_options: options.kernel,
    }
}

/// Tells the faces what other processes write to the catalog.
fn follow_others(images: Arc<Images>) -> Result<()> {
    let mut others = ForeignChanges::from_now(images.catalog())?;
    std::thread::Builder::new()
        .name("follow-others".to_string())
        .spawn(move || {
            loop {
                std::thread::sleep(POLL);
                match others.poll(images.catalog()) {
                    Ok(changed) => images.changes().announce(&changed),
                    Err(error) => warn!(%error, "what others write to the catalog is not seen"),
                }
            }
        })
        .map(drop)
        .map_err(Error::io("start", "a thread"))
}

/// What is done every so often, as long as these are kept.
fn rounds(images: &Arc<Images>, config: &Config) -> Result<Vec<Rounds>> {
    let scrubber = scrubber::start(images, &config.scrubbing)?;
    let abandoned = abandoned::start(images, config.give_up_uploads_after)?;
    Ok(scrubber.into_iter().chain(abandoned).collect())
}

/// Each connection and each open image is a file; the soft limit is often 1024, for programs that
/// use select(2).
fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // As it was, then.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("api")
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(Error::io("start", "the threads of the API"))
}

/// The API's address, taken but not answering yet.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<api::Tls>>,
    identity: api::Identity,
}

/// The API, answering.
struct Served {
    address: SocketAddr,
    tls: Option<Arc<api::Tls>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Server {
    fn bind(runtime: &tokio::runtime::Runtime, config: &Config) -> Result<Option<Self>> {
        let Some(wanted) = config.listen else { return Ok(None) };
        let tls = config.http.tls.clone().map(api::Tls::load).transpose()?;
        let identity = match &config.token_checks {
            Some(checks) => api::Identity::of_keystone(Keystone::new(checks.clone())?),
            None => api::Identity::Fixed(config.identity()),
        };
        let bound = runtime.block_on(TcpListener::bind(wanted));
        let listener = bound.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::Config(format!(
                "port {} of {} is taken by another program; choose another with --listen, \
                 or serve no API with --no-api",
                wanted.port(),
                wanted.ip()
            )),
            std::io::ErrorKind::AddrNotAvailable => Error::Config(format!(
                "{} is no address of this machine; choose one of its own with bind_host or --listen",
                wanted.ip()
            )),
            std::io::ErrorKind::PermissionDenied => Error::Config(format!(
                "not allowed to listen at {wanted}: ports below 1024 are for root; choose another \
                 with bind_port or --listen"
            )),
            _ => Error::io("listen at", wanted)(error),
        })?;
        let address = listener.local_addr().map_err(Error::io("listen at", wanted))?;
        Ok(Some(Self { listener, address, tls, identity }))
    }

    fn start(self, runtime: &tokio::runtime::Runtime, config: &Config, house: &House) -> Served {
        let (stop, mut stopped) = watch::channel(false);
        let settings = api::Settings {
            public_endpoint: config.public_endpoint.clone(),
            behind_proxy: config.http.behind_proxy,
            cors: config.http.cors.clone(),
            tls: self.tls.clone(),
            v1: config.http.v1,
            disabling_files: config.http.health.disabling_files(self.address.port()),
            health_details: config.http.health.detailed,
            shutdown_grace: UPLOADS_DEADLINE,
            max_uploads: config.max_uploads,
            ..api::Settings::default()
        };
        let images = Arc::clone(&house.images);
        let metadefs = Arc::clone(&house.metadefs);
        let face = Arc::new(api::Api::new(images, metadefs, self.identity, settings));
        let shutdown = async move {
            // A sender that is gone means the end as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let task = runtime.spawn(api::serve(self.listener, face, shutdown));
        Served { address: self.address, tls: self.tls, stop, task }
    }
}

impl Served {
    /// Where clients find it.
    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn finish(
    runtime: &tokio::runtime::Runtime,
    served: Option<Served>,
    mount: Option<Mount>,
    admin: AdminSocket,
) {
    let deadline = Instant::now() + UPLOADS_DEADLINE;
    if let Some(served) = &served {
        // Whoever waits for it may be gone; then there is nothing to stop.
        let _ = served.stop.send(true);
    }
    if let Some(mount) = mount {
        mount.unmount(deadline);
    }
    if let Some(served) = served {
        // Made inside the runtime, which its timer needs.
        let ended = async { tokio::time::timeout_at(deadline.into(), served.task).await };
        match runtime.block_on(ended) {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the API"),
            Ok(Err(error)) => warn!(%error, "the API"),
            Err(_) => warn!("requests that do not end are dropped"),
        }
    }
    drop(admin);
}
