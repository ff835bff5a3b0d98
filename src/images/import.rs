//! Importing: data that was staged, fetched, or is in one store already, into one store or several.
//!
//! What is asked for is checked at once; the work is a task in the background.
//!
//! - here: what may be asked for, and by whom;
//! - `lock`: an image is one task's at a time;
//! - `workers`: so many imports at once, each with a deadline, all ended with the daemon;
//! - `flow`: the steps of one import, and what is left when one fails;
//! - `prepare`: data is fetched, and the operator's [`plugins`] have their way with it;
//! - [`web`]: bytes from elsewhere, asked for by strangers;
//! - `peer`: an image of another region's Glance;
//! - `location`: data that is in a store already, and becomes an image's where it is;
//! - `transfer`: the data of one image into one store;
//! - `undo`: after a crash;
//! - [`unnamed`], [`watch`]: files that a crash leaves nothing of, and how long a step may go on.

mod flow;
mod location;
mod lock;
mod peer;
pub mod plugins;
mod prepare;
mod transfer;
mod undo;
pub mod unnamed;
pub mod watch;
pub mod web;
mod workers;

use serde_json::{Map, Value, json};
use tracing::warn;

use super::Images;
use super::crash::{self, Step};
use super::events::{self, Event};
use super::journal::Work;
use super::locations::Expected;
use super::policy::Action;
use super::quota::totals::Counted;
use crate::catalog::model::{Image, ImageId, Status};
use crate::catalog::tasks::{LOCK_PROPERTY, Task, TaskKind};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
pub use peer::PeerImage;
pub(super) use workers::Imports;
use workers::Stop;

/// The property that names the stores that an image is on its way into.
const IMPORTING_TO: &str = "os_glance_importing_to_stores";
/// The property that names the stores that it did not get into.
const FAILED_IMPORT: &str = "os_glance_failed_import";
/// The property in which a Glance of several hosts notes where the data is staged.
const STAGE_HOST: &str = "os_glance_stage_host";

/// Where the data of an import comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// It was staged: `glance-direct`.
    Direct,
    /// It is fetched from a URL: `web-download`.
    WebDownload {
        /// As the client gave it.
        uri: Option<String>,
    },
    /// The Glance of another region has it: `glance-download`.
    GlanceDownload(PeerImage),
    /// The image has it: `copy-image`.
    Copy,
    /// It is in a store, and stays there.  Not one of the import API's.
    Location {
        /// Where.
        url: String,
        /// What it must be, if the client says.
        expected: Option<Expected>,
    },
}

impl Method {
    /// Its name, in requests and in `enabled_import_methods`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Direct => "glance-direct",
            Self::WebDownload { .. } => "web-download",
            Self::GlanceDownload(_) => "glance-download",
            Self::Copy => "copy-image",
            Self::Location { .. } => "location",
        }
    }

    /// Whether the data comes from outside.
    fn is_fetched(&self) -> bool {
        matches!(self, Self::WebDownload { .. } | Self::GlanceDownload(_))
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Where the data comes from.
    pub method: Method,
    /// The stores that the request lists.
    pub stores: Option<Vec<String>>,
    /// The store that the header `X-Image-Meta-Store` names.
    pub header_store: Option<String>,
    /// Every store that can be written.
    pub all_stores: bool,
    /// Whether it is all or nothing; otherwise the image is complete with its first store.
    pub all_must_succeed: bool,
    /// The request as it came, for the record.
    pub body: Map<String, Value>,
}

/// An import that was accepted.
#[derive(Debug)]
struct Job {
    task: Task,
    image: ImageId,
    /// Who asked for it.
    by: RequestContext,
    method: Method,
    /// Names of stores, in the order in which they are written.
    stores: Vec<String>,
    all_must_succeed: bool,
}

impl Job {
    fn is_copy(&self) -> bool {
        self.method == Method::Copy
    }

    /// What the journal says of it.
    fn work(&self) -> Work {
        if matches!(self.method, Method::Location { .. }) {
            return Work::Location { task: self.task.id.to_string() };
        }
        Work::Import { task: self.task.id.to_string(), stores: self.stores.clone() }
    }
}

impl Images {
    /// Starts importing data for an image.  It goes on in the background; the image and its tasks
    /// say how far it is.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Conflict` when the image is not in a state for it, is being
    /// imported already, or for an unknown store; `Invalid` for stores that make no sense together;
    /// `OverQuota` when too many imports wait.
    pub fn begin_import(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        request: &ImportRequest,
    ) -> Result<()> {
        let mut image = self.find(ctx, id)?;
        self.check_importable(&image, &request.method)?;
        let action = match request.method {
            Method::Copy => Action::CopyImage,
            Method::Direct | Method::WebDownload { .. } | Method::GlanceDownload(_) => {
                Action::ModifyImage
            }
            Method::Location { .. } => Action::AddImageLocation,
        };
        self.policy().check_image(ctx, action, &image)?;
        self.totals.check_room(Counted::Stored, &image, 1, &*self.catalog)?;
        let stale = self.break_stale_lock(&mut image)?;
        let Some(stores) = self.stores_for(&image, request)? else { return Ok(()) };
        if let Method::WebDownload { uri } = &request.method {
            self.web.check(uri.as_deref())?;
        }
        let task =
            self.new_task(ctx, TaskKind::ImageImport, Some(id), self.input(id, request, &stores));
        let job = Job {
            task,
            image: id,
            by: ctx.clone(),
            method: request.method.clone(),
            stores,
            all_must_succeed: request.all_must_succeed,
        };
        self.accept(job, stale)
    }

    /// How many imports are under way, and how many wait.
    pub fn imports(&self) -> (u64, u64) {
        self.imports.counts()
    }

    /// Ends what is being imported, and what waits for it, with the daemon.
    pub(super) fn end_imports(&self) {
        for mut job in self.imports.end() {
            self.turn_away(&mut job, Stop::ShuttingDown);
        }
    }

    /// Has an import of an image end that is to be deleted; gives the record as it is then.
    pub(super) fn without_import(&self, ctx: &RequestContext, image: Image) -> Result<Image> {
        if holder(&image).is_none() {
            return Ok(image);
        }
        for mut job in self.imports.stop_image(image.id) {
            self.turn_away(&mut job, Stop::Unwanted);
        }
        self.find(ctx, image.id)
    }

    /// Whether the image is where the method needs it.  Glance: in this order.
    fn check_importable(&self, image: &Image, method: &Method) -> Result<()> {
        let conflict = |text: String| Err(Error::Conflict(text));
        match (method, image.status) {
            (method, Status::Active) if *method == Method::Direct || method.is_fetched() => {
                return conflict("Image with status active cannot be target for import".into());
            }
            (Method::Copy, status) if status != Status::Active => {
                return conflict(
                    "Only images with status active can be targeted for copying".into(),
                );
            }
            (method, status) if method.is_fetched() && status != Status::Queued => {
                return conflict(format!(
                    "Image needs to be in 'queued' state to use '{}' method",
                    method.name()
                ));
            }
            (Method::Direct, status) if status != Status::Uploading || image.size.is_none() => {
                return conflict(
                    "Image needs to be staged before 'glance-direct' method can be used".into(),
                );
            }
            _ => {}
        }
        for (name, field) in
            [("container_format", &image.container_format), ("disk_format", &image.disk_format)]
        {
            if field.is_none() {
                return conflict(format!("'{name}' needs to be set before import"));
            }
        }
        if let Method::GlanceDownload(peer) = method {
            peer.check()?;
        }
        if *method == Method::Direct && self.staging()?.file(image.id).is_err() {
            // By a glance-api on another host, perhaps, which would have been asked there.
            let host = image.properties.get(STAGE_HOST).map_or("another host", String::as_str);
            return conflict(format!("The data of image {} is staged at {host}", image.id));
        }
        Ok(())
    }

    /// The stores that the data is to go to; `None` when it is in all of them already.
    fn stores_for(&self, image: &Image, request: &ImportRequest) -> Result<Option<Vec<String>>> {
        let mut stores = self.stores_asked_for(request)?;
        if request.method == Method::Copy {
            let there = |store: &String| self.is_in_store(image, store);
            if request.all_stores {
                stores.retain(|store| !there(store));
                if stores.is_empty() {
                    return Ok(None);
                }
            } else if let Some(store) = stores.iter().find(|store| there(store)) {
                let text = format!("Image is already present at store '{store}'");
                return Err(Error::Invalid(text));
            }
        }
        if !request.all_must_succeed && self.options.enabled_backends.is_empty() {
            return Err(Error::Invalid(
                "All_stores_must_succeed can only be set with enabled_backends None".to_string(),
            ));
        }
        Ok(Some(stores))
    }

    fn stores_asked_for(&self, request: &ImportRequest) -> Result<Vec<String>> {
        let default = || self.default_store().name().to_string();
        if self.options.enabled_backends.is_empty() {
            return Ok(vec![default()]);
        }
        if request.all_stores {
            if request.stores.is_some() || request.header_store.is_some() {
                return Err(Error::Invalid(
                    "All_stores parameter can't be used with x-image-meta-store header or stores \
                     parameter"
                        .to_string(),
                ));
            }
            let backends = self.options.enabled_backends.iter();
            let there = backends.filter(|backend| self.store_named(Some(&backend.name)).is_ok());
            return Ok(there.map(|backend| backend.name.clone()).collect());
        }
        let mut stores = match (&request.stores, &request.header_store) {
            (Some(_), Some(_)) => {
                return Err(Error::Invalid(
                    "Stores parameter and x-image-meta-store header can't be both specified"
                        .to_string(),
                ));
            }
            (Some(stores), None) => stores.clone(),
            (None, Some(store)) => vec![store.clone()],
            (None, None) => vec![default()],
        };
        for store in &stores {
            let unknown = |error: Error| Error::Conflict(error.to_string());
            self.store_named(Some(store)).map_err(unknown)?;
        }
        let mut seen = std::collections::HashSet::new();
        stores.retain(|store| seen.insert(store.clone()));
        Ok(stores)
    }

    /// Whether a store holds the image's data, as far as the record says.
    fn is_in_store(&self, image: &Image, name: &str) -> bool {
        let active = image.locations.iter().filter(|location| location.status == "active");
        active.into_iter().any(|location| {
            location.store() == Some(name)
                || self.store_of(&location.url).is_some_and(|store| store.name() == name)
        })
    }

    /// What the task's record says of what was asked for.
    fn input(&self, id: ImageId, request: &ImportRequest, stores: &[String]) -> Map<String, Value> {
        let named = !self.options.enabled_backends.is_empty();
        let mut input = Map::new();
        input.insert("image_id".to_string(), id.as_str().into());
        input.insert("import_req".to_string(), Value::Object(request.body.clone()));
        input.insert("backend".to_string(), if named { json!(stores) } else { json!([null]) });
        input
    }

    /// Gives the image to the task, and the task to a worker: all of it or nothing.
    fn accept(&self, job: Job, stale: Option<Task>) -> Result<()> {
        let id = job.image;
        self.imports.check_room()?;
        self.journal.begin(id, &job.work()).map_err(|error| match error {
            Error::Conflict(_) => Error::Conflict("Image has active task".to_string()),
            other => other,
        })?;
        crash::point(Step::ImportJournaled);
        let accepted = self.lock_for(&job, stale);
        if let Err(error) = accepted {
            if let Err(error) = self.journal.end(id) {
                warn!(image = %id, %error, "journal");
            }
            return Err(error);
        }
        crash::point(Step::ImportAccepted);
        self.changes.announce(&[id]);
        self.events.tell(Event::Task(events::Step::Created, &job.task));
        self.events.tell(Event::Task(events::Step::Run, &job.task));
        self.imports.add(&self.this, job);
        Ok(())
    }

    fn lock_for(&self, job: &Job, stale: Option<Task>) -> Result<()> {
        // First, since a lock whose task is not there is broken by whoever comes next.
        self.catalog.insert_task(&job.task)?;
        let locked = self.catalog.lock_image(job.image, job.task.id).and_then(|locked| {
            if locked {
                return self.forget_progress(job, stale);
            }
            Err(Error::Conflict(format!(
                "New operation on image '{}' is not permitted as prior operation is still in \
                 progress",
                job.image
            )))
        });
        if let Err(error) = &locked {
            self.fail_task(&mut job.task.clone(), error.to_string());
            self.catalog.unlock_image(job.image, &job.task.id.to_string())?;
        }
        locked
    }
}

/// Adds names to a property that lists stores, or takes them out; the list is in the order of the
/// alphabet, and stays when it is empty.  Glance: `merge_store_list`.
fn merge_stores(image: &mut Image, property: &str, stores: &[String], there: bool) {
    let list = image.properties.get(property).map(String::as_str).unwrap_or_default();
    let mut names: std::collections::BTreeSet<&str> =
        list.split(',').filter(|name| !name.is_empty()).collect();
    for store in stores {
        if there {
            names.insert(store);
        } else {
            names.remove(store.as_str());
        }
    }
    let merged = names.into_iter().collect::<Vec<_>>().join(",");
    image.properties.insert(property.to_string(), merged);
}

/// The task that has an image to itself, as it is recorded.
fn holder(image: &Image) -> Option<&str> {
    image.properties.get(LOCK_PROPERTY).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_stores_are_sets_in_order() {
        let mut image = Image::new(ImageId::random(), None);
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        merge_stores(&mut image, IMPORTING_TO, &names(&["slow", "fast", "slow"]), true);
        assert_eq!(image.properties[IMPORTING_TO], "fast,slow");
        merge_stores(&mut image, IMPORTING_TO, &names(&["slow", "none"]), false);
        assert_eq!(image.properties[IMPORTING_TO], "fast");
        merge_stores(&mut image, IMPORTING_TO, &names(&["fast"]), false);
        assert_eq!(image.properties[IMPORTING_TO], "");
    }
}
