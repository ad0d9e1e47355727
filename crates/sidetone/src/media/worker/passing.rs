//! Packets that go from one leg to another as they are: which legs do so, and what waits to be sent.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::id::PortId;
use crate::media::leg::passing::{Audio, Passing};
use crate::media::leg::{Leg, Sent};
use crate::media::worker::{MAX_PACKET, Seat, Transmit, Worker};
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
    received: u8,
    /// The payload type under which it goes.
    sent: u8,
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
    channel: crate::media::leg::config::Channel,
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

    /// Room for a packet, where there is any.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.waiting.len() >= MAX_WAITING {
            self.dropped += 1;
            return None;
        }
        Some(&mut self.bytes[self.next])
    }

    /// What is in the room is to be sent.
    fn push(&mut self, port: PortId, sent: Sent) {
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
        let (Some(seat), Some(other)) = (self.legs.get(slot), self.legs.get(wire.to)) else {
            return;
        };
        let passes = audio.payload_type() == wire.received && seat.leg.can_pass(audio, &other.leg);
        if !passes {
            if let Some(seat) = self.legs.get_mut(slot) {
                seat.leg.keep(now, audio);
                seat.keeps = true;
            }
            return;
        }
        loop {
            let (Some(seat), mut payload) = (self.legs.get_mut(slot), [0; MAX_PACKET]) else {
                return;
            };
            let Some((passed, length)) = seat.leg.poll_waiting(now, wire.received, &mut payload)
            else {
                break;
            };
            let passing = Passing {
                passed,
                marker: false,
                renumbers: false,
                payload: &payload[..length],
            };
            if let Some(other) = self.legs.get_mut(wire.to) {
                send(now, &mut other.leg, wire.sent, &passing, &mut self.passed);
            }
        }
        let Some(seat) = self.legs.get_mut(slot) else {
            return;
        };
        let Some((passing, sounds)) = seat.leg.pass(now, audio) else {
            return;
        };
        seat.keeps = false;
        if sounds {
            (*self.scratch).clone_from(seat.leg.said());
        }
        if let Some(other) = self.legs.get_mut(wire.to) {
            send(now, &mut other.leg, wire.sent, &passing, &mut self.passed);
            if sounds {
                other.leg.note_passed(&self.scratch);
            }
        }
    }

    /// Finds anew which members of the room in slot `room` hear one other member and nothing else, and are
    /// the only ones who hear him.
    pub(super) fn rewire(&mut self, room: usize) {
        let start = self.order.partition_point(|&rank| rank < (room, 0));
        let count = self.order[start..].partition_point(|&(own, _)| own == room);
        let members = &self.order[start..start + count];
        for &(_, slot) in members {
            if let Some(seat) = self.legs.get_mut(slot) {
                seat.wire = None;
            }
        }
        let Some(hall) = self.rooms.get_mut(room) else {
            return;
        };
        hall.wired = hall.mixer.generation();
        if count > MAX_MEMBERS {
            return;
        }
        for &(_, listener) in members {
            let Some(sink) = self.legs.get(listener).and_then(|seat| seat.membership) else {
                continue;
            };
            let Some(source) = hall.mixer.only_source(sink.sink) else {
                continue;
            };
            let is_source = |seat: &Seat| seat.membership.is_some_and(|own| own.source == source);
            let hears = |seat: &Seat| {
                let gain = seat.membership.map(|own| hall.mixer.gain(source, own.sink));
                gain.is_some_and(|gain| {
                    gain.is_ok_and(|gain| gain != crate::media::mixer::Gain::MUTE)
                })
            };
            let seats = || {
                members
                    .iter()
                    .filter_map(|&(_, slot)| Some((slot, self.legs.get(slot)?)))
            };
            if seats().filter(|(_, seat)| hears(seat)).count() != 1 {
                continue;
            }
            let Some((speaker, seat)) = seats().find(|(_, seat)| is_source(seat)) else {
                continue;
            };
            let formats = self
                .legs
                .get(listener)
                .and_then(|other| seat.leg.passes_to(&other.leg));
            if let (Some((received, sent)), Some(seat)) = (formats, self.legs.get_mut(speaker)) {
                seat.wire = Some(Wire {
                    to: listener,
                    received,
                    sent,
                });
            }
        }
    }

    /// Rewires the room that the leg in `slot` is in.
    pub(super) fn rewire_around(&mut self, slot: usize) {
        let membership = self.legs.get(slot).and_then(|seat| seat.membership);
        if let Some(membership) = membership {
            self.rewire(membership.room);
        }
    }
}
