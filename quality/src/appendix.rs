//! Concealment by ITU-T G.711 Appendix I, written after its text: a peer of the engine's own.

/// Samples of its frames: 10 ms at 8 kHz.
pub const FRAME: usize = 80;
const PITCH: (usize, usize) = (40, 120);
const LONGEST_OVERLAP: usize = PITCH.1 / 4;
const HISTORY: usize = 3 * PITCH.1 + LONGEST_OVERLAP;
/// The stretch that is compared in the search for the pitch.
const COMPARED: usize = 160;
/// How much longer the fade back into speech is for every frame lost.
const LONGER: usize = 32;
/// What a frame is fainter than the one before it.
const FAINTER: f32 = 0.2;

/// Conceals lost frames; everything comes out a quarter of the longest pitch period later.
#[derive(Debug)]
pub struct Appendix {
    history: [f32; HISTORY],
    /// The history as it was when the loss began, its end blended for repetition.
    cycle: [f32; HISTORY],
    /// The end before it was blended.
    tail: [f32; LONGEST_OVERLAP],
    pitch: usize,
    /// Samples that are repeated, and the place among them.
    repeated: usize,
    offset: usize,
    /// Frames lost in a row.
    lost: usize,
}

impl Appendix {
    /// Before the first frame.
    #[expect(clippy::new_without_default, reason = "as the engine's own")]
    pub fn new() -> Self {
        Self {
            history: [0.0; HISTORY],
            cycle: [0.0; HISTORY],
            tail: [0.0; LONGEST_OVERLAP],
            pitch: PITCH.1,
            repeated: PITCH.1,
            offset: 0,
            lost: 0,
        }
    }

    /// Takes a frame that was received.
    pub fn good(&mut self, frame: &mut [i16; FRAME]) {
        let mut sound = frame.map(f32::from);
        if self.lost > 0 {
            let length = (self.overlap() + (self.lost - 1) * LONGER).min(FRAME);
            let gain = (1.0 - (self.lost - 1) as f32 * FAINTER).max(0.0);
            for (n, sample) in sound[..length].iter_mut().enumerate() {
                let share = (n + 1) as f32 / length as f32;
                *sample = *sample * share + self.repeat() * gain * (1.0 - share);
            }
            self.lost = 0;
        }
        self.put(sound, frame);
    }

    /// Makes a frame in place of one that was lost.
    pub fn lost(&mut self, frame: &mut [i16; FRAME]) {
        let mut sound = [0.0; FRAME];
        match self.lost {
            0 => {
                self.begin();
                sound.fill_with(|| self.repeat());
            }
            1 | 2 => {
                let before = self.offset;
                let mut old = [0.0; LONGEST_OVERLAP];
                let overlap = self.overlap();
                old[..overlap].fill_with(|| self.repeat());
                self.offset = before % self.pitch;
                self.repeated += self.pitch;
                self.blend();
                sound.fill_with(|| self.repeat());
                for (n, sample) in sound[..overlap].iter_mut().enumerate() {
                    let share = (n + 1) as f32 / overlap as f32;
                    *sample = *sample * share + old[n] * (1.0 - share);
                }
            }
            3..=5 => sound.fill_with(|| self.repeat()),
            _ => {}
        }
        if self.lost > 0 {
            let from = 1.0 - (self.lost - 1) as f32 * FAINTER;
            for (n, sample) in sound.iter_mut().enumerate() {
                *sample *= (from - FAINTER * n as f32 / FRAME as f32).max(0.0);
            }
        }
        self.lost += 1;
        self.put(sound, frame);
    }

    fn overlap(&self) -> usize {
        self.pitch / 4
    }

    fn begin(&mut self) {
        self.cycle = self.history;
        self.pitch = self.find_pitch();
        self.repeated = self.pitch;
        self.offset = 0;
        let overlap = self.overlap();
        self.tail[..overlap].copy_from_slice(&self.cycle[HISTORY - overlap..]);
        self.blend();
        // What has not been played yet goes over into the repetition.
        self.history[HISTORY - overlap..].copy_from_slice(&self.cycle[HISTORY - overlap..]);
    }

    /// Blends the end into what comes before the stretch that is repeated.
    fn blend(&mut self) {
        let overlap = self.overlap();
        let before = HISTORY - self.repeated - overlap;
        for n in 0..overlap {
            let share = (n + 1) as f32 / overlap as f32;
            let blended = self.tail[n] * (1.0 - share) + self.cycle[before + n] * share;
            self.cycle[HISTORY - overlap + n] = blended;
        }
    }

    fn repeat(&mut self) -> f32 {
        let sample = self.cycle[HISTORY - self.repeated + self.offset];
        self.offset = (self.offset + 1) % self.repeated;
        sample
    }

    fn find_pitch(&self) -> usize {
        let last = &self.cycle[HISTORY - COMPARED..];
        let likeness = |pitch: usize, step: usize| {
            let from = HISTORY - COMPARED - pitch;
            let (mut product, mut power) = (0.0f32, 0.0f32);
            for n in (0..COMPARED).step_by(step) {
                let sample = self.cycle[from + n];
                product += sample * last[n];
                power += sample * sample;
            }
            product / power.max(250.0).sqrt()
        };
        let best = |pitches: &mut dyn Iterator<Item = usize>, step| {
            let scored = pitches.map(|pitch| (likeness(pitch, step), pitch));
            scored
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map_or(PITCH.1, |best| best.1)
        };
        let coarse = best(&mut (PITCH.0..=PITCH.1).step_by(2), 2);
        let fine = (coarse - 1).max(PITCH.0)..=(coarse + 1).min(PITCH.1);
        best(&mut fine.into_iter(), 1)
    }

    /// Keeps a frame, and gives the one that is due.
    fn put(&mut self, sound: [f32; FRAME], out: &mut [i16; FRAME]) {
        self.history.copy_within(FRAME.., 0);
        self.history[HISTORY - FRAME..].copy_from_slice(&sound);
        let due = &self.history[HISTORY - FRAME - LONGEST_OVERLAP..];
        for (out, sample) in out.iter_mut().zip(due) {
            *out = sample.round().clamp(-32_768.0, 32_767.0) as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_frame_of_a_steady_tone_is_hardly_missed() {
        let said = |n: usize| {
            let turn = std::f64::consts::TAU * n as f64 / 50.0;
            (8_000.0 * turn.sin()) as i16
        };
        let mut concealer = Appendix::new();
        let mut heard = Vec::new();
        for start in (0..800).step_by(FRAME) {
            let mut frame = std::array::from_fn(|n| said(start + n));
            match start == 480 {
                true => concealer.lost(&mut frame),
                false => concealer.good(&mut frame),
            }
            heard.extend(frame);
        }
        for n in 400..700 {
            let wrong = heard[n + LONGEST_OVERLAP].abs_diff(said(n));
            assert!(wrong < 200, "{wrong} at {n}");
        }
    }
}
