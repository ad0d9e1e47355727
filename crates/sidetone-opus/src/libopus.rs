//! libopus, safely: an encoder, a decoder, and all of this crate's `unsafe`.

use std::ffi::c_int;
use std::ptr::NonNull;

use opusic_sys as sys;
use sidetone::media::frame::SampleRate;

use crate::packet::{Framing, MAX_PACKET};

/// What libopus said of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpusError {
    /// Not a packet, or one of more audio than there is room for.
    #[error("not an Opus packet")]
    InvalidPacket,
    /// A value is out of its range, or a frame is none of 2.5, 5, 10, 20, 40 and 60 ms.
    #[error("a value that Opus does not take")]
    BadArgument,
    /// The output is too short.
    #[error("output too short")]
    BufferTooSmall,
    /// There is no memory.
    #[error("no memory for Opus")]
    OutOfMemory,
    /// A fault inside the library, by its number.
    #[error("libopus failed with {0}")]
    Internal(i32),
}

impl OpusError {
    fn from_code(code: c_int) -> Self {
        match code {
            sys::OPUS_INVALID_PACKET => Self::InvalidPacket,
            sys::OPUS_BAD_ARG => Self::BadArgument,
            sys::OPUS_BUFFER_TOO_SMALL => Self::BufferTooSmall,
            sys::OPUS_ALLOC_FAIL => Self::OutOfMemory,
            other => Self::Internal(other),
        }
    }
}

fn check(code: c_int) -> Result<usize, OpusError> {
    usize::try_from(code).map_err(|_| OpusError::from_code(code))
}

fn length(bytes: usize) -> Result<i32, OpusError> {
    i32::try_from(bytes).map_err(|_| OpusError::BadArgument)
}

/// How many channels a codec works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One.
    Mono,
    /// Two, interleaved.
    Stereo,
}

impl Channels {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Self::Mono => 1,
            Self::Stereo => 2,
        }
    }
}

/// Controls of an [`Encoder`], each with libopus's own meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncoderControl {
    /// Bits a second, 500 to 512,000.
    BitRate(u32),
    /// Effort, 0 to 10.
    Complexity(u8),
    /// Whether the bit rate varies with the sound.
    Vbr(bool),
    /// Whether packets carry a copy of the one before, where loss is expected.
    InBandFec(bool),
    /// Packets that are expected to be lost, 0 to 100 percent.
    PacketLoss(u8),
    /// Whether silence is left out.
    Dtx(bool),
    /// The highest sampling rate that the receiver makes use of.
    MaxPlaybackRate(u32),
    /// Deep redundancy (DRED) in each packet, in units of 10 ms, 0 to 104.
    Dred(u8),
}

impl EncoderControl {
    fn request(self) -> (c_int, c_int) {
        match self {
            Self::BitRate(rate) => (
                sys::OPUS_SET_BITRATE_REQUEST,
                rate.clamp(500, 512_000) as c_int,
            ),
            Self::Complexity(effort) => (sys::OPUS_SET_COMPLEXITY_REQUEST, effort.min(10).into()),
            Self::Vbr(on) => (sys::OPUS_SET_VBR_REQUEST, on.into()),
            Self::InBandFec(on) => (sys::OPUS_SET_INBAND_FEC_REQUEST, on.into()),
            Self::PacketLoss(percent) => (
                sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST,
                percent.min(100).into(),
            ),
            Self::Dtx(on) => (sys::OPUS_SET_DTX_REQUEST, on.into()),
            Self::MaxPlaybackRate(rate) => (sys::OPUS_SET_MAX_BANDWIDTH_REQUEST, bandwidth(rate)),
            Self::Dred(units) => (sys::OPUS_SET_DRED_DURATION_REQUEST, units.min(104).into()),
        }
    }
}

/// The audio bandwidth of a sampling rate (RFC 6716 table 1).
fn bandwidth(rate: u32) -> c_int {
    match rate {
        0..=8_000 => sys::OPUS_BANDWIDTH_NARROWBAND,
        8_001..=12_000 => sys::OPUS_BANDWIDTH_MEDIUMBAND,
        12_001..=16_000 => sys::OPUS_BANDWIDTH_WIDEBAND,
        16_001..=24_000 => sys::OPUS_BANDWIDTH_SUPERWIDEBAND,
        _ => sys::OPUS_BANDWIDTH_FULLBAND,
    }
}

/// An Opus encoder: for speech where it is mono, for music too where it is stereo. Allocates when it is made, and
/// never again.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone_opus::libopus::{Channels, Decoder, Encoder};
///
/// let mut encoder = Encoder::new(SampleRate::HZ_48000, Channels::Stereo)?;
/// let mut packet = [0; 1_275];
/// let length = encoder.encode(&[0; 2 * 960], &mut packet)?;
/// let mut decoder = Decoder::new(SampleRate::HZ_48000, Channels::Stereo)?;
/// let mut samples = [0; 2 * 960];
/// assert_eq!(decoder.decode(&packet[..length], &mut samples)?, 960);
/// # Ok::<(), sidetone_opus::libopus::OpusError>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    state: NonNull<sys::OpusEncoder>,
    rate: SampleRate,
    channels: Channels,
}

// SAFETY: libopus keeps no thread-local state; the encoder is owned, and every call that touches it
// goes through `&mut self`.
unsafe impl Send for Encoder {}

impl Encoder {
    /// An encoder of samples at `rate`.
    ///
    /// # Errors
    /// [`OpusError::OutOfMemory`].
    pub fn new(rate: SampleRate, channels: Channels) -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        let application = match channels {
            Channels::Mono => sys::OPUS_APPLICATION_VOIP,
            Channels::Stereo => sys::OPUS_APPLICATION_AUDIO,
        };
        let count = channels.count() as c_int;
        // SAFETY: all arguments are values that libopus takes, and `error` outlives the call.
        let state =
            unsafe { sys::opus_encoder_create(rate.hz() as i32, count, application, &mut error) };
        let state = NonNull::new(state).ok_or(OpusError::from_code(error))?;
        Ok(Self {
            state,
            rate,
            channels,
        })
    }

    /// The rate of the samples that it takes.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The channels that it takes.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms, interleaved where stereo, and returns the
    /// bytes written, at most 1,275 a 20 ms. One or two bytes say that nothing need be sent
    /// (discontinuous transmission).
    ///
    /// # Errors
    /// [`OpusError::BadArgument`] for another length, [`OpusError::BufferTooSmall`].
    pub fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, OpusError> {
        let frame = samples.len() / self.channels.count();
        let frames = [400, 200, 100, 50, 25];
        let whole = frames.iter().any(|n| frame * n == self.rate.hz() as usize)
            || frame * 50 == self.rate.hz() as usize * 3;
        if !whole || !samples.len().is_multiple_of(self.channels.count()) {
            return Err(OpusError::BadArgument);
        }
        if out.is_empty() {
            return Err(OpusError::BufferTooSmall);
        }
        let room = length(out.len().min(MAX_PACKET))?;
        // SAFETY: `samples` holds `frame` samples of each channel, and `out` at least `room` bytes.
        let written = unsafe {
            sys::opus_encode(
                self.state.as_ptr(),
                samples.as_ptr(),
                frame as c_int,
                out.as_mut_ptr(),
                room,
            )
        };
        check(written)
    }

    /// Changes a control; values beyond its range are limited to it.
    ///
    /// # Errors
    /// [`OpusError::Internal`] where this build of libopus lacks the control.
    pub fn set(&mut self, control: EncoderControl) -> Result<(), OpusError> {
        let (request, value) = control.request();
        // SAFETY: each of these requests takes one int by value.
        let code = unsafe { sys::opus_encoder_ctl(self.state.as_ptr(), request, value) };
        check(code).map(|_| ())
    }

    /// Goes on where `other` stands, controls included; false, and nothing has changed, where it takes another
    /// rate or other channels.
    pub fn take_over(&mut self, other: &Self) -> bool {
        let is_same = self.rate == other.rate && self.channels == other.channels;
        if is_same {
            let count = self.channels.count() as c_int;
            // SAFETY: the function reads its argument only.
            let size = unsafe { sys::opus_encoder_get_size(count) };
            let (from, to) = (other.state.as_ptr(), self.state.as_ptr());
            // SAFETY: `opus_encoder_create` took as many bytes for each of the two, which are different
            // objects; the state has no pointers but to libopus's own constant tables, and libopus's tests
            // copy it like this.
            unsafe {
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), size as usize);
            }
        }
        is_same
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: it was made by `opus_encoder_create` and is not used again.
        unsafe { sys::opus_encoder_destroy(self.state.as_ptr()) };
    }
}

/// An Opus decoder. Allocates when it is made, and never again. Packets are checked before libopus
/// sees them.
#[derive(Debug)]
pub struct Decoder {
    state: NonNull<sys::OpusDecoder>,
    rate: SampleRate,
    channels: Channels,
}

// SAFETY: as for `Encoder`.
unsafe impl Send for Decoder {}

impl Decoder {
    /// A decoder to samples at `rate`; a stereo packet for a mono decoder is mixed down.
    ///
    /// # Errors
    /// [`OpusError::OutOfMemory`].
    pub fn new(rate: SampleRate, channels: Channels) -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: all arguments are values that libopus takes, and `error` outlives the call.
        let state = unsafe {
            sys::opus_decoder_create(rate.hz() as i32, channels.count() as c_int, &mut error)
        };
        let state = NonNull::new(state).ok_or(OpusError::from_code(error))?;
        Ok(Self {
            state,
            rate,
            channels,
        })
    }

    /// The rate of the samples that it makes.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The channels that it makes.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Effort, 0 to 10: from 5 on, lost packets are made up by a neural network (deep PLC).
    ///
    /// # Errors
    /// [`OpusError::Internal`] where this build of libopus lacks the control.
    pub fn set_complexity(&mut self, effort: u8) -> Result<(), OpusError> {
        let effort = c_int::from(effort.min(10));
        let request = sys::OPUS_SET_COMPLEXITY_REQUEST;
        // SAFETY: the request takes one int by value.
        let code = unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), request, effort) };
        check(code).map(|_| ())
    }

    /// Decodes a packet and returns the samples of each channel.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], [`OpusError::BufferTooSmall`].
    pub fn decode(&mut self, packet: &[u8], out: &mut [i16]) -> Result<usize, OpusError> {
        let framing = Framing::read(packet).ok_or(OpusError::InvalidPacket)?;
        let needed = framing.samples() as usize * self.rate.hz() as usize / 48_000;
        let room = out.get_mut(..needed * self.channels.count());
        let room = room.ok_or(OpusError::BufferTooSmall)?;
        self.run(Some(packet), room, false)
    }

    /// Makes up `out` in place of a lost packet; a multiple of 2.5 ms, up to 120 ms.
    ///
    /// # Errors
    /// [`OpusError::BadArgument`] for another length.
    pub fn conceal(&mut self, out: &mut [i16]) -> Result<usize, OpusError> {
        self.check_length(out.len())?;
        self.run(None, out, false)
    }

    /// Decodes the copy that `next` carries of the packet before it into `out`, whose length is that
    /// of the lost audio; `false`, and nothing changed, where it carries none.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], [`OpusError::BadArgument`] as for [`conceal`](Self::conceal).
    pub fn recover(&mut self, next: &[u8], out: &mut [i16]) -> Result<bool, OpusError> {
        self.check_length(out.len())?;
        let framing = Framing::read(next).ok_or(OpusError::InvalidPacket)?;
        let frame = framing.frame_samples as usize * self.rate.hz() as usize / 48_000;
        if !carries_last(next) || out.len() / self.channels.count() < frame {
            return Ok(false);
        }
        self.run(Some(next), out, true).map(|_| true)
    }

    /// Forgets the stream's past; controls stay.
    pub fn reset(&mut self) {
        // SAFETY: the request takes no argument; it cannot fail.
        unsafe { sys::opus_decoder_ctl(self.state.as_ptr(), sys::OPUS_RESET_STATE) };
    }

    fn check_length(&self, samples: usize) -> Result<(), OpusError> {
        let quantum = self.rate.hz() as usize / 400 * self.channels.count();
        let whole = samples.is_multiple_of(quantum) && (1..=48).contains(&(samples / quantum));
        whole.then_some(()).ok_or(OpusError::BadArgument)
    }

    fn run(
        &mut self,
        packet: Option<&[u8]>,
        out: &mut [i16],
        fec: bool,
    ) -> Result<usize, OpusError> {
        let (data, bytes) = match packet {
            Some(packet) => (packet.as_ptr(), length(packet.len())?),
            None => (std::ptr::null(), 0),
        };
        let room = length(out.len() / self.channels.count())?;
        // SAFETY: `data` is null or holds `bytes` bytes, and `out` has room for `room` samples of
        // each channel.
        let made = unsafe {
            sys::opus_decode(
                self.state.as_ptr(),
                data,
                bytes,
                out.as_mut_ptr(),
                room,
                fec.into(),
            )
        };
        check(made)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: it was made by `opus_decoder_create` and is not used again.
        unsafe { sys::opus_decoder_destroy(self.state.as_ptr()) };
    }
}

/// Whether a packet carries a copy of the one before it (in-band FEC, RFC 6716 §2.1.7).
pub fn carries_last(packet: &[u8]) -> bool {
    let (Some(_), Ok(bytes)) = (Framing::read(packet), length(packet.len())) else {
        return false;
    };
    // SAFETY: the framing has been checked, so every length inside lies within `packet`.
    unsafe { sys::opus_packet_has_lbrr(packet.as_ptr(), bytes) == 1 }
}

/// Receives deep redundancy (DRED): a coarse copy, up to a second long, of what came before a packet.
///
/// It is found by neural networks, at about a millisecond for a packet that carries any.
#[derive(Debug)]
pub struct Dred {
    decoder: NonNull<sys::OpusDREDDecoder>,
    parsed: NonNull<sys::OpusDRED>,
}

// SAFETY: as for `Encoder`.
unsafe impl Send for Dred {}

impl Dred {
    /// A receiver. Allocates when it is made, and never again.
    ///
    /// # Errors
    /// [`OpusError::OutOfMemory`].
    pub fn new() -> Result<Self, OpusError> {
        let mut error = sys::OPUS_OK;
        // SAFETY: `error` outlives the call.
        let decoder = unsafe { sys::opus_dred_decoder_create(&mut error) };
        let decoder = NonNull::new(decoder).ok_or(OpusError::from_code(error))?;
        // SAFETY: `error` outlives the call.
        let parsed = unsafe { sys::opus_dred_alloc(&mut error) };
        let Some(parsed) = NonNull::new(parsed) else {
            // SAFETY: it was made above and is not used again.
            unsafe { sys::opus_dred_decoder_destroy(decoder.as_ptr()) };
            return Err(OpusError::from_code(error));
        };
        Ok(Self { decoder, parsed })
    }

    /// Fills `out` with the audio just before `next`, through `decoder`, as far as `next` tells of it;
    /// `false`, and nothing changed, where it does not reach so far back.
    ///
    /// # Errors
    /// [`OpusError::InvalidPacket`], [`OpusError::BadArgument`] as for [`Decoder::conceal`].
    pub fn recover(
        &mut self,
        decoder: &mut Decoder,
        next: &[u8],
        out: &mut [i16],
    ) -> Result<bool, OpusError> {
        decoder.check_length(out.len())?;
        Framing::read(next).ok_or(OpusError::InvalidPacket)?;
        let wanted = length(out.len() / decoder.channels.count())?;
        let mut end = 0;
        // What it tells begins some way before the packet, so ask for 100 ms more.
        // SAFETY: the framing of `next` has been checked; both states are live; `end` outlives the
        // call.
        let reach = unsafe {
            sys::opus_dred_parse(
                self.decoder.as_ptr(),
                self.parsed.as_ptr(),
                next.as_ptr(),
                length(next.len())?,
                wanted + decoder.rate.hz() as i32 / 10,
                decoder.rate.hz() as i32,
                &mut end,
                0,
            )
        };
        if reach < wanted {
            return Ok(false);
        }
        // SAFETY: `parsed` was filled by a parse that succeeded and processed it, and `out` has room
        // for `wanted` samples of each channel.
        let made = unsafe {
            sys::opus_decoder_dred_decode(
                decoder.state.as_ptr(),
                self.parsed.as_ptr(),
                wanted,
                out.as_mut_ptr(),
                wanted,
            )
        };
        check(made).map(|_| true)
    }
}

impl Drop for Dred {
    fn drop(&mut self) {
        // SAFETY: both were made by the library and are not used again.
        unsafe {
            sys::opus_dred_free(self.parsed.as_ptr());
            sys::opus_dred_decoder_destroy(self.decoder.as_ptr());
        }
    }
}

/// Samples of 48 kHz in a packet as libopus itself counts them after parsing it whole.
#[cfg(test)]
pub(crate) fn samples_by_library(packet: &[u8]) -> Option<usize> {
    let mut sizes = [0; 48];
    // SAFETY: `packet` is not empty, `sizes` holds the 48 that the library writes at most, and null
    // is taken for what is not asked for.
    let frames = unsafe {
        sys::opus_packet_parse(
            packet.as_ptr(),
            packet.len() as i32,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            sizes.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    let frames = usize::try_from(frames).ok()?;
    // SAFETY: the first byte is all that it reads.
    let each = unsafe { sys::opus_packet_get_samples_per_frame(packet.as_ptr(), 48_000) };
    Some(frames * each as usize)
}
