//! What can be done to an image, and by whom: every rule, status change, upload and read.
//!
//! Both faces and nothing else call [`Images`].  It knows no HTTP and no FUSE; it puts the
//! catalog's records and the stores' bytes together so that each change is all or nothing.
//!
//! - [`fields`]: which fields there are, which may be set, and how they are written as text;
//! - `listing`: which images somebody is shown;
//! - [`policy`]: who may see and do what; `edits`: each change of a record, held against it;
//! - [`upload`]: the one pipeline that every byte goes through on its way in;
//! - [`digest`], [`format`](mod@format): what is learnt about the bytes as they pass;
//! - [`quota`]: how much of it one image may have, and the images of one project;
//! - [`journal`]: work in progress, so that a crash leaves nothing behind (`recovery`), nor a daemon that
//!   does not come back (`abandoned`);
//! - `staging`, [`import`]: data that waits, and its way from there into one store or several;
//! - `tasks`: the records of what goes on in the background;
//! - `locations`: where data may be, and who says so;
//! - `removal`: the order in which an image goes, or one of its locations;
//! - [`scrub`]: deleted images whose data is still there, its removal, and the way back;
//! - `open`, `readers`, [`caching`]: images that are open, and which are kept on a local disk;
//! - [`adopt`]: records for data that has none;
//! - [`changes`]: telling the faces that an image is no longer what they remember;
//! - [`events`]: telling whoever keeps an account of what is done.

mod abandoned;
pub mod adopt;
pub mod caching;
pub mod changes;
mod crash;
pub mod digest;
mod edits;
pub mod events;
pub mod fields;
pub mod format;
pub mod import;
pub mod journal;
mod listing;
pub mod locations;
mod members;
mod open;
pub mod options;
pub mod policy;
pub mod quota;
mod readers;
mod recovery;
mod removal;
pub mod scrub;
pub mod staging;
mod tasks;
pub mod upload;

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

pub use open::OpenImage;
pub use options::{Backend, ImageCache, ImportOptions, Options};

use crate::cache::{BlockCache, Figures};
use crate::catalog::Catalog;
use crate::catalog::model::{Image, ImageId, Status, Timestamp};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::store::{Capacity, Store};
use caching::Caching;
use changes::{Changes, Face};
use events::{Event, Events};
use fields::Edit;
use import::Imports;
use import::web::Web;
use journal::Journal;
use policy::{Action, Policy};
use quota::limits::Usage;
use quota::totals::{Counted, Totals};
use readers::Readers;
use recovery::Backlog;
use scrub::PendingCount;
use staging::Area;
use upload::Progress;

/// The property that keeps the file time a user asked for (`cp -p`, `rsync -t`, `touch -d`).
pub const TIME_PROPERTY: &str = "glancefs_mtime";

/// How often a change is tried again when somebody else changed the record at the same moment.
const ATTEMPTS: usize = 10;

/// The images of one catalog and its stores.
pub struct Images {
    catalog: Arc<dyn Catalog>,
    /// The first one takes new images.
    stores: Vec<Arc<dyn Store>>,
    journal: Journal,
    options: Options,
    changes: Changes,
    events: Events,
    readers: Arc<Readers>,
    uploads: Mutex<Vec<Arc<Progress>>>,
    totals: Totals,
    backlog: Backlog,
    pending_count: PendingCount,
    staging: Option<Area>,
    imports: Imports,
    web: Web,
    this: Weak<Self>,
}

impl Images {
    /// Puts a catalog and its stores together.  What a crash interrupted is undone first where that
    /// needs no distant store, and in the background where it does.
    ///
    /// # Errors
    /// `Config` without a store, or when the disk cache cannot be used; the catalog's and the
    /// stores' errors.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        stores: Vec<Arc<dyn Store>>,
        journal: Journal,
        options: Options,
    ) -> Result<Arc<Self>> {
        if stores.is_empty() {
            return Err(Error::Config("no store is configured ([glance_store] stores)".into()));
        }
        let cache = BlockCache::new(options.block_cache_size);
        let caching = Caching::start(&catalog, &stores, options.image_cache.as_ref())?;
        let readers = Readers::new(Arc::clone(&catalog), cache, caching);
        let staging = options.import.staging.as_deref().map(Area::open).transpose()?;
        let imports = Imports::new(options.import.at_once, options.import.timeout);
        let totals = Totals::new(options.user_storage_quota, options.project_limits.clone());
        let web = Web::new(options.import.web.clone());
        let changes = Changes::default();
        let face: Arc<dyn Face> = Arc::<Readers>::clone(&readers);
        changes.register(&face);
        let images = Arc::new_cyclic(|this| Self {
            catalog,
            stores,
            journal,
            options,
            changes,
            events: Events::default(),
            readers,
            uploads: Mutex::new(Vec::new()),
            totals,
            backlog: Backlog::default(),
            pending_count: PendingCount::default(),
            staging,
            imports,
            web,
            this: Weak::clone(this),
        });
        images.recover()?;
        Ok(images)
    }

    /// The options that the rules follow.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The faces to be told of changes.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The catalog, for following what others write to it.
    pub fn catalog(&self) -> &dyn Catalog {
        &*self.catalog
    }

    /// The stores, the default one first.
    pub fn stores(&self) -> &[Arc<dyn Store>] {
        &self.stores
    }

    /// What the block cache holds and has done.
    pub fn cache_figures(&self) -> Figures {
        self.readers.figures()
    }

    /// The disk cache, where there is one.
    pub fn caching(&self) -> Option<&Arc<Caching>> {
        self.readers.caching()
    }

    /// Ends what goes on in the background, and waits for it, but not long.  What is left to be undone
    /// is left to the next start.
    pub fn shut_down(&self) {
        self.end_imports();
        self.backlog.end();
        if let Some(caching) = self.caching() {
            caching.shut_down();
        }
    }

    /// Uploads in progress.
    pub fn uploads(&self) -> Vec<Arc<Progress>> {
        self.uploads.lock().clone()
    }

    /// Room in the default store; zeros when it does not say.  Of a store that does not answer it is
    /// what was last known, after waiting for no longer than `patience`.
    ///
    /// # Errors
    /// Those of a store on this machine's disks.
    pub fn capacity(&self, patience: Duration) -> Result<Capacity> {
        let store = self.default_store();
        if store.is_local() {
            return store.capacity();
        }
        let unknown = Capacity { total: 0, available: 0 };
        Ok(store.condition(patience).capacity.unwrap_or(unknown))
    }

    /// Whether [`capacity`](Self::capacity) has to be waited for, and it is any use.
    pub fn capacity_takes_time(&self) -> bool {
        let store = self.default_store();
        !store.is_local() && store.condition(Duration::ZERO).silent_since.is_none()
    }

    /// Makes a record.  `image` comes from [`fields::new_image`] or is otherwise well formed.
    ///
    /// # Errors
    /// `Forbidden`; `Conflict` when the id was used before; `OverQuota`; `Unidentified`.
    pub fn create(&self, ctx: &RequestContext, mut image: Image) -> Result<Image> {
        self.check_new(ctx, &image)?;
        let _counted = self.totals.claim(Counted::Images, &image, &*self.catalog)?;
        self.catalog.insert(&image)?;
        self.changes.announce(&[image.id]);
        self.events.tell(Event::Created(&image));
        self.policy().hide_properties(ctx, &mut image);
        Ok(image)
    }

    /// The record, as it is to be shown.
    ///
    /// # Errors
    /// `NotFound` when there is none that `ctx` may know of; `Hidden` when the policy says so.
    pub fn get(&self, ctx: &RequestContext, id: ImageId) -> Result<Image> {
        let mut image = self.find(ctx, id)?;
        self.policy().check_image(ctx, Action::GetImage, &image)?;
        self.policy().hide_properties(ctx, &mut image);
        Ok(image)
    }

    /// The rules that an operator can change.
    pub fn policy(&self) -> &Policy {
        &self.options.policy
    }

    /// The whole record, for anything that is to be done with it: the policy is yet to be asked.
    fn find(&self, ctx: &RequestContext, id: ImageId) -> Result<Image> {
        match self.catalog.get(id)? {
            Some(mut image) if policy::sees(ctx, &image, &*self.catalog)? => {
                self.name_stores(&mut image);
                Ok(image)
            }
            _ => Err(Error::no_image(id)),
        }
    }

    /// What the project of `ctx` has of what Keystone limits; nothing where Keystone does not.
    ///
    /// # Errors
    /// The catalog's; `Unidentified` when the limits cannot be had.
    pub fn usage(&self, ctx: &RequestContext) -> Result<Vec<Usage>> {
        self.totals.usage(&*self.catalog, ctx.project.as_ref())
    }

    /// Changes a record: all of the edits or none.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Immutable`, `Invalid`, `OverQuota`; `Conflict` when others keep
    /// changing the record at the same time.
    pub fn update(&self, ctx: &RequestContext, id: ImageId, edits: &[Edit]) -> Result<Image> {
        if edits.is_empty() {
            return self.get(ctx, id);
        }
        let mut image = self.alter(ctx, id, |image| {
            let hidden = self.policy().hide_properties(ctx, image);
            for edit in edits {
                self.edit(ctx, image, edit)?;
            }
            // What one may not see stays, unless one may make it anew.
            for (name, value) in hidden {
                image.properties.entry(name).or_insert(value);
            }
            Ok(())
        })?;
        self.policy().hide_properties(ctx, &mut image);
        Ok(image)
    }

    /// Adds a tag; one that is there already is fine.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn add_tag(&self, ctx: &RequestContext, id: ImageId, tag: &str) -> Result<()> {
        self.alter(ctx, id, |image| {
            self.policy().check_image(ctx, Action::ModifyImage, image)?;
            image.tags.insert(tag.to_string());
            Ok(())
        })
        .map(drop)
    }

    /// Removes a tag.
    ///
    /// # Errors
    /// As [`update`](Self::update); `Missing` when the image has no such tag.
    pub fn remove_tag(&self, ctx: &RequestContext, id: ImageId, tag: &str) -> Result<()> {
        self.alter(ctx, id, |image| {
            self.policy().check_image(ctx, Action::ModifyImage, image)?;
            let missing = || Error::Missing(format!("Image {id} has no tag '{tag}'"));
            image.tags.remove(tag).then_some(()).ok_or_else(missing)
        })
        .map(drop)
    }

    /// Takes an image's data out of use.
    ///
    /// # Errors
    /// `Forbidden` for an image without data.
    pub fn deactivate(&self, ctx: &RequestContext, id: ImageId) -> Result<()> {
        self.switch(ctx, id, Action::Deactivate, Status::Deactivated)
    }

    /// Puts an image's data back into use.
    ///
    /// # Errors
    /// `Forbidden` for an image without data.
    pub fn reactivate(&self, ctx: &RequestContext, id: ImageId) -> Result<()> {
        self.switch(ctx, id, Action::Reactivate, Status::Active)
    }

    /// Bytes that an image at this location takes in its store, where that is cheap to know.
    pub fn allocated(&self, url: &str) -> Option<u64> {
        self.store_of(url)?.allocated(url)
    }

    /// Whether an image at this location can be opened and read without waiting for the network.
    pub fn is_local(&self, url: &str) -> bool {
        self.store_of(url).is_none_or(|store| store.is_local())
    }

    /// Whether any of these is open for reading in this process, in a store that would not let its
    /// readers go on without it.
    fn is_read_here(&self, urls: &[String]) -> bool {
        urls.iter().any(|url| self.store_of(url).is_some_and(|store| store.is_read_here(url)))
    }

    /// How many clones depend on an image's data; `None` where its stores know no clones.
    ///
    /// # Errors
    /// The store's.
    pub fn children(&self, image: &Image) -> Result<Option<u64>> {
        let mut total = None;
        for location in image.locations.iter().filter(|location| location.status == "active") {
            let Some(store) = self.store_of(&location.url) else { continue };
            if let Some(children) = store.children(&location.url)? {
                *total.get_or_insert(0) += children;
            }
        }
        Ok(total)
    }

    /// Names the stores of locations that were recorded when stores had no names, or others.
    /// Glance: the same, when an image is looked at.
    fn name_stores(&self, image: &mut Image) {
        let backends = &self.options.enabled_backends;
        if backends.is_empty() {
            return;
        }
        for location in &mut image.locations {
            let known = location.store().is_some_and(|s| backends.iter().any(|b| b.name == s));
            if !known && let Some(store) = self.store_of(&location.url) {
                location.metadata.insert("store".to_string(), store.name().into());
            }
        }
    }

    fn store_of(&self, url: &str) -> Option<&Arc<dyn Store>> {
        self.stores.iter().find(|store| store.owns(url))
    }

    fn store_named(&self, name: Option<&str>) -> Result<Arc<dyn Store>> {
        let Some(name) = name else { return Ok(Arc::clone(self.default_store())) };
        self.stores
            .iter()
            .find(|store| store.name() == name)
            .cloned()
            .ok_or_else(|| Error::Invalid(format!("Store for identifier {name} not found")))
    }

    fn default_store(&self) -> &Arc<dyn Store> {
        // `open` refuses an empty list.
        &self.stores[0]
    }

    fn check_new(&self, ctx: &RequestContext, image: &Image) -> Result<()> {
        self.policy().check_new(ctx, image)?;
        quota::check(image, &self.options)
    }

    /// Reads, alters and saves a record, and tells of it, whether it was different before or not
    /// (Glance: the same).
    fn alter(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        change: impl Fn(&mut Image) -> Result<()>,
    ) -> Result<Image> {
        let (image, _) = self.save_altered(ctx, id, change)?;
        self.events.tell(Event::Updated(&image));
        Ok(image)
    }

    /// Reads, alters and saves a record, again if somebody else moved its status meanwhile; returns
    /// also whether it was different before.
    fn save_altered(
        &self,
        ctx: &RequestContext,
        id: ImageId,
        change: impl Fn(&mut Image) -> Result<()>,
    ) -> Result<(Image, bool)> {
        for _ in 0..ATTEMPTS {
            let old = self.find(ctx, id)?;
            let mut new = old.clone();
            change(&mut new)?;
            if new == old {
                return Ok((old, false));
            }
            if !quota::shrinks(&old, &new) {
                quota::check(&new, &self.options)?;
            }
            new.updated_at = Timestamp::now();
            let saved = if removal::gone(&old, &new).is_empty() {
                self.catalog.save(&old, &new, &[old.status])?
            } else {
                self.remove_locations(&old, &new)?
            };
            if saved {
                self.changes.announce(&[id]);
                return Ok((new, true));
            }
        }
        Err(Error::Conflict(format!("Image {id} is being changed by others; try again")))
    }

    fn switch(&self, ctx: &RequestContext, id: ImageId, action: Action, to: Status) -> Result<()> {
        let verb = if to == Status::Active { "reactivate" } else { "deactivate" };
        let (image, changed) = self.save_altered(ctx, id, |image| {
            self.policy().check_image(ctx, action, image)?;
            if !image.status.has_data() {
                let status = image.status;
                return Err(Error::Forbidden(format!(
                    "Not allowed to {verb} image in status '{status}'"
                )));
            }
            image.status = to;
            Ok(())
        })?;
        if changed {
            self.events.tell(Event::Updated(&image));
        }
        Ok(())
    }
}
