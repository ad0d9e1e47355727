//! When a worker that comes late suspends what nobody needs to hear.

use crate::time::Duration;

/// Ticks of which so many must be late.
const WINDOW: u64 = 50;

/// How a worker finds that it cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SheddingConfig {
    /// A tick that runs this long after its time speaks for it. Default 10 ms, half of a tick.
    pub late_after: Duration,
    /// So many of the last 50 ticks (1 s) must be that late: optional forks are suspended; 0 for never. Default
    /// 10.
    pub late_ticks: u32,
    /// For so long no tick may be that late before they go on. Default 5 s.
    pub calm: Duration,
}

impl Default for SheddingConfig {
    fn default() -> Self {
        Self {
            late_after: Duration::from_millis(10),
            late_ticks: 10,
            calm: Duration::from_secs(5),
        }
    }
}

/// Whether optional forks are suspended: late ticks bring that about at once, and only a calm time ends it.
#[derive(Debug)]
pub(super) struct Shedding {
    config: SheddingConfig,
    /// Which of the last ticks were late, the last one in the lowest bit.
    late: u64,
    /// Ticks since the last late one.
    calm: u64,
    is_on: bool,
}

impl Shedding {
    pub(super) fn new(config: SheddingConfig) -> Self {
        Self {
            config,
            late: 0,
            calm: 0,
            is_on: false,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes note of a tick that ran `delay` after its time; whether that changes anything.
    pub(super) fn note(&mut self, delay: Duration) -> bool {
        let is_late = delay >= self.config.late_after;
        self.late = (self.late << 1 | u64::from(is_late)) & ((1 << WINDOW) - 1);
        self.calm = match is_late {
            true => 0,
            false => self.calm.saturating_add(1),
        };
        let is_on = match self.is_on {
            true => Duration::from_millis(20 * self.calm) < self.config.calm,
            false => {
                let most = self.config.late_ticks;
                most > 0 && self.late.count_ones() >= most
            }
        };
        std::mem::replace(&mut self.is_on, is_on) != is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn ten_late_ticks_of_fifty_begin_it_and_five_calm_seconds_end_it() {
        let mut shedding = Shedding::new(SheddingConfig::default());
        // Nine of fifty, for ever, are borne.
        for tick in 0..1_000 {
            let late = if tick % 50 < 9 { ms(15) } else { ms(1) };
            assert!(!shedding.note(late));
        }
        for n in 0..9 {
            assert!(!shedding.note(ms(15)), "{n}");
        }
        assert!(shedding.note(ms(10)));
        // A late tick every four seconds keeps it on.
        for tick in 0..1_000 {
            let late = if tick % 200 == 199 { ms(12) } else { ms(0) };
            assert!(!shedding.note(late));
        }
        for _ in 0..249 {
            assert!(!shedding.note(ms(9)));
        }
        assert!(shedding.note(ms(9)));
        assert!(!shedding.is_on());
        // What was late before does not begin it again.
        assert!(!shedding.note(ms(15)));
    }

    #[test]
    fn none_begins_it_where_that_is_not_wanted() {
        let mut shedding = Shedding::new(SheddingConfig {
            late_ticks: 0,
            ..SheddingConfig::default()
        });
        for _ in 0..1_000 {
            assert!(!shedding.note(ms(500)));
        }
    }
}
