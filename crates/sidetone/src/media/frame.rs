//! Audio frames and sample rates.

use crate::time::Duration;

/// Samples in the largest frame: 20 ms at 48 kHz.
pub const MAX_FRAME_SAMPLES: usize = 960;

/// The duration that every room, mixer and leg works in.
pub const FRAME_DURATION: Duration = Duration::from_millis(20);

/// A rate at which audio is sampled here: 8, 16 or 48 kHz.
///
/// This is the rate of *samples*, which need not be the rate of a codec's *RTP clock*. Two traps:
/// G.722 carries 16 kHz samples under an 8 kHz RTP clock (RFC 3551 §4.5.2), and Opus always has a
/// 48 kHz RTP clock whatever its decoder produces (RFC 7587 §4.1). Ask a codec for its
/// [`rtp_clock`](crate::media::codec::Decoder::rtp_clock), never this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleRate(u32);

impl SampleRate {
    /// Narrow band, 8 kHz: G.711.
    pub const HZ_8000: Self = Self(8_000);
    /// Wide band, 16 kHz: what G.722 decodes to, although its RTP clock says 8 kHz.
    pub const HZ_16000: Self = Self(16_000);
    /// Full band, 48 kHz: Opus.
    pub const HZ_48000: Self = Self(48_000);

    /// The rate of `hz` samples a second, or `None` where it is not one of the three.
    pub const fn from_hz(hz: u32) -> Option<Self> {
        match hz {
            8_000 | 16_000 | 48_000 => Some(Self(hz)),
            _ => None,
        }
    }

    /// Samples a second.
    pub const fn hz(self) -> u32 {
        self.0
    }

    /// Samples in a frame of 20 ms: 160, 320 or 960.
    pub const fn frame_samples(self) -> usize {
        (self.0 / 50) as usize
    }

    /// Whole samples in `duration`, rounded down.
    pub const fn samples_in(self, duration: Duration) -> u64 {
        (duration.as_nanos() * self.0 as u128 / 1_000_000_000) as u64
    }

    /// The time that `samples` take, rounded down to the nanosecond.
    pub const fn duration_of(self, samples: u64) -> Duration {
        let rate = self.0 as u64;
        let nanos = (samples % rate) * 1_000_000_000 / rate;
        Duration::new(samples / rate, nanos as u32)
    }
}

impl std::fmt::Display for SampleRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Hz", self.0)
    }
}

/// Mono audio of up to 20 ms, 16-bit linear, stored inline.
///
/// Never touches the heap. 1.9 kB whatever the rate, so keep frames in place and refill them.
///
/// ```
/// use sidetone::media::frame::{Frame, SampleRate};
/// let mut frame = Frame::silence(SampleRate::HZ_8000);
/// assert_eq!(frame.samples().len(), 160);
/// frame.samples_mut()[0] = 1000;
/// assert!(!frame.is_silent());
/// ```
#[derive(Clone)]
pub struct Frame {
    rate: SampleRate,
    len: usize,
    samples: [i16; MAX_FRAME_SAMPLES],
}

impl Frame {
    /// 20 ms of silence at `rate`.
    pub const fn silence(rate: SampleRate) -> Self {
        Self {
            rate,
            len: rate.frame_samples(),
            samples: [0; MAX_FRAME_SAMPLES],
        }
    }

    /// A frame that holds a copy of `samples`, cut to [`MAX_FRAME_SAMPLES`].
    pub fn from_samples(rate: SampleRate, samples: &[i16]) -> Self {
        let mut frame = Self::silence(rate);
        frame.copy_from(samples);
        frame
    }

    /// The rate of the samples.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples[..self.len]
    }

    /// The samples, to write to.
    pub fn samples_mut(&mut self) -> &mut [i16] {
        &mut self.samples[..self.len]
    }

    /// The time that the samples take.
    pub const fn duration(&self) -> Duration {
        self.rate.duration_of(self.len as u64)
    }

    /// Sets the number of samples, at most [`MAX_FRAME_SAMPLES`]; those gained are silent.
    pub fn resize(&mut self, len: usize) {
        let len = len.min(MAX_FRAME_SAMPLES);
        if len > self.len {
            self.samples[self.len..len].fill(0);
        }
        self.len = len;
    }

    /// Makes this 20 ms of silence at `rate`.
    pub fn reset(&mut self, rate: SampleRate) {
        self.rate = rate;
        self.len = rate.frame_samples();
        self.samples_mut().fill(0);
    }

    /// Replaces the content by `samples`, cut to [`MAX_FRAME_SAMPLES`].
    pub fn copy_from(&mut self, samples: &[i16]) {
        self.len = samples.len().min(MAX_FRAME_SAMPLES);
        self.samples[..self.len].copy_from_slice(&samples[..self.len]);
    }

    /// Whether every sample is zero.
    pub fn is_silent(&self) -> bool {
        self.samples().iter().fold(0, |all, &s| all | s) == 0
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} samples at {})", self.len, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_durations() {
        for (hz, samples) in [(8_000, 160), (16_000, 320), (48_000, 960)] {
            let rate = SampleRate::from_hz(hz).expect("supported");
            assert_eq!(rate.frame_samples(), samples);
            assert_eq!(rate.samples_in(FRAME_DURATION), samples as u64);
            assert_eq!(rate.duration_of(samples as u64), FRAME_DURATION);
            assert_eq!(Frame::silence(rate).duration(), FRAME_DURATION);
        }
        assert_eq!(SampleRate::from_hz(44_100), None);
    }

    #[test]
    fn resize_never_shows_old_samples() {
        let mut frame = Frame::from_samples(SampleRate::HZ_8000, &[7; 160]);
        frame.resize(80);
        frame.resize(5_000);
        assert_eq!(frame.samples().len(), MAX_FRAME_SAMPLES);
        assert!(frame.samples()[80..].iter().all(|&s| s == 0));
    }
}
