//! The ring between a fork's leg and whoever reads it: one writes and never waits, one reads what is still there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Samples in a word.
const SAMPLES: usize = 4;

/// Frames that overwrite the oldest ones.
///
/// The writer asks nothing of the reader: it neither waits nor looks how far that is, and a reader that sleeps
/// costs it nothing. Each slot has a stamp, odd while it is being written, which a reader compares before and
/// after it has copied the slot (a sequence lock). All words are atomic, so what is torn is thrown away and
/// never undefined.
#[derive(Debug)]
pub(super) struct Ring {
    /// For each slot its stamp, the words of its head and its samples.
    words: Box<[AtomicU64]>,
    slots: u64,
    /// Words of a slot.
    stride: usize,
    samples: usize,
    /// Frames written since the beginning.
    written: AtomicU64,
    is_closed: AtomicBool,
}

/// Words that say what a frame is.
pub(super) const HEAD: usize = 4;
pub(super) type Head = [u64; HEAD];

/// What a reader finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The frame that it asked for, or the oldest one after it that is still there, with this number.
    Frame(u64, Head),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Closed,
}

impl Ring {
    /// Room for `slots` frames of so many samples.
    pub(super) fn new(slots: u64, samples: usize) -> Self {
        let slots = slots.max(2);
        let stride = 1 + HEAD + samples.div_ceil(SAMPLES);
        let words = (0..slots as usize * stride).map(|_| AtomicU64::new(0));
        Self {
            words: words.collect(),
            slots,
            stride,
            samples,
            written: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Frames written since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Frames that it keeps.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    fn slot(&self, number: u64) -> &[AtomicU64] {
        let start = (number % self.slots) as usize * self.stride;
        &self.words[start..start + self.stride]
    }

    /// Writes the next frame over the oldest one; samples beyond those given are silent. One thread writes.
    pub(super) fn write(&self, head: &Head, samples: &[&[i16]]) {
        let number = self.written.load(Ordering::Relaxed);
        let [stamp, words @ ..] = self.slot(number) else {
            return;
        };
        stamp.store(2 * number + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let (to, body) = words.split_at(HEAD);
        for (to, from) in to.iter().zip(head) {
            to.store(*from, Ordering::Relaxed);
        }
        let each = body.len() / samples.len().max(1);
        for (words, part) in body.chunks(each.max(1)).zip(samples) {
            let packed = part.chunks(SAMPLES).map(pack);
            for (word, value) in words.iter().zip(packed.chain(std::iter::repeat(0))) {
                word.store(value, Ordering::Relaxed);
            }
        }
        stamp.store(2 * number + 2, Ordering::Release);
        self.written.store(number + 1, Ordering::Release);
    }

    /// Nothing more will be written.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Copies frame `number`, or the oldest one after it that is still there, into `out`. One thread reads.
    pub(super) fn read(&self, number: u64, out: &mut [i16]) -> Found {
        let mut number = number;
        loop {
            // In this order: what was written before the end is seen after it.
            let is_closed = self.is_closed.load(Ordering::Acquire);
            let written = self.written();
            if number >= written {
                return match is_closed {
                    true => Found::Closed,
                    false => Found::Nothing,
                };
            }
            number = number.max(written.saturating_sub(self.slots));
            if let Some(head) = self.copy(number, out) {
                return Found::Frame(number, head);
            }
            // It is being written over: the next one is newer by a frame.
            number += 1;
        }
    }

    fn copy(&self, number: u64, out: &mut [i16]) -> Option<Head> {
        let [stamp, words @ ..] = self.slot(number) else {
            return None;
        };
        let whole = 2 * number + 2;
        if stamp.load(Ordering::Acquire) != whole {
            return None;
        }
        let (from, body) = words.split_at(HEAD);
        let mut head = Head::default();
        for (to, from) in head.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
        let most = out.len().min(self.samples);
        for (to, word) in out[..most].chunks_mut(SAMPLES).zip(body) {
            let samples = unpack(word.load(Ordering::Relaxed));
            to.copy_from_slice(&samples[..to.len()]);
        }
        fence(Ordering::Acquire);
        (stamp.load(Ordering::Relaxed) == whole).then_some(head)
    }
}

fn pack(samples: &[i16]) -> u64 {
    let word = |(n, &sample): (usize, &i16)| u64::from(sample as u16) << (16 * n);
    samples.iter().enumerate().map(word).sum()
}

fn unpack(word: u64) -> [i16; SAMPLES] {
    std::array::from_fn(|n| (word >> (16 * n)) as u16 as i16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u64) -> Vec<i16> {
        vec![n as i16; 160]
    }

    #[test]
    fn what_is_written_is_read_in_order_and_the_oldest_goes_first() {
        let ring = Ring::new(8, 160);
        let mut out = [0; 160];
        assert_eq!(ring.read(0, &mut out), Found::Nothing);
        for n in 0..5 {
            ring.write(&[n, 0, 0, 0], &[&frame(n)]);
        }
        for n in 0..5 {
            assert_eq!(ring.read(n, &mut out), Found::Frame(n, [n, 0, 0, 0]));
            assert_eq!(out.to_vec(), frame(n));
        }
        for n in 5..30 {
            ring.write(&[n, 0, 0, 0], &[&frame(n)]);
        }
        assert_eq!(ring.read(5, &mut out), Found::Frame(22, [22, 0, 0, 0]));
        assert_eq!(out.to_vec(), frame(22));
        ring.close();
        assert_eq!(ring.read(29, &mut out), Found::Frame(29, [29, 0, 0, 0]));
        assert_eq!(ring.read(30, &mut out), Found::Closed);
    }

    #[test]
    fn two_channels_and_every_sample_come_back_as_they_were() {
        let ring = Ring::new(4, 320);
        let said: Vec<i16> = (0..160).map(|n: i32| (n * 400 - 32_000) as i16).collect();
        let heard: Vec<i16> = said.iter().map(|s| -s - 1).collect();
        ring.write(&[u64::MAX; 4], &[&said, &heard]);
        let mut out = [0; 320];
        assert_eq!(ring.read(0, &mut out), Found::Frame(0, [u64::MAX; 4]));
        assert_eq!(out[..160], said);
        assert_eq!(out[160..], heard);
    }

    /// Nothing that is torn comes through, however the threads run.
    #[test]
    fn a_reader_beside_the_writer_sees_whole_frames_only() {
        let ring = Ring::new(4, 160);
        const FRAMES: u64 = 20_000;
        let (mut next, mut out) = (0, [0; 160]);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 0..FRAMES {
                    ring.write(&[n, n, n, n], &[&frame(n)]);
                }
                ring.close();
            });
            loop {
                match ring.read(next, &mut out) {
                    Found::Frame(number, head) => {
                        assert!(number >= next);
                        assert_eq!(head, [number; 4]);
                        assert!(out.iter().all(|&s| s == number as i16), "{number}: {out:?}");
                        next = number + 1;
                    }
                    Found::Nothing => std::thread::yield_now(),
                    Found::Closed => break,
                }
            }
        });
        assert_eq!(next, FRAMES);
    }
}
