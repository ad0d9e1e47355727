//! The line of sound between decoder and ear: what was played, and what waits to be.

use crate::media::frame::{MAX_FRAME_SAMPLES, SampleRate};

/// Samples in a row: the past behind the ear, the future before it.
///
/// A slice of fixed size that slides along; when the end is reached, the past that is still wanted and
/// the future move back to its beginning.
#[derive(Debug)]
pub(super) struct Line {
    samples: Box<[i16]>,
    /// Where the ear is.
    ear: usize,
    /// Where the future ends.
    end: usize,
    /// Samples of the past that are kept at least.
    past: usize,
}

impl Line {
    /// A line that keeps `past` samples and takes in up to `future`.
    pub(super) fn new(past: usize, future: usize) -> Self {
        Self {
            samples: vec![0; past + 2 * future].into(),
            ear: past,
            end: past,
            past,
        }
    }

    /// Samples that wait.
    pub(super) fn waiting(&self) -> usize {
        self.end - self.ear
    }

    /// What waits.
    pub(super) fn future_mut(&mut self) -> &mut [i16] {
        &mut self.samples[self.ear..self.end]
    }

    /// Past and future in a row, and where the future begins.
    pub(super) fn all(&self) -> (&[i16], usize) {
        (&self.samples[..self.end], self.ear)
    }

    /// What was played and what waits behind it, and room for `wanted` samples more; less, where the
    /// line is full.
    pub(super) fn room(&mut self, wanted: usize) -> (&[i16], &mut [i16]) {
        if self.samples.len() - self.end < wanted {
            let from = self.ear.saturating_sub(self.past);
            self.samples.copy_within(from..self.end, 0);
            self.ear -= from;
            self.end -= from;
        }
        let (before, room) = self.samples.split_at_mut(self.end);
        let wanted = wanted.min(room.len());
        (before, &mut room[..wanted])
    }

    /// Takes `samples` of the room as written, less the first `skip` of them.
    pub(super) fn extend(&mut self, samples: usize, skip: usize) {
        let end = (self.end + samples).min(self.samples.len());
        let skip = skip.min(end - self.end);
        self.samples.copy_within(self.end + skip..end, self.end);
        self.end = end - skip;
    }

    /// Leaves out the next `samples`.
    pub(super) fn skip(&mut self, samples: usize) {
        self.ear = (self.ear + samples).min(self.end);
    }

    /// Puts `piece` before what waits, as far as there is room.
    pub(super) fn put_before(&mut self, piece: &[i16]) {
        let len = self.room(piece.len()).1.len();
        self.samples.copy_within(self.ear..self.end, self.ear + len);
        self.samples[self.ear..self.ear + len].copy_from_slice(&piece[..len]);
        self.end += len;
    }

    /// Plays into `out` and returns how many samples there were.
    pub(super) fn play(&mut self, out: &mut [i16]) -> usize {
        let len = out.len().min(self.waiting());
        out[..len].copy_from_slice(&self.samples[self.ear..self.ear + len]);
        self.ear += len;
        len
    }

    /// Goes over to another rate where a stream changes its codec: what waits, up to a frame, is
    /// converted roughly, the past becomes silence.
    pub(super) fn convert(&mut self, from: SampleRate, to: SampleRate) {
        let (from, to) = (from.hz() as usize, to.hz() as usize);
        let old = &self.samples[self.ear..self.end];
        let mut new = [0; MAX_FRAME_SAMPLES];
        let len = (old.len() * to / from).min(new.len());
        for (n, new) in new[..len].iter_mut().enumerate() {
            let (at, part) = (n * from / to, (n * from % to) as i32);
            let here = i32::from(old[at]);
            let next = old.get(at + 1).map_or(here, |&s| i32::from(s));
            *new = (here + (next - here) * part / to as i32) as i16;
        }
        self.samples.fill(0);
        self.ear = self.past;
        self.end = self.past + len;
        self.samples[self.ear..self.end].copy_from_slice(&new[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_goes_through_in_order_and_the_past_is_kept() {
        let mut line = Line::new(50, 200);
        let (mut next, mut heard) = (1i16, vec![]);
        for n in 0..2_000 {
            if line.waiting() < 60 {
                let (_, room) = line.room(1 + n % 140);
                room.iter_mut().for_each(|s| {
                    *s = next;
                    next = next % 30_000 + 1;
                });
                let len = room.len();
                line.extend(len, 0);
            }
            let mut out = [0; 50];
            let played = line.play(&mut out);
            heard.extend_from_slice(&out[..played]);
            if heard.len() > 50 {
                let (all, ear) = line.all();
                assert!(all[..ear].ends_with(&heard[heard.len() - 50..]));
            }
        }
        assert!(heard.len() > 50_000);
        assert!(heard.windows(2).all(|w| w[1] == w[0] % 30_000 + 1));
    }

    #[test]
    fn pieces_go_in_and_out_before_the_future() {
        let mut line = Line::new(4, 20);
        line.room(6).1.copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        line.extend(6, 1);
        line.skip(1);
        line.put_before(&[8, 9]);
        assert_eq!(line.future_mut(), [8, 9, 3, 4, 5, 6]);
        let (all, ear) = line.all();
        assert_eq!(all[ear..], [8, 9, 3, 4, 5, 6]);
        let mut out = [0; 9];
        assert_eq!(line.play(&mut out), 6);
    }

    #[test]
    fn rates_change_both_ways() {
        let mut line = Line::new(10, 2_000);
        line.room(160).1.copy_from_slice(&[1_000; 160]);
        line.extend(160, 0);
        line.convert(SampleRate::HZ_8000, SampleRate::HZ_48000);
        assert_eq!(line.waiting(), 960);
        assert!(line.future_mut().iter().all(|&s| s == 1_000));
        line.convert(SampleRate::HZ_48000, SampleRate::HZ_16000);
        assert_eq!(line.waiting(), 320);
        assert!(line.future_mut().iter().all(|&s| s == 1_000));
    }
}
