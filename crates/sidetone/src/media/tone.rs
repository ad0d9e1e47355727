//! Tone generation: frequencies with level and cadence, call-progress tones and DTMF as audio.

use crate::media::frame::SampleRate;
use crate::time::Duration;

/// Steps of a [`Tone`]'s cadence, at most.
pub const MAX_STEPS: usize = 4;

/// One sine of a tone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sine {
    /// Frequency in hertz, up to half the sample rate; above it the sine is left out.
    pub hz: f32,
    /// Level in dBm0: a sine at +3.14 dBm0 spans the full scale of 16 bits (G.711 §8, A-law).
    pub dbm0: f32,
}

/// A step of a cadence: sound, then silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// How long the tone sounds.
    pub on: Duration,
    /// How long it is silent afterwards.
    pub off: Duration,
}

/// One or two sines with a cadence; a plan, from which a [`Generator`] makes sound.
///
/// Presets follow ITU-T E.180 (recommended) and ETSI practice for Europe, and the precise tone plan
/// of North America.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::tone::{Generator, Tone};
///
/// let mut ringback = Generator::new(&Tone::ringback(), SampleRate::HZ_8000);
/// let mut samples = [0; 160];
/// assert_eq!(ringback.fill(&mut samples), 160);
/// assert!(samples.iter().any(|&s| s > 1000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    first: Sine,
    second: Option<Sine>,
    steps: [Step; MAX_STEPS],
    step_count: usize,
    repeat: bool,
}

impl Tone {
    /// A tone that sounds for `on` and is over.
    pub const fn once(first: Sine, second: Option<Sine>, on: Duration) -> Self {
        let off = Duration::ZERO;
        Self {
            first,
            second,
            steps: [Step { on, off }; MAX_STEPS],
            step_count: 1,
            repeat: false,
        }
    }

    /// A tone that repeats one step for ever; an `off` of zero makes it continuous.
    pub const fn repeating(first: Sine, second: Option<Sine>, step: Step) -> Self {
        Self {
            first,
            second,
            steps: [step; MAX_STEPS],
            step_count: 1,
            repeat: true,
        }
    }

    /// A tone that never ends: test signals, dial tone.
    pub const fn steady(first: Sine, second: Option<Sine>) -> Self {
        Self::repeating(first, second, step(1_000, 0))
    }

    /// A tone of several steps, the first [`MAX_STEPS`] of `steps`, repeated for ever or once.
    pub fn cadence(first: Sine, second: Option<Sine>, steps: &[Step], repeat: bool) -> Self {
        let mut own = [Step::default(); MAX_STEPS];
        let step_count = steps.len().min(MAX_STEPS);
        own[..step_count].copy_from_slice(&steps[..step_count]);
        Self {
            first,
            second,
            steps: own,
            step_count,
            repeat,
        }
    }

    /// Ringback of the European plan: 425 Hz at -10 dBm0, 1 s on and 4 s off.
    pub const fn ringback() -> Self {
        Self::repeating(E180, None, step(1_000, 4_000))
    }

    /// Busy of the European plan: 425 Hz at -10 dBm0, 0.5 s on and off.
    pub const fn busy() -> Self {
        Self::repeating(E180, None, step(500, 500))
    }

    /// Congestion of the European plan: 425 Hz at -10 dBm0, 0.25 s on and off.
    pub const fn congestion() -> Self {
        Self::repeating(E180, None, step(250, 250))
    }

    /// Dial tone of the European plan: 425 Hz at -10 dBm0, continuous.
    pub const fn dial() -> Self {
        Self::steady(E180, None)
    }

    /// Ringback of North America: 440 and 480 Hz at -19 dBm0 each, 2 s on and 4 s off.
    pub const fn ringback_north_america() -> Self {
        let (low, high) = (sine(440.0, -19.0), sine(480.0, -19.0));
        Self::repeating(low, Some(high), step(2_000, 4_000))
    }

    /// Busy of North America: 480 and 620 Hz at -24 dBm0 each, 0.5 s on and off.
    pub const fn busy_north_america() -> Self {
        let (low, high) = (sine(480.0, -24.0), sine(620.0, -24.0));
        Self::repeating(low, Some(high), step(500, 500))
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

/// The level of a sine that spans the full scale of A-law, and here of 16 bits (G.711 §8).
#[expect(clippy::approx_constant, reason = "a level, not pi")]
const OVERLOAD_DBM0: f32 = 3.14;

const E180: Sine = sine(425.0, -10.0);

const fn sine(hz: f32, dbm0: f32) -> Sine {
    Sine { hz, dbm0 }
}

const fn step(on_ms: u64, off_ms: u64) -> Step {
    Step {
        on: Duration::from_millis(on_ms),
        off: Duration::from_millis(off_ms),
    }
}

/// Makes the sound of a [`Tone`], its phase continuous from call to call.
///
/// Onset and end of each step are ramped over 2 ms so that they do not click.
#[derive(Debug, Clone)]
pub struct Generator {
    sines: [Oscillator; 2],
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
            sines: [
                Oscillator::new(Some(tone.first), rate),
                Oscillator::new(tone.second, rate),
            ],
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
        let [first, second] = &mut self.sines;
        for (position, out) in (self.position..).zip(out) {
            let edge = if continuous {
                self.ramp
            } else {
                (position + 1).min(on - position).min(self.ramp)
            };
            let sample = first.next() + second.next();
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
            32_767.0 * 10f32.powf((s.dbm0.min(OVERLOAD_DBM0) - OVERLOAD_DBM0) / 20.0)
        });
        Self {
            phase: 0,
            step: (hz / f64::from(rate.hz()) * 4_294_967_296.0).round() as u32,
            peak,
        }
    }

    fn next(&mut self) -> f32 {
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

    const RATE: SampleRate = SampleRate::HZ_8000;

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
        20.0 * (peak / 32_767.0).log10() + f64::from(OVERLOAD_DBM0)
    }

    #[test]
    fn levels_are_in_dbm0_at_every_rate() {
        for rate in [RATE, SampleRate::HZ_16000, SampleRate::HZ_48000] {
            let samples = play(&Tone::dial(), rate, 2);
            let second = &samples[rate.hz() as usize..];
            assert!((level(second, 425.0, rate) + 10.0).abs() < 0.05);
            assert!(level(second, 1_000.0, rate) < -70.0);
        }
    }

    #[test]
    fn frames_join_without_a_step() {
        let samples = play(&Tone::dial(), RATE, 1);
        let peak = i32::from(*samples.iter().max().expect("samples"));
        let steepest = 425.0 * std::f64::consts::TAU / 8_000.0 * f64::from(peak);
        for pair in samples.windows(2) {
            let step = (i32::from(pair[1]) - i32::from(pair[0])).abs();
            assert!(f64::from(step) <= steepest + 2.0);
        }
    }

    #[test]
    fn cadence_repeats_to_the_sample() {
        let samples = play(&Tone::busy(), RATE, 3);
        for (n, part) in samples.chunks(4_000).enumerate() {
            let sounds = part.iter().any(|&s| s != 0);
            assert_eq!(sounds, n % 2 == 0, "half second {n}");
        }
        let ringback = play(&Tone::ringback(), RATE, 10);
        let sounding = ringback.chunks(8_000).map(|s| s.iter().any(|&s| s != 0));
        let expected = [
            true, false, false, false, false, true, false, false, false, false,
        ];
        assert_eq!(sounding.collect::<Vec<bool>>(), expected);
    }

    #[test]
    fn a_cadence_of_several_steps_ends() {
        let steps = [step(100, 50), step(200, 0)];
        let tone = Tone::cadence(sine(440.0, -10.0), None, &steps, false);
        let mut generator = Generator::new(&tone, RATE);
        let mut samples = vec![1; 4_000];
        assert_eq!(generator.fill(&mut samples), 8 * 350);
        assert!(generator.is_finished());
        assert!(samples[8 * 100..8 * 150].iter().all(|&s| s == 0));
        assert!(samples[8 * 350..].iter().all(|&s| s == 0));
        assert_eq!(generator.fill(&mut samples), 0);
        let nothing = Tone::cadence(sine(440.0, -10.0), None, &[], true);
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
