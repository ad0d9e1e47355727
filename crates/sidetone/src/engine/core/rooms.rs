//! Rooms: which calls hear each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::core::{Core, next};
use crate::engine::event::CallError;
use crate::id::{CallId, ForkId, LegId, RoomId};
use crate::media::command::Command;
use crate::media::frame::SampleRate;
use crate::media::leg::forks::MAX_FORKS;
use crate::media::mixer::{Capacity, Gain, Room};
use crate::media::resample::Resampler;
use crate::time::Instant;

/// Members that a room can hold.
const MAX_MEMBERS: usize = 10_000;

/// Members for which a room has places at first: two who talk, and two who join them. It is made anew,
/// twice as large, where they do not suffice.
const FIRST_MEMBERS: u16 = 4;

/// What a mixer for so many members can hold: one source more, for its players, some sinks more, for its forks,
/// and each member's gain for each other one as long as that is not too much.
fn capacity(members: u16) -> Capacity {
    let edges = u32::from(members).pow(2).clamp(32, 4_096);
    Capacity {
        sources: members + 1,
        sinks: members + MAX_FORKS as u16,
        exceptions: u16::try_from(edges).unwrap_or(u16::MAX),
    }
}

/// What the core knows of a room.
#[derive(Debug)]
pub(super) struct RoomState {
    pub(super) members: BTreeSet<CallId>,
    /// How many of them have which rate.
    rates: BTreeMap<SampleRate, usize>,
    /// Those of them that are, or were, recorded: their recordings follow who is here.
    pub(super) recorded: BTreeSet<CallId>,
    /// The rate at which it mixes now.
    rate: SampleRate,
    /// Members for which it has places.
    places: u16,
    /// The forks of its sound.
    pub(super) forks: Vec<ForkId>,
}

impl RoomState {
    fn admit(&mut self, id: CallId, rate: SampleRate) {
        if self.members.insert(id) {
            *self.rates.entry(rate).or_default() += 1;
        }
    }

    fn dismiss(&mut self, id: CallId, rate: SampleRate) {
        self.recorded.remove(&id);
        if self.members.remove(&id)
            && let Some(count) = self.rates.get_mut(&rate)
        {
            *count -= 1;
        }
    }

    /// The highest rate that two members share, or that of the only one.
    fn shared_rate(&self) -> Option<SampleRate> {
        let mut sharing = 0;
        let mut rates = self.rates.iter().rev().filter(|(_, count)| **count > 0);
        let shared = rates.find(|(_, count)| {
            sharing += **count;
            sharing >= 2 || self.members.len() < 2
        });
        shared.map(|(rate, _)| *rate)
    }
}

impl Core {
    /// Makes an empty room for up to 10,000 calls.
    pub fn create_room(&mut self, now: Instant) -> Result<RoomId, CallError> {
        self.now = now;
        if self.rooms.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many rooms as calls are open"));
        }
        let room = RoomId(next(&mut self.minted.rooms));
        // Its players keep this rate, whatever the members bring about.
        let rate = self.config.highest_rate();
        let places = FIRST_MEMBERS;
        let mixer = self.mixer(rate, places);
        self.placement
            .add_room(room, Command::AddRoom { room, mixer });
        let members = BTreeSet::new();
        let state = RoomState {
            members,
            rates: BTreeMap::new(),
            recorded: BTreeSet::new(),
            rate,
            places,
            forks: Vec::new(),
        };
        self.rooms.insert(room, state);
        Ok(room)
    }

    /// Closes a room; its calls go on alone.
    pub fn close_room(&mut self, now: Instant, room: RoomId) {
        self.now = now;
        let Some(closed) = self.rooms.remove(&room) else {
            return;
        };
        for id in closed.members {
            self.part(id);
        }
        self.placement.remove_room(room);
    }

    /// Brings a call into a room, out of any other.
    pub fn join(&mut self, now: Instant, room: RoomId, id: CallId) -> Result<(), CallError> {
        self.now = now;
        let members = &self.rooms.get(&room).ok_or(CallError::Gone)?.members;
        if members.len() >= MAX_MEMBERS && !members.contains(&id) {
            return Err(CallError::Busy("the room is full"));
        }
        let leg = self.leg_of(id)?;
        let call = self.call_mut(id)?;
        let rate = call.rate;
        if let Some(former) = call.room.replace(room).filter(|former| *former != room) {
            self.forget_member(former, id, rate);
        }
        if let Some(joined) = self.rooms.get_mut(&room) {
            joined.admit(id, rate);
        }
        self.note_recorded(id);
        self.tune(room);
        self.placement.join(room, leg);
        self.attend_room(room);
        Ok(())
    }

    /// Takes a call out of a room.
    pub fn leave(&mut self, now: Instant, room: RoomId, id: CallId) -> Result<(), CallError> {
        self.now = now;
        let call = self.call_mut(id)?;
        let (rate, its_room) = (call.rate, call.room);
        if its_room != Some(room) {
            return Err(CallError::WrongState("the call is not in this room"));
        }
        self.forget_member(room, id, rate);
        self.part(id);
        Ok(())
    }

    /// Sets how loud one member hears another.
    pub fn set_gain(
        &mut self,
        now: Instant,
        room: RoomId,
        from: CallId,
        to: CallId,
        gain: Gain,
    ) -> Result<(), CallError> {
        self.now = now;
        let members = &self.rooms.get(&room).ok_or(CallError::Gone)?.members;
        if !(members.contains(&from) && members.contains(&to)) {
            return Err(CallError::WrongState("the call is not in this room"));
        }
        let (from, to) = (self.leg_of(from)?, self.leg_of(to)?);
        self.placement.set_gain(room, from, to, gain);
        Ok(())
    }

    /// A call is no member of a room any more.
    pub(super) fn forget_member(&mut self, room: RoomId, id: CallId, rate: SampleRate) {
        if let Some(left) = self.rooms.get_mut(&room) {
            left.dismiss(id, rate);
            self.tune(room);
            self.attend_room(room);
        }
    }

    /// Gives a room places for all of its members, and lets it mix at the highest rate that two of them
    /// share, so that nobody's sound is made narrower than the others could hear it, and none is
    /// computed that nobody hears.
    fn tune(&mut self, room: RoomId) {
        let Some(state) = self.rooms.get_mut(&room) else {
            return;
        };
        let Some(rate) = state.shared_rate() else {
            return;
        };
        let mut places = state.places;
        while usize::from(places) < state.members.len() {
            places = places.saturating_mul(2);
        }
        let before = (state.rate, state.places);
        (state.rate, state.places) = (rate, places);
        if before == (rate, places) {
            return;
        }
        let prompts = self.config.highest_rate();
        let converter = (prompts != rate).then(|| Box::new(Resampler::new(prompts, rate)));
        let mixer = self.mixer(rate, places);
        self.placement.tell_room(
            room,
            Command::RetuneRoom {
                room,
                mixer,
                converter,
            },
        );
    }

    /// An empty mixer for so many members.
    fn mixer(&self, rate: SampleRate, members: u16) -> Box<Room> {
        let mut mixer = Room::new(rate, capacity(members));
        mixer.select(self.config.selection);
        Box::new(mixer)
    }

    /// Tells media that a call is in no room any more.
    fn part(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.room = None;
        if let Some(leg) = call.leg {
            self.placement.tell_leg(leg, Command::Leave { leg });
        }
        self.attend_call(id);
    }

    fn leg_of(&mut self, id: CallId) -> Result<LegId, CallError> {
        self.call_mut(id)?
            .leg
            .ok_or(CallError::WrongState("the call has no media yet"))
    }
}
