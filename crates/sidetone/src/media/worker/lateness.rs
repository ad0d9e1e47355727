//! How late ticks run, as a histogram.

use crate::time::Duration;

/// Ticks by how late they ran, in steps that grow.
///
/// ```
/// use sidetone::media::worker::lateness::Lateness;
/// use sidetone::time::Duration;
///
/// let mut lateness = Lateness::default();
/// lateness.note(Duration::from_micros(70));
/// lateness.note(Duration::from_millis(30));
/// let (limit, count) = lateness.steps().nth(1).expect("a second step");
/// assert_eq!((limit, count), (Some(Duration::from_micros(100)), 1));
/// assert_eq!(lateness.later_than(Duration::from_millis(5)), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    counts: [u64; Self::STEPS],
}

/// The upper limits of all steps but the last, in microseconds.
const LIMITS: [u64; Lateness::STEPS - 1] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
];

impl Lateness {
    /// Steps of the histogram.
    pub const STEPS: usize = 12;

    /// Counts a tick.
    #[inline]
    pub fn note(&mut self, delay: Duration) {
        let micros = delay.as_micros() as u64;
        self.counts[LIMITS.partition_point(|&limit| limit <= micros)] += 1;
    }

    /// The histogram with these counts.
    pub const fn from_counts(counts: [u64; Self::STEPS]) -> Self {
        Self { counts }
    }

    /// The counts, step by step.
    pub const fn counts(&self) -> &[u64; Self::STEPS] {
        &self.counts
    }

    /// Each step's limit, below which its ticks were late, and their number; the last has no limit.
    pub fn steps(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let limits = LIMITS.map(|micros| Some(Duration::from_micros(micros)));
        limits.into_iter().chain([None]).zip(self.counts)
    }

    /// Ticks that were later than `limit`, which should be one of the steps' limits.
    pub fn later_than(&self, limit: Duration) -> u64 {
        let first = LIMITS.partition_point(|&own| u128::from(own) <= limit.as_micros());
        self.counts[first..].iter().sum()
    }

    /// The same with another worker's ticks.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self
    }
}
