//! A map from ids to slots that never allocates after construction.

/// An open-addressed hash map of fixed capacity from an id to a slot number.
///
/// Ids are minted by the engine, so nobody outside can choose them to collide. Nothing iterates over
/// it: order never shows.
#[derive(Debug)]
pub(super) struct IdMap {
    /// Keys are stored plus one, so that zero marks a free cell.
    cells: Box<[(u64, u32)]>,
    len: usize,
    capacity: usize,
}

impl IdMap {
    /// A map for `capacity` ids. At most half of its cells are ever used.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let cells = (capacity.max(1) * 2).next_power_of_two();
        Self {
            cells: vec![(0, 0); cells].into(),
            len: 0,
            capacity,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    pub(super) fn find(&self, id: u64) -> Option<usize> {
        let cell = self.cell_of(id).ok()?;
        Some(self.cells[cell].1 as usize)
    }

    /// Maps `id` to `slot`. False, and unchanged, where the id is there already, the map is full, or
    /// `id` is `u64::MAX`, which no counter reaches.
    #[must_use]
    pub(super) fn insert(&mut self, id: u64, slot: usize) -> bool {
        let Err(free) = self.cell_of(id) else {
            return false;
        };
        if self.is_full() || id == u64::MAX {
            return false;
        }
        self.cells[free] = (id.wrapping_add(1), slot as u32);
        self.len += 1;
        true
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<usize> {
        let mut hole = self.cell_of(id).ok()?;
        let slot = self.cells[hole].1 as usize;
        self.len -= 1;
        // Moves back what had to step over the hole, so that searches never meet a gap.
        let mut next = self.after(hole);
        while self.cells[next].0 != 0 {
            let home = self.home(self.cells[next].0);
            let mask = self.cells.len() - 1;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.cells[hole] = self.cells[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.cells[hole] = (0, 0);
        Some(slot)
    }

    /// The cell that holds `id`, or else the free one where it belongs.
    fn cell_of(&self, id: u64) -> Result<usize, usize> {
        let key = id.wrapping_add(1);
        let mut cell = self.home(key);
        loop {
            match self.cells[cell].0 {
                0 => return Err(cell),
                found if found == key => return Ok(cell),
                _ => cell = self.after(cell),
            }
        }
    }

    fn home(&self, key: u64) -> usize {
        // Fibonacci hashing: consecutive ids spread over the whole table.
        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> 32) as usize & (self.cells.len() - 1)
    }

    fn after(&self, cell: usize) -> usize {
        (cell + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn agrees_with_an_ordinary_map() {
        let seed = 11;
        let mut rng = Rng::new(seed);
        let (mut map, mut model) = (IdMap::with_capacity(40), BTreeMap::new());
        for step in 0..20_000 {
            let id = rng.below(80);
            match rng.below(3) {
                0 => {
                    let fits = !model.contains_key(&id) && model.len() < 40;
                    assert_eq!(map.insert(id, step), fits, "seed {seed} step {step}");
                    if fits {
                        model.insert(id, step);
                    }
                }
                1 => assert_eq!(map.remove(id), model.remove(&id), "seed {seed} step {step}"),
                _ => assert_eq!(
                    map.find(id),
                    model.get(&id).copied(),
                    "seed {seed} step {step}"
                ),
            }
        }
        assert_eq!(map.is_full(), model.len() == 40);
    }

    #[test]
    fn the_largest_ids_are_ids_like_others() {
        let mut map = IdMap::with_capacity(4);
        for id in [0, u64::MAX - 1, 1 << 63] {
            assert!(map.insert(id, 7));
            assert_eq!(map.find(id), Some(7));
        }
        assert!(!map.insert(u64::MAX, 7));
        assert_eq!(map.find(u64::MAX), None);
    }
}
