//! Audio codecs: the traits that a codec implements, and the codecs that the library carries.

pub mod cn;
pub mod g711;
pub mod g722;
pub mod l16;

use std::any::Any;

use crate::media::frame::SampleRate;
use crate::time::Duration;

/// How SDP and RTP name a codec: its `a=rtpmap` (RFC 8866 §6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpMap {
    /// The encoding name that IANA registered, such as `opus`; compared without regard to case.
    pub encoding: &'static str,
    /// Ticks a second of the RTP timestamp. For G.722 this is 8000 though it samples at 16000
    /// (RFC 3551 §4.5.2).
    pub clock_rate: u32,
    /// Channels as the payload format registers them; for Opus always 2 (RFC 7587 §7).
    pub channels: u8,
    /// The static payload type (RFC 3551 §6), or the dynamic one that is wished for where it is free;
    /// `None` for any.
    pub payload_type: Option<u8>,
}

/// What a negotiation has settled about one codec beyond its name: format parameters (`a=fmtp`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What we said of what we want to receive; empty for nothing.
    pub own: String,
    /// What the peer said of what it wants to receive; empty for nothing.
    pub peer: String,
    /// The rate at which the samples are wanted. A codec that can convert by itself at no cost (as
    /// Opus does) uses it; any other works at its own.
    pub rate: SampleRate,
}

impl Terms {
    /// Terms without parameters, at `rate`.
    pub const fn new(rate: SampleRate) -> Self {
        Self {
            own: String::new(),
            peer: String::new(),
            rate,
        }
    }
}

/// A codec as an engine offers and accepts it: its name, its parameters, and how to make the two
/// halves that do the work.
///
/// Object-safe: an engine holds an ordered list of `Arc<dyn Codec>`, and an integrator brings a
/// codec by implementing this, [`Encoder`] and [`Decoder`]. Called while calls are set up, never on
/// a media thread.
///
/// ```
/// use std::sync::Arc;
/// use sidetone::media::codec::{Codec, Terms};
/// use sidetone::media::codec::g711::Law;
///
/// let codec: Arc<dyn Codec> = Arc::new(Law::A);
/// assert_eq!(codec.rtp_map().encoding, "PCMA");
/// let mut encoder = codec.encoder(&Terms::new(codec.sample_rate()))?;
/// let mut payload = [0; 160];
/// assert_eq!(encoder.encode(&[0; 160], &mut payload), Ok(160));
/// # Ok::<(), sidetone::media::codec::CodecError>(())
/// ```
pub trait Codec: Send + Sync + std::fmt::Debug {
    /// How SDP names it.
    fn rtp_map(&self) -> RtpMap;

    /// The rate of the sound that it carries at best; rooms choose their rate by it.
    fn sample_rate(&self) -> SampleRate;

    /// The parameters that an offer of ours states, without the payload type; empty, the default,
    /// states none.
    fn fmtp(&self) -> String {
        String::new()
    }

    /// Judges the parameters that the peer states (empty where it states none), by what the codec's
    /// payload format says about offer and answer. `Some` holds what we state in an answer, by
    /// default [`fmtp`](Self::fmtp); `None` refuses the format under these parameters.
    fn answer(&self, peer: &str) -> Option<String> {
        let _ = peer;
        Some(self.fmtp())
    }

    /// The packet time to send where `wish` is asked for, 10 to 60 ms in steps of 10: the nearest
    /// below that the codec can make. By default the wish itself.
    fn packet_time(&self, wish: Duration) -> Duration {
        wish
    }

    /// Makes an encoder of what the peer wants to receive.
    ///
    /// # Errors
    /// [`CodecError::Unavailable`] where the codec cannot send, or what it needs is not to be had.
    fn encoder(&self, terms: &Terms) -> Result<Box<dyn Encoder>, CodecError>;

    /// Makes a decoder of what we want to receive.
    ///
    /// # Errors
    /// [`CodecError::Unavailable`] where what it needs is not to be had.
    fn decoder(&self, terms: &Terms) -> Result<Box<dyn Decoder>, CodecError>;
}

/// How the network treats what is sent, from the peer's RTCP reports; smoothed and bounded by the
/// sending leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Packets lost on the way to the peer, in percent.
    pub loss_percent: u8,
    /// The share of its full bit rate that an encoder should use, in percent, 100 for all of it.
    pub rate_percent: u8,
}

/// Why a codec refused its input; nothing was produced and its state is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload is not a packet of this codec: the peer's fault. Conceal in its place.
    #[error("payload is not a packet of this codec")]
    Malformed,
    /// The number of samples is none that this codec can put into a packet: the caller's mistake.
    #[error("{0} samples do not make a packet of this codec")]
    SampleCount(usize),
    /// The codec cannot be made so: it does not work in this direction, or its library failed.
    #[error("codec cannot be made")]
    Unavailable,
    /// The output slice is too short: the caller's mistake.
    #[error("output needs room for {needed}")]
    OutputTooSmall {
        /// Bytes (encoding) or samples (decoding) that the output must hold.
        needed: usize,
    },
}

/// Turns samples into the payload of RTP packets.
///
/// Object-safe, so that a leg holds a `Box<dyn Encoder>` and an integrator can bring a codec.
/// An implementation runs on a media thread once per packet: it must not allocate, lock, log, block
/// or panic after construction. One instance serves one stream and keeps that stream's state.
///
/// ```
/// use sidetone::media::codec::{CodecError, Encoder};
/// use sidetone::media::frame::SampleRate;
///
/// /// 16-bit linear audio in network byte order (RFC 3551 §4.5.11) at 8 kHz.
/// #[derive(Debug)]
/// struct L16;
///
/// impl Encoder for L16 {
///     fn sample_rate(&self) -> SampleRate {
///         SampleRate::HZ_8000
///     }
///     fn rtp_clock(&self) -> u32 {
///         8_000
///     }
///     fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
///         let needed = samples.len() * 2;
///         let out = out.get_mut(..needed).ok_or(CodecError::OutputTooSmall { needed })?;
///         for (bytes, sample) in out.chunks_exact_mut(2).zip(samples) {
///             bytes.copy_from_slice(&sample.to_be_bytes());
///         }
///         Ok(needed)
///     }
/// }
///
/// let mut payload = [0; 320];
/// assert_eq!(L16.encode(&[258; 160], &mut payload), Ok(320));
/// assert_eq!(payload[..2], [1, 2]);
/// ```
pub trait Encoder: Any + Send + std::fmt::Debug {
    /// The rate of the samples that [`encode`](Self::encode) takes.
    fn sample_rate(&self) -> SampleRate;

    /// Ticks a second of the RTP timestamp, as the payload format registers it; for G.722 not the
    /// sample rate (RFC 3551 §4.5.2).
    fn rtp_clock(&self) -> u32;

    /// Channels of the samples that [`encode`](Self::encode) takes: 1, or 2 for left and right in turn.
    /// Default 1. Where it is 2 the leg's stereo prompts are sent as such, and all that is mono on both.
    fn channels(&self) -> usize {
        1
    }

    /// Encodes one packet's worth of samples into `out` and returns the bytes written. Zero bytes
    /// mean that nothing need be sent for these samples (discontinuous transmission).
    ///
    /// # Errors
    /// [`CodecError::SampleCount`] where this codec cannot make a packet of so many samples,
    /// [`CodecError::OutputTooSmall`] where `out` cannot hold the result.
    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError>;

    /// Fits what follows to the network: in-band redundancy where packets are lost, fewer bits where
    /// there is no room for more. Codecs of one fixed rate need nothing here.
    fn adapt(&mut self, conditions: Conditions) {
        let _ = conditions;
    }

    /// Whether a packet depends on nothing but its own samples, so that any encoder of the same terms makes
    /// the same of them. Then those who hear the same are sent what one of them encodes, at any moment.
    /// Default no.
    fn is_stateless(&self) -> bool {
        false
    }

    /// Takes over the state of `other`, so that what is encoded next follows what `other` has encoded last,
    /// and returns `true`; `false`, the default, where it cannot, or `other` is of another kind. Then nothing
    /// has changed. Listeners who hear the same for some time share one encoder only where its state can be
    /// taken over when they part.
    fn take_over(&mut self, other: &dyn Encoder) -> bool {
        let _ = other;
        false
    }
}

/// Turns the payload of RTP packets into samples.
///
/// Object-safe like [`Encoder`], with the same duties on the media thread. Payloads come from the
/// network: any bytes must give samples or a [`CodecError`], never a panic.
pub trait Decoder: Send + std::fmt::Debug {
    /// The rate of the samples that [`decode`](Self::decode) makes.
    fn sample_rate(&self) -> SampleRate;

    /// Ticks a second of the RTP timestamp, as the payload format registers it; for G.722 not the
    /// sample rate (RFC 3551 §4.5.2).
    fn rtp_clock(&self) -> u32;

    /// Channels of the samples that it makes: 1, or 2 for left and right in turn. Default 1. Where it is
    /// 2, rooms hear the mean of both, and a recording may keep them apart.
    fn channels(&self) -> usize {
        1
    }

    /// The samples of each channel that `payload` will decode to (none for comfort noise), found without decoding and
    /// without changing the decoder's state; the jitter buffer asks this for every packet as it arrives.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] where the payload is no packet of this codec.
    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError>;

    /// Decodes one packet into `out` and returns the samples of each channel, as many as
    /// [`samples_in`](Self::samples_in) said. Packets come in playout order.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] for a payload that cannot be decoded,
    /// [`CodecError::OutputTooSmall`] where `out` cannot hold the result.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError>;

    /// Fills `out` with the codec's own concealment of a lost packet and returns `true`, or returns
    /// `false` where the codec has none: then pitch-based concealment takes its place.
    fn conceal(&mut self, out: &mut [i16]) -> bool {
        let _ = out;
        false
    }

    /// Makes the packet that was lost just before `next`, from what `next` says of it in-band (Opus
    /// FEC), fills `out` with it and returns `true`. Returns `false`, the default, where `next` says
    /// nothing: then the loss is concealed. Decode `next` itself afterwards.
    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        let _ = (next, out);
        false
    }

    /// Whether `payload` carries what [`recover`](Self::recover) would make the packet before it from.
    /// The jitter buffer asks it of packets behind a hole, to learn how long such copies are worth
    /// waiting for. Default no.
    fn carries_last(&self, payload: &[u8]) -> bool {
        let _ = payload;
        false
    }

    /// Whether the sender falls silent with this packet, so that nothing is lost where no packets
    /// follow: comfort noise (RFC 3389), or a codec's own word for it. Decode it like any other; a
    /// comfort-noise packet decodes to no samples, and [`conceal`](Self::conceal) then makes its
    /// noise for as long as it is asked.
    fn begins_silence(&self, payload: &[u8]) -> bool {
        let _ = payload;
        false
    }

    /// Whether a payload decodes to the same samples whatever came before it, at next to no cost: such
    /// a stream is listened to while its packets are passed on. Default no.
    fn is_stateless(&self) -> bool {
        false
    }

    /// Forgets the stream's past: another source (another SSRC) follows. Stateless codecs need nothing
    /// here.
    fn reset(&mut self) {}
}
