//! The recording of a leg: what it says on the left, what it hears on the right.

use crate::id::RecordingId;
use crate::media::frame::Frame;
use crate::media::jitter::MEDIA_CLOCK;
use crate::media::jitter::playout::Piece;
use crate::media::recorder::clock::TrackClock;
use crate::media::recorder::{Tap, Track};
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
}

impl Recording {
    pub(super) fn new(now: Instant, id: RecordingId, tap: Box<Tap>) -> Self {
        Self {
            id,
            said: TrackClock::new(tap.rate(), MEDIA_CLOCK),
            tap,
            started: now,
        }
    }

    /// The codecs have changed, and with them the origin of media time.
    pub(super) fn reanchor(&mut self) {
        self.said.reanchor();
    }

    /// Takes a piece of up to 20 ms of what the leg says.
    pub(super) fn push_said(&mut self, at: Instant, piece: Piece<'_>) {
        let tick = self.position(at);
        let age = piece.age * i64::from(self.tap.rate().hz()) / i64::from(MEDIA_CLOCK);
        let position = self.said.position(piece.media_time, tick, age);
        let frame = Frame::from_samples(piece.rate, piece.samples);
        self.tap.push(Track::Caller, position, &frame);
    }

    pub(super) fn push_heard(&mut self, at: Instant, frame: &Frame, sounds: bool) {
        let position = self.position(at);
        if sounds {
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
