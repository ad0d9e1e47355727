//! Recorders: two tracks aligned by RTP time, handed from the media plane to storage, journalled, sealed
//! and written as stereo WAV.

pub mod clock;
pub mod disk;
pub mod journal;
pub mod name;
pub mod note;
pub mod recovery;
pub mod scribe;
pub mod seal;
pub mod storage;
pub mod track;
pub mod verify;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::media::frame::{Frame, SampleRate};
use crate::media::recorder::note::Note;
use crate::media::recorder::track::Track;
use crate::time::Duration;

/// How long the queue between media and storage may grow by default: 1 s of both tracks.
pub const DEFAULT_QUEUE: Duration = Duration::from_secs(1);

/// Makes the two ends of a recording at `rate`: the [`Tap`] for the media plane and the [`Feed`] for
/// a [`StereoWriter`](writer::StereoWriter) on a storage thread.
///
/// The queue between them holds `queue` of both tracks (at most 60 s); it takes 340 bytes for each
/// 160 samples, at 8 kHz 34 kB for the default of 1 s.
pub fn recording(rate: SampleRate, queue: Duration) -> (Tap, Feed) {
    let queue = queue.min(Duration::from_secs(60));
    let blocks = 2 * rate.samples_in(queue) as usize / BLOCK_SAMPLES;
    let (producer, consumer) = rtrb::RingBuffer::new(blocks.max(2 * BLOCKS_A_FRAME));
    let (notes, noted) = rtrb::RingBuffer::new(NOTES + NOTES_FOUND);
    let shared = Arc::new(Shared::default());
    let tap = Tap {
        rate,
        producer,
        notes,
        shared: Arc::clone(&shared),
        party_alone: false,
    };
    let feed = Feed {
        rate,
        consumer,
        noted,
        shared,
    };
    (tap, feed)
}

/// Samples in a block of the queue: a frame at 8 kHz.
const BLOCK_SAMPLES: usize = 160;
const BLOCKS_A_FRAME: usize = 6;
/// Notes from signalling that may wait for storage; they have these places for themselves.
const NOTES: usize = 64;
/// Notes of the media plane that may wait for storage; more are not told.
const NOTES_FOUND: usize = 32;

/// A piece of one track on its way to storage.
#[derive(Debug, Clone, Copy)]
struct Block {
    position: u64,
    track: Track,
    len: u16,
    samples: [i16; BLOCK_SAMPLES],
}

#[derive(Debug, Default)]
struct Shared {
    /// Frames dropped because the queue was full.
    lost: [AtomicU64; 2],
    /// Where the recording ends, at least.
    end: AtomicU64,
}

/// The media plane's end of a recording: takes frames and never waits.
///
/// Positions count samples from the recording's start; [`TrackClock`](clock::TrackClock) makes them
/// from RTP time. Dropping the tap ends the recording: the storage side writes what is queued and
/// closes the file.
#[derive(Debug)]
pub struct Tap {
    rate: SampleRate,
    producer: rtrb::Producer<Block>,
    notes: rtrb::Producer<(u64, Note)>,
    shared: Arc<Shared>,
    party_alone: bool,
}

impl Tap {
    /// Records only what the party says: its left channel on the left, its right channel on the right, and
    /// the same on both where it speaks in mono.
    #[must_use]
    pub fn of_party_alone(mut self) -> Self {
        self.party_alone = true;
        self
    }

    /// Whether only what the party says is recorded.
    pub fn is_of_party_alone(&self) -> bool {
        self.party_alone
    }

    /// The recording's rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Hands over a frame whose first sample belongs at `position`; what lies before the recording's
    /// start is cut off. Returns `false` where the frame was dropped and counted, because the queue
    /// is full or the frame has another rate: its place stays silent, and nothing shifts.
    pub fn push(&mut self, track: Track, position: i64, frame: &Frame) -> bool {
        let early = usize::try_from(-position).unwrap_or(0);
        let samples = frame.samples().get(early..).unwrap_or_default();
        let needed = samples.len().div_ceil(BLOCK_SAMPLES);
        if frame.rate() != self.rate || self.producer.slots() < needed {
            self.shared.lost[track.index()].fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let mut position = u64::try_from(position).unwrap_or(0);
        for part in samples.chunks(BLOCK_SAMPLES) {
            let mut block = Block {
                position,
                track,
                len: part.len() as u16,
                samples: [0; BLOCK_SAMPLES],
            };
            block.samples[..part.len()].copy_from_slice(part);
            position += part.len() as u64;
            // There is room: it was asked above, and only this side fills the queue.
            if self.producer.push(block).is_err() {
                return false;
            }
        }
        true
    }

    /// Says that the recording lasts at least up to `position`, although the tracks may be silent.
    pub fn extend_to(&mut self, position: u64) {
        self.shared.end.fetch_max(position, Ordering::Relaxed);
    }

    /// Writes `note` into the recording's timeline at `position`. What it says of sound to be silenced
    /// holds for samples from `position` on, in whichever order they come. Frees nothing.
    ///
    /// # Errors
    /// Gives the note back where too many wait for storage.
    pub fn note(&mut self, position: i64, note: Note) -> Result<(), Note> {
        let least = if note.is_told() { 1 } else { 1 + NOTES };
        if self.notes.slots() < least {
            return Err(note);
        }
        let position = u64::try_from(position).unwrap_or(0);
        self.notes.push((position, note)).map_err(|full| {
            let rtrb::PushError::Full((_, note)) = full;
            note
        })
    }

    /// Frames of `track` that were dropped because the queue was full.
    pub fn lost_frames(&self, track: Track) -> u64 {
        self.shared.lost[track.index()].load(Ordering::Relaxed)
    }
}

/// The storage side's end of a recording's queue; a [`StereoWriter`](writer::StereoWriter) reads it.
#[derive(Debug)]
pub struct Feed {
    rate: SampleRate,
    consumer: rtrb::Consumer<Block>,
    noted: rtrb::Consumer<(u64, Note)>,
    shared: Arc<Shared>,
}

impl Feed {
    /// The recording's rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    fn pop(&mut self) -> Option<Block> {
        self.consumer.pop().ok()
    }

    fn pop_note(&mut self) -> Option<(u64, Note)> {
        self.noted.pop().ok()
    }

    /// Whether the tap is gone and everything has been read.
    fn is_finished(&self) -> bool {
        // In this order: what was pushed before the tap went is visible after.
        self.consumer.is_abandoned() && self.consumer.is_empty() && self.noted.is_empty()
    }

    fn lost_frames(&self, track: Track) -> u64 {
        self.shared.lost[track.index()].load(Ordering::Relaxed)
    }

    fn end(&self) -> u64 {
        self.shared.end.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;
