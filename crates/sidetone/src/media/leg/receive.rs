//! A leg's way in: from a datagram to what the peer says in a tick.

use std::net::SocketAddr;

use crate::media::dtmf::DtmfEvent;
use crate::media::frame::Frame;
use crate::media::jitter::playout::{Heard, Piece};
use crate::media::jitter::{Arrival, Packet};
use crate::media::leg::digits::DigitPath;
use crate::media::leg::inbound::Inbound;
use crate::media::leg::passing::Audio;
use crate::media::leg::{Leg, LegEvent};
use crate::rtp::packet::{View, is_rtcp};
use crate::rtp::red::{Blocks, RedError};
use crate::rtp::session::control::Heard as Told;
use crate::rtp::source::Verdict;
use crate::time::{Duration, Instant};

/// After so long without a packet, what comes begins anew, whatever its marker says.
const PAUSE: Duration = Duration::from_secs(1);

impl Leg {
    /// Takes a datagram. A packet of sound is given back where it is `wanted` by whom it is passed on to,
    /// and kept for its turn otherwise.
    pub(crate) fn handle_rtp<'a>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        packet: &'a mut [u8],
        wanted: bool,
    ) -> Option<Audio<'a>> {
        if self.line.rtcp_mux && is_rtcp(packet) {
            match self.lock.handle_other(source) {
                Verdict::Refuse => self.refused_control += 1,
                Verdict::Accept | Verdict::Learned => {
                    self.take_rtcp(now, source, packet);
                }
            }
            return None;
        }
        // Nothing is learnt or read of a packet that is not the peer's.
        let packet = self.secure.open_rtp(now, packet)?;
        let Ok(view) = View::parse(packet) else {
            self.malformed += 1;
            return None;
        };
        let verdict = self
            .lock
            .handle_packet(now, source, view.ssrc(), view.sequence());
        if verdict == Verdict::Refuse {
            return None;
        }
        let last = self.session.receiver().last_received();
        let position = self.session.handle_rtp(now, &view).ok()?;
        if !self.line.direction.receive {
            return None;
        }
        if let Some(level) = self.line.audio_level {
            self.levels.read(level.id, level.voice, &view);
        }
        // A talk spurt whether or not the sender says so: after a hold, many do not.
        let paused = last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        let begins = std::mem::take(&mut self.resumes) || paused;
        if self.silence.heard(now) {
            self.events.push(LegEvent::MediaStarted);
        }
        if position.restarted {
            self.inbound.playout.resync();
        }
        let events = self.line.telephone_event;
        if let Some(clock_rate) = events.and_then(|e| e.clock_of(view.payload_type())) {
            self.digits.receive(now, position, &view, clock_rate);
            self.tell_digits();
            self.inbound.playout.aside(view.sequence());
            self.stepped_aside = true;
            return None;
        }
        let clock = self.session.receiver().clock_rate();
        let anew = position.restarted;
        self.quality.packet(now, view.timestamp(), clock, anew);
        let audio = Audio {
            packet: Packet {
                sequence: view.sequence(),
                timestamp: view.timestamp(),
                payload_type: view.payload_type(),
                marker: view.marker() || begins,
                redundant: false,
                payload: view.payload(),
            },
            sequence: position.sequence,
            renumbers: std::mem::take(&mut self.stepped_aside),
        };
        if wanted {
            return Some(audio);
        }
        self.keep(now, &audio);
        None
    }

    /// Keeps a packet of sound for its turn.
    pub(crate) fn keep(&mut self, now: Instant, audio: &Audio<'_>) {
        let packet = &audio.packet;
        let mut redundancy = self.line.redundancy.iter().flatten();
        let taken = match redundancy.any(|(number, _)| *number == packet.payload_type) {
            true => take_blocks(&mut self.inbound, now, packet),
            false => Ok((packet.payload_type, self.inbound.playout.put(now, packet))),
        };
        let Ok((payload_type, arrival)) = taken else {
            self.malformed += 1;
            return;
        };
        // A pause is no codec, and rates nothing.
        if !self.inbound.is_noise(payload_type) {
            self.last_payload_type = payload_type;
        }
        if arrival == Arrival::Late {
            self.session.receiver().discard(audio.sequence);
        }
    }

    /// RTCP on its own port, which must come from the address that was signalled for it, or from
    /// the host that RTP comes from.
    pub(crate) fn handle_rtcp(&mut self, now: Instant, source: SocketAddr, packet: &mut [u8]) {
        let media = self.lock.source();
        if !self.control_lock.accepts(now, source, media) {
            self.refused_control += 1;
            return;
        }
        if let Some(heard) = self.take_rtcp(now, source, packet) {
            self.control_lock.heard(now, source, heard.named);
        }
    }

    fn take_rtcp(&mut self, now: Instant, source: SocketAddr, packet: &mut [u8]) -> Option<Told> {
        let packet = self.secure.open_rtcp(now, packet)?;
        let Ok(heard) = self.session.handle_rtcp(now, packet) else {
            self.malformed += 1;
            return None;
        };
        if heard.report {
            self.lock.confirm(source);
        }
        self.outbound.steer(&self.session.peer_stats());
        Some(heard)
    }

    /// Makes what the peer says in this tick, and says whether it is more than silence.
    pub(crate) fn listen(&mut self, at: Instant, scratch: &mut Frame) -> bool {
        if let Some(silent_for) = self.silence.check(at, self.line.media_timeout) {
            self.events.push(LegEvent::MediaTimeout { silent_for });
        }
        self.digits.check(at);
        self.tell_digits();
        if !self.line.direction.receive {
            return self.hear_nothing();
        }
        // A sender of events leaves out audio, which is no loss to be concealed.
        let is_typing = self.digits.is_receiving();
        let recordings = &mut self.recordings;
        let heard = if recordings.is_empty() {
            self.inbound.fill(at, &mut self.said, scratch, None)
        } else {
            let (ears, opus) = (&mut self.ears, self.inbound.opus());
            let tape = &mut |piece: Piece<'_>| {
                let mute = ears.as_mut().is_some_and(|ears| ears.mute(&piece));
                if !(piece.made_up && is_typing || mute) {
                    recordings.push_said(at, piece, opus);
                }
            };
            self.inbound.fill(at, &mut self.said, scratch, Some(tape))
        };
        let made_up = is_typing && matches!(heard, Heard::Concealed | Heard::Noise);
        if heard == Heard::Nothing || made_up {
            return self.hear_nothing();
        }
        self.quality.heard(&self.said, heard == Heard::Sound);
        self.notice(true);
        self.note_said(heard);
        true
    }

    fn hear_nothing(&mut self) -> bool {
        self.said.reset(self.rate);
        self.quality.heard(&self.said, false);
        self.notice(false);
        self.note_said(Heard::Nothing);
        false
    }

    /// Listens to what the peer says, and changes it as is wanted.
    fn notice(&mut self, sounds: bool) {
        let Some(ears) = &mut self.ears else {
            return;
        };
        let noticed = ears.process(&mut self.said, sounds);
        while let Some(event) = ears.poll_digit() {
            self.forks.mark(&event);
            self.events.push(told(event, DigitPath::Tones));
        }
        let tone = noticed.tone.map(LegEvent::Tone);
        let speech = noticed.speech.map(LegEvent::Speech);
        for event in tone.into_iter().chain(speech) {
            self.events.push(event);
        }
    }

    pub(super) fn tell_digits(&mut self) {
        while let Some(event) = self.digits.poll_received() {
            self.forks.mark(&event);
            self.events.push(told(event, DigitPath::Events));
        }
    }
}

fn told(event: DtmfEvent, path: DigitPath) -> LegEvent {
    match event {
        DtmfEvent::Started { digit } => LegEvent::DigitStarted { digit, path },
        DtmfEvent::Ended { digit, duration } => LegEvent::DigitEnded {
            digit,
            duration,
            path,
        },
    }
}

/// Puts each encoding of a packet of redundant audio into the jitter buffer: copies under the numbers
/// that their originals had, for senders copy one packet after another. Returns the payload type of the
/// primary encoding, and what became of it. Copies of what we cannot decode say nothing of their
/// originals and are left out.
fn take_blocks(
    inbound: &mut Inbound,
    now: Instant,
    whole: &Packet<'_>,
) -> Result<(u8, Arrival), RedError> {
    let blocks = Blocks::parse(whole.payload)?;
    let blocks = blocks.as_slice();
    let mut primary = (0, Arrival::Refused);
    for (back, block) in (0..blocks.len() as u16).rev().zip(blocks) {
        let redundant = back > 0;
        if redundant && (block.data.is_empty() || !inbound.takes(block.payload_type)) {
            continue;
        }
        let packet = Packet {
            sequence: whole.sequence.wrapping_sub(back),
            timestamp: whole.timestamp.wrapping_sub(block.offset),
            payload_type: block.payload_type,
            marker: whole.marker && !redundant,
            redundant,
            payload: block.data,
        };
        primary = (block.payload_type, inbound.playout.put(now, &packet));
    }
    Ok(primary)
}
