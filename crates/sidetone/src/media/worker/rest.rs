//! Rooms of two whose packets are passed on: a tick hardly concerns them, so most ticks leave them out.

use crate::id::LegId;
use crate::media::command::{Command, ForkOn, PlayOn};
use crate::media::quality::monitor::LATE;
use crate::media::worker::Worker;
use crate::time::{Duration, Instant};

/// Ticks in a row that leave a room out at most: time-outs, reports and judgements can wait so long.
const LONGEST: u8 = 4;

/// A room is visited in every tick once one of its parties has not been heard for so long.
const PATIENCE: Duration = Duration::from_millis(60);

/// What a room rests from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rest {
    /// Both parties' packets were passed on when the room was last visited, and nothing has come
    /// between since.
    is_calm: bool,
    /// Ticks left out since then.
    ticks: u8,
    /// Of these, such as count as late.
    late: u8,
    /// When the last packet was passed on from the party in the lower slot, and from the other.
    passed: [Instant; 2],
    /// Between whom lanes are open.
    pub(super) lanes: Option<[usize; 2]>,
}

impl Rest {
    /// Whether the room may be left out of this tick, which is counted then.
    fn leave_out(&mut self, at: Instant, late: Duration) -> bool {
        let speaks = |passed: &Instant| at.saturating_duration_since(*passed) < PATIENCE;
        if !self.is_calm || self.ticks >= LONGEST || !self.passed.iter().all(speaks) {
            return false;
        }
        self.ticks += 1;
        self.late += u8::from(late >= LATE);
        true
    }
}

impl Worker {
    /// Whether the room in slot `room` is left out of this tick.
    pub(super) fn rests(&mut self, room: usize, at: Instant, late: Duration) -> bool {
        let rests = self.rests.get_mut(room);
        let rests = rests.is_some_and(|rest| rest.leave_out(at, late));
        self.stats.rested_ticks += u64::from(rests);
        rests
    }

    /// A packet of the party in slot `from` was passed on to the one in slot `to`.
    pub(super) fn note_passed(&mut self, now: Instant, from: usize, to: usize) {
        if let Some(room) = self.room_around(from) {
            self.note_passed_in(room, now, from, to);
        }
    }

    /// The same, in the room in slot `room`.
    pub(super) fn note_passed_in(&mut self, room: usize, now: Instant, from: usize, to: usize) {
        if let Some(rest) = self.rests.get_mut(room) {
            rest.passed[usize::from(from > to)] = now;
        }
    }

    /// The room in slot `room` is visited, or something in it changes: its legs learn of the packets that have
    /// taken lanes, and make up for the ticks that left them out.
    pub(super) fn wake(&mut self, room: usize) {
        let Some(rest) = self.rests.get_mut(room) else {
            return;
        };
        rest.is_calm = false;
        let lanes = rest.lanes.take();
        let (ticks, late) = (
            std::mem::take(&mut rest.ticks),
            std::mem::take(&mut rest.late),
        );
        if let Some(slots) = lanes {
            self.close_lanes(slots);
        }
        if ticks == 0 {
            return;
        }
        for place in self.members(room) {
            if let Some(seat) = self.legs.get_mut(self.order[place].1) {
                seat.leg.make_up(ticks, late);
            }
        }
    }

    /// From now on the room in slot `room` may be left out of ticks.
    pub(super) fn let_rest(&mut self, room: usize) {
        let lanes = self.open_lanes(room);
        if let Some(rest) = self.rests.get_mut(room) {
            rest.is_calm = true;
            rest.lanes = lanes;
        }
    }

    /// Wakes the room that the leg in `slot` is in.
    pub(super) fn wake_around(&mut self, slot: usize) {
        if let Some(room) = self.room_around(slot) {
            self.wake(room);
        }
    }

    /// Wakes the rooms that a command concerns.
    pub(super) fn wake_for(&mut self, command: &Command) {
        let (leg, room) = match *command {
            Command::ConfigureLeg { leg, .. }
            | Command::RemoveLeg { leg, .. }
            | Command::Leave { leg }
            | Command::SendDigits { leg, .. }
            | Command::Listen { leg, .. }
            | Command::StartRecording { leg, .. }
            | Command::NoteRecording { leg, .. }
            | Command::StopRecording { leg, .. }
            | Command::QueryLeg { leg, .. }
            | Command::StartFork {
                on: ForkOn::Leg(leg),
                ..
            }
            | Command::StopFork {
                on: ForkOn::Leg(leg),
                ..
            }
            | Command::Play {
                on: PlayOn::Leg(leg),
                ..
            } => (Some(leg), None),
            Command::RetuneRoom { room, .. }
            | Command::RemoveRoom { room }
            | Command::SetGain { room, .. }
            | Command::StartFork {
                on: ForkOn::Room(room),
                ..
            }
            | Command::StopFork {
                on: ForkOn::Room(room),
                ..
            }
            | Command::Play {
                on: PlayOn::Room(room),
                ..
            } => (None, Some(room)),
            Command::Join { room, leg } => (Some(leg), Some(room)),
            // Nothing is there yet, or something plays, and who hears that does not rest.
            Command::AddLeg(_) | Command::AddRoom { .. } | Command::ControlPlay { .. } => {
                (None, None)
            }
        };
        let of_leg = |leg: LegId| self.room_around(self.leg_slot(leg)?);
        let rooms = [
            leg.and_then(of_leg),
            room.and_then(|room| self.room_slot(room)),
        ];
        for room in rooms.into_iter().flatten() {
            self.wake(room);
        }
    }

    /// The slot of the room that the leg in `slot` is in.
    fn room_around(&self, slot: usize) -> Option<usize> {
        Some(self.legs.get(slot)?.membership?.room)
    }
}
