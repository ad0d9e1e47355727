//! A queue of deadlines that is cheap to fill: a heap whose outdated entries are skipped.

use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Deadlines with keys, nearest first; equal moments in the order of the keys.
///
/// An entry is never taken out early. The owner of a key remembers the moment it was last queued
/// for, and an entry that says another moment is outdated.
#[derive(Debug, Clone)]
pub struct DeadlineQueue<K: Ord> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Default for DeadlineQueue<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord + Copy> DeadlineQueue<K> {
    /// Entries, outdated ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a deadline.
    pub fn push(&mut self, at: Instant, key: K) {
        self.heap.push(Reverse((at, key)));
    }

    /// The nearest entry, outdated or not.
    pub fn peek(&self) -> Option<(Instant, K)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    /// Takes the nearest entry out.
    pub fn pop(&mut self) -> Option<(Instant, K)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Throws outdated entries away once they outnumber the `live` ones by far; amortised constant
    /// time an entry.
    pub fn compact(&mut self, live: usize, is_current: impl Fn(Instant, K) -> bool) {
        if self.heap.len() < 1024 + live * 3 {
            return;
        }
        self.heap.retain(|Reverse((at, key))| is_current(*at, *key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first_then_by_key() {
        let mut queue = DeadlineQueue::default();
        let at = Instant::from_nanos;
        for (nanos, key) in [(5, 1), (3, 9), (3, 2), (7, 0)] {
            queue.push(at(nanos), key);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop())
            .map(|(_, key)| key)
            .collect();
        assert_eq!(order, [2, 9, 1, 0]);
    }

    #[test]
    fn compaction_bounds_the_heap() {
        let mut queue = DeadlineQueue::default();
        for n in 0..100_000_u64 {
            queue.push(Instant::from_nanos(n), n);
            queue.compact(10, |_, key| key + 10 > n);
            assert!(queue.len() <= 1054);
        }
        assert!((99_991..100_000).all(|n| queue.heap.iter().any(|Reverse((_, key))| *key == n)));
    }
}
