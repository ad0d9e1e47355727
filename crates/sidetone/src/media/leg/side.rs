//! What is different between left and right of what a leg sends, beside the mono sound that it goes with.

use crate::media::frame::{Frame, SampleRate};
use crate::media::resample::Resampler;
use crate::media::stereo::join_all;

/// The side of an encoder of two channels. Only such legs have one.
#[derive(Debug)]
pub(super) struct Side {
    /// What the players have of it in this tick.
    pub(super) sum: Frame,
    pub(super) scratch: Frame,
    /// From the leg's rate to the encoder's.
    resampler: Option<Resampler>,
    /// As in the mono sound, at the same places.
    pending: Box<[i16]>,
    /// Left and right of a packet in turn.
    both: Box<[i16]>,
}

impl Side {
    /// Of a leg at `rate` and an encoder at `own_rate`, with `room` samples pending at most.
    pub(super) fn new(rate: SampleRate, own_rate: SampleRate, room: usize) -> Self {
        Self {
            sum: Frame::silence(rate),
            scratch: Frame::silence(rate),
            resampler: (own_rate != rate).then(|| Resampler::new(rate, own_rate)),
            pending: vec![0; room].into(),
            both: vec![0; 2 * room].into(),
        }
    }

    /// Moves what is pending as the mono sound moves.
    pub(super) fn shift(&mut self, from: std::ops::Range<usize>) {
        self.pending.copy_within(from, 0);
    }

    /// Takes the side of the next 20 ms, which stand at `at`.
    pub(super) fn push(&mut self, at: usize) {
        let frame = match &mut self.resampler {
            Some(resampler) => {
                resampler.process(&self.sum, &mut self.scratch);
                &self.scratch
            }
            None => &self.sum,
        };
        let samples = frame.samples();
        self.pending[at..at + samples.len()].copy_from_slice(samples);
    }

    /// The packet whose mono sound is `mean`, which stands at `at`, left and right in turn.
    pub(super) fn join(&mut self, mean: &[i16], at: usize) -> &[i16] {
        let both = &mut self.both[..2 * mean.len()];
        join_all(mean, &self.pending[at..at + mean.len()], both);
        both
    }
}
