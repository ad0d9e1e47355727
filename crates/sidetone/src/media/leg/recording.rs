//! The recording of a leg: what it says on the left, what it hears on the right.

use crate::id::RecordingId;
use crate::media::frame::Frame;
use crate::media::jitter::MEDIA_CLOCK;
use crate::media::jitter::playout::Piece;
use crate::media::recorder::Tap;
use crate::media::recorder::clock::TrackClock;
use crate::media::recorder::note::Note;
use crate::media::recorder::track::Track;
use crate::media::stereo::join;
use crate::time::{Duration, Instant};

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
    said: TrackClock,
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
    pub(super) fn new(now: Instant, id: RecordingId, tap: Box<Tap>) -> Self {
        Self {
            id,
            said: TrackClock::new(tap.rate(), MEDIA_CLOCK),
            tap,
            started: now,
            told: Told::default(),
        }
    }

    /// The codecs have changed, and with them the origin of media time.
    pub(super) fn reanchor(&mut self) {
        self.said.reanchor();
    }

    /// Writes into the timeline at `now`.
    pub(super) fn note(&mut self, now: Instant, note: Note) -> Result<(), Note> {
        let position = self.position(now);
        self.tap.note(position, note)
    }

    /// Takes a piece of up to 20 ms of what the leg says.
    pub(super) fn push_said(&mut self, at: Instant, piece: Piece<'_>) {
        let tick = self.position(at);
        let age = piece.age * i64::from(self.tap.rate().hz()) / i64::from(MEDIA_CLOCK);
        let position = self.said.position(piece.media_time, tick, age);
        let mut frame = Frame::from_samples(piece.rate, piece.samples);
        if self.tap.is_of_party_alone() {
            self.push_right(position, &mut frame, piece.side);
        }
        self.tap.push(Track::Caller, position, &frame);
        if piece.made_up {
            self.told.made_up += piece.samples.len() as u64;
        }
        if position >= self.told.next {
            self.tell(position);
        }
    }

    /// Takes the right channel of what is said, and leaves the left one in `frame`.
    fn push_right(&mut self, position: i64, frame: &mut Frame, side: &[i16]) {
        let mut right = frame.clone();
        let channels = frame.samples_mut().iter_mut().zip(right.samples_mut());
        for ((left, right), side) in channels.zip(side) {
            (*left, *right) = join(*left, *side);
        }
        self.tap.push(Track::Agent, position, &right);
    }

    /// Tells the timeline what has happened since it was last told. What it has no room for is told later.
    fn tell(&mut self, position: i64) {
        let track = Track::Caller;
        let (anchored, slewed) = (self.said.anchored(), self.said.slewed());
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

    pub(super) fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool) {
        let position = self.position(at);
        if sounds && !self.tap.is_of_party_alone() {
            self.tap.push(Track::Agent, position, frame);
        }
        let end = position + frame.samples().len() as i64;
        self.tap.extend_to(u64::try_from(end).unwrap_or(0));
    }

    /// Where `at` lies on the recording's clock.
    fn position(&self, at: Instant) -> i64 {
        self.samples(at - self.started)
    }

    fn samples(&self, duration: Duration) -> i64 {
        i64::try_from(self.tap.rate().samples_in(duration)).unwrap_or(i64::MAX)
    }
}
