//! Times that were measured, however many: enough of them to tell their quantiles.

/// Times that are kept at most.
const MOST: usize = 1 << 22;

/// Times in microseconds: all of them, and beyond some millions every second, fourth, eighth one.
#[derive(Debug, Default)]
pub(super) struct Samples {
    values: Vec<u32>,
    seen: u64,
    /// One in two to the power of this is kept.
    thinned: u32,
    largest: u32,
}

impl Samples {
    pub(super) fn push(&mut self, micros: u32) {
        self.largest = self.largest.max(micros);
        self.seen += 1;
        if !self.seen.is_multiple_of(1 << self.thinned) {
            return;
        }
        self.values.push(micros);
        if self.values.len() >= MOST {
            let mut number = 0_u32;
            self.values.retain(|_| {
                number += 1;
                number.is_multiple_of(2)
            });
            self.thinned += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many have been measured.
    pub(super) fn count(&self) -> u64 {
        self.seen
    }

    /// In order, for quantiles.
    pub(super) fn sort(&mut self) {
        self.values.sort_unstable();
    }

    /// The time that this share of the sorted ones does not exceed.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.values.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.values.get(place).copied().map_or(0.0, f64::from)
    }

    pub(super) fn largest(&self) -> f64 {
        f64::from(self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_true_when_not_all_are_kept() {
        let mut samples = Samples::default();
        for n in 0..3 * MOST as u32 {
            samples.push(n.wrapping_mul(2_654_435_761) % 10_000);
        }
        samples.sort();
        assert_eq!(samples.count(), 3 * MOST as u64);
        assert!(samples.values.len() < MOST);
        for share in [0.1, 0.5, 0.999] {
            let found = samples.quantile(share) / 10_000.0;
            assert!((found - share).abs() < 0.01, "{share}: {found}");
        }
        assert_eq!(samples.largest(), 9_999.0);
    }
}
