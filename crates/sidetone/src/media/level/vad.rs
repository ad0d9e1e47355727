//! Voice activity: when somebody speaks, and when not any more.

use earshot::Detector;

use crate::media::frame::{Frame, SampleRate};
use crate::media::level::{dbm0_of_power, power};
use crate::media::resample::Resampler;
use crate::time::Duration;

/// Samples that the model takes at a time, at 16 kHz: 16 ms.
const CHUNK: usize = 256;
/// Sound below is no speech, whatever it is like.
const FLOOR: f32 = -50.0;
/// Decibels that speech moves by from frame to frame, on average: it moves by three, noise by half of
/// one, tones by none. The model alone takes a busy tone for speech.
const MOVES: f32 = 1.0;

/// When speech counts as begun and ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpeechConfig {
    /// How sure the model must be, 0 to 1. Default 0.7: of steady tones and noise it is up to 0.68
    /// sure, of speech mostly above 0.8.
    pub threshold: f32,
    /// Speech that must be heard before it counts. Default 80 ms, which a cough does not reach.
    pub begin: Duration,
    /// Silence after which speech is over. Default 600 ms.
    pub end: Duration,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self {
            threshold: 0.7,
            begin: Duration::from_millis(80),
            end: Duration::from_millis(600),
        }
    }
}

/// Somebody begins or stops to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechEvent {
    /// Speech has begun.
    Started,
    /// Speech is over.
    Ended,
}

/// Tells speech from silence, tones and noise, by the model of `earshot`.
///
/// No allocation after construction; about 20 kB.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::level::vad::SpeechDetector;
/// let mut detector = SpeechDetector::new(SampleRate::HZ_8000, Default::default());
/// assert_eq!(detector.process(&Frame::silence(SampleRate::HZ_8000)), None);
/// assert!(!detector.is_speech());
/// ```
pub struct SpeechDetector {
    config: SpeechConfig,
    model: Box<Detector>,
    /// To 16 kHz, and what comes out of it.
    convert: Resampler,
    converted: Frame,
    chunk: [i16; CHUNK],
    filled: usize,
    /// How sure the model was of the last chunk.
    score: f32,
    /// The level of the last frame, and how much levels move.
    level: f32,
    moves: f32,
    speaking: bool,
    /// How long what it is, is not what it was.
    changed: Duration,
    asked: bool,
}

impl std::fmt::Debug for SpeechDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeechDetector")
            .field("config", &self.config)
            .field("speaking", &self.speaking)
            .finish_non_exhaustive()
    }
}

impl SpeechDetector {
    /// A detector that has heard nothing, for sound at `rate`.
    pub fn new(rate: SampleRate, config: SpeechConfig) -> Self {
        Self {
            config,
            model: Detector::default_boxed(),
            convert: Resampler::new(rate, SampleRate::HZ_16000),
            converted: Frame::silence(SampleRate::HZ_16000),
            chunk: [0; CHUNK],
            filled: 0,
            score: 0.0,
            level: -100.0,
            moves: 0.0,
            speaking: false,
            changed: Duration::ZERO,
            asked: false,
        }
    }

    /// Whether somebody speaks.
    pub fn is_speech(&self) -> bool {
        self.speaking
    }

    /// Takes the next sound, 20 ms at most.
    pub fn process(&mut self, frame: &Frame) -> Option<SpeechEvent> {
        let score = self.score(frame);
        let speech = score >= self.config.threshold && self.moves >= MOVES;
        if speech == self.speaking {
            self.changed = Duration::ZERO;
            return None;
        }
        self.changed += frame.duration();
        let (needed, event) = match speech {
            true => (self.config.begin, SpeechEvent::Started),
            false => (self.config.end, SpeechEvent::Ended),
        };
        if self.changed < needed {
            return None;
        }
        self.speaking = speech;
        self.changed = Duration::ZERO;
        Some(event)
    }

    /// How sure the model is that a frame holds speech. Silence does not trouble it.
    fn score(&mut self, frame: &Frame) -> f32 {
        let level = dbm0_of_power(power(frame.samples()));
        let last = std::mem::replace(&mut self.level, level);
        if level >= FLOOR && last >= FLOOR {
            self.moves += ((level - last).abs() - self.moves) / 8.0;
        }
        if level < FLOOR {
            if std::mem::take(&mut self.asked) {
                self.model.reset();
                self.filled = 0;
            }
            self.score = 0.0;
            return 0.0;
        }
        self.asked = true;
        self.convert.process(frame, &mut self.converted);
        let mut samples = self.converted.samples();
        while !samples.is_empty() {
            let n = samples.len().min(CHUNK - self.filled);
            let (head, tail) = samples.split_at(n);
            self.chunk[self.filled..self.filled + n].copy_from_slice(head);
            self.filled += n;
            samples = tail;
            if self.filled == CHUNK {
                self.filled = 0;
                self.score = self.model.predict_i16(&self.chunk);
            }
        }
        self.score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::level::p56::SpeechLevel;
    use crate::media::tone::national::{Country, Signal};
    use crate::media::tone::{Generator, Sine, Tone};
    use crate::rng::Rng;

    const RATE: SampleRate = SampleRate::HZ_8000;

    /// The part of the time that counts as speech.
    fn activity(sound: &[i16]) -> f64 {
        let mut detector = SpeechDetector::new(RATE, SpeechConfig::default());
        let mut speech = 0;
        for part in sound.chunks_exact(160) {
            detector.process(&Frame::from_samples(RATE, part));
            speech += usize::from(detector.is_speech());
        }
        speech as f64 / (sound.len() / 160) as f64
    }

    #[test]
    fn speech_is_speech() {
        let prompts = crate::media::tests::prompts();
        let mostly_speech = |sound: &[i16]| {
            let mut meter = SpeechLevel::new(RATE);
            meter.process(sound);
            sound.len() > 16_000 && meter.activity() > 0.7
        };
        let long = prompts.iter().filter(|(_, s)| mostly_speech(s));
        let long: Vec<_> = long.collect();
        let missed = long.iter().filter(|(_, sound)| activity(sound) < 0.5);
        let missed: Vec<&str> = missed.map(|(name, _)| name.as_str()).collect();
        assert!(missed.len() * 50 <= long.len(), "{missed:?}");
    }

    #[test]
    fn tones_are_no_speech() {
        for (country, signal) in [
            (Country::NorthAmerica, Signal::Dial),
            (Country::NorthAmerica, Signal::Ringback),
            (Country::Germany, Signal::Busy),
            (Country::UnitedKingdom, Signal::Ringback),
            (Country::Germany, Signal::SpecialInformation),
        ] {
            let mut sound = vec![0; 80_000];
            Generator::new(&country.tone(signal), RATE).fill(&mut sound);
            let part = activity(&sound);
            assert!(part < 0.02, "{country:?} {signal:?}: {part}");
        }
        for hz in [200.0, 440.0, 1_000.0, 1_100.0, 2_100.0, 3_000.0] {
            let mut sound = vec![0; 40_000];
            let tone = Tone::steady(Sine { hz, dbm0: -10.0 }, None);
            Generator::new(&tone, RATE).fill(&mut sound);
            let part = activity(&sound);
            assert!(part < 0.02, "{hz} Hz: {part}");
        }
    }

    #[test]
    fn noise_is_no_speech() {
        for level in [30.0, 300.0, 2_000.0] {
            let mut rng = Rng::new(3);
            let bell = |rng: &mut Rng| (0..12).map(|_| rng.next_f64()).sum::<f64>() - 6.0;
            let sound: Vec<i16> = (0..80_000)
                .map(|_| (bell(&mut rng) * level) as i16)
                .collect();
            let part = activity(&sound);
            assert!(part < 0.02, "{level}: {part}");
        }
    }

    #[test]
    fn events_alternate_and_come_in_time() {
        let prompts = crate::media::tests::prompts();
        let Some((_, speech)) = prompts.iter().find(|(name, _)| name == "vm-intro") else {
            return;
        };
        let sound = [vec![0; 8_000], speech.clone(), vec![0; 16_000]].concat();
        let mut detector = SpeechDetector::new(RATE, SpeechConfig::default());
        let mut events = vec![];
        for (n, part) in sound.chunks_exact(160).enumerate() {
            let event = detector.process(&Frame::from_samples(RATE, part));
            events.extend(event.map(|event| (n * 20, event)));
        }
        let (began, first) = events[0];
        assert!(first == SpeechEvent::Started && began < 1_600, "{events:?}");
        let (_, last) = events[events.len() - 1];
        assert_eq!(last, SpeechEvent::Ended);
        assert!(events.windows(2).all(|pair| pair[0].1 != pair[1].1));
    }
}
