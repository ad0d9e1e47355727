//! Pauses in what is sent: described by comfort noise, and left out.

use crate::media::codec::cn::{MAX_PAYLOAD, describe, level_of};
use crate::media::frame::SampleRate;

/// How long it must be quiet before it counts as a pause, in ms.
const HANGOVER: u32 = 200;
/// How often a pause is described again, in ms; keeps address translators open.
const REFRESH: u32 = 1_000;
/// Decibels by which noise must change to be described anew.
const CHANGE: u8 = 3;
/// Levels in dB below overload: a pause at this whatever the noise, and never above that.
const QUIET: u8 = 66;
const LOUD: u8 = 40;
/// Decibels above the noise that still count as noise.
const MARGIN: f32 = 5.0;
/// Decibels a second by which the noise may seem to grow.
const RISE: f32 = 2.0;

/// What to do with a packet's worth of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Send it.
    Sound,
    /// Send so many bytes of description in its place.
    Describe(usize),
    /// Send nothing.
    Nothing,
}

/// Finds pauses by their level and describes them (RFC 3389).
#[derive(Debug, Clone)]
pub(super) struct Pauses {
    rate: SampleRate,
    /// The noise, as a level below overload: follows what is quieter at once, what is louder slowly.
    noise: f32,
    quiet_for: u32,
    /// The level that was described last, and how long ago; `None` outside a pause.
    described: Option<(u8, u32)>,
    payload: [u8; MAX_PAYLOAD],
}

impl Pauses {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            noise: f32::from(LOUD),
            quiet_for: 0,
            described: None,
            payload: [0; MAX_PAYLOAD],
        }
    }

    /// Judges the next packet's sound.
    pub(super) fn judge(&mut self, samples: &[i16]) -> Judgement {
        let millis = samples.len() as u32 * 1_000 / self.rate.hz();
        let sum: i64 = samples.iter().map(|s| i64::from(*s).pow(2)).sum();
        let level = level_of(sum as f64 / samples.len().max(1) as f64);
        let below = f32::from(level);
        self.noise = (self.noise - RISE * millis as f32 / 1_000.0).max(below);
        let is_noise = below >= self.noise - MARGIN && level >= LOUD || level >= QUIET;
        if !is_noise {
            self.quiet_for = 0;
            self.described = None;
            return Judgement::Sound;
        }
        self.quiet_for = self.quiet_for.saturating_add(millis);
        if self.quiet_for <= HANGOVER {
            return Judgement::Sound;
        }
        match &mut self.described {
            Some((told, ago)) if told.abs_diff(level) < CHANGE && *ago + millis < REFRESH => {
                *ago += millis;
                Judgement::Nothing
            }
            _ => {
                self.described = Some((level, 0));
                Judgement::Describe(self.write(samples, level))
            }
        }
    }

    /// Colour is told at 8 kHz, the only rate that comfort noise has here; otherwise the level alone.
    fn write(&mut self, samples: &[i16], level: u8) -> usize {
        if self.rate == SampleRate::HZ_8000 {
            return describe(samples, &mut self.payload);
        }
        self.payload[0] = level;
        1
    }

    /// What was written last.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: &mut u32, amplitude: i32) -> Vec<i16> {
        let mut next = || {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((*seed >> 16) as i32 - 32_768) * amplitude / 32_768
        };
        (0..160).map(|_| next() as i16).collect()
    }

    #[test]
    fn speech_is_sent_and_pauses_are_described() {
        let mut pauses = Pauses::new(SampleRate::HZ_8000);
        let mut seed = 5;
        let count = |pauses: &mut Pauses, seed: &mut u32, amplitude, frames| {
            let mut counts = [0; 3];
            for _ in 0..frames {
                counts[match pauses.judge(&noise(seed, amplitude)) {
                    Judgement::Sound => 0,
                    Judgement::Describe(_) => 1,
                    Judgement::Nothing => 2,
                }] += 1;
            }
            counts
        };
        assert_eq!(count(&mut pauses, &mut seed, 8_000, 50), [50, 0, 0]);
        let [sent, described, nothing] = count(&mut pauses, &mut seed, 60, 200);
        assert!(
            (10..20).contains(&sent),
            "{sent} until it counts as a pause"
        );
        assert!(
            (4..12).contains(&described),
            "{described} descriptions in four seconds"
        );
        assert_eq!(sent + described + nothing, 200);
        assert_eq!(
            count(&mut pauses, &mut seed, 8_000, 1),
            [1, 0, 0],
            "no onset is lost"
        );
        // What is loud is never a pause, however steady: music on hold, a tone.
        assert_eq!(count(&mut pauses, &mut seed, 8_000, 3_000), [3_000, 0, 0]);
    }
}
