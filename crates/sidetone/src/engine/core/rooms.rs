//! Rooms: which calls hear each other.

use std::collections::BTreeSet;

use crate::engine::core::{Core, ROOM_RATE, next};
use crate::engine::event::CallError;
use crate::id::{CallId, LegId, RoomId};
use crate::media::command::Command;
use crate::media::mixer::{Capacity, Gain, Room};
use crate::time::Instant;

/// Members that a room can hold, and players in it.
const MEMBERS: u16 = 64;

/// Players that a room can hold beside its members.
const PLAYERS: u16 = 8;

impl Core {
    /// Makes an empty room for up to 64 calls.
    pub fn create_room(&mut self, now: Instant) -> Result<RoomId, CallError> {
        self.now = now;
        if self.rooms.len() >= self.config.max_calls {
            return Err(CallError::Busy("as many rooms as calls are open"));
        }
        let room = RoomId(next(&mut self.minted.rooms));
        let capacity = Capacity {
            sources: MEMBERS + PLAYERS,
            sinks: MEMBERS,
            exceptions: 256,
        };
        let mixer = Box::new(Room::new(ROOM_RATE, capacity));
        self.placement
            .add_room(room, Command::AddRoom { room, mixer });
        self.rooms.insert(room, BTreeSet::new());
        Ok(room)
    }

    /// Closes a room; its calls go on alone.
    pub fn close_room(&mut self, now: Instant, room: RoomId) {
        self.now = now;
        let Some(members) = self.rooms.remove(&room) else {
            return;
        };
        for id in members {
            self.part(id);
        }
        self.placement.remove_room(room);
    }

    /// Brings a call into a room, out of any other.
    pub fn join(&mut self, now: Instant, room: RoomId, id: CallId) -> Result<(), CallError> {
        self.now = now;
        let members = self.rooms.get(&room).ok_or(CallError::Gone)?;
        if members.len() >= usize::from(MEMBERS) && !members.contains(&id) {
            return Err(CallError::Busy("the room is full"));
        }
        let leg = self.leg_of(id)?;
        let call = self.call_mut(id)?;
        if let Some(former) = call.room.replace(room)
            && let Some(members) = self.rooms.get_mut(&former)
        {
            members.remove(&id);
        }
        if let Some(members) = self.rooms.get_mut(&room) {
            members.insert(id);
        }
        self.placement.join(room, leg);
        Ok(())
    }

    /// Takes a call out of a room.
    pub fn leave(&mut self, now: Instant, room: RoomId, id: CallId) -> Result<(), CallError> {
        self.now = now;
        if self.call_mut(id)?.room != Some(room) {
            return Err(CallError::WrongState("the call is not in this room"));
        }
        if let Some(members) = self.rooms.get_mut(&room) {
            members.remove(&id);
        }
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
        let members = self.rooms.get(&room).ok_or(CallError::Gone)?;
        if !(members.contains(&from) && members.contains(&to)) {
            return Err(CallError::WrongState("the call is not in this room"));
        }
        let (from, to) = (self.leg_of(from)?, self.leg_of(to)?);
        self.placement.set_gain(room, from, to, gain);
        Ok(())
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
    }

    fn leg_of(&mut self, id: CallId) -> Result<LegId, CallError> {
        self.call_mut(id)?
            .leg
            .ok_or(CallError::WrongState("the call has no media yet"))
    }
}
