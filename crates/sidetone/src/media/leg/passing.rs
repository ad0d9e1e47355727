//! A leg whose packets are passed on to another one, or that another one's are passed on to, without
//! being decoded.

use sidetone_simd::cache::prefetch;

use crate::id::LegId;
use crate::media::frame::{FRAME_DURATION, Frame};
use crate::media::jitter::MEDIA_CLOCK;
use crate::media::jitter::Packet;
use crate::media::jitter::buffer::Span;
use crate::media::jitter::buffer::passing::Passed;
use crate::media::leg::config::{Channel, PayloadFormat};
use crate::media::leg::{Leg, LegEvent, Sent};
use crate::media::quality::level::Level;
use crate::rtp::packet::{HEADER_LEN, Header};
use crate::rtp::session::sender::ticks_to_time;
use crate::time::{Duration, Instant};

/// A leg that nothing has been passed on to for so long speaks by itself again: its peer must not be
/// left without packets.
const PATIENCE: Duration = Duration::from_millis(100);

/// A received packet of sound that everything else about it has been done to.
#[derive(Debug)]
pub(crate) struct Audio<'a> {
    pub(super) packet: Packet<'a>,
    /// Its number, extended by the receiver.
    pub(super) sequence: u64,
    /// Numbers before it were not sound.
    pub(super) renumbers: bool,
}

impl Audio<'_> {
    pub(crate) fn payload_type(&self) -> u8 {
        self.packet.payload_type
    }
}

/// A packet as it is passed on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing<'a> {
    /// The leg that it came to.
    pub(crate) from: LegId,
    pub(crate) passed: Passed,
    pub(crate) marker: bool,
    /// Numbers before it were not passed on.
    pub(crate) renumbers: bool,
    pub(crate) payload: &'a [u8],
}

/// How another stream's numbers become those of what is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relay {
    /// Whose packets they are.
    pub(super) from: LegId,
    /// The first packet that counts: those before it were sent otherwise, or too late.
    pub(super) first: i64,
    /// What is added to its sequence numbers.
    pub(super) offset: u16,
    /// A media time and the timestamp that it became.
    media_time: i64,
    pub(super) timestamp: u32,
    /// When the last packet was passed on.
    heard: Instant,
}

impl Relay {
    /// How far a media time is behind [`Relay::timestamp`], in ticks of `clock` Hz.
    pub(super) fn ticks(&self, media_time: i64, clock: i64) -> i64 {
        (media_time - self.media_time) * clock / i64::from(MEDIA_CLOCK)
    }
}

impl Leg {
    /// Under which payload types the sound of this leg can be passed on to `other` as it is: received,
    /// and sent; `None` where their formats differ, or a header has to say more.
    pub(crate) fn passes_to(&self, other: &Self) -> Option<(u8, u8)> {
        let sent = other.outbound.format();
        let same = |format: &PayloadFormat| {
            format.codec.rtp_map() == sent.codec.rtp_map() && format.terms.own == sent.terms.peer
        };
        let received = self.inbound.formats.iter().find(|&format| same(format))?;
        let tells_level = other.line.audio_level.is_some_and(|level| level.send);
        (!tells_level).then_some((received.payload_type, sent.payload_type))
    }

    /// A datagram is coming for this leg: asks for what that reads here. Lines asked for in vain take the
    /// place of others, so this asks for little else.
    pub(crate) fn expect(&self) {
        prefetch(&self.line);
        prefetch(&self.secure);
        prefetch(&self.lock);
        self.session.expect_received();
        self.inbound.playout.expect();
        prefetch(&self.silence);
        prefetch(&self.passed_until);
        self.quality.expect();
    }

    /// A datagram is coming for a leg whose packets are passed on to this one: the same.
    pub(crate) fn expect_passed(&self) {
        prefetch(&self.line);
        prefetch(&self.secure);
        prefetch(&self.lock);
        prefetch(&self.outbound);
        prefetch(&self.relay);
        prefetch(&self.provided_until);
        self.session.expect_sent();
        self.quality.expect();
    }

    /// The datagram is the next one: asks for what is read by way of what [`expect`](Self::expect) asked for.
    pub(crate) fn expect_at_once(&self) {
        self.inbound.playout.expect_at_once();
    }

    /// Whether nobody here wants the samples of what the peer says.
    pub(crate) fn feeds(&self) -> bool {
        self.recordings.is_empty()
            && !self.forks.want_said()
            && self.ears.is_none()
            && self.line.direction.receive
    }

    /// Whether nothing is to be heard but what is passed on.
    pub(crate) fn takes(&self) -> bool {
        self.recordings.is_empty()
            && !self.forks.want_heard()
            && self.players.is_idle()
            && !self.digits.is_sending()
            && self.line.direction.send
            && self.outbound.can_pass()
    }

    /// Whether another leg's sound is being passed on to this one.
    pub(crate) fn is_relaying(&self, now: Instant) -> bool {
        self.relay
            .is_some_and(|relay| now.saturating_duration_since(relay.heard) <= PATIENCE)
    }

    /// How long a packet lasts that can be passed on to `other` from here: it is as long as those that were
    /// agreed on there, and nothing that is being played would be left out.
    pub(crate) fn can_pass(&self, audio: &Audio<'_>, other: &Self) -> Option<Span> {
        let span = self.inbound.playout.can_pass(&audio.packet)?;
        (span.ticks == other.outbound.packet_ticks()).then_some(span)
    }

    /// Whether a packet that was passed on lasts beyond this tick, so that what follows it is not due.
    pub(crate) fn is_ahead(&self, at: Instant) -> bool {
        self.passed_until.is_some_and(|until| at < until)
    }

    /// Whether what was passed on to this leg lasts beyond this tick.
    pub(crate) fn is_provided(&self, at: Instant) -> bool {
        self.provided_until.is_some_and(|until| at < until)
    }

    /// Takes a packet out of what waits to be played, copies it to `buffer` and gives its place and length.
    pub(crate) fn poll_waiting(
        &mut self,
        now: Instant,
        payload_type: u8,
        buffer: &mut [u8],
    ) -> Option<(Passed, usize)> {
        loop {
            let waiting = self.inbound.playout.poll_waiting(now)?;
            let place = buffer.get_mut(..waiting.payload.len());
            // Noise has no sound that could be passed on.
            if let Some(place) = place.filter(|_| waiting.payload_type == payload_type) {
                place.copy_from_slice(waiting.payload);
                return Some((waiting.passed, waiting.payload.len()));
            }
        }
    }

    /// Takes note of a packet of the peer that is passed on, and listens to it as far as quality asks,
    /// in `scratch`; `None` where it is not to be passed on. Gives how loud it is, where that is known.
    pub(crate) fn pass<'a>(
        &mut self,
        now: Instant,
        audio: &Audio<'a>,
        span: Span,
        scratch: &mut Frame,
    ) -> Option<(Passing<'a>, Option<Level>)> {
        scratch.reset(self.rate);
        let playout = &mut self.inbound.playout;
        let (passed, sounds) = playout.pass(now, &audio.packet, span, scratch)?;
        self.last_payload_type = audio.packet.payload_type;
        let follows = self.last_passed.replace(passed.sequence);
        self.has_gap = follows.is_some_and(|last| last + 1 != passed.sequence);
        let clock = self.inbound.clock_rate();
        self.passed_until = Some(now + ticks_to_time(passed.ticks, clock));
        let level = sounds.then(|| Level::of(scratch.samples()));
        if let Some(level) = level {
            self.quality.heard_at(level, scratch.samples().len(), true);
        }
        let passing = Passing {
            from: self.id,
            passed,
            marker: audio.packet.marker,
            renumbers: audio.renumbers,
            payload: audio.packet.payload,
        };
        Some((passing, level))
    }

    /// Sends another leg's packet as the next of our own stream: writes it into `buf`.
    pub(crate) fn pass_on(
        &mut self,
        now: Instant,
        payload_type: u8,
        passing: &Passing<'_>,
        buf: &mut [u8],
    ) -> Option<Sent> {
        let destination = self.destination()?;
        let clock = i64::from(self.outbound.clock_rate());
        let relay = self.follow(now, passing);
        if passing.passed.sequence < relay.first {
            return None;
        }
        let ticks = relay.ticks(passing.passed.media_time, clock);
        let header = Header {
            payload_type,
            marker: passing.marker,
            sequence: relay.offset.wrapping_add(passing.passed.sequence as u16),
            timestamp: relay.timestamp.wrapping_add(ticks as u32),
            ssrc: 0,
        };
        self.relay = Some(relay);
        let length = HEADER_LEN + passing.payload.len();
        let room = self.secure.room(buf);
        room.get_mut(HEADER_LEN..length)?
            .copy_from_slice(passing.payload);
        let sender = self.session.sender();
        sender
            .pass(now, &header, passing.passed.ticks, passing.payload.len())
            .emit(room);
        let length = self.secure.seal_rtp(buf, length)?;
        self.lock.note_sent();
        Some(Sent {
            channel: Channel::Rtp,
            destination,
            length,
        })
    }

    /// How numbers are translated from this packet on.
    fn follow(&mut self, now: Instant, passing: &Passing<'_>) -> Relay {
        let passed = &passing.passed;
        // Another speaker's numbers have nothing to do with those before.
        let is_other = self.relay.is_some_and(|relay| relay.from != passing.from);
        let anew = passed.anew || is_other;
        let sender = self.session.sender();
        let lasts = ticks_to_time(passed.ticks, sender.clock_rate());
        self.provided_until = Some(now + lasts);
        if let Some(relay) = self.relay.filter(|_| !anew && !passing.renumbers) {
            return Relay {
                heard: now,
                ..relay
            };
        }
        if self.relay.is_some() && anew {
            sender.catch_up(now);
        }
        let (sequence, timestamp) = (sender.sequence(), sender.timestamp());
        let numbered = Relay {
            from: passing.from,
            first: passed.sequence,
            offset: sequence.wrapping_sub(passed.sequence as u16),
            media_time: passed.media_time,
            timestamp,
            heard: now,
        };
        match self.relay {
            // Media time goes on evenly over what is not passed on.
            Some(relay) if !anew => Relay {
                media_time: relay.media_time,
                timestamp: relay.timestamp,
                ..numbered
            },
            Some(_) => numbered,
            None => {
                self.outbound.interrupt();
                numbered
            }
        }
    }

    /// How loud a packet is that has been passed on to this leg.
    pub(crate) fn note_passed(&mut self, heard: Level) {
        self.quality.sent_at(heard);
    }

    /// From now on the leg speaks by itself again, in the same stream.
    pub(crate) fn end_relay(&mut self, now: Instant) {
        let relay = self.relay.take();
        // Up to a tick later than the next packet would have come is no pause, but a delay.
        let paused =
            relay.is_some_and(|relay| now.saturating_duration_since(relay.heard) > PATIENCE);
        if paused {
            self.session.sender().catch_up(now);
        }
    }

    /// Whether ticks may leave it out while its packets are passed on, and another's to it.
    pub(crate) fn can_rest(&self) -> bool {
        !self.digits.is_receiving() && self.players.is_empty() && self.forks.is_empty()
    }

    /// Makes up for ticks that left it out, some of which ran late.
    pub(crate) fn make_up(&mut self, ticks: u8, late: u8) {
        let time = FRAME_DURATION * u32::from(ticks);
        self.last_tick = self.last_tick.map(|at| at + time);
        self.quality.make_up(ticks, late);
    }

    /// A tick of a leg whose packets are passed on: nothing is played.
    pub(crate) fn listen_passing(&mut self, at: Instant) {
        if let Some(silent_for) = self.silence.check(at, self.line.media_timeout) {
            self.events.push(LegEvent::MediaTimeout { silent_for });
        }
        self.digits.check(at);
        self.tell_digits();
    }

    /// A tick of a leg that another one's packets are passed on to: nothing is made.
    pub(crate) fn speak_passing(&mut self, at: Instant) {
        self.count_missed(at);
        self.write_forks(at, None);
        self.last_tick = Some(at);
    }
}
