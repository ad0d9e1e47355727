//! The delay that a stream needs, learnt from when its packets came.

use sidetone_simd::cache::prefetch;

use crate::media::jitter::{MS, Mode, ticks};
use crate::time::{Duration, Instant};

/// Width of a bin of the histogram.
const BIN: i64 = 5 * MS;
const BINS: usize = 128;
/// Packets that are remembered one by one.
const RECENT: usize = 128;
/// How long they are.
const WINDOW: Duration = Duration::from_secs(2);
/// Packets after which a packet weighs 1/e of what it did.
const MEMORY: f32 = 250.0;
/// Milliseconds of delay that one packet in a hundred that comes too late is worth.
const MS_PER_PERCENT: f32 = 50.0;
/// Share of packets that are granted any delay, however much longer than all before.
const UNKNOWN: f32 = 0.002;
/// Packets between two looks at the histogram.
const INTERVAL: u32 = 8;
/// By how much the target rises for what counts as a peak, and how soon peaks are one.
const PEAK: (i64, Duration) = (20 * MS, Duration::from_secs(1));
/// Peaks that follow each other within this recur.
const RECUR: Duration = Duration::from_secs(10);
/// Where four packets of five come within this, the network is calm but for its peaks.
const CALM: i64 = BIN;
/// By how much the target falls at most between peaks that recur: ticks of media time a second.
const FALL: i64 = 8 * MS;
/// What is aimed at before anything is known.
const FIRST: i64 = 40 * MS;
/// Packets for which that counts.
const FIRST_PACKETS: f32 = 10.0;

/// The distribution of delays: how much later than the fastest of the last two seconds packets come.
///
/// The *delay* of a packet is its arrival on the local clock less its media time, so it has an
/// arbitrary origin, and a sender's drifting clock moves it. The least one of two seconds is the
/// *base*; what packets are late against it goes into a histogram that forgets. The target is where
/// the cost of waiting longer (a millisecond each) and the cost of packets that come too late meet.
/// When the base rises, since the network's delay has grown for good, the packets of the last two
/// seconds are counted anew against it; so a change of route is no jitter for longer than that.
/// Where peaks recur in a calm network, the target comes down slowly: coming down from each and going up
/// again for the next is heard, staying is not.
#[derive(Debug)]
pub(super) struct Delays {
    mode: Mode,
    recent: Box<[Recent]>,
    /// Where the oldest is, and how many there are.
    first: usize,
    len: usize,
    least: Least,
    base: Option<i64>,
    /// Since when packets have come again after a pause, while the base is from before it.
    resumed: Option<Instant>,
    bins: Box<[f32; BINS]>,
    /// The weight of packets that never came.
    lost: f32,
    /// What the next packet weighs; it grows, which is how older ones are forgotten.
    weight: f32,
    packets: f32,
    until_update: u32,
    target: i64,
    usual: i64,
    peaks: Peaks,
}

/// Peaks of the delay that come again and again.
#[derive(Debug, Default)]
struct Peaks {
    last: Option<Instant>,
    before: Option<Instant>,
    updated: Option<Instant>,
}

impl Peaks {
    /// The target to go to from `target` where the histogram asks for `guess`.
    fn hold(&mut self, now: Instant, target: i64, guess: i64) -> i64 {
        let since = self.updated.map_or(Duration::ZERO, |at| now - at);
        self.updated = Some(now);
        let (height, apart) = PEAK;
        if guess >= target + height {
            if self.last.is_none_or(|last| now - last >= apart) {
                self.before = self.last;
            }
            self.last = Some(now);
        }
        let recurring = self.last.zip(self.before);
        let recurring =
            recurring.is_some_and(|(last, before)| now - last < RECUR && last - before < RECUR);
        if !recurring {
            return guess;
        }
        let fall = FALL * since.as_millis().min(10_000) as i64 / 1000;
        guess.max(target - fall)
    }
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    arrived: Instant,
    delay: i64,
    weight: f32,
    bin: u8,
}

/// Where in the ring of recent packets the least delays are: the least of all first, then the least of those
/// behind it, and so on.
#[derive(Debug)]
struct Least {
    places: [u8; RECENT],
    first: usize,
    len: usize,
}

impl Least {
    /// The packet at `place` is the newest.
    fn add(&mut self, recent: &[Recent], place: usize) {
        let delay = recent[place].delay;
        while self.len > 0 {
            let last = self.places[(self.first + self.len - 1) % RECENT];
            if recent[usize::from(last)].delay < delay {
                break;
            }
            self.len -= 1;
        }
        self.places[(self.first + self.len) % RECENT] = place as u8;
        self.len += 1;
    }

    /// The packet at `place`, the oldest, is forgotten.
    fn forget(&mut self, place: usize) {
        if self.len > 0 && usize::from(self.places[self.first]) == place {
            self.first = (self.first + 1) % RECENT;
            self.len -= 1;
        }
    }

    fn delay(&self, recent: &[Recent]) -> Option<i64> {
        let place = self.places[self.first];
        (self.len > 0).then(|| recent[usize::from(place)].delay)
    }
}

impl Delays {
    pub(super) fn new(mode: Mode) -> Self {
        let nothing = Recent {
            arrived: Instant::ZERO,
            delay: 0,
            weight: 0.0,
            bin: 0,
        };
        let mut delays = Self {
            mode,
            recent: vec![nothing; RECENT].into(),
            first: 0,
            len: 0,
            least: Least {
                places: [0; RECENT],
                first: 0,
                len: 0,
            },
            base: None,
            resumed: None,
            bins: Box::new([0.0; BINS]),
            lost: 0.0,
            weight: 1.0,
            packets: 0.0,
            until_update: 0,
            target: 0,
            usual: 0,
            peaks: Peaks::default(),
        };
        delays.aim(FIRST);
        delays
    }

    /// A packet is coming: asks for what is noted of it, and of the one that it makes forgotten.
    pub(super) fn expect(&self) {
        let last = (self.first + self.len) % RECENT;
        prefetch(&self.recent[self.first]);
        prefetch(&self.recent[last]);
        // Most come with little delay.
        prefetch(&self.bins[..8]);
    }

    /// The delay of the fastest packet of late.
    pub(super) fn base(&self) -> i64 {
        self.base.unwrap_or(0)
    }

    /// The delay above the base that is aimed at.
    pub(super) fn target(&self) -> i64 {
        self.target
    }

    /// The delay above the base that four packets of five do not exceed.
    pub(super) fn usual(&self) -> i64 {
        self.usual
    }

    /// The chance that a packet which has not come at `age` comes, but later than at `limit`, both above
    /// the base.
    pub(super) fn chance_beyond(&self, age: i64, limit: i64) -> f32 {
        let total: f32 = self.bins.iter().sum();
        let above = |delay: i64| -> f32 { self.bins[usize::from(bin_of(delay))..].iter().sum() };
        let unknown = UNKNOWN * total.max(1.0);
        (above(limit.max(age)) + unknown) / (above(age) + unknown + self.lost)
    }

    /// The longest delay above the base.
    pub(super) fn most(&self) -> i64 {
        match self.mode {
            Mode::Adaptive { max, .. } => ticks(max),
            Mode::Fixed(delay) => ticks(delay),
        }
    }

    pub(super) fn is_adaptive(&self) -> bool {
        matches!(self.mode, Mode::Adaptive { .. })
    }

    /// Says that the delays that follow have another origin.
    pub(super) fn restart(&mut self) {
        self.len = 0;
        self.least.len = 0;
        self.base = None;
    }

    /// Learns that a packet came with this delay.
    pub(super) fn note(&mut self, now: Instant, delay: i64) {
        self.forget(now);
        let base = match self.base {
            Some(base) => base.min(delay),
            None => delay,
        };
        if self.base != Some(base) {
            self.resumed = None;
        }
        self.base = Some(base);
        let bin = bin_of(delay - base);
        self.bins[usize::from(bin)] += self.weight;
        let at = (self.first + self.len) % RECENT;
        self.recent[at] = Recent {
            arrived: now,
            delay,
            weight: self.weight,
            bin,
        };
        self.least.add(&self.recent, at);
        self.len += 1;
        self.weight *= 1.0 + 1.0 / (self.packets + 1.0).min(MEMORY);
        self.packets += 1.0;
        if self.weight > 1e9 {
            self.scale_down();
        }
        self.until_update = self.until_update.saturating_sub(1);
        if self.until_update == 0 || self.packets < 4.0 * INTERVAL as f32 {
            self.until_update = INTERVAL;
            self.update(now);
        }
    }

    /// Learns that so many packets never came.
    pub(super) fn note_lost(&mut self, packets: u64) {
        self.lost += self.weight * packets.min(RECENT as u64) as f32;
    }

    /// Lets go of packets that came long ago; where the fastest was among them, the base rises.
    fn forget(&mut self, now: Instant) {
        let mut lost_base = self.resumed.is_some_and(|since| now - since >= WINDOW);
        while self.len > 0 {
            let oldest = self.recent[self.first];
            if self.len < RECENT && now - oldest.arrived < WINDOW {
                break;
            }
            lost_base |= Some(oldest.delay) == self.base;
            self.least.forget(self.first);
            self.first = (self.first + 1) % RECENT;
            self.len -= 1;
        }
        if lost_base && self.len == 0 {
            // After a pause, what was before is still the best guess, for a while.
            self.resumed = Some(now);
        } else if lost_base {
            self.resumed = None;
            let base = self.least.delay(&self.recent);
            if self
                .base
                .zip(base)
                .is_some_and(|(old, new)| new - old >= BIN)
            {
                self.count_anew(base.unwrap_or(0));
            }
            self.base = base;
        }
    }

    /// Counts the recent packets against a base that has risen.
    fn count_anew(&mut self, base: i64) {
        for n in self.first..self.first + self.len {
            let recent = &mut self.recent[n % RECENT];
            let bin = bin_of(recent.delay - base);
            let old = &mut self.bins[usize::from(recent.bin)];
            *old = (*old - recent.weight).max(0.0);
            self.bins[usize::from(bin)] += recent.weight;
            recent.bin = bin;
        }
        self.until_update = 0;
    }

    fn scale_down(&mut self) {
        let factor = 1.0 / self.weight;
        for bin in self.bins.iter_mut() {
            *bin *= factor;
        }
        self.lost *= factor;
        for recent in &mut self.recent {
            recent.weight *= factor;
        }
        self.weight = 1.0;
    }

    /// Finds the delay of the least cost.
    fn update(&mut self, now: Instant) {
        let total: f32 = self.bins.iter().sum();
        if total <= 0.0 {
            return;
        }
        let per_weight = MS_PER_PERCENT * 100.0 / total;
        let most = self.most();
        let (mut late, mut best, mut usual) = (0.0, (f32::INFINITY, 0), 0);
        for n in (0..BINS).rev() {
            // Waiting to the end of bin `n` leaves out what is above it.
            let wait = (n as i64 + 1) * BIN;
            let cost = (wait / MS) as f32 + late * per_weight;
            // Nothing is waited for that comes later than the longest delay.
            if cost < best.0 && wait <= most.max(BIN) {
                best = (cost, wait);
            }
            if late <= 0.2 * total {
                usual = wait;
            }
            late += self.bins[n];
        }
        self.usual = usual;
        let known = (self.packets / FIRST_PACKETS).min(1.0);
        let guess = FIRST as f32 * (1.0 - known) + best.1 as f32 * known;
        let held = self.peaks.hold(now, self.target, guess as i64);
        self.aim(match usual {
            ..=CALM => held,
            _ => guess as i64,
        });
    }

    fn aim(&mut self, best: i64) {
        self.target = match self.mode {
            Mode::Adaptive { min, max } => best.clamp(ticks(min), ticks(max)),
            Mode::Fixed(delay) => ticks(delay),
        };
    }
}

fn bin_of(relative: i64) -> u8 {
    (relative / BIN).clamp(0, BINS as i64 - 1) as u8
}
