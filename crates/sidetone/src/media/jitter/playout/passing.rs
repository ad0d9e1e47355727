//! A stream whose packets are passed on as they come, without being decoded, and the way to that and back.

use sidetone_simd::cache::prefetch;

use crate::media::frame::Frame;
use crate::media::jitter::buffer::Span;
use crate::media::jitter::buffer::passing::{Even, Passed};
use crate::media::jitter::playout::{FADED, LONGEST_MS, Playout, decoder};
use crate::media::jitter::stereo::Stereo;
use crate::media::jitter::{MEDIA_CLOCK, Packet};
use crate::time::{Duration, Instant};

/// Where nothing has been passed on for so long, there is no speech to go on with.
const PAUSE: Duration = Duration::from_millis(60);

/// A packet that had waited to be played, and is passed on instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<'a> {
    /// Where it belongs.
    pub passed: Passed,
    /// RTP payload type.
    pub payload_type: u8,
    /// The payload.
    pub payload: &'a [u8],
}

impl Playout {
    /// A packet is coming: asks for what it reads.
    pub(crate) fn expect(&self) {
        prefetch(&self.buffer);
        prefetch(&self.decoders);
        prefetch(&self.passed_at);
        prefetch(&self.concealment);
    }

    /// The packet is the next one: asks for what is read by way of what [`expect`](Self::expect) asked for.
    pub(crate) fn expect_at_once(&self) {
        self.buffer.expect();
        if let Some((_, decoder)) = self.decoders.first() {
            prefetch(&**decoder);
        }
    }

    /// The packet that comes next, where what came last was passed on, goes on evenly, and is of a codec by
    /// which all packets of a length last alike and leave nothing behind.
    pub(crate) fn coming(&self) -> Option<Even> {
        self.passed_at?;
        let even = self.buffer.coming()?;
        let mut decoders = self.decoders.iter();
        let (_, decoder) = decoders.find(|(own, _)| *own == even.payload_type)?;
        decoder.is_stateless().then_some(even)
    }

    /// How long a packet lasts that can be passed on from here without anything being left out that could
    /// be heard: what has been decoded has been played, or is quiet. `None` where it cannot, or nothing
    /// can decode it.
    pub fn can_pass(&self, packet: &Packet<'_>) -> Option<Span> {
        let is_free = self.passed_at.is_some()
            || self.sound.line.waiting() == 0
            || self.quiet >= 2
            || self.is_silent();
        is_free.then(|| self.span(packet).ok())?
    }

    /// Takes a packet that waits to be played, to be passed on before those that come: before the first
    /// [`pass`](Self::pass) until there is none.
    pub fn poll_waiting(&mut self, now: Instant) -> Option<Waiting<'_>> {
        if self.passed_at.is_some() {
            return None;
        }
        self.buffer.head()?;
        let sequence = self.buffer.next_sequence()?;
        let due = self.buffer.take(now)?;
        let clock = decoder(&mut self.decoders, due.payload_type)?.rtp_clock();
        Some(Waiting {
            passed: Passed {
                sequence,
                media_time: due.media_time,
                ticks: (due.duration * i64::from(clock) / i64::from(MEDIA_CLOCK)) as u32,
                anew: due.begins_source,
            },
            payload_type: due.payload_type,
            payload: due.payload,
        })
    }

    /// Takes note of a packet that is passed on, which lasts what [`can_pass`](Self::can_pass) has said;
    /// `None` where it is not to be, being no packet of the stream. Its sound is put into `frame` where
    /// that is easily done; true then.
    pub fn pass(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        span: Span,
        frame: &mut Frame,
    ) -> Option<(Passed, bool)> {
        if self.passed_at.is_none() {
            // What is left of it is quiet, or nothing.
            self.sound.line.skip(self.sound.line.waiting());
            self.made_up_ahead = 0;
        }
        let passed = self.buffer.pass(now, packet, span)?;
        self.passed_at = Some(now);
        self.has_begun = true;
        self.is_pausing = false;
        self.made_up = 0;
        let time = u64::from(span.ticks) * 1_000_000_000 / u64::from(span.clock);
        self.concealment.played += Duration::from_nanos(time);
        let decoder = decoder(&mut self.decoders, packet.payload_type)?;
        let sounds = decoder.is_stateless()
            && decoder.channels() == 1
            && decoder.sample_rate() == frame.rate()
            && decoder.samples_in(packet.payload) == Ok(frame.samples().len())
            && decoder.decode(packet.payload, frame.samples_mut()).is_ok();
        Some((passed, sounds))
    }

    /// Packets are not passed on any more: goes back to decoding, behind those that were passed on last,
    /// which are decoded to that end. What follows is played as soon as it comes.
    pub(super) fn end_passing(&mut self, now: Instant) {
        let Some(at) = self.passed_at.take() else {
            return;
        };
        while let Some((payload_type, duration, payload)) = self.buffer.take_kept() {
            let Some(decoder) = decoder(&mut self.decoders, payload_type) else {
                continue;
            };
            let rate = decoder.sample_rate();
            self.sound.set_rate(rate);
            (self.payload_type, self.duration) = (payload_type, duration);
            let (_, room) = self.sound.line.room(rate.hz() as usize * LONGEST_MS / 1000);
            let Ok((samples, _)) = Stereo::decode(&mut self.stereo, decoder, payload, room) else {
                continue;
            };
            let samples = samples.min(room.len());
            self.quiet = match self.sound.concealer.learn(&room[..samples]) {
                true => self.quiet + 1,
                false => 0,
            };
            self.sound.line.extend(samples, 0);
            self.sound.line.skip(samples);
        }
        if now.saturating_duration_since(at) > PAUSE {
            self.made_up = FADED;
        }
    }
}
