//! L16: 16-bit linear audio in network byte order, one channel (RFC 3551 §4.5.11).

use crate::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use crate::media::frame::SampleRate;
use crate::time::Duration;

/// L16 at 8, 16 or 48 kHz as an engine offers and accepts it, under a dynamic payload type; the static
/// ones are those of 44.1 kHz, which rooms do not have.
///
/// Packets at 48 kHz last 10 ms, so that they fit into what networks carry in one piece.
///
/// ```
/// use sidetone::media::codec::Codec;
/// use sidetone::media::codec::l16::L16;
/// use sidetone::media::frame::SampleRate;
/// assert_eq!(L16::new(SampleRate::HZ_16000).rtp_map().clock_rate, 16_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L16 {
    rate: SampleRate,
}

impl L16 {
    /// L16 at `rate`.
    pub const fn new(rate: SampleRate) -> Self {
        Self { rate }
    }
}

/// The longest payload that is sent: an Ethernet frame less IP, UDP, RTP and SRTP.
const MAX_PAYLOAD: u64 = 1_400;

impl Codec for L16 {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "L16",
            clock_rate: self.rate.hz(),
            channels: 1,
            payload_type: None,
        }
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn packet_time(&self, wish: Duration) -> Duration {
        let step = Duration::from_millis(10);
        let most = MAX_PAYLOAD / 2 / self.rate.samples_in(step);
        wish.min(step * u32::try_from(most).unwrap_or(1)).max(step)
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(*self))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(*self))
    }
}

impl Encoder for L16 {
    fn is_stateless(&self) -> bool {
        true
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn rtp_clock(&self) -> u32 {
        self.rate.hz()
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let needed = samples.len() * 2;
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        for (bytes, sample) in out.as_chunks_mut().0.iter_mut().zip(samples) {
            *bytes = sample.to_be_bytes();
        }
        Ok(needed)
    }
}

impl Decoder for L16 {
    fn is_stateless(&self) -> bool {
        true
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn rtp_clock(&self) -> u32 {
        self.rate.hz()
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        if payload.is_empty() || !payload.len().is_multiple_of(2) {
            return Err(CodecError::Malformed);
        }
        Ok(payload.len() / 2)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = Decoder::samples_in(self, payload)?;
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        for (sample, bytes) in out.iter_mut().zip(payload.as_chunks().0) {
            *sample = i16::from_be_bytes(*bytes);
        }
        Ok(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_travel_in_network_byte_order() {
        let mut codec = L16::new(SampleRate::HZ_16000);
        let mut payload = [0; 6];
        assert_eq!(codec.encode(&[258, -1, i16::MIN], &mut payload), Ok(6));
        assert_eq!(payload, [1, 2, 0xFF, 0xFF, 0x80, 0]);
        let mut samples = [0; 3];
        assert_eq!(codec.decode(&payload, &mut samples), Ok(3));
        assert_eq!(samples, [258, -1, i16::MIN]);
        assert_eq!(codec.samples_in(&[1]), Err(CodecError::Malformed));
        assert_eq!(codec.samples_in(&[]), Err(CodecError::Malformed));
        let short = Err(CodecError::OutputTooSmall { needed: 3 });
        assert_eq!(codec.decode(&payload, &mut [0; 2]), short);
    }

    #[test]
    fn packets_fit_into_one_datagram() {
        let sixty = Duration::from_millis(60);
        for (rate, millis) in [
            (SampleRate::HZ_8000, 60),
            (SampleRate::HZ_16000, 40),
            (SampleRate::HZ_48000, 10),
        ] {
            let codec = L16::new(rate);
            assert_eq!(codec.packet_time(sixty), Duration::from_millis(millis));
            let ten = Duration::from_millis(10);
            assert_eq!(codec.packet_time(ten), ten);
        }
    }
}
