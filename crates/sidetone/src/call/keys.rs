//! How digits travel, and how often one that travels twice counts.

use std::collections::VecDeque;

use crate::media::dtmf::Digit;
use crate::time::{Duration, Instant};

/// How digits travel between two parties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DigitTransport {
    /// As telephone events where they were agreed on, else as tones in the sound; received also as
    /// INFO.
    #[default]
    Auto,
    /// As telephone events (RFC 4733) and in no other way.
    Rfc4733,
    /// As INFO requests (`application/dtmf-relay`; received also `application/dtmf`) and in no other
    /// way.
    Info,
    /// As tones in the sound (ITU-T Q.23), whatever was agreed on; received also in every other way,
    /// for a gateway that agrees to telephone events and then sends none.
    InBand,
}

/// How digits travel on a call, each way.
///
/// ```
/// use sidetone::call::keys::{DigitPolicy, DigitTransport};
/// let gateway = DigitPolicy { send: DigitTransport::InBand, ..DigitPolicy::default() };
/// assert_eq!(gateway.receive, DigitTransport::Auto);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DigitPolicy {
    /// How we send them.
    pub send: DigitTransport,
    /// How we take them. One that comes in several ways counts once.
    pub receive: DigitTransport,
}

/// A way that a digit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Events,
    Info,
    Tones,
}

impl Source {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl DigitPolicy {
    /// Whether digits that come this way count.
    pub(crate) fn takes(&self, source: Source) -> bool {
        match self.receive {
            DigitTransport::Auto | DigitTransport::InBand => true,
            DigitTransport::Rfc4733 => source == Source::Events,
            DigitTransport::Info => source == Source::Info,
        }
    }

    /// Whether the sound is searched for digits, where telephone events are agreed on or not.
    pub(crate) fn hears_tones(&self, events_agreed: bool) -> bool {
        match self.receive {
            DigitTransport::Auto => !events_agreed,
            DigitTransport::InBand => true,
            DigitTransport::Rfc4733 | DigitTransport::Info => false,
        }
    }
}

/// The ways of one press may tell of it so far apart: an INFO may be sent again and again.
const APART: Duration = Duration::from_millis(1_500);
/// Presses remembered.
const REMEMBERED: usize = 8;

/// The presses of one party, each of which may come in several ways.
#[derive(Debug, Default)]
pub(crate) struct Presses {
    presses: VecDeque<Press>,
}

#[derive(Debug)]
struct Press {
    digit: Digit,
    /// The way that told of it first, by which it counts, and all ways that did.
    first: Source,
    told_by: u8,
    ended: Option<Instant>,
}

impl Presses {
    /// A key went down; whether that is news.
    pub(crate) fn begin(&mut self, now: Instant, digit: Digit, source: Source) -> bool {
        let told = |press: &Press| press.told_by & source.bit() != 0;
        // What a way tells, it tells in order.
        let start = self.presses.iter().rposition(told).map_or(0, |at| at + 1);
        let recent = |press: &Press| {
            let ended = press.ended.unwrap_or(now);
            now.saturating_duration_since(ended) <= APART
        };
        let mut known = self.presses.iter_mut().skip(start);
        if let Some(press) = known.find(|press| press.digit == digit && recent(press)) {
            press.told_by |= source.bit();
            return false;
        }
        if self.presses.len() == REMEMBERED {
            self.presses.pop_front();
        }
        self.presses.push_back(Press {
            digit,
            first: source,
            told_by: source.bit(),
            ended: None,
        });
        true
    }

    /// A key was let go; whether that is news.
    pub(crate) fn end(&mut self, now: Instant, digit: Digit, source: Source) -> bool {
        let down = |press: &&mut Press| {
            press.digit == digit && press.first == source && press.ended.is_none()
        };
        match self.presses.iter_mut().rev().find(down) {
            Some(press) => {
                press.ended = Some(now);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn digit(name: char) -> Digit {
        Digit::from_char(name).expect("a digit")
    }

    /// Presses that count, of `(when, digit, source)`, each held 100 ms.
    fn counted(told: &[(u64, char, Source)]) -> String {
        let mut presses = Presses::default();
        let mut inputs: Vec<(u64, bool, char, Source)> = vec![];
        for &(ms, name, source) in told {
            inputs.push((ms, true, name, source));
            inputs.push((ms + 100, false, name, source));
        }
        inputs.sort_by_key(|&(ms, ..)| ms);
        let mut counted = String::new();
        for (ms, down, name, source) in inputs {
            if down {
                presses.begin(at(ms), digit(name), source);
            } else if presses.end(at(ms), digit(name), source) {
                counted.push(name);
            }
        }
        counted
    }

    #[test]
    fn one_press_in_several_ways_counts_once() {
        use Source::{Events, Info, Tones};
        assert_eq!(counted(&[(0, '1', Events), (30, '1', Tones)]), "1");
        assert_eq!(counted(&[(0, '1', Tones), (300, '1', Info)]), "1");
        let all = [(0, '1', Events), (40, '1', Tones), (150, '1', Info)];
        assert_eq!(counted(&all), "1");
    }

    #[test]
    fn quick_repetitions_in_two_ways_count_as_often_as_pressed() {
        use Source::{Events, Info};
        let told = [
            (0, '1', Events),
            (150, '1', Info),
            (200, '1', Events),
            (350, '1', Info),
            (400, '2', Events),
            (900, '2', Info),
        ];
        assert_eq!(counted(&told), "112");
        // The second way lags behind by two presses.
        let late = [
            (0, '1', Events),
            (200, '1', Events),
            (500, '1', Info),
            (700, '1', Info),
        ];
        assert_eq!(counted(&late), "11");
    }

    #[test]
    fn one_way_alone_is_never_merged() {
        let told: Vec<_> = (0..30).map(|n| (n * 150, '7', Source::Info)).collect();
        assert_eq!(counted(&told).len(), 30);
        let far = [(0, '1', Source::Events), (5_000, '1', Source::Info)];
        assert_eq!(counted(&far), "11");
    }

    #[test]
    fn policies_take_what_they_say() {
        let policy = |receive| DigitPolicy {
            receive,
            ..DigitPolicy::default()
        };
        assert!(policy(DigitTransport::Auto).takes(Source::Info));
        assert!(!policy(DigitTransport::Rfc4733).takes(Source::Info));
        assert!(!policy(DigitTransport::Info).takes(Source::Events));
        assert!(policy(DigitTransport::Auto).hears_tones(false));
        assert!(!policy(DigitTransport::Auto).hears_tones(true));
        assert!(policy(DigitTransport::InBand).hears_tones(true));
    }
}
