//! Wide-band sound: both halves of its band measured apart, since a narrow-band path would carry the
//! lower half as well.

use super::measure::{self, Carried};
use super::wav::Wav;
use super::{RATE, WIDE};

/// Samples of one analysis frame, 20 ms at 8 kHz.
const FRAME: usize = RATE / 50;
/// Taps of the filters on each side of the middle one.
const REACH: isize = 48;
/// The upper half of speech is much weaker than the lower; it is measured so many times louder.
const LIFT: f64 = 8.0;

/// How `heard` holds `said`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wide {
    /// Below 4 kHz.
    pub(crate) lower: Carried,
    /// The level heard above 4 kHz against what was said there, in decibels.
    pub(crate) upper: f64,
    /// How the loudness above 4 kHz follows that of what was said, 1 being exactly.
    pub(crate) follows: f64,
}

impl Wide {
    /// Whether the upper half came through: not much weaker, and with the speech's own shape.
    pub(crate) fn is_wide(&self) -> bool {
        self.upper > -10.0 && self.follows > 0.7
    }
}

/// Looks for `said` in `heard`; `None` where either is silent. Both may have any multiple of 8 kHz.
pub(crate) fn carried(said: &Wav, heard: &Wav) -> Option<Wide> {
    let [said, heard] = [said, heard].map(sixteen);
    let lower = measure::carried(&half(&said, false), &half(&heard, false))?;
    let [said, heard] = [&said, &heard].map(|sound| half(sound, true));
    let lag = (lower.delay * RATE as f64).round() as isize;
    let from = usize::try_from(-lag).unwrap_or(0).min(said.len());
    let to = usize::try_from(lag).unwrap_or(0).min(heard.len());
    let [said, heard] = [&said[from..], &heard[to..]].map(loudness);
    let frames = said.len().min(heard.len());
    let (said, heard) = (&said[..frames], &heard[..frames]);
    Some(Wide {
        lower,
        upper: mean_above(heard, said) - mean_above(said, said),
        follows: likeness(said, heard),
    })
}

/// The first channel at 8 kHz, of any multiple of it.
pub(crate) fn narrow(wav: &Wav) -> Vec<i16> {
    if wav.rate as usize == RATE {
        return wav.channels.first().cloned().unwrap_or_default();
    }
    half(&sixteen(wav), false)
}

/// The first channel at 16 kHz.
fn sixteen(wav: &Wav) -> Vec<i16> {
    let sound = wav.channels.first().cloned().unwrap_or_default();
    match wav.rate as usize / WIDE {
        // A rate of 8 kHz has nothing above 4 kHz: every second sample between is made up.
        0 => {
            let stuffed: Vec<i16> = sound.iter().flat_map(|sample| [*sample, 0]).collect();
            filter(&stuffed, 0.5, 2.0)
        }
        1 => sound,
        many => decimate(&filter(&sound, 1.0 / many as f64, 1.0), many),
    }
}

/// The lower or the upper half of a band of 8 kHz, sampled at 8 kHz. The upper one is turned
/// upside down, which changes nothing of what is measured.
fn half(sound: &[i16], upper: bool) -> Vec<i16> {
    if !upper {
        return decimate(&filter(sound, 0.5, 1.0), 2);
    }
    let turned: Vec<i16> = sound
        .iter()
        .enumerate()
        .map(|(index, sample)| {
            if index % 2 == 0 {
                *sample
            } else {
                sample.saturating_neg()
            }
        })
        .collect();
    decimate(&filter(&turned, 0.47, LIFT), 2)
}

fn decimate(sound: &[i16], by: usize) -> Vec<i16> {
    sound.iter().step_by(by).copied().collect()
}

/// Keeps what lies below `cut`, 1 being half the sampling rate; without delay.
fn filter(sound: &[i16], cut: f64, gain: f64) -> Vec<i16> {
    let pi = std::f64::consts::PI;
    let tap = |at: isize| {
        let window = 0.54 + 0.46 * (pi * at as f64 / REACH as f64).cos();
        let ideal = match at {
            0 => cut,
            _ => (pi * cut * at as f64).sin() / (pi * at as f64),
        };
        gain * window * ideal
    };
    let taps: Vec<(isize, f64)> = (-REACH..=REACH).map(|at| (at, tap(at))).collect();
    let sample = |index: isize| -> f64 {
        let at = |shift: isize| {
            usize::try_from(index + shift)
                .ok()
                .and_then(|i| sound.get(i))
        };
        taps.iter()
            .filter_map(|(shift, tap)| at(*shift).map(|sample| f64::from(*sample) * tap))
            .sum()
    };
    (0..sound.len() as isize)
        .map(|index| sample(index).round().clamp(-32_768.0, 32_767.0) as i16)
        .collect()
}

/// The level of each frame, in decibels, with a floor.
fn loudness(sound: &[i16]) -> Vec<f64> {
    let level = |frame: &[i16]| {
        let energy: f64 = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        10.0 * (energy / FRAME as f64 + 30.0).log10()
    };
    sound.chunks_exact(FRAME).map(level).collect()
}

/// The mean of `values` over the louder frames of `said`.
fn mean_above(values: &[f64], said: &[f64]) -> f64 {
    let loudest = said.iter().copied().fold(0.0, f64::max);
    let chosen: Vec<f64> = values
        .iter()
        .zip(said)
        .filter(|(_, said)| **said > loudest - 20.0)
        .map(|(value, _)| *value)
        .collect();
    chosen.iter().sum::<f64>() / chosen.len().max(1) as f64
}

/// The correlation coefficient.
fn likeness(one: &[f64], other: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (a, b) = (mean(one), mean(other));
    let sums = one.iter().zip(other).fold([0.0; 3], |sums, (x, y)| {
        let (x, y) = (x - a, y - b);
        [sums[0] + x * y, sums[1] + x * x, sums[2] + y * y]
    });
    sums[0] / (sums[1] * sums[2]).sqrt().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::super::speech::{Voice, say_wide};
    use super::*;

    fn wav(rate: usize, samples: Vec<i16>) -> Wav {
        Wav {
            rate: rate as u32,
            channels: vec![samples],
        }
    }

    #[test]
    fn a_wide_voice_is_told_from_a_narrow_one() {
        let said = say_wide(Voice::Caller, 8.0);
        let mut late = vec![0; 4_800];
        late.extend(&said.channels[0]);
        let found = carried(&said, &wav(WIDE, late)).unwrap();
        assert!((found.lower.delay - 0.3).abs() < 1e-3, "{found:?}");
        assert!(found.is_wide() && found.upper.abs() < 0.5, "{found:?}");
        assert_eq!(found.lower.carried, found.lower.offered);

        let narrow = wav(RATE, half(&said.channels[0], false));
        let found = carried(&said, &narrow).unwrap();
        assert!(found.lower.carried > 0.9 * found.lower.offered, "{found:?}");
        assert!(!found.is_wide(), "{found:?}");
    }

    #[test]
    fn noise_above_a_narrow_voice_does_not_make_it_wide() {
        let said = say_wide(Voice::Caller, 8.0);
        let mut sound = filter(&said.channels[0], 0.5, 1.0);
        for (index, sample) in sound.iter_mut().enumerate() {
            *sample = sample.saturating_add(if index % 2 == 0 { 300 } else { -300 });
        }
        let found = carried(&said, &wav(WIDE, sound)).unwrap();
        assert!(!found.is_wide(), "{found:?}");
    }

    #[test]
    fn a_rate_of_48_khz_is_brought_down() {
        let said = say_wide(Voice::Agent, 4.0);
        let stuffed = said.channels[0]
            .iter()
            .flat_map(|sample| [*sample, 0, 0])
            .collect::<Vec<_>>();
        let found = carried(&said, &wav(48_000, filter(&stuffed, 1.0 / 3.0, 3.0))).unwrap();
        assert!(found.is_wide(), "{found:?}");
    }
}
