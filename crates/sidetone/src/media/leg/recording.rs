//! The recording of a leg: what it says on the left, what it hears on the right.

use crate::id::RecordingId;
use crate::media::frame::Frame;
use crate::media::jitter::playout::Playout;
use crate::media::recorder::clock::TrackClock;
use crate::media::recorder::{Tap, Track};
use crate::time::{Duration, Instant};

/// A tap and the clocks that place what goes into it.
///
/// The recording's clock counts from the moment it started. What the leg hears is placed at the tick
/// that sends it. What it says is placed by RTP time, less the time that its packets waited here: at
/// the moment when it arrived, whatever the jitter buffer does.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) id: RecordingId,
    pub(super) tap: Box<Tap>,
    started: Instant,
    said: TrackClock,
}

impl Recording {
    pub(super) fn new(now: Instant, id: RecordingId, tap: Box<Tap>, clock_rate: u32) -> Self {
        Self {
            id,
            said: TrackClock::new(tap.rate(), clock_rate),
            tap,
            started: now,
        }
    }

    /// The codecs have changed, and with them the clock of what is said.
    pub(super) fn set_clock_rate(&mut self, clock_rate: u32) {
        self.said = TrackClock::new(self.tap.rate(), clock_rate);
    }

    pub(super) fn push_said(&mut self, at: Instant, playout: &Playout, frame: &Frame) {
        let Some(media_time) = playout.media_time() else {
            return;
        };
        let delay = playout.statistics().delay;
        let (tick, delay) = (self.position(at), self.samples(delay));
        let position = self.said.position(media_time, tick, delay);
        self.tap.push(Track::Caller, position, frame);
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
