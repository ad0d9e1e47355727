//! Audio codecs: the traits that a codec implements, and G.711.

pub mod g711;

use crate::media::frame::SampleRate;

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
pub trait Encoder: Send + std::fmt::Debug {
    /// The rate of the samples that [`encode`](Self::encode) takes.
    fn sample_rate(&self) -> SampleRate;

    /// Ticks a second of the RTP timestamp, as the payload format registers it; for G.722 not the
    /// sample rate (RFC 3551 §4.5.2).
    fn rtp_clock(&self) -> u32;

    /// Encodes one packet's worth of samples into `out` and returns the bytes written. Zero bytes
    /// mean that nothing need be sent for these samples (discontinuous transmission).
    ///
    /// # Errors
    /// [`CodecError::SampleCount`] where this codec cannot make a packet of so many samples,
    /// [`CodecError::OutputTooSmall`] where `out` cannot hold the result.
    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError>;

    /// Forgets the stream's past, as after a pause or a change of speaker. Stateless codecs need
    /// nothing here.
    fn reset(&mut self) {}
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

    /// The samples that `payload` will decode to, found without decoding and without changing the
    /// decoder's state; the jitter buffer asks this for every packet as it arrives.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] where the payload is no packet of this codec.
    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError>;

    /// Decodes one packet into `out` and returns the samples written, as many as
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

    /// Forgets the stream's past, as after a change of source. Stateless codecs need nothing here.
    fn reset(&mut self) {}
}
