//! What one direction between two hosts does to packets: delay, jitter, loss, reordering, copies.

use std::time::Duration;

use sidetone::rng::Rng;
use sidetone::time::Instant;

use crate::network::variation::{Delays, Variation};

/// The properties of one direction between two hosts.
///
/// The default is a good local network: 1 ms of delay and nothing else. Every probability is in
/// `0.0..=1.0`; values outside are treated as the nearest bound.
///
/// ```
/// use std::time::Duration;
/// use sidetone_sim::network::link::{Link, Loss};
///
/// let wifi = Link::delay(Duration::from_millis(20))
///     .jitter(Duration::from_millis(30))
///     .loss(Loss::Random(0.02));
/// assert_eq!(wifi.delay, Duration::from_millis(20));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// One-way delay of every packet. Default 1 ms.
    pub delay: Duration,
    /// Additional delay, uniform between zero and this. Packets stay in order unless
    /// [`reorder`](Self::reorder) says otherwise, as behind one queue. Default zero.
    pub jitter: Duration,
    /// Additional delay that follows a model of a real network. Default none.
    pub variation: Variation,
    /// Which packets vanish. Default none.
    pub loss: Loss,
    /// Probability that a packet is held back by [`reorder_by`](Self::reorder_by) and overtaken.
    /// Default zero.
    pub reorder: f64,
    /// How long an overtaken packet is held back. Default 30 ms.
    pub reorder_by: Duration,
    /// Probability that a packet arrives twice. Default zero.
    pub duplicate: f64,
    /// Bits a second, counted with IP and UDP headers; packets queue behind each other and are
    /// dropped after [`queue`](Self::queue). Default unlimited.
    pub bandwidth: Option<u64>,
    /// The longest time that a packet waits for its turn on a link of limited bandwidth.
    /// Default 200 ms.
    pub queue: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            variation: Variation::None,
            loss: Loss::None,
            reorder: 0.0,
            reorder_by: Duration::from_millis(30),
            duplicate: 0.0,
            bandwidth: None,
            queue: Duration::from_millis(200),
        }
    }
}

impl Link {
    /// A perfect link of this one-way delay.
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// With up to this much additional delay a packet.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// With delay that varies by this model.
    pub fn variation(mut self, variation: Variation) -> Self {
        self.variation = variation;
        self
    }

    /// With this loss.
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// With this probability that a packet is overtaken, being held back by `by`.
    pub fn reorder(mut self, probability: f64, by: Duration) -> Self {
        self.reorder = probability;
        self.reorder_by = by;
        self
    }

    /// With this probability that a packet arrives twice.
    pub fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// With this many bits a second.
    pub fn bandwidth(mut self, bits_per_second: u64) -> Self {
        self.bandwidth = Some(bits_per_second);
        self
    }
}

/// A model of packet loss.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing is lost.
    None,
    /// Each packet is lost with this probability, whatever happened to the one before.
    Random(f64),
    /// Losses come in bursts: a two-state chain (Gilbert and Elliott) that steps with each packet.
    Gilbert {
        /// Probability to go from the good state to the bad one.
        enter: f64,
        /// Probability to go back; the mean length of a burst is its inverse.
        leave: f64,
        /// Probability that a packet is lost in the bad state.
        loss: f64,
    },
}

impl Loss {
    /// Bursts of `burst` packets on average that lose this share of all packets.
    ///
    /// `rate` is clamped to `0.0..=0.9` and `burst` to at least one packet.
    pub fn bursty(rate: f64, burst: f64) -> Self {
        let rate = rate.clamp(0.0, 0.9);
        let leave = 1.0 / burst.max(1.0);
        Self::Gilbert {
            enter: (leave * rate / (1.0 - rate)).min(1.0),
            leave,
            loss: 1.0,
        }
    }

    /// Episodes of 20 packets on average in which every second packet is lost, and quiet between
    /// them, so that this share of all packets is lost: what radio and congested links do, and what
    /// generators trained on real traces make.
    ///
    /// `rate` is clamped to `0.0..=0.4`.
    pub fn episodes(rate: f64) -> Self {
        let share = 2.0 * rate.clamp(0.0, 0.4);
        let leave = 0.05;
        Self::Gilbert {
            enter: (leave * share / (1.0 - share)).min(1.0),
            leave,
            loss: 0.5,
        }
    }
}

/// A [`Loss`] at work: says of each packet in turn whether it vanishes.
///
/// ```
/// use sidetone::rng::Rng;
/// use sidetone_sim::network::link::{Loss, Losses};
///
/// let (mut losses, mut rng) = (Losses::default(), Rng::new(1));
/// let lost = (0..1000).filter(|_| losses.loses(Loss::Random(0.05), &mut rng));
/// assert!((30..70).contains(&lost.count()));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Losses {
    bad: bool,
}

impl Losses {
    /// Whether the next packet vanishes.
    pub fn loses(&mut self, loss: Loss, rng: &mut Rng) -> bool {
        match loss {
            Loss::None => false,
            Loss::Random(rate) => chance(rate, rng),
            Loss::Gilbert { enter, leave, loss } => {
                let turn = if self.bad { leave } else { enter };
                if chance(turn, rng) {
                    self.bad = !self.bad;
                }
                self.bad && chance(loss, rng)
            }
        }
    }
}

fn chance(probability: f64, rng: &mut Rng) -> bool {
    probability > 0.0 && rng.next_f64() < probability
}

/// What a path does with one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It vanishes.
    Lost,
    /// It does not fit the queue of a link of limited bandwidth.
    Congested,
    /// It arrives at `at`, and once more at `again`.
    Arrives {
        /// When it arrives.
        at: Instant,
        /// When its copy does, where it has one.
        again: Option<Instant>,
        /// Whether it was held back for others to overtake it.
        overtaken: bool,
    },
}

/// One direction between two hosts with its memory: the loss state and the queue.
///
/// The simulator's network is made of these; anything else that carries packets can use one too.
///
/// ```
/// use std::time::Duration;
/// use sidetone::rng::Rng;
/// use sidetone::time::Instant;
/// use sidetone_sim::network::link::{Fate, Link, Path};
///
/// let mut path = Path::new(Link::delay(Duration::from_millis(20)), Rng::new(1));
/// let Fate::Arrives { at, .. } = path.carry(Instant::ZERO, 200) else {
///     panic!("this link loses nothing");
/// };
/// assert_eq!(at, Instant::ZERO + Duration::from_millis(20));
/// ```
#[derive(Debug)]
pub struct Path {
    pub(super) link: Link,
    /// Set for these two hosts by name, not by default.
    pub(super) named: bool,
    rng: Rng,
    losses: Losses,
    delays: Delays,
    last_arrival: Instant,
    free_at: Instant,
}

impl Path {
    /// A path over `link` that draws from `rng`.
    pub fn new(link: Link, rng: Rng) -> Self {
        Self {
            link,
            named: false,
            rng,
            losses: Losses::default(),
            delays: Delays::new(link.variation),
            last_arrival: Instant::ZERO,
            free_at: Instant::ZERO,
        }
    }

    /// Decides about a packet of `size` bytes, headers included, that is sent at `now`.
    pub fn carry(&mut self, now: Instant, size: usize) -> Fate {
        if self.loses() {
            return Fate::Lost;
        }
        let Some(start) = self.transmit(now, size) else {
            return Fate::Congested;
        };
        let mut at = start + self.link.delay + self.jitter() + self.varied(start);
        let overtaken = self.chance(self.link.reorder);
        if overtaken {
            at += self.link.reorder_by;
        } else {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        let again = self
            .chance(self.link.duplicate)
            .then(|| at + self.jitter() + Duration::from_micros(10));
        Fate::Arrives {
            at,
            again,
            overtaken,
        }
    }

    /// When a segment of a reliable stream arrives: a loss costs one retransmission time-out.
    pub(super) fn carry_reliably(&mut self, now: Instant, size: usize) -> Instant {
        const RETRANSMISSION: Duration = Duration::from_millis(200);
        let mut start = now;
        for _ in 0..8 {
            if !self.loses() {
                break;
            }
            start += RETRANSMISSION;
        }
        let sent = self.transmit(start, size).unwrap_or(self.free_at);
        sent + self.link.delay + self.jitter() + self.varied(sent)
    }

    /// When the last bit of the packet has left, or nothing where it would wait for too long.
    fn transmit(&mut self, now: Instant, size: usize) -> Option<Instant> {
        let Some(bandwidth) = self.link.bandwidth else {
            return Some(now);
        };
        let start = now.max(self.free_at);
        if start - now > self.link.queue {
            return None;
        }
        let nanos = (size as u128 * 8 * 1_000_000_000) / u128::from(bandwidth.max(1));
        self.free_at = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(self.free_at)
    }

    /// What the model of a varying path adds; begun anew where the link has changed.
    fn varied(&mut self, now: Instant) -> Duration {
        if self.delays.variation() != self.link.variation {
            self.delays = Delays::new(self.link.variation);
        }
        self.delays.delay(now, &mut self.rng)
    }

    fn jitter(&mut self) -> Duration {
        if self.link.jitter.is_zero() {
            return Duration::ZERO;
        }
        let most = u64::try_from(self.link.jitter.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.below(most))
    }

    fn loses(&mut self) -> bool {
        self.losses.loses(self.link.loss, &mut self.rng)
    }

    fn chance(&mut self, probability: f64) -> bool {
        chance(probability, &mut self.rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(link: Link, packets: u32) -> (u32, u32) {
        let mut path = Path::new(link, Rng::new(3));
        let (mut lost, mut bursts, mut before) = (0, 0, false);
        for i in 0..packets {
            let now = Instant::ZERO + Duration::from_millis(20) * i;
            let gone = path.carry(now, 200) == Fate::Lost;
            lost += u32::from(gone);
            bursts += u32::from(gone && !before);
            before = gone;
        }
        (lost, bursts)
    }

    #[test]
    fn random_loss_has_its_rate() {
        let (lost, _) = lost(Link::default().loss(Loss::Random(0.05)), 100_000);
        assert!((4_700..5_300).contains(&lost), "{lost}");
    }

    #[test]
    fn bursty_loss_has_its_rate_and_length() {
        let (lost, bursts) = lost(Link::default().loss(Loss::bursty(0.05, 4.0)), 100_000);
        assert!((4_200..5_800).contains(&lost), "{lost}");
        let length = f64::from(lost) / f64::from(bursts);
        assert!((3.5..4.5).contains(&length), "{length}");
    }

    #[test]
    fn episodes_have_their_rate_and_lose_every_second_packet() {
        let (lost, bursts) = lost(Link::default().loss(Loss::episodes(0.1)), 100_000);
        assert!((9_000..11_000).contains(&lost), "{lost}");
        let length = f64::from(lost) / f64::from(bursts);
        assert!((1.7..2.1).contains(&length), "{length}");
    }

    #[test]
    fn jitter_alone_keeps_the_order() {
        let link = Link::delay(Duration::from_millis(5)).jitter(Duration::from_millis(80));
        let mut path = Path::new(link, Rng::new(1));
        let mut last = Instant::ZERO;
        for i in 0..1_000u32 {
            let now = Instant::ZERO + Duration::from_millis(20) * i;
            let Fate::Arrives { at, again, .. } = path.carry(now, 200) else {
                panic!("nothing is lost here");
            };
            assert!(at >= last && at >= now + Duration::from_millis(5));
            assert_eq!(again, None);
            last = at;
        }
    }

    #[test]
    fn bandwidth_spaces_packets_and_bounds_the_queue() {
        let link = Link::delay(Duration::ZERO).bandwidth(80_000);
        let mut path = Path::new(link, Rng::new(1));
        let mut arrivals = Vec::new();
        let mut congested = 0;
        for _ in 0..30 {
            match path.carry(Instant::ZERO, 100) {
                Fate::Arrives { at, .. } => arrivals.push(at.as_nanos() / 1_000_000),
                _ => congested += 1,
            }
        }
        assert_eq!(arrivals[..3], [10, 20, 30]);
        assert_eq!(congested, 9, "200 ms of queue hold 21 packets of 10 ms");
    }
}
