//! The tone that tells the parties of a call that it is recorded.

use crate::media::tone::{Sine, Tone};
use crate::time::Duration;

/// A warning tone that sounds by itself while a recording runs, each beep noted in the timeline.
///
/// It sounds as soon as the file exists, not while the recording is paused, and at once when it is resumed. Where a
/// party has four prompts in its ear already it does not hear it.
#[derive(Debug, Clone, PartialEq)]
pub struct Beep {
    /// From the beginning of one to that of the next, 1 s at least. Default 15 s, the practice of most nations.
    pub interval: Duration,
    /// How long one sounds. Default 200 ms.
    pub length: Duration,
    /// Its frequency in hertz, 100 to 4,000. Default 1,400.
    pub hz: f32,
    /// Its level in dBm0. Default -20, beside which speech is understood.
    pub dbm0: f32,
    /// Who hears it. Default everybody.
    pub heard_by: HeardBy,
}

/// Who hears a [`Beep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HeardBy {
    /// All who are recorded.
    #[default]
    Everybody,
    /// Only the party whose recording it is.
    Party,
    /// All but that one.
    Others,
}

impl Default for Beep {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            length: Duration::from_millis(200),
            hz: 1_400.0,
            dbm0: -20.0,
            heard_by: HeardBy::Everybody,
        }
    }
}

impl Beep {
    /// Whether it can be heard, and leaves room for speech.
    pub fn is_possible(&self) -> bool {
        let fits = self.interval >= Duration::from_secs(1) && self.length < self.interval;
        let sounds = (100.0..=4_000.0).contains(&self.hz) && (-60.0..=3.0).contains(&self.dbm0);
        fits && sounds && self.length >= Duration::from_millis(20)
    }

    /// One of them.
    pub(crate) fn tone(&self) -> Tone {
        let sine = Sine {
            hz: self.hz,
            dbm0: self.dbm0,
        };
        Tone::once(sine, None, self.length)
    }

    /// Whether the party whose recording it is hears it, or another one.
    pub(crate) fn is_for(&self, is_anchor: bool) -> bool {
        match self.heard_by {
            HeardBy::Everybody => true,
            HeardBy::Party => is_anchor,
            HeardBy::Others => !is_anchor,
        }
    }
}
