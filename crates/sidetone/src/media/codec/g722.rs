//! G.722: wide band in 64 kbit/s by sub-band ADPCM (ITU-T G.722 mode 1, RFC 3551 §4.5.2).

use std::any::Any;

use crate::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use crate::media::frame::SampleRate;

/// G.722 as an engine offers and accepts it: 16 kHz sound under an RTP clock that says 8 kHz, by an
/// error of long ago that RFC 3551 §4.5.2 keeps; static payload type 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct G722;

const RTP_CLOCK: u32 = 8_000;

impl Codec for G722 {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "G722",
            clock_rate: RTP_CLOCK,
            channels: 1,
            payload_type: Some(9),
        }
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(Box::new(G722Encoder::new()))
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(G722Decoder::new()))
    }
}

/// Encodes pairs of samples into bytes.
///
/// ```
/// use sidetone::media::codec::{Decoder, Encoder};
/// use sidetone::media::codec::g722::{G722Decoder, G722Encoder};
///
/// let mut payload = [0; 160];
/// assert_eq!(G722Encoder::new().encode(&[0; 320], &mut payload), Ok(160));
/// let mut samples = [0; 320];
/// assert_eq!(G722Decoder::new().decode(&payload, &mut samples), Ok(320));
/// ```
#[derive(Debug, Clone)]
pub struct G722Encoder {
    mirror: Mirror,
    low: Band,
    high: Band,
}

/// Decodes bytes into pairs of samples.
#[derive(Debug, Clone)]
pub struct G722Decoder {
    mirror: Mirror,
    low: Band,
    high: Band,
}

impl G722Encoder {
    /// An encoder at rest.
    pub const fn new() -> Self {
        Self {
            mirror: Mirror::new(),
            low: Band::new(LOW_STEP),
            high: Band::new(HIGH_STEP),
        }
    }

    /// One byte for a pair of samples.
    #[inline]
    fn code(&mut self, first: i16, second: i16) -> u8 {
        let (even, odd) = self.mirror.turn(first.into(), second.into());
        let low = self.low.quantise_low((odd + even) >> 14);
        let high = self.high.quantise_high((odd - even) >> 14);
        (high << 6 | low) as u8
    }
}

impl Default for G722Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder for G722Encoder {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn rtp_clock(&self) -> u32 {
        RTP_CLOCK
    }

    fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        if !samples.len().is_multiple_of(2) {
            return Err(CodecError::SampleCount(samples.len()));
        }
        let needed = samples.len() / 2;
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        let pairs = samples.as_chunks::<2>().0;
        for (code, &[first, second]) in out.iter_mut().zip(pairs) {
            *code = self.code(first, second);
        }
        Ok(needed)
    }

    fn take_over(&mut self, other: &dyn Encoder) -> bool {
        let other: &dyn Any = other;
        let other = other.downcast_ref::<Self>();
        other.map(|other| self.clone_from(other)).is_some()
    }
}

impl G722Decoder {
    /// A decoder at rest.
    pub const fn new() -> Self {
        Self {
            mirror: Mirror::new(),
            low: Band::new(LOW_STEP),
            high: Band::new(HIGH_STEP),
        }
    }

    /// The pair of samples of one byte.
    #[inline]
    fn pair(&mut self, code: u8) -> [i16; 2] {
        let low = self.low.reconstruct_low(usize::from(code & 0x3F));
        let high = self.high.reconstruct_high(usize::from(code >> 6));
        let (even, odd) = self.mirror.turn(low + high, low - high);
        [odd, even].map(|sample| saturate(sample >> 11) as i16)
    }
}

impl Default for G722Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for G722Decoder {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn rtp_clock(&self) -> u32 {
        RTP_CLOCK
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Malformed);
        }
        Ok(payload.len() * 2)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let needed = self.samples_in(payload)?;
        let out = out
            .get_mut(..needed)
            .ok_or(CodecError::OutputTooSmall { needed })?;
        for (pair, &code) in out.as_chunks_mut::<2>().0.iter_mut().zip(payload) {
            *pair = self.pair(code);
        }
        Ok(needed)
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// Scale factors at rest (table 18).
const LOW_STEP: i32 = 32;
const HIGH_STEP: i32 = 8;

/// Half of the mirror filter's 24 coefficients, table 11; the other half is its image.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Where the history begins anew: it moves to the front only once in so many pairs.
const HISTORY: usize = 24 + 2 * 64;

/// The quadrature mirror filter, the same one for both directions (§3.1, §4.4).
#[derive(Debug, Clone)]
struct Mirror {
    /// Even and odd samples apart, so that each sum runs over neighbours.
    even: [i32; HISTORY / 2],
    odd: [i32; HISTORY / 2],
    at: usize,
}

impl Mirror {
    const fn new() -> Self {
        Self {
            even: [0; HISTORY / 2],
            odd: [0; HISTORY / 2],
            at: 0,
        }
    }

    /// Takes two samples and gives the sums over the even and over the odd ones.
    #[inline]
    fn turn(&mut self, first: i32, second: i32) -> (i32, i32) {
        if self.at + 12 > HISTORY / 2 {
            self.even.copy_within(self.at..self.at + 11, 0);
            self.odd.copy_within(self.at..self.at + 11, 0);
            self.at = 0;
        }
        self.even[self.at + 11] = first;
        self.odd[self.at + 11] = second;
        let window = self.at..self.at + 12;
        let (mut even, mut odd) = (0, 0);
        let samples = self.even[window.clone()].iter().zip(&self.odd[window]);
        for (i, (e, o)) in samples.enumerate() {
            even += e * MIRROR[i];
            odd += o * MIRROR[11 - i];
        }
        self.at += 1;
        (even, odd)
    }
}

/// Limits a sum to 16 bits.
#[inline]
fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// One of the two ADPCM coders: its step and its predictor (figures 4 to 11).
#[derive(Debug, Clone)]
struct Band {
    /// What is predicted for the next sample.
    predicted: i32,
    /// The zeros' share of it.
    zeros: i32,
    /// Past quantised differences, newest first, and their coefficients.
    differences: [i32; 6],
    zero_taps: [i32; 6],
    /// Past reconstructed sample, and the poles' coefficients.
    reconstructed: i32,
    pole_taps: [i32; 2],
    /// Signs of the last two partial reconstructions: -1 or 0.
    signs: [i32; 2],
    log_step: i32,
    step: i32,
}

/// Decision levels of the lower band, table 14, scaled by the step; the last is never reached.
const LOW_LEVELS: [i32; 32] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940,
    1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919, NEVER, NEVER,
];
/// Beyond every difference whatever the step, and no overflow when scaled.
const NEVER: i32 = 1 << 16;
const LOW_NEGATIVE: [i32; 32] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11,
    10, 9, 8, 7, 6, 5, 4, 0,
];
const LOW_POSITIVE: [i32; 32] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39,
    38, 37, 36, 35, 34, 33, 32, 0,
];
/// Inverse quantiser of the lower band by four bits, which steers the predictor, and by six.
const LOW_4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
const LOW_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Logarithmic scale factor multipliers of the lower band, by the four-bit code.
const LOW_SCALE: [i32; 16] = {
    const W: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
    const R: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
    let mut scale = [0; 16];
    let mut code = 0;
    while code < 16 {
        scale[code] = W[R[code]];
        code += 1;
    }
    scale
};
/// Inverse quantiser and scale factor multipliers of the higher band.
const HIGH_2: [i32; 4] = [-7408, -1616, 7408, 1616];
const HIGH_SCALE: [i32; 4] = [798, -214, 798, -214];
/// Powers of two in steps of 1/32, table 20.
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

impl Band {
    const fn new(step: i32) -> Self {
        Self {
            predicted: 0,
            zeros: 0,
            differences: [0; 6],
            zero_taps: [0; 6],
            reconstructed: 0,
            pole_taps: [0; 2],
            signs: [0; 2],
            log_step: 0,
            step,
        }
    }

    /// The six-bit code of a sample of the lower band (blocks 1L to 4L).
    #[inline]
    fn quantise_low(&mut self, sample: i32) -> i32 {
        let difference = saturate(sample - self.predicted);
        let magnitude = difference ^ (difference >> 31);
        // The levels rise, so halving finds the interval without a guess.
        let mut interval = 0;
        for half in [16, 8, 4, 2, 1] {
            let level = (LOW_LEVELS[interval | half] * self.step) >> 12;
            interval |= if magnitude >= level { half } else { 0 };
        }
        let codes = if difference < 0 {
            &LOW_NEGATIVE
        } else {
            &LOW_POSITIVE
        };
        let code = codes[(interval + 1) & 31];
        self.follow_low(code as usize >> 2);
        code
    }

    /// The two-bit code of a sample of the higher band (blocks 1H to 4H).
    #[inline]
    fn quantise_high(&mut self, sample: i32) -> i32 {
        let difference = saturate(sample - self.predicted);
        let magnitude = difference ^ (difference >> 31);
        let is_large = magnitude >= (564 * self.step) >> 12;
        let code = match (difference < 0, is_large) {
            (true, false) => 1,
            (true, true) => 0,
            (false, false) => 3,
            (false, true) => 2,
        };
        self.follow_high(code as usize);
        code
    }

    /// The sample of a six-bit code of the lower band (blocks 2L to 6L).
    #[inline]
    fn reconstruct_low(&mut self, code: usize) -> i32 {
        let sample = self.predicted + ((self.step * LOW_6[code & 63]) >> 15);
        self.follow_low(code >> 2);
        sample.clamp(-16_384, 16_383)
    }

    /// The sample of a two-bit code of the higher band (blocks 2H to 5H).
    #[inline]
    fn reconstruct_high(&mut self, code: usize) -> i32 {
        let sample = self.predicted + ((self.step * HIGH_2[code & 3]) >> 15);
        self.follow_high(code);
        sample.clamp(-16_384, 16_383)
    }

    #[inline]
    fn follow_low(&mut self, code: usize) {
        let difference = (self.step * LOW_4[code & 15]) >> 15;
        let log_step = ((self.log_step * 127) >> 7) + LOW_SCALE[code & 15];
        self.log_step = log_step.clamp(0, 18_432);
        self.step = step_of(self.log_step, 8);
        self.predict(difference);
    }

    #[inline]
    fn follow_high(&mut self, code: usize) {
        let difference = (self.step * HIGH_2[code & 3]) >> 15;
        let log_step = ((self.log_step * 127) >> 7) + HIGH_SCALE[code & 3];
        self.log_step = log_step.clamp(0, 22_528);
        self.step = step_of(self.log_step, 10);
        self.predict(difference);
    }

    /// Adapts the predictor to a quantised difference, and predicts the next sample (block 4).
    #[inline]
    fn predict(&mut self, difference: i32) {
        let reconstructed = saturate(self.predicted + difference);
        let sign = saturate(self.zeros + difference) >> 31;
        self.adapt_poles(sign);
        self.adapt_zeros(difference);
        self.differences.copy_within(0..5, 1);
        self.differences[0] = difference;

        let doubled = |value| saturate(value + value);
        let newest = (self.pole_taps[0] * doubled(reconstructed)) >> 15;
        let older = (self.pole_taps[1] * doubled(self.reconstructed)) >> 15;
        let poles = saturate(newest + older);
        self.reconstructed = reconstructed;
        let products = self.zero_taps.iter().zip(&self.differences);
        let zeros = products.map(|(tap, &d)| (tap * doubled(d)) >> 15).sum();
        self.zeros = saturate(zeros);
        self.predicted = saturate(poles + self.zeros);
    }

    #[inline]
    fn adapt_poles(&mut self, sign: i32) {
        let [first, second] = self.pole_taps;
        let along = sign == self.signs[0];
        let quadrupled = saturate(first << 2);
        let pull = if along { -quadrupled } else { quadrupled }.min(32_767);
        let push = if sign == self.signs[1] { 128 } else { -128 };
        let second = push + (pull >> 7) + ((second * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let push = if along { 192 } else { -192 };
        let first = saturate(push + ((first * 32_640) >> 15));
        let bound = saturate(15_360 - second);
        self.pole_taps = [first.clamp(-bound, bound), second];
        self.signs = [sign, self.signs[0]];
    }

    #[inline]
    fn adapt_zeros(&mut self, difference: i32) {
        let push = if difference == 0 { 0 } else { 128 };
        for (tap, past) in self.zero_taps.iter_mut().zip(&self.differences) {
            // All ones where the signs differ: negates.
            let against = (past ^ difference) >> 31;
            *tap = ((*tap * 32_640) >> 15) + ((push ^ against) - against);
        }
    }
}

/// The linear step of a logarithmic one (blocks 3L and 3H).
#[inline]
fn step_of(log_step: i32, shift: i32) -> i32 {
    let power = POWERS[(log_step >> 6 & 31) as usize];
    let shift = shift - (log_step >> 11);
    let step = if shift < 0 {
        power << -shift
    } else {
        power >> shift
    };
    step << 2
}

#[cfg(test)]
mod tests;
