//! What a leg listens for in what its peer says, and what it does to it before anyone hears it.

use crate::media::detect::{MachineTone, ToneDetector};
use crate::media::dtmf::DtmfEvent;
use crate::media::dtmf::detect::DtmfDetector;
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::playout::Piece;
use crate::media::level::agc::{GainConfig, GainControl, SmoothGain};
use crate::media::level::vad::{SpeechConfig, SpeechDetector, SpeechEvent};
use crate::media::level::{LevelMeter, LevelReport};
use crate::media::mixer::Gain;

/// What is listened for and done; by default nothing.
///
/// What is on costs, per frame of 20 ms at 8 kHz and leg: levels and digits less than half a
/// microsecond each, gain control as much, machines' tones two microseconds, speech five.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listening {
    /// How loud everyone hears the peer. Default as it is.
    pub gain: Gain,
    /// Automatic gain, after [`Self::gain`]. Default off.
    pub gain_control: Option<GainConfig>,
    /// Whether digits are found in the sound. Default off.
    pub digits: bool,
    /// Whether digits in the sound are muted for those who hear the peer and in recordings; less than
    /// 23 ms of each are left, which no detector takes for a digit. Default off.
    pub mute_digits: bool,
    /// Whether the beginning and the end of speech are told. Default off.
    pub speech: Option<SpeechConfig>,
    /// Whether the tones of machines are told. Default off.
    pub tones: bool,
    /// Whether levels are measured. Default off.
    pub levels: bool,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            gain: Gain::UNITY,
            gain_control: None,
            digits: false,
            mute_digits: false,
            speech: None,
            tones: false,
            levels: false,
        }
    }
}

/// The machines that [`Listening`] asks for, made away from the media thread.
#[derive(Debug)]
pub struct Ears {
    listening: Listening,
    rate: SampleRate,
    gain: SmoothGain,
    control: Option<GainControl>,
    digits: Option<DtmfDetector>,
    /// Finds the digits that recordings leave out: what is recorded comes at other times.
    recorded: Option<DtmfDetector>,
    speech: Option<SpeechDetector>,
    tones: Option<ToneDetector>,
    levels: Option<LevelMeter>,
}

/// What is heard in one frame, digits aside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noticed {
    pub(super) tone: Option<MachineTone>,
    pub(super) speech: Option<SpeechEvent>,
}

impl Ears {
    /// Ears for a leg at `rate`.
    pub fn new(rate: SampleRate, listening: Listening) -> Self {
        let mut gain = SmoothGain::default();
        gain.set(listening.gain);
        let digits = listening.digits || listening.mute_digits;
        Self {
            listening,
            rate,
            gain,
            control: listening.gain_control.map(GainControl::new),
            digits: digits.then(|| DtmfDetector::new(rate)),
            recorded: listening.mute_digits.then(|| DtmfDetector::new(rate)),
            speech: listening
                .speech
                .map(|config| SpeechDetector::new(rate, config)),
            tones: listening.tones.then(|| ToneDetector::new(rate)),
            levels: listening.levels.then(|| LevelMeter::new(rate)),
        }
    }

    /// The rate of the leg that they are for.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Goes on where `former` was, in whatever both listen for.
    pub(super) fn take_over(&mut self, former: &mut Self) {
        if self.rate != former.rate {
            return;
        }
        std::mem::swap(&mut self.gain, &mut former.gain);
        self.gain.set(self.listening.gain);
        if self.listening.gain_control == former.listening.gain_control {
            std::mem::swap(&mut self.control, &mut former.control);
        }
        if self.listening.speech == former.listening.speech {
            std::mem::swap(&mut self.speech, &mut former.speech);
        }
        if self.digits.is_some() && former.digits.is_some() {
            std::mem::swap(&mut self.digits, &mut former.digits);
        }
        if self.recorded.is_some() && former.recorded.is_some() {
            std::mem::swap(&mut self.recorded, &mut former.recorded);
        }
        if self.tones.is_some() && former.tones.is_some() {
            std::mem::swap(&mut self.tones, &mut former.tones);
        }
        if self.levels.is_some() && former.levels.is_some() {
            std::mem::swap(&mut self.levels, &mut former.levels);
        }
    }

    /// Whether the peer speaks; `None` where that is not listened for.
    pub(super) fn is_speech(&self) -> Option<bool> {
        self.speech.as_ref().map(SpeechDetector::is_speech)
    }

    /// Hears what the peer says in this tick, silence where it says nothing, and changes it.
    pub(super) fn process(&mut self, said: &mut Frame, sounds: bool) -> Noticed {
        if let Some(levels) = self.levels.as_mut().filter(|_| sounds) {
            levels.process(said.samples());
        }
        let noticed = Noticed {
            tone: self.tones.as_mut().and_then(|tones| tones.process(said)),
            speech: self.speech.as_mut().and_then(|speech| speech.process(said)),
        };
        if let Some(digits) = &mut self.digits {
            digits.process(said);
            if self.listening.mute_digits && digits.is_sounding() {
                said.samples_mut().fill(0);
            }
        }
        if sounds {
            self.gain.process(said);
            if let Some(control) = &mut self.control {
                control.process(said);
            }
        }
        noticed
    }

    /// Whether a piece of what is recorded is to be left out.
    pub(super) fn mute(&mut self, piece: &Piece<'_>) -> bool {
        let Some(recorded) = &mut self.recorded else {
            return false;
        };
        recorded.process(&Frame::from_samples(piece.rate, piece.samples));
        while recorded.poll_event().is_some() {}
        recorded.is_sounding()
    }

    /// The next thing that happened to a digit in the sound; where digits are only muted, nothing.
    pub(super) fn poll_digit(&mut self) -> Option<DtmfEvent> {
        let told = self.listening.digits;
        let event = self.digits.as_mut()?.poll_event()?;
        told.then_some(event)
    }

    /// What was measured.
    pub(super) fn levels(&self) -> Option<LevelReport> {
        self.levels.as_ref().map(LevelMeter::report)
    }

    /// The automatic gain now, in decibels.
    pub(super) fn gain_db(&self) -> Option<f32> {
        self.control.as_ref().map(GainControl::gain_db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::{Generator, Tone};
    use crate::time::Duration;

    const RATE: SampleRate = SampleRate::HZ_8000;

    #[test]
    fn muted_digits_leave_less_than_any_detector_takes() {
        let listening = Listening {
            mute_digits: true,
            ..Listening::default()
        };
        for shift in 0..20 {
            let mut ears = Ears::new(RATE, listening);
            let mut behind = DtmfDetector::new(RATE);
            let tone = Tone::dtmf('5', Duration::from_millis(120)).expect("a digit");
            let mut sound = vec![0; 1_600 + shift * 8];
            let mut press = vec![0; 960];
            Generator::new(&tone, RATE).fill(&mut press);
            sound.extend(&press);
            sound.extend([0; 1_600]);
            let mut left = 0;
            for part in sound.chunks_exact(160) {
                let mut frame = Frame::from_samples(RATE, part);
                ears.process(&mut frame, true);
                assert_eq!(ears.poll_digit(), None);
                left += frame.samples().iter().filter(|s| s.abs() > 100).count();
                behind.process(&frame);
                assert_eq!(behind.poll_event(), None, "shift {shift}");
            }
            assert!(left < 23 * 8 * 2, "{left} samples of 960 are left");
        }
    }

    #[test]
    fn new_ears_go_on_where_the_former_were() {
        let control = Listening {
            gain_control: Some(GainConfig::default()),
            levels: true,
            ..Listening::default()
        };
        let mut former = Ears::new(RATE, control);
        let mut frame = Frame::from_samples(RATE, &[500; 160]);
        former.process(&mut frame, true);
        let more = Listening {
            tones: true,
            ..control
        };
        let mut ears = Ears::new(RATE, more);
        ears.take_over(&mut former);
        assert_eq!(ears.levels().map(|levels| levels.samples), Some(160));
        assert!(ears.tones.is_some());
    }
}
