//! How long to wait before a store that failed is asked again.

use crate::rng::Rng;
use crate::time::Duration;

/// The first pause, and the longest.
pub const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Pauses that double, each drawn from its upper half, so that engines do not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    rng: Rng,
}

impl Backoff {
    /// The first pause is a second at most.
    pub fn new(rng: Rng) -> Self {
        let pause = PAUSES.0;
        Self { pause, rng }
    }

    /// It failed: wait for so long.
    pub fn fail(&mut self) -> Duration {
        let pause = self.pause.mul_f64(0.5 + self.rng.next_f64() / 2.0);
        self.pause = (self.pause * 2).min(PAUSES.1);
        pause
    }

    /// It works.
    pub fn reset(&mut self) {
        self.pause = PAUSES.0;
    }
}
