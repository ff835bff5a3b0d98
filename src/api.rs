//! The HTTP face: the Image API v2, as Glance serves it.
//!
//! What a request may do and what it does is `images`' business; here it is read, and its outcome
//! is written in the words of Glance.  The specification is Glance's recorded behaviour: statuses,
//! headers, bodies, messages.
//!
//! ```text
//!  serve → tls, connection, head   listening, deadlines, an orderly end
//!    └─ router → caller, cors    which resource, on whose behalf; request ids
//!         ├─ versions   images ── listing, patch   data ── range   tags   actions   schemas
//!         │  members   stores   metadefs   tasks   import   cache   v1
//!         └─ status, fault       errors, in three looks;   wire: JSON in and out
//!              bridge            the one crossing from async to the blocking core
//! ```
//!
//! A group of resources is one file with a `routes()`; a new one is a file and a line in
//! `router`.

mod actions;
mod address;
mod bridge;
mod cache;
mod caller;
mod connection;
mod cors;
mod data;
mod download;
mod fault;
mod head;
mod health;
mod images;
mod import;
mod listing;
mod locations;
mod members;
mod metadefs;
mod patch;
mod range;
mod router;
mod schemas;
mod serve;
mod status;
mod stores;
mod tags;
mod tasks;
mod tls;
mod v1;
mod versions;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use caller::{Identity, Resolve, Stranger};
pub use serve::serve;
pub use tls::Tls;

use crate::config::http::Cors;
use crate::images::Images;
use crate::metadefs::Metadefs;

/// Limits and deadlines of the HTTP face.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL that links show instead of the one the client used.  Glance: `public_endpoint`.
    pub public_endpoint: Option<String>,
    /// Whether a proxy stands in front whose `Forwarded` and `X-Forwarded-…` are true
    /// (oslo.middleware: `enable_proxy_headers_parsing`).
    pub behind_proxy: bool,
    /// Which pages of other sites may use the API.
    pub cors: Cors,
    /// Whether the old API is served, too (Glance: `enable_v1_api`).
    pub v1: bool,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<Tls>>,
    /// While one of these files exists, `/healthcheck` answers 503 (oslo.middleware:
    /// `disable_by_file_path`).
    pub disabling_files: Vec<PathBuf>,
    /// Whether `/healthcheck` says more than that (oslo.middleware: `detailed`).
    pub health_details: bool,
    /// Connections at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take to send a request's head, to agree on TLS, and may keep an idle
    /// connection.
    pub head_timeout: Duration,
    /// How long a client may neither send nor take a byte in the middle of a request.
    pub idle_timeout: Duration,
    /// How long requests in progress may go on when the server stops.
    pub shutdown_grace: Duration,
    /// How long a call into the core may wait for its turn.
    pub turn_timeout: Duration,
    /// Bytes of a JSON body.
    pub json_limit: usize,
    /// Calls into the core at once.
    pub max_calls: usize,
    /// Uploads at once; each holds a thread.
    pub max_uploads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_endpoint: None,
            behind_proxy: false,
            cors: Cors::default(),
            v1: false,
            tls: None,
            disabling_files: Vec::new(),
            health_details: false,
            max_connections: 4096,
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(30),
            turn_timeout: Duration::from_secs(30),
            json_limit: 1 << 20,
            max_calls: 64,
            max_uploads: 64,
        }
    }
}

/// The HTTP face, ready to [`serve`].
pub struct Api {
    images: Arc<Images>,
    metadefs: Arc<Metadefs>,
    identity: Identity,
    settings: Settings,
    bridge: Arc<bridge::Bridge>,
    schemas: schemas::Schemas,
    versions: versions::Versions,
}

impl Api {
    /// Puts the face on `images` and `metadefs`; `identity` says on whose behalf each request acts.
    pub fn new(
        images: Arc<Images>,
        metadefs: Arc<Metadefs>,
        identity: Identity,
        settings: Settings,
    ) -> Self {
        let bridge = Arc::new(bridge::Bridge::new(&settings, Arc::clone(&images)));
        let schemas = schemas::Schemas::new(images.options());
        let several_stores = !images.options().enabled_backends.is_empty();
        let versions =
            versions::Versions::with(images.caching().is_some(), several_stores, settings.v1);
        Self { images, metadefs, identity, settings, bridge, schemas, versions }
    }
}
