//! G.711, written apart from the library's own so that neither can hide the other's faults.

/// A-law or µ-law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    A,
    Mu,
}

impl Law {
    /// The static RTP payload type.
    pub(crate) fn payload_type(self) -> u8 {
        match self {
            Self::A => 8,
            Self::Mu => 0,
        }
    }

    /// The law of a static payload type.
    pub(crate) fn of(payload_type: u8) -> Option<Self> {
        [Self::A, Self::Mu]
            .into_iter()
            .find(|law| law.payload_type() == payload_type)
    }

    /// One byte's sample.
    pub(crate) fn decode(self, byte: u8) -> i16 {
        match self {
            Self::A => decode_a(byte),
            Self::Mu => decode_mu(byte),
        }
    }

    /// The byte for a sample.
    pub(crate) fn encode(self, sample: i16) -> u8 {
        let negative = if sample < 0 { 0x80 } else { 0 };
        let magnitude = i32::from(sample).abs().min(32_635);
        match self {
            Self::A => (segment(magnitude, 1) | negative) ^ 0xD5,
            Self::Mu => !(segment(magnitude + 132, 0) | negative),
        }
    }
}

/// Three bits of segment and four bits inside it; segments up to `linear` have steps of one size.
fn segment(value: i32, linear: u8) -> u8 {
    let exponent = (24 - (value | 0xFF).leading_zeros()) as u8;
    let mantissa = value >> (exponent.max(linear) + 3) & 0x0F;
    exponent << 4 | mantissa as u8
}

fn decode_a(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let exponent = i32::from(byte >> 4 & 7);
    let mantissa = i32::from(byte & 0x0F);
    let magnitude = match exponent {
        0 => mantissa << 4 | 8,
        _ => (mantissa << 4 | 0x108) << (exponent - 1),
    };
    (if byte & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

fn decode_mu(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = i32::from(byte >> 4 & 7);
    let magnitude = ((i32::from(byte & 0x0F) << 3 | 0x84) << exponent) - 0x84;
    (if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_full_scale_have_their_known_bytes() {
        assert_eq!(Law::Mu.encode(0), 0xFF);
        assert_eq!(Law::A.encode(0), 0xD5);
        assert_eq!(Law::Mu.encode(i16::MAX), 0x80);
        assert_eq!(Law::A.encode(i16::MAX), 0xAA);
        assert_eq!(Law::Mu.decode(0x80), 32_124);
        assert_eq!(Law::A.decode(0xAA), 32_256);
    }

    #[test]
    fn every_byte_survives_decoding_and_encoding() {
        for law in [Law::A, Law::Mu] {
            for byte in 0..=255 {
                let sample = law.decode(byte);
                // Negative zero of the µ-law is the one value with two bytes.
                let expected = if law == Law::Mu && byte == 0x7F {
                    0xFF
                } else {
                    byte
                };
                assert_eq!(law.encode(sample), expected, "{law:?} {byte:#04x} {sample}");
            }
        }
    }
}
