//! Automatic gain: speech brought to one level, noise left where it is, nothing ever clipped.

use crate::media::frame::Frame;
use crate::media::level::{dbm0_of_power, power};

/// How a [`GainControl`] works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GainConfig {
    /// The active speech level to come to, in dBm0, -35 to -10. Default -20, which is P.56's -26 dBov.
    pub target_dbm0: f32,
    /// The most that soft speech is raised, in decibels, 0 to 30. Default 15.
    pub max_gain: f32,
    /// The most that loud speech is lowered, in decibels, 0 to 30. Default 15.
    pub max_cut: f32,
    /// How loud the noise between words may become, in dBm0; gain stops where it would. Default -50.
    pub max_noise_dbm0: f32,
}

impl Default for GainConfig {
    fn default() -> Self {
        Self {
            target_dbm0: -20.0,
            max_gain: 15.0,
            max_cut: 15.0,
            max_noise_dbm0: -50.0,
        }
    }
}

/// Decibels a second that gain rises and falls at most, while speech is heard.
const RISE: f32 = 6.0;
const FALL: f32 = 12.0;
/// Speech that the level is an average of, once there was so much: 1.5 s.
const MEMORY: f32 = 75.0;
/// How far below the loudest speech a frame may be to be speech: P.56's margin.
const MARGIN: f32 = 15.9;
/// How far above the noise a frame must be to be speech.
const ABOVE_NOISE: f32 = 9.0;
/// The softest speech that is raised.
const FLOOR: f32 = -55.0;
/// The noise floor rises by so many decibels a second at most, and falls at once.
const NOISE_RISE: f32 = 3.0;
/// The limiter's ceiling: 1 dB below full scale.
const CEILING: f32 = 29_204.0;
/// Steps of the limiter in a frame: 2.5 ms.
const STEPS: usize = 8;
/// What the limiter gives back in a step: 0.5 dB.
const RELEASE: f32 = 1.06;

/// Brings speech to one active level and limits its peaks.
///
/// Gain moves only while speech is heard: frames well above the noise floor and within P.56's margin
/// of the loudest. Noise is never raised above [`GainConfig::max_noise_dbm0`]. Peaks are limited
/// before they come, without delay: the frame is known. No allocation.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::level::agc::{GainConfig, GainControl};
/// let mut control = GainControl::new(GainConfig::default());
/// let mut frame = Frame::silence(SampleRate::HZ_8000);
/// control.process(&mut frame);
/// assert_eq!(control.gain_db(), 0.0);
/// ```
#[derive(Debug, Clone)]
pub struct GainControl {
    config: GainConfig,
    /// The mean power of speech, and of how many frames.
    speech: f32,
    frames: f32,
    /// The loudest speech lately, and the noise floor, in dBm0.
    loudest: f32,
    noise: f32,
    gain_db: f32,
    /// The factor at the end of the last frame, and the limiter's.
    factor: f32,
    limit: f32,
    limited: u64,
}

impl GainControl {
    /// A control that has heard nothing and changes nothing yet.
    pub fn new(config: GainConfig) -> Self {
        Self {
            config: GainConfig {
                target_dbm0: config.target_dbm0.clamp(-35.0, -10.0),
                max_gain: config.max_gain.clamp(0.0, 30.0),
                max_cut: config.max_cut.clamp(0.0, 30.0),
                ..config
            },
            speech: 0.0,
            frames: 0.0,
            loudest: FLOOR,
            // The first frame is taken for noise, until a softer one comes.
            noise: 0.0,
            gain_db: 0.0,
            factor: 1.0,
            limit: 1.0,
            limited: 0,
        }
    }

    /// The gain now, in decibels, the limiter aside.
    pub fn gain_db(&self) -> f32 {
        self.gain_db
    }

    /// Frames whose peaks were limited.
    pub fn limited(&self) -> u64 {
        self.limited
    }

    /// Changes the next frame.
    pub fn process(&mut self, frame: &mut Frame) {
        let seconds = frame.duration().as_secs_f32();
        self.learn(dbm0_of_power(power(frame.samples())), frame, seconds);
        let factor = 10f32.powf(self.gain_db / 20.0);
        self.apply(frame.samples_mut(), factor);
    }

    fn learn(&mut self, dbm0: f32, frame: &Frame, seconds: f32) {
        self.noise = dbm0.clamp(-80.0, self.noise + NOISE_RISE * seconds);
        self.loudest = (self.loudest - 2.0 * seconds).max(FLOOR);
        let heard = dbm0 > FLOOR && dbm0 > self.noise + ABOVE_NOISE;
        if !heard || dbm0 < self.loudest - MARGIN {
            return;
        }
        self.loudest = self.loudest.max(dbm0);
        self.frames = (self.frames + 1.0).min(MEMORY);
        self.speech += (power(frame.samples()) - self.speech) / self.frames;
        // A quarter of a second of speech is needed for a level.
        if self.frames < 12.0 {
            return;
        }
        let wanted = self.config.target_dbm0 - dbm0_of_power(self.speech);
        let most = self.config.max_gain;
        let most = most.min((self.config.max_noise_dbm0 - self.noise).max(0.0));
        let wanted = wanted.clamp(-self.config.max_cut, most);
        let (fall, rise) = (FALL * seconds, RISE * seconds);
        self.gain_db += (wanted - self.gain_db).clamp(-fall, rise);
    }

    /// Multiplies by a factor that goes evenly to `factor`, and by the limiter's.
    fn apply(&mut self, samples: &mut [i16], factor: f32) {
        let from = std::mem::replace(&mut self.factor, factor);
        if from == 1.0 && factor == 1.0 && self.limit == 1.0 {
            return;
        }
        let length = samples.len().max(1);
        let step = length.div_ceil(STEPS);
        let most = from.max(factor);
        let mut limits = [1.0f32; STEPS];
        for (limit, part) in limits.iter_mut().zip(samples.chunks(step)) {
            let peak = part.iter().fold(0, |peak, s| peak.max(s.unsigned_abs()));
            *limit = (CEILING / (f32::from(peak) * most).max(1.0)).min(1.0);
        }
        self.limited += u64::from(limits.iter().any(|&limit| limit < 1.0));
        let slope = (factor - from) / length as f32;
        let mut position = 0.0;
        for (number, part) in samples.chunks_mut(step).enumerate() {
            let own = limits[number];
            let next = limits.get(number + 1).copied().unwrap_or(own);
            let start = self.limit.min(own);
            let end = own.min(next).min(start * RELEASE);
            let bend = (end - start) / part.len() as f32;
            for (n, sample) in part.iter_mut().enumerate() {
                let factor = from + slope * position;
                let limit = start + bend * n as f32;
                let value = f32::from(*sample) * factor * limit;
                *sample = value.clamp(-32_768.0, 32_767.0) as i16;
                position += 1.0;
            }
            self.limit = end;
        }
    }
}

/// A fixed gain that changes without a click: over one frame.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::level::agc::SmoothGain;
/// use sidetone::media::mixer::Gain;
/// let mut gain = SmoothGain::default();
/// gain.set(Gain::from_factor(0.5));
/// let mut frame = Frame::from_samples(SampleRate::HZ_8000, &[1_000; 160]);
/// gain.process(&mut frame);
/// assert!(frame.samples()[0] > 990 && frame.samples()[159] < 510);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SmoothGain {
    now: f32,
    wanted: f32,
}

impl Default for SmoothGain {
    fn default() -> Self {
        Self {
            now: 1.0,
            wanted: 1.0,
        }
    }
}

impl SmoothGain {
    /// Goes to `gain` over the next frame.
    pub fn set(&mut self, gain: crate::media::mixer::Gain) {
        self.wanted = gain.factor();
    }

    /// Changes the next frame; what leaves 16 bits is cut.
    pub fn process(&mut self, frame: &mut Frame) {
        if self.now == 1.0 && self.wanted == 1.0 {
            return;
        }
        let samples = frame.samples_mut();
        let slope = (self.wanted - self.now) / samples.len().max(1) as f32;
        for (n, sample) in samples.iter_mut().enumerate() {
            let factor = self.now + slope * (n + 1) as f32;
            *sample = (f32::from(*sample) * factor).clamp(-32_768.0, 32_767.0) as i16;
        }
        self.now = self.wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::frame::SampleRate;
    use crate::media::level::p56::SpeechLevel;
    use crate::media::level::power_of_dbm0;
    use crate::rng::Rng;

    const RATE: SampleRate = SampleRate::HZ_8000;

    /// Half a minute of real speech at so many decibels from as it is.
    fn speech(db: f32) -> Vec<i16> {
        let prompts = crate::media::tests::prompts();
        let long = prompts.iter().filter(|(_, s)| s.len() > 24_000);
        let all = long.flat_map(|(_, s)| s.iter().copied()).take(8_000 * 40);
        let factor = 10f32.powf(db / 20.0);
        all.map(|s| (f32::from(s) * factor) as i16).collect()
    }

    /// What comes out, the first ten seconds of learning left away.
    fn controlled(sound: &[i16]) -> (Vec<i16>, GainControl) {
        let mut control = GainControl::new(GainConfig::default());
        let mut out = vec![];
        for part in sound.chunks_exact(160) {
            let mut frame = Frame::from_samples(RATE, part);
            control.process(&mut frame);
            out.extend_from_slice(frame.samples());
        }
        (out.split_off(out.len().min(80_000)), control)
    }

    fn level(samples: &[i16]) -> f32 {
        let mut meter = SpeechLevel::new(RATE);
        meter.process(samples);
        meter.active_dbm0().expect("speech")
    }

    #[test]
    fn soft_and_loud_speech_come_to_the_target() {
        for db in [-14.0, -8.0, 0.0, 6.0] {
            let sound = speech(db);
            if sound.is_empty() {
                return;
            }
            let (out, _) = controlled(&sound);
            let (before, after) = (level(&sound), level(&out));
            assert!((after + 20.0).abs() < 2.0, "{before} became {after} dBm0");
            let peak = out.iter().map(|s| s.unsigned_abs()).max();
            assert!(peak.expect("samples") <= 29_300, "{peak:?}");
        }
    }

    #[test]
    fn noise_alone_is_never_raised() {
        let mut rng = Rng::new(5);
        for dbm0 in [-70.0, -55.0, -45.0, -35.0] {
            let level = f64::from(power_of_dbm0(dbm0).sqrt());
            let bell = |rng: &mut Rng| (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
            let sound: Vec<i16> = (0..8_000 * 60)
                .map(|_| (bell(&mut rng) * level).round() as i16)
                .collect();
            let (_, control) = controlled(&sound);
            assert!(control.gain_db() <= 0.5, "{dbm0}: {}", control.gain_db());
        }
    }

    #[test]
    fn noise_between_words_stays_soft() {
        let mut sound = speech(-20.0);
        let mut rng = Rng::new(5);
        let level = f64::from(power_of_dbm0(-58.0).sqrt());
        for sample in &mut sound {
            let bell = (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
            *sample = sample.saturating_add((bell * level).round() as i16);
        }
        let (_, control) = controlled(&sound);
        assert!(control.gain_db() < 10.0, "{}", control.gain_db());
    }

    #[test]
    fn any_samples_stay_below_the_ceiling() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut control = GainControl::new(GainConfig::default());
            for _ in 0..200 {
                let loud = rng.below(3);
                let samples: Vec<i16> = (0..rng.below(200))
                    .map(|_| match loud {
                        0 => rng.next_u32() as i16,
                        1 => (rng.next_u32() as i16) / 64,
                        _ => [i16::MIN, i16::MAX][rng.below(2) as usize],
                    })
                    .collect();
                let mut frame = Frame::from_samples(RATE, &samples);
                control.process(&mut frame);
                if control.gain_db() != 0.0 {
                    let peak = frame.samples().iter().map(|s| s.unsigned_abs()).max();
                    assert!(peak.unwrap_or(0) <= 29_300, "seed {seed}: {peak:?}");
                }
            }
        }
    }
}
