//! Comfort noise: what a pause sounds like, in a few bytes (RFC 3389, ITU-T G.711 Appendix II).

use crate::media::codec::{Codec, CodecError, Decoder, Encoder, RtpMap, Terms};
use crate::media::frame::SampleRate;

/// Comfort noise under a clock of 8 kHz, static payload type 13; serves G.711, G.722 and L16 at
/// 8 kHz. It describes noise up to 4 kHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComfortNoise;

/// Reflection coefficients that are sent, and that are looked at.
pub const ORDER: usize = 10;

/// The longest payload that is written: the level and the coefficients.
pub const MAX_PAYLOAD: usize = 1 + ORDER;

impl Codec for ComfortNoise {
    fn rtp_map(&self) -> RtpMap {
        RtpMap {
            encoding: "CN",
            clock_rate: 8_000,
            channels: 1,
            payload_type: Some(13),
        }
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    /// Comfort noise cannot be sent alone: the leg makes it of the pauses of another codec.
    fn encoder(&self, _: &Terms) -> Result<Box<dyn Encoder>, CodecError> {
        Err(CodecError::Unavailable)
    }

    fn decoder(&self, _: &Terms) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(Box::new(NoiseGenerator::new()))
    }
}

/// Makes noise of the loudness and colour that a packet names.
///
/// As a [`Decoder`] it decodes a packet to no samples; [`conceal`](Decoder::conceal) then makes noise
/// for as long as it is asked.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    /// Root mean square of what excites the filter.
    level: f32,
    target: f32,
    reflections: [f32; ORDER],
    backward: [f32; ORDER],
    seed: u32,
    heard: bool,
}

impl Default for NoiseGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl NoiseGenerator {
    /// A generator that is silent until a packet tells it otherwise.
    pub const fn new() -> Self {
        Self {
            level: 0.0,
            target: 0.0,
            reflections: [0.0; ORDER],
            backward: [0.0; ORDER],
            seed: 1,
            heard: false,
        }
    }

    /// The next sample: white noise through the lattice of RFC 3389 §3.
    fn next(&mut self) -> i16 {
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        // Evenly spread over ±1, of a power of a third.
        let white = (self.seed >> 8) as f32 / 8_388_608.0 - 1.0;
        self.level += (self.target - self.level) * SMOOTHING;
        let mut forward = white * 1.732 * self.level;
        for at in (0..ORDER).rev() {
            forward -= self.reflections[at] * self.backward[at];
            if at + 1 < ORDER {
                self.backward[at + 1] = self.backward[at] + self.reflections[at] * forward;
            }
        }
        self.backward[0] = forward;
        forward.clamp(-32_768.0, 32_767.0) as i16
    }
}

/// How fast the loudness follows a packet: within some 10 ms.
const SMOOTHING: f32 = 0.02;

impl Decoder for NoiseGenerator {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }

    fn rtp_clock(&self) -> u32 {
        8_000
    }

    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        match payload.first() {
            Some(_) => Ok(0),
            None => Err(CodecError::Malformed),
        }
    }

    fn decode(&mut self, payload: &[u8], _: &mut [i16]) -> Result<usize, CodecError> {
        let (&level, coefficients) = payload.split_first().ok_or(CodecError::Malformed)?;
        // The highest bit is reserved (RFC 3389 §3.1).
        let loudness = 32_768.0 * 10f32.powf(-f32::from(level & 0x7F) / 20.0);
        self.reflections = [0.0; ORDER];
        let mut rest = 1.0;
        for (own, &coded) in self.reflections.iter_mut().zip(coefficients) {
            *own = ((f32::from(coded) - 127.0) / 128.0).clamp(-0.98, 0.98);
            rest *= 1.0 - *own * *own;
        }
        // The lattice makes its input louder by what the coefficients leave of it.
        self.target = loudness * rest.sqrt();
        if !std::mem::replace(&mut self.heard, true) {
            self.level = self.target;
        }
        Ok(0)
    }

    fn conceal(&mut self, out: &mut [i16]) -> bool {
        for sample in &mut *out {
            *sample = self.next();
        }
        self.heard
    }

    fn begins_silence(&self, _: &[u8]) -> bool {
        true
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// Describes noise: writes into `out` the loudness and the colour of `samples`, at least 10 ms at
/// 8 kHz, and returns the bytes.
pub fn describe(samples: &[i16], out: &mut [u8; MAX_PAYLOAD]) -> usize {
    let mut correlation = [0.0f64; ORDER + 1];
    for (lag, sum) in correlation.iter_mut().enumerate() {
        let pairs = samples.iter().zip(samples.get(lag..).unwrap_or_default());
        *sum = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    }
    out[0] = level_of(correlation[0] / samples.len().max(1) as f64);
    // A floor of white noise keeps the recursion stable.
    correlation[0] = correlation[0] * 1.001 + 1.0;
    for (byte, reflection) in out[1..].iter_mut().zip(reflections_of(&correlation)) {
        *byte = (reflection * 128.0 + 127.0).round().clamp(0.0, 254.0) as u8;
    }
    MAX_PAYLOAD
}

/// A mean power as decibels below overload (RFC 3389 §3.1).
pub fn level_of(power: f64) -> u8 {
    let overload = 32_768.0 * 32_768.0;
    let below = -10.0 * (power.max(1e-9) / overload).log10();
    below.round().clamp(0.0, 127.0) as u8
}

/// Schur's or Levinson's recursion: the reflection coefficients of a correlation, in the sign that
/// RFC 3389 §3.2 has.
fn reflections_of(correlation: &[f64; ORDER + 1]) -> [f64; ORDER] {
    let mut reflections = [0.0; ORDER];
    let mut filter = [0.0f64; ORDER + 1];
    filter[0] = 1.0;
    let mut error = correlation[0];
    for order in 1..=ORDER {
        let sum: f64 = (0..order).map(|i| filter[i] * correlation[order - i]).sum();
        let reflection = -sum / error;
        reflections[order - 1] = reflection;
        let past = filter;
        for i in 1..=order {
            filter[i] = past[i] + reflection * past[order - i];
        }
        error *= 1.0 - reflection * reflection;
        if error <= 0.0 {
            break;
        }
    }
    reflections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(payload: &[u8], count: usize) -> Vec<i16> {
        let mut generator = NoiseGenerator::new();
        assert_eq!(generator.decode(payload, &mut []), Ok(0));
        let mut out = vec![0; count];
        assert!(generator.conceal(&mut out));
        out
    }

    fn power(samples: &[i16]) -> f64 {
        let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
        sum / samples.len() as f64
    }

    #[test]
    fn noise_has_the_loudness_that_was_named() {
        for level in [20, 40, 60, 70] {
            let out = noise(&[level], 16_000);
            let found = level_of(power(&out));
            assert!(found.abs_diff(level) <= 1, "{level}: {found}");
        }
        assert!(noise(&[127], 800).iter().all(|s| *s == 0));
    }

    #[test]
    fn described_noise_comes_back_as_loud_and_as_coloured() {
        // Brown noise, as of a fan; and its opposite.
        for sign in [0.9f32, -0.7] {
            let mut seed = 7_u32;
            let mut last = 0.0f32;
            let original: Vec<i16> = (0..16_000)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    last = last * sign + (seed >> 8) as f32 / 8_388_608.0 - 1.0;
                    (last * 200.0) as i16
                })
                .collect();
            let mut payload = [0; MAX_PAYLOAD];
            let length = describe(&original, &mut payload);
            let made = noise(&payload[..length], 16_000);
            let ratio = 10.0 * (power(&made) / power(&original)).log10();
            assert!(ratio.abs() < 1.5, "{ratio:.1} dB louder");
            let colour = |samples: &[i16]| {
                let pairs = samples.iter().zip(&samples[1..]);
                let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                sum / samples.len() as f64 / power(samples)
            };
            assert!((colour(&made) - colour(&original)).abs() < 0.1);
        }
    }

    #[test]
    fn any_payload_gives_bounded_noise() {
        let mut generator = NoiseGenerator::new();
        assert_eq!(generator.decode(&[], &mut []), Err(CodecError::Malformed));
        assert!(!generator.conceal(&mut [0; 10]), "no packet yet");
        for payload in [&[0][..], &[0; 300], &[0, 255, 255, 255], &[255; 12]] {
            assert_eq!(generator.decode(payload, &mut []), Ok(0));
            let mut out = [0; 8_000];
            assert!(generator.conceal(&mut out));
        }
        assert!(generator.begins_silence(&[40]));
    }
}
