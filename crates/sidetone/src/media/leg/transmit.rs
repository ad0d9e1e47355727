//! A leg's way out: from what it hears in a tick to datagrams.

use std::net::SocketAddr;

use sidetone_simd::cache::prefetch;

use crate::media::frame::{FRAME_DURATION, Frame};
use crate::media::leg::config::Channel;
use crate::media::leg::sharing::Prints;
use crate::media::leg::{Leg, LegEvent, Sent};
use crate::media::quality::emodel::Band;
use crate::rtp::session::control::PlayoutFigures;
use crate::time::Instant;

impl Leg {
    /// Sends what the leg hears in this tick: `heard`, which sounds or not, and its own players.
    pub(crate) fn speak(
        &mut self,
        at: Instant,
        heard: &mut Frame,
        sounds: bool,
        scratch: &mut Frame,
    ) {
        let may_send = self.line.direction.send && self.destination().is_some();
        if !self.players.is_empty() {
            self.players.settle(self.outbound.has_sent_all(), may_send);
        }
        let plays = match (self.recordings.wants_played(), self.outbound.side()) {
            (true, _) => self.play_apart(at, heard, scratch),
            (false, Some(side)) => self.players.add_stereo_to(heard, side, scratch),
            (false, None) => self.players.add_to(heard, scratch),
        };
        let is_opus = may_send && self.outbound.makes_packets_of_opus();
        self.recordings
            .push_heard(at, heard, sounds || plays, is_opus);
        self.write_forks(at, Some(heard));
        self.digits.sound(heard);
        self.quality.sent(heard);
        self.skip_missed(at);
        let sender = self.session.sender();
        if may_send && !self.digits.tick(self.outbound.end_timestamp(sender)) {
            if self.line.audio_level.is_some_and(|level| level.send) {
                self.levels.measure(heard);
            }
            self.outbound.push(heard, scratch, sender);
        } else {
            self.levels.forget();
            self.outbound.discard(sender);
            sender.skip(self.outbound.frame_ticks());
        }
        if self.digits.poll_sent() {
            self.events.push(LegEvent::DigitsSent);
        }
        self.last_tick = Some(at);
    }

    /// Tells the recordings what is played in this tick to the room that the leg is in.
    pub(crate) fn record_prompt(&mut self, at: Instant, prompt: &Frame) {
        self.recordings.push_prompt(at, prompt);
    }

    /// Adds what is played to what is heard, and tells the recordings that want it apart.
    fn play_apart(&mut self, at: Instant, heard: &mut Frame, scratch: &mut Frame) -> bool {
        let mut played = Frame::silence(self.rate);
        let plays = match self.outbound.side() {
            Some(side) => self.players.add_stereo_to(&mut played, side, scratch),
            None => self.players.add_to(&mut played, scratch),
        };
        if plays {
            self.recordings.push_played(at, &played);
            for (to, &sample) in heard.samples_mut().iter_mut().zip(played.samples()) {
                *to = to.saturating_add(sample);
            }
        }
        plays
    }

    /// Counts the ticks that never ran since the last one.
    pub(super) fn count_missed(&mut self, at: Instant) -> u32 {
        let Some(last) = self.last_tick else {
            return 0;
        };
        let ticks = (at - last).as_nanos() / FRAME_DURATION.as_nanos();
        self.missed_ticks = ticks.saturating_sub(1) as u32;
        self.missed_ticks
    }

    /// Lets the time of ticks that never ran pass in the timestamps.
    pub(super) fn skip_missed(&mut self, at: Instant) {
        let missed = self.count_missed(at);
        if missed > 0 {
            let sender = self.session.sender();
            self.outbound.discard(sender);
            sender.skip(missed.wrapping_mul(self.outbound.frame_ticks()));
        }
    }

    /// It will be polled soon: asks for what that reads.
    pub(crate) fn expect_poll(&self) {
        prefetch(&self.last_tick);
        prefetch(&self.line);
        prefetch(&self.lock);
        prefetch(&self.outbound);
        prefetch(&self.session);
    }

    /// Writes the next packet that is due into `buf`.
    pub(crate) fn poll_transmit(&mut self, buf: &mut [u8], prints: &Prints) -> Option<Sent> {
        let now = self.last_tick?;
        if self.session.poll_timeout().is_some_and(|due| due <= now)
            && let Some(sent) = self.poll_control(now, buf)
        {
            return Some(sent);
        }
        let destination = self.destination();
        let destination = destination.filter(|_| self.line.direction.send)?;
        let sender = self.session.sender();
        let room = self.secure.room(buf);
        let length = match self.digits.poll(sender, room) {
            Some(length) => {
                self.outbound.interrupt();
                length
            }
            None => {
                let recordings = &mut self.recordings;
                let tape = &mut |behind, payload: &[u8]| recordings.push_sent(now, behind, payload);
                let length = self.outbound.poll(now, sender, room, prints, tape)?;
                match self.line.audio_level.filter(|level| level.send) {
                    Some(level) => self.levels.insert(level.id, room, length),
                    None => length,
                }
            }
        };
        let length = self.secure.seal_rtp(buf, length)?;
        self.lock.note_sent();
        Some(Sent {
            channel: Channel::Rtp,
            destination,
            length,
        })
    }

    /// Ends the RTP session: writes a report with a BYE into `buf` (RFC 3550 §6.3.7). `None` where
    /// nobody would hear it.
    pub(crate) fn goodbye(&mut self, now: Instant, buf: &mut [u8]) -> Option<Sent> {
        self.session.goodbye(now, "");
        self.poll_control(now, buf)
    }

    fn poll_control(&mut self, now: Instant, buf: &mut [u8]) -> Option<Sent> {
        let (channel, destination) = match self.line.rtcp_mux {
            true => (Channel::Rtp, self.destination()?),
            false => {
                self.line.remote?;
                let destination = self.control_lock.destination(self.lock.destination());
                (Channel::Rtcp, reachable(destination?)?)
            }
        };
        if self.session.wants_playout_figures(now) {
            let figures = self.playout_figures();
            self.session.set_playout_figures(figures);
        }
        let length = self.session.poll_rtcp(now, self.secure.room(buf))?;
        let length = self.secure.seal_rtcp(buf, length)?;
        if channel == Channel::Rtp {
            self.lock.note_sent();
        }
        Some(Sent {
            channel,
            destination,
            length,
        })
    }

    /// What the peer is told of how its stream is played.
    fn playout_figures(&self) -> PlayoutFigures {
        let playout = &self.inbound.playout;
        let jitter = playout.statistics();
        let rating = self.quality.quality().receive.call.rating;
        // The field has no room for the scales of wider bands.
        let narrow = rating.filter(|rating| rating.band == Band::Narrow);
        PlayoutFigures {
            delay: jitter.delay,
            delay_maximum: jitter.target.max(jitter.delay),
            delay_limit: playout.longest_delay(),
            adaptive: playout.is_adaptive(),
            r_factor: narrow.map(|rating| rating.r),
            mos_listening: rating.map(|rating| rating.mos_lq),
            mos_conversation: rating.map(|rating| rating.mos_cq),
        }
    }

    /// Where RTP goes: nowhere while signalling names no address, or one that is nobody's.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.line.remote?;
        reachable(self.lock.destination()?)
    }
}

/// `address`, unless no single party can be there: an old-style hold, a group, a missing port.
fn reachable(address: SocketAddr) -> Option<SocketAddr> {
    let ip = address.ip();
    let nobody = ip.is_unspecified() || ip.is_multicast() || address.port() == 0;
    (!nobody).then_some(address)
}
