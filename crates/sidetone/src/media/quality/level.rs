//! What one tick of sound is like: how loud, whether at all, whether cut off.

/// Up to here a frame is digital silence: the least magnitude of A-law is 8.
const ZERO: u16 = 8;
/// From here on a sample is at full scale: µ-law ends at 32,124, A-law at 32,256.
const FULL: u16 = 32_000;
/// So many samples at full scale in a row are cut off; a mere peak is not so broad.
const PLATEAU: u32 = 3;

/// A tick of sound, measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Level {
    /// The mean magnitude.
    pub(super) mean: u16,
    /// The largest magnitude.
    pub(super) peak: u16,
    /// Samples that are cut off.
    pub(super) clipped: u16,
}

impl Level {
    /// Measures samples, at most a thousand.
    pub(crate) fn of(samples: &[i16]) -> Self {
        // One pass that compilers turn into vectors.
        let (sum, peak) = samples.iter().fold((0u32, 0u16), |(sum, peak), s| {
            let magnitude = s.unsigned_abs();
            (sum + u32::from(magnitude), peak.max(magnitude))
        });
        let mean = sum / (samples.len() as u32).max(1);
        Self {
            mean: mean as u16,
            peak,
            clipped: if peak < FULL { 0 } else { clipped(samples) },
        }
    }

    /// Whether it is nothing but digital silence.
    pub(super) fn is_zero(self) -> bool {
        self.peak <= ZERO
    }

    /// Whether somebody may be speaking: above -57 dBov or so.
    pub(super) fn is_sound(self) -> bool {
        self.mean > 30
    }
}

#[cold]
fn clipped(samples: &[i16]) -> u16 {
    let (mut clipped, mut run, mut sign) = (0, 0, 0);
    for &sample in samples {
        let same = sample.signum() == sign && run > 0;
        run = match sample.unsigned_abs() >= FULL {
            true if same => run + 1,
            true => 1,
            false => 0,
        };
        sign = sample.signum();
        if run == PLATEAU {
            clipped += PLATEAU;
        } else if run > PLATEAU {
            clipped += 1;
        }
    }
    clipped as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plateaus_are_clipped_and_peaks_are_not() {
        let tone = |gain: f64| -> Vec<i16> {
            let sample = |n: usize| (n as f64 * 0.3).sin() * gain;
            (0..160)
                .map(|n| sample(n).clamp(-32_768.0, 32_767.0) as i16)
                .collect()
        };
        assert_eq!(Level::of(&tone(32_000.0)).clipped, 0);
        assert!(Level::of(&tone(90_000.0)).clipped > 60);
        let square: Vec<i16> = (0..160)
            .map(|n| if n % 2 == 0 { 32_767 } else { -32_768 })
            .collect();
        assert_eq!(Level::of(&square).clipped, 0, "no two of a sign in a row");
    }

    #[test]
    fn silence_and_sound_are_told_apart() {
        assert!(Level::of(&[0; 160]).is_zero() && Level::of(&[-8, 8]).is_zero());
        assert!(!Level::of(&[0, 9]).is_zero());
        assert!(Level::of(&[300; 160]).is_sound() && !Level::of(&[20; 160]).is_sound());
        assert_eq!(Level::of(&[]), Level::default());
        assert_eq!(Level::of(&[i16::MIN; 960]).mean, 32_768);
    }
}
