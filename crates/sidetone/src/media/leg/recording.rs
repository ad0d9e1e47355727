//! The recordings that a leg is tapped for: what it says, what it hears, what is played to it.

use crate::id::RecordingId;
use crate::media::frame::{FRAME_DURATION, Frame};
use crate::media::jitter::MEDIA_CLOCK;
use crate::media::jitter::playout::Piece;
use crate::media::recorder::Tap;
use crate::media::recorder::note::Note;
use crate::media::recorder::originals::LOOKAHEAD;
use crate::media::recorder::track::Track;
use crate::media::stereo::join;
use crate::time::{Duration, Instant};

/// Recordings that one leg is tapped for at most: its own and those of conversations that it takes part in.
pub const MAX_RECORDINGS: usize = 4;

/// The recordings that a leg is tapped for.
#[derive(Debug)]
pub(super) struct Recordings(Vec<Recording>);

impl Default for Recordings {
    fn default() -> Self {
        Self(Vec::with_capacity(MAX_RECORDINGS))
    }
}

impl Recordings {
    pub(super) fn iter(&self) -> impl Iterator<Item = RecordingId> + '_ {
        self.0.iter().map(|recording| recording.id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them wants what is played to the leg alone.
    pub(super) fn wants_played(&self) -> bool {
        let played = |recording: &Recording| recording.tap.route().played.is_some();
        self.0.iter().any(played)
    }

    /// Gives the tap back where there is no place.
    pub(super) fn add(
        &mut self,
        now: Instant,
        id: RecordingId,
        tap: Box<Tap>,
    ) -> Result<(), Box<Tap>> {
        if self.0.len() >= MAX_RECORDINGS {
            return Err(tap);
        }
        self.0.push(Recording::new(now, id, tap));
        Ok(())
    }

    pub(super) fn get_mut(&mut self, id: RecordingId) -> Option<&mut Recording> {
        self.0.iter_mut().find(|recording| recording.id == id)
    }

    pub(super) fn remove(&mut self, id: RecordingId) -> Option<Box<Tap>> {
        let index = self.0.iter().position(|recording| recording.id == id)?;
        Some(self.0.remove(index).tap)
    }

    /// The codecs have changed, and with them the origin of media time.
    pub(super) fn reanchor(&mut self) {
        for recording in &mut self.0 {
            recording.tap.clock_mut().reanchor();
        }
    }

    /// Takes a piece of up to 20 ms of what the leg says; `opus` has a bit for each payload type that is Opus.
    pub(super) fn push_said(&mut self, at: Instant, piece: Piece<'_>, opus: u128) {
        for recording in &mut self.0 {
            recording.push_said(at, piece, opus);
        }
    }

    /// Takes what the leg hears in this tick, and whether packets of Opus carry it that
    /// [`push_sent`](Self::push_sent) takes.
    pub(super) fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool, is_opus: bool) {
        for recording in &mut self.0 {
            recording.push_heard(at, frame, sounds, is_opus);
        }
    }

    /// Takes the payload of a packet of Opus that is sent, the sound of which began so long before the end of this tick.
    pub(super) fn push_sent(&mut self, at: Instant, behind: Duration, payload: &[u8]) {
        for recording in &mut self.0 {
            let Some(track) = recording.tap.route().heard else {
                continue;
            };
            let end = recording.position(at) + recording.samples(FRAME_DURATION);
            // The decoder plays first what the encoder had held back.
            let begins = end - recording.samples(behind) - recording.samples(LOOKAHEAD);
            recording.tap.push_packet(track, begins, payload);
        }
    }

    /// Takes what is played in this tick to the room that the leg is in.
    pub(super) fn push_prompt(&mut self, at: Instant, frame: &Frame) {
        for recording in &mut self.0 {
            let position = recording.position(at);
            if let Some(track) = recording.tap.route().room {
                recording.tap.push(track, position, frame);
            }
        }
    }

    /// Takes what is played to the leg alone in this tick.
    pub(super) fn push_played(&mut self, at: Instant, frame: &Frame) {
        for recording in &mut self.0 {
            let position = recording.position(at);
            if let Some(track) = recording.tap.route().played {
                recording.tap.push(track, position, frame);
            }
        }
    }
}

/// A tap and the clocks that place what goes into it.
///
/// The recording's clock counts from the moment it started. What the leg hears is placed at the tick
/// that sends it. What it says is placed by RTP time, as it was received: at the moment when it came
/// over the network at its fastest, whatever the jitter buffer does, and never stretched.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) id: RecordingId,
    pub(super) tap: Box<Tap>,
    started: Instant,
    told: Told,
    /// Whether packets of Opus that are recorded as they are carry what is said.
    is_covered: bool,
}

/// What the timeline knows of the track of what is said.
#[derive(Debug, Default)]
struct Told {
    /// No more often than this position says.
    next: i64,
    anchored: u64,
    slewed: i64,
    /// Samples that concealment has made up since.
    made_up: u64,
}

/// How often the timeline is told of drift and loss.
const TELL: Duration = Duration::from_secs(5);

impl Recording {
    fn new(now: Instant, id: RecordingId, tap: Box<Tap>) -> Self {
        Self {
            id,
            started: tap.started().unwrap_or(now),
            tap,
            told: Told::default(),
            is_covered: false,
        }
    }

    /// Writes into the timeline at `now`.
    pub(super) fn note(&mut self, now: Instant, note: Note) -> Result<(), Note> {
        let position = self.position(now);
        self.tap.note(position, note)
    }

    fn push_said(&mut self, at: Instant, piece: Piece<'_>, opus: u128) {
        let Some(track) = self.tap.route().said else {
            return;
        };
        let tick = self.position(at);
        let clock = self.tap.clock_mut();
        let position = clock.position(piece.media_time, tick, piece.age, piece.late);
        let mut frame = Frame::from_samples(piece.rate, piece.samples);
        if let Some(right) = self.tap.route().right {
            self.push_right(right, position, &mut frame, piece.side);
        }
        match self.take_packet(track, position, piece, opus) {
            true => self.tap.push_covered(track, position, &frame),
            false => self.tap.push(track, position, &frame),
        };
        if piece.made_up {
            let samples = piece.samples.len() as u64 * u64::from(self.tap.rate().hz());
            self.told.made_up += samples / u64::from(piece.rate.hz());
        }
        if position >= self.told.next {
            self.tell(track, position);
        }
        if let Some((position, samples)) = self.tap.clock_mut().poll_placed() {
            self.tap
                .note(position, Note::Placed { track, samples })
                .ok();
        }
    }

    /// Takes the packet that brought a piece, which lies at this position. What no packet brought is made up for those
    /// before it, or the rest of a long one: as they were, so it is.
    fn take_packet(&mut self, track: Track, position: i64, piece: Piece<'_>, opus: u128) -> bool {
        if let Some(packet) = piece.packet {
            let is_opus = opus >> (packet.payload_type & 127) & 1 == 1;
            let is_wanted = is_opus && self.tap.route().right.is_none();
            let skipped = packet.skipped * i64::from(self.tap.rate().hz());
            let from = position - skipped / i64::from(MEDIA_CLOCK);
            self.is_covered = is_wanted && self.tap.push_packet(track, from, packet.payload);
        }
        self.is_covered
    }

    /// Takes the right channel of what is said, and leaves the left one in `frame`.
    fn push_right(&mut self, track: Track, position: i64, frame: &mut Frame, side: &[i16]) {
        let mut right = frame.clone();
        let channels = frame.samples_mut().iter_mut().zip(right.samples_mut());
        for ((left, right), side) in channels.zip(side) {
            (*left, *right) = join(*left, *side);
        }
        self.tap.push(track, position, &right);
    }

    /// Tells the timeline what has happened since it was last told. What it has no room for is told later.
    fn tell(&mut self, track: Track, position: i64) {
        let clock = self.tap.clock_mut();
        let (anchored, slewed) = (clock.anchored(), clock.slewed());
        // The first anchor is where it begins.
        if anchored > self.told.anchored.max(1) {
            self.tap.note(position, Note::Leap { track }).ok();
        }
        self.told.anchored = anchored;
        if slewed != self.told.slewed {
            let note = Note::Drift {
                track,
                samples: slewed,
            };
            self.tap.note(position, note).ok();
            self.told.slewed = slewed;
        }
        let samples = std::mem::take(&mut self.told.made_up);
        if samples > 0 {
            self.tap.note(position, Note::Lost { track, samples }).ok();
        }
        self.told.next = position + self.samples(TELL);
    }

    fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool, is_opus: bool) {
        let position = self.position(at);
        match self.tap.route().heard {
            Some(track) if is_opus && self.tap.takes_packets() => {
                self.tap.push_covered(track, position, frame);
            }
            Some(track) if sounds => {
                self.tap.push(track, position, frame);
            }
            _ => {}
        }
        let end = position + self.samples(frame.duration());
        self.tap.extend_to(u64::try_from(end).unwrap_or(0));
    }

    /// Where `at` lies on the recording's clock.
    fn position(&self, at: Instant) -> i64 {
        // One of the two is nothing.
        self.samples(at - self.started) - self.samples(self.started - at)
    }

    fn samples(&self, duration: Duration) -> i64 {
        i64::try_from(self.tap.rate().samples_in(duration)).unwrap_or(i64::MAX)
    }
}
