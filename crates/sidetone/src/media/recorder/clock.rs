//! The clock of a recorded track: from a stream's media time to the recording's sample positions.

use crate::media::frame::SampleRate;
use crate::time::Duration;

/// Maps a stream's extended RTP timestamps to sample positions of a recording, so that both tracks
/// stay in step whatever is lost or late.
///
/// The first timestamp is anchored where the room's clock stands, less the playout delay; all others
/// follow from it by RTP time, and by what is learnt of the sender's clock. The delay is that of the fastest
/// packets, which jitter hardly moves: what moves it steadily is drift, of which a filter with a memory of
/// 30 s makes an estimate. The anchor follows that by one sample a call, as soon as it is off by more than
/// [`SLACK`]. Three things are told from drift: in the first seconds the fastest packet may be still
/// to come, and the anchor follows it at once; a step of more than [`STEP_MS`] is a change of route, which
/// moves no speech, and is followed only beyond [`ROUTE_MS`]; beyond [`JUMP_MS`] the stream has leapt
/// (another source, a sender that restarted its clock) and is anchored anew.
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
    drift: Drift,
    anchored: u64,
    slewed: i64,
}

/// Milliseconds between RTP time and the room's clock that mean a new stream.
pub const JUMP_MS: i64 = 1_000;
/// Milliseconds that a network's least delay may have changed before the track follows.
pub const ROUTE_MS: i64 = 40;
/// Milliseconds at once that no drift makes.
pub const STEP_MS: i64 = 8;
/// What the track may be off before it is corrected.
pub const SLACK: Duration = Duration::from_micros(250);

impl TrackClock {
    /// A clock for a stream with an RTP clock of `rtp_clock` ticks a second in a recording at `rate`.
    pub fn new(rate: SampleRate, rtp_clock: u32) -> Self {
        let rtp_clock = rtp_clock.max(1);
        Self {
            rate,
            rtp_clock,
            anchor: None,
            drift: Drift::new(rate, rtp_clock),
            anchored: 0,
            slewed: 0,
        }
    }

    /// The position of the sample at `media_time`, which is played when the recording's clock stands
    /// at `tick`, after a playout delay of `delay` samples. Call it once a frame, in order.
    pub fn position(&mut self, media_time: i64, tick: i64, delay: i64) -> i64 {
        let expected = tick - delay;
        let jump = JUMP_MS * i64::from(self.rate.hz()) / 1000;
        let anchor = self
            .anchor
            .map(|anchor| (anchor, self.map(anchor, media_time)));
        let ((time, at), position) = match anchor {
            Some(mapped) if (mapped.1 - expected).abs() <= jump => mapped,
            _ => {
                self.anchored += 1;
                self.anchor = Some((media_time, expected));
                self.drift.begin(media_time, expected);
                return expected;
            }
        };
        let error = self.drift.estimate(media_time, expected) - position as f64;
        if error.abs() <= SLACK.as_secs_f64() * f64::from(self.rate.hz()) {
            return position;
        }
        let step = error.signum() as i64;
        self.slewed += step;
        self.anchor = Some((time, at + step));
        position + step
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

/// Where a stream's samples belong, by the fastest packets of late: a straight line through them.
#[derive(Debug, Clone)]
struct Drift {
    /// Samples of the recording a tick of the stream, if its clock is true.
    scale: f64,
    hz: f64,
    /// Media time of the last look, and where it belongs.
    time: i64,
    at: f64,
    /// By how much the sender's clock is slow.
    rate: f64,
    looks: u32,
    /// What the network's least delay has changed since the beginning, in samples.
    route: f64,
}

impl Drift {
    /// Looks a second.
    const LOOKS: i64 = 2;
    /// Looks until the fastest packet has been seen: 4 s.
    const SETTLED: u32 = 8;
    /// Looks that it remembers: 30 s.
    const MEMORY: u32 = 60;
    /// No sender's clock is further off.
    const MOST: f64 = 1e-3;

    fn new(rate: SampleRate, rtp_clock: u32) -> Self {
        let hz = f64::from(rate.hz());
        Self {
            scale: hz / f64::from(rtp_clock),
            hz,
            time: 0,
            at: 0.0,
            rate: 0.0,
            looks: 0,
            route: 0.0,
        }
    }

    fn begin(&mut self, media_time: i64, expected: i64) {
        (self.time, self.at) = (media_time, expected as f64);
        (self.rate, self.looks, self.route) = (0.0, 0, 0.0);
    }

    /// Where `media_time` belongs, which the fastest packets place at `expected`.
    fn estimate(&mut self, media_time: i64, expected: i64) -> f64 {
        let passed = (media_time - self.time) as f64 * self.scale;
        let predicted = self.at + passed * (1.0 + self.rate);
        if passed < self.hz / Self::LOOKS as f64 {
            return predicted;
        }
        self.looks += 1;
        let mut miss = expected as f64 - self.route - predicted;
        let step = STEP_MS as f64 * self.hz / 1000.0;
        if self.looks <= Self::SETTLED {
            self.at = predicted + miss / 2.0;
            self.time = media_time;
            return self.at;
        }
        if miss.abs() > step {
            self.route += miss;
            miss = 0.0;
        }
        let most = ROUTE_MS as f64 * self.hz / 1000.0;
        if self.route.abs() > most {
            // One sample a frame or so.
            self.route -= self.route.signum() * step / 4.0;
        }
        // Least squares over all looks until memory is full, then forgetting.
        let n = f64::from((self.looks - Self::SETTLED + 1).min(Self::MEMORY));
        let (gain, slope) = (
            2.0 * (2.0 * n - 1.0) / (n * (n + 1.0)),
            6.0 / (n * (n + 1.0)),
        );
        self.at = predicted + gain * miss;
        self.rate = (self.rate + slope * miss / passed).clamp(-Self::MOST, Self::MOST);
        self.time = media_time;
        self.at
    }
}
