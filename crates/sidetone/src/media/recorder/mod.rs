//! Recorders: tracks aligned by RTP time, handed from the media plane to storage, journalled, sealed
//! and written as WAV of as many channels.

pub mod clock;
pub mod crypt;
pub mod digest;
pub mod disk;
pub mod errands;
pub mod expiry;
pub mod export;
pub(crate) mod framing;
pub mod journal;
pub mod layout;
pub mod live;
pub mod name;
pub mod note;
pub(super) mod originals;
mod pack;
pub mod recovery;
pub mod retention;
pub mod scribe;
pub mod seal;
pub mod stamp;
pub mod storage;
pub mod track;
pub mod upload;
pub mod verify;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::MEDIA_CLOCK;
use crate::media::recorder::clock::TrackClock;
use crate::media::recorder::framing::Frames;
use crate::media::recorder::note::Note;
use crate::media::recorder::originals::{LOOKAHEAD, PACKET};
use crate::media::recorder::track::Track;
use crate::media::resample::Resampler;
use crate::time::{Duration, Instant};

/// How long the queue between media and storage may grow by default: 1 s of both tracks.
pub const DEFAULT_QUEUE: Duration = Duration::from_secs(1);

/// What of a leg goes onto which track of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Route {
    /// What its party says.
    pub said: Option<Track>,
    /// All that its party hears.
    pub heard: Option<Track>,
    /// What is played to its party alone: prompts, tones, music.
    pub played: Option<Track>,
    /// What is played to the whole room that its party is in.
    pub room: Option<Track>,
    /// The right channel of what its party says, where it speaks in stereo, and the same as the left one where
    /// not; `said` is the left one then.
    pub right: Option<Track>,
}

impl Route {
    /// One party's recording: what it says left, what it hears right.
    pub const PARTY: Self = Self {
        said: Some(Track::Caller),
        heard: Some(Track::Agent),
        played: None,
        room: None,
        right: None,
    };

    /// Only what one party says: its left channel left, its right channel right.
    pub const ALONE: Self = Self {
        said: Some(Track::Caller),
        heard: None,
        played: None,
        room: None,
        right: Some(Track::Agent),
    };
}

/// How a leg is tapped for a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapPlan {
    /// The recording's rate.
    pub rate: SampleRate,
    /// The rate of the frames that are handed in; where it is another one they are converted.
    pub from: SampleRate,
    /// The same for what is played to a whole room.
    pub room_from: SampleRate,
    /// How long the queue between media and storage may grow, at most 60 s. Default
    /// [`DEFAULT_QUEUE`].
    pub queue: Duration,
    /// What goes where. Default [`Route::PARTY`].
    pub route: Route,
    /// When the recording began, from which positions count; `None` for the moment when the leg takes
    /// the tap. Default `None`.
    pub started: Option<Instant>,
    /// Who joins the recording with this tap, and at which position: a line of its timeline. Default none.
    pub joins: Option<(u64, Box<str>)>,
    /// Whether it takes packets of Opus as they are, beside their sound: a block of the queue each. Default no.
    pub packets: bool,
}

impl TapPlan {
    /// One party's recording at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            from: rate,
            room_from: rate,
            queue: DEFAULT_QUEUE,
            route: Route::PARTY,
            started: None,
            joins: None,
            packets: false,
        }
    }

    /// Makes the two ends: the [`Tap`] for the media plane and the [`Feed`] for a
    /// [`TrackWriter`](writer::TrackWriter) on a storage thread.
    ///
    /// The queue between them takes 340 bytes for each 160 samples of each track, at 8 kHz 34 kB for the
    /// default of two tracks and 1 s.
    pub fn make(self) -> (Tap, Feed) {
        let Self { rate, route, .. } = self;
        let queue = self.queue.min(Duration::from_secs(60));
        let routes = [route.said, route.heard, route.played, route.right];
        let tracks = routes.iter().chain([&route.room]).flatten().count().max(1);
        let mut blocks = tracks * rate.samples_in(queue) as usize / BLOCK_SAMPLES;
        if self.packets {
            blocks += tracks * (queue.as_millis() / PACKET.as_millis()) as usize;
        }
        let (producer, consumer) = rtrb::RingBuffer::new(blocks.max(2 * BLOCKS_A_FRAME));
        let (notes, noted) = rtrb::RingBuffer::new(NOTES + NOTES_FOUND);
        let shared = Arc::new(Shared::default());
        let routes = routes.into_iter().flatten().map(|track| (track, self.from));
        let room = route.room.map(|track| (track, self.room_from));
        let converted = routes.chain(room).filter(|(_, from)| *from != rate);
        let convert = |(track, from)| (track, Resampler::new(from, rate));
        let tap = Tap {
            rate,
            from: self.from,
            route,
            packets: self.packets,
            started: self.started,
            clock: TrackClock::new(rate, MEDIA_CLOCK),
            converters: converted.map(convert).collect(),
            producer,
            notes,
            shared: Arc::clone(&shared),
        };
        let feed = Feed {
            rate,
            route,
            joins: self.joins,
            consumer,
            noted,
            shared,
        };
        (tap, feed)
    }
}

/// Makes the two ends of one party's recording at `rate` with a queue of `queue`: a [`TapPlan`] that says
/// nothing else.
pub fn recording(rate: SampleRate, queue: Duration) -> (Tap, Feed) {
    let plan = TapPlan {
        queue,
        ..TapPlan::new(rate)
    };
    plan.make()
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
    content: Content,
}

/// What a block holds.
#[derive(Debug, Clone, Copy)]
enum Content {
    /// Samples.
    Sound([i16; BLOCK_SAMPLES]),
    /// Samples that packets carry as well.
    Covered([i16; BLOCK_SAMPLES]),
    /// A part of a packet of Opus that would play where the block stands, and whether more of it follows.
    Packet([u8; 2 * BLOCK_SAMPLES], bool),
}

/// The longest packet that is recorded as it is: a frame of 20 ms at its largest, or two of 10 ms in one datagram.
const MOST_PACKET: usize = 1_500;

#[derive(Debug, Default)]
struct Shared {
    /// Frames dropped because the queue was full.
    lost: [AtomicU64; Track::ALL.len()],
    /// Where the recording ends, at least.
    end: AtomicU64,
}

/// The media plane's end of a recording: takes frames and never waits.
///
/// Positions count samples from the recording's start; [`TrackClock`] makes them
/// from RTP time. Dropping the tap ends the recording: the storage side writes what is queued and
/// closes the file.
#[derive(Debug)]
pub struct Tap {
    rate: SampleRate,
    from: SampleRate,
    route: Route,
    packets: bool,
    started: Option<Instant>,
    /// The clock of what is said.
    clock: TrackClock,
    /// For each track that is routed, where frames have another rate.
    converters: Box<[(Track, Resampler)]>,
    producer: rtrb::Producer<Block>,
    notes: rtrb::Producer<(u64, Note)>,
    shared: Arc<Shared>,
}

impl Tap {
    /// The same for only what the party says ([`Route::ALONE`]).
    #[must_use]
    pub fn of_party_alone(self) -> Self {
        Self {
            route: Route::ALONE,
            ..self
        }
    }

    /// The recording's rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The rate of the frames that it takes.
    pub fn from_rate(&self) -> SampleRate {
        self.from
    }

    /// What goes where.
    pub fn route(&self) -> Route {
        self.route
    }

    /// When the recording began, where that is known.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// The clock that places what the leg's party says, for streams in ticks of [`MEDIA_CLOCK`].
    pub fn clock_mut(&mut self) -> &mut TrackClock {
        &mut self.clock
    }

    /// Hands over a frame whose first sample belongs at `position`, in samples of the recording; what lies
    /// before its start is cut off. Returns `false` where the frame was dropped and counted, because the queue
    /// is full or the frame has another rate: its place stays silent, and nothing shifts.
    pub fn push(&mut self, track: Track, position: i64, frame: &Frame) -> bool {
        self.push_frame(track, position, frame, Content::Sound)
    }

    /// As [`push`](Self::push), where packets carry the frame, or would if they had not been lost or left out:
    /// [`push_packet`](Self::push_packet) takes them.
    pub fn push_covered(&mut self, track: Track, position: i64, frame: &Frame) -> bool {
        self.push_frame(track, position, frame, Content::Covered)
    }

    /// Whether it takes packets of Opus.
    pub fn takes_packets(&self) -> bool {
        self.packets
    }

    /// Hands over a packet of Opus, the first sample of which a decoder plays at `position`. Returns `false` where it
    /// was not taken, so that its sound has to do: packets are not wanted, the queue is full, or it cannot be put into
    /// a file of packets of 20 ms.
    pub fn push_packet(&mut self, track: Track, position: i64, packet: &[u8]) -> bool {
        let Some(frames) = Frames::read(packet).filter(|_| self.packets) else {
            return false;
        };
        let is_one = frames.samples() == framing::PACKET && packet.len() <= MOST_PACKET;
        let frame = self.rate.samples_in(PACKET);
        let lead = self.rate.samples_in(LOOKAHEAD) as i64;
        let blocks = packet.len() / (2 * BLOCK_SAMPLES);
        let blocks = blocks + frames.samples().div_ceil(framing::PACKET) as usize;
        if !(is_one || frames.are_packets()) || self.producer.slots() < blocks {
            return false;
        }
        // What would begin before the file does is not part of it.
        let mut at = position + lead;
        if is_one {
            self.push_whole(track, at, packet);
        } else {
            frames.each(&mut [0; 1_276], &mut |packet| {
                self.push_whole(track, at, packet);
                at += frame as i64;
            });
        }
        true
    }

    fn push_whole(&mut self, track: Track, at: i64, packet: &[u8]) {
        let Ok(position) = u64::try_from(at) else {
            return;
        };
        let mut parts = packet.chunks(2 * BLOCK_SAMPLES).peekable();
        while let Some(part) = parts.next() {
            let mut bytes = [0; 2 * BLOCK_SAMPLES];
            bytes[..part.len()].copy_from_slice(part);
            // There is room: it was asked before, and only this side fills the queue.
            let _ = self.producer.push(Block {
                position,
                track,
                len: part.len() as u16,
                content: Content::Packet(bytes, parts.peek().is_some()),
            });
        }
    }

    fn push_frame(
        &mut self,
        track: Track,
        position: i64,
        frame: &Frame,
        content: fn([i16; BLOCK_SAMPLES]) -> Content,
    ) -> bool {
        if frame.rate() == self.rate {
            return self.push_samples(track, position, frame.samples(), content);
        }
        let fits =
            |(it, by): &&mut (Track, Resampler)| *it == track && by.from_rate() == frame.rate();
        let Some((_, converter)) = self.converters.iter_mut().find(fits) else {
            self.shared.lost[track.index()].fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let mut converted = Frame::silence(self.rate);
        converter.process(frame, &mut converted);
        let position = position - converter.delay() as i64;
        self.push_samples(track, position, converted.samples(), content)
    }

    fn push_samples(
        &mut self,
        track: Track,
        position: i64,
        samples: &[i16],
        content: fn([i16; BLOCK_SAMPLES]) -> Content,
    ) -> bool {
        let early = usize::try_from(-position).unwrap_or(0);
        let samples = samples.get(early..).unwrap_or_default();
        let needed = samples.len().div_ceil(BLOCK_SAMPLES);
        if self.producer.slots() < needed {
            self.shared.lost[track.index()].fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let mut position = u64::try_from(position).unwrap_or(0);
        for part in samples.chunks(BLOCK_SAMPLES) {
            let mut samples = [0; BLOCK_SAMPLES];
            samples[..part.len()].copy_from_slice(part);
            let block = Block {
                position,
                track,
                len: part.len() as u16,
                content: content(samples),
            };
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

/// The storage side's end of a recording's queue; a [`TrackWriter`](writer::TrackWriter) reads it.
#[derive(Debug)]
pub struct Feed {
    rate: SampleRate,
    route: Route,
    joins: Option<(u64, Box<str>)>,
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
