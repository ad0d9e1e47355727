//! A leg whose next packet is known in all but what it says, since everything goes on evenly.

use std::net::SocketAddr;

use crate::id::LegId;
use crate::media::jitter::buffer::passing::Even;
use crate::media::leg::Leg;
use crate::rtp::packet::HEADER_LEN;

/// The packet that comes next to a leg, while its packets are passed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coming {
    /// The leg that it comes to.
    from: LegId,
    /// From where, and nowhere else.
    pub(crate) source: SocketAddr,
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    /// Ticks that it lasts.
    pub(crate) ticks: u32,
    /// Bytes of the whole packet.
    pub(crate) length: usize,
    even: Even,
}

/// What it becomes on its way out of the other leg.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Going {
    pub(crate) destination: SocketAddr,
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
}

impl Leg {
    /// The packet that comes next, where nothing else about it can matter than that it is this one: nothing
    /// protects it, its source is settled, and it has the length of the last one.
    pub(crate) fn coming(&self) -> Option<Coming> {
        let is_plain = self.secure.is_off()
            && self.lock.is_locked()
            && self.line.audio_level.is_none()
            && !self.resumes
            && !self.stepped_aside;
        let even = self
            .inbound
            .playout
            .coming()
            .filter(|even| is_plain && self.last_passed == Some(even.sequence - 1))?;
        let (ssrc, sequence) = self.session.receiving().next()?;
        (sequence == even.sequence as u16).then_some(Coming {
            from: self.id,
            source: self.lock.source()?,
            ssrc,
            payload_type: even.payload_type,
            sequence,
            timestamp: even.timestamp,
            ticks: even.ticks,
            length: HEADER_LEN + even.length,
            even,
        })
    }

    /// What the packet that comes next to another leg becomes when it is passed on to this one, where it
    /// simply follows what was sent last.
    pub(crate) fn going(&self, coming: &Coming) -> Option<Going> {
        let even = &coming.even;
        let relay = self.relay.filter(|relay| {
            relay.from == coming.from && relay.first <= even.sequence && self.secure.is_off()
        })?;
        let clock = i64::from(self.outbound.clock_rate());
        let ticks = relay.ticks(even.media_time, clock);
        let sender = self.session.sending();
        let going = Going {
            destination: self.destination()?,
            ssrc: sender.ssrc(),
            sequence: relay.offset.wrapping_add(even.sequence as u16),
            timestamp: relay.timestamp.wrapping_add(ticks as u32),
        };
        let follows = sender.is_talking()
            && going.sequence == sender.sequence()
            && going.timestamp == sender.timestamp()
            && even.clock == sender.clock_rate()
            && coming.ticks == self.outbound.packet_ticks();
        (follows && self.lock.is_locked()).then_some(going)
    }
}
