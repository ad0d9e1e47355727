//! Levels: how loud speech is, what is wrong with it, and keeping it where it should be.

pub mod agc;
pub mod p56;
pub mod vad;

use crate::media::frame::SampleRate;

/// The level of a sine that spans the full scale of 16 bits, in dBm0 (G.711 §8, A-law).
#[expect(clippy::approx_constant, reason = "a level, not pi")]
pub const FULL_SCALE_DBM0: f32 = 3.14;

/// The mean power of the largest sine that 16 bits hold.
pub(crate) const FULL_SCALE_POWER: f32 = 32_767.0 * 32_767.0 / 2.0;

/// The level of a mean power of samples, in dBm0; at least -100.
pub fn dbm0_of_power(power: f32) -> f32 {
    10.0 * (power / FULL_SCALE_POWER).max(5e-11).log10() + FULL_SCALE_DBM0
}

/// The mean power of samples at a level in dBm0.
pub fn power_of_dbm0(dbm0: f32) -> f32 {
    FULL_SCALE_POWER * 10f32.powf((dbm0 - FULL_SCALE_DBM0) / 10.0)
}

/// The mean power of samples; zero of none.
pub fn power(samples: &[i16]) -> f32 {
    let square = |&s: &i16| u64::from(i32::from(s).pow(2) as u32);
    let sum: u64 = samples.iter().map(square).sum();
    sum as f32 / samples.len().max(1) as f32
}

/// What a stream of sound measures, from its beginning on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LevelReport {
    /// The active speech level by P.56 method B, in dBm0; `None` before any speech.
    pub speech_dbm0: Option<f32>,
    /// The part of the time that was speech, 0 to 1, by the same method.
    pub activity: f32,
    /// The largest sample, 0 to 32,768.
    pub peak: u16,
    /// Samples that stand at the edge of 16 bits two or more in a row: clipped on their way here.
    pub clipped: u64,
    /// The mean of all samples, which should be zero.
    pub offset: f32,
    /// Samples measured.
    pub samples: u64,
}

/// Measures a stream of sound: speech level, peak, clipping, offset. No allocation.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::level::LevelMeter;
/// let mut meter = LevelMeter::new(SampleRate::HZ_8000);
/// meter.process(&[100; 160]);
/// assert_eq!((meter.report().peak, meter.report().offset), (100, 100.0));
/// ```
#[derive(Debug, Clone)]
pub struct LevelMeter {
    speech: p56::SpeechLevel,
    peak: u16,
    clipped: u64,
    at_edge: u64,
    sum: i64,
    samples: u64,
}

/// Samples from here on stand at the edge: G.711 decodes its largest codes to 32,124 and 32,256.
const EDGE: u16 = 32_124;

impl LevelMeter {
    /// A meter of sound at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            speech: p56::SpeechLevel::new(rate),
            peak: 0,
            clipped: 0,
            at_edge: 0,
            sum: 0,
            samples: 0,
        }
    }

    /// Takes the next samples.
    pub fn process(&mut self, samples: &[i16]) {
        self.speech.process(samples);
        let peak = samples.iter().fold(0, |peak, s| peak.max(s.unsigned_abs()));
        let sum: i32 = samples.iter().map(|&s| i32::from(s)).sum();
        self.peak = self.peak.max(peak);
        self.sum += i64::from(sum);
        self.samples += samples.len() as u64;
        if peak < EDGE {
            self.at_edge = 0;
            return;
        }
        for sample in samples {
            match sample.unsigned_abs() >= EDGE {
                true => self.at_edge += 1,
                false => self.at_edge = 0,
            }
            self.clipped += match self.at_edge {
                0 | 1 => 0,
                2 => 2,
                _ => 1,
            };
        }
    }

    /// What was measured so far.
    pub fn report(&self) -> LevelReport {
        LevelReport {
            speech_dbm0: self.speech.active_dbm0(),
            activity: self.speech.activity(),
            peak: self.peak,
            clipped: self.clipped,
            offset: self.sum as f32 / self.samples.max(1) as f32,
            samples: self.samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_and_levels_are_each_others_inverse() {
        for dbm0 in [-60.0, -20.0, 0.0, FULL_SCALE_DBM0] {
            assert!((dbm0_of_power(power_of_dbm0(dbm0)) - dbm0).abs() < 0.01);
        }
        assert!((power(&[i16::MIN; 960]) / 32_768f32.powi(2) - 1.0).abs() < 0.01);
        assert_eq!(power(&[100; 100]), 10_000.0);
        assert_eq!(power(&[]), 0.0);
    }

    #[test]
    fn clipping_is_two_at_the_edge() {
        let mut meter = LevelMeter::new(SampleRate::HZ_8000);
        meter.process(&[0, 32_767, 0, -32_768, 32_767, 32_767, 0]);
        assert_eq!(meter.report().clipped, 3);
        meter.process(&[32_124]);
        meter.process(&[32_124, 5]);
        assert_eq!(meter.report().clipped, 5);
        assert_eq!(meter.report().peak, 32_768);
    }
}
