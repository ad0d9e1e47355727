//! What a listener got of what a speaker said: level, duration, delay, and how much of it.

use super::RATE;

/// Samples of one analysis frame, 20 ms.
const FRAME: usize = RATE / 50;
/// A frame quieter than this is a pause, in dBov.
const PAUSE: f64 = -50.0;
/// A frame louder than this is surely speech, in dBov; one so many decibels below it is a gap.
const SPEECH: f64 = -40.0;
const HUSH: f64 = 25.0;
/// A block that correlates at least so well with what was heard counts as carried.
const CARRIED: f64 = 0.8;

/// How finely speech is compared.
#[derive(Debug, Clone, Copy)]
struct Grain {
    /// Samples of a block.
    block: usize,
    /// How far a block may lie from the common delay, in samples: jitter buffers move.
    wander: usize,
}

/// Blocks of half a second, where nothing changes the speech's time.
const COARSE: Grain = Grain {
    block: RATE / 2,
    wander: RATE / 20,
};
/// Blocks of 100 ms, where a jitter buffer stretches and shortens speech all the time.
const FINE: Grain = Grain {
    block: RATE / 10,
    wander: RATE / 10,
};

/// The level of a sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Root mean square over the frames that are not pauses, 0 being the loudest square wave.
    pub(crate) dbov: f64,
    /// Seconds of frames that are not pauses.
    pub(crate) active: f64,
}

/// Measures the level of `samples` at 8 kHz.
pub(crate) fn level(samples: &[i16]) -> Level {
    let mut energy = 0.0;
    let mut frames = 0;
    for frame in samples.chunks_exact(FRAME) {
        let power = power(frame);
        if decibel(power) > PAUSE {
            energy += power;
            frames += 1;
        }
    }
    let dbov = if frames == 0 {
        f64::NEG_INFINITY
    } else {
        decibel(energy / f64::from(frames))
    };
    Level {
        dbov,
        active: f64::from(frames) * FRAME as f64 / RATE as f64,
    }
}

/// Adds `more` to `sound`, as a room would.
pub(crate) fn add(sound: &mut Vec<i16>, more: &[i16]) {
    sound.resize(sound.len().max(more.len()), 0);
    for (sample, more) in sound.iter_mut().zip(more) {
        *sample = sample.saturating_add(*more);
    }
}

/// How `heard` holds `said`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Carried {
    /// Where the beginning of `said` falls in `heard`, in seconds; negative when before it.
    pub(crate) delay: f64,
    /// Seconds of speech in `said`, counted in blocks, that fall inside `heard`.
    pub(crate) offered: f64,
    /// Seconds of these that were heard as they were said.
    pub(crate) carried: f64,
    /// Seconds of speech that were silence where they should have been heard.
    pub(crate) gaps: f64,
}

/// Looks for `said` in `heard`: one common delay first, then block by block near it.
/// `None` when either is silent.
pub(crate) fn carried(said: &[i16], heard: &[i16]) -> Option<Carried> {
    compare(COARSE, said, heard)
}

/// The same of speech that came over a bad network: what was heard may be stretched or shortened
/// here and there, as adaptive buffers do.
pub(crate) fn followed(said: &[i16], heard: &[i16]) -> Option<Carried> {
    compare(FINE, said, heard)
}

fn compare(grain: Grain, said: &[i16], heard: &[i16]) -> Option<Carried> {
    if level(said).active == 0.0 || level(heard).active == 0.0 {
        return None;
    }
    let lag = best_lag(said, heard);
    let mut offered = 0;
    let mut good = 0;
    let mut silent = 0;
    for (index, block) in said.chunks_exact(grain.block).enumerate() {
        let start = lag + (index * grain.block) as isize;
        let inside = start >= 0 && start as usize + grain.block <= heard.len();
        if !inside || decibel(power(block)) <= PAUSE + 6.0 {
            continue;
        }
        offered += 1;
        let (at, likeness) = best_near(block, heard, start as usize, grain.wander);
        if likeness >= CARRIED {
            good += 1;
        }
        silent += gaps(block, &heard[at..]);
    }
    let seconds = |blocks: i32| f64::from(blocks) * grain.block as f64 / RATE as f64;
    Some(Carried {
        delay: lag as f64 / RATE as f64,
        offered: seconds(offered),
        carried: seconds(good),
        gaps: f64::from(silent) * FRAME as f64 / RATE as f64,
    })
}

/// The shift of `said` against `heard` at which they correlate best over their whole length.
fn best_lag(said: &[i16], heard: &[i16]) -> isize {
    let size = (said.len() + heard.len()).next_power_of_two();
    let mut a = spectrum(said, size);
    let mut b = spectrum(heard, size);
    for (a, b) in a.iter_mut().zip(&b) {
        // Conjugate of the one times the other: correlation, not convolution.
        *a = (a.0 * b.0 + a.1 * b.1, a.0 * b.1 - a.1 * b.0);
    }
    transform(&mut a, true);
    b.clear();
    let best = (0..size)
        .max_by(|i, j| a[*i].0.total_cmp(&a[*j].0))
        .unwrap_or(0);
    if best >= heard.len() {
        best as isize - size as isize
    } else {
        best as isize
    }
}

/// Frames of speech in `said` that are silence in `heard`, or almost so.
fn gaps(said: &[i16], heard: &[i16]) -> u32 {
    let frames = said.chunks_exact(FRAME).zip(heard.chunks_exact(FRAME));
    let gap = |(said, heard): (&[i16], &[i16])| {
        let (said, heard) = (decibel(power(said)), decibel(power(heard)));
        said > SPEECH && heard < said - HUSH
    };
    frames.map(gap).map(u32::from).sum()
}

/// Where around `start` `block` correlates best with `heard`, and how well.
fn best_near(block: &[i16], heard: &[i16], start: usize, wander: usize) -> (usize, f64) {
    let first = start.saturating_sub(wander);
    let last = (start + wander).min(heard.len() - block.len());
    (first..=last)
        .map(|at| (at, correlation(block, &heard[at..at + block.len()])))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((start, 0.0))
}

fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let (mut product, mut left, mut right) = (0i64, 0i64, 0i64);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (i64::from(*a), i64::from(*b));
        product += a * b;
        left += a * a;
        right += b * b;
    }
    product as f64 / ((left as f64) * (right as f64)).sqrt().max(1.0)
}

fn power(samples: &[i16]) -> f64 {
    let sum: f64 = samples
        .iter()
        .map(|sample| f64::from(*sample).powi(2))
        .sum();
    sum / samples.len().max(1) as f64 / 32_768f64.powi(2)
}

fn decibel(power: f64) -> f64 {
    10.0 * power.log10()
}

fn spectrum(samples: &[i16], size: usize) -> Vec<(f64, f64)> {
    let mut values: Vec<(f64, f64)> = samples.iter().map(|s| (f64::from(*s), 0.0)).collect();
    values.resize(size, (0.0, 0.0));
    transform(&mut values, false);
    values
}

/// Fourier transform in place, radix 2; the inverse is not scaled.
fn transform(values: &mut [(f64, f64)], inverse: bool) {
    let size = values.len();
    let shift = usize::BITS - size.trailing_zeros();
    for i in 0..size {
        let j = i.reverse_bits().checked_shr(shift).unwrap_or(0);
        if i < j {
            values.swap(i, j);
        }
    }
    let mut span = 1;
    while span < size {
        let angle = std::f64::consts::PI / span as f64 * if inverse { 1.0 } else { -1.0 };
        let turns: Vec<(f64, f64)> = (0..span)
            .map(|k| ((angle * k as f64).cos(), (angle * k as f64).sin()))
            .collect();
        for half in values.chunks_exact_mut(span * 2) {
            let (low, high) = half.split_at_mut(span);
            for ((a, b), w) in low.iter_mut().zip(high).zip(&turns) {
                let turned = (b.0 * w.0 - b.1 * w.1, b.0 * w.1 + b.1 * w.0);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        span *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::super::speech;
    use super::*;

    #[test]
    fn a_square_wave_of_full_scale_is_zero_decibel() {
        let loud = level(&[i16::MIN, i16::MAX].repeat(RATE));
        assert!(
            loud.dbov.abs() < 0.01 && (loud.active - 2.0).abs() < 1e-9,
            "{loud:?}"
        );
        assert_eq!(level(&[0; RATE]).active, 0.0);
    }

    #[test]
    fn a_delayed_and_attenuated_voice_is_found() {
        let said = speech::synthetic(6.0, 1);
        let mut heard = vec![0; 1234];
        heard.extend(said.iter().map(|sample| sample / 2));
        let found = carried(&said, &heard).unwrap();
        assert!(
            (found.delay - 1234.0 / RATE as f64).abs() < 1e-9,
            "{found:?}"
        );
        assert!(
            found.offered >= 4.0 && found.carried == found.offered && found.gaps == 0.0,
            "{found:?}"
        );
    }

    #[test]
    fn a_voice_cut_at_both_ends_is_found_where_it_was_heard() {
        let said = speech::synthetic(8.0, 2);
        let heard = &said[3 * RATE..6 * RATE];
        let found = carried(&said, heard).unwrap();
        assert!((found.delay + 3.0).abs() < 1e-9, "{found:?}");
        assert!(
            found.offered <= 3.0 && found.carried == found.offered,
            "{found:?}"
        );
    }

    #[test]
    fn another_voice_is_not_taken_for_it() {
        let found = carried(&speech::synthetic(5.0, 3), &speech::synthetic(5.0, 4)).unwrap();
        assert!(found.carried < 0.3 * found.offered.max(1.0), "{found:?}");
        assert_eq!(carried(&speech::synthetic(5.0, 3), &[0; RATE]), None);
    }

    #[test]
    fn a_stretched_voice_is_followed_and_another_is_not() {
        let said = speech::synthetic(8.0, 6);
        // Every 375 ms, 5 ms come twice or are left out.
        let mut heard = Vec::new();
        for (index, part) in said.chunks(3 * RATE / 8).enumerate() {
            let cut = if index % 2 == 0 { 40 } else { 0 };
            heard.extend(&part[..part.len() - cut]);
            heard.extend(&part[part.len() - (40 - cut)..]);
        }
        let found = followed(&said, &heard).unwrap();
        assert!(found.carried > 0.8 * found.offered, "{found:?}");
        assert!(carried(&said, &heard).unwrap().carried < found.carried);
        let other = followed(&said, &speech::synthetic(8.0, 7)).unwrap();
        assert!(other.carried < 0.1 * other.offered, "{other:?}");
    }

    #[test]
    fn half_a_voice_counts_half() {
        let said = speech::synthetic(8.0, 5);
        let mut heard = said.clone();
        heard[4 * RATE..].fill(0);
        let found = carried(&said, &heard).unwrap();
        assert!(
            (found.carried / found.offered - 0.5).abs() < 0.15,
            "{found:?}"
        );
        assert!((1.0..4.0).contains(&found.gaps), "{found:?}");
    }
}
