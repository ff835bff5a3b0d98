//! Which blocks to give up when room is needed: a segmented LRU, weighed by bytes.
//!
//! A block enters on probation; using it again protects it.  So a scan, which uses each block once,
//! only ever displaces blocks that were used once themselves.

use std::hash::Hash;

use lru::LruCache;

/// How much of the room may be protected, in percent.
const PROTECTED_SHARE: u64 = 75;

/// The order in which blocks are given up.
pub(super) struct Recency<K: Hash + Eq + Copy> {
    probation: LruCache<K, u64>,
    protected: LruCache<K, u64>,
    protected_bytes: u64,
    bytes: u64,
    capacity: u64,
}

impl<K: Hash + Eq + Copy> Recency<K> {
    /// For so many bytes.
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            probation: LruCache::unbounded(),
            protected: LruCache::unbounded(),
            protected_bytes: 0,
            bytes: 0,
            capacity,
        }
    }

    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a block that is not there yet, of so many bytes.
    pub(super) fn insert(&mut self, key: K, bytes: u64) {
        self.bytes += bytes;
        self.probation.put(key, bytes);
    }

    /// Notes that a block was used: for the first time, or once more.
    pub(super) fn touch(&mut self, key: K, again: bool) {
        if self.protected.get(&key).is_some() {
            return;
        }
        if !again {
            self.probation.promote(&key);
            return;
        }
        let Some(bytes) = self.probation.pop(&key) else { return };
        self.protected.put(key, bytes);
        self.protected_bytes += bytes;
        while self.protected_bytes > self.capacity / 100 * PROTECTED_SHARE {
            let Some((key, bytes)) = self.protected.pop_lru() else { break };
            self.protected_bytes -= bytes;
            self.probation.put(key, bytes);
        }
    }

    /// Gives up the least useful block.
    pub(super) fn evict(&mut self) -> Option<K> {
        if let Some((key, bytes)) = self.probation.pop_lru() {
            self.bytes -= bytes;
            return Some(key);
        }
        let (key, bytes) = self.protected.pop_lru()?;
        self.bytes -= bytes;
        self.protected_bytes -= bytes;
        Some(key)
    }

    /// Forgets a block.
    pub(super) fn remove(&mut self, key: &K) {
        if let Some(bytes) = self.probation.pop(key) {
            self.bytes -= bytes;
        } else if let Some(bytes) = self.protected.pop(key) {
            self.bytes -= bytes;
            self.protected_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_displaces_what_was_used_once_only() {
        let mut recency = Recency::new(100);
        for key in 0..10 {
            recency.insert(key, 10);
        }
        for key in 0..5 {
            recency.touch(key, true);
        }
        let mut given_up = Vec::new();
        for key in 100..120 {
            while recency.bytes() + 10 > 100 {
                given_up.push(recency.evict().unwrap());
            }
            recency.insert(key, 10);
            recency.touch(key, false);
        }
        assert!(given_up.iter().all(|key| *key >= 5), "{given_up:?}");
        assert_eq!(given_up.len(), 20);
    }

    #[test]
    fn what_is_protected_leaves_room_for_what_is_new() {
        let mut recency = Recency::new(100);
        for key in 0..10 {
            recency.insert(key, 10);
            recency.touch(key, true);
        }
        assert_eq!(recency.protected_bytes, 70);
        assert_eq!(recency.evict(), Some(0), "the one that was protected first");
        recency.remove(&9);
        recency.remove(&9);
        assert_eq!((recency.bytes(), recency.protected_bytes), (80, 60));
        while recency.evict().is_some() {}
        assert_eq!((recency.bytes(), recency.protected_bytes), (0, 0));
    }
}
