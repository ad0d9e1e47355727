//! Detection of what machines say by tones: fax, answering machines, exchanges.

mod cadence;
mod spectrum;

use crate::media::frame::{Frame, SampleRate};
use crate::media::resample::Resampler;
use crate::time::Duration;

use cadence::Cadence;
use spectrum::{Heard, Spectrum};

/// What a machine at the other end has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MachineTone {
    /// A fax machine calls: 1,100 Hz for half a second (CNG, ITU-T T.30 §4.3.3.1).
    FaxCalling,
    /// A fax machine or modem answers: 2,100 Hz (CED, ITU-T T.30; ANS, ITU-T V.25).
    Answering {
        /// Whether the phase turned by half every 450 ms, which switches echo cancellers off (V.25,
        /// V.8): a modem or a fast fax machine.
        phase_reversals: bool,
    },
    /// Three rising tones: the call cannot succeed, an announcement follows (ITU-T E.180).
    SpecialInformation,
    /// One tone after speech, then silence: an answering machine records from now on.
    Beep,
    /// Dial tone.
    Dial,
    /// The called party's telephone rings.
    Ringback,
    /// Busy: equal times of 300 to 850 ms on and off.
    Busy,
    /// Congestion: equal times of 130 to 300 ms on and off. A few nations say busy so.
    Congestion,
}

/// A frame of the detector: 20 ms at 8 kHz.
const FRAME: usize = 160;
const FRAME_MS: u32 = 20;
/// How far a tone's frequency may move, in hertz.
const DRIFT: f32 = 12.0;
/// Frames that a tone may be interrupted for.
const GAP: u32 = 2;
/// The least part of all energy that a tone takes: noise 8 dB below it.
const PURE: f32 = 0.86;

/// Finds the tones of machines in sound: fax, special information, the beep of an answering machine,
/// call progress.
///
/// Listens by a transform of 64 ms every 20 ms, from -43 dBm0 on, with noise to 10 dB below the
/// tone. Needs one event polled after each frame. No allocation after construction; about 7 kB.
///
/// ```
/// use sidetone::media::detect::{MachineTone, ToneDetector};
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::tone::{Generator, Tone};
///
/// let rate = SampleRate::HZ_8000;
/// let calling: Tone = "1100/500,0/3000".parse()?;
/// let mut calling = Generator::new(&calling, rate);
/// let mut detector = ToneDetector::new(rate);
/// let mut frame = Frame::silence(rate);
/// let mut heard = vec![];
/// for _ in 0..50 {
///     calling.fill(frame.samples_mut());
///     heard.extend(detector.process(&frame));
/// }
/// assert_eq!(heard, [MachineTone::FaxCalling]);
/// # Ok::<(), sidetone::media::tone::ToneError>(())
/// ```
#[derive(Debug)]
pub struct ToneDetector {
    /// To 8 kHz, where the sound comes at another rate, and what comes out of it.
    convert: Option<(Resampler, Frame)>,
    spectrum: Spectrum,
    run: Option<Run>,
    special: Special,
    cadence: Cadence,
    /// Sound that was no tone, up to some seconds: what an answering machine says before it beeps.
    speech: u32,
    beep: Option<Beep>,
    /// Frames since the last tone in the exchange's band ended.
    since_low: u32,
}

/// A tone that sounds.
#[derive(Debug, Clone, Copy)]
struct Run {
    hz: f32,
    /// The loudest frame, in dBm0.
    dbm0: f32,
    frames: u32,
    missed: u32,
    reversals: u32,
    /// Whether it has been told, or cannot be what it would be told as.
    told: bool,
}

impl Run {
    /// How long it has sounded: a frame counts from a tenth of its power on, which a tone reaches
    /// 7 ms before a frame's middle.
    fn millis(&self) -> u32 {
        (self.frames * FRAME_MS).saturating_sub(14)
    }

    fn is_near(&self, hz: f32, by: f32) -> bool {
        (self.hz - hz).abs() <= by
    }

    /// Whether it lies where exchanges signal.
    fn is_low(&self) -> bool {
        (330.0..650.0).contains(&self.hz)
    }
}

/// A tone that may have been a beep: frames since its end, and those of them that were quiet.
#[derive(Debug, Clone, Copy, Default)]
struct Beep {
    since: u32,
    quiet: u32,
}

/// How far the three tones of special information have come.
#[derive(Debug, Clone, Copy, Default)]
struct Special {
    heard: u32,
    /// Frames since the last of them.
    since: u32,
}

impl ToneDetector {
    /// A detector that has heard nothing, for sound at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let own = SampleRate::HZ_8000;
        let convert = || (Resampler::new(rate, own), Frame::silence(own));
        Self {
            convert: (rate != own).then(convert),
            spectrum: Spectrum::new(),
            run: None,
            special: Special::default(),
            cadence: Cadence::default(),
            speech: 0,
            beep: None,
            since_low: u32::MAX / 2,
        }
    }

    /// Takes the next 20 ms, and says what has become certain with them. Frames of another length
    /// are taken as 20 ms of silence.
    pub fn process(&mut self, frame: &Frame) -> Option<MachineTone> {
        let mut own = [0; FRAME];
        let samples = match &mut self.convert {
            Some((resampler, converted)) => {
                resampler.process(frame, converted);
                converted.samples()
            }
            None => frame.samples(),
        };
        if samples.len() == FRAME {
            own.copy_from_slice(samples);
        }
        let heard = self.spectrum.process(&own);
        self.take(heard)
    }

    fn take(&mut self, heard: Heard) -> Option<MachineTone> {
        self.special.since = self.special.since.saturating_add(1);
        self.since_low = self.since_low.saturating_add(1);
        let is_tone = heard.share >= PURE && heard.dbm0 >= MIN_DBM0;
        let matches =
            |run: &Run| is_tone && run.is_near(heard.hz, DRIFT) && heard.dbm0 > run.dbm0 - 10.0;
        let mut ended = None;
        match &mut self.run {
            Some(run) if matches(run) => {
                run.frames += 1 + run.missed;
                run.missed = 0;
                run.dbm0 = run.dbm0.max(heard.dbm0);
                run.hz += (heard.hz - run.hz) / 8.0;
                run.reversals += u32::from(heard.reversed && run.is_near(2_100.0, 25.0));
            }
            Some(run) if run.missed < GAP && !is_tone => run.missed += 1,
            run => ended = run.take(),
        }
        let told = ended.and_then(|run| self.end(run));
        if self.run.is_none() && is_tone {
            self.run = Some(Run {
                hz: heard.hz,
                dbm0: heard.dbm0,
                frames: 1,
                missed: 0,
                reversals: 0,
                told: false,
            });
        }
        let sounds = self.run.filter(|run| run.is_low() && run.missed == 0);
        let progress = self.cadence.process(sounds.map(|run| run.hz), heard.dbm0);
        let beep = self.wait_for_quiet(&heard);
        told.or_else(|| self.sounding()).or(progress).or(beep)
    }

    /// What a tone is as soon as it has sounded for so long.
    fn sounding(&mut self) -> Option<MachineTone> {
        let run = self.run.as_mut().filter(|run| !run.told)?;
        if run.is_near(2_100.0, 25.0) && run.millis() >= 1_100 {
            run.told = true;
            return Some(MachineTone::Answering {
                phase_reversals: run.reversals >= 2,
            });
        }
        let third = run.is_near(1_788.0, 60.0) && run.millis() >= 180;
        if third && self.special.heard == 2 && self.special.since <= 30 {
            run.told = true;
            self.special.heard = 0;
            return Some(MachineTone::SpecialInformation);
        }
        None
    }

    /// What a tone was that is over.
    fn end(&mut self, run: Run) -> Option<MachineTone> {
        let length = run.millis();
        let first = run.is_near(950.0, 60.0) && (200..=480).contains(&length);
        let second = run.is_near(1_400.0, 60.0) && (200..=480).contains(&length);
        if first {
            self.special = Special { heard: 1, since: 0 };
        } else if second && self.special.heard == 1 && self.special.since <= 30 {
            self.special = Special { heard: 2, since: 0 };
        }
        if run.told {
            return None;
        }
        if run.is_near(1_100.0, 40.0) && (400..=620).contains(&length) && self.speech < SPOKEN {
            return Some(MachineTone::FaxCalling);
        }
        let spoken = self.speech >= SPOKEN;
        // In the exchange's band it may as well be the first of many.
        let (longest, alone) = match run.is_low() && length >= 130 {
            true => (600, std::mem::take(&mut self.since_low) > 75),
            false => (2_200, true),
        };
        if spoken && alone && run.hz >= 330.0 && (100..=longest).contains(&length) {
            self.beep = Some(Beep::default());
        }
        None
    }

    /// A beep is one that silence follows, rather than speech or another tone.
    fn wait_for_quiet(&mut self, heard: &Heard) -> Option<MachineTone> {
        let pure = heard.share >= PURE;
        let quiet = heard.dbm0 < -40.0;
        if !quiet && !pure && self.run.is_none() {
            self.speech = (self.speech + 2).min(1_000);
        }
        let beep = self.beep.as_mut()?;
        beep.since += 1;
        if quiet {
            beep.quiet += 1;
        } else if beep.since > TAIL {
            self.beep = None;
            return None;
        }
        if beep.quiet < QUIET_AFTER_BEEP {
            return None;
        }
        self.beep = None;
        self.speech = 0;
        self.cadence.forget();
        Some(MachineTone::Beep)
    }
}

/// The softest tone that counts.
const MIN_DBM0: f32 = -43.0;
/// Speech that goes before a beep: half a second, in half frames.
const SPOKEN: u32 = 50;
/// Frames that still hold the end of a tone that is over.
const TAIL: u32 = 4;
/// Frames of quiet after a beep.
const QUIET_AFTER_BEEP: u32 = 15;

impl MachineTone {
    /// How long after its beginning it is known, at most.
    pub const fn latency(self) -> Duration {
        Duration::from_millis(match self {
            Self::FaxCalling => 700,
            Self::Answering { .. } => 1_200,
            Self::SpecialInformation => 1_250,
            Self::Beep => 2_600,
            Self::Dial => 2_700,
            Self::Ringback => 4_200,
            Self::Busy => 2_700,
            Self::Congestion => 1_100,
        })
    }
}

#[cfg(test)]
mod tests;
