//! Room for payloads of any size in one piece of memory.

use sidetone_simd::cache::prefetch;

/// Bytes of a block.
const BLOCK: usize = 64;

/// An arena of blocks. Payloads are mostly freed in the order in which they came, so the search for
/// room begins behind the last one and mostly succeeds at once.
#[derive(Debug)]
pub(super) struct Store {
    bytes: Box<[u8]>,
    /// Which blocks are taken.
    taken: Box<[bool]>,
    /// Where to look first.
    next: usize,
}

/// Where a payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    block: u16,
    len: u16,
}

impl Place {
    pub(super) fn blocks(self) -> std::ops::Range<usize> {
        let first = usize::from(self.block);
        first..first + usize::from(self.len).div_ceil(BLOCK)
    }
}

impl Store {
    /// A store of so many bytes, up to 4 MB.
    pub(super) fn new(bytes: usize) -> Self {
        let blocks = (bytes / BLOCK).clamp(1, usize::from(u16::MAX));
        Self {
            bytes: vec![0; blocks * BLOCK].into(),
            taken: vec![false; blocks].into(),
            next: 0,
        }
    }

    /// A payload is coming: asks for where it will probably lie.
    pub(super) fn expect(&self) {
        let blocks = self.next..(self.next + 4).min(self.taken.len());
        prefetch(&self.bytes[blocks.start * BLOCK..blocks.end * BLOCK]);
        prefetch(&self.taken[blocks]);
    }

    /// Keeps a copy of `payload`, or does not where there is no room in one piece.
    pub(super) fn keep(&mut self, payload: &[u8]) -> Option<Place> {
        let len = u16::try_from(payload.len()).ok()?;
        let count = payload.len().div_ceil(BLOCK);
        let first = self
            .find(self.next, self.taken.len(), count)
            .or_else(|| self.find(0, (self.next + count).min(self.taken.len()), count))?;
        self.taken[first..first + count].fill(true);
        self.next = first + count;
        let start = first * BLOCK;
        self.bytes[start..start + payload.len()].copy_from_slice(payload);
        Some(Place {
            block: first as u16,
            len,
        })
    }

    /// The first run of `count` free blocks from `from` on, within `end`.
    fn find(&self, mut from: usize, end: usize, count: usize) -> Option<usize> {
        while from + count <= end {
            match self.taken[from..from + count].iter().rposition(|&t| t) {
                Some(last) => from += last + 1,
                None => return Some(from),
            }
        }
        None
    }

    pub(super) fn get(&self, place: Place) -> &[u8] {
        let start = usize::from(place.block) * BLOCK;
        &self.bytes[start..start + usize::from(place.len)]
    }

    /// Frees the room of a payload; what lay there can be read until the next [`keep`](Self::keep).
    pub(super) fn free(&mut self, place: Place) {
        self.taken[place.blocks()].fill(false);
    }

    #[cfg(test)]
    pub(super) fn blocks_taken(&self) -> usize {
        self.taken.iter().filter(|&&t| t).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::VecDeque;

    #[test]
    fn payloads_come_back_whole_in_any_order() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let mut store = Store::new(16_384);
            let mut kept: VecDeque<(Place, Vec<u8>)> = VecDeque::new();
            let mut refused = 0;
            for n in 0..20_000 {
                let most = [200, 1_500][n / 64 % 2];
                let payload = vec![n as u8; rng.below(most) as usize];
                match store.keep(&payload) {
                    Some(place) => kept.push_back((place, payload)),
                    None => refused += 1,
                }
                while kept.len() > rng.below(60) as usize {
                    let at = if rng.below(4) == 0 { kept.len() / 2 } else { 0 };
                    let (place, payload) = kept.remove(at).expect("there");
                    assert_eq!(store.get(place), payload, "seed {seed}");
                    store.free(place);
                }
            }
            let blocks = kept.iter().map(|(_, p)| p.len().div_ceil(BLOCK)).sum();
            assert_eq!(store.blocks_taken(), blocks, "seed {seed}");
            assert!(refused < 5_000, "seed {seed}: {refused}");
        }
    }

    #[test]
    fn what_never_fits_is_refused() {
        let mut store = Store::new(2_048);
        assert_eq!(store.keep(&[0; 2_049]), None);
        let all = store.keep(&[1; 2_048]).expect("all of it");
        assert_eq!(store.keep(&[0; 1]), None);
        store.free(all);
        assert!(store.keep(&[0; 1]).is_some());
    }
}
