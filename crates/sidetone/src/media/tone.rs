//! Tone generation: frequencies with level and cadence, call-progress tones and DTMF as audio.

pub mod national;

use thiserror::Error;

use crate::media::frame::SampleRate;
use crate::media::level::FULL_SCALE_DBM0;
use crate::time::Duration;

/// Steps of a [`Tone`]'s cadence, at most.
pub const MAX_STEPS: usize = 4;

/// Sines of a [`Step`], at most: three make a modulated one.
pub const MAX_SINES: usize = 3;

/// One sine of a tone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sine {
    /// Frequency in hertz, up to half the sample rate; above it the sine is left out.
    pub hz: f32,
    /// Level in dBm0: a sine at +3.14 dBm0 spans the full scale of 16 bits (G.711 §8, A-law).
    pub dbm0: f32,
}

/// A step of a cadence: sound, then silence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Step {
    /// What sounds, together.
    pub sines: [Option<Sine>; MAX_SINES],
    /// How long the tone sounds.
    pub on: Duration,
    /// How long it is silent afterwards.
    pub off: Duration,
}

impl Step {
    /// One or two sines for `on`, then nothing for `off`.
    pub const fn new(first: Sine, second: Option<Sine>, on: Duration, off: Duration) -> Self {
        Self {
            sines: [Some(first), second, None],
            on,
            off,
        }
    }
}

/// Sines with a cadence; a plan, from which a [`Generator`] makes sound.
///
/// What a nation's telephones say is in [`national`]. Other tones may be read from text in the
/// notation that switches use: `400+450/400,0/200,400+450/400,0/2000` is 400 ms of two frequencies,
/// 200 ms of silence and so on, for ever; `*` modulates; a `!` before every part plays it once;
/// without a length it is steady. Sines are at -10 dBm0, two at -13 dBm0 each.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::tone::{Generator, Tone};
///
/// let chime: Tone = "!660/150,!0/50,!880/300".parse()?;
/// let mut chime = Generator::new(&chime, SampleRate::HZ_8000);
/// let mut samples = [0; 160];
/// assert_eq!(chime.fill(&mut samples), 160);
/// assert!(samples.iter().any(|&s| s > 1000));
/// # Ok::<(), sidetone::media::tone::ToneError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    steps: [Step; MAX_STEPS],
    step_count: usize,
    repeat: bool,
}

impl Tone {
    /// A tone that sounds for `on` and is over.
    pub const fn once(first: Sine, second: Option<Sine>, on: Duration) -> Self {
        let step = Step::new(first, second, on, Duration::ZERO);
        Self {
            steps: [step; MAX_STEPS],
            step_count: 1,
            repeat: false,
        }
    }

    /// A tone that never ends: test signals, dial tone.
    pub const fn steady(first: Sine, second: Option<Sine>) -> Self {
        let step = Step::new(first, second, Duration::from_secs(1), Duration::ZERO);
        Self {
            steps: [step; MAX_STEPS],
            step_count: 1,
            repeat: true,
        }
    }

    /// A tone of several steps, the first [`MAX_STEPS`] of `steps`, repeated for ever or once.
    pub fn cadence(steps: &[Step], repeat: bool) -> Self {
        let mut own = [Step::default(); MAX_STEPS];
        let step_count = steps.len().min(MAX_STEPS);
        own[..step_count].copy_from_slice(&steps[..step_count]);
        Self {
            steps: own,
            step_count,
            repeat,
        }
    }

    /// The same tone with silence after each step.
    #[must_use]
    pub fn followed_by(mut self, silence: Duration) -> Self {
        for step in &mut self.steps {
            step.off += silence;
        }
        self
    }

    /// The same tone with each sine `db` louder, or softer where negative.
    #[must_use]
    pub fn louder(mut self, db: f32) -> Self {
        let steps = self.steps.iter_mut();
        for sine in steps.flat_map(|step| step.sines.iter_mut().flatten()) {
            sine.dbm0 += db;
        }
        self
    }

    /// Whether it sounds until it is stopped.
    pub fn repeats(&self) -> bool {
        self.repeat
    }

    /// One beep of 1,000 Hz at -10 dBm0 for 200 ms: "speak now".
    pub const fn beep() -> Self {
        Self::once(sine(1_000.0, -10.0), None, Duration::from_millis(200))
    }

    /// The two sines of a DTMF digit (ITU-T Q.23) for `on`, the low group at -9 dBm0 and the high
    /// group at -7 dBm0; `None` where `digit` is none of `0-9 * # A-D`.
    pub fn dtmf(digit: char, on: Duration) -> Option<Self> {
        const KEYS: [[char; 4]; 4] = [
            ['1', '2', '3', 'A'],
            ['4', '5', '6', 'B'],
            ['7', '8', '9', 'C'],
            ['*', '0', '#', 'D'],
        ];
        const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
        const COLUMNS: [f32; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
        let digit = digit.to_ascii_uppercase();
        let row = KEYS.iter().position(|row| row.contains(&digit))?;
        let column = KEYS[row].iter().position(|&key| key == digit)?;
        let (low, high) = (sine(ROWS[row], -9.0), sine(COLUMNS[column], -7.0));
        Some(Self::once(low, Some(high), on))
    }
}

const fn sine(hz: f32, dbm0: f32) -> Sine {
    Sine { hz, dbm0 }
}

/// Why text is no [`Tone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ToneError {
    /// A part is no `[!]hertz[+hertz|*hertz][/milliseconds]`.
    #[error("part {0} is no tone")]
    Part(usize),
    /// There are more than [`MAX_STEPS`] parts that sound, or none.
    #[error("not 1 to {MAX_STEPS} parts that sound")]
    Steps,
}

impl std::str::FromStr for Tone {
    type Err = ToneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut steps = [Step::default(); MAX_STEPS];
        let mut count = 0;
        let mut once = true;
        for (number, part) in text.split(',').enumerate() {
            let part = part.trim();
            once &= part.starts_with('!');
            let part = part.strip_prefix('!').unwrap_or(part);
            let (sines, length) = parse_part(part).ok_or(ToneError::Part(number + 1))?;
            match (sines, count) {
                // Silence before any sound says nothing.
                (None, 0) => return Err(ToneError::Part(number + 1)),
                (None, last) => steps[last - 1].off += length,
                (Some(sines), _) => {
                    let step = steps.get_mut(count).ok_or(ToneError::Steps)?;
                    (step.sines, step.on) = (sines, length);
                    count += 1;
                }
            }
        }
        match count {
            0 => Err(ToneError::Steps),
            count => Ok(Self::cadence(&steps[..count], !once)),
        }
    }
}

/// What sounds, or nothing, and for how long.
fn parse_part(part: &str) -> Option<(Option<[Option<Sine>; MAX_SINES]>, Duration)> {
    let (tones, length) = part.split_once('/').unwrap_or((part, "1000"));
    let length: u32 = length.parse().ok()?;
    let length = Duration::from_millis(u64::from(length));
    let hertz = |text: &str| -> Option<f32> {
        let hz: u16 = text.parse().ok()?;
        Some(f32::from(hz))
    };
    let sines = if let Some((first, second)) = tones.split_once('+') {
        let (first, second) = (hertz(first)?, hertz(second)?);
        [Some(sine(first, -13.0)), Some(sine(second, -13.0)), None]
    } else if let Some((carrier, by)) = tones.split_once('*') {
        let (carrier, by) = (hertz(carrier)?, hertz(by)?);
        // As loud as a plain sine in all: the carrier, and half of it on either side.
        let beside = |hz: f32| Some(sine(hz, -10.0 - 1.76 - 6.02));
        [
            Some(sine(carrier, -10.0 - 1.76)),
            beside(carrier - by),
            beside(carrier + by),
        ]
    } else {
        match hertz(tones)? {
            0.0 => return Some((None, length)),
            hz => [Some(sine(hz, -10.0)), None, None],
        }
    };
    Some((Some(sines), length))
}

/// Makes the sound of a [`Tone`], its phase continuous from call to call.
///
/// Onset and end of each step are ramped over 2 ms so that they do not click.
#[derive(Debug, Clone)]
pub struct Generator {
    /// The sines of each step.
    sines: [[Oscillator; MAX_SINES]; MAX_STEPS],
    /// Samples on and off.
    steps: [(u64, u64); MAX_STEPS],
    step_count: usize,
    repeat: bool,
    ramp: u64,
    step: usize,
    /// Samples into the step.
    position: u64,
}

impl Generator {
    /// A generator at the start of `tone`, at `rate`.
    pub fn new(tone: &Tone, rate: SampleRate) -> Self {
        let samples = |d| rate.samples_in(d);
        let steps = tone.steps.map(|s| (samples(s.on), samples(s.off)));
        let total: u64 = steps[..tone.step_count]
            .iter()
            .map(|(on, off)| on + off)
            .sum();
        Self {
            sines: tone
                .steps
                .map(|step| step.sines.map(|sine| Oscillator::new(sine, rate))),
            steps,
            // A cadence of no length is over before it begins.
            step_count: if total == 0 { 0 } else { tone.step_count },
            repeat: tone.repeat,
            ramp: samples(Duration::from_millis(2)).max(1),
            step: 0,
            position: 0,
        }
    }

    /// Begins the cadence again.
    pub fn restart(&mut self) {
        self.step = 0;
        self.position = 0;
    }

    /// Whether the tone is over.
    pub fn is_finished(&self) -> bool {
        self.step >= self.step_count
    }

    /// Writes the next samples over `out` and returns how many are of the tone, its pauses included;
    /// fewer than `out` holds where the tone ends, the rest being silent.
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        let mut filled = 0;
        while filled < out.len() && !self.is_finished() {
            let (on, off) = self.steps[self.step];
            let sounding = self.position < on;
            let end = if sounding { on } else { on + off };
            let n = ((end - self.position) as usize).min(out.len() - filled);
            let part = &mut out[filled..filled + n];
            if sounding {
                self.sound(part, on);
            } else {
                part.fill(0);
            }
            filled += n;
            self.position += n as u64;
            if self.position >= on + off {
                self.next_step();
            }
        }
        out[filled..].fill(0);
        filled
    }

    fn sound(&mut self, out: &mut [i16], on: u64) {
        let continuous = self.repeat && self.step_count == 1 && self.steps[0].1 == 0;
        let sines = &mut self.sines[self.step];
        for (position, out) in (self.position..).zip(out) {
            let edge = if continuous {
                self.ramp
            } else {
                (position + 1).min(on - position).min(self.ramp)
            };
            let sample: f32 = sines.iter_mut().map(Oscillator::next).sum();
            *out = (sample * edge as f32 / self.ramp as f32).round() as i16;
        }
    }

    fn next_step(&mut self) {
        self.position = 0;
        self.step += 1;
        if self.repeat && self.is_finished() {
            self.step = 0;
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Oscillator {
    /// Turns in units of 2⁻³².
    phase: u32,
    step: u32,
    peak: f32,
}

impl Oscillator {
    fn new(sine: Option<Sine>, rate: SampleRate) -> Self {
        let half = rate.hz() as f32 / 2.0;
        let sine = sine.filter(|s| s.hz > 0.0 && s.hz < half);
        let hz = f64::from(sine.map_or(0.0, |s| s.hz));
        let peak = sine.map_or(0.0, |s| {
            32_767.0 * 10f32.powf((s.dbm0.min(FULL_SCALE_DBM0) - FULL_SCALE_DBM0) / 20.0)
        });
        Self {
            phase: 0,
            step: (hz / f64::from(rate.hz()) * 4_294_967_296.0).round() as u32,
            peak,
        }
    }

    #[inline]
    fn next(&mut self) -> f32 {
        if self.peak == 0.0 {
            return 0.0;
        }
        let index = (self.phase >> 22) as usize;
        let fraction = (self.phase & 0x3F_FFFF) as f32 / 4_194_304.0;
        let (from, to) = (SINE[index], SINE[index + 1]);
        self.phase = self.phase.wrapping_add(self.step);
        self.peak * (from + (to - from) * fraction)
    }
}

/// One turn of a sine in 1,024 steps, the first repeated; the linear error is below -100 dB.
static SINE: [f32; 1_025] = {
    let mut table = [0.0; 1_025];
    let mut i = 0;
    while i < 1_025 {
        table[i] = sine_of_turn(i as f64 / 1_024.0) as f32;
        i += 1;
    }
    table
};

/// The sine of a turn from 0 to 1.
pub(crate) const fn sine_of_turn(turn: f64) -> f64 {
    // Fold into a quarter turn either side of zero, where the series converges at once.
    let folded = if turn > 0.75 {
        turn - 1.0
    } else if turn > 0.25 {
        0.5 - turn
    } else {
        turn
    };
    let x = folded * std::f64::consts::TAU;
    let mut term = x;
    let mut sum = x;
    let mut n = 1.0;
    while n < 12.0 {
        term *= -x * x / ((2.0 * n) * (2.0 * n + 1.0));
        sum += term;
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::media::tone::national::{Country, Signal};

    const RATE: SampleRate = SampleRate::HZ_8000;

    fn european(signal: Signal) -> Tone {
        Country::International.tone(signal)
    }

    /// Plays `tone` in frames of 20 ms and returns `seconds` of it.
    fn play(tone: &Tone, rate: SampleRate, seconds: usize) -> Vec<i16> {
        let mut generator = Generator::new(tone, rate);
        let mut all = vec![0; rate.hz() as usize * seconds];
        for frame in all.chunks_mut(rate.frame_samples()) {
            generator.fill(frame);
        }
        all
    }

    /// The level of `hz` in `samples`, in dBm0 (Goertzel's sum).
    fn level(samples: &[i16], hz: f64, rate: SampleRate) -> f64 {
        let step = hz / f64::from(rate.hz()) * std::f64::consts::TAU;
        let (mut c, mut s) = (0.0, 0.0);
        for (n, &x) in samples.iter().enumerate() {
            c += f64::from(x) * (n as f64 * step).cos();
            s += f64::from(x) * (n as f64 * step).sin();
        }
        let peak = (c * c + s * s).sqrt() * 2.0 / samples.len() as f64;
        20.0 * (peak / 32_767.0).log10() + f64::from(FULL_SCALE_DBM0)
    }

    #[test]
    fn levels_are_in_dbm0_at_every_rate() {
        for rate in [RATE, SampleRate::HZ_16000, SampleRate::HZ_48000] {
            let samples = play(&european(Signal::Dial), rate, 2);
            let second = &samples[rate.hz() as usize..];
            assert!((level(second, 425.0, rate) + 10.0).abs() < 0.05);
            assert!(level(second, 1_000.0, rate) < -70.0);
        }
    }

    #[test]
    fn frames_join_without_a_step() {
        let samples = play(&european(Signal::Dial), RATE, 1);
        let peak = i32::from(*samples.iter().max().expect("samples"));
        let steepest = 425.0 * std::f64::consts::TAU / 8_000.0 * f64::from(peak);
        for pair in samples.windows(2) {
            let step = (i32::from(pair[1]) - i32::from(pair[0])).abs();
            assert!(f64::from(step) <= steepest + 2.0);
        }
    }

    #[test]
    fn cadence_repeats_to_the_sample() {
        let samples = play(&european(Signal::Busy), RATE, 3);
        for (n, part) in samples.chunks(4_000).enumerate() {
            let sounds = part.iter().any(|&s| s != 0);
            assert_eq!(sounds, n % 2 == 0, "half second {n}");
        }
        let ringback = play(&european(Signal::Ringback), RATE, 10);
        let sounding = ringback.chunks(8_000).map(|s| s.iter().any(|&s| s != 0));
        let expected = [
            true, false, false, false, false, true, false, false, false, false,
        ];
        assert_eq!(sounding.collect::<Vec<bool>>(), expected);
    }

    #[test]
    fn a_cadence_of_several_steps_ends() {
        let tone: Tone = "!440/100,!0/50,!440/200".parse().expect("a tone");
        let mut generator = Generator::new(&tone, RATE);
        let mut samples = vec![1; 4_000];
        assert_eq!(generator.fill(&mut samples), 8 * 350);
        assert!(generator.is_finished());
        assert!(samples[8 * 100..8 * 150].iter().all(|&s| s == 0));
        assert!(samples[8 * 350..].iter().all(|&s| s == 0));
        assert_eq!(generator.fill(&mut samples), 0);
        let nothing = Tone::cadence(&[], true);
        assert_eq!(Generator::new(&nothing, RATE).fill(&mut samples), 0);
    }

    #[test]
    fn dtmf_digits_have_their_two_frequencies() {
        let tones = [
            ('1', 697.0, 1209.0),
            ('0', 941.0, 1336.0),
            ('d', 941.0, 1633.0),
        ];
        for (digit, low, high) in tones {
            let tone = Tone::dtmf(digit, Duration::from_secs(1)).expect("a digit");
            let samples = play(&tone, RATE, 1);
            assert!((level(&samples, low, RATE) + 9.0).abs() < 0.1, "{digit}");
            assert!((level(&samples, high, RATE) + 7.0).abs() < 0.1, "{digit}");
        }
        assert_eq!(Tone::dtmf('E', Duration::from_secs(1)), None);
    }
}
