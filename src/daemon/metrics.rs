//! Figures for monitoring: gathered from below, served at an address of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::info;

use crate::admin;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::store::Condition;
use crate::telemetry::metrics::{self, Metrics};

/// How long a store may take to say how it is before what was last known is told.
const STORE_PATIENCE: Duration = Duration::from_millis(100);

/// The address for `/metrics`, taken but not answering yet.
pub(super) struct MetricsServer {
    metrics: Metrics,
    listener: TcpListener,
    address: SocketAddr,
}

/// `/metrics`, answering until it is dropped.
pub(super) struct MetricsServed {
    _stop: watch::Sender<()>,
}

impl MetricsServer {
    /// Begins to count, if anybody may ask.
    ///
    /// # Errors
    /// `Config` when the address cannot be had.
    pub(super) fn bind(runtime: &Runtime, config: &Config) -> Result<Option<Self>> {
        let Some(wanted) = config.metrics_listen else { return Ok(None) };
        let listener = runtime.block_on(TcpListener::bind(wanted)).map_err(|error| {
            Error::Config(format!(
                "[glancefs] metrics_listen: cannot listen at {wanted}: {error}; choose another address \
                 or port"
            ))
        })?;
        let address = listener.local_addr().map_err(Error::io("listen at", wanted))?;
        Ok(Some(Self { metrics: metrics::install()?, listener, address }))
    }

    pub(super) fn start(self, runtime: &Runtime, images: &Arc<Images>) -> MetricsServed {
        let (stop, mut stopped) = watch::channel(());
        let (images, metrics) = (Arc::clone(images), self.metrics);
        let gather = move || {
            set_levels(&images);
            metrics.render()
        };
        let shutdown = async move {
            // Nothing is ever sent: the sender goes.
            let _ = stopped.changed().await;
        };
        info!(address = %self.address, "metrics answer at /metrics");
        runtime.spawn(admin::serve_metrics(self.listener, Arc::new(gather), shutdown));
        MetricsServed { _stop: stop }
    }
}

fn set_levels(images: &Images) {
    if let Ok(summary) = images.catalog().summary() {
        metrics::IMAGES.set(summary.images);
    }
    metrics::PENDING_DELETE.set(images.pending_count());
    metrics::UPLOADS_IN_PROGRESS.set(images.uploads().len() as u64);
    let cache = images.cache_figures();
    metrics::CACHE_LIMIT.set(cache.capacity);
    metrics::CACHE_USED.set(cache.used);
    metrics::CACHE_IN_FLIGHT.set(cache.in_flight);
    metrics::CACHE_HITS.set(cache.hit_bytes);
    metrics::CACHE_MISSES.set(cache.missed_bytes);
    if let Some(caching) = images.caching() {
        let disk = caching.figures();
        metrics::DISK_CACHE_USED.set(disk.used);
        metrics::DISK_CACHE_LIMIT.set(disk.capacity);
        metrics::DISK_CACHE_IMAGES.set(disk.files as u64);
    }
    let (running, waiting) = images.imports();
    metrics::IMPORTS_RUNNING.set(running);
    metrics::IMPORTS_WAITING.set(waiting);
    metrics::UNFINISHED.set(images.unfinished() as u64);
    for store in images.stores() {
        let Condition { capacity, silent_since } = store.condition(STORE_PATIENCE);
        let room = capacity.map(|room| (room.total, room.available));
        metrics::store_is(store.name(), silent_since.is_none(), room);
    }
}
