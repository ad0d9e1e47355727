//! How the delay of a path varies from packet to packet: contention on Wi-Fi, scheduling on LTE, spikes.

use std::time::Duration;

use sidetone::rng::Rng;
use sidetone::time::Instant;

/// A model of varying delay, added to a path's own.
///
/// Packets stay in order, as behind one queue: where one waits, those behind it wait with it, and
/// they come at once when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Variation {
    /// None.
    #[default]
    None,
    /// A quiet path that stalls now and then.
    Spikes {
        /// Mean time between the end of one stall and the next.
        every: Duration,
        /// How long each lasts.
        height: Duration,
    },
    /// A busy wireless network: a few milliseconds, and stalls of 10 to 180 ms, most of them in
    /// phases of contention that last some seconds. A buffer of constant delay needs about 81 ms
    /// for 1 % late packets.
    Wifi,
    /// A mobile network: scheduling in steps of 8 ms, a queue that swells and shrinks over
    /// seconds, and every quarter of a minute or so a handover that stalls everything for 100 to
    /// 250 ms. A buffer of constant delay needs about 122 ms for 1 % late packets.
    Lte,
}

/// A [`Variation`] at work: tells each packet's delay in the order of sending.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone::time::{Duration, Instant};
/// use sidetone_sim::network::variation::{Delays, Variation};
///
/// let (mut delays, mut rng) = (Delays::new(Variation::Wifi), Rng::new(1));
/// let sent = (0..50).map(|n| Instant::ZERO + Duration::from_millis(20 * n));
/// let late: Vec<Duration> = sent.map(|at| delays.delay(at, &mut rng)).collect();
/// assert!(late.iter().all(|delay| *delay < Duration::from_millis(400)));
/// ```
#[derive(Debug, Clone)]
pub struct Delays {
    variation: Variation,
    /// Contention on Wi-Fi.
    busy: bool,
    phase_ends: Instant,
    next_stall: Instant,
    stalled_until: Instant,
    /// The slow queue of LTE, in milliseconds, and when it was last looked at.
    queue_ms: f64,
    seen: Instant,
}

impl Delays {
    /// The model at rest.
    pub fn new(variation: Variation) -> Self {
        Self {
            variation,
            busy: true,
            phase_ends: Instant::ZERO,
            next_stall: Instant::ZERO,
            stalled_until: Instant::ZERO,
            queue_ms: 10.0,
            seen: Instant::ZERO,
        }
    }

    /// The model that it follows.
    pub fn variation(&self) -> Variation {
        self.variation
    }

    /// The additional delay of a packet sent `now`, no earlier than the one before.
    pub fn delay(&mut self, now: Instant, rng: &mut Rng) -> Duration {
        match self.variation {
            Variation::None => Duration::ZERO,
            Variation::Spikes { every, height } => {
                self.stall(now, rng, |rng| (seconds(every, rng), height));
                self.wait(now)
            }
            Variation::Wifi => self.wifi(now, rng),
            Variation::Lte => self.lte(now, rng),
        }
    }

    fn wifi(&mut self, now: Instant, rng: &mut Rng) -> Duration {
        while now >= self.phase_ends {
            self.busy = !self.busy;
            let mean = if self.busy { 3_000.0 } else { 9_000.0 };
            self.phase_ends = now + millis(500.0 + exponential(mean, rng));
        }
        let busy = self.busy;
        self.stall(now, rng, |rng| {
            let gap = if busy { 320.0 } else { 2_500.0 };
            let length = 10.0 + exponential(if busy { 69.0 } else { 28.0 }, rng);
            (millis(exponential(gap, rng)), millis(length.min(180.0)))
        });
        let noise = exponential(if busy { 4.0 } else { 1.5 }, rng);
        self.wait(now) + millis(noise.min(30.0))
    }

    fn lte(&mut self, now: Instant, rng: &mut Rng) -> Duration {
        let passed = (now - self.seen).as_secs_f64().min(1.0);
        self.seen = now;
        // Pulled back to 18 ms within seconds, pushed about meanwhile.
        let push = (rng.next_f64() + rng.next_f64() + rng.next_f64() - 1.5) * 2.0;
        self.queue_ms += (18.0 - self.queue_ms) * passed / 3.0 + push * 43.5 * passed.sqrt();
        self.queue_ms = self.queue_ms.clamp(0.0, 100.0);
        self.stall(now, rng, |rng| {
            let gap = 5_000.0 + exponential(10_000.0, rng);
            (millis(gap), millis(120.0 + 160.0 * rng.next_f64()))
        });
        let retransmissions = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 16.0];
        let radio = retransmissions[rng.below(10) as usize] + 4.0 * rng.next_f64();
        self.wait(now) + millis(self.queue_ms + radio)
    }

    /// Lets the stalls up to `now` begin, each with its time to the next and its length.
    fn stall(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        mut draw: impl FnMut(&mut Rng) -> (Duration, Duration),
    ) {
        if self.next_stall == Instant::ZERO {
            self.next_stall = now + draw(rng).0;
        }
        while now >= self.next_stall {
            let (gap, length) = draw(rng);
            self.stalled_until = self.next_stall + length;
            self.next_stall = self.stalled_until + gap + Duration::from_millis(1);
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        if self.stalled_until > now {
            self.stalled_until - now
        } else {
            Duration::ZERO
        }
    }
}

fn seconds(mean: Duration, rng: &mut Rng) -> Duration {
    millis(exponential(mean.as_secs_f64() * 1000.0, rng))
}

fn exponential(mean: f64, rng: &mut Rng) -> f64 {
    -mean * (1.0 - rng.next_f64()).ln()
}

/// Whole microseconds, so that no machine's arithmetic differs.
fn millis(millis: f64) -> Duration {
    Duration::from_micros((millis * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals of 15,000 packets behind the fastest one, in microseconds; in order.
    fn trace(variation: Variation, seed: u64) -> Vec<u64> {
        let (mut delays, mut rng) = (Delays::new(variation), Rng::new(seed));
        let mut last = Instant::ZERO;
        let mut late = Vec::new();
        for n in 0..15_000u64 {
            let sent = Instant::ZERO + Duration::from_millis(20 * n);
            last = last.max(sent + delays.delay(sent, &mut rng));
            late.push((last - sent).as_micros() as u64);
        }
        let least = late.iter().copied().min().unwrap_or(0);
        late.iter().map(|us| us - least).collect()
    }

    /// The constant delay at which one packet in a hundred is late, in milliseconds.
    fn oracle(variation: Variation, seed: u64) -> u64 {
        let mut late = trace(variation, seed);
        late.sort_unstable();
        late[14_849] / 1000
    }

    fn mean(values: impl Iterator<Item = u64>) -> u64 {
        let values: Vec<u64> = values.collect();
        values.iter().sum::<u64>() / values.len() as u64
    }

    #[test]
    fn the_traces_need_the_delays_that_they_state() {
        let wifi = mean((1..=8).map(|seed| oracle(Variation::Wifi, seed)));
        assert!((78..=84).contains(&wifi), "Wi-Fi: {wifi} ms");
        let lte = mean((1..=8).map(|seed| oracle(Variation::Lte, seed)));
        assert!((119..=125).contains(&lte), "LTE: {lte} ms");
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for variation in [Variation::Wifi, Variation::Lte] {
            assert_eq!(trace(variation, 3), trace(variation, 3));
            assert_ne!(trace(variation, 3), trace(variation, 4));
        }
    }

    #[test]
    fn spikes_come_as_often_and_as_high_as_asked() {
        let every = Duration::from_secs(3);
        let height = Duration::from_millis(150);
        let late = trace(Variation::Spikes { every, height }, 1);
        let hit = late.iter().filter(|us| **us > 0).count();
        // 300 s hold about 95 spikes, each of which meets seven or eight packets.
        assert!((550..900).contains(&hit), "{hit}");
        let most = late.iter().max();
        assert!(most <= Some(&150_000) && most > Some(&140_000), "{most:?}");
    }
}
