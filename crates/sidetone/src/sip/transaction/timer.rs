//! The timers of RFC 3261 Table 4 and RFC 6026: names, durations, and the configuration behind them.

use crate::time::Duration;

/// The base intervals that all transaction timers derive from (RFC 3261 §17.1.1.1, Table 4).
///
/// ```
/// use sidetone::sip::transaction::timer::{Timer, Timers};
/// use sidetone::time::Duration;
/// let timers = Timers::default();
/// assert_eq!(timers.duration(Timer::B, 0, false), Some(Duration::from_secs(32)));
/// assert_eq!(timers.duration(Timer::A, 0, true), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timers {
    /// T1, the estimate of the round-trip time; 500 ms. Every time-out is 64 times this.
    pub t1: Duration,
    /// T2, the longest interval between retransmissions of non-INVITE requests and of responses to
    /// INVITE; 4 s.
    pub t2: Duration,
    /// T4, how long a message may stay in the network; 5 s.
    pub t4: Duration,
    /// Timer D on unreliable transports, how long a client absorbs repeated failure responses;
    /// 32 s, and never to be set below that by more than a test has reason for.
    pub d: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
        }
    }
}

impl Timers {
    /// 64*T1, the life of an unanswered transaction; 32 s by default.
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// How long `timer` runs when started for the `attempt`-th time (counted from zero), or `None`
    /// where it is not used on that kind of transport.
    ///
    /// Zero means that the timer fires at once, as D, I, J and K do on reliable transports.
    pub fn duration(&self, timer: Timer, attempt: u8, reliable: bool) -> Option<Duration> {
        let doubled = self.t1 * (1 << u32::from(attempt.min(10)));
        Some(match timer {
            Timer::A | Timer::E | Timer::G if reliable => return None,
            Timer::A => doubled,
            Timer::E | Timer::G => doubled.min(self.t2),
            Timer::D | Timer::I | Timer::J | Timer::K if reliable => Duration::ZERO,
            Timer::D => self.d,
            Timer::I | Timer::K => self.t4,
            Timer::B | Timer::F | Timer::H | Timer::J | Timer::L | Timer::M => self.timeout(),
        })
    }
}

/// A transaction timer by its letter in RFC 3261 Table 4 and RFC 6026 §7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// INVITE request retransmission, T1 doubling; unreliable transports only.
    A,
    /// INVITE client time-out, 64*T1.
    B,
    /// Absorbs repeated failure responses to INVITE, 32 s; zero on reliable transports.
    D,
    /// Non-INVITE request retransmission, T1 doubling up to T2; unreliable transports only.
    E,
    /// Non-INVITE client time-out, 64*T1.
    F,
    /// Retransmission of a failure response to INVITE, T1 doubling up to T2; unreliable only.
    G,
    /// Waits for the ACK of a failure response, 64*T1.
    H,
    /// Absorbs repeated ACKs, T4; zero on reliable transports.
    I,
    /// Absorbs repeated non-INVITE requests, 64*T1; zero on reliable transports.
    J,
    /// Absorbs repeated non-INVITE responses, T4; zero on reliable transports.
    K,
    /// Server's time in Accepted, absorbing repeated INVITEs after a 2xx, 64*T1 (RFC 6026).
    L,
    /// Client's time in Accepted, passing up repeated and forked 2xx, 64*T1 (RFC 6026).
    M,
}

impl Timer {
    /// Whether the timer drives retransmissions (A, E, G); the others end a state.
    ///
    /// At most one timer of each sort runs in a transaction at any moment.
    pub fn retransmits(self) -> bool {
        matches!(self, Self::A | Self::E | Self::G)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(timer: Timer) -> Vec<u64> {
        let timers = Timers::default();
        (0..6)
            .filter_map(|n| timers.duration(timer, n, false))
            .map(|d| d.as_millis() as u64)
            .collect()
    }

    #[test]
    fn retransmissions_double_and_only_invite_passes_t2() {
        assert_eq!(series(Timer::A), [500, 1000, 2000, 4000, 8000, 16000]);
        assert_eq!(series(Timer::E), [500, 1000, 2000, 4000, 4000, 4000]);
        assert_eq!(series(Timer::G), [500, 1000, 2000, 4000, 4000, 4000]);
    }

    #[test]
    fn reliable_transports_do_not_retransmit_and_do_not_linger() {
        let timers = Timers::default();
        for timer in [Timer::A, Timer::E, Timer::G] {
            assert_eq!(timers.duration(timer, 0, true), None);
        }
        for timer in [Timer::D, Timer::I, Timer::J, Timer::K] {
            assert_eq!(timers.duration(timer, 0, true), Some(Duration::ZERO));
        }
        for timer in [Timer::B, Timer::F, Timer::H, Timer::L, Timer::M] {
            assert_eq!(
                timers.duration(timer, 0, true),
                Some(Duration::from_secs(32))
            );
        }
    }

    #[test]
    fn attempts_beyond_the_series_saturate() {
        let timers = Timers::default();
        let last = timers.duration(Timer::A, u8::MAX, false);
        assert_eq!(last, Some(Duration::from_millis(500 * 1024)));
    }
}
