//! Members of a room who hear the same: one of them encodes, and all are sent what comes of it.

use std::ops::Range;

use crate::media::frame::SampleRate;
use crate::media::leg::sharing::Memory;
use crate::media::mixer::Mixed;
use crate::media::worker::{Membership, Worker};
use crate::time::Instant;

/// Kinds of packets in which the members of one room may be sent the same.
pub(super) const MAX_GROUPS: usize = 4;
/// Members of a room in which two may hear the same.
const LEAST_MEMBERS: usize = 3;
/// Ticks for which a leg must have heard the same as others before it is sent the same, where its way out
/// remembers something: what a filter takes, and a pause.
const FILTER: u8 = 2;
const PAUSE: u8 = 10;

/// Members of a room who are sent the same, as long as they hear the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    /// The slot of the leg whose encoder serves all; `None` where nobody is in the group.
    leader: Option<usize>,
    members: usize,
    /// What it has made in this tick.
    pub(super) print: Option<u32>,
}

impl Worker {
    /// Finds who hears the same in this tick, once all have been listened to, and encodes it.
    pub(super) fn share(&mut self, at: Instant, room: usize, members: Range<usize>) {
        let Some(hall) = self.rooms.get_mut(room) else {
            return;
        };
        let is_possible = members.len() >= LEAST_MEMBERS && self.prints.has_room(MAX_GROUPS);
        if !is_possible && hall.groups.iter().all(|group| group.leader.is_none()) {
            return;
        }
        hall.quiet = match hall.mixer.is_quiet() {
            true => hall.quiet.saturating_add(1),
            false => 0,
        };
        for place in members {
            let slot = self.order[place].1;
            let is_alike = is_possible && self.is_alike(at, slot);
            let Some(seat) = self.legs.get_mut(slot) else {
                continue;
            };
            seat.alike = match is_alike {
                true => seat.alike.saturating_add(1),
                false => 0,
            };
            match (seat.group, is_alike) {
                (Some(_), false) => self.part(slot),
                (None, true) => self.unite(slot),
                _ => {}
            }
        }
        for number in 0..MAX_GROUPS {
            self.print(room, number);
        }
    }

    /// Whether the leg in `slot` hears in this tick what everybody hears who does not speak.
    fn is_alike(&mut self, at: Instant, slot: usize) -> bool {
        let Some(seat) = self.legs.get(slot) else {
            return false;
        };
        let Some(member) = seat.membership.filter(|_| !seat.is_passed_to) else {
            return false;
        };
        let hall = self.rooms.get_mut(member.room);
        hall.is_some_and(|hall| hall.mixer.hears_all(member.sink)) && seat.leg.can_share(at)
    }

    /// Lets the leg in `slot` be sent what others are sent, where there are such, and it has heard the same
    /// for long enough.
    fn unite(&mut self, slot: usize) {
        let Some((member, rate)) = self.member(slot) else {
            return;
        };
        let Some(seat) = self.legs.get(slot) else {
            return;
        };
        let Some(hall) = self.rooms.get(member.room) else {
            return;
        };
        let (groups, memory) = (hall.groups, seat.leg.memory(rate));
        let is_ready = match memory {
            Memory::Nothing => true,
            Memory::Filter => seat.alike >= FILTER,
            Memory::Predictions => seat.alike.min(hall.quiet) >= PAUSE,
        };
        if !is_ready {
            return;
        }
        let same = groups.iter().position(|group| {
            let leader = group.leader.and_then(|leader| self.legs.get(leader));
            leader.is_some_and(|leader| leader.leg.sounds_like(&seat.leg))
        });
        let free = || groups.iter().position(|group| group.leader.is_none());
        let Some(number) = same.or_else(free) else {
            return;
        };
        let leader = groups[number].leader;
        // Whose state cannot be taken over could not go on by himself later.
        let is_possible =
            leader.is_none_or(|it| memory == Memory::Nothing || self.take_over(slot, it, rate));
        if !is_possible {
            return;
        }
        if let Some(seat) = self.legs.get_mut(slot) {
            seat.group = Some(number as u8);
        }
        if let Some(hall) = self.rooms.get_mut(member.room) {
            hall.groups[number].leader.get_or_insert(slot);
            hall.groups[number].members += 1;
        }
    }

    /// Lets the leg in `slot` encode by itself again, where another one's encoder served it; and if its own
    /// served others, another one's does from now on.
    pub(super) fn part(&mut self, slot: usize) {
        let Some((member, rate)) = self.member(slot) else {
            return;
        };
        let Some(seat) = self.legs.get_mut(slot) else {
            return;
        };
        seat.alike = 0;
        let Some(number) = seat.group.take() else {
            return;
        };
        let place = usize::from(number);
        let hall = self.rooms.get_mut(member.room);
        let Some(group) = hall.and_then(|hall| hall.groups.get_mut(place)) else {
            return;
        };
        group.members -= 1;
        let Some(leader) = group.leader else {
            return;
        };
        if leader != slot {
            self.take_over(slot, leader, rate);
            return;
        }
        let heir = self.heir(member.room, slot, number);
        if let Some(heir) = heir {
            self.take_over(heir, slot, rate);
        }
        if let Some(hall) = self.rooms.get_mut(member.room) {
            hall.groups[place].leader = heir;
        }
    }

    /// The next member of a group behind the leg in `slot`.
    fn heir(&self, room: usize, slot: usize, number: u8) -> Option<usize> {
        let members = &self.order[self.members(room)];
        let place = members.partition_point(|&rank| rank < (room, slot));
        let (before, behind) = members.split_at(place);
        let mut slots = behind.iter().chain(before).map(|&(_, slot)| slot);
        slots.find(|&slot| {
            let seat = self.legs.get(slot);
            seat.is_some_and(|seat| seat.group == Some(number))
        })
    }

    /// Lets the leg in `slot` go on where the one in `other` stands.
    fn take_over(&mut self, slot: usize, other: usize, room: SampleRate) -> bool {
        let pair = self.legs.pair_mut(slot, other);
        pair.is_some_and(|(seat, other)| seat.leg.take_over(&other.leg, room))
    }

    /// Encodes what the members of a group hear in this tick.
    fn print(&mut self, room: usize, number: usize) {
        let Some(hall) = self.rooms.get_mut(room) else {
            return;
        };
        // One alone encodes when he is sent something, as others do.
        let group = Some(hall.groups[number]).filter(|group| group.members > 1);
        let leader = group.and_then(|group| group.leader);
        let seat = leader.and_then(|leader| self.legs.get_mut(leader));
        hall.groups[number].print = seat.and_then(|seat| {
            let sink = seat.membership?.sink;
            if !matches!(hall.mixer.take(sink, &mut self.heard), Ok(Mixed::Sound)) {
                self.heard.reset(hall.mixer.rate());
            }
            seat.leg
                .print(&mut self.heard, &mut self.scratch, &mut self.prints)
        });
    }

    /// The place of the leg in `slot` in its room, and the room's rate.
    fn member(&self, slot: usize) -> Option<(Membership, SampleRate)> {
        let member = self.legs.get(slot)?.membership?;
        let hall = self.rooms.get(member.room)?;
        Some((member, hall.mixer.rate()))
    }
}
