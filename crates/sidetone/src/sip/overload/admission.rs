//! How much new work is let in: a share that follows how long work has to wait.

use crate::sip::overload::feedback::Feedback;
use crate::time::{Duration, Instant, WallTime};

/// How often the share is set anew.
const INTERVAL: Duration = Duration::from_millis(100);

/// The least share: enough for the wait to be measured, and for it to come back.
const LEAST: f64 = 0.02;

/// By how much the share shrinks in one interval at most, and grows.
const SHRINK: f64 = 0.1;
const GROW: f64 = 0.02;

/// By how much it grows where hardly anything waits, and what that is as a multiple of the target.
const RECOVER: f64 = 0.1;
const IDLE: f64 = 0.05;

/// Beyond so many times the target nothing new is let in but what has precedence.
const STOP: f64 = 5.0;

/// Beyond so many times the target not even that is.
const LAST_RESORT: f64 = 25.0;

/// How many of the last intervals speak for the media workers, and in how many of these ticks must be late:
/// one pause of the machine makes all its ticks late at once, and is over.
const REMEMBERED: usize = 10;
const PERSISTENT: usize = 3;

/// How long peers are told that it is over.
const OVER: Duration = Duration::from_secs(2);

/// What a request is worth while there is too much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// New work.
    Normal,
    /// An emergency, a configured namespace or number: let in until nothing works any more.
    High,
    /// Part of what was let in before: never refused for load.
    InProgress,
}

/// When new work is refused for load.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmissionConfig {
    /// How long a message may wait for others, on average, before it is looked at: beyond it less is let
    /// in; 20 ms.
    pub target: Duration,
    /// The share of the media workers' ticks that may be late in a second, in per cent; 2. Late ticks of one
    /// pause are none: they must come in three tenths of that second.
    pub late_ticks: u8,
    /// The least time in which those who are refused shall not come back, in seconds; they are told
    /// this up to twice this; 5.
    pub retry_after: u32,
    /// The beginnings of user parts of the Request-URI that have precedence, such as `112`; none.
    pub numbers: Vec<String>,
    /// The namespaces of Resource-Priority (RFC 4412) that have precedence, alone (`wps`) or with a
    /// value (`ets.0`); none. Whoever may send requests here may claim one.
    pub namespaces: Vec<String>,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(20),
            late_ticks: 2,
            retry_after: 5,
            numbers: Vec::new(),
            namespaces: Vec::new(),
        }
    }
}

/// What admission has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionCounters {
    /// New work that was let in while some was refused.
    pub admitted: u64,
    /// New work refused.
    pub refused: u64,
    /// Of that, what had precedence.
    pub refused_high: u64,
}

/// Lets in as much new work as can be done without anything having to wait for long.
///
/// Every 100 ms the share of new work that is let in is set anew from how long messages had to wait
/// since ([`handle_wait`](Self::handle_wait)) and how many ticks of the media workers came late in the last
/// second ([`handle_ticks`](Self::handle_ticks)): the more beyond the target, the faster it shrinks, by a
/// tenth at most; below the target it grows, by a tenth where hardly anything waits. It is not the processor's
/// load that decides: a busy processor that keeps up is no overload. Nor is a pause in which nothing ran at
/// all: what came in it has waited long, but it is done in no time.
///
/// ```
/// use std::time::Duration;
/// use sidetone::sip::overload::admission::{Admission, AdmissionConfig, Precedence};
/// use sidetone::time::Instant;
///
/// let mut admission = Admission::new(AdmissionConfig::default());
/// let mut now = Instant::ZERO;
/// assert!(admission.admit(now, Precedence::Normal));
/// for _ in 0..100 {
///     now += Duration::from_millis(10);
///     admission.handle_wait(now, Duration::from_millis(400));
/// }
/// assert!(!admission.admit(now, Precedence::Normal));
/// assert!(admission.admit(now, Precedence::High));
/// ```
#[derive(Debug, Clone)]
pub struct Admission {
    config: AdmissionConfig,
    share: f64,
    /// What of a whole request the shares since the last one let in come to.
    credit: f64,
    /// The interval under way: its end, and the waits in it.
    until: Instant,
    waits: Duration,
    count: u32,
    /// When the last message was looked at, and when the first of those that came one upon the other since.
    looked: Instant,
    standing_since: Instant,
    /// The last interval's wait, as a multiple of the target.
    pressure: f64,
    /// Ticks so far, and late ones; at the end of the last interval; and in each of the last intervals.
    ticks: (u64, u64),
    last_ticks: (u64, u64),
    intervals: [(u64, u64); REMEMBERED],
    /// Until when peers are told that it is over.
    over: Option<Instant>,
    counters: AdmissionCounters,
}

impl Admission {
    /// Lets everything in, to begin with.
    pub fn new(config: AdmissionConfig) -> Self {
        Self {
            config,
            share: 1.0,
            credit: 1.0,
            until: Instant::ZERO,
            waits: Duration::ZERO,
            count: 0,
            looked: Instant::ZERO,
            standing_since: Instant::ZERO,
            pressure: 0.0,
            ticks: (0, 0),
            last_ticks: (0, 0),
            intervals: [(0, 0); REMEMBERED],
            over: None,
            counters: AdmissionCounters::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &AdmissionConfig {
        &self.config
    }

    /// What has been counted.
    pub fn counters(&self) -> AdmissionCounters {
        self.counters
    }

    /// The share of new work that is let in, up to 1.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Whether anything is refused.
    pub fn is_overloaded(&self) -> bool {
        self.share < 1.0
    }

    /// What peers who obey are told at `now`: how much to spare us, and for a while afterwards that it
    /// is over. `epoch` is civil time at the clock's zero, so that a restart does not count from below.
    pub fn feedback(&mut self, now: Instant, epoch: WallTime) -> Option<Feedback> {
        self.turn(now);
        let told = self.is_overloaded() || self.over.is_some_and(|until| now < until);
        told.then(|| Feedback::new(now, epoch, self.reduction()))
    }

    /// The share of new work that peers shall spare us, in per cent (RFC 7339 §4.2 and §7).
    pub fn reduction(&self) -> u8 {
        (100.0 * (1.0 - self.share)).round() as u8
    }

    /// A message is looked at that has waited for so long.
    pub fn handle_wait(&mut self, now: Instant, wait: Duration) {
        self.turn(now);
        let wait = self.wait_for_others(now, wait);
        self.waits += wait;
        self.count += 1;
        // A wait out of all proportion counts at once.
        if self.multiple(wait) > STOP {
            self.pressure = self.pressure.max(self.multiple(wait));
        }
    }

    /// How much of a message's wait went into those before it: where there was none when it came, nobody looked
    /// for it, because the machine stood still or had other things to run.
    fn wait_for_others(&mut self, now: Instant, wait: Duration) -> Duration {
        if now.saturating_duration_since(self.looked) > wait {
            self.standing_since = now;
        }
        self.looked = now;
        wait.min(now.saturating_duration_since(self.standing_since))
    }

    /// How many ticks the media workers have run since they began, and how many of these late.
    pub fn handle_ticks(&mut self, now: Instant, ticks: u64, late: u64) {
        self.turn(now);
        self.ticks = (ticks, late);
    }

    /// Whether a request is let in.
    pub fn admit(&mut self, now: Instant, precedence: Precedence) -> bool {
        self.turn(now);
        let admitted = match precedence {
            Precedence::InProgress => return true,
            Precedence::High => self.pressure <= LAST_RESORT,
            Precedence::Normal if !self.is_overloaded() && self.pressure <= STOP => return true,
            Precedence::Normal => self.pressure <= STOP && self.is_turn(),
        };
        match admitted {
            true => self.counters.admitted += 1,
            false => {
                self.counters.refused += 1;
                self.counters.refused_high += u64::from(precedence == Precedence::High);
            }
        }
        admitted
    }

    /// Lets every so many through, evenly.
    fn is_turn(&mut self) -> bool {
        self.credit += self.share;
        let turn = self.credit >= 1.0;
        if turn {
            self.credit -= 1.0;
        }
        turn
    }

    fn multiple(&self, wait: Duration) -> f64 {
        wait.as_secs_f64() / self.config.target.as_secs_f64().max(1e-6)
    }

    /// Ends an interval for the ticks; gives the late ones of the last intervals as a multiple of those allowed.
    fn lateness(&mut self) -> f64 {
        self.intervals.rotate_left(1);
        self.intervals[REMEMBERED - 1] = (
            self.ticks.0.saturating_sub(self.last_ticks.0),
            self.ticks.1.saturating_sub(self.last_ticks.1),
        );
        self.last_ticks = self.ticks;
        let (run, late) = self.intervals.iter().fold((0, 0), |(run, late), interval| {
            (run + interval.0, late + interval.1)
        });
        let with_late = self.intervals.iter().filter(|(_, late)| *late > 0).count();
        if with_late < PERSISTENT {
            return 0.0;
        }
        late as f64 * 100.0 / (run.max(1) as f64 * f64::from(self.config.late_ticks.max(1)))
    }

    /// Sets the share anew where an interval is over.
    fn turn(&mut self, now: Instant) {
        if now < self.until {
            return;
        }
        // Where nothing happened for long, nothing waited either.
        let idle = now.saturating_duration_since(self.until) > INTERVAL;
        self.until = now + INTERVAL;
        let wait = match self.count {
            0 => 0.0,
            count => self.multiple(self.waits / count),
        };
        let media = self.lateness().min(STOP);
        self.waits = Duration::ZERO;
        self.count = 0;
        self.pressure = if idle { 0.0 } else { wait.max(media) };
        let beyond = self.pressure - 1.0;
        let factor = match beyond {
            _ if self.pressure < IDLE => 1.0 + RECOVER,
            ..=0.0 => 1.0 - beyond * GROW,
            _ => 1.0 - (beyond / 4.0).min(1.0) * SHRINK,
        };
        let was_overloaded = self.is_overloaded();
        self.share = (self.share * factor).clamp(LEAST, 1.0);
        if was_overloaded && !self.is_overloaded() {
            self.over = Some(now + OVER);
        }
    }
}

#[cfg(test)]
mod tests;
