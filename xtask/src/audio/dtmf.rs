//! Digits as pairs of tones (ITU-T Q.23), said and heard.

use super::RATE;

const LOW: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
/// Every digit, row by row.
pub(crate) const ALL: &str = "123A456B789C*0#D";
/// Samples of one look, 20 ms.
const FRAME: usize = RATE / 50;
/// A tone lasts so many frames, and so does the pause after it.
const LENGTH: usize = 5;
/// The share of a frame's energy that both tones must have together.
const SHARE: f64 = 0.8;

/// `digits` as tones of 100 ms with 100 ms of silence after each, at -13 dBov a tone.
pub(crate) fn tones(digits: &str) -> Vec<i16> {
    let mut sound = Vec::new();
    for index in digits.chars().filter_map(|digit| ALL.find(digit)) {
        let (low, high) = (LOW[index / 4], HIGH[index % 4]);
        let wave = |hz: f64, at: usize| {
            (std::f64::consts::TAU * hz * at as f64 / RATE as f64).sin() * 10_000.0
        };
        sound.extend((0..LENGTH * FRAME).map(|at| (wave(low, at) + wave(high, at)) as i16));
        sound.extend(std::iter::repeat_n(0, LENGTH * FRAME));
    }
    sound
}

/// The digits in `sound`, of which each fills two frames at least.
pub(crate) fn listen(sound: &[i16]) -> String {
    let seen: Vec<Option<char>> = sound.chunks_exact(FRAME).map(digit).collect();
    let mut found = String::new();
    for at in 1..seen.len() {
        let before = at.checked_sub(2).and_then(|at| seen[at]);
        if let Some(digit) = seen[at].filter(|_| seen[at] == seen[at - 1] && before != seen[at]) {
            found.push(digit);
        }
    }
    found
}

/// The digit that a frame holds, and hardly anything else.
fn digit(frame: &[i16]) -> Option<char> {
    let energy: f64 = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if energy / (frame.len() as f64) < 10_000.0 {
        return None;
    }
    let best = |tones: [f64; 4]| {
        let powers = tones.map(|hz| power(frame, hz));
        (0..4)
            .max_by(|a, b| powers[*a].total_cmp(&powers[*b]))
            .map(|index| (index, powers[index]))
    };
    let ((row, low), (column, high)) = (best(LOW)?, best(HIGH)?);
    let both = low + high > SHARE * energy && low.min(high) > 0.1 * energy;
    both.then(|| ALL.chars().nth(4 * row + column)).flatten()
}

/// The energy of one tone in a frame.
fn power(frame: &[i16], hz: f64) -> f64 {
    let turn = std::f64::consts::TAU * hz / RATE as f64;
    let (real, imaginary) = frame
        .iter()
        .enumerate()
        .fold((0.0, 0.0), |sum, (at, sample)| {
            let (sin, cos) = (turn * at as f64).sin_cos();
            let sample = f64::from(*sample);
            (sum.0 + sample * cos, sum.1 + sample * sin)
        });
    2.0 * (real * real + imaginary * imaginary) / frame.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::speech;
    use super::*;

    #[test]
    fn every_digit_is_said_and_heard() {
        assert_eq!(listen(&tones(ALL)), ALL);
        assert_eq!(listen(&tones("1122")), "1122");
    }

    #[test]
    fn speech_and_silence_hold_no_digits() {
        assert_eq!(listen(&speech::synthetic(20.0, 3)), "");
        assert_eq!(listen(&[0; RATE]), "");
    }
}
