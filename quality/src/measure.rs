//! Measures of what was heard against what was said: delay, likeness, and where the clips lie.

use crate::lab::PHASE_US;
use crate::sound::{Sound, power};

/// The delay of what was heard behind what was said, in milliseconds, packetisation not counted: a
/// sample's time of play less the time at which the packet with it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Delay {
    /// Mean over the windows in which somebody spoke.
    pub mean: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Share of the windows in which what was said could be found again.
    pub found: f64,
}

/// Where a window of what was said was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// First sample of the window at [`RATE`].
    at: usize,
    /// How much later it was heard, in samples at [`RATE`].
    lag: i64,
}

/// The rate at which delays are looked for: half a millisecond is exact enough.
const RATE: u32 = 2_000;
const WINDOW: usize = 480;
/// Longest delay that is looked for.
const MOST: usize = 1_600;
/// A window is found where it correlates so well.
const LIKE: f64 = 0.75;

/// Finds every spoken window of `said` in `heard`.
pub fn track(said: &Sound, heard: &Sound, drift_ppm: i32) -> Vec<Found> {
    let (said, heard) = (decimate(said), decimate(heard));
    let mut found = Vec::new();
    for at in (0..said.len().saturating_sub(WINDOW)).step_by(WINDOW) {
        let window = &said[at..at + WINDOW];
        if energy(window) < 100.0 * 100.0 * WINDOW as f64 {
            continue;
        }
        // Where it would be without any delay, by the receiver's clock.
        let nominal = (at as f64 / (1.0 + f64::from(drift_ppm) / 1e6)) as usize;
        if let Some(lag) = best_lag(window, &heard, nominal) {
            found.push(Found { at, lag });
        }
    }
    found
}

/// The windows of `said` that hold speech.
pub fn spoken(said: &Sound) -> usize {
    let said = decimate(said);
    let windows = said.chunks_exact(WINDOW);
    windows
        .filter(|w| energy(w) >= 100.0 * 100.0 * WINDOW as f64)
        .count()
}

/// What the windows say of the delay.
pub fn delay(found: &[Found], spoken: usize) -> Delay {
    let ms = 1000.0 / f64::from(RATE);
    let phase = PHASE_US as f64 / 1000.0;
    let mut lags: Vec<f64> = found.iter().map(|f| f.lag as f64 * ms - phase).collect();
    lags.sort_by(f64::total_cmp);
    let Some(p95) = lags.get(lags.len() * 95 / 100) else {
        return Delay::default();
    };
    Delay {
        mean: lags.iter().sum::<f64>() / lags.len() as f64,
        p95: *p95,
        found: lags.len() as f64 / spoken.max(1) as f64,
    }
}

/// The part of `heard` that answers to samples `from..to` of `said`, at the delay that most of its
/// windows have; silence beyond either end.
pub fn slice(heard: &Sound, found: &[Found], from: usize, to: usize, drift_ppm: i32) -> Sound {
    let scale = heard.rate as usize / RATE as usize;
    let inside = |f: &&Found| f.at * scale >= from && (f.at + WINDOW) * scale <= to;
    let mut lags: Vec<i64> = found.iter().filter(inside).map(|f| f.lag).collect();
    lags.sort_unstable();
    let lag = lags.get(lags.len() / 2).copied().unwrap_or(0) * scale as i64;
    let start = (from as f64 / (1.0 + f64::from(drift_ppm) / 1e6)) as i64 + lag;
    let sample = |n: i64| {
        usize::try_from(n)
            .ok()
            .and_then(|n| heard.samples.get(n).copied())
    };
    let samples = (0..(to - from) as i64).map(|n| sample(start + n).unwrap_or(0));
    Sound::new(heard.rate, samples.collect())
}

/// How far the envelopes of two sounds lie apart: the mean difference of their levels in frames of
/// 20 ms, in tenths of a decibel. Blind to phase, so that stretched time costs little and holes,
/// buzzes and clicks much.
pub fn envelope_distance(said: &Sound, heard: &Sound) -> u32 {
    let frame = (said.rate / 50) as usize;
    let level = |samples: &[i16]| 10.0 * (power(samples) + 1_000.0).log10();
    let pairs = said
        .samples
        .chunks_exact(frame)
        .zip(heard.samples.chunks_exact(frame));
    let differences: Vec<f64> = pairs.map(|(a, b)| (level(a) - level(b)).abs()).collect();
    let mean = differences.iter().sum::<f64>() / differences.len().max(1) as f64;
    (mean * 10.0).round() as u32
}

fn best_lag(window: &[f32], heard: &[f32], at: usize) -> Option<i64> {
    let own = energy(window);
    let mut there = energy(heard.get(at..at + WINDOW)?);
    let mut best = (LIKE, None);
    for lag in 0..MOST {
        let from = at + lag;
        let Some(part) = heard.get(from..from + WINDOW) else {
            break;
        };
        let product = f64::from(dot(window, part));
        let likeness = product / (own * there).sqrt().max(1.0);
        if likeness > best.0 {
            best = (likeness, Some(lag as i64));
        }
        let next = heard.get(from + WINDOW).copied().unwrap_or(0.0);
        there += f64::from(next).powi(2) - f64::from(part[0]).powi(2);
    }
    best.1
}

fn energy(samples: &[f32]) -> f64 {
    samples.iter().map(|&s| f64::from(s).powi(2)).sum()
}

/// Summed in eight lanes, so that the compiler can use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// To [`RATE`], by mean values: what folds back does no harm to a search for likeness.
fn decimate(sound: &Sound) -> Vec<f32> {
    let step = (sound.rate / RATE) as usize;
    let blocks = sound.samples.chunks_exact(step);
    blocks
        .map(|block| block.iter().map(|&s| f32::from(s)).sum::<f32>() / step as f32)
        .collect()
}
