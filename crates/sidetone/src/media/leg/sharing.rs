//! A leg that is sent what another one's encoder has made, where both hear the same.

use crate::media::frame::{Frame, SampleRate};
use crate::media::leg::Leg;
use crate::media::leg::level::Loudness;
use crate::media::quality::level::Level;
use crate::time::Instant;

/// Payloads of one round of ticks at most, and their bytes; beyond that each leg encodes by itself.
const MAX_PRINTS: usize = 1_024;
const MAX_BYTES: usize = 256 * 1_024;
/// Bytes of the longest payload.
pub(super) const MAX_PAYLOAD: usize = 1_400;

/// What a leg's way out remembers of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing: whoever hears the same may be sent the same at once.
    Nothing,
    /// What a filter takes: less than two ticks.
    Filter,
    /// All that its codec has predicted so far. The peer's decoder predicts from the same; given what another
    /// encoder has made, it errs for a tenth of a second or so, in proportion to the sound. So that may
    /// happen in a pause only.
    Predictions,
}

/// What was encoded once, for all who hear the same in a tick.
#[derive(Debug, Clone, Copy)]
struct Print {
    start: usize,
    length: usize,
    level: Level,
    loudness: Loudness,
}

/// What was encoded in the ticks of one round; what has not been sent by the next one is not sent at all.
#[derive(Debug)]
pub(crate) struct Prints {
    bytes: Box<[u8]>,
    end: usize,
    prints: Vec<Print>,
    /// The number of the first.
    first: u32,
}

impl Prints {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; MAX_BYTES].into(),
            end: 0,
            prints: Vec::with_capacity(MAX_PRINTS),
            first: 0,
        }
    }

    /// Another round begins.
    pub(crate) fn clear(&mut self) {
        self.first = self.first.wrapping_add(self.prints.len() as u32);
        self.prints.clear();
        self.end = 0;
    }

    /// Whether so many more fit.
    pub(crate) fn has_room(&self, prints: usize) -> bool {
        self.prints.len() + prints <= MAX_PRINTS
            && self.end + prints * MAX_PAYLOAD <= self.bytes.len()
    }

    fn get(&self, number: u32) -> Option<&Print> {
        self.prints.get(number.wrapping_sub(self.first) as usize)
    }

    /// The payload of this number; empty where nothing need be sent. `None` where its round is over.
    pub(super) fn payload(&self, number: u32) -> Option<&[u8]> {
        let print = self.get(number)?;
        self.bytes.get(print.start..print.start + print.length)
    }
}

impl Leg {
    /// Whether it is sent what it hears in the room and nothing else, in packets of one tick.
    pub(crate) fn can_share(&self, at: Instant) -> bool {
        self.players.is_empty()
            && self.recordings.is_empty()
            && !self.forks.want_heard()
            && !self.digits.is_sending()
            && self.line.direction.send
            && self.destination().is_some()
            && self.relay.is_none()
            && !self.is_provided(at)
            && self.outbound.can_share()
    }

    /// Whether the other one's encoder makes what this one's would.
    pub(crate) fn sounds_like(&self, other: &Self) -> bool {
        self.rate == other.rate && self.outbound.sounds_like(&other.outbound)
    }

    /// What its way out remembers, in a room of this rate.
    pub(crate) fn memory(&self, room: SampleRate) -> Memory {
        match (self.outbound.is_stateless(), self.outbound.converts()) {
            (false, _) => Memory::Predictions,
            (true, true) => Memory::Filter,
            (true, false) if room != self.rate => Memory::Filter,
            (true, false) => Memory::Nothing,
        }
    }

    /// Goes on where the other one stands, as if it had made by itself what it was sent; false where that
    /// cannot be.
    pub(crate) fn take_over(&mut self, other: &Self, room: SampleRate) -> bool {
        self.converters.take_over(&other.converters, room);
        self.outbound.take_over(&other.outbound)
    }

    /// Encodes what it hears, at the room's rate, for itself and all who hear the same; the number of what
    /// has come of it. Both frames are overwritten.
    pub(crate) fn print(
        &mut self,
        heard: &mut Frame,
        scratch: &mut Frame,
        prints: &mut Prints,
    ) -> Option<u32> {
        if !prints.has_room(1) {
            return None;
        }
        self.fit(heard, scratch);
        let (start, room) = (prints.end, &mut prints.bytes[prints.end..]);
        let length = self.outbound.print(heard, scratch, room);
        let number = prints.first.wrapping_add(prints.prints.len() as u32);
        prints.prints.push(Print {
            start,
            length,
            level: Level::of(heard.samples()),
            loudness: Loudness::of(heard),
        });
        prints.end += length;
        Some(number)
    }

    /// A tick of a leg that is sent what was printed under this number.
    pub(crate) fn speak_shared(&mut self, at: Instant, number: u32, prints: &Prints) {
        let Some(print) = prints.get(number) else {
            return;
        };
        self.end_relay(at);
        self.write_forks(at, None);
        self.quality.sent_at(print.level);
        self.skip_missed(at);
        if self.line.audio_level.is_some_and(|level| level.send) {
            self.levels.add(print.loudness);
        }
        self.outbound.push_print(number, self.session.sender());
        self.last_tick = Some(at);
    }
}
