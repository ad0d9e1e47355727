//! DTMF digits in the sound itself: detection to ITU-T Q.24.

use crate::media::dtmf::{Digit, DtmfEvent};
use crate::media::frame::{Frame, SampleRate};
use crate::media::resample::Resampler;
use crate::media::tone::sine_of_turn;
use crate::time::Duration;

/// The low group of Q.23, in hertz.
const LOW: [u32; 4] = [697, 770, 852, 941];
/// The high group of Q.23, in hertz.
const HIGH: [u32; 4] = [1209, 1336, 1477, 1633];
const KEYS: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];

/// Samples of a window at 8 kHz: 20 ms, under Hann's bell.
const WINDOW: usize = 160;
/// Samples between windows: 10 ms, so that the bells add up to a constant.
const HOP: usize = WINDOW / 2;
const HOP_TIME: Duration = Duration::from_millis(10);
/// How far beside each frequency the spectrum is looked at again, in hertz.
const BESIDE: f64 = 30.0;
/// A bin of the window's transform, in hertz.
const BIN: f32 = 50.0;

/// A tone that has sounded for less is none: between the 23 ms that Q.24 has ignored and the 40 ms
/// that it has taken.
const MIN_TONE: f32 = 31.0;
/// How far a frequency may be off: between the 1.5 % that Q.24 has taken and the 3.5 % that it has
/// ignored.
const MAX_DEVIATION: f32 = 0.025;
/// The least power of either tone: -36 dBm0.
const MIN_POWER: f32 = power_of_dbm0_minus_36();
/// The high tone's power over the low tone's, at most: 6 dB (Q.24 asks for 4).
const MAX_TWIST: f32 = 4.0;
/// The low tone's power over the high tone's, at most: 10 dB (Q.24 asks for 8).
const MAX_REVERSE_TWIST: f32 = 10.0;
/// How much of all energy the two tones hold, at least: the noise may be 5 dB below them.
const MIN_SHARE: f32 = 0.76;
/// How much each tone stands above its group's others, at least: 6 dB. They are 14 dB apart, 8 where
/// a tone is off.
const MIN_LEAD: f32 = 4.0;
/// Windows that a digit is seen in, at least: 40 ms hold three at the least, 23 ms two at the most.
const MIN_WINDOWS: u32 = 3;
/// Windows in a row without it that end a digit: an interruption of 10 ms takes two, a pause of 40 ms
/// four at the least.
const MAX_MISSED: u32 = 3;

/// The mean cosine of two tones lies from 0.37 to 0.83, that of a quarter of noise beside them lower.
const COLOURS: std::ops::Range<f32> = 0.25..0.88;

/// A window's energy for each unit of a tone's power, by the bell's sums.
const ENERGY_OF_POWER: f32 = 0.375 * WINDOW as f32 / 2.0 / ((HOP / 2) as f32 * (HOP / 2) as f32);

/// The power of a sine at -36 dBm0, as [`Spectrum::power`] gives it: halved samples, summed under
/// the bell.
const fn power_of_dbm0_minus_36() -> f32 {
    // 32,767 at +3.14 dBm0, so 361.6 at -36.
    let peak = 361.6 / 2.0;
    let sum = peak * (HOP / 2) as f32;
    sum * sum
}

/// Finds DTMF digits in sound, to ITU-T Q.24.
///
/// Takes tones of 40 ms and pauses of 40 ms, ignores tones of 23 ms and interruptions of 10 ms.
/// Frequencies may be off by 1.5 % (and are refused from 3.5 %), the high tone may be 6 dB louder
/// than the low one or 10 dB softer, either down to -36 dBm0, noise up to 6 dB below them, and dial
/// tone may sound beside them. Speech makes no digits: of the 568 English prompts of Asterisk, none.
///
/// A digit is told about 40 ms after its tone begins and ended about 30 ms after it stops. No allocation.
///
/// ```
/// use sidetone::media::dtmf::detect::DtmfDetector;
/// use sidetone::media::dtmf::{Digit, DtmfEvent};
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::tone::{Generator, Tone};
/// use sidetone::time::Duration;
///
/// let rate = SampleRate::HZ_8000;
/// let tone = Tone::dtmf('5', Duration::from_millis(80)).expect("a digit");
/// let mut tone = Generator::new(&tone, rate);
/// let mut detector = DtmfDetector::new(rate);
/// let mut frame = Frame::silence(rate);
/// for _ in 0..3 {
///     tone.fill(frame.samples_mut());
///     detector.process(&frame);
/// }
/// let digit = Digit::from_char('5').expect("a digit");
/// assert_eq!(detector.poll_event(), Some(DtmfEvent::Started { digit }));
/// ```
#[derive(Debug)]
pub struct DtmfDetector {
    /// To 8 kHz, where the sound comes at another rate, and what comes out of it.
    convert: Option<Box<(Resampler, Frame)>>,
    /// The last whole hop, then the one that fills.
    samples: [i16; WINDOW],
    filled: usize,
    run: Option<Run>,
    /// The low tones' amplitudes in this window and in the one before.
    now: [f32; 4],
    before: [f32; 4],
    /// Windows in a row that held a pair of tones.
    pairs: u32,
    dial: DialTone,
    events: [Option<DtmfEvent>; 4],
}

/// A pair of tones that has begun.
#[derive(Debug, Clone, Copy)]
struct Run {
    low: usize,
    high: usize,
    /// The amplitudes of the low tone, added and the largest.
    sum: f32,
    most: f32,
    /// Windows with it, and windows in a row without it.
    windows: u32,
    missed: u32,
    told: bool,
}

impl Run {
    /// How long it has sounded, in milliseconds: the bells add up to a constant.
    fn length(&self) -> f32 {
        self.sum / self.most * HOP_TIME.as_millis() as f32
    }

    /// Whether it stopped before it was long enough: what comes now is another.
    fn is_broken(&self) -> bool {
        !self.told && self.missed > 0
    }

    fn digit(&self) -> Digit {
        let name = KEYS[self.low][self.high];
        // Cannot fail: every key is a digit.
        Digit::from_char(char::from(name)).unwrap_or(Digit::FLASH)
    }
}

/// A pair of tones in one window.
#[derive(Debug, Clone, Copy)]
struct Pair {
    low: usize,
    high: usize,
    amplitude: f32,
}

impl DtmfDetector {
    /// A detector that has heard nothing, for sound at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let own = SampleRate::HZ_8000;
        let convert = || Box::new((Resampler::new(rate, own), Frame::silence(own)));
        Self {
            convert: (rate != own).then(convert),
            samples: [0; WINDOW],
            filled: HOP,
            run: None,
            now: [0.0; 4],
            before: [0.0; 4],
            pairs: 0,
            dial: DialTone::default(),
            events: [None; 4],
        }
    }

    /// Takes the next sound, 20 ms at most.
    pub fn process(&mut self, frame: &Frame) {
        let Some(mut convert) = self.convert.take() else {
            self.take(frame.samples());
            return;
        };
        convert.0.process(frame, &mut convert.1);
        self.take(convert.1.samples());
        self.convert = Some(convert);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtmfEvent> {
        let event = self.events[0].take()?;
        self.events.rotate_left(1);
        Some(event)
    }

    /// Whether the sound taken last holds the tones of a digit, or of what may become one: time to
    /// mute it, where digits are not to be heard. Less than 23 ms of a tone have passed before.
    pub fn is_sounding(&self) -> bool {
        self.pairs >= 2 || self.run.is_some_and(|run| run.told)
    }

    /// Forgets what it has heard; a digit that sounds ends.
    pub fn reset(&mut self) {
        self.end();
        self.samples = [0; WINDOW];
        self.now = [0.0; 4];
        self.pairs = 0;
        self.dial = DialTone::default();
    }

    fn take(&mut self, mut samples: &[i16]) {
        while !samples.is_empty() {
            let n = samples.len().min(WINDOW - self.filled);
            let (head, tail) = samples.split_at(n);
            self.samples[self.filled..self.filled + n].copy_from_slice(head);
            self.filled += n;
            samples = tail;
            if self.filled == WINDOW {
                self.window();
                self.samples.copy_within(HOP.., 0);
                self.filled = HOP;
            }
        }
    }

    fn window(&mut self) {
        let pair = match Spectrum::of(&self.samples) {
            Some(spectrum) => self.look(&spectrum),
            None => {
                self.now = [0.0; 4];
                self.dial = DialTone::default();
                None
            }
        };
        self.pairs = if pair.is_some() { self.pairs + 1 } else { 0 };
        match pair {
            Some(pair) => self.hit(pair),
            None => self.miss(),
        }
    }

    /// The pair of tones that is all there is in a window.
    fn look(&mut self, spectrum: &Spectrum) -> Option<Pair> {
        self.dial.handle(spectrum);
        // Most of speech ends here: its energy lies lower than that of any digit.
        if !COLOURS.contains(&spectrum.colour) && !self.dial.sounds() {
            self.now = [0.0; 4];
            return None;
        }
        let lows = spectrum.group(0);
        let before = std::mem::replace(&mut self.now, lows.map(f32::sqrt));
        self.before = before;
        let low = leader(&lows)?;
        // Most of the rest ends here, at half the cost.
        let least = spectrum.energy * MIN_SHARE / (1.0 + MAX_TWIST) / ENERGY_OF_POWER;
        if lows[low] < least * 0.4 && !self.dial.sounds() {
            return None;
        }
        let high = leader(&spectrum.group(4))?;
        let low_power = spectrum.refine(low)?;
        let high_power = spectrum.refine(high + 4)?;
        if high_power > low_power * MAX_TWIST || low_power > high_power * MAX_REVERSE_TWIST {
            return None;
        }
        let tones = (low_power + high_power) * ENERGY_OF_POWER;
        let mut energy = spectrum.energy;
        if tones < energy * MIN_SHARE && self.dial.sounds() {
            energy -= spectrum.low_band();
        }
        let amplitude = self.now[low];
        (tones >= energy * MIN_SHARE).then_some(Pair {
            low,
            high,
            amplitude,
        })
    }

    fn hit(&mut self, pair: Pair) {
        let goes_on =
            |run: &&mut Run| (run.low, run.high) == (pair.low, pair.high) && !run.is_broken();
        if let Some(run) = self.run.as_mut().filter(goes_on) {
            run.sum += pair.amplitude;
            run.most = run.most.max(pair.amplitude);
            run.windows += 1;
            run.missed = 0;
        } else {
            self.end();
            self.run = Some(Run {
                low: pair.low,
                high: pair.high,
                // The bell before held the beginning.
                sum: pair.amplitude + self.before[pair.low].min(pair.amplitude),
                most: pair.amplitude,
                windows: 1,
                missed: 0,
                told: false,
            });
        }
        self.tell();
    }

    fn miss(&mut self) {
        let Some(run) = &mut self.run else {
            return;
        };
        // The bell after holds the end.
        run.sum += self.now[run.low].min(run.most / 2.0);
        run.missed += 1;
        let over = run.missed >= MAX_MISSED;
        self.tell();
        if over {
            self.end();
        }
    }

    /// Tells the digit as soon as it has sounded for long enough.
    fn tell(&mut self) {
        let Some(run) = &mut self.run else {
            return;
        };
        if !run.told && run.windows >= MIN_WINDOWS && run.length() >= MIN_TONE {
            run.told = true;
            let digit = run.digit();
            self.push(DtmfEvent::Started { digit });
        }
    }

    fn end(&mut self) {
        let Some(run) = self.run.take().filter(|run| run.told) else {
            return;
        };
        let duration = Duration::from_millis(run.length().round() as u64);
        let digit = run.digit();
        self.push(DtmfEvent::Ended { digit, duration });
    }

    fn push(&mut self, event: DtmfEvent) {
        // Cannot be full: a frame begins and ends one digit at most, and events are polled after it.
        if let Some(free) = self.events.iter_mut().find(|e| e.is_none()) {
            *free = Some(event);
        }
    }
}

/// The tone that stands above its group.
fn leader(powers: &[f32; 4]) -> Option<usize> {
    let best = (1..4).fold(0, |best, n| if powers[n] > powers[best] { n } else { best });
    let leads = |n: usize| n == best || powers[best] >= powers[n] * MIN_LEAD;
    (powers[best] >= MIN_POWER * 0.4 && (0..4).all(leads)).then_some(best)
}

/// One window under the bell, folded about its middle: cosines see the sums, sines the differences.
struct Spectrum {
    even: [i16; HOP],
    odd: [i16; HOP],
    energy: f32,
    /// How alike samples and the next ones are: the mean cosine of what is heard, by its energies.
    colour: f32,
}

impl Spectrum {
    /// `None` where it is too quiet for any digit.
    fn of(samples: &[i16; WINDOW]) -> Option<Self> {
        let mut bell = [0i16; WINDOW];
        for ((to, &sample), &weight) in bell.iter_mut().zip(samples).zip(&BELL) {
            *to = ((i32::from(sample) * i32::from(weight)) >> 16) as i16;
        }
        let small = bell.map(|s| s >> 2);
        let energy = dot(&small, &small) as f32 * 16.0;
        if energy < MIN_POWER * ENERGY_OF_POWER {
            return None;
        }
        let mut next = [0i16; WINDOW];
        next[..WINDOW - 1].copy_from_slice(&small[1..]);
        let mut spectrum = Self {
            even: [0; HOP],
            odd: [0; HOP],
            energy,
            colour: dot(&small, &next) as f32 * 16.0 / energy,
        };
        for n in 0..HOP {
            let (left, right) = (bell[HOP - 1 - n], bell[HOP + n]);
            spectrum.even[n] = right + left;
            spectrum.odd[n] = right - left;
        }
        Some(spectrum)
    }

    /// The power of one frequency.
    fn power(&self, wave: &Wave) -> f32 {
        let scale = 1.0 / f32::from(WAVE_PEAK);
        let even = dot(&self.even, &wave.cosine) as f32 * scale;
        let odd = dot(&self.odd, &wave.sine) as f32 * scale;
        even * even + odd * odd
    }

    /// The powers of a group of tones, of which the first is `first`.
    fn group(&self, first: usize) -> [f32; 4] {
        std::array::from_fn(|n| self.power(&TONES[first + n][1]))
    }

    /// The power of a tone by its true frequency, unless that is too far from what it should be, or
    /// the tone too soft.
    fn refine(&self, tone: usize) -> Option<f32> {
        let [below, own, above] = &TONES[tone];
        let (below, above) = (self.power(below).sqrt(), self.power(above).sqrt());
        // Under Hann's bell the ratio of the two grows all but linearly with the distance.
        let bins = 1.25 * (above - below) / (above + below).max(1.0);
        let hz = FREQUENCIES[tone] as f32;
        if (bins * BIN).abs() > hz * MAX_DEVIATION {
            return None;
        }
        let squared = bins * bins;
        let response = 1.0 - 0.645 * squared + 0.16 * squared * squared;
        let power = self.power(own) / (response * response);
        (power >= MIN_POWER).then_some(power)
    }

    /// The energy from 225 to 575 Hz, where every nation's dial tone lies.
    fn low_band(&self) -> f32 {
        let sum: f32 = LOW_BAND.iter().map(|wave| self.power(wave)).sum();
        (sum * 2.0 / WINDOW as f32).min(self.energy)
    }
}

#[inline]
fn dot<const N: usize>(a: &[i16; N], b: &[i16; N]) -> i32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| i32::from(a) * i32::from(b))
        .sum()
}

/// Whether a dial tone sounds: nothing but a steady sound in its band, for a while. Looked at seldom,
/// as it costs as much as a group of digits.
#[derive(Debug, Clone, Copy, Default)]
struct DialTone {
    windows: u32,
    energy: f32,
    seen: u32,
}

impl DialTone {
    fn handle(&mut self, spectrum: &Spectrum) {
        self.windows += 1;
        if self.windows < 8 {
            return;
        }
        self.windows = 0;
        let energy = spectrum.low_band();
        let steady = energy < self.energy * 1.4 && self.energy < energy * 1.4;
        let alone = energy > spectrum.energy * 0.9;
        // Digits may sound over it, but it goes on.
        self.seen = match steady && (alone || self.sounds()) {
            true => self.seen + 1,
            false => 0,
        };
        self.energy = energy;
    }

    fn sounds(&self) -> bool {
        self.seen >= 3
    }
}

/// A frequency to compare with: the halves of its cosine and sine after the middle of the window.
struct Wave {
    cosine: [i16; HOP],
    sine: [i16; HOP],
}

/// The full scale of [`Wave`]; the sums under the bell stay within 32 bits.
const WAVE_PEAK: i16 = 1_024;

/// Both groups of Q.23.
const FREQUENCIES: [u32; 8] = [
    LOW[0], LOW[1], LOW[2], LOW[3], HIGH[0], HIGH[1], HIGH[2], HIGH[3],
];

/// Each tone, between what lies beside it.
static TONES: [[Wave; 3]; 8] = {
    let mut tones = [const { [SILENT, SILENT, SILENT] }; 8];
    let mut n = 0;
    while n < 8 {
        let hz = FREQUENCIES[n] as f64;
        tones[n] = [wave(hz - BESIDE), wave(hz), wave(hz + BESIDE)];
        n += 1;
    }
    tones
};

/// The bins of the window's transform from 250 to 550 Hz.
static LOW_BAND: [Wave; 7] = {
    let mut band = [const { SILENT }; 7];
    let mut n = 0;
    while n < 7 {
        band[n] = wave(250.0 + 50.0 * n as f64);
        n += 1;
    }
    band
};

const SILENT: Wave = Wave {
    cosine: [0; HOP],
    sine: [0; HOP],
};

/// Hann's bell, full scale at 32,767.
static BELL: [i16; WINDOW] = {
    let mut bell = [0; WINDOW];
    let mut n = 0;
    while n < WINDOW {
        let turn = (n as f64 + 0.5) / WINDOW as f64;
        bell[n] = ((0.5 - 0.5 * cosine_of_turn(turn)) * 32_767.0) as i16;
        n += 1;
    }
    bell
};

const fn wave(hz: f64) -> Wave {
    let mut wave = SILENT;
    let mut n = 0;
    while n < HOP {
        let turn = hz / 8_000.0 * (n as f64 + 0.5);
        wave.cosine[n] = rounded(cosine_of_turn(turn) * WAVE_PEAK as f64);
        wave.sine[n] = rounded(cosine_of_turn(turn + 0.75) * WAVE_PEAK as f64);
        n += 1;
    }
    wave
}

const fn rounded(value: f64) -> i16 {
    (value + if value < 0.0 { -0.5 } else { 0.5 }) as i16
}

const fn cosine_of_turn(turn: f64) -> f64 {
    let turn = turn + 0.25;
    sine_of_turn(turn - turn as i64 as f64)
}

#[cfg(test)]
mod tests;
