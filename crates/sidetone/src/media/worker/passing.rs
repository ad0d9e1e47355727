//! Packets that go from one leg to another as they are: which legs do so, and what waits to be sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use crate::id::PortId;
use crate::media::jitter::buffer::Span;
use crate::media::leg::config::Channel;
use crate::media::leg::passing::{Audio, Passing};
use crate::media::leg::{Leg, Sent};
use crate::media::mixer::Gain;
use crate::media::worker::{Hall, MAX_PACKET, Membership, Transmit, Worker};
use crate::time::Instant;

/// Members of a room in which packets are passed on at most; more are a conference.
const MAX_MEMBERS: usize = 8;

/// Packets that wait to be polled at most. A driver polls after each datagram; what waited in a jitter
/// buffer comes on top. The newest is dropped for one too many, and counted.
const MAX_WAITING: usize = 96;

/// Where a leg's sound may go as it is: the only one who hears it hears nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    /// The slot of the other leg.
    pub(super) to: usize,
    /// The payload type under which it comes.
    pub(super) received: u8,
    /// The payload type under which it goes.
    pub(super) sent: u8,
}

/// Packets that were passed on and wait to be sent.
#[derive(Debug)]
pub(super) struct Passed {
    waiting: VecDeque<Packet>,
    /// The first of them has been polled.
    polled: bool,
    bytes: Box<[[u8; MAX_PACKET]]>,
    /// The place in `bytes` of the next one.
    next: usize,
    pub(super) count: u64,
    pub(super) dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    port: PortId,
    channel: Channel,
    destination: SocketAddr,
    place: usize,
    length: usize,
}

impl Passed {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(MAX_WAITING),
            polled: false,
            bytes: vec![[0; MAX_PACKET]; MAX_WAITING].into(),
            next: 0,
            count: 0,
            dropped: 0,
        }
    }

    /// Forgets the packet polled last; whether none is left.
    pub(super) fn is_empty(&mut self) -> bool {
        if std::mem::take(&mut self.polled) {
            self.waiting.pop_front();
        }
        self.waiting.is_empty()
    }

    pub(super) fn poll(&mut self) -> Option<Transmit<'_>> {
        let packet = self.waiting.front()?;
        self.polled = true;
        Some(Transmit {
            port: packet.port,
            channel: packet.channel,
            destination: packet.destination,
            bytes: &self.bytes[packet.place][..packet.length],
        })
    }

    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING
    }

    /// Room for a packet, where there is any.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        if !self.has_room() {
            self.dropped += 1;
            return None;
        }
        Some(&mut self.bytes[self.next])
    }

    /// What is in the room is to be sent.
    pub(super) fn push(&mut self, port: PortId, sent: Sent) {
        self.waiting.push_back(Packet {
            port,
            channel: sent.channel,
            destination: sent.destination,
            place: self.next,
            length: sent.length,
        });
        self.next = (self.next + 1) % MAX_WAITING;
        self.count += 1;
    }
}

/// Sends a packet from `leg` when the driver comes for it.
fn send(now: Instant, leg: &mut Leg, payload_type: u8, passing: &Passing<'_>, out: &mut Passed) {
    let Some(room) = out.room() else {
        return;
    };
    if let Some(sent) = leg.pass_on(now, payload_type, passing, room) {
        out.push(leg.port(), sent);
    }
}

impl Worker {
    /// The wire that a packet of the leg in `slot` takes now.
    pub(super) fn wire(&self, slot: usize) -> Option<Wire> {
        let seat = self.legs.get(slot)?;
        let wire = seat.wire?;
        let other = &self.legs.get(wire.to)?.leg;
        (seat.leg.feeds() && other.takes()).then_some(wire)
    }

    /// Passes a packet of the leg in `slot` on by its wire, behind what waits to be played of it; or keeps
    /// it, where it is of another format, or not all that was decoded can be left out unheard.
    pub(super) fn pass(&mut self, now: Instant, slot: usize, wire: Wire, audio: &Audio<'_>) {
        let Some(span) = self.span_to_pass(slot, wire, audio) else {
            if let Some(seat) = self.legs.get_mut(slot) {
                seat.leg.keep(now, audio);
                seat.keeps = true;
            }
            return self.wake_around(slot);
        };
        self.pass_waiting(now, slot, wire);
        let Some(seat) = self.legs.get_mut(slot) else {
            return;
        };
        let Some((passing, level)) = seat.leg.pass(now, audio, span, &mut self.scratch) else {
            return;
        };
        seat.keeps = false;
        let has_gap = std::mem::take(&mut seat.leg.has_gap);
        if let Some(other) = self.legs.get_mut(wire.to) {
            send(now, &mut other.leg, wire.sent, &passing, &mut self.passed);
            if let Some(level) = level {
                other.leg.note_passed(level);
            }
        }
        self.note_passed(now, slot, wire.to);
        if has_gap {
            // Losses are counted tick by tick: how they cluster matters.
            self.wake_around(slot);
        }
    }

    /// How long a packet of the leg in `slot` lasts that can be passed on by its wire now.
    fn span_to_pass(&self, slot: usize, wire: Wire, audio: &Audio<'_>) -> Option<Span> {
        let (seat, other) = (self.legs.get(slot)?, self.legs.get(wire.to)?);
        let is_same = audio.payload_type() == wire.received;
        is_same.then(|| seat.leg.can_pass(audio, &other.leg))?
    }

    /// Passes on what waits to be played of the leg in `slot`; nothing does while its packets are passed on.
    fn pass_waiting(&mut self, now: Instant, slot: usize, wire: Wire) {
        while let Some(seat) = self.legs.get_mut(slot) {
            let from = seat.leg.id();
            let waiting = seat.leg.poll_waiting(now, wire.received, &mut self.packet);
            let Some((passed, length)) = waiting else {
                return;
            };
            let passing = Passing {
                from,
                passed,
                marker: false,
                renumbers: false,
                payload: &self.packet[..length],
            };
            if let Some(other) = self.legs.get_mut(wire.to) {
                send(now, &mut other.leg, wire.sent, &passing, &mut self.passed);
            }
        }
    }

    /// Finds anew which members of the room in slot `room` hear one other member and nothing else, and are
    /// the only ones who hear him. To be called whenever who hears whom, or in what format, may have changed.
    pub(super) fn rewire(&mut self, room: usize) {
        let members = self.members(room);
        if members.len() > MAX_MEMBERS + 1 {
            // Nobody has been wired since there were so many.
            return;
        }
        for &(_, slot) in &self.order[members.clone()] {
            if let Some(seat) = self.legs.get_mut(slot) {
                seat.wire = None;
            }
        }
        if members.len() > MAX_MEMBERS || self.rooms.get(room).is_some_and(Hall::is_forked) {
            return;
        }
        for place in members.clone() {
            let listener = self.order[place].1;
            let wire = self.wire_to(room, members.clone(), listener);
            if let Some((speaker, wire)) = wire
                && let Some(seat) = self.legs.get_mut(speaker)
            {
                seat.wire = Some(wire);
            }
        }
    }

    /// The wire to the leg in slot `listener`, one of the `members` of a room, and the slot where it begins.
    fn wire_to(
        &self,
        room: usize,
        members: Range<usize>,
        listener: usize,
    ) -> Option<(usize, Wire)> {
        let mixer = &self.rooms.get(room)?.mixer;
        let other = self.legs.get(listener)?;
        let source = mixer.only_source(other.membership?.sink)?;
        let hears = |member: Membership| {
            let gain = mixer.gain(source, member.sink);
            gain.is_ok_and(|gain| gain != Gain::MUTE)
        };
        let (mut listeners, mut speaker) = (0, None);
        for &(_, slot) in &self.order[members] {
            let seat = self.legs.get(slot)?;
            let member = seat.membership?;
            listeners += usize::from(hears(member));
            if member.source == source {
                speaker = Some((slot, seat));
            }
        }
        let (speaker, seat) = speaker.filter(|_| listeners == 1)?;
        let (received, sent) = seat.leg.passes_to(&other.leg)?;
        let wire = Wire {
            to: listener,
            received,
            sent,
        };
        Some((speaker, wire))
    }

    /// Where the members of the room in slot `room` stand in the order.
    pub(super) fn members(&self, room: usize) -> Range<usize> {
        let start = self.order.partition_point(|&rank| rank < (room, 0));
        let count = self.order[start..].partition_point(|&(own, _)| own == room);
        start..start + count
    }

    /// Rewires the room that the leg in `slot` is in.
    pub(super) fn rewire_around(&mut self, slot: usize) {
        let membership = self.legs.get(slot).and_then(|seat| seat.membership);
        if let Some(membership) = membership {
            self.rewire(membership.room);
        }
    }
}
