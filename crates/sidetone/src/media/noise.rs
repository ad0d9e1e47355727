//! Comfort noise: what the background sounds like, learnt from what was heard, and made anew.

use crate::media::frame::SampleRate;
use crate::media::pitch::{dot, power};

/// Order of the filter that gives the noise its colour.
const ORDER: usize = 10;
/// Samples that the background is learnt from, at 8 kHz: 20 ms; at higher rates as much time.
const LEARN_MS: usize = 20;
/// Above this, quiet or not, it is no background: about -36 dBm0.
const LOUDEST: f32 = 350.0 * 350.0;
/// Below this all is quiet: about -66 dBm0.
const INAUDIBLE: f32 = 12.0 * 12.0;
/// By how much the quietest heard is forgotten with each piece: 3 dB in three seconds.
const FORGET: f32 = 1.005;

/// The background's noise behind a speaker.
///
/// The quietest piece of late is kept and, when noise is wanted, analysed by linear prediction; noise
/// is white noise through that filter. Learning costs the power of each piece.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    ms: usize,
    /// The quietest piece, and its power, forgotten a little with each piece.
    piece: Box<[i16]>,
    len: usize,
    quietest: f32,
    is_known: bool,
    is_analysed: bool,
    colour: Colour,
}

/// White noise through the prediction filter of a piece of sound: noise of its colour and loudness.
#[derive(Debug, Clone)]
pub(crate) struct Colour {
    filter: [f32; ORDER],
    gain: f32,
    state: [f32; ORDER],
    random: u32,
}

impl Colour {
    /// Of silence.
    pub(crate) fn new() -> Self {
        Self {
            filter: [0.0; ORDER],
            gain: 0.0,
            state: [0.0; ORDER],
            random: 0x9E37_79B9,
        }
    }

    /// Takes the colour of `piece`, of whose end at most 20 ms at 48 kHz are looked at.
    pub(crate) fn take(&mut self, piece: &[i16]) {
        let piece = &piece[piece.len().saturating_sub(LEARN_MS * 48)..];
        let mut correlation = [0.0; ORDER + 1];
        let mut windowed = [0.0f32; LEARN_MS * 48];
        let windowed = &mut windowed[..piece.len()];
        let step = std::f32::consts::PI / piece.len() as f32;
        for (i, (to, &from)) in windowed.iter_mut().zip(piece).enumerate() {
            *to = f32::from(from) * ((i as f32 + 0.5) * step).sin();
        }
        for (lag, sum) in correlation.iter_mut().enumerate() {
            *sum = dot(&windowed[lag..], &windowed[..piece.len() - lag]);
        }
        // A little white noise keeps the filter tame.
        correlation[0] = correlation[0] * 1.001 + 1.0;
        let (filter, error) = levinson(&correlation);
        self.filter = filter;
        self.state = [0.0; ORDER];
        // The window halves the power.
        self.gain = (2.0 * error / piece.len() as f32).sqrt();
    }

    /// Goes on where `past` ended, its resonances ringing.
    pub(crate) fn go_on(&mut self, past: &[i16]) {
        for (state, &sample) in self.state.iter_mut().zip(past.iter().rev()) {
            *state = f32::from(sample);
        }
    }

    /// The next sample, limited to `limit`: rounding must not let the filter ring.
    pub(crate) fn next(&mut self, limit: f32) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let white = (self.random as i32) as f32 * (1.732_05 / 2_147_483_648.0);
        let mut sample = white * self.gain;
        for (a, past) in self.filter.iter().zip(&self.state) {
            sample -= a * past;
        }
        let sample = sample.clamp(-limit, limit);
        self.state.copy_within(..ORDER - 1, 1);
        self.state[0] = sample;
        sample
    }
}

impl Background {
    /// For rates up to `rate`, set to it; silence for now.
    pub(crate) fn new(rate: SampleRate) -> Self {
        let ms = rate.hz() as usize / 1000;
        Self {
            ms,
            piece: vec![0; LEARN_MS * ms].into(),
            len: 0,
            quietest: LOUDEST,
            is_known: false,
            is_analysed: true,
            colour: Colour::new(),
        }
    }

    /// Forgets all.
    pub(crate) fn reset(&mut self) {
        self.quietest = LOUDEST;
        self.is_known = false;
        self.is_analysed = true;
        self.colour = Colour::new();
    }

    /// Sets another rate; what is known does not hold there.
    pub(crate) fn set_rate(&mut self, rate: SampleRate) {
        self.ms = rate.hz() as usize / 1000;
        self.reset();
    }

    /// Learns from what was heard, and says whether it is background only: hardly louder than the
    /// quietest of late.
    pub(crate) fn learn(&mut self, sound: &[i16]) -> bool {
        let power = power(sound);
        let is_quiet = power < INAUDIBLE || self.is_known && power < 2.5 * self.quietest;
        self.quietest = (self.quietest * FORGET).min(LOUDEST);
        if power <= self.quietest && sound.len() >= 8 * self.ms {
            self.quietest = power.max(1.0);
            self.len = sound.len().min(self.piece.len());
            self.piece[..self.len].copy_from_slice(&sound[..self.len]);
            self.is_known = true;
            self.is_analysed = false;
        }
        is_quiet
    }

    /// The next sample of noise.
    pub(crate) fn next(&mut self) -> f32 {
        match self.colour.gain {
            0.0 => 0.0,
            _ => self.colour.next(2_000.0),
        }
    }

    /// Gets ready to make noise, by what has been learnt last.
    pub(crate) fn prepare(&mut self) {
        if self.is_analysed {
            return;
        }
        self.is_analysed = true;
        self.colour.take(&self.piece[..self.len]);
    }
}

/// The prediction filter of an autocorrelation, and the power of what it does not predict.
fn levinson(correlation: &[f32; ORDER + 1]) -> ([f32; ORDER], f32) {
    let mut filter = [0.0f32; ORDER];
    let mut error = correlation[0];
    for i in 0..ORDER {
        let mut sum = correlation[i + 1];
        for j in 0..i {
            sum += filter[j] * correlation[i - j];
        }
        let reflection = -sum / error;
        if !(-0.999..=0.999).contains(&reflection) {
            break;
        }
        let before = filter;
        for j in 0..i {
            filter[j] += reflection * before[i - 1 - j];
        }
        filter[i] = reflection;
        error *= 1.0 - reflection * reflection;
    }
    (filter, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn noise_sounds_like_what_was_quiet() {
        let mut rng = Rng::new(5);
        let mut background = Background::new(SampleRate::HZ_8000);
        let mut last = 0.0;
        // Dark noise below, loud speech now and then.
        let mut dark = |level: f64| -> Vec<i16> {
            (0..160)
                .map(|_| {
                    last = 0.8 * last + (rng.next_f64() - 0.5) * level;
                    last as i16
                })
                .collect()
        };
        let mut quiet = 0;
        for n in 0..200 {
            let level = if n % 10 < 5 { 9_000.0 } else { 200.0 };
            let is_quiet = background.learn(&dark(level));
            assert!(!is_quiet || level == 200.0);
            quiet += u32::from(is_quiet);
        }
        assert!(quiet > 80, "{quiet}");
        background.prepare();
        let made: Vec<i16> = (0..8_000).map(|_| background.next() as i16).collect();
        let original = dark(200.0);
        let ratio = power(&made) / power(&original);
        assert!((0.2..3.0).contains(&ratio), "{ratio}");
        let neighbours: f32 = made
            .windows(2)
            .map(|w| f32::from(w[0]) * f32::from(w[1]))
            .sum();
        let colour = neighbours / (power(&made) * made.len() as f32);
        assert!((0.6..0.95).contains(&colour), "{colour}");
    }

    #[test]
    fn nothing_heard_is_silence_and_loud_sound_is_no_background() {
        let mut background = Background::new(SampleRate::HZ_48000);
        background.prepare();
        assert_eq!(background.next(), 0.0);
        for _ in 0..500 {
            assert!(!background.learn(&[5_000; 960]));
        }
        background.prepare();
        assert_eq!(background.next(), 0.0);
    }
}
