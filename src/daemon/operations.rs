//! What the daemon answers on its admin socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::scrubbing;
use crate::admin::{
    CacheList, CacheReport, CachedReport, DiskCacheReport, FillReport, MountReport, Operations,
    PendingList, Progress, ScrubReport, StatusReport, StoreReport, UploadReport,
};
use crate::cache::Figures;
use crate::cache::disk::CachedFile;
use crate::catalog::model::{Image, ImageId, Timestamp};
use crate::catalog::query::{Column, Filter, ImageQuery, Viewer, VisibilityFilter};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::caching::{Caching, Fill};
use crate::store::{Condition, Store};

/// How often those who wait hear of progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// How long `glancefs status` waits for stores to say how they are.
const STATUS_PATIENCE: Duration = Duration::from_millis(250);

/// The running daemon.
pub(super) struct Daemon {
    images: Arc<Images>,
    context: RequestContext,
    mounts: Vec<MountReport>,
    api: Option<SocketAddr>,
    started_at: String,
}

impl Daemon {
    /// A daemon that starts now, with what it shows where.
    pub(super) fn new(
        images: Arc<Images>,
        context: RequestContext,
        mounts: Vec<MountReport>,
        api: Option<SocketAddr>,
    ) -> Self {
        let started_at = Timestamp::now().to_wire();
        Self { images, context, mounts, api, started_at }
    }

    fn caching(&self) -> Result<&Arc<Caching>> {
        self.images.caching().ok_or_else(|| {
            Error::Unsupported(
                "there is no disk cache: image_cache_dir is not set, or of no use (see the log)"
                    .to_owned(),
            )
        })
    }

    /// The image of an id or a name.
    fn find(&self, text: &str) -> Result<Image> {
        if let Ok(id) = text.parse() {
            return self.images.get(&self.context, id);
        }
        let viewer = match &self.context.project {
            Some(project) if !self.context.admin => Viewer::Project(project.clone()),
            project => Viewer::Admin { project: project.clone() },
        };
        let query = ImageQuery {
            visibility: VisibilityFilter::All,
            hidden: None,
            filters: vec![Filter::OneOf(Column::Name, vec![text.to_owned()])],
            limit: Some(2),
            ..ImageQuery::all_for(viewer)
        };
        let mut found = self.images.list(&self.context, query)?;
        match (found.pop(), found.is_empty()) {
            (Some(image), true) => Ok(image),
            (None, _) => Err(Error::NotFound("no image has this id or name".to_owned())),
            _ => Err(Error::Conflict("several images have this name: give an id".to_owned())),
        }
    }

    fn cached_reports(&self, files: Vec<CachedFile>) -> Result<Vec<CachedReport>> {
        let ids: Vec<_> = files.iter().map(|file| file.image).collect();
        let rows = self.images.catalog().rows(Some(&ids), crate::images::TIME_PROPERTY)?;
        let name_of = |id: ImageId| rows.iter().find(|row| row.id == id)?.name.clone();
        let report = |file: CachedFile| CachedReport {
            id: file.image.to_string(),
            name: name_of(file.image).map(String::from),
            size: file.size,
            allocated: file.allocated,
            cached_at: file.cached_at.to_wire(),
            used_at: file.used_at.to_wire(),
            hits: file.hits,
            open: file.open,
        };
        Ok(files.into_iter().map(report).collect())
    }
}

impl Operations for Daemon {
    fn status(&self) -> StatusReport {
        let images = &self.images;
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            started_at: self.started_at.clone(),
            mounts: self.mounts.clone(),
            api: self.api.map(|address| address.to_string()),
            images: images.catalog().summary().map_or(0, |summary| summary.images),
            uploads: images.uploads().iter().map(|upload| upload_report(upload)).collect(),
            imports: images.imports(),
            cache: Some(cache_report(&images.cache_figures())),
            disk_cache: images.caching().map(|caching| disk_cache_report(caching)),
            stores: store_reports(images.stores()),
            unfinished: images.unfinished() as u64,
            pending_delete: images.pending_count(),
        }
    }

    fn cached(&self) -> Result<CacheList> {
        let caching = self.caching()?;
        let (filling, queued) = caching.fills();
        let figures = caching.figures();
        Ok(CacheList {
            cached: self.cached_reports(caching.list())?,
            filling: filling.map(|fill| fill_report(&fill)),
            queued: queued.iter().map(|fill| fill.image().to_string()).collect(),
            used: figures.used,
            limit: figures.capacity,
        })
    }

    fn prefetch(
        &self,
        image: &str,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<CachedReport> {
        let caching = self.caching()?;
        let image = self.find(image)?;
        let fill = caching.prefetch(&image)?;
        let outcome = loop {
            if let Some(outcome) = fill.wait(PROGRESS) {
                break outcome;
            }
            if !go_on(Progress { bytes: fill.bytes(), size: fill.size() }) {
                return Err(Error::Gone("nobody waits for it".to_owned()));
            }
        };
        outcome.map_err(Error::Conflict)?;
        let files = caching.list().into_iter().filter(|file| file.image == image.id).collect();
        let cached = self.cached_reports(files)?.pop();
        cached.ok_or_else(|| Error::Gone("it was evicted at once".to_owned()))
    }

    fn evict(&self, image: Option<&str>) -> Result<usize> {
        let caching = self.caching()?;
        let Some(image) = image else { return Ok(caching.evict_all()) };
        if caching.evict(image.parse()?) {
            return Ok(1);
        }
        Err(Error::NotFound("it is not cached".to_owned()))
    }

    fn pending(&self) -> Result<PendingList> {
        scrubbing::list(&self.images)
    }

    fn scrub(&self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<ScrubReport> {
        scrubbing::once(&self.images, &mut || go_on(Progress::default()))
    }

    fn restore(&self, id: &str) -> Result<String> {
        scrubbing::restore(&self.images, id)
    }
}

fn upload_report(upload: &crate::images::upload::Progress) -> UploadReport {
    let bytes = upload.bytes.load(Ordering::Relaxed);
    let seconds = upload.started.elapsed().as_secs_f64();
    UploadReport {
        id: upload.id.to_string(),
        name: upload.name.lock().clone(),
        bytes,
        rate: (bytes as f64 / seconds.max(0.001)) as u64,
        seconds,
    }
}

fn cache_report(figures: &Figures) -> CacheReport {
    CacheReport {
        used: figures.used,
        in_flight: figures.in_flight,
        limit: figures.capacity,
        hit_bytes: figures.hit_bytes,
        missed_bytes: figures.missed_bytes,
        fetches: figures.fetches,
        fetched_bytes: figures.fetched_bytes,
    }
}

fn disk_cache_report(caching: &Caching) -> DiskCacheReport {
    let figures = caching.figures();
    let (filling, queued) = caching.fills();
    DiskCacheReport {
        images: figures.files,
        used: figures.used,
        limit: figures.capacity,
        filling: filling.map(|fill| fill_report(&fill)),
        queued: queued.len(),
    }
}

fn fill_report(fill: &Fill) -> FillReport {
    FillReport { id: fill.image().to_string(), bytes: fill.bytes(), size: fill.size() }
}

fn store_reports(stores: &[Arc<dyn Store>]) -> Vec<StoreReport> {
    // All are asked before the first is waited for.
    for store in stores {
        store.condition(Duration::ZERO);
    }
    let until = Instant::now() + STATUS_PATIENCE;
    let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    stores.iter().map(|store| store_report(&**store, left())).collect()
}

fn store_report(store: &dyn Store, patience: Duration) -> StoreReport {
    let Condition { capacity, silent_since } = store.condition(patience);
    let wire = |since: SystemTime| Timestamp::from(since).to_wire();
    StoreReport {
        name: store.name().to_string(),
        kind: store.kind().to_string(),
        total: capacity.map(|room| room.total),
        available: capacity.map(|room| room.available),
        silent_since: silent_since.map(wire),
    }
}
