//! What one identity sees of the catalog, kept in memory while somebody looks.
//!
//! Names, sizes, times and modes of all images come from here, so that listing a directory asks
//! neither the database nor a store.  The view is loaded by the first look, not by the mount, and
//! follows the catalog from then on: [`View::refresh`] is called with every image that changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::names::{Listed, Names};
use crate::catalog::model::{Image, ImageId, Row, Timestamp};
use crate::error::{Error, Result};
use crate::identity::{ProjectId, RequestContext};
use crate::images::{Images, OpenImage, policy};

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Folder {
    /// `/`
    Root,
    /// `/.by-id`
    ById,
    /// `/.by-project/<project>`
    Project(ProjectId),
}

/// A file name that a change may have altered.
pub type Altered = (Folder, Box<str>);

/// The catalog as one identity sees it.
pub struct View {
    images: Arc<Images>,
    context: RequestContext,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    /// Counts refreshes, so that an older answer of the catalog never replaces a newer one.
    sequence: u64,
    /// Refreshes under way: image → (newest begun, newest applied).
    refreshing: HashMap<ImageId, (u64, u64)>,
    /// Loads under way, and what changed since the first of them began.
    loading: usize,
    missed: Vec<ImageId>,
}

struct Loaded {
    rows: HashMap<ImageId, Row>,
    root: Names,
    /// Made when a project's directory is first looked at, dropped when the project changes.
    projects: HashMap<ProjectId, Arc<Names>>,
    /// The root's listing, for as long as nothing changes.
    listing: Option<Arc<[Listed]>>,
    changed: Timestamp,
}

impl View {
    /// A view that is not loaded yet.
    pub fn new(images: Arc<Images>, context: RequestContext) -> Self {
        Self { images, context, state: RwLock::default() }
    }

    /// The image's row.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn row(&self, id: ImageId) -> Result<Option<Row>> {
        match self.with(|loaded| loaded.rows.get(&id).cloned())? {
            None => self.unlisted(id),
            known => Ok(known),
        }
    }

    /// What is found by those who know its id and has no name here: an image that is shared with
    /// who has not accepted it.
    fn unlisted(&self, id: ImageId) -> Result<Option<Row>> {
        if self.context.admin {
            return Ok(None); // which sees everything
        }
        match self.images.get(&self.context, id) {
            Ok(image) if image.status.has_data() => {
                Ok(Some(OpenImage { image, reader: None }.row()))
            }
            Ok(_) | Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it takes memory.
    pub fn is_loaded(&self) -> bool {
        self.state.read().loaded.is_some()
    }

    /// Forgets it all until somebody looks again.
    pub fn unload(&self) {
        let mut state = self.state.write();
        state.loaded = None;
        state.refreshing.clear();
    }

    /// The image that a name in a directory stands for.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn find(&self, folder: &Folder, name: &str) -> Result<Option<Row>> {
        if let Folder::Project(project) = folder {
            let names = self.project_names(project)?;
            return match names.find(name) {
                Some(id) => self.row(id),
                None => Ok(None),
            };
        }
        let by_name = match folder {
            Folder::Root => self.with(|loaded| loaded.root.find(name))?,
            _ => None,
        };
        match by_name.or_else(|| name.parse().ok()) {
            Some(id) => self.row(id),
            None => Ok(None),
        }
    }

    /// The files of a directory, in order of their names.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn list(&self, folder: &Folder) -> Result<Arc<[Listed]>> {
        match folder {
            Folder::Root => self.root_listing(),
            Folder::Project(project) => Ok(self.project_names(project)?.list().into()),
            Folder::ById => self.with(|loaded| {
                let listed = loaded.rows.values().filter(|row| policy::lists(&self.context, row));
                let mut ids: Vec<ImageId> = listed.map(|row| row.id).collect();
                ids.sort_unstable();
                ids.into_iter().map(|id| Listed { name: id.as_str().into(), id }).collect()
            }),
        }
    }

    /// The projects that own a listed image, in order.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn projects(&self) -> Result<Vec<ProjectId>> {
        self.with(|loaded| {
            let listed = loaded.rows.values().filter(|row| policy::lists(&self.context, row));
            let mut owners: Vec<_> = listed.filter_map(|row| row.owner.clone()).collect();
            owners.sort_unstable();
            owners.dedup();
            owners
        })
    }

    /// Whether a project owns an image that can be seen.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn has_project(&self, project: &ProjectId) -> Result<bool> {
        self.with(|loaded| {
            loaded.projects.contains_key(project)
                || loaded.rows.values().any(|row| row.owner.as_ref() == Some(project))
        })
    }

    /// The file name that an image has in the root directory.
    ///
    /// # Errors
    /// When the catalog cannot be read; `NotFound` when the image went.
    pub fn root_name(&self, image: &Image) -> Result<String> {
        let name = self.with(|loaded| loaded.root.file_name(image.name.as_deref(), image.id))?;
        name.map(String::from).ok_or_else(|| Error::no_image(image.id))
    }

    /// How many images there are, and when the last one changed.  While nobody has looked at any,
    /// that is asked of the catalog: mounting and `df` load nothing.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn summary(&self) -> Result<(u64, Timestamp)> {
        if let Some(loaded) = &self.state.read().loaded {
            return Ok((loaded.rows.len() as u64, loaded.changed));
        }
        let summary = self.images.catalog().summary()?;
        Ok((summary.images, summary.newest.unwrap_or(Timestamp::from_micros(0))))
    }

    /// Brings the view up to date with these images, and says which names that may have altered.
    ///
    /// # Errors
    /// When the catalog cannot be read: the view is forgotten then, and loaded anew when needed.
    pub fn refresh(&self, ids: &[ImageId]) -> Result<Vec<Altered>> {
        let ticket = {
            let mut state = self.state.write();
            state.sequence += 1;
            let ticket = state.sequence;
            if state.loaded.is_none() {
                if state.loading > 0 {
                    state.missed.extend(ids);
                }
                return Ok(Vec::new());
            }
            for id in ids {
                state.refreshing.entry(*id).or_default().0 = ticket;
            }
            ticket
        };
        let rows = self.images.rows(&self.context, Some(ids));
        let mut state = self.state.write();
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                state.loaded = None;
                state.refreshing.clear();
                return Err(error);
            }
        };
        let mut fresh: HashMap<ImageId, Row> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut altered = Vec::new();
        for id in ids {
            let row = fresh.remove(id).filter(|row| row.status.has_data());
            if state.may_apply(*id, ticket)
                && let Some(loaded) = &mut state.loaded
            {
                loaded.replace(&self.context, *id, row, &mut altered);
            }
        }
        Ok(altered)
    }

    fn root_listing(&self) -> Result<Arc<[Listed]>> {
        if let Some(listing) = self.with(|loaded| loaded.listing.clone())? {
            return Ok(listing);
        }
        let mut state = self.state.write();
        let Some(loaded) = &mut state.loaded else { return Ok(Arc::default()) };
        let listing: Arc<[Listed]> = loaded.root.list().into();
        loaded.listing = Some(Arc::clone(&listing));
        Ok(listing)
    }

    fn project_names(&self, project: &ProjectId) -> Result<Arc<Names>> {
        if let Some(names) = self.with(|loaded| loaded.projects.get(project).cloned())? {
            return Ok(names);
        }
        let mut state = self.state.write();
        let Some(loaded) = &mut state.loaded else { return Ok(Arc::default()) };
        let mut names = Names::new(false);
        for row in loaded.rows.values().filter(|row| row.owner.as_ref() == Some(project)) {
            let listed = policy::lists(&self.context, row);
            names.insert(row.name.as_deref(), row.id, row.created_at, listed);
        }
        let names = Arc::new(names);
        loaded.projects.insert(project.clone(), Arc::clone(&names));
        Ok(names)
    }

    /// Looks at the view, loading it first if need be.
    fn with<T>(&self, look: impl Fn(&Loaded) -> T) -> Result<T> {
        loop {
            if let Some(loaded) = &self.state.read().loaded {
                return Ok(look(loaded));
            }
            self.load()?;
        }
    }

    fn load(&self) -> Result<()> {
        self.state.write().loading += 1;
        let rows = self.images.rows(&self.context, None);
        let loaded = rows.map(|rows| Loaded::new(&self.context, rows));
        let mut state = self.state.write();
        state.loading -= 1;
        let missed = if state.loading == 0 {
            std::mem::take(&mut state.missed)
        } else {
            state.missed.clone()
        };
        let loaded = loaded?;
        state.loaded.get_or_insert(loaded);
        drop(state);
        if !missed.is_empty() {
            self.refresh(&missed)?;
        }
        Ok(())
    }
}

impl State {
    /// Whether the answer of refresh `ticket` is news for the image.
    fn may_apply(&mut self, id: ImageId, ticket: u64) -> bool {
        let Some((begun, applied)) = self.refreshing.get_mut(&id) else { return false };
        let news = ticket > *applied;
        *applied = ticket.max(*applied);
        if *applied == *begun {
            self.refreshing.remove(&id);
        }
        news
    }
}

impl Loaded {
    fn new(context: &RequestContext, rows: Vec<Row>) -> Self {
        let mut loaded = Self {
            rows: HashMap::with_capacity(rows.len()),
            root: Names::new(true),
            projects: HashMap::new(),
            listing: None,
            changed: Timestamp::from_micros(0),
        };
        for row in rows.into_iter().filter(|row| row.status.has_data()) {
            loaded.add(context, row);
        }
        if loaded.rows.is_empty() {
            loaded.changed = Timestamp::now();
        }
        loaded
    }

    fn add(&mut self, context: &RequestContext, row: Row) {
        let listed = policy::lists(context, &row);
        self.root.insert(row.name.as_deref(), row.id, row.created_at, listed);
        self.changed = self.changed.max(row.updated_at);
        self.rows.insert(row.id, row);
    }

    fn replace(
        &mut self,
        context: &RequestContext,
        id: ImageId,
        row: Option<Row>,
        altered: &mut Vec<Altered>,
    ) {
        let old = self.rows.remove(&id);
        if old.is_none() && row.is_none() {
            return;
        }
        self.listing = None;
        self.changed = self.changed.max(Timestamp::now());
        if let Some(old) = &old {
            self.note(old, altered);
            self.root.remove(old.name.as_deref(), id);
        }
        if let Some(row) = row {
            let named = (row.name.clone(), row.owner.clone());
            self.add(context, row);
            altered.extend(
                self.root.names_like(named.0.as_deref(), id).into_iter().map(|n| (Folder::Root, n)),
            );
            if let Some(owner) = named.1 {
                self.projects.remove(&owner);
            }
        }
    }

    /// Lists the names under which an image was found until now.
    fn note(&mut self, old: &Row, altered: &mut Vec<Altered>) {
        let names = self.root.names_like(old.name.as_deref(), old.id);
        altered.extend(names.into_iter().map(|name| (Folder::Root, name)));
        altered.push((Folder::Root, old.id.as_str().into()));
        altered.push((Folder::ById, old.id.as_str().into()));
        if let Some(owner) = &old.owner
            && let Some(names) = self.projects.remove(owner)
        {
            let names = names.names_like(old.name.as_deref(), old.id);
            altered.extend(names.into_iter().map(|name| (Folder::Project(owner.clone()), name)));
        }
    }
}
