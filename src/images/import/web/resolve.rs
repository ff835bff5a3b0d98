//! Names into addresses, without waiting for ever.
//!
//! The system's resolver cannot be interrupted, so each question has a thread of its own; whoever
//! asks stops waiting at a deadline, and only so many threads may be left behind.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Questions that may be unanswered at once.
const MOST_QUESTIONS: usize = 32;

/// Addresses of one name that are looked at.
const MOST_ADDRESSES: usize = 64;

/// Knows the addresses of names.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of a name; none when there are none, or not in time.
    fn resolve(&self, name: &str, patience: Duration) -> Vec<IpAddr>;
}

/// The system's resolver: `/etc/hosts`, DNS and whatever else it is told to ask.
#[derive(Debug, Default)]
pub struct SystemResolver {
    unanswered: Arc<AtomicUsize>,
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str, patience: Duration) -> Vec<IpAddr> {
        let question = Question(Arc::clone(&self.unanswered));
        if question.0.fetch_add(1, Ordering::Relaxed) >= MOST_QUESTIONS {
            return Vec::new();
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let name = name.to_owned();
        let asked = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            drop(question);
            let addresses = found.map(|found| found.map(|at| at.ip()).take(MOST_ADDRESSES));
            // Nobody may be left to hear it.
            let _ = answer.send(addresses.map(Iterator::collect).unwrap_or_default());
        });
        match asked {
            Ok(_) => answered.recv_timeout(patience).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

/// A question that is counted until it is answered.
struct Question(Arc<AtomicUsize>);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_this_machine_is_known_and_nonsense_is_not() {
        let resolver = SystemResolver::default();
        let patience = Duration::from_secs(20);
        let found = resolver.resolve("localhost", patience);
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        assert_eq!(resolver.resolve("no-such-name.invalid", patience), Vec::<IpAddr>::new());
        assert_eq!(resolver.unanswered.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn too_many_questions_are_not_asked() {
        let resolver = SystemResolver::default();
        resolver.unanswered.store(MOST_QUESTIONS, Ordering::Relaxed);
        assert!(resolver.resolve("localhost", Duration::from_secs(20)).is_empty());
        assert_eq!(resolver.unanswered.load(Ordering::Relaxed), MOST_QUESTIONS);
    }
}
