//! Conversion between the voice sample rates, and of whole clips from any rate.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::media::frame::{Frame, SampleRate};

/// Converts a stream of audio between 8, 16 and 48 kHz by an integer ratio.
///
/// A linear-phase polyphase filter: flat within 0.1 dB up to 85 % of the lower rate's half (3.4 kHz
/// for 8 kHz, 6.8 for 16), more than 60 dB down from 115 % (4.6 and 9.2 kHz). Delays the sound by
/// half the filter's length, [`delay`](Self::delay). Nothing allocates after construction.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// use sidetone::media::resample::Resampler;
///
/// let mut up = Resampler::new(SampleRate::HZ_8000, SampleRate::HZ_48000);
/// let mut out = Frame::silence(SampleRate::HZ_48000);
/// up.process(&Frame::silence(SampleRate::HZ_8000), &mut out);
/// assert_eq!(out.samples().len(), 960);
/// ```
#[derive(Debug, Clone)]
pub struct Resampler {
    from: SampleRate,
    to: SampleRate,
    ratio: usize,
    /// The filter in as many phases as the ratio, each reversed in time.
    taps: Box<[[f32; TAPS]]>,
    /// The last inputs, then room for a frame, at the lower rate: one such lane for a ratio up, as
    /// many as the ratio for a ratio down, input samples going to them in turn.
    lanes: Box<[f32]>,
    lane_len: usize,
}

/// Filter length in samples of the lower rate, the length of a phase.
const TAPS: usize = 32;
/// Outputs computed at once; the frame lengths are multiples of it.
const BLOCK: usize = 16;

impl Resampler {
    /// A converter from one rate to another; between equal rates it copies.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let (low, high) = (from.min(to), from.max(to));
        let ratio = (high.hz() / low.hz()) as usize;
        let prototype = design(ratio);
        let last = prototype.len() - 1;
        let up = from < to;
        let tap = |phase: usize, t: usize| {
            if up {
                prototype[(TAPS - 1 - t) * ratio + phase] * ratio as f32
            } else {
                prototype[last - (t * ratio + phase)]
            }
        };
        let taps = (0..ratio).map(|phase| std::array::from_fn(|t| tap(phase, t)));
        let lane_len = TAPS - 1 + low.frame_samples();
        let lanes = if up { 1 } else { ratio };
        Self {
            from,
            to,
            ratio,
            taps: taps.collect(),
            lanes: vec![0.0; lanes * lane_len].into(),
            lane_len,
        }
    }

    /// Converts a whole piece of sound, compensating the filter's delay.
    pub fn convert(from: SampleRate, to: SampleRate, samples: Vec<i16>) -> Vec<i16> {
        if from == to {
            return samples;
        }
        let mut resampler = Self::new(from, to);
        let delay = resampler.delay();
        let length = samples.len() * to.hz() as usize / from.hz() as usize;
        let mut result = Vec::with_capacity(length + delay + to.frame_samples());
        let mut frame = Frame::silence(from);
        let mut out = Frame::silence(to);
        let mut rest = samples.as_slice();
        while result.len() < length + delay {
            let (head, tail) = rest.split_at(rest.len().min(from.frame_samples()));
            frame.copy_from(head);
            frame.resize(from.frame_samples());
            resampler.process(&frame, &mut out);
            result.extend_from_slice(out.samples());
            rest = tail;
        }
        result.truncate(length + delay);
        result.drain(..delay);
        result
    }

    /// The filter's delay in samples of the target rate, to the nearest half: 2 ms between 8 kHz and
    /// any other rate, 1 ms between 16 and 48 kHz.
    pub fn delay(&self) -> usize {
        match self.from.cmp(&self.to) {
            std::cmp::Ordering::Less => TAPS / 2 * self.ratio,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => TAPS / 2 - 1,
        }
    }

    /// Goes on where `other` stands, if it converts between the same rates.
    pub(crate) fn take_over(&mut self, other: &Self) {
        if (self.from, self.to) == (other.from, other.to) {
            self.lanes.copy_from_slice(&other.lanes);
        }
    }

    /// The rate of what it converts.
    pub fn from_rate(&self) -> SampleRate {
        self.from
    }

    /// Converts the next samples of the stream, up to 20 ms and a multiple of the ratio down, into
    /// `out`. Input of another rate than the converter's leaves `out` silent.
    pub fn process(&mut self, input: &Frame, out: &mut Frame) {
        out.reset(self.to);
        if input.rate() != self.from {
            return;
        }
        if self.from == self.to {
            out.copy_from(input.samples());
            return;
        }
        let samples = input.samples();
        let samples = &samples[..samples.len().min(self.from.frame_samples())];
        let low = self.load(samples);
        if self.from < self.to {
            self.up(low, out);
        } else {
            self.down(low, out);
        }
        for lane in self.lanes.chunks_exact_mut(self.lane_len) {
            lane.copy_within(low..low + TAPS - 1, 0);
        }
    }

    /// Puts samples into the lanes behind the last inputs and returns how many each gained.
    fn load(&mut self, samples: &[i16]) -> usize {
        let lanes = self.lanes.len() / self.lane_len;
        for (number, lane) in self.lanes.chunks_exact_mut(self.lane_len).enumerate() {
            let own = samples.iter().skip(number).step_by(lanes);
            for (to, &from) in lane[TAPS - 1..].iter_mut().zip(own) {
                *to = f32::from(from);
            }
        }
        samples.len() / lanes
    }

    fn up(&self, low: usize, out: &mut Frame) {
        out.resize(low * self.ratio);
        for start in (0..low).step_by(BLOCK) {
            for (phase, taps) in self.taps.iter().enumerate() {
                let mut block = [0.0; BLOCK];
                filter(&self.lanes[start..], taps, &mut block);
                let own = out.samples_mut()[start * self.ratio..].iter_mut();
                for (out, sample) in own.skip(phase).step_by(self.ratio).zip(block) {
                    *out = quantise(sample);
                }
            }
        }
    }

    fn down(&self, low: usize, out: &mut Frame) {
        out.resize(low);
        for (number, out) in out.samples_mut().chunks_mut(BLOCK).enumerate() {
            let mut block = [0.0; BLOCK];
            for (lane, taps) in self.lanes.chunks_exact(self.lane_len).zip(&self.taps) {
                filter(&lane[number * BLOCK..], taps, &mut block);
            }
            for (out, sample) in out.iter_mut().zip(block) {
                *out = quantise(sample);
            }
        }
    }
}

/// Adds the next outputs of a phase; side by side, so that the compiler can use vectors.
#[inline]
fn filter(input: &[f32], taps: &[f32; TAPS], out: &mut [f32; BLOCK]) {
    let mut sums = *out;
    for (input, tap) in input.windows(BLOCK).zip(taps) {
        for (sum, input) in sums.iter_mut().zip(input) {
            *sum += tap * input;
        }
    }
    *out = sums;
}

/// Converts a whole clip from `hz` to a voice rate, in place and length: the integer ratios by
/// [`Resampler`], any other (44.1 kHz, 32 kHz) by `rubato`'s transform, which is far too slow to begin
/// and too late to end for a stream. `None` where `hz` is not [convertible](is_convertible).
pub fn convert_clip(hz: u32, to: SampleRate, samples: Vec<i16>) -> Option<Vec<i16>> {
    if let Some(from) = SampleRate::from_hz(hz) {
        return Some(Resampler::convert(from, to, samples));
    }
    if !is_convertible(hz) {
        return None;
    }
    const CHUNK: usize = 1_024;
    let length = (samples.len() as u64 * u64::from(to.hz()) / u64::from(hz)) as usize;
    let (from, to) = (hz as usize, to.hz() as usize);
    let mut resampler = Fft::<f32>::new(from, to, CHUNK, 1, FixedSync::Both).ok()?;
    let input: Vec<f32> = samples.iter().map(|&s| f32::from(s)).collect();
    let frames = input.len();
    let input = InterleavedOwned::new_from(input, 1, frames).ok()?;
    let output = resampler.process_all(&input, frames, None).ok()?;
    let mut converted: Vec<i16> = output.take_data().into_iter().map(quantise).collect();
    converted.resize(length, 0);
    Some(converted)
}

/// Whether a clip of this rate can be converted: 4 to 192 kHz in steps of 25 Hz, which all rates in
/// use are, so that the ratio to a voice rate is one of small numbers.
pub fn is_convertible(hz: u32) -> bool {
    (4_000..=192_000).contains(&hz) && hz.is_multiple_of(25)
}

/// A low-pass filter at the middle of the transition band, windowed by Kaiser, of unity gain.
fn design(ratio: usize) -> Vec<f32> {
    const BETA: f64 = 6.0;
    let length = TAPS * ratio;
    let middle = (length - 1) as f64 / 2.0;
    let taps: Vec<f64> = (0..length)
        .map(|i| {
            let x = (i as f64 - middle) / ratio as f64;
            let sinc = if x == 0.0 {
                1.0
            } else {
                (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
            };
            let edge = (i as f64 - middle) / (middle + 0.5);
            sinc * bessel(BETA * (1.0 - edge * edge).sqrt()) / bessel(BETA)
        })
        .collect();
    let sum: f64 = taps.iter().sum();
    taps.iter().map(|tap| (tap / sum) as f32).collect()
}

/// The modified Bessel function of the first kind and order zero.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..40 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

/// The nearest 16-bit sample. Adding a number so large that its fraction has no bits left rounds
/// without a library call.
#[inline]
fn quantise(sample: f32) -> i16 {
    const LARGE: f32 = 12_582_912.0;
    let limited = sample.clamp(f32::from(i16::MIN), f32::from(i16::MAX));
    ((limited + LARGE).to_bits() as i32 - LARGE.to_bits() as i32) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [SampleRate; 3] = [
        SampleRate::HZ_8000,
        SampleRate::HZ_16000,
        SampleRate::HZ_48000,
    ];

    fn sine(hz: f64, rate: SampleRate, seconds: f64) -> Vec<i16> {
        let step = hz / f64::from(rate.hz()) * std::f64::consts::TAU;
        let count = (f64::from(rate.hz()) * seconds) as usize;
        (0..count)
            .map(|n| ((n as f64 * step).sin() * 16_000.0).round() as i16)
            .collect()
    }

    fn stream(from: SampleRate, to: SampleRate, samples: &[i16]) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to);
        let mut out = Frame::silence(to);
        let mut all = vec![];
        for part in samples.chunks_exact(from.frame_samples()) {
            resampler.process(&Frame::from_samples(from, part), &mut out);
            all.extend_from_slice(out.samples());
        }
        all
    }

    /// Root mean square of the middle of `samples`.
    fn rms(samples: &[i16]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let sum: f64 = middle.iter().map(|&s| f64::from(s).powi(2)).sum();
        (sum / middle.len() as f64).sqrt()
    }

    /// Decibels of `samples` against the sine that was put in.
    fn db(samples: &[i16]) -> f64 {
        20.0 * (rms(samples) / (16_000.0 / 2f64.sqrt())).log10()
    }

    fn pairs() -> impl Iterator<Item = (SampleRate, SampleRate)> {
        let all = RATES.into_iter().flat_map(|a| RATES.map(|b| (a, b)));
        all.filter(|(a, b)| a != b)
    }

    #[test]
    fn pass_band_is_flat() {
        for (from, to) in pairs() {
            let low = f64::from(from.hz().min(to.hz()));
            for step in 1..=17 {
                let hz = low / 2.0 * 0.05 * f64::from(step);
                let level = db(&stream(from, to, &sine(hz, from, 1.0)));
                assert!(
                    level.abs() < 0.1,
                    "{from} to {to}: {level:.2} dB at {hz} Hz"
                );
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_gone() {
        for (from, to) in pairs().filter(|(from, to)| from > to) {
            let (edge, top) = (f64::from(to.hz()) * 0.575, f64::from(from.hz()) / 2.0);
            for step in 0..20 {
                let hz = edge + (top - edge) * f64::from(step) / 20.0;
                let level = db(&stream(from, to, &sine(hz, from, 1.0)));
                assert!(level < -60.0, "{from} to {to}: {level:.1} dB at {hz} Hz");
            }
        }
    }

    #[test]
    fn images_of_the_lower_rate_are_gone() {
        for (from, to) in pairs().filter(|(from, to)| from < to) {
            for part in [0.05, 0.3, 0.6, 0.85] {
                let hz = f64::from(from.hz()) / 2.0 * part;
                let out = stream(from, to, &sine(hz, from, 1.0));
                let residue = without_sine(&out, hz, to);
                let level = db(&residue);
                assert!(
                    level < -60.0,
                    "{from} to {to}: {level:.1} dB beside {hz} Hz"
                );
            }
        }
    }

    /// Takes the best-fitting sine of `hz` out of the middle of `samples`.
    fn without_sine(samples: &[i16], hz: f64, rate: SampleRate) -> Vec<i16> {
        let second = rate.hz() as usize;
        let start = samples.len() / 4;
        let step = hz / f64::from(rate.hz()) * std::f64::consts::TAU;
        let (mut c, mut s) = (0.0, 0.0);
        let whole = second / 2;
        for (n, &x) in samples.iter().enumerate().skip(start).take(whole) {
            c += f64::from(x) * (n as f64 * step).cos();
            s += f64::from(x) * (n as f64 * step).sin();
        }
        let (c, s) = (c * 2.0 / whole as f64, s * 2.0 / whole as f64);
        let fit = |n: usize| c * (n as f64 * step).cos() + s * (n as f64 * step).sin();
        let pairs = samples.iter().enumerate();
        pairs
            .map(|(n, &x)| (f64::from(x) - fit(n)).round() as i16)
            .collect()
    }

    #[test]
    fn whole_clips_keep_their_length_and_place() {
        for (from, to) in pairs() {
            let samples = sine(440.0, from, 0.5);
            let converted = Resampler::convert(from, to, samples.clone());
            assert_eq!(converted.len(), to.hz() as usize / 2);
            let expected = sine(440.0, to, 0.5);
            let inner = 200..converted.len() - 200;
            let worst = converted[inner.clone()]
                .iter()
                .zip(&expected[inner])
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            // Half a sample of the higher rate off, at most.
            let limit = 16_000.0 * 440.0 * std::f64::consts::TAU / f64::from(to.hz()) * 0.55;
            assert!(
                f64::from(worst.expect("samples")) < limit + 20.0,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn a_conversion_takes_two_milliseconds_at_most() {
        for (from, to) in pairs() {
            let delay = to.duration_of(Resampler::new(from, to).delay() as u64);
            assert!(delay.as_micros() <= 2_000, "{from} to {to}: {delay:?}");
            // The delay told is the one that is: an impulse comes out there.
            let mut impulse = vec![0; from.frame_samples()];
            impulse[0] = 20_000;
            let out = stream(from, to, &impulse);
            let at = (0..out.len()).max_by_key(|&n| out[n]).expect("samples");
            assert!(at.abs_diff(Resampler::new(from, to).delay()) <= 1, "{at}");
        }
    }

    #[test]
    fn what_is_no_sound_of_the_input_stays_far_below_it() {
        for (from, to) in pairs() {
            for hz in [304.0, 1_004.0, 2_996.0] {
                let out = stream(from, to, &sine(hz, from, 1.0));
                // 1,000 steps of quantisation noise in a sine of 16,000: 93 dB.
                let noise = db(&without_sine(&out, hz, to));
                assert!(noise < -70.0, "{from} to {to}: {noise:.1} dB at {hz} Hz");
            }
        }
    }

    #[test]
    fn clips_of_odd_rates_keep_length_pitch_and_band() {
        for hz in [11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 96_000] {
            for to in RATES {
                let second = |pitch: f64| -> Vec<i16> {
                    let step = pitch / f64::from(hz) * std::f64::consts::TAU;
                    let sample = |n| (f64::from(n) * step).sin() * 16_000.0;
                    (0..hz).map(|n| sample(n).round() as i16).collect()
                };
                let out = convert_clip(hz, to, second(1_004.0)).expect("convertible");
                assert_eq!(out.len(), to.hz() as usize, "{hz} to {to}");
                assert!(db(&out).abs() < 0.1, "{hz} to {to}: {:.2}", db(&out));
                let noise = db(&without_sine(&out, 1_004.0, to));
                assert!(noise < -70.0, "{hz} to {to}: {noise:.1} dB");
                let low = f64::from(hz.min(to.hz()));
                if f64::from(hz) * 0.45 > low * 0.575 {
                    let gone = db(&convert_clip(hz, to, second(low * 0.575)).expect("fine"));
                    assert!(gone < -60.0, "{hz} to {to}: {gone:.1} dB of an alias");
                }
            }
        }
        for hz in [0, 3_975, 44_101, 200_000] {
            assert_eq!(convert_clip(hz, RATES[0], vec![0; 10]), None);
        }
    }

    #[test]
    fn equal_rates_copy_and_wrong_rates_are_silent() {
        let rate = SampleRate::HZ_8000;
        let mut same = Resampler::new(rate, rate);
        let mut out = Frame::silence(rate);
        same.process(&Frame::from_samples(rate, &[5; 160]), &mut out);
        assert_eq!(out.samples(), [5; 160]);
        same.process(
            &Frame::from_samples(SampleRate::HZ_16000, &[5; 320]),
            &mut out,
        );
        assert!(out.is_silent() && out.samples().len() == 160);
        assert_eq!(same.delay(), 0);
    }
}
