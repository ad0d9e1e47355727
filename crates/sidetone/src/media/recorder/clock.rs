//! The clock of a recorded track: from a stream's media time to the recording's sample positions.

mod drift;

use crate::media::frame::SampleRate;
use crate::media::recorder::clock::drift::Drift;
use crate::time::Duration;

/// Maps a stream's extended RTP timestamps to sample positions of a recording, so that both tracks
/// stay in step whatever is lost or late.
///
/// The first timestamp is anchored where the recording's clock stands, less the playout delay; all others
/// follow from it by RTP time, and by what is learnt of the sender's clock: the line below the delays of the last 8
/// minutes' packets is where they belong. The anchor follows that by one sample a call, as soon as it is off by more
/// than [`SLACK`]. Three things are told from drift: in the first 4 seconds the fastest packet may be still to come,
/// and the anchor follows it at once; a step of more than [`STEP_MS`] is a change of route, which moves no speech,
/// and is followed only beyond [`ROUTE_MS`]; beyond [`JUMP_MS`] the stream has leapt (another source, a sender that
/// restarted its clock) and is anchored anew.
///
/// With 35 ms of jitter and clocks that are 200 ppm off a track lies within 2 ms of the network's least delay after
/// 4 seconds, and within 1 ms after 20: before, its packets do not say more. With less jitter both hold sooner. What the
/// packets of the first [`SURE`] say by then of where the track's first seconds belong is told by
/// [`poll_placed`](Self::poll_placed), to within 1 ms: a file that has been written is not changed any more, but its log
/// says by how much they are off.
///
/// ```
/// use sidetone::media::frame::SampleRate;
/// use sidetone::media::recorder::clock::TrackClock;
///
/// let mut clock = TrackClock::new(SampleRate::HZ_8000, 8_000);
/// // Played at the recording's sample 1,600 after 60 ms (480 samples) in the jitter buffer.
/// assert_eq!(clock.position(70_000, 1_600, 480, Some(0)), 1_120);
/// // A frame is lost, the next is played two ticks later.
/// assert_eq!(clock.position(70_320, 1_920, 480, Some(0)), 1_440);
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
    /// Where the track's first seconds were placed: media time and position. Told from `told` on.
    placed: [(i64, i64); PLACED],
    known: usize,
    told: usize,
}

/// Seconds of which it is remembered where they were placed.
const PLACED: usize = 24;
/// When it is known well where they belong.
pub const SURE: Duration = Duration::from_secs(30);

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
            drift: Drift::new(rate.hz(), rtp_clock),
            anchored: 0,
            slewed: 0,
            placed: [(0, 0); PLACED],
            known: 0,
            told: 0,
        }
    }

    /// The position of the sample at `media_time`, which is taken when the recording's clock stands at `tick`, as
    /// long after the network's fastest packets would have brought it as `age` says, in ticks of the stream; `late`
    /// is by how much of that its own packet came later, where one brought it. Call it once a piece, in order.
    pub fn position(&mut self, media_time: i64, tick: i64, age: i64, late: Option<i64>) -> i64 {
        let scale = f64::from(self.rate.hz()) / f64::from(self.rtp_clock);
        let expected = tick - (age as f64 * scale) as i64;
        let jump = JUMP_MS * i64::from(self.rate.hz()) / 1000;
        if let Some(late) = late {
            let came = tick as f64 - (age - late) as f64 * scale;
            self.learn(media_time, came, jump);
        }
        let anchor = self
            .anchor
            .map(|anchor| (anchor, self.map(anchor, media_time)));
        let ((time, at), position) = match anchor {
            Some(mapped) if (mapped.1 - expected).abs() <= jump => mapped,
            _ => {
                self.anchored += 1;
                self.anchor = Some((media_time, expected));
                self.drift.begin(media_time, expected);
                (self.known, self.told) = (0, 0);
                return self.remember(media_time, expected);
            }
        };
        let error = self.drift.estimate(media_time) - position as f64;
        if error.abs() <= SLACK.as_secs_f64() * f64::from(self.rate.hz()) {
            return self.remember(media_time, position);
        }
        let step = error.signum() as i64;
        self.slewed += step;
        self.anchor = Some((time, at + step));
        self.remember(media_time, position + step)
    }

    /// Remembers where the stream's first seconds were placed.
    fn remember(&mut self, media_time: i64, position: i64) -> i64 {
        let begun = self.placed.first().map_or(0, |(time, _)| *time);
        let second = i64::from(self.rtp_clock) * self.known as i64;
        if (self.known == 0 || media_time - begun >= second)
            && let Some(place) = self.placed.get_mut(self.known)
        {
            *place = (media_time, position);
            self.known += 1;
        }
        position
    }

    /// A position that was given in the stream's first seconds, and how many samples too late it was by what is known
    /// [`SURE`] later; below zero, too early. One a second of them, once each, in order; those only that were off by
    /// more than [`SLACK`]. Nothing where the network's route or the sender's pace has changed meanwhile.
    pub fn poll_placed(&mut self) -> Option<(i64, i64)> {
        if !self.drift.is_sure() {
            return None;
        }
        let slack = SLACK.as_secs_f64() * f64::from(self.rate.hz());
        let left = self.placed.get(self.told..self.known)?;
        for &(media_time, position) in left {
            self.told += 1;
            let off = position as f64 - self.drift.estimate(media_time);
            if off.abs() > slack {
                return Some((position, off.round() as i64));
            }
        }
        None
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

    /// Learns that the packet with the sample at `media_time` came when the recording's clock stood at `came`.
    fn learn(&mut self, media_time: i64, came: f64, jump: i64) {
        let belongs = self.anchor.map(|anchor| self.map(anchor, media_time));
        // A leap is not its business.
        if belongs.is_some_and(|at| (came - at as f64).abs() <= jump as f64) {
            self.drift.learn(media_time, came);
        }
    }

    fn map(&self, (time, at): (i64, i64), media_time: i64) -> i64 {
        let ticks = i128::from(media_time - time);
        let samples = (ticks * i128::from(self.rate.hz())).div_euclid(i128::from(self.rtp_clock));
        at + samples as i64
    }
}
