//! The recordings that a leg is tapped for: what it says, what it hears, what is played to it.

use crate::id::RecordingId;
use crate::media::frame::Frame;
use crate::media::jitter::playout::Piece;
use crate::media::recorder::Tap;
use crate::media::recorder::note::Note;
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

    /// Takes a piece of up to 20 ms of what the leg says.
    pub(super) fn push_said(&mut self, at: Instant, piece: Piece<'_>) {
        for recording in &mut self.0 {
            recording.push_said(at, piece);
        }
    }

    /// Takes what the leg hears in this tick.
    pub(super) fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool) {
        for recording in &mut self.0 {
            recording.push_heard(at, frame, sounds);
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
        }
    }

    /// Writes into the timeline at `now`.
    pub(super) fn note(&mut self, now: Instant, note: Note) -> Result<(), Note> {
        let position = self.position(now);
        self.tap.note(position, note)
    }

    fn push_said(&mut self, at: Instant, piece: Piece<'_>) {
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
        self.tap.push(track, position, &frame);
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

    fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool) {
        let position = self.position(at);
        if let Some(track) = self.tap.route().heard.filter(|_| sounds) {
            self.tap.push(track, position, frame);
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
