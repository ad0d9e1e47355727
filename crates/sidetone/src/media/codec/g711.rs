//! G.711: A-law and µ-law, 8 kHz, 64 kbit/s (ITU-T G.711, RFC 3551 §4.5.14).

use sidetone_simd::g711;

use crate::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use crate::media::frame::SampleRate;

/// The two companding laws of G.711; as [`Codec`]s they are PCMA and PCMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// A-law, static payload type 8 (PCMA).
    A,
    /// µ-law, static payload type 0 (PCMU).
    Mu,
}

impl Law {
    /// The code of digital silence: what a zero sample encodes to.
    pub const fn silence(self) -> u8 {
        match self {
            Self::A => 0xD5,
            Self::Mu => 0xFF,
        }
    }
}

impl Codec for Law {
    fn rtp_map(&self) -> RtpMap {
        let (encoding, payload_type) = match self {
            Self::A => ("PCMA", 8),
            Self::Mu => ("PCMU", 0),
        };
        RtpMap {
            encoding,
            clock_rate: 8_000,
            channels: 1,
            payload_type: Some(payload_type),
        }
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(G711::new(*self)))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(G711::new(*self)))
    }
}

/// Encodes samples as G.711; stateless, one byte a sample, packets of any length.
///
/// ```
/// use sidetone::media::codec::{Decoder, Encoder};
/// use sidetone::media::codec::g711::{G711, Law};
///
/// let mut codec = G711::new(Law::A);
/// let mut payload = [0; 160];
/// assert_eq!(codec.encode(&[1000; 160], &mut payload), Ok(160));
/// let mut samples = [0; 160];
/// assert_eq!(codec.decode(&payload, &mut samples), Ok(160));
/// assert_eq!(samples[0], 1008);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G711 {
    law: Law,
}

impl G711 {
    /// A codec of `law`, usable in both directions.
    pub const fn new(law: Law) -> Self {
        Self { law }
    }
}

impl Encoder for G711 {
    fn is_stateless(&self) -> bool {
        true
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let needed = samples.len();
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        match self.law {
            Law::A => encode_a(samples, out),
            Law::Mu => encode_mu(samples, out),
        }
        Ok(needed)
    }
}

impl Decoder for G711 {
    fn is_stateless(&self) -> bool {
        true
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Malformed);
        }
        Ok(payload.len())
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = self.samples_in(payload)?;
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        match self.law {
            Law::A => decode_a(payload, out),
            Law::Mu => decode_mu(payload, out),
        }
        Ok(needed)
    }
}

/// Encodes `samples` as A-law into `out`; stops at the shorter of the two.
pub fn encode_a(samples: &[i16], out: &mut [u8]) {
    g711::encode_a(samples, out);
}

/// Encodes `samples` as µ-law into `out`; stops at the shorter of the two.
pub fn encode_mu(samples: &[i16], out: &mut [u8]) {
    g711::encode_mu(samples, out);
}

/// Decodes A-law `codes` into `out`; stops at the shorter of the two.
pub fn decode_a(codes: &[u8], out: &mut [i16]) {
    g711::decode_a(codes, out);
}

/// Decodes µ-law `codes` into `out`; stops at the shorter of the two.
pub fn decode_mu(codes: &[u8], out: &mut [i16]) {
    g711::decode_mu(codes, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_check_their_lengths() {
        let mut codec = G711::new(Law::Mu);
        assert_eq!(codec.decode(&[], &mut [0; 10]), Err(CodecError::Malformed));
        let short = Err(CodecError::OutputTooSmall { needed: 3 });
        assert_eq!(codec.decode(&[1, 2, 3], &mut [0; 2]), short);
        assert_eq!(codec.encode(&[1, 2, 3], &mut [0; 2]), short);
        assert_eq!(codec.encode(&[0], &mut [1; 2]), Ok(1));
    }

    #[test]
    fn silence_codes() {
        for law in [Law::A, Law::Mu] {
            let mut code = [0];
            assert_eq!(G711::new(law).encode(&[0], &mut code), Ok(1));
            assert_eq!(code, [law.silence()]);
        }
    }
}
