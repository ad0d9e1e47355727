//! Whether what is sent comes back: the loudness of what is received follows that of what was sent.

/// Ticks of an evaluation, a second.
pub(super) const SPAN: usize = 50;
/// Delays that are looked at: up to 800 ms.
const LAGS: usize = 40;
/// What is kept of the past in each evaluation: half a life of some 3 s.
const MEMORY: f32 = 0.8;
/// Seconds' worth of evidence that is needed.
const ENOUGH: f32 = 3.0 * SPAN as f32;
/// How alike both must be.
const ALIKE: f32 = 0.72;

/// Follows the loudness of both directions, tick by tick, and compares them second by second.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    /// The last two seconds of what was sent, the older first.
    sent: [u16; 2 * SPAN],
    received: [u16; SPAN],
    filled: usize,
    sums: [Sums; LAGS],
    weight: f32,
    /// The delay that fitted best lately, and for how many evaluations.
    best: (usize, u8),
}

/// Moments of what was sent (x) and what was received so many ticks later (y).
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    x: f32,
    y: f32,
    xx: f32,
    yy: f32,
    xy: f32,
}

impl Echo {
    pub(super) fn new() -> Self {
        Self {
            sent: [0; 2 * SPAN],
            received: [0; SPAN],
            filled: 0,
            sums: [Sums::default(); LAGS],
            weight: 0.0,
            best: (0, 0),
        }
    }

    /// A tick has passed in which both were so loud, as mean magnitudes.
    #[inline]
    pub(super) fn tick(&mut self, sent: u16, received: u16) {
        if let Some(place) = self.received.get_mut(self.filled) {
            *place = received;
            self.sent[SPAN + self.filled] = sent;
            self.filled += 1;
        }
    }

    /// Ends a second; true where what is sent is likely to come back.
    pub(super) fn end_span(&mut self) -> bool {
        let was_full = std::mem::take(&mut self.filled) == SPAN;
        // Where nothing is said, or nothing is heard, nothing can be learnt.
        let speaks = self.sent.iter().any(|&level| level > 300);
        let hears = self.received.iter().filter(|&&level| level > 20).count() > SPAN / 10;
        if was_full && speaks && hears {
            self.learn();
        }
        self.sent.copy_within(SPAN.., 0);
        self.judge()
    }

    fn learn(&mut self) {
        let sent = self.sent.map(loudness);
        let received = self.received.map(loudness);
        for (lag, sums) in self.sums.iter_mut().enumerate() {
            let mut new = Sums::default();
            for (&x, &y) in sent[SPAN - lag..].iter().zip(&received) {
                new.x += x;
                new.y += y;
                new.xx += x * x;
                new.yy += y * y;
                new.xy += x * y;
            }
            sums.x = sums.x * MEMORY + new.x;
            sums.y = sums.y * MEMORY + new.y;
            sums.xx = sums.xx * MEMORY + new.xx;
            sums.yy = sums.yy * MEMORY + new.yy;
            sums.xy = sums.xy * MEMORY + new.xy;
        }
        self.weight = self.weight * MEMORY + SPAN as f32;
        let likeness = |lag: &usize| self.sums[*lag].likeness(self.weight);
        let best = (0..LAGS).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let best = best.unwrap_or(0);
        let same = best.abs_diff(self.best.0) <= 1 && self.sums[best].likeness(self.weight) > ALIKE;
        self.best = match same {
            true => (best, self.best.1.saturating_add(1)),
            false => (best, 0),
        };
    }

    fn judge(&self) -> bool {
        let sums = &self.sums[self.best.0];
        self.weight >= ENOUGH && self.best.1 >= 3 && sums.likeness(self.weight) > ALIKE
    }
}

impl Sums {
    /// Pearson's correlation of `n` pairs, where both move enough to tell.
    fn likeness(&self, n: f32) -> f32 {
        if n <= 0.0 {
            return 0.0;
        }
        let spread = |sum: f32, square: f32| (square - sum * sum / n).max(0.0);
        let (x, y) = (spread(self.x, self.xx), spread(self.y, self.yy));
        // A factor of two up and down at least.
        if x < n || y < n * 0.5 {
            return 0.0;
        }
        (self.xy - self.x * self.y / n) / (x * y).sqrt()
    }
}

/// Loudness in steps of 6 dB, above a noise floor.
fn loudness(level: u16) -> f32 {
    (f32::from(level) + 12.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Syllables and pauses, as mean magnitudes a tick.
    fn speech(seed: u64, ticks: usize) -> Vec<u16> {
        let mut rng = Rng::new(seed);
        let mut levels = Vec::new();
        while levels.len() < ticks {
            let loud = 800 + rng.next_u32() % 4_000;
            let (syllable, pause) = (5 + rng.next_u32() % 12, 2 + rng.next_u32() % 18);
            levels.extend((0..syllable).map(|_| (loud + rng.next_u32() % 400) as u16));
            levels.extend((0..pause).map(|_| (rng.next_u32() % 20) as u16));
        }
        levels.truncate(ticks);
        levels
    }

    /// In which seconds an echo is suspected.
    fn suspected(sent: &[u16], received: &[u16]) -> Vec<usize> {
        let mut echo = Echo::new();
        let mut seconds = Vec::new();
        for (n, (&sent, &received)) in sent.iter().zip(received).enumerate() {
            echo.tick(sent, received);
            if (n + 1) % SPAN == 0 && echo.end_span() {
                seconds.push(n / SPAN);
            }
        }
        seconds
    }

    #[test]
    fn what_comes_back_is_found_at_any_delay() {
        for lag in [3, 12, 35] {
            let sent = speech(1, 1_000);
            let mut rng = Rng::new(2);
            let back = |n: usize| sent.get(n.wrapping_sub(lag)).map_or(0, |&s| s / 16);
            let received: Vec<u16> = (0..1_000)
                .map(|n| back(n) + (rng.next_u32() % 12) as u16)
                .collect();
            let seconds = suspected(&sent, &received);
            assert!(
                seconds.first().is_some_and(|&s| s <= 8),
                "{lag}: {seconds:?}"
            );
            assert!(seconds.len() >= 11, "{lag}: {seconds:?}");
        }
    }

    #[test]
    fn two_who_talk_by_turns_or_at_once_do_not_echo() {
        let mut found = 0;
        for seed in 0..20 {
            let (a, b) = (speech(seed, 3_000), speech(seed + 100, 3_000));
            found += suspected(&a, &b).len();
            let turn = |n: usize, own: usize| (n / 100 % 2 == own) as u16;
            let by_turns = |levels: &[u16], own: usize| -> Vec<u16> {
                levels
                    .iter()
                    .enumerate()
                    .map(|(n, &l)| l * turn(n, own) + 5)
                    .collect()
            };
            found += suspected(&by_turns(&a, 0), &by_turns(&b, 1)).len();
        }
        assert_eq!(found, 0);
    }

    #[test]
    fn silence_and_steady_noise_do_not_echo() {
        let sent = speech(4, 2_000);
        let mut rng = Rng::new(5);
        let noise: Vec<u16> = (0..2_000)
            .map(|_| 60 + (rng.next_u32() % 30) as u16)
            .collect();
        assert!(suspected(&sent, &noise).is_empty());
        assert!(suspected(&sent, &vec![0; 2_000]).is_empty());
        assert!(suspected(&noise, &sent).is_empty());
    }
}
