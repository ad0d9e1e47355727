//! G.711: A-law and µ-law, 8 kHz, 64 kbit/s (ITU-T G.711, RFC 3551 §4.5.14).

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
    for (code, &sample) in out.iter_mut().zip(samples) {
        *code = a_code(sample);
    }
}

/// Encodes `samples` as µ-law into `out`; stops at the shorter of the two.
pub fn encode_mu(samples: &[i16], out: &mut [u8]) {
    for (code, &sample) in out.iter_mut().zip(samples) {
        *code = mu_code(sample);
    }
}

/// Decodes A-law `codes` into `out`; stops at the shorter of the two.
pub fn decode_a(codes: &[u8], out: &mut [i16]) {
    for (sample, &code) in out.iter_mut().zip(codes) {
        *sample = A_SAMPLES[usize::from(code)];
    }
}

/// Decodes µ-law `codes` into `out`; stops at the shorter of the two.
pub fn decode_mu(codes: &[u8], out: &mut [i16]) {
    for (sample, &code) in out.iter_mut().zip(codes) {
        *sample = MU_SAMPLES[usize::from(code)];
    }
}

/// The A-law code of one sample.
///
/// Converting the magnitude to a float finds the segment without a branch or a table: the exponent
/// of `f32` is the segment and the top four bits of its mantissa are the step within it.
#[inline]
fn a_code(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let sign = sample >> 31;
    let magnitude = (sample ^ sign) >> 3;
    let curved = ((magnitude as f32).to_bits() >> 19) as i32 - ((127 + 4) << 4);
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        curved
    };
    (code ^ 0xD5 ^ (sign & 0x80)) as u8
}

/// The µ-law code of one sample; see [`a_code`] for the method.
#[inline]
fn mu_code(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let sign = sample >> 31;
    let magnitude = (((sample ^ sign) >> 2) + 33).min(0x1FFF);
    let code = ((magnitude as f32).to_bits() >> 19) as i32 - ((127 + 5) << 4);
    (code ^ 0xFF ^ (sign & 0x80)) as u8
}

static A_SAMPLES: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = a_sample(code as u8);
        code += 1;
    }
    table
};

static MU_SAMPLES: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = mu_sample(code as u8);
        code += 1;
    }
    table
};

/// The middle of the A-law interval that `code` names.
const fn a_sample(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code & 0x70) >> 4;
    let step = ((code & 0x0F) as i16) << 4;
    let magnitude = match segment {
        0 => step + 8,
        _ => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// The middle of the µ-law interval that `code` names.
const fn mu_sample(code: u8) -> i16 {
    let code = !code;
    let segment = (code & 0x70) >> 4;
    let biased = ((((code & 0x0F) as i16) << 3) + 0x84) << segment;
    if code & 0x80 != 0 {
        0x84 - biased
    } else {
        biased - 0x84
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G.711 table 1: (segment end, step) on the 12-bit magnitude scale of 4096, with the code
    /// counted up from zero through the 8 segments of 16 intervals.
    fn a_reference(sample: i16) -> u8 {
        let negative = sample < 0;
        let magnitude = (if negative { !sample } else { sample } as u16) >> 3;
        let mut start = 0;
        let mut code = 0;
        for segment in 0..8 {
            let step = if segment < 2 { 2 } else { 2 << (segment - 1) };
            for _ in 0..16 {
                if magnitude >= start {
                    code += 1;
                }
                start += step;
            }
        }
        let code: u8 = code - 1;
        let signed = if negative { code } else { code | 0x80 };
        signed ^ 0x55
    }

    /// G.711 table 2: decision values 0, 1, 3, 5 … 31, 35 … 8159 on the 14-bit magnitude scale.
    fn mu_reference(sample: i16) -> u8 {
        let negative = sample < 0;
        let magnitude = (if negative { !sample } else { sample } as u16) >> 2;
        let mut decision = 0;
        let mut code: u8 = 0;
        for segment in 0..8 {
            for interval in 0..16 {
                if magnitude >= decision {
                    code += 1;
                }
                let first = segment == 0 && interval == 0;
                decision += if first { 1 } else { 2 << segment };
            }
        }
        let code = code - 1;
        !if negative { code | 0x80 } else { code }
    }

    #[test]
    fn every_sample_encodes_as_the_standard_defines() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(a_code(sample), a_reference(sample), "A-law of {sample}");
            assert_eq!(mu_code(sample), mu_reference(sample), "µ-law of {sample}");
        }
    }

    #[test]
    fn every_code_decodes_to_the_middle_of_its_interval() {
        for code in 0..=255 {
            let all: Vec<i32> = (i16::MIN..=i16::MAX)
                .filter(|&s| a_code(s) == code)
                .map(i32::from)
                .collect();
            let middle = (all[0] + all[all.len() - 1] + 1) / 2;
            assert_eq!(i32::from(a_sample(code)), middle, "A-law code {code:#x}");
        }
        for code in 0..=255 {
            let sample = mu_sample(code);
            // Only the two codes of zero share a value.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(mu_code(sample), expected, "µ-law code {code:#x}");
        }
        assert_eq!(mu_sample(0x80), 32_124);
        assert_eq!(mu_sample(0x00), -32_124);
        assert_eq!(a_sample(0xAA), 32_256);
        assert_eq!(a_sample(0x2A), -32_256);
    }

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
        assert_eq!(a_code(0), Law::A.silence());
        assert_eq!(mu_code(0), Law::Mu.silence());
    }
}
