//! Conversion between a leg's rate and that of the room it is in.

use crate::media::frame::{Frame, SampleRate};
use crate::media::resample::Resampler;

/// Converters between a leg's rate and each other rate that a room may have, both ways. All are made
/// beforehand: a room changes its rate, and a leg its room, while calls are up.
#[derive(Debug)]
pub(super) struct Converters {
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    room: SampleRate,
    to_room: Resampler,
    from_room: Resampler,
}

impl Converters {
    pub(super) fn new(leg: SampleRate, rooms: &[SampleRate]) -> Self {
        let others = rooms.iter().filter(|room| **room != leg);
        let pair = |&room: &SampleRate| Pair {
            room,
            to_room: Resampler::new(leg, room),
            from_room: Resampler::new(room, leg),
        };
        Self {
            pairs: others.map(pair).collect(),
        }
    }

    /// Whether a room of this rate, which is not the leg's, can be joined.
    pub(super) fn reach(&self, room: SampleRate) -> bool {
        self.pairs.iter().any(|pair| pair.room == room)
    }

    /// Converts what the leg says for a room of this rate; false where there is no converter.
    pub(super) fn convert_said(&mut self, said: &Frame, room: SampleRate, out: &mut Frame) -> bool {
        let pair = self.pairs.iter_mut().find(|pair| pair.room == room);
        pair.map(|pair| pair.to_room.process(said, out)).is_some()
    }

    /// What comes next of a room of this rate follows what `other` has converted last.
    pub(super) fn take_over(&mut self, other: &Self, room: SampleRate) {
        let own = self.pairs.iter_mut().find(|pair| pair.room == room);
        let other = other.pairs.iter().find(|pair| pair.room == room);
        if let Some((own, other)) = own.zip(other) {
            own.from_room.take_over(&other.from_room);
        }
    }

    /// Converts what a room gives to the leg; false where there is no converter.
    pub(super) fn convert_heard(&mut self, heard: &Frame, out: &mut Frame) -> bool {
        let mut pairs = self.pairs.iter_mut();
        let pair = pairs.find(|pair| pair.room == heard.rate());
        pair.map(|pair| pair.from_room.process(heard, out))
            .is_some()
    }
}
