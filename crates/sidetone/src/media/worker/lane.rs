//! Rooms of two in which both parties' packets follow each other evenly: each is passed on from a short note
//! of what comes next, and the legs learn of it when they are visited.
//!
//! With thousands of legs each is cold, and what a packet changes in two of them takes longer to fetch than to
//! change. A few packets later it is fetched once for all of them. What happens to the legs is the same, by the
//! same code, at the same times of the packets.

use std::net::SocketAddr;

use sidetone_simd::cache::prefetch;

use crate::id::PortId;
use crate::media::leg::Sent;
use crate::media::leg::config::Channel;
use crate::media::leg::lane::{Coming, Going};
use crate::media::worker::Worker;
use crate::media::worker::passing::Wire;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::time::Instant;

/// Packets of which a leg has not learnt at most: a room is visited in every fifth tick at the latest.
const MOST: usize = 8;

/// Bytes of the longest packet that takes a lane: 30 ms of G.711.
const LONGEST: usize = HEADER_LEN + 240;

/// What the next packet of a leg is, what it becomes, and those of which the legs have not learnt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    coming: Coming,
    going: Going,
    wire: Wire,
    port: PortId,
    room: usize,
    count: usize,
    times: [Instant; MOST],
}

impl Lane {
    /// Whether a packet is the one that comes next.
    fn is_next(&self, source: SocketAddr, packet: &[u8]) -> bool {
        let coming = &self.coming;
        let Some((header, _)) = packet.split_first_chunk::<HEADER_LEN>() else {
            return false;
        };
        let expected = Header {
            payload_type: coming.payload_type,
            marker: false,
            sequence: coming.sequence,
            timestamp: coming.timestamp,
            ssrc: coming.ssrc,
        };
        let mut fixed = [0; HEADER_LEN];
        expected.emit(&mut fixed);
        *header == fixed
            && packet.len() == coming.length
            && (source == coming.source
                || SocketAddr::new(source.ip().to_canonical(), source.port()) == coming.source)
    }

    /// The header of what the next packet becomes.
    fn header(&self) -> Header {
        Header {
            payload_type: self.wire.sent,
            marker: false,
            sequence: self.going.sequence,
            timestamp: self.going.timestamp,
            ssrc: self.going.ssrc,
        }
    }

    /// The header under which a packet was sent of which the legs have not learnt.
    fn sent(&self, number: usize) -> [u8; HEADER_LEN] {
        let back = (self.count - number) as u32;
        let next = self.header();
        let header = Header {
            sequence: next.sequence.wrapping_sub(back as u16),
            timestamp: next
                .timestamp
                .wrapping_sub(back.wrapping_mul(self.coming.ticks)),
            ..next
        };
        let mut fixed = [0; HEADER_LEN];
        header.emit(&mut fixed);
        fixed
    }

    /// Takes note that the next packet has come.
    fn advance(&mut self, now: Instant) {
        self.times[self.count] = now;
        self.count += 1;
        let (coming, going) = (&mut self.coming, &mut self.going);
        coming.sequence = coming.sequence.wrapping_add(1);
        coming.timestamp = coming.timestamp.wrapping_add(coming.ticks);
        going.sequence = going.sequence.wrapping_add(1);
        going.timestamp = going.timestamp.wrapping_add(coming.ticks);
    }
}

/// The lanes of all legs, by their slots.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Whether there is one, apart, so that to ask costs little.
    open: Box<[bool]>,
    lanes: Box<[Option<Lane>]>,
    /// The packets of which legs have not learnt.
    bytes: Box<[u8]>,
}

impl Lanes {
    pub(super) fn new(legs: usize) -> Self {
        Self {
            open: vec![false; legs].into(),
            lanes: vec![None; legs].into(),
            bytes: vec![0; legs * MOST * LONGEST].into(),
        }
    }

    pub(super) fn is_open(&self, slot: usize) -> bool {
        self.open.get(slot).is_some_and(|open| *open)
    }

    fn open(&mut self, slot: usize, lane: Lane) {
        if let Some(place) = self.lanes.get_mut(slot) {
            *place = Some(lane);
            self.open[slot] = true;
        }
    }

    fn close(&mut self, slot: usize) -> Option<Lane> {
        self.open[slot] = false;
        self.lanes[slot].take()
    }

    /// Where the packet with this number waits.
    fn place(slot: usize, number: usize) -> std::ops::Range<usize> {
        let start = (slot * MOST + number) * LONGEST;
        start..start + LONGEST
    }

    /// A packet for the leg in `slot` is coming.
    pub(super) fn expect(&self, slot: usize) {
        prefetch(&self.lanes[slot]);
    }

    /// What waits for the leg in `slot` is going to be read.
    fn expect_all(&self, slot: usize) {
        prefetch(&self.lanes[slot]);
        let all = Self::place(slot, 0).start..Self::place(slot, MOST / 2).end;
        prefetch(&self.bytes[all]);
    }
}

impl Worker {
    /// Passes a packet for the leg in `slot` on where it has a lane and this is what comes next by it; false
    /// where it is to be looked at.
    pub(super) fn pass_at_once(
        &mut self,
        now: Instant,
        slot: usize,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        if !self.lanes.is_open(slot) {
            return false;
        }
        let Some(lane) = &mut self.lanes.lanes[slot] else {
            return false;
        };
        let has_room = lane.count < MOST && self.passed.has_room();
        if !has_room || !lane.is_next(source, packet) {
            return false;
        }
        let Some(out) = self.passed.room() else {
            return false;
        };
        lane.header().emit(out);
        out[HEADER_LEN..packet.len()].copy_from_slice(&packet[HEADER_LEN..]);
        let sent = Sent {
            channel: Channel::Rtp,
            destination: lane.going.destination,
            length: packet.len(),
        };
        self.passed.push(lane.port, sent);
        let place = Lanes::place(slot, lane.count);
        self.lanes.bytes[place][..packet.len()].copy_from_slice(packet);
        lane.advance(now);
        self.stats.passed_at_once += 1;
        let (room, to) = (lane.room, lane.wire.to);
        self.note_passed_in(room, now, slot, to);
        true
    }

    /// Opens the lanes of the two legs in the room in slot `room`, where both ways go on evenly; gives the slots
    /// of the two then.
    pub(super) fn open_lanes(&mut self, room: usize) -> Option<[usize; 2]> {
        let members = self.members(room);
        let &[(_, first), (_, second)] = &self.order[members] else {
            return None;
        };
        let (one, other) = self.lane(room, first).zip(self.lane(room, second))?;
        self.lanes.open(first, one);
        self.lanes.open(second, other);
        Some([first, second])
    }

    fn lane(&self, room: usize, slot: usize) -> Option<Lane> {
        let wire = self.wire(slot)?;
        let (leg, other) = (&self.legs.get(slot)?.leg, &self.legs.get(wire.to)?.leg);
        let coming = leg.coming()?;
        let is_fit = coming.payload_type == wire.received && coming.length <= LONGEST;
        is_fit.then_some(Lane {
            coming,
            going: other.going(&coming)?,
            wire,
            port: other.port(),
            room,
            count: 0,
            times: [Instant::ZERO; MOST],
        })
    }

    /// Closes the lanes between two legs, and has both learn of the packets that have taken them, in the order
    /// in which they came.
    pub(super) fn close_lanes(&mut self, slots: [usize; 2]) {
        let lanes = slots.map(|slot| self.lanes.close(slot));
        if let [Some(one), Some(other)] = &lanes {
            self.learn_all(slots, [one, other]);
        }
    }

    /// As [`close_lanes`](Self::close_lanes), but the lanes stay open.
    #[cfg(test)]
    pub(super) fn learn_at_once(&mut self, slots: [usize; 2]) {
        let lanes = slots.map(|slot| self.lanes.lanes[slot]);
        self.close_lanes(slots);
        for (slot, lane) in slots.into_iter().zip(lanes.into_iter().flatten()) {
            self.lanes.open(slot, Lane { count: 0, ..lane });
        }
    }

    fn learn_all(&mut self, slots: [usize; 2], [one, other]: [&Lane; 2]) {
        let (mut first, mut second) = (0, 0);
        while first < one.count || second < other.count {
            let is_first = second == other.count
                || (first < one.count && one.times[first] <= other.times[second]);
            let taken = match is_first {
                true => self.learn(slots[0], one, first),
                false => self.learn(slots[1], other, second),
            };
            debug_assert_eq!(
                taken,
                Some(true),
                "a packet took a lane and was none for it"
            );
            first += usize::from(is_first);
            second += usize::from(!is_first);
        }
        for slot in slots {
            self.tell_leg_events(slot);
        }
    }

    /// Two legs learn of a packet that has been passed on from the one in `slot`. Whether it became what they
    /// would have made of it; `None` where they would not have passed it on.
    fn learn(&mut self, slot: usize, lane: &Lane, number: usize) -> Option<bool> {
        let (at, to) = (lane.times[number], lane.wire.to);
        let packet = self.lanes.bytes.get_mut(Lanes::place(slot, number))?;
        let packet = packet.get_mut(..lane.coming.length)?;
        let leg = &mut self.legs.get_mut(slot)?.leg;
        let audio = leg.handle_rtp(at, lane.coming.source, packet, true)?;
        let (seat, other) = self.legs.pair_mut(slot, to)?;
        let span = seat.leg.can_pass(&audio, &other.leg)?;
        let (passing, level) = seat.leg.pass(at, &audio, span, &mut self.scratch)?;
        seat.leg.has_gap = false;
        let other = &mut self.legs.get_mut(to)?.leg;
        other.pass_on(at, lane.wire.sent, &passing, &mut self.packet)?;
        if let Some(level) = level {
            other.note_passed(level);
        }
        let sent = lane.sent(number);
        Some(self.packet.starts_with(&sent))
    }

    /// The legs in these slots are going to learn of packets: asks for what that reads.
    pub(super) fn expect_learning(&self, slot: usize) {
        if !self.lanes.is_open(slot) {
            return;
        }
        self.lanes.expect_all(slot);
        if let Some(seat) = self.legs.get(slot) {
            seat.leg.expect();
            seat.leg.expect_passed();
        }
    }
}
