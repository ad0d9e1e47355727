//! From the rate in which speech is made to that in which it is heard, piece by piece.

use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::media::frame::{Frame, SampleRate};
use crate::media::resample::{Resampler, is_convertible};

/// A streaming converter from one rate.
#[derive(Debug, Default)]
pub(super) struct Converter {
    from: u32,
    by: By,
    /// What does not fill a piece yet.
    rest: Vec<i16>,
    /// Samples of a piece.
    piece: usize,
}

#[derive(Default)]
enum By {
    /// Nothing was written yet.
    #[default]
    Nothing,
    Copy,
    /// Between voice rates.
    Ratio(Box<Resampler>, Box<Frame>),
    /// Any others.
    Sinc(Box<Async<f32>>),
}

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Copy => "Copy",
            Self::Ratio(..) => "Ratio",
            Self::Sinc(_) => "Sinc",
        })
    }
}

impl Converter {
    /// From `hz`; `None` where that cannot be.
    pub(super) fn new(hz: u32, to: SampleRate) -> Option<Self> {
        let (by, piece) = match SampleRate::from_hz(hz) {
            Some(from) if from == to => (By::Copy, 1),
            Some(from) => {
                let ratio = (hz / to.hz()).max(1) as usize;
                let by = Box::new(Resampler::new(from, to));
                (By::Ratio(by, Box::new(Frame::silence(to))), ratio)
            }
            None if is_convertible(hz) => {
                // 5 ms: as little as a mark has to wait for.
                let piece = (hz / 200) as usize;
                (By::Sinc(Box::new(sinc(hz, to, piece)?)), piece)
            }
            None => return None,
        };
        Some(Self {
            from: hz,
            by,
            rest: Vec::with_capacity(piece),
            piece,
        })
    }

    /// Whether it converts from this rate.
    pub(super) fn is_from(&self, hz: u32) -> bool {
        self.from == hz && !matches!(self.by, By::Nothing)
    }

    /// How many of so many samples it takes at once.
    pub(super) fn part(&self, samples: usize) -> usize {
        samples.min((self.from / 50) as usize)
    }

    /// How many samples a part of this length gives at most.
    pub(super) fn most_out(&self, part: usize, to: SampleRate) -> usize {
        let input = part + self.piece;
        let exact = input as u64 * u64::from(to.hz()) / u64::from(self.from.max(1));
        exact as usize + 16
    }

    /// Converts a [part](Self::part), behind what `out` holds.
    pub(super) fn process(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        if matches!(self.by, By::Copy) {
            return out.extend_from_slice(samples);
        }
        self.rest.extend_from_slice(samples);
        let whole = self.rest.len() - self.rest.len() % self.piece;
        self.convert(whole, out);
    }

    /// Gives what it holds, with silence behind it.
    pub(super) fn flush(&mut self, out: &mut Vec<i16>) {
        if !self.rest.is_empty() {
            self.rest.resize(self.piece, 0);
            self.convert(self.piece, out);
        }
    }

    /// Converts so many samples of the rest, a multiple of the piece.
    fn convert(&mut self, whole: usize, out: &mut Vec<i16>) {
        match &mut self.by {
            By::Nothing | By::Copy => {}
            By::Ratio(by, frame) => {
                let from = by.from_rate();
                let most = from.frame_samples() - from.frame_samples() % self.piece;
                for part in self.rest[..whole].chunks(most) {
                    by.process(&Frame::from_samples(from, part), frame);
                    out.extend_from_slice(frame.samples());
                }
            }
            By::Sinc(by) => {
                for part in self.rest[..whole].chunks(self.piece) {
                    out.extend(convert_piece(by, part));
                }
            }
        }
        self.rest.drain(..whole);
    }
}

fn sinc(hz: u32, to: SampleRate, piece: usize) -> Option<Async<f32>> {
    let parameters = SincInterpolationParameters {
        sinc_len: 64,
        f_cutoff: None,
        interpolation: SincInterpolationType::Linear,
        oversampling_factor: 128,
        window: WindowFunction::BlackmanHarris2,
    };
    let ratio = f64::from(to.hz()) / f64::from(hz);
    Async::new_sinc(ratio, 1.0, &parameters, piece, 1, FixedAsync::Input).ok()
}

/// What a piece gives; nothing where the converter refuses it, which it does only for another length.
fn convert_piece(by: &mut Async<f32>, piece: &[i16]) -> Vec<i16> {
    let input: Vec<f32> = piece.iter().map(|&sample| f32::from(sample)).collect();
    let frames = input.len();
    let Ok(input) = InterleavedOwned::new_from(input, 1, frames) else {
        return Vec::new();
    };
    let output = by.process(&input, None);
    let samples = output.map(|output| output.take_data()).unwrap_or_default();
    samples
        .into_iter()
        .map(|s| s.round().clamp(-32_768.0, 32_767.0) as i16)
        .collect()
}
