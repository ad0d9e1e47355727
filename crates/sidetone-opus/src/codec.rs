//! Opus as a codec that an engine offers and accepts.

use std::any::Any;

use sidetone::media::codec::{self, CodecError, Conditions, Decoder, Encoder, RtpMap, Terms};
use sidetone::media::frame::SampleRate;
use sidetone::time::Duration;

use crate::fmtp::Parameters;
use crate::libopus::{self, Channels, Dred, EncoderControl, OpusError};
use crate::packet::Framing;

/// Opus under an RTP clock of 48 kHz (RFC 7587 §4.1): mono both ways, a peer's stereo being mixed down, or
/// [stereo](Self::stereo).
///
/// ```
/// use sidetone::media::codec::{Codec, Terms};
/// use sidetone::media::frame::SampleRate;
/// use sidetone_opus::codec::Opus;
///
/// let opus = Opus::new().bit_rate(32_000);
/// assert_eq!(opus.fmtp(), "useinbandfec=1");
/// let mut encoder = opus.encoder(&Terms::new(SampleRate::HZ_48000))?;
/// let mut packet = [0; 1_275];
/// assert!(encoder.encode(&[0; 960], &mut packet)? > 0);
/// # Ok::<(), sidetone::media::codec::CodecError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opus {
    rate: SampleRate,
    stereo: bool,
    bit_rate: Option<u32>,
    receive_bit_rate: Option<u32>,
    complexity: u8,
    decoder_complexity: u8,
    constant_bit_rate: bool,
    in_band_fec: bool,
    dtx: bool,
    dred: bool,
}

impl Default for Opus {
    fn default() -> Self {
        Self::new()
    }
}

impl Opus {
    /// Mono Opus at 48 kHz, 32 kbit/s and variable bit rate, complexity 5 both ways, with in-band FEC
    /// where loss is reported, without DTX and without deep redundancy.
    pub const fn new() -> Self {
        Self {
            rate: SampleRate::HZ_48000,
            stereo: false,
            bit_rate: None,
            receive_bit_rate: None,
            complexity: 5,
            decoder_complexity: 5,
            constant_bit_rate: false,
            in_band_fec: true,
            dtx: false,
            dred: false,
        }
    }

    /// The highest rate of sound that is sent, asked for, and brought into a room. Default 48 kHz;
    /// 16 kHz halves the cost of a call.
    #[must_use]
    pub const fn sample_rate(mut self, rate: SampleRate) -> Self {
        self.rate = rate;
        self
    }

    /// Whether to ask for stereo (`stereo`), to announce it (`sprop-stereo`), and to send it where the peer
    /// asks for it; a peer that does not is sent mono. Stereo prompts that are played to such a call alone
    /// arrive as they are; rooms are mono. What the peer sends in stereo can be recorded so. Costs about as
    /// much again as mono, both ways. Default no.
    #[must_use]
    pub const fn stereo(mut self, on: bool) -> Self {
        self.stereo = on;
        self
    }

    /// Bits a second that are sent while nothing asks for fewer, 6,000 to 510,000. Default 32,000, and
    /// 64,000 where stereo is sent. A peer's `maxaveragebitrate` is kept to.
    #[must_use]
    pub fn bit_rate(mut self, bit_rate: u32) -> Self {
        self.bit_rate = Some(bit_rate.clamp(6_000, 510_000));
        self
    }

    /// Bits a second that the peer is asked to send at most on average (`maxaveragebitrate`), 6,000 to
    /// 510,000. Default none: the peer decides.
    #[must_use]
    pub fn receive_bit_rate(mut self, bit_rate: u32) -> Self {
        self.receive_bit_rate = Some(bit_rate.clamp(6_000, 510_000));
        self
    }

    /// The encoder's effort, 0 to 10. Default 5: about 130 µs for 20 ms.
    #[must_use]
    pub fn complexity(mut self, complexity: u8) -> Self {
        self.complexity = complexity.min(10);
        self
    }

    /// The decoder's effort, 0 to 10. Default 5: lost packets are made up by a neural network (deep
    /// PLC), at about 340 µs for each 20 ms; below 5 by the older method, which costs little.
    #[must_use]
    pub fn decoder_complexity(mut self, complexity: u8) -> Self {
        self.decoder_complexity = complexity.min(10);
        self
    }

    /// Whether to send, and ask for, a constant bit rate, which tells an eavesdropper less
    /// (RFC 6562). Default no.
    #[must_use]
    pub const fn constant_bit_rate(mut self, on: bool) -> Self {
        self.constant_bit_rate = on;
        self
    }

    /// Whether to ask for in-band FEC, and to send it where the peer asks for it and loses packets.
    /// Default yes.
    #[must_use]
    pub const fn in_band_fec(mut self, on: bool) -> Self {
        self.in_band_fec = on;
        self
    }

    /// Whether to ask for silence to be left out. What we send leaves it out where the peer asks
    /// for it. Default no.
    #[must_use]
    pub const fn dtx(mut self, on: bool) -> Self {
        self.dtx = on;
        self
    }

    /// Whether deep redundancy (DRED) that a peer sends is used; about a millisecond of computing
    /// and 200 kB of memory a call that has it. Default no.
    #[must_use]
    pub const fn dred(mut self, on: bool) -> Self {
        self.dred = on;
        self
    }

    fn parameters(&self) -> Parameters {
        let rate = (self.rate != SampleRate::HZ_48000).then_some(self.rate.hz());
        Parameters {
            max_playback_rate: rate,
            max_capture_rate: rate,
            max_average_bit_rate: self.receive_bit_rate,
            stereo: self.stereo,
            sends_stereo: self.stereo,
            constant_bit_rate: self.constant_bit_rate,
            in_band_fec: self.in_band_fec,
            dtx: self.dtx,
        }
    }
}

impl codec::Codec for Opus {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "opus",
            clock_rate: 48_000,
            channels: 2,
            payload_type: Some(111),
        }
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn fmtp(&self) -> String {
        self.parameters().to_string()
    }

    fn packet_time(&self, wish: Duration) -> Duration {
        let frames = [60, 40, 20].map(Duration::from_millis);
        let fitting = frames.into_iter().find(|frame| *frame <= wish);
        fitting.unwrap_or(Duration::from_millis(10))
    }

    fn encoder(&self, terms: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        let theirs = Parameters::parse(&terms.peer);
        let rate = self.rate.min(terms.rate);
        let most = theirs.max_average_bit_rate.unwrap_or(u32::MAX);
        let (channels, usual) = match self.stereo && theirs.stereo {
            true => (Channels::Stereo, 64_000),
            false => (Channels::Mono, 32_000),
        };
        let encoder = OpusEncoder {
            inner: libopus::Encoder::new(rate, channels).map_err(of_making)?,
            bit_rate: self.bit_rate.unwrap_or(usual).min(most).max(6_000),
            in_band_fec: self.in_band_fec && theirs.in_band_fec,
            in_dtx: false,
            dtx: theirs.dtx,
        };
        let vbr = !self.constant_bit_rate && !theirs.constant_bit_rate;
        let playback = theirs.max_playback_rate.unwrap_or(48_000);
        encoder.prepared(&[
            EncoderControl::Complexity(self.complexity),
            EncoderControl::Vbr(vbr),
            EncoderControl::Dtx(theirs.dtx),
            EncoderControl::MaxPlaybackRate(playback),
        ])
    }

    fn decoder(&self, terms: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        let rate = self.rate.min(terms.rate);
        // Whatever the peer announces (`sprop-stereo` is no more than likely), we have asked for stereo.
        let channels = match self.stereo {
            true => Channels::Stereo,
            false => Channels::Mono,
        };
        let mut inner = libopus::Decoder::new(rate, channels).map_err(of_making)?;
        inner
            .set_complexity(self.decoder_complexity)
            .map_err(of_making)?;
        let dred = self.dred.then(Dred::new).transpose().map_err(of_making)?;
        Ok(Box::new(OpusDecoder {
            inner,
            dred,
            spare: [0; SPARE],
            spare_at: SPARE,
        }))
    }
}

fn of_making(_: OpusError) -> CodecError {
    CodecError::Unavailable
}

#[derive(Debug)]
struct OpusEncoder {
    inner: libopus::Encoder,
    /// What is sent while the network has room for it.
    bit_rate: u32,
    in_band_fec: bool,
    dtx: bool,
    in_dtx: bool,
}

impl OpusEncoder {
    fn prepared(mut self, controls: &[EncoderControl]) -> Result<Box<dyn Encoder>, CodecError> {
        let own = [
            EncoderControl::BitRate(self.bit_rate),
            EncoderControl::InBandFec(self.in_band_fec),
        ];
        for control in controls.iter().chain(&own) {
            self.inner.set(*control).map_err(of_making)?;
        }
        Ok(Box::new(self))
    }
}

impl Encoder for OpusEncoder {
    fn sample_rate(&self) -> SampleRate {
        self.inner.rate()
    }

    fn channels(&self) -> usize {
        self.inner.channels().count()
    }

    fn rtp_clock(&self) -> u32 {
        48_000
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let written = self
            .inner
            .encode(samples, out)
            .map_err(|error| match error {
                OpusError::BufferTooSmall => CodecError::OutputTooSmall { needed: 1_275 },
                _ => CodecError::SampleCount(samples.len()),
            })?;
        // The first packet of a pause is sent, so that the peer knows that what follows is not lost.
        let nothing_new = self.dtx && written <= 2;
        let was_in_dtx = std::mem::replace(&mut self.in_dtx, nothing_new);
        Ok(if nothing_new && was_in_dtx {
            0
        } else {
            written
        })
    }

    fn adapt(&mut self, conditions: Conditions) {
        let share = u32::from(conditions.rate_percent.min(100));
        let bit_rate = (self.bit_rate / 100 * share).max(6_000);
        let loss = if self.in_band_fec {
            conditions.loss_percent
        } else {
            0
        };
        // Neither can fail: the values are in range.
        let _ = self.inner.set(EncoderControl::BitRate(bit_rate));
        let _ = self.inner.set(EncoderControl::PacketLoss(loss));
    }

    fn take_over(&mut self, other: &dyn Encoder) -> bool {
        let other: &dyn Any = other;
        let Some(other) = other.downcast_ref::<Self>() else {
            return false;
        };
        let is_same = (self.bit_rate, self.in_band_fec, self.dtx)
            == (other.bit_rate, other.in_band_fec, other.dtx);
        let is_taken = is_same && self.inner.take_over(&other.inner);
        if is_taken {
            self.in_dtx = other.in_dtx;
        }
        is_taken
    }
}

/// The samples that are made up at once at most beyond what is asked for: 2.5 ms at 48 kHz of two channels.
const SPARE: usize = 240;

#[derive(Debug)]
struct OpusDecoder {
    inner: libopus::Decoder,
    dred: Option<Dred>,
    /// What was made up beyond what was asked for waits here, from `spare_at` on.
    spare: [i16; SPARE],
    spare_at: usize,
}

impl OpusDecoder {
    /// Samples of all channels in 2.5 ms.
    fn quantum(&self) -> usize {
        self.inner.rate().hz() as usize / 400 * self.inner.channels().count()
    }
}

impl Decoder for OpusDecoder {
    fn sample_rate(&self) -> SampleRate {
        self.inner.rate()
    }

    fn channels(&self) -> usize {
        self.inner.channels().count()
    }

    fn rtp_clock(&self) -> u32 {
        48_000
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        let framing = Framing::read(payload).ok_or(CodecError::Malformed)?;
        Ok(framing.samples() as usize * self.inner.rate().hz() as usize / 48_000)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = self.samples_in(payload)? * self.inner.channels().count();
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        self.spare_at = SPARE;
        self.inner
            .decode(payload, out)
            .map_err(|_| CodecError::Malformed)
    }

    fn conceal(&mut self, out: &mut [i16]) -> bool {
        let waiting = (SPARE - self.spare_at).min(out.len());
        let (first, rest) = out.split_at_mut(waiting);
        first.copy_from_slice(&self.spare[self.spare_at..self.spare_at + waiting]);
        self.spare_at += waiting;
        let quantum = self.quantum();
        let whole = rest.len() / quantum * quantum;
        let (whole, rest) = rest.split_at_mut(whole);
        for piece in whole.chunks_mut(48 * quantum) {
            if self.inner.conceal(piece).is_err() {
                return false;
            }
        }
        if rest.is_empty() {
            return true;
        }
        let start = SPARE - quantum;
        if self.inner.conceal(&mut self.spare[start..]).is_err() {
            return false;
        }
        rest.copy_from_slice(&self.spare[start..start + rest.len()]);
        self.spare_at = start + rest.len();
        true
    }

    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        let copied = self.inner.recover(next, out) == Ok(true);
        let recovered = copied
            || self
                .dred
                .as_mut()
                .is_some_and(|dred| dred.recover(&mut self.inner, next, out) == Ok(true));
        if recovered {
            self.spare_at = SPARE;
        }
        recovered
    }

    fn carries_last(&self, payload: &[u8]) -> bool {
        libopus::carries_last(payload)
    }

    fn begins_silence(&self, payload: &[u8]) -> bool {
        payload.len() <= 2
    }

    fn reset(&mut self) {
        self.inner.reset();
        self.spare_at = SPARE;
    }
}

#[cfg(test)]
mod tests;
