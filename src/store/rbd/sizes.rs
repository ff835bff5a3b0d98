//! How much room each image really takes, so that a listing can say it without asking the cluster.
//!
//! It is learnt when an image is written or opened, and kept in a small file of the state directory:
//! a cache, which may be lost at any time.  An image that somebody asked about in vain is looked at
//! later, by a thread of its own: one at a time, and none for a while after the cluster has failed.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Inner;
use super::location::Location;
use super::reader::RbdReader;
use crate::error::{Error, Result};

/// Remembered for no more images than this, and no more are looked at before others are done.
const IMAGES_MAX: usize = 1 << 16;

/// Between two looks at images, to leave the cluster to those who need it now.
const PACE: Duration = Duration::from_millis(10);

/// While images are being looked at, the file is written no more often than this.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// How long no image is looked at after one could not be.
const RESPITE: Duration = Duration::from_secs(30);

/// The file's first words; the pool follows.
const HEADING: &str = "glancefs-sizes-1";

#[derive(Default)]
struct State {
    bytes: HashMap<String, u64>,
    /// Asked for and not known.
    wanted: HashMap<String, Location>,
    /// Those that nothing could be learnt of: they are gone, or none of ours.
    unknowable: HashSet<String>,
    /// Whether the file says something else.
    unsaved: bool,
    /// Whether there is a thread.
    running: bool,
    respite: Option<Instant>,
    file: Option<PathBuf>,
}

/// What is known.
#[derive(Default)]
pub(super) struct Sizes(Mutex<State>);

/// What the thread does next.
enum Task {
    Save(PathBuf, String),
    Measure(Location),
}

impl State {
    fn next(&mut self, pool: &str, saved: Option<Instant>) -> Option<Task> {
        let due = saved.is_none_or(|when| when.elapsed() > SAVE_EVERY);
        if self.unsaved && (due || self.wanted.is_empty()) {
            self.unsaved = false;
            if let Some(file) = &self.file {
                return Some(Task::Save(file.clone(), render(pool, &self.bytes)));
            }
        }
        let name = self.wanted.keys().next().cloned();
        name.and_then(|name| self.wanted.remove(&name)).map(Task::Measure)
    }
}

impl Inner {
    /// Keeps sizes in a file from now on, and knows what it says.
    pub(super) fn keep_sizes_in(&self, file: PathBuf) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut state = self.sizes.0.lock();
        state.bytes.extend(parse(&self.options().pool, &text));
        state.file = Some(file);
    }

    /// Bytes that an image takes, if that is known; if not, it will be.
    pub(super) fn size_of(self: &Arc<Self>, location: Location) -> Option<u64> {
        let mut state = self.sizes.0.lock();
        if let Some(bytes) = state.bytes.get(&location.image) {
            return Some(*bytes);
        }
        let resting = state.respite.is_some_and(|until| Instant::now() < until);
        let room = state.wanted.len() < IMAGES_MAX;
        if state.file.is_some() && room && !resting && !state.unknowable.contains(&location.image) {
            state.wanted.insert(location.image.clone(), location);
            self.attend(&mut state);
        }
        None
    }

    pub(super) fn remember_size(self: &Arc<Self>, image: &str, bytes: u64) {
        let mut state = self.sizes.0.lock();
        if state.bytes.len() >= IMAGES_MAX {
            state.bytes.clear();
        }
        state.wanted.remove(image);
        if state.bytes.insert(image.to_owned(), bytes) != Some(bytes) {
            state.unsaved = true;
            self.attend(&mut state);
        }
    }

    pub(super) fn forget_size(self: &Arc<Self>, image: &str) {
        let mut state = self.sizes.0.lock();
        state.wanted.remove(image);
        if state.bytes.remove(image).is_some() {
            state.unsaved = true;
            self.attend(&mut state);
        }
    }

    /// Sees to it that somebody does what there is to do.
    fn attend(self: &Arc<Self>, state: &mut State) {
        if state.running || state.file.is_none() {
            return;
        }
        let inner = Arc::clone(self);
        let started = thread::Builder::new().name("rbd-sizes".into()).spawn(move || inner.work());
        state.running = started.is_ok();
    }

    fn work(self: &Arc<Self>) {
        let mut saved = None;
        loop {
            let mut state = self.sizes.0.lock();
            let Some(task) = state.next(&self.options().pool, saved) else {
                state.running = false;
                return;
            };
            drop(state);
            match task {
                Task::Save(file, text) => {
                    saved = Some(Instant::now());
                    if let Err(error) = save(&file, &text) {
                        tracing::warn!(%error, "the sizes of images are not kept");
                    }
                }
                Task::Measure(location) => {
                    thread::sleep(PACE);
                    self.measure(&location);
                }
            }
        }
    }

    fn measure(self: &Arc<Self>, location: &Location) {
        let measured =
            RbdReader::open(Arc::clone(self), location).and_then(|reader| reader.measure());
        let mut state = self.sizes.0.lock();
        match measured {
            Ok(()) => {}
            Err(Error::NotFound(_)) => {
                if state.unknowable.len() >= IMAGES_MAX {
                    state.unknowable.clear();
                }
                state.unknowable.insert(location.image.clone());
            }
            Err(error) => {
                tracing::debug!(image = location.image, %error, "its size is not known");
                state.wanted.clear();
                state.respite = Some(Instant::now() + RESPITE);
            }
        }
    }
}

fn save(file: &PathBuf, text: &str) -> Result<()> {
    let written = file.with_extension("new");
    let save = || {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(&written, text)?;
        fs::rename(&written, file)
    };
    save().map_err(Error::io("write", file.display()))
}

/// A line for each image: bytes, and its name.
fn render(pool: &str, bytes: &HashMap<String, u64>) -> String {
    let mut text = format!("{HEADING} {pool}\n");
    for (name, bytes) in bytes {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{bytes} {}", utf8_percent_encode(name, NON_ALPHANUMERIC));
    }
    text
}

/// Reads [`render`]'s text: what is of another pool, or damaged, says nothing.
fn parse(pool: &str, text: &str) -> HashMap<String, u64> {
    let Some((heading, rest)) = text.split_once('\n') else { return HashMap::new() };
    if heading.split_once(' ') != Some((HEADING, pool)) {
        return HashMap::new();
    }
    // A last line without an end was cut short.
    let lines = rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let entry = |line: &str| {
        let (bytes, name) = line.split_once(' ')?;
        Some((percent_decode_str(name).decode_utf8().ok()?.into_owned(), bytes.parse().ok()?))
    };
    lines.filter_map(entry).take(IMAGES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let known = HashMap::from([("a b\nc".to_owned(), 0), ("0f-e".to_owned(), u64::MAX)]);
        assert_eq!(parse("images", &render("images", &known)), known);
        assert_eq!(parse("other", &render("images", &known)), HashMap::new());
    }

    #[test]
    fn damage_says_nothing_wrong() {
        let text = format!("{HEADING} p\n12 a\nx b\n\n77\n\0\0\0\n5 c\n123 d");
        let expected = HashMap::from([("a".to_owned(), 12), ("c".to_owned(), 5)]);
        assert_eq!(parse("p", &text), expected);
        assert_eq!(parse("p", ""), HashMap::new());
    }
}
