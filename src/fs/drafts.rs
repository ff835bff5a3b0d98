//! Files being written through the mount: drafts, until they are sealed.
//!
//! Each draft has a thread of its own that owns its [`Upload`] and does what is asked in order, so
//! that no FUSE loop ever waits for a store or a hash; the kernel has few requests of one file
//! under way, which bounds the queue.  A draft is known to the process that made it alone.  It
//! ends by being published (an image like any other from then on) or dropped (as if it had never
//! been).

mod desk;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tracing::{debug, warn};

pub use desk::Desk;

use super::errno::Errno;
use super::inodes::Ino;
use super::process::{self, Process};
use super::view::Folder;
use super::viewers::Viewer;
use crate::catalog::model::ImageId;
use crate::error::{Error, Result};
use crate::images::OpenImage;
use crate::images::upload::Upload;

/// Requests for one draft that may wait; the kernel sends fewer.
const QUEUE: usize = 256;

/// Bytes of one draft's writes that are answered before they are carried out, so that whoever
/// writes and the store work at the same time.
const RUN_AHEAD_BYTES: u64 = 8 << 20;

/// How long a draft that its maker may reopen is held back after its last close.
pub const HOLD: Duration = Duration::from_secs(1);

/// How long a draft may wait to be opened by who has asked for it.
const UNOPENED: Duration = Duration::from_secs(10);

/// How long somebody who looks waits for a draft to be published.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(30);

/// Something for a draft's thread to do.
type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// A file being written.
pub struct Draft {
    /// The image's id.
    pub id: ImageId,
    /// Its inode number.
    pub ino: Ino,
    /// The process that made it, and sees it.
    pub maker: Process,
    /// As whom that process made it.
    pub viewer: Arc<Viewer>,
    /// Made for reading and writing: held back at close, since its maker may come back.
    reopens: bool,
    made: Instant,
    state: Mutex<State>,
    length: AtomicU64,
    /// Bytes of writes that were answered and are not carried out yet.
    ahead: AtomicU64,
    jobs: SyncSender<Job>,
}

/// What is known of a draft without asking its thread.
#[derive(Clone, Debug)]
pub struct State {
    /// The directory it is in.
    pub folder: Folder,
    /// Its file name there.
    pub name: String,
    /// The time to be shown, once somebody asked for one.
    pub mtime: SystemTime,
    /// The image that it takes the place of, once it is active (`-o replace`).
    pub replaces: Option<ImageId>,
    phase: Phase,
    /// Why a write that was answered already, or a later one, was not carried out.
    failed: Option<Errno>,
    /// Open handles that may write.
    writers: usize,
    /// There was such a handle.
    opened: bool,
    /// The last one that let go of it was killed.
    killed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Writing,
    /// Sealed, and its maker may come back until a moment after this.
    Held(Instant),
    /// On its way to being active: nobody may come back.
    Publishing {
        /// It was held back: its maker may have ended, so whoever looks waits for it.
        held: bool,
    },
    /// Active, or dropped: no draft any more.
    Ended,
}

/// What happened to the image that a draft became.
pub struct Outcome {
    /// The draft.
    pub draft: Arc<Draft>,
    /// Whether it is active now, and why not.
    pub result: Result<()>,
}

/// The files being written in one mount.
pub struct Drafts {
    all: Mutex<Vec<Arc<Draft>>>,
    held: AtomicUsize,
    /// Told of every draft that ended.
    ended: Box<dyn Fn(Outcome) + Send + Sync>,
}

impl Drafts {
    /// No drafts yet; `ended` hears of each that was published or dropped.
    pub fn new(ended: impl Fn(Outcome) + Send + Sync + 'static) -> Arc<Self> {
        let (all, held) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { all, held, ended: Box::new(ended) })
    }

    /// Takes an upload that was begun for a new file.  `base` is what it starts with.
    ///
    /// # Errors
    /// When no thread can be started; the upload is undone.
    pub fn add(
        &self,
        upload: Upload,
        base: Option<OpenImage>,
        new: NewDraft,
    ) -> Result<Arc<Draft>> {
        let (jobs, queue) = sync_channel(QUEUE);
        let length = base.as_ref().and_then(|base| base.image.size).unwrap_or(0);
        let draft = Arc::new(Draft {
            id: upload.id(),
            ino: new.ino,
            maker: new.maker,
            viewer: new.viewer,
            reopens: new.reopens,
            made: Instant::now(),
            state: Mutex::new(State {
                folder: new.folder,
                name: new.name,
                mtime: SystemTime::now(),
                replaces: new.replaces,
                phase: Phase::Writing,
                failed: None,
                writers: 0,
                opened: false,
                killed: false,
            }),
            length: AtomicU64::new(length),
            ahead: AtomicU64::new(0),
            jobs,
        });
        let desk = Desk { upload: Some(upload), base, failure: None, published: None };
        thread::Builder::new()
            .name("draft".to_string())
            .spawn(move || work(desk, &queue))
            .map_err(Error::io("start", "a thread for a new file"))?;
        self.all.lock().push(Arc::clone(&draft));
        Ok(draft)
    }

    /// The draft of this name that `process` made.
    pub fn find(
        &self,
        folder: &Folder,
        name: &str,
        process: Process,
        viewer: &Arc<Viewer>,
    ) -> Option<Arc<Draft>> {
        let all = self.all.lock();
        let mine = |draft: &&Arc<Draft>| draft.maker == process && draft.belongs_to(viewer);
        all.iter().rev().filter(mine).find(|draft| draft.is_at(folder, name)).cloned()
    }

    /// The draft with this inode number.
    pub fn by_ino(&self, ino: Ino) -> Option<Arc<Draft>> {
        self.all.lock().iter().find(|draft| draft.ino == ino).cloned()
    }

    /// Drafts that `process` made in a directory.
    pub fn of(&self, folder: &Folder, process: Process, viewer: &Arc<Viewer>) -> Vec<Arc<Draft>> {
        let all = self.all.lock();
        let mine = all.iter().filter(|draft| draft.maker == process && draft.belongs_to(viewer));
        mine.filter(|draft| draft.state.lock().folder == *folder).cloned().collect()
    }

    /// Whether a draft will take the place of this image.
    pub fn will_replace(&self, id: ImageId) -> bool {
        self.all.lock().iter().any(|draft| draft.state.lock().replaces == Some(id))
    }

    /// Whether any file is being written.
    pub fn is_empty(&self) -> bool {
        self.all.lock().is_empty()
    }

    /// Notes that a handle for writing was opened; a draft that was held back is one again.
    ///
    /// # Errors
    /// `Immutable` when it is too late.
    pub fn open_writer(&self, draft: &Arc<Draft>) -> Result<()> {
        let mut state = draft.state.lock();
        match state.phase {
            Phase::Publishing { .. } | Phase::Ended => return Err(immutable()),
            Phase::Held(_) => {
                state.phase = Phase::Writing;
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
            Phase::Writing => {}
        }
        state.writers += 1;
        state.opened = true;
        state.killed = false;
        Ok(())
    }

    /// A descriptor was closed by thread `tid`, on a handle that process `opener` had opened:
    /// seals the draft if that was the last one.  `done` is told when that is done.
    pub fn close(
        self: &Arc<Self>,
        draft: &Arc<Draft>,
        tid: u32,
        opener: Process,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let (drafts, this) = (Arc::clone(self), Arc::clone(draft));
        draft.run(move |desk| {
            let closer = Process::of_thread(tid);
            // A descriptor that outlives its opener may be shared by processes that have nothing
            // else to do with each other.
            let held_elsewhere = closer.holds_for_writing(this.ino)
                || opener.holds_for_writing(this.ino)
                || (closer != opener && process::anybody_holds_for_writing(this.ino));
            let killed = process::was_killed(tid);
            this.state.lock().killed = killed;
            if held_elsewhere && desk.failure.is_none() {
                return done(Ok(()));
            }
            if killed {
                drafts.drop_data(&this, desk, gone());
                return done(Ok(()));
            }
            done(drafts.seal(&this, desk));
        });
    }

    /// The last descriptor of a handle for writing is gone; seals what no close has sealed.
    pub fn release(self: &Arc<Self>, draft: &Arc<Draft>, done: impl FnOnce() + Send + 'static) {
        let (drafts, this) = (Arc::clone(self), Arc::clone(draft));
        draft.run(move |desk| {
            let (last, killed) = {
                let mut state = this.state.lock();
                state.writers = state.writers.saturating_sub(1);
                (state.writers == 0 && state.phase == Phase::Writing, state.killed)
            };
            if last && killed {
                drafts.drop_data(&this, desk, gone());
            } else if last && let Err(error) = drafts.seal(&this, desk) {
                warn!(image = %this.id, %error, "a file that was written is dropped");
            }
            done();
        });
    }

    /// Drops a draft with its data (`rm`).
    pub fn discard(self: &Arc<Self>, draft: &Arc<Draft>, done: impl FnOnce() + Send + 'static) {
        let (drafts, this) = (Arc::clone(self), Arc::clone(draft));
        draft.run(move |desk| {
            drafts.drop_data(&this, desk, gone());
            done();
        });
    }

    /// Drops drafts that nobody ever opened and nobody will: between making one (`-o replace`) and
    /// opening it, its maker has ended or lost its way.
    pub fn drop_orphans(self: &Arc<Self>) {
        let drafts = self.all.lock().clone();
        let orphans = drafts.into_iter().filter(|draft| {
            let state = draft.state.lock();
            let given_up = draft.maker.has_ended() || draft.made.elapsed() > UNOPENED;
            state.phase == Phase::Writing && !state.opened && given_up
        });
        for orphan in orphans {
            self.discard(&orphan, || ());
        }
    }

    /// Publishes what is held back by processes that have ended; with `all`, everything whose
    /// time is up too.  Waits, so that whoever looks next sees the images.
    pub fn publish_held(self: &Arc<Self>, all: bool) {
        if self.held.load(Ordering::Relaxed) == 0 {
            return;
        }
        let drafts = self.all.lock().clone();
        let ready = drafts.into_iter().filter(|draft| match draft.state.lock().phase {
            Phase::Held(since) => (all && since.elapsed() >= HOLD) || draft.maker.has_ended(),
            // Somebody else is at it: wait for that.
            Phase::Publishing { held } => held,
            Phase::Writing | Phase::Ended => false,
        });
        let (sender, done) = sync_channel::<()>(0);
        for draft in ready {
            let (drafts, this, sender) = (Arc::clone(self), Arc::clone(&draft), sender.clone());
            draft.run(move |desk| {
                // Its maker may have come back before this was its turn.
                if matches!(this.state.lock().phase, Phase::Held(_))
                    && let Err(error) = drafts.publish(&this, desk)
                {
                    warn!(image = %this.id, %error, "a file that was written is dropped");
                }
                drop(sender);
            });
        }
        drop(sender);
        // Nothing is ever sent: this returns when the last job has dropped its sender.
        let _ = done.recv_timeout(PUBLISH_DEADLINE);
    }

    /// Ends every draft: those that are held back are published, the others dropped.
    pub fn end_all(self: &Arc<Self>, deadline: Instant) {
        let (sender, done) = sync_channel::<()>(0);
        for draft in self.all.lock().clone() {
            let (drafts, this, sender) = (Arc::clone(self), Arc::clone(&draft), sender.clone());
            draft.run(move |desk| {
                let held = matches!(this.state.lock().phase, Phase::Held(_));
                if !held || drafts.publish(&this, desk).is_err() {
                    drafts.drop_data(&this, desk, gone());
                }
                drop(sender);
            });
        }
        drop(sender);
        let _ = done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// All descriptors are closed: makes an image of it, at once or after holding it back.
    fn seal(self: &Arc<Self>, draft: &Arc<Draft>, desk: &mut Desk) -> Result<()> {
        if let Some(failure) = &desk.failure {
            let failure = Error::StoreUnavailable(failure.to_string());
            self.drop_data(draft, desk, gone());
            return Err(failure);
        }
        if draft.state.lock().phase != Phase::Writing {
            return Ok(()); // sealed by an earlier close
        }
        if desk.base.is_some() {
            // Opened for writing, and nothing was written: the image stays as it was.
            self.drop_data(draft, desk, gone());
            return Ok(());
        }
        let Some(upload) = desk.upload.as_mut() else { return Ok(()) };
        if !draft.reopens {
            return self.publish(draft, desk);
        }
        if let Err(error) = upload.seal() {
            self.drop_data(draft, desk, gone());
            return Err(error);
        }
        draft.state.lock().phase = Phase::Held(Instant::now());
        self.held.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn publish(self: &Arc<Self>, draft: &Arc<Draft>, desk: &mut Desk) -> Result<()> {
        let Some(upload) = desk.upload.take() else { return Ok(()) };
        {
            let mut state = draft.state.lock();
            state.phase = Phase::Publishing { held: matches!(state.phase, Phase::Held(_)) };
        }
        let published = upload.publish();
        let result = published.map(|image| {
            desk.published = Some(OpenImage { image, reader: None });
        });
        self.end(draft, result)
    }

    fn drop_data(&self, draft: &Arc<Draft>, desk: &mut Desk, why: Error) {
        if let Some(upload) = desk.upload.take() {
            debug!(image = %draft.id, "draft dropped");
            upload.abandon();
            desk.failure.get_or_insert(why);
            let _ = self.end(draft, Err(gone()));
        }
    }

    /// The draft is no draft any more.
    fn end(&self, draft: &Arc<Draft>, result: Result<()>) -> Result<()> {
        let reported = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::StoreUnavailable(error.to_string())),
        };
        // What follows from it comes first: whoever finds no draft any more must not find the image
        // that it replaces either.
        (self.ended)(Outcome { draft: Arc::clone(draft), result: reported });
        let before = std::mem::replace(&mut draft.state.lock().phase, Phase::Ended);
        if matches!(before, Phase::Held(_) | Phase::Publishing { held: true }) {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        self.all.lock().retain(|other| !Arc::ptr_eq(other, draft));
        result
    }
}

/// What a new draft starts with.
pub struct NewDraft {
    /// Its inode number.
    pub ino: Ino,
    /// Who made it.
    pub maker: Process,
    /// As whom.
    pub viewer: Arc<Viewer>,
    /// Whether it was opened for reading and writing.
    pub reopens: bool,
    /// The directory.
    pub folder: Folder,
    /// The file's name.
    pub name: String,
    /// The image whose place it takes.
    pub replaces: Option<ImageId>,
}

impl Draft {
    /// Has the draft's thread do something, after everything it was asked before.
    pub fn run(&self, job: impl FnOnce(&mut Desk) + Send + 'static) {
        // The thread lives as long as `self.jobs` does.
        if self.jobs.send(Box::new(job)).is_err() {
            warn!(image = %self.id, "the thread of a file being written is gone");
        }
    }

    /// What is known of it.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Changes name, time or the like.
    pub fn alter(&self, alter: impl FnOnce(&mut State)) {
        alter(&mut self.state.lock());
    }

    /// Whether it is this viewer's to look at and to alter: who made it, or an administrator.
    pub fn belongs_to(&self, viewer: &Arc<Viewer>) -> bool {
        Arc::ptr_eq(&self.viewer, viewer) || viewer.context.admin
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Whether there is no byte yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is still being written or held back.
    pub fn is_open(&self) -> bool {
        self.state.lock().phase != Phase::Ended
    }

    /// Whether a write of `bytes` may be answered before it is carried out: while not too much
    /// is, and all went well.  Must be followed by [`caught_up`](Self::caught_up).
    pub fn may_run_ahead(&self, bytes: u64) -> bool {
        let state = self.state.lock();
        if state.phase != Phase::Writing || state.failed.is_some() {
            return false;
        }
        let ahead = self.ahead.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if ahead > RUN_AHEAD_BYTES {
            self.ahead.fetch_sub(bytes, Ordering::AcqRel);
        }
        ahead <= RUN_AHEAD_BYTES
    }

    /// A write that had been answered is carried out.
    pub fn caught_up(&self, bytes: u64) {
        self.ahead.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Notes that data was lost.  The next call that can hear of it does.
    pub fn note_failure(&self, errno: Errno) {
        self.state.lock().failed.get_or_insert(errno);
    }

    /// Why data was lost, if it was.
    pub fn failure(&self) -> Option<Errno> {
        self.state.lock().failed
    }

    /// Notes that a write will reach this far.
    pub fn extend_shown_length(&self, end: u64) {
        self.length.fetch_max(end, Ordering::AcqRel);
    }

    /// Notes the length after a job has altered it.  While writes run ahead, what is shown is where
    /// they will end; nothing else alters the length meanwhile, since the kernel has one caller
    /// at a time alter a file.
    pub fn show_length(&self, length: u64) {
        if self.ahead.load(Ordering::Acquire) == 0 {
            self.length.store(length, Ordering::Release);
        }
    }

    fn is_at(&self, folder: &Folder, name: &str) -> bool {
        let state = self.state.lock();
        state.phase != Phase::Ended && state.folder == *folder && state.name == name
    }
}

fn work(mut desk: Desk, queue: &Receiver<Job>) {
    super::session::mark_own_thread();
    while let Ok(job) = queue.recv() {
        job(&mut desk);
    }
}

fn immutable() -> Error {
    Error::Immutable("an image's data never changes".to_string())
}

fn gone() -> Error {
    Error::Gone("the file was dropped before it was complete".to_string())
}
