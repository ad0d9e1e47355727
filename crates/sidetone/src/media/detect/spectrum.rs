//! What sounds most: one band of a transform, how pure and how loud.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::FRAME;
use crate::media::level::dbm0_of_power;

/// Samples of the transform at 8 kHz: 64 ms, bins of 15.6 Hz.
const SIZE: usize = 512;
const BIN_HZ: f32 = 8_000.0 / SIZE as f32;
/// Bins on either side of the loudest that belong to a tone: 62 Hz, which holds the sides of a
/// modulated one and of one whose phase turns.
const SIDE: usize = 4;
/// Bins from 300 to 660 Hz, where exchanges signal by one tone or two.
const EXCHANGE: std::ops::Range<usize> = 19..43;

/// What a frame holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// The level of all of it.
    pub(super) dbm0: f32,
    /// The middle of what sounds most: of a tone, or of the exchange's band where that is purer.
    pub(super) hz: f32,
    /// The part of all energy that it takes.
    pub(super) share: f32,
    /// Whether the phase of 2,100 Hz has just turned by half.
    pub(super) reversed: bool,
}

/// A transform that goes along.
pub(super) struct Spectrum {
    transform: Arc<dyn RealToComplex<f32>>,
    bell: Box<[f32]>,
    samples: Box<[f32]>,
    input: Box<[f32]>,
    bins: Box<[Complex<f32>]>,
    scratch: Box<[Complex<f32>]>,
    phase: Phase,
}

impl std::fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spectrum").finish_non_exhaustive()
    }
}

impl Spectrum {
    pub(super) fn new() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(SIZE);
        let bell = |n: usize| {
            let turn = (n as f32 + 0.5) / SIZE as f32 * std::f32::consts::TAU;
            0.5 - 0.5 * turn.cos()
        };
        Self {
            bell: (0..SIZE).map(bell).collect(),
            samples: vec![0.0; SIZE].into(),
            input: vec![0.0; SIZE].into(),
            bins: transform.make_output_vec().into(),
            scratch: transform.make_scratch_vec().into(),
            transform,
            phase: Phase::default(),
        }
    }

    /// Takes the next frame.
    pub(super) fn process(&mut self, frame: &[i16; FRAME]) -> Heard {
        self.samples.copy_within(FRAME.., 0);
        let fresh = &mut self.samples[SIZE - FRAME..];
        for (to, &from) in fresh.iter_mut().zip(frame) {
            *to = f32::from(from);
        }
        let reversed = self.phase.process(frame);
        for ((to, &sample), &weight) in self.input.iter_mut().zip(&*self.samples).zip(&*self.bell) {
            *to = sample * weight;
        }
        let loud: f32 = self.input.iter().map(|s| s * s).sum();
        // The bell leaves 3/8 of the energy.
        let power = loud / (0.375 * SIZE as f32);
        let dbm0 = dbm0_of_power(power);
        let quiet = Heard {
            dbm0,
            ..Heard::default()
        };
        if dbm0 < -55.0 {
            return quiet;
        }
        let (input, bins, scratch) = (&mut self.input, &mut self.bins, &mut self.scratch);
        let done = self.transform.process_with_scratch(input, bins, scratch);
        // Cannot fail: the lengths are the transform's own.
        if done.is_err() {
            return quiet;
        }
        let (hz, share) = self.loudest();
        Heard {
            dbm0,
            hz,
            share,
            reversed,
        }
    }

    fn loudest(&self) -> (f32, f32) {
        let power = |bin: &Complex<f32>| bin.norm_sqr();
        // What lies below 200 Hz is hum, not energy that a tone must outdo.
        let all: f32 = self.bins[8..].iter().map(power).sum();
        let within = |range: std::ops::Range<usize>| {
            let bins = self.bins[range.clone()].iter().zip(range);
            let (mut sum, mut moment) = (0.0, 0.0);
            for (bin, number) in bins {
                sum += power(bin);
                moment += power(bin) * number as f32;
            }
            (moment / sum.max(1.0) * BIN_HZ, sum / all.max(1.0))
        };
        let mut best = 8;
        for number in 9..SIZE / 2 {
            if power(&self.bins[number]) > power(&self.bins[best]) {
                best = number;
            }
        }
        let tone = within(best - SIDE..(best + SIDE + 1).min(SIZE / 2));
        let exchange = within(EXCHANGE);
        let in_exchange = EXCHANGE.contains(&best) && exchange.1 > tone.1;
        if in_exchange { exchange } else { tone }
    }
}

/// Follows the phase of 2,100 Hz, of which a frame holds 42 whole turns.
#[derive(Debug, Clone, Copy, Default)]
struct Phase {
    /// The phase of the last frame, in turns.
    last: f32,
    /// How far the phase goes on from frame to frame, the tone being a little off.
    advance: f32,
    /// Frames since the last that went on evenly.
    uneven: u32,
}

impl Phase {
    /// Whether the phase has turned by half within the last two frames.
    fn process(&mut self, frame: &[i16; FRAME]) -> bool {
        let (mut real, mut imaginary) = (0.0f32, 0.0f32);
        for (&sample, (cosine, sine)) in frame.iter().zip(&TURN_2100) {
            real += f32::from(sample) * cosine;
            imaginary += f32::from(sample) * sine;
        }
        let phase = imaginary.atan2(real) / std::f32::consts::TAU;
        let last = std::mem::replace(&mut self.last, phase);
        let moved = wrapped(phase - last - self.advance);
        if moved.abs() < 0.1 {
            self.advance = wrapped(self.advance + moved / 4.0);
            // Even again: half a turn in between makes the odd one out uneven once or twice.
            let reversed = matches!(self.uneven, 1 | 2);
            self.uneven = 0;
            return reversed;
        }
        self.uneven += 1;
        if self.uneven > 3 {
            // Another tone, or none: begin anew.
            self.advance = wrapped(phase - last);
            self.uneven = 3;
        }
        false
    }
}

/// The nearest to zero of what is the same phase.
fn wrapped(turns: f32) -> f32 {
    turns - turns.round()
}

/// 2,100 Hz at 8 kHz repeats every 80 samples, 21 turns.
static TURN_2100: [(f32, f32); FRAME] = {
    let mut table = [(0.0, 0.0); FRAME];
    let mut n = 0;
    while n < FRAME {
        let turn = (n * 21 % 80) as f64 / 80.0;
        let quarter = if turn < 0.75 {
            turn + 0.25
        } else {
            turn - 0.75
        };
        let cosine = crate::media::tone::sine_of_turn(quarter);
        table[n] = (cosine as f32, crate::media::tone::sine_of_turn(turn) as f32);
        n += 1;
    }
    table
};
