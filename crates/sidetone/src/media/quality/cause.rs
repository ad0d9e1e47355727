//! Why a stream sounds bad, and when to say so.

use std::fmt;

/// Why a stream sounds bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Packets never arrive.
    NetworkLoss,
    /// Packets arrive when their turn is over.
    LateArrival,
    /// Packets are dropped because too many wait.
    BufferOverrun,
    /// The sender's clock runs faster or slower than ours by more than clocks do.
    Drift,
    /// The sender sends nothing, or nothing but digital silence.
    SenderSilence,
    /// One side is not heard by the other although it speaks.
    OneWayAudio,
    /// The sound is cut off at full scale.
    Clipping,
    /// What is sent comes back.
    EchoSuspected,
    /// It takes so long from mouth to ear that people interrupt each other (G.114: 400 ms).
    Delay,
    /// Our own processor is late, so what we send leaves late.
    CpuLate,
}

impl Cause {
    /// All causes, in their order.
    pub const ALL: [Self; 10] = [
        Self::NetworkLoss,
        Self::LateArrival,
        Self::BufferOverrun,
        Self::Drift,
        Self::SenderSilence,
        Self::OneWayAudio,
        Self::Clipping,
        Self::EchoSuspected,
        Self::Delay,
        Self::CpuLate,
    ];

    /// Its name in logs and call records: lower case, words joined by `-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkLoss => "network-loss",
            Self::LateArrival => "late-arrival",
            Self::BufferOverrun => "buffer-overrun",
            Self::Drift => "drift",
            Self::SenderSilence => "sender-silence",
            Self::OneWayAudio => "one-way-audio",
            Self::Clipping => "clipping",
            Self::EchoSuspected => "echo-suspected",
            Self::Delay => "delay",
            Self::CpuLate => "cpu-late",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of causes. Empty for a stream that is good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Causes(u16);

impl Causes {
    /// No cause.
    pub const NONE: Self = Self(0);

    /// With `cause`.
    #[must_use]
    pub const fn with(self, cause: Cause) -> Self {
        Self(self.0 | 1 << cause as u16)
    }

    /// All that are in either.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Those that are not in `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether `cause` is among them.
    pub const fn contains(self, cause: Cause) -> bool {
        self.0 >> cause as u16 & 1 == 1
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The causes, in their order.
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |&c| self.contains(c))
    }
}

/// The names, joined by `, `; `none` for no cause.
impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (n, cause) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            cause.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What an interval says of one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// So bad that it counts twice.
    Severe,
    /// Bad.
    Bad,
    /// Neither: things stay as they are.
    Unsure,
    /// Good.
    Good,
}

impl Sign {
    /// By a measure and the limits from which it is good, bad and severe.
    pub(super) fn of(measure: f64, good_below: f64, bad: f64, severe: f64) -> Self {
        match measure {
            m if m >= severe => Self::Severe,
            m if m >= bad => Self::Bad,
            m if m < good_below => Self::Good,
            _ => Self::Unsure,
        }
    }

    /// Bad or good.
    pub(super) fn bad_if(is_bad: bool) -> Self {
        if is_bad { Self::Bad } else { Self::Good }
    }
}

/// Two bad intervals, or a severe one, begin a cause.
const BEGIN: u8 = 2;
/// So many good intervals in a row end it.
const END: u8 = 5;

/// Follows one cause: it begins soon and ends only when it has been over for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Watch {
    bad: u8,
    good: u8,
    is_on: bool,
}

impl Watch {
    /// Whether the cause is there now.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes note of an interval and says whether the cause is there now.
    pub(super) fn note(&mut self, sign: Sign) -> bool {
        match sign {
            Sign::Severe => self.bad = BEGIN,
            Sign::Bad => self.bad = (self.bad + 1).min(BEGIN),
            Sign::Unsure => self.good = 0,
            Sign::Good => self.good = (self.good + 1).min(END),
        }
        if matches!(sign, Sign::Severe | Sign::Bad) {
            self.good = 0;
        }
        if self.good >= 2 && !self.is_on {
            self.bad = 0;
        }
        if self.good == END {
            *self = Self::default();
        } else if self.bad >= BEGIN {
            self.is_on = true;
        }
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = Causes::NONE.with(Cause::Drift).with(Cause::NetworkLoss);
        assert_eq!(set.to_string(), "network-loss, drift");
        assert!(set.contains(Cause::Drift) && !set.contains(Cause::Clipping));
        assert_eq!(
            set.without(Causes::NONE.with(Cause::Drift)).iter().count(),
            1
        );
        assert_eq!(Causes::NONE.to_string(), "none");
        let all = Cause::ALL.into_iter().fold(Causes::NONE, Causes::with);
        assert_eq!(all.iter().collect::<Vec<_>>(), Cause::ALL);
    }

    #[test]
    fn a_cause_begins_after_two_intervals_and_ends_after_five() {
        let mut watch = Watch::default();
        assert!(!watch.note(Sign::Bad));
        assert!(!watch.note(Sign::Good));
        assert!(watch.note(Sign::Bad), "every other interval is bad enough");
        for _ in 0..4 {
            assert!(watch.note(Sign::Good));
        }
        assert!(watch.note(Sign::Unsure));
        for _ in 0..4 {
            assert!(watch.note(Sign::Good));
        }
        assert!(!watch.note(Sign::Good));
        assert!(watch.note(Sign::Severe));
    }

    #[test]
    fn single_bad_intervals_far_apart_begin_nothing() {
        let mut watch = Watch::default();
        for _ in 0..20 {
            assert!(!watch.note(Sign::Bad));
            for _ in 0..3 {
                assert!(!watch.note(Sign::Good));
            }
        }
    }
}
