//! Counts of undecided INVITEs by source, and the index that finds merged requests.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// What is undecided, and what has been seen.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_source: HashMap<IpAddr, usize>,
    merge_keys: HashSet<Box<str>>,
}

impl Pending {
    /// Takes a place for `source`; false where it has `max` already.
    pub(super) fn take(&mut self, source: IpAddr, max: usize) -> bool {
        if self.by_source.get(&source).copied().unwrap_or_default() >= max {
            return false;
        }
        *self.by_source.entry(source).or_default() += 1;
        true
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, source: Option<IpAddr>) {
        let Some(source) = source else { return };
        let Some(count) = self.by_source.get_mut(&source) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.by_source.remove(&source);
        }
    }

    /// Whether a request with this From tag, Call-ID and CSeq has come before by another way
    /// (RFC 3261 §8.2.2.2).
    pub(super) fn is_merged(&self, key: &str) -> bool {
        self.merge_keys.contains(key)
    }

    /// Remembers a request.
    pub(super) fn remember(&mut self, key: &str) {
        self.merge_keys.insert(key.into());
    }

    /// Forgets a request.
    pub(super) fn forget(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            self.merge_keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let mut pending = Pending::default();
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(pending.take(source, 2));
        assert!(pending.take(source, 2));
        assert!(!pending.take(source, 2));
        pending.release(Some(source));
        assert!(pending.take(source, 2));
        pending.release(Some(source));
        pending.release(Some(source));
        assert!(pending.by_source.is_empty());
    }
}
