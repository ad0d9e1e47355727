//! What the network does to a call's packets, the same for every codec and receiver.

use sidetone::rng::Rng;
use sidetone::time::{Duration, Instant};
use sidetone_sim::network::link::{Loss, Losses};
use sidetone_sim::network::variation::{Delays, Variation};

/// What happens to packets on their way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Which packets vanish.
    pub loss: Loss,
    /// Additional delay, uniform between zero and this; packets stay in order.
    pub jitter: Duration,
    /// Additional delay by a model of a real network.
    pub variation: Variation,
    /// How much faster than the receiver's the sender's clock runs, in parts per million.
    pub drift_ppm: i32,
    /// The seed of it all.
    pub seed: u64,
}

impl Impairment {
    /// A network without faults and delay.
    pub const fn none(seed: u64) -> Self {
        Self {
            loss: Loss::None,
            jitter: Duration::ZERO,
            variation: Variation::None,
            drift_ppm: 0,
            seed,
        }
    }
}

/// An [`Impairment`] at work. Loss and delay draw from generators of their own, so that the same
/// packets are late whatever is lost.
#[derive(Debug)]
pub struct Network {
    impairment: Impairment,
    losses: (Losses, Rng),
    delays: (Delays, Rng),
    jitter: Rng,
    last: Instant,
}

impl Network {
    /// The network at the call's beginning.
    pub fn new(impairment: Impairment) -> Self {
        let mut rng = Rng::new(impairment.seed);
        Self {
            losses: (Losses::default(), rng.fork()),
            delays: (Delays::new(impairment.variation), rng.fork()),
            jitter: rng.fork(),
            last: Instant::ZERO,
            impairment,
        }
    }

    /// When a packet sent at `at` arrives; nothing where it is lost.
    pub fn carry(&mut self, at: Instant) -> Option<Instant> {
        let (delays, rng) = &mut self.delays;
        let most = self.impairment.jitter.as_micros() as u64;
        let jitter = Duration::from_micros(self.jitter.below(most));
        let arrival = at + delays.delay(at, rng) + jitter;
        let (losses, rng) = &mut self.losses;
        if losses.loses(self.impairment.loss, rng) {
            return None;
        }
        self.last = self.last.max(arrival);
        Some(self.last)
    }
}

/// How long a buffer of constant delay must hold packets, behind the fastest one, so that this share
/// (in 1/10,000) of those that arrive is late: the best that a buffer can do which does not stretch
/// time and knows the future. In milliseconds.
pub fn oracle_ms(delays_us: &[u64], late: usize) -> u64 {
    let mut delays = delays_us.to_vec();
    delays.sort_unstable();
    let keep = (delays.len() * (10_000 - late)).div_ceil(10_000);
    match (delays.first(), delays.get(keep.saturating_sub(1))) {
        (Some(least), Some(most)) => (most - least).div_ceil(1000),
        _ => 0,
    }
}
