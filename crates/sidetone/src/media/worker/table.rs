//! Tables that never allocate after construction: ids to slots, slots to things.

/// An open-addressed hash map of fixed capacity from an id to a slot number.
///
/// For ids that are counted, so that nobody outside can choose them to collide, on threads that never
/// allocate: a worker finds its legs by it, a driver its sockets. Nothing iterates over it: order never
/// shows.
///
/// ```
/// use sidetone::media::worker::table::IdMap;
///
/// let mut lines = IdMap::with_capacity(2);
/// assert!(lines.insert(70_001, 5));
/// assert_eq!(lines.find(70_001), Some(5));
/// assert_eq!(lines.remove(70_001), Some(5));
/// assert_eq!(lines.find(70_001), None);
/// ```
#[derive(Debug)]
pub struct IdMap {
    /// Keys are stored plus one, so that zero marks a free cell.
    cells: Box<[(u64, u32)]>,
    len: usize,
    capacity: usize,
}

impl IdMap {
    /// A map for `capacity` ids. At most half of its cells are ever used.
    pub fn with_capacity(capacity: usize) -> Self {
        let cells = (capacity.max(1) * 2).next_power_of_two();
        Self {
            cells: vec![(0, 0); cells].into(),
            len: 0,
            capacity,
        }
    }

    /// Whether it holds as many ids as it may.
    pub fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    /// The slot of `id`.
    pub fn find(&self, id: u64) -> Option<usize> {
        let cell = self.cell_of(id).ok()?;
        Some(self.cells[cell].1 as usize)
    }

    /// Maps `id` to `slot`. False, and unchanged, where the id is there already, the map is full, or
    /// `id` is `u64::MAX`, which no counter reaches.
    #[must_use]
    pub fn insert(&mut self, id: u64, slot: usize) -> bool {
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

    /// Forgets `id` and gives the slot that it had.
    pub fn remove(&mut self, id: u64) -> Option<usize> {
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

/// Things in numbered slots, at most as many as the capacity; slots are used again.
///
/// Walking over it costs as much as the highest slot in use, whatever the capacity.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// The last one is always taken.
    slots: Vec<Option<T>>,
    /// Slots below the end that are free, and some beyond it that were.
    free: Vec<usize>,
    capacity: usize,
}

impl<T> Slots<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// The slot that the next thing goes to; `None` where all are taken.
    pub(super) fn vacant(&mut self) -> Option<usize> {
        while self
            .free
            .last()
            .is_some_and(|&slot| slot >= self.slots.len())
        {
            self.free.pop();
        }
        let slot = self.free.last().copied().unwrap_or(self.slots.len());
        (slot < self.capacity).then_some(slot)
    }

    /// Puts a thing into the slot that [`vacant`](Self::vacant) has just told.
    pub(super) fn put(&mut self, slot: usize, thing: T) {
        if slot == self.slots.len() && slot < self.capacity {
            self.slots.push(Some(thing));
        } else if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(thing);
            self.free.pop();
        }
    }

    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        let thing = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        Some(thing)
    }

    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Two different things, the first to change by the second.
    pub(super) fn pair_mut(&mut self, slot: usize, other: usize) -> Option<(&mut T, &T)> {
        let [thing, other] = self.slots.get_disjoint_mut([slot, other]).ok()?;
        thing.as_mut().zip(other.as_ref())
    }

    /// One more than the highest slot in use.
    pub(super) fn end(&self) -> usize {
        self.slots.len()
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

    #[test]
    fn slots_are_used_again_and_never_more_than_the_capacity() {
        let seed = 12;
        let mut rng = Rng::new(seed);
        let mut slots = Slots::with_capacity(8);
        let mut model: BTreeMap<usize, u32> = BTreeMap::new();
        for step in 0..20_000 {
            if rng.below(2) == 0 {
                let vacant = slots.vacant();
                assert_eq!(
                    vacant.is_none(),
                    model.len() == 8,
                    "seed {seed} step {step}"
                );
                if let Some(slot) = vacant {
                    slots.put(slot, step);
                    assert_eq!(model.insert(slot, step), None, "seed {seed} step {step}");
                }
            } else {
                let slot = rng.below(9) as usize;
                assert_eq!(
                    slots.take(slot),
                    model.remove(&slot),
                    "seed {seed} step {step}"
                );
            }
            let end = model.last_key_value().map_or(0, |(&slot, _)| slot + 1);
            assert_eq!(slots.end(), end, "seed {seed} step {step}");
            for slot in 0..8 {
                assert_eq!(slots.get_mut(slot).copied(), model.get(&slot).copied());
            }
            assert!(slots.free.len() <= 8, "seed {seed} step {step}");
        }
    }
}
