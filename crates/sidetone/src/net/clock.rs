//! The one place that reads the system's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{ClockAnchor, Duration, Instant, WallTime};

/// The real monotonic clock, counting from when it was started.
///
/// Copies count from the same start, so that every thread of an engine speaks of the same moments.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock that shows [`Instant::ZERO`] now.
    #[expect(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// Ties this clock to the system's civil time as it is now. A civil time before 1970 counts as
    /// 1970.
    #[expect(clippy::disallowed_methods)]
    pub fn anchor(&self) -> ClockAnchor {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = wall.unwrap_or(Duration::ZERO).as_nanos();
        ClockAnchor {
            at: self.now(),
            wall: WallTime::from_unix_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_agree_and_never_go_back() {
        let clock = Clock::start();
        let copy = clock;
        let first = clock.now();
        assert!(copy.now() >= first);
        assert!(clock.anchor().wall > WallTime::from_unix_nanos(0));
    }
}
