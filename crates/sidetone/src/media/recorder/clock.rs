//! The clock of a recorded track: from a stream's media time to the recording's sample positions.

use crate::media::frame::SampleRate;

/// Maps a stream's extended RTP timestamps to sample positions of a recording, so that both tracks
/// stay in step whatever is lost or late.
///
/// The first timestamp is anchored where the room's clock stands, less the playout delay; all others
/// follow from it by RTP time alone. The mapping is tied to the room's clock in two ways: where a
/// timestamp lands more than [`JUMP_MS`] from it, the stream has leapt (another source, a sender
/// that restarted its clock) and is anchored anew; where it is off by more than [`SLACK_MS`], the
/// sender's clock drifts, and the anchor follows by one sample a call.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::recorder::clock::TrackClock;
///
/// let mut clock = TrackClock::new(SampleRate::HZ_8000, 8_000);
/// // Played at the recording's sample 1,600 after 60 ms (480 samples) in the jitter buffer.
/// assert_eq!(clock.position(70_000, 1_600, 480), 1_120);
/// // A frame is lost, the next is played two ticks later.
/// assert_eq!(clock.position(70_320, 1_920, 480), 1_440);
/// ```
#[derive(Debug, Clone)]
pub struct TrackClock {
    rate: SampleRate,
    rtp_clock: u32,
    /// Media time and the position that it maps to.
    anchor: Option<(i64, i64)>,
    anchored: u64,
    slewed: i64,
}

/// Milliseconds between RTP time and the room's clock that mean a new stream.
pub const JUMP_MS: i64 = 1_000;
/// Milliseconds between RTP time and the room's clock that jitter and its correction may make.
pub const SLACK_MS: i64 = 40;

impl TrackClock {
    /// A clock for a stream with an RTP clock of `rtp_clock` ticks a second in a recording at `rate`.
    pub fn new(rate: SampleRate, rtp_clock: u32) -> Self {
        Self {
            rate,
            rtp_clock: rtp_clock.max(1),
            anchor: None,
            anchored: 0,
            slewed: 0,
        }
    }

    /// The position of the sample at `media_time`, which is played when the recording's clock stands
    /// at `tick`, after a playout delay of `delay` samples. Call it once a frame, in order.
    pub fn position(&mut self, media_time: i64, tick: i64, delay: i64) -> i64 {
        let expected = tick - delay;
        let ms = i64::from(self.rate.hz()) / 1000;
        let mapped = self.anchor.map(|anchor| self.map(anchor, media_time));
        let position = match mapped {
            Some(mapped) if (mapped - expected).abs() <= JUMP_MS * ms => mapped,
            _ => {
                self.anchored += 1;
                self.anchor = Some((media_time, expected));
                return expected;
            }
        };
        let error = expected - position;
        if error.abs() > SLACK_MS * ms {
            let step = error.signum();
            self.slewed += step;
            // Anchored at the present frame, so that the step counts from here on.
            self.anchor = self.anchor.map(|(time, at)| (time, at + step));
            return position + step;
        }
        position
    }

    /// Anchors the next timestamp anew: another source has taken over.
    pub fn reanchor(&mut self) {
        self.anchor = None;
    }

    /// Times that the stream was anchored; more than once means that it leapt.
    pub fn anchored(&self) -> u64 {
        self.anchored
    }

    /// Samples by which the anchor has followed a drifting sender.
    pub fn slewed(&self) -> i64 {
        self.slewed
    }

    fn map(&self, (time, at): (i64, i64), media_time: i64) -> i64 {
        let ticks = i128::from(media_time - time);
        let samples = (ticks * i128::from(self.rate.hz())).div_euclid(i128::from(self.rtp_clock));
        at + samples as i64
    }
}
