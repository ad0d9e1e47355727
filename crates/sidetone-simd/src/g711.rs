//! G.711 companding of blocks of samples (ITU-T G.711). Each kernel stops at the shorter of its slices.

use crate::twice;

twice! {
    /// Encodes `samples` as A-law into `codes`.
    pub fn encode_a(samples: &[i16], codes: &mut [u8]) => encode_a_body;
    /// Encodes `samples` as µ-law into `codes`.
    pub fn encode_mu(samples: &[i16], codes: &mut [u8]) => encode_mu_body;
}

/// Decodes A-law `codes` into `samples`.
pub fn decode_a(codes: &[u8], samples: &mut [i16]) {
    #[cfg(target_arch = "x86_64")]
    let (codes, samples) = wide::decode(codes, samples, &wide::A);
    for (sample, &code) in samples.iter_mut().zip(codes) {
        *sample = A_SAMPLES[usize::from(code)];
    }
}

/// Decodes µ-law `codes` into `samples`.
pub fn decode_mu(codes: &[u8], samples: &mut [i16]) {
    #[cfg(target_arch = "x86_64")]
    let (codes, samples) = wide::decode(codes, samples, &wide::MU);
    for (sample, &code) in samples.iter_mut().zip(codes) {
        *sample = MU_SAMPLES[usize::from(code)];
    }
}

#[inline(always)]
fn encode_a_body(samples: &[i16], codes: &mut [u8]) {
    for (code, &sample) in codes.iter_mut().zip(samples) {
        *code = a_code(sample);
    }
}

#[inline(always)]
fn encode_mu_body(samples: &[i16], codes: &mut [u8]) {
    for (code, &sample) in codes.iter_mut().zip(samples) {
        *code = mu_code(sample);
    }
}

/// The A-law code of one sample.
///
/// Converting the magnitude to a float finds the segment without a branch or a table: the exponent
/// of `f32` is the segment and the top four bits of its mantissa are the step within it. Below 32
/// the curve is a line.
#[inline(always)]
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
#[inline(always)]
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

#[cfg(target_arch = "x86_64")]
mod wide {
    //! Decoding sixteen codes at a time: the step and the segment's factor are looked up by one shuffle
    //! each, and multiplied.

    use std::arch::x86_64::*;

    /// How a law's codes become samples: with the bits of `flip` turned over,
    /// `(((step << STEP) + offset[segment]) * factor[segment] << SHIFT) - bias`, the sign apart.
    pub(super) struct Law<const STEP: i32, const SHIFT: i32> {
        flip: u8,
        offset: [u8; 16],
        factor: [u8; 16],
        bias: i16,
    }

    pub(super) static A: Law<1, 3> = Law {
        flip: 0x55,
        offset: [1, 33, 33, 33, 33, 33, 33, 33, 0, 0, 0, 0, 0, 0, 0, 0],
        factor: [1, 1, 2, 4, 8, 16, 32, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        bias: 0,
    };

    pub(super) static MU: Law<3, 0> = Law {
        flip: 0x7F,
        offset: [0x84; 16],
        factor: [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0],
        bias: 0x84,
    };

    /// Decodes as many whole blocks as there are, where the processor has AVX2, and gives the rest back.
    #[inline]
    pub(super) fn decode<'a, const STEP: i32, const SHIFT: i32>(
        codes: &'a [u8],
        samples: &'a mut [i16],
        law: &Law<STEP, SHIFT>,
    ) -> (&'a [u8], &'a mut [i16]) {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return (codes, samples);
        }
        let (blocks, _) = codes.as_chunks();
        let (out, _) = samples.as_chunks_mut();
        let count = blocks.len().min(out.len());
        // SAFETY: the processor has just said that it has AVX2, all that `decode_blocks` asks for.
        unsafe { decode_blocks(&blocks[..count], &mut out[..count], law) };
        (&codes[count * 16..], &mut samples[count * 16..])
    }

    #[target_feature(enable = "avx2")]
    fn decode_blocks<const STEP: i32, const SHIFT: i32>(
        blocks: &[[u8; 16]],
        out: &mut [[i16; 16]],
        law: &Law<STEP, SHIFT>,
    ) {
        let low = _mm_set1_epi8(0x0F);
        let segments = _mm_set1_epi8(0x07);
        let flip = _mm_set1_epi8(law.flip as i8);
        let (offsets, factors) = (load(&law.offset), load(&law.factor));
        let (bias, one) = (_mm256_set1_epi16(law.bias), _mm256_set1_epi16(1));
        for (block, out) in blocks.iter().zip(out) {
            let sent = load(block);
            let code = _mm_xor_si128(sent, flip);
            let segment = _mm_and_si128(_mm_srli_epi16::<4>(code), segments);
            let step = _mm_slli_epi16::<STEP>(_mm_and_si128(code, low));
            let step = _mm_add_epi8(step, _mm_shuffle_epi8(offsets, segment));
            let factor = _mm_shuffle_epi8(factors, segment);
            let product =
                _mm256_mullo_epi16(_mm256_cvtepu8_epi16(step), _mm256_cvtepu8_epi16(factor));
            let negative = _mm256_sub_epi16(bias, _mm256_slli_epi16::<SHIFT>(product));
            // The top bit says positive; as a number with its sign it is below zero.
            let sign = _mm256_or_si256(_mm256_cvtepi8_epi16(sent), one);
            store(out, _mm256_sign_epi16(negative, sign));
        }
    }

    #[target_feature(enable = "avx2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: the array holds the 16 bytes that are read, and the load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    fn store(out: &mut [i16; 16], samples: __m256i) {
        // SAFETY: the array holds the 32 bytes that are written, and the store asks for no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), samples) }
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
    fn every_code_decodes_as_its_table_says_at_every_place() {
        for len in [1, 15, 16, 17, 31, 32, 160, 256] {
            for code in 0..=u8::MAX {
                let codes: Vec<u8> = (0..len).map(|i| code.wrapping_add(i as u8)).collect();
                let mut samples = vec![0; len];
                decode_a(&codes, &mut samples);
                let expected: Vec<i16> = codes.iter().map(|&code| a_sample(code)).collect();
                assert_eq!(samples, expected, "A-law from {code:#x}");
                decode_mu(&codes, &mut samples);
                let expected: Vec<i16> = codes.iter().map(|&code| mu_sample(code)).collect();
                assert_eq!(samples, expected, "µ-law from {code:#x}");
            }
        }
    }

    #[test]
    fn every_sample_encodes_the_same_on_every_processor() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let (mut ours, mut plain) = (vec![0; samples.len()], vec![0; samples.len()]);
        encode_a(&samples, &mut ours);
        encode_a_body(&samples, &mut plain);
        assert_eq!(ours, plain);
        encode_mu(&samples, &mut ours);
        encode_mu_body(&samples, &mut plain);
        assert_eq!(ours, plain);
    }

    #[test]
    fn slices_of_unequal_length_are_taken_to_the_shorter() {
        let mut samples = [7; 20];
        decode_mu(&[0xFF; 40], &mut samples);
        assert_eq!(samples, [0; 20]);
        decode_a(&[0xD5; 18], &mut samples);
        assert_eq!(samples[17..], [8, 0, 0]);
        let mut codes = [0; 3];
        encode_mu(&[0; 2], &mut codes);
        assert_eq!(codes, [0xFF, 0xFF, 0]);
    }
}
