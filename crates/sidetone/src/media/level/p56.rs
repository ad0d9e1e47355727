//! Active speech level by ITU-T P.56 method B.

use crate::media::frame::SampleRate;
use crate::media::level::{dbm0_of_power, power};

/// Thresholds, each twice the one before: from one step of 16 bits to half their scale.
const THRESHOLDS: usize = 15;
/// The envelope's two smoothers, in milliseconds.
const SMOOTHING: f64 = 30.0;
/// How long activity goes on after the envelope has fallen, in milliseconds.
const HANGOVER: u32 = 200;
/// What separates the threshold from the active level, in decibels.
const MARGIN: f32 = 15.9;

/// Measures the active speech level and the activity of all sound that it is given.
///
/// The envelope goes by milliseconds rather than by samples, which the smoothers' 30 ms do not
/// notice. No allocation.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::level::p56::SpeechLevel;
/// let mut meter = SpeechLevel::new(SampleRate::HZ_8000);
/// for _ in 0..100 {
///     meter.process(&[1_000; 160]);
/// }
/// assert!(meter.activity() > 0.95);
/// ```
#[derive(Debug, Clone)]
pub struct SpeechLevel {
    /// Samples of a millisecond, and what has been gathered of one.
    step: usize,
    gathered: usize,
    rectified: u32,
    smooth: f32,
    envelope: [f32; 2],
    /// Milliseconds active by each threshold, and left of its hangover.
    active: [u32; THRESHOLDS],
    hangover: [u32; THRESHOLDS],
    /// The sum of squares, and of how many samples.
    energy: f64,
    samples: u64,
}

impl SpeechLevel {
    /// A meter of sound at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            step: rate.hz() as usize / 1_000,
            gathered: 0,
            rectified: 0,
            smooth: (-1.0 / SMOOTHING).exp() as f32,
            envelope: [0.0; 2],
            active: [0; THRESHOLDS],
            hangover: [0; THRESHOLDS],
            energy: 0.0,
            samples: 0,
        }
    }

    /// Takes the next samples.
    pub fn process(&mut self, mut samples: &[i16]) {
        self.energy += f64::from(power(samples)) * samples.len() as f64;
        self.samples += samples.len() as u64;
        while !samples.is_empty() {
            let n = (self.step - self.gathered).min(samples.len());
            let (head, tail) = samples.split_at(n);
            let sum: u32 = head.iter().map(|s| u32::from(s.unsigned_abs())).sum();
            self.rectified += sum;
            self.gathered += n;
            samples = tail;
            if self.gathered == self.step {
                self.millisecond();
            }
        }
    }

    fn millisecond(&mut self) {
        let mean = self.rectified as f32 / self.step as f32;
        (self.rectified, self.gathered) = (0, 0);
        let smooth = self.smooth;
        self.envelope[0] = smooth * self.envelope[0] + (1.0 - smooth) * mean;
        self.envelope[1] = smooth * self.envelope[1] + (1.0 - smooth) * self.envelope[0];
        let thresholds = self.active.iter_mut().zip(&mut self.hangover);
        for (number, (active, hangover)) in thresholds.enumerate() {
            if self.envelope[1] >= (1u32 << number) as f32 {
                // The millisecond itself, and the hangover after it.
                *hangover = HANGOVER + 1;
            }
            *active += u32::from(*hangover > 0);
            *hangover = hangover.saturating_sub(1);
        }
    }

    /// The active level in dBm0: -26 dBov is -19.9 dBm0. `None` where nothing was loud enough to be
    /// speech.
    pub fn active_dbm0(&self) -> Option<f32> {
        Some(dbm0_of_power(self.active_power()?.0))
    }

    /// The part of the time that was active, 0 to 1.
    pub fn activity(&self) -> f32 {
        let all = (self.energy / self.samples.max(1) as f64) as f32;
        match self.active_power() {
            Some((power, _)) => (all / power.max(1e-3)).min(1.0),
            None => 0.0,
        }
    }

    /// The mean power of all sound, silence included, in dBm0.
    pub fn long_term_dbm0(&self) -> f32 {
        dbm0_of_power((self.energy / self.samples.max(1) as f64) as f32)
    }

    /// The mean power while active, and the threshold that tells, in decibels.
    fn active_power(&self) -> Option<(f32, f32)> {
        let mut before: Option<(f32, f32)> = None;
        for (number, &active) in self.active.iter().enumerate() {
            if active == 0 {
                return None;
            }
            let samples = f64::from(active) * self.step as f64;
            let level = 10.0 * ((self.energy / samples).max(1e-20) as f32).log10();
            let threshold = 20.0 * ((1u32 << number) as f32).log10();
            let above = level - threshold - MARGIN;
            if above <= 0.0 {
                // Between this threshold and the one before, the difference crosses the margin.
                let (level_before, above_before) = before?;
                let part = above_before / (above_before - above);
                let level = level_before + part * (level - level_before);
                return Some((10f32.powf(level / 10.0), threshold));
            }
            before = Some((level, above));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::level::power_of_dbm0;

    const RATE: SampleRate = SampleRate::HZ_8000;

    /// A sine of so many milliseconds on, then silence, again and again for `seconds`.
    fn bursts(dbm0: f32, on: usize, off: usize, seconds: usize, rate: SampleRate) -> SpeechLevel {
        let mut meter = SpeechLevel::new(rate);
        let hz = rate.hz() as usize;
        let peak = (power_of_dbm0(dbm0) * 2.0).sqrt();
        let sample = |n: usize| {
            let on_now = n * 1_000 / hz % (on + off) < on;
            let turn = n as f32 / hz as f32 * 1_000.0 % 1.0;
            let sine = (turn * std::f32::consts::TAU).sin() * peak;
            if on_now { sine.round() as i16 } else { 0 }
        };
        let sound: Vec<i16> = (0..hz * seconds).map(sample).collect();
        for part in sound.chunks(rate.frame_samples()) {
            meter.process(part);
        }
        meter
    }

    #[test]
    fn steady_sound_is_all_active_at_its_level() {
        for rate in [RATE, SampleRate::HZ_16000, SampleRate::HZ_48000] {
            for dbm0 in [-40.0, -20.0, 0.0] {
                let meter = bursts(dbm0, 1_000, 0, 20, rate);
                let level = meter.active_dbm0().expect("sound");
                assert!((level - dbm0).abs() < 0.1, "{rate}: {level} for {dbm0}");
                assert!(meter.activity() > 0.99);
            }
        }
    }

    #[test]
    fn pauses_beyond_the_hangover_do_not_lower_the_level() {
        // One second of sound and 200 ms of hangover, less the rise and with the fall of the
        // envelope, of four seconds.
        let meter = bursts(-20.0, 1_000, 3_000, 60, RATE);
        let activity = meter.activity();
        assert!((0.28..0.36).contains(&activity), "{activity}");
        let level = meter.active_dbm0().expect("sound");
        assert!((-21.6..-20.5).contains(&level), "{level}");
        let all = meter.long_term_dbm0();
        assert!((all + 26.02).abs() < 0.1, "{all}");
    }

    /// What the ITU's own voltmeter (G.191, sv56) says of four of Debian's prompts: level in dBov
    /// and activity in percent.
    #[test]
    fn the_reference_says_the_same_of_real_speech() {
        let prompts = crate::media::tests::prompts();
        for (name, dbov, percent) in [
            ("vm-intro", -18.646, 94.94),
            ("demo-congrats", -19.064, 94.69),
            ("conf-usermenu", -18.208, 89.74),
            ("tt-monkeys", -20.493, 96.86),
        ] {
            let Some((_, speech)) = prompts.iter().find(|(known, _)| known == name) else {
                continue;
            };
            let mut meter = SpeechLevel::new(RATE);
            meter.process(speech);
            // A full-scale sine is at +3.14 dBm0 and -3.01 dBov.
            let level = meter.active_dbm0().expect("speech") - 6.15;
            assert!((level - dbov).abs() < 0.05, "{name}: {level}, not {dbov}");
            let activity = meter.activity() * 100.0;
            assert!((activity - percent).abs() < 0.5, "{name}: {activity} %");
        }
    }

    #[test]
    fn silence_and_hiss_have_no_level() {
        let mut meter = SpeechLevel::new(RATE);
        assert_eq!((meter.active_dbm0(), meter.activity()), (None, 0.0));
        for _ in 0..100 {
            meter.process(&[0; 160]);
        }
        assert_eq!((meter.active_dbm0(), meter.activity()), (None, 0.0));
    }
}
