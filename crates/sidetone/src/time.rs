//! The kinds of time: monotonic [`Instant`], wall-clock [`WallTime`], and media time on an RTP clock.
//!
//! State machines never read a clock. A driver passes `now` in; the simulator passes virtual time.
//! The three kinds are different types so that they cannot be mixed by mistake.

use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A moment on the driver's monotonic clock, in nanoseconds since that clock's own epoch.
///
/// Only differences have a meaning. The real driver counts from its start, the simulator from zero.
/// Wraps after 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's epoch.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the clock's epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time elapsed since `earlier`, or zero where `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// Saturates at zero.
    fn sub(self, rhs: Self) -> Duration {
        self.saturating_duration_since(rhs)
    }
}

/// A moment of civil time, in nanoseconds since 1970-01-01T00:00:00 UTC (leap seconds not counted).
///
/// Used where the outside world must recognise the moment: RTCP sender reports, recordings, logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(u64);

impl WallTime {
    /// The moment `nanos` nanoseconds after the Unix epoch.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_unix_nanos(self) -> u64 {
        self.0
    }

    /// The 64-bit NTP timestamp of RFC 3550 §4: seconds since 1900 in the upper half.
    pub const fn to_ntp(self) -> u64 {
        const UNIX_TO_NTP: u64 = 2_208_988_800;
        let seconds = (self.0 / 1_000_000_000).wrapping_add(UNIX_TO_NTP);
        let fraction = ((self.0 % 1_000_000_000) << 32) / 1_000_000_000;
        (seconds << 32) | fraction
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Ties the monotonic clock to civil time: `wall` is what the civil clock showed at `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockAnchor {
    /// The monotonic moment.
    pub at: Instant,
    /// The civil time of that moment.
    pub wall: WallTime,
}

impl ClockAnchor {
    /// The civil time at the zero of the clock.
    pub fn epoch(&self) -> WallTime {
        WallTime(self.wall.0.saturating_sub(self.at.0))
    }

    /// The civil time at `now`; a moment before the anchor maps to the anchor itself.
    pub fn wall_at(&self, now: Instant) -> WallTime {
        self.wall + now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_epoch_and_fraction() {
        assert_eq!(WallTime::from_unix_nanos(0).to_ntp(), 2_208_988_800 << 32);
        let half = WallTime::from_unix_nanos(1_500_000_000).to_ntp();
        assert_eq!(half, (2_208_988_801 << 32) | (1 << 31));
    }

    #[test]
    fn differences_saturate() {
        let a = Instant::from_nanos(5);
        let b = Instant::from_nanos(7);
        assert_eq!(a - b, Duration::ZERO);
        assert_eq!(b - a, Duration::from_nanos(2));
    }
}
