//! Stretching time: leaving out or putting in a period of the pitch, so that nobody notices.

use crate::media::frame::SampleRate;
use crate::media::pitch::{Matcher, fade};

/// Shortest and longest piece that is left out or put in at once.
const LAG_MS: (usize, usize) = (3, 15);
/// The stretch that is compared.
const MATCH_MS: usize = 8;
/// How long quiet pieces are blended.
const BLEND_MS: usize = 5;

/// What a stretch may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Manner {
    /// The sound is quiet: so many samples, wherever it suits.
    Quiet(usize),
    /// A period of the pitch, where the sound resembles itself at least so much, from 0 to 1.
    Periodic(f32),
}

/// Shortens and lengthens sound by whole periods of its pitch, by overlapping and adding what
/// resembles most (WSOLA).
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::stretch::{Manner, Stretcher};
///
/// let sound: Vec<i16> = (0..400).map(|n| if n % 80 < 40 { 800 } else { -800 }).collect();
/// let mut future = sound[160..].to_vec();
/// let mut stretcher = Stretcher::new(SampleRate::HZ_8000);
/// // The first 80 samples are to be left out; what is now behind them goes on where they began.
/// assert_eq!(stretcher.shorten(&mut future, Manner::Periodic(0.9)), Some(80));
/// assert_eq!(future[80..], sound[240..]);
/// ```
#[derive(Debug, Clone)]
pub struct Stretcher {
    ms: usize,
    matcher: Matcher,
}

impl Stretcher {
    /// Samples that [`shorten`](Self::shorten) looks at, and that [`lengthen`](Self::lengthen) wants
    /// of the past.
    pub const fn reach(rate: SampleRate) -> usize {
        2 * LAG_MS.1 * rate.hz() as usize / 1000
    }

    /// Samples by which sound changes at once, at most.
    pub const fn longest(rate: SampleRate) -> usize {
        LAG_MS.1 * rate.hz() as usize / 1000
    }

    /// A stretcher of sound at rates up to `rate`, set to it.
    pub fn new(rate: SampleRate) -> Self {
        let ms = rate.hz() as usize / 1000;
        Self {
            ms,
            matcher: Matcher::new(MATCH_MS * ms, (MATCH_MS + LAG_MS.1) * ms),
        }
    }

    /// Sets another rate, not above the one that it was made for.
    pub fn set_rate(&mut self, rate: SampleRate) {
        self.ms = rate.hz() as usize / 1000;
    }

    /// Blends the beginning of `future` into what comes a little later, and returns how many samples
    /// are to be left out at its beginning; nothing where there is too little of it or it does not
    /// resemble itself.
    pub fn shorten(&mut self, future: &mut [i16], manner: Manner) -> Option<usize> {
        let (least, most) = (LAG_MS.0 * self.ms, LAG_MS.1 * self.ms);
        let (lag, blend) = match manner {
            Manner::Quiet(samples) => (samples.min(most), BLEND_MS * self.ms),
            Manner::Periodic(score) => {
                let template = future.get(..MATCH_MS * self.ms)?;
                let region = future.get(least..most + template.len())?;
                let found = self.matcher.find(template, region, self.ms);
                let lag = least + found.offset;
                (found.score >= score).then_some((lag, lag))?
            }
        };
        if lag == 0 || future.len() < lag + blend {
            return None;
        }
        for i in 0..blend {
            let (old, new) = (f32::from(future[i]), f32::from(future[lag + i]));
            future[lag + i] = fade(old, new, i, blend) as i16;
        }
        Some(lag)
    }

    /// Writes to the beginning of `out` what is to be put in before `sound[at]`, and returns how many
    /// samples; nothing where there is too little sound or it does not resemble itself. `out` has
    /// room for [`longest`](Self::longest).
    pub fn lengthen(
        &mut self,
        sound: &[i16],
        at: usize,
        manner: Manner,
        out: &mut [i16],
    ) -> Option<usize> {
        let (least, most) = (LAG_MS.0 * self.ms, LAG_MS.1 * self.ms);
        let future = sound.get(at..)?;
        let (lag, blend) = match manner {
            Manner::Quiet(samples) => (samples.min(most), BLEND_MS * self.ms),
            Manner::Periodic(score) => {
                let template = &future[..(MATCH_MS * self.ms).min(future.len())];
                if template.len() < least {
                    return None;
                }
                let from = at.checked_sub(most)?;
                let region = &sound[from..at - least + template.len()];
                let found = self.matcher.find(template, region, self.ms);
                let lag = most - found.offset;
                (found.score >= score).then_some((lag, lag))?
            }
        };
        let again = &sound[at.checked_sub(lag)?..at];
        let blend = blend.min(lag).min(future.len());
        out.get_mut(..lag)?.copy_from_slice(again);
        for (i, out) in out[..blend].iter_mut().enumerate() {
            *out = fade(f32::from(future[i]), f32::from(*out), i, blend) as i16;
        }
        (lag > 0).then_some(lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [SampleRate; 3] = [
        SampleRate::HZ_8000,
        SampleRate::HZ_16000,
        SampleRate::HZ_48000,
    ];

    fn voice(rate: SampleRate, samples: usize) -> Vec<i16> {
        let turn = std::f64::consts::TAU * 125.0 / f64::from(rate.hz());
        let sample = |n: usize| {
            let harmonics = (1..12).map(|h| (turn * n as f64 * f64::from(h)).sin() / f64::from(h));
            (harmonics.sum::<f64>() * 6_000.0) as i16
        };
        (0..samples).map(sample).collect()
    }

    /// The greatest difference between neighbours.
    fn steepest(samples: &[i16]) -> u16 {
        let steps = samples.windows(2).map(|p| p[0].abs_diff(p[1]));
        steps.max().unwrap_or(0)
    }

    #[test]
    fn a_period_of_voice_goes_or_comes_unheard() {
        for rate in RATES {
            let period = rate.hz() as usize / 125;
            let sound = voice(rate, 10 * period);
            let natural = steepest(&sound);
            let mut stretcher = Stretcher::new(rate);
            let mut future = sound[5 * period + 7..].to_vec();
            let gone = stretcher.shorten(&mut future, Manner::Periodic(0.95));
            assert_eq!(gone.map(|n| n.abs_diff(period) <= 1), Some(true), "{rate}");
            let played = [&sound[..5 * period + 7], &future[period..]].concat();
            assert!(steepest(&played) <= natural + natural / 5, "{rate}");

            let at = 5 * period + 3;
            let mut more = vec![0; Stretcher::longest(rate)];
            let come = stretcher.lengthen(&sound, at, Manner::Periodic(0.95), &mut more);
            let come = come.expect("it is periodic");
            assert!(come.abs_diff(period) <= 1, "{rate}: {come}");
            let played = [&sound[..at], &more[..come], &sound[at..]].concat();
            assert!(steepest(&played) <= natural + natural / 5, "{rate}");
        }
    }

    #[test]
    fn noise_is_not_stretched_unless_quiet() {
        let mut rng = crate::rng::Rng::new(3);
        for rate in RATES {
            let sound: Vec<i16> = (0..2 * Stretcher::reach(rate))
                .map(|_| rng.below(4_000) as i16 - 2_000)
                .collect();
            let mut stretcher = Stretcher::new(rate);
            let mut out = vec![0; Stretcher::longest(rate)];
            let voiced = Manner::Periodic(0.9);
            assert_eq!(stretcher.shorten(&mut sound.clone(), voiced), None);
            let at = Stretcher::reach(rate);
            assert_eq!(stretcher.lengthen(&sound, at, voiced, &mut out), None);
            let quiet = Manner::Quiet(rate.hz() as usize / 100);
            let wanted = Some(rate.hz() as usize / 100);
            assert_eq!(stretcher.shorten(&mut sound.clone(), quiet), wanted);
            assert_eq!(stretcher.lengthen(&sound, at, quiet, &mut out), wanted);
        }
    }

    #[test]
    fn too_little_sound_is_left_alone() {
        let mut stretcher = Stretcher::new(SampleRate::HZ_8000);
        let mut out = [0; 120];
        for len in 0..300 {
            let mut sound = vec![100; len];
            for manner in [
                Manner::Periodic(0.0),
                Manner::Quiet(80),
                Manner::Quiet(9_999),
            ] {
                if let Some(gone) = stretcher.shorten(&mut sound, manner) {
                    assert!(gone <= len);
                }
                for at in [0, len / 2, len, len + 1] {
                    let come = stretcher.lengthen(&sound, at, manner, &mut out);
                    assert!(come.is_none_or(|n| n <= at));
                }
            }
        }
    }
}
