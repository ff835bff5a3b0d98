//! Who looks at the mount, and what is kept for each of them.
//!
//! Without a map, there is one viewer: whoever gets in sees what the mount's own identity sees.  With
//! one, each identity of the map has a view of its own, and every request is answered by the view
//! of who makes it.  What keeps views apart then:
//!
//! - The kernel remembers nothing in our place: names (also those that are not there), attributes
//!   and listings are good for no time at all, so that each `stat`, `open` or `readdir` comes here
//!   with the numbers of its caller, however often others were answered before.
//! - The kernel does not judge by mode bits: it has one set of them for all.  What a caller may do
//!   is decided by the same rules as for the API, request by request.
//! - Pages of an image stay in the kernel's memory, since its bytes never change; they are reached
//!   through a descriptor alone, and each opening is asked about here.  A descriptor is a right of
//!   its own, as on any Unix file system: it works on when the image is taken away from who opened
//!   it, and for another process that it was handed to.  That is not so of an open directory: who
//!   lists it is asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::{debug, warn};

use super::errno::Errno;
use super::process;
use super::replaced::Replaced;
use super::view::View;
use crate::error::Error;
use crate::identity::RequestContext;
use crate::identity::local::{UidMap, Unmapped};
use crate::images::Images;

/// Views in memory at most, in a mount that has many.  The one that was longest not looked at goes,
/// and is read again when it is wanted.
const LOADED: usize = 32;

/// One identity that looks at the mount.
pub struct Viewer {
    /// As whom it asks.
    pub context: RequestContext,
    /// What it sees.
    pub view: View,
    /// It may look and read only, whatever its roles.
    pub read_only: bool,
    /// Why its last call that failed did, in words.
    pub last_error: Mutex<String>,
    /// What it knew by the names of images that others have taken the place of.
    pub(super) replaced: Replaced,
    /// When it last looked, by the clock of [`Viewers`].
    looked: AtomicU64,
}

impl Viewer {
    fn new(images: &Arc<Images>, context: RequestContext, read_only: bool) -> Arc<Self> {
        Arc::new(Self {
            view: View::new(Arc::clone(images), context.clone()),
            context,
            read_only,
            last_error: Mutex::default(),
            replaced: Replaced::default(),
            looked: AtomicU64::new(0),
        })
    }

    /// The errno for an error; the words go where this viewer, and no other, can find them.
    pub fn refuse(&self, error: &Error) -> Errno {
        let errno = Errno::from(error);
        match error {
            Error::NotFound(_) => return errno,
            Error::StoreUnavailable(_)
            | Error::CatalogUnavailable(_)
            | Error::Catalog(_)
            | Error::Io { .. } => {
                warn!(%error, errno = errno.0, "refused");
            }
            _ => debug!(%error, errno = errno.0, "refused"),
        }
        *self.last_error.lock() = error.to_string();
        errno
    }

    /// Whether it may try to change anything.
    ///
    /// # Errors
    /// `EACCES`
    pub fn may_write(&self) -> Result<(), Errno> {
        if self.read_only { Err(Errno::EACCES) } else { Ok(()) }
    }
}

/// Who makes a request.
#[derive(Clone)]
pub struct Caller {
    /// As whom.
    pub viewer: Arc<Viewer>,
    /// The user that the kernel names: the process's effective one.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its thread; 0 for one that is not in our PID namespace.
    pub tid: u32,
}

/// Everybody who may look.
pub struct Viewers {
    own: Arc<Viewer>,
    mapped: Option<Mapped>,
}

struct Mapped {
    map: UidMap,
    /// One for each entry; entries that say the same share one.
    viewers: Vec<Arc<Viewer>>,
    others: Option<Arc<Viewer>>,
    /// Who has mounted, and is the mount's own identity unless the map says otherwise.
    mounter: u32,
    clock: AtomicU64,
}

impl Viewers {
    /// Those of a mount that acts as `own` and was made by user `mounter`.
    pub fn new(
        images: &Arc<Images>,
        own: RequestContext,
        map: Option<UidMap>,
        mounter: u32,
    ) -> Self {
        let own = Viewer::new(images, own, false);
        let mapped = map.map(|map| Mapped::new(images, &own, map, mounter));
        Self { own, mapped }
    }

    /// Whether who is asking makes a difference.
    pub fn differ(&self) -> bool {
        self.mapped.is_some()
    }

    /// As whom a user asks; `None` for who gets no answer.
    pub fn of(&self, uid: u32, gid: u32, tid: u32) -> Option<&Arc<Viewer>> {
        let Some(mapped) = &self.mapped else { return Some(&self.own) };
        let groups = || process::groups(tid, uid, gid);
        let viewer = match mapped.map.position(uid, gid, groups) {
            Some(place) => mapped.viewers.get(place)?,
            None if uid == mapped.mounter => &self.own,
            None => mapped.others.as_ref()?,
        };
        let now = mapped.clock.fetch_add(1, Ordering::Relaxed);
        viewer.looked.store(now, Ordering::Relaxed);
        Some(viewer)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Viewer>> {
        let mut all = vec![Arc::clone(&self.own)];
        let mapped =
            self.mapped.iter().flat_map(|mapped| mapped.viewers.iter().chain(&mapped.others));
        for viewer in mapped {
            if !all.iter().any(|known| Arc::ptr_eq(known, viewer)) {
                all.push(Arc::clone(viewer));
            }
        }
        all
    }

    /// Forgets what was not looked at for long, as far as there is too much of it.
    pub fn tidy(&self) {
        if !self.differ() {
            return;
        }
        let mut loaded: Vec<_> =
            self.all().into_iter().filter(|viewer| viewer.view.is_loaded()).collect();
        loaded.sort_by_key(|viewer| viewer.looked.load(Ordering::Relaxed));
        for viewer in loaded.iter().take(loaded.len().saturating_sub(LOADED)) {
            viewer.view.unload();
        }
    }
}

impl Mapped {
    fn new(images: &Arc<Images>, own: &Arc<Viewer>, map: UidMap, mounter: u32) -> Self {
        let mut known = vec![Arc::clone(own)];
        let mut viewer_as = |context: &RequestContext| {
            // The operator's rules say who is an administrator, as for those who come with a token.
            let context =
                RequestContext { admin: images.policy().is_admin(context), ..context.clone() };
            if let Some(viewer) = known.iter().find(|viewer| viewer.context == context) {
                return Arc::clone(viewer);
            }
            let viewer = Viewer::new(images, context, false);
            known.push(Arc::clone(&viewer));
            viewer
        };
        let viewers = map.entries.iter().map(|entry| viewer_as(&entry.context)).collect();
        let others = match map.unmapped {
            Unmapped::Public => Some(Viewer::new(images, RequestContext::public(), true)),
            Unmapped::Deny => None,
        };
        Self { map, viewers, others, mounter, clock: AtomicU64::new(1) }
    }
}
