//! Answers about tokens that still hold.
//!
//! A token is known here by its hash alone.  Good answers and bad ones are kept apart: whoever sends
//! made-up tokens must not push those out that are in use.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use jiff::Timestamp;
use lru::LruCache;
use parking_lot::Mutex;

use super::Verdict;
use crate::identity::Secret;

/// Valid tokens that are remembered; each takes about half a KiB.
const ACCEPTED: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Invalid ones.
const REFUSED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long one is taken for invalid: it may have been made with a key that is on its way to another
/// Keystone.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// A token's hash, and whether it was asked about as one that may have expired.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; SHA256_OUTPUT_LEN], bool);

impl Key {
    pub(super) fn of(token: &Secret, expired_too: bool) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, token.expose().as_bytes()).as_ref());
        Self(hash, expired_too)
    }
}

pub(super) struct Cache {
    /// How long an answer holds at most; `None`: not at all.
    holds_for: Option<Duration>,
    accepted: Mutex<LruCache<Key, (Verdict, Instant)>>,
    refused: Mutex<LruCache<Key, Instant>>,
}

impl Cache {
    pub(super) fn new(holds_for: Option<Duration>) -> Self {
        Self {
            holds_for,
            accepted: Mutex::new(LruCache::new(ACCEPTED)),
            refused: Mutex::new(LruCache::new(REFUSED)),
        }
    }

    /// The answer, if it still holds.
    pub(super) fn get(&self, key: &Key) -> Option<Verdict> {
        self.holds_for?;
        let now = Instant::now();
        if let Some((verdict, until)) = self.accepted.lock().get(key)
            && now < *until
        {
            return Some(verdict.clone());
        }
        let refused = self.refused.lock().get(key).is_some_and(|until| now < *until);
        refused.then_some(Verdict::Refused)
    }

    /// Remembers an answer for as long as it holds.
    pub(super) fn put(&self, key: Key, verdict: &Verdict) {
        let Some(holds_for) = self.holds_for else { return };
        let now = Instant::now();
        match verdict {
            Verdict::Accepted(accepted) => {
                let left = accepted.expires.duration_since(Timestamp::now());
                let left = Duration::try_from(left).unwrap_or_default();
                // One that has expired was asked about for a service's sake.
                let holds_for = if key.1 { holds_for } else { holds_for.min(left) };
                self.accepted.lock().put(key, (verdict.clone(), now + holds_for));
            }
            Verdict::Refused => {
                self.refused.lock().put(key, now + holds_for.min(REFUSED_FOR));
            }
            Verdict::Unavailable => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::answer::{Accepted, Answer};
    use super::*;

    fn expiring(seconds: i64) -> Verdict {
        let now = Timestamp::now();
        let expires = now + jiff::SignedDuration::from_secs(seconds);
        let text = format!(
            r#"{{"token": {{"user": {{"id": "u"}}, "expires_at": "{expires}", "issued_at": "{now}"}}}}"#
        );
        let answer: Answer = serde_json::from_str(&text).unwrap();
        Verdict::Accepted(Arc::new(Accepted::from(answer.token)))
    }

    #[test]
    fn an_answer_holds_until_the_token_expires_and_no_longer() {
        let cache = Cache::new(Some(Duration::from_secs(300)));
        let key = |name: &str| Key::of(&Secret::new(name), false);
        cache.put(key("valid"), &expiring(60));
        cache.put(key("expired"), &expiring(-1));
        cache.put(key("unknown"), &Verdict::Unavailable);
        cache.put(key("invalid"), &Verdict::Refused);
        assert!(matches!(cache.get(&key("valid")), Some(Verdict::Accepted(_))));
        assert!(cache.get(&key("expired")).is_none());
        assert!(cache.get(&key("unknown")).is_none());
        assert!(matches!(cache.get(&key("invalid")), Some(Verdict::Refused)));
        // What was found out for a service says nothing about the token by itself.
        assert!(cache.get(&Key::of(&Secret::new("valid"), true)).is_none());
    }

    #[test]
    fn made_up_tokens_push_none_out_that_are_in_use() {
        let cache = Cache::new(Some(Duration::from_secs(300)));
        let key = |name: &str| Key::of(&Secret::new(name), false);
        cache.put(key("valid"), &expiring(60));
        (0..40_000).for_each(|n| cache.put(key(&n.to_string()), &Verdict::Refused));
        assert!(cache.get(&key("valid")).is_some());
        assert_eq!(cache.refused.lock().len(), REFUSED.get());
    }

    #[test]
    fn nothing_is_remembered_where_that_is_switched_off() {
        let cache = Cache::new(None);
        let key = Key::of(&Secret::new("valid"), false);
        cache.put(key, &expiring(60));
        assert!(cache.get(&key).is_none());
    }
}
