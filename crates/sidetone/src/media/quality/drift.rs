//! The sender's clock against ours, from when packets come.

use crate::time::Instant;

/// Windows that are looked at: half a minute.
const WINDOWS: usize = 30;
/// Windows needed to say anything.
const FEWEST: usize = 18;

/// Compares when packets come with their timestamps, by the fastest packet of each second: those are
/// held up least, so that jitter hardly matters, and a lasting trend is the clocks'.
#[derive(Debug, Clone)]
pub(super) struct Drift {
    /// Lateness of the fastest packet of each window, in µs from an arbitrary point.
    fastest: [f32; WINDOWS],
    filled: usize,
    /// The fastest of the window that runs.
    current: Option<i64>,
    stream: Option<Stream>,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    began: Instant,
    timestamp: u32,
    /// Ticks since the first packet.
    ticks: i64,
    clock: u32,
}

impl Drift {
    pub(super) fn new() -> Self {
        Self {
            fastest: [0.0; WINDOWS],
            filled: 0,
            current: None,
            stream: None,
        }
    }

    /// A packet of the stream came.
    #[inline]
    pub(super) fn packet(&mut self, now: Instant, timestamp: u32, clock: u32) {
        let stream = self.stream.get_or_insert(Stream {
            began: now,
            timestamp,
            ticks: 0,
            clock,
        });
        let step = timestamp.wrapping_sub(stream.timestamp) as i32;
        // A leap, or another clock: what was learnt does not hold any more.
        if step.unsigned_abs() > 4 * stream.clock || clock != stream.clock {
            *self = Self::new();
            return;
        }
        stream.timestamp = timestamp;
        stream.ticks += i64::from(step);
        let media = stream.ticks * 1_000_000 / i64::from(stream.clock.max(1));
        let passed = now.saturating_duration_since(stream.began).as_micros() as i64;
        let late = passed - media;
        self.current = Some(self.current.map_or(late, |least| least.min(late)));
    }

    /// Forgets the stream: another takes its place.
    pub(super) fn restart(&mut self) {
        *self = Self::new();
    }

    /// Ends a window, and says by how many parts in a million the sender's clock is slow (above zero)
    /// or fast; `None` while that is not clear.
    pub(super) fn end_window(&mut self) -> Option<f64> {
        // A second without packets, as in silence: the line is not even, so it starts anew.
        let Some(fastest) = self.current.take() else {
            self.filled = 0;
            return None;
        };
        if self.filled == WINDOWS {
            self.fastest.copy_within(1.., 0);
            self.filled -= 1;
        }
        self.fastest[self.filled] = fastest as f32;
        self.filled += 1;
        self.trend()
    }

    fn trend(&self) -> Option<f64> {
        let seen = &self.fastest[..self.filled];
        if seen.len() < FEWEST {
            return None;
        }
        let whole = slope(seen);
        // A single step, a change of route, has a slope too, but not in every third of it.
        let mut thirds = seen.chunks(seen.len().div_ceil(3));
        let steady = thirds.all(|third| {
            let part = slope(third);
            part * whole > 0.0 && (0.4..2.0).contains(&(part / whole))
        });
        steady.then_some(whole)
    }
}

/// The slope of a line through values a second apart, by least squares: µs a second is parts in a
/// million.
fn slope(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let (mut both, mut square) = (0.0, 0.0);
    for (x, &y) in values.iter().enumerate() {
        let x = x as f64 - middle;
        both += x * (f64::from(y) - mean);
        square += x * x;
    }
    both / square.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The drift found after `seconds` of packets each 20 ms of a sender whose clock is `ppm` slow;
    /// `delay` says how long each takes, in µs.
    fn found(ppm: f64, seconds: u64, mut delay: impl FnMut(u64) -> u64) -> Option<f64> {
        let mut drift = Drift::new();
        let mut last = None;
        for n in 0..seconds * 50 {
            let sent = n as f64 * 20_000.0 * (1.0 + ppm / 1e6);
            let came = Instant::from_nanos((sent as u64 + delay(n) + 1_000_000) * 1_000);
            drift.packet(
                came,
                (n as u32).wrapping_mul(160).wrapping_add(u32::MAX - 8_000),
                8_000,
            );
            if n % 50 == 49 {
                last = drift.end_window();
            }
        }
        last
    }

    #[test]
    fn clocks_are_compared_through_jitter() {
        for ppm in [-1_000.0, 500.0, 3_000.0] {
            let mut rng = Rng::new(3);
            let ppm_found = found(ppm, 60, |_| 20_000 + u64::from(rng.next_u32() % 40_000));
            let off = ppm_found.expect("a clear trend") - ppm;
            assert!(off.abs() < 120.0, "{ppm}: {ppm_found:?}");
        }
        let mut rng = Rng::new(9);
        let even = found(0.0, 60, |_| 20_000 + u64::from(rng.next_u32() % 40_000));
        assert!(even.is_none_or(|ppm| ppm.abs() < 150.0), "{even:?}");
    }

    #[test]
    fn a_change_of_route_is_no_drift() {
        for at in [400, 1_000, 1_200, 1_450] {
            let step = found(0.0, 31, |n| if n < at { 20_000 } else { 140_000 });
            assert!(step.is_none_or(|ppm| ppm.abs() < 10.0), "{at}: {step:?}");
        }
    }

    #[test]
    fn a_leap_or_a_pause_starts_anew() {
        assert_eq!(found(2_000.0, 10, |_| 0), None);
        let mut drift = Drift::new();
        for second in 0..40u64 {
            for n in 0..50 {
                let at = Instant::from_nanos(second * 1_000_000_000 + n * 20_000_000);
                let leap = if second >= 35 { 900_000 } else { 0 };
                drift.packet(at, (second * 8_000 + n * 160) as u32 + leap, 8_000);
            }
            let trend = drift.end_window();
            assert_eq!(trend, None, "an even stream has no clear trend");
        }
        assert!(drift.filled <= 6);
        assert_eq!(drift.end_window(), None);
        assert_eq!(drift.filled, 0);
    }
}
