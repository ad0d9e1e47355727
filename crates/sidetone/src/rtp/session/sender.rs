//! The sending half of an RTP session: SSRC, sequence numbers, timestamps, marker.

use crate::rtp::packet::Header;
use crate::rtp::rtcp::SenderInfo;
use crate::rtp::stats::SendStats;
use crate::time::{Duration, Instant, WallTime};

/// Numbers the packets of one sent stream (RFC 3550 §5.1).
///
/// Timestamps run on through silence and events: whoever sends nothing for a frame calls
/// [`Sender::skip`] in place of [`Sender::audio`].
///
/// ```
/// use sidetone::rtp::session::sender::Sender;
/// use sidetone::time::Instant;
///
/// let mut sender = Sender::new(0xCAFE, 1000, 5000, 8000);
/// let first = sender.audio(Instant::ZERO, 0, 160, 160);
/// let second = sender.audio(Instant::ZERO, 0, 160, 160);
/// assert!(first.marker && !second.marker);
/// assert_eq!((second.sequence, second.timestamp), (1001, 5160));
/// ```
#[derive(Debug, Clone)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    clock_rate: u32,
    talking: bool,
    last: Option<(Instant, u32)>,
    stats: SendStats,
    /// Packets and payload bytes sent before the present SSRC was taken.
    before: SendStats,
}

impl Sender {
    /// A stream that begins at `first_sequence` and `first_timestamp`, which should be random
    /// (RFC 3550 §5.1), on a clock of `clock_rate` Hz.
    pub fn new(ssrc: u32, first_sequence: u16, first_timestamp: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            sequence: first_sequence,
            timestamp: first_timestamp,
            clock_rate,
            talking: false,
            last: None,
            stats: SendStats::default(),
            before: SendStats::default(),
        }
    }

    /// The header of the next audio packet, whose payload spans `ticks` of the stream's clock.
    ///
    /// The marker is set where the packet begins a talk spurt: the first of all, and the first
    /// after [`Sender::skip`].
    pub fn audio(
        &mut self,
        now: Instant,
        payload_type: u8,
        ticks: u32,
        payload_len: usize,
    ) -> Header {
        let header = self.number(payload_type, !self.talking, self.timestamp, payload_len);
        self.talking = true;
        self.last = Some((now, self.timestamp));
        self.timestamp = self.timestamp.wrapping_add(ticks);
        header
    }

    /// The header of a packet about an event that began at `timestamp` (RFC 4733 §2.2). The
    /// stream's own timestamps do not advance; [`Sender::skip`] does that for audio left out.
    pub fn event(
        &mut self,
        payload_type: u8,
        timestamp: u32,
        marker: bool,
        payload_len: usize,
    ) -> Header {
        self.number(payload_type, marker, timestamp, payload_len)
    }

    /// The header of a packet that is passed on from another stream under these numbers. What
    /// is sent next, however it is made, goes on behind the packet that ends last. `ticks` of the
    /// stream's clock are in its payload. The marker is set where the packet begins a talk spurt of
    /// ours, too.
    #[inline]
    pub fn pass(
        &mut self,
        now: Instant,
        packet: &Header,
        ticks: u32,
        payload_len: usize,
    ) -> Header {
        self.stats.packets += 1;
        self.stats.bytes += payload_len as u64;
        let marker = packet.marker || !self.talking;
        // One that others have overtaken moves nothing.
        if (packet.sequence.wrapping_sub(self.sequence) as i16) >= 0 {
            self.sequence = packet.sequence.wrapping_add(1);
            self.timestamp = packet.timestamp.wrapping_add(ticks);
            self.last = Some((now, packet.timestamp));
            self.talking = true;
        }
        Header {
            ssrc: self.ssrc,
            marker,
            ..*packet
        }
    }

    /// Lets the timestamp run on to `now`, where nothing was sent since the last packet ended.
    pub fn catch_up(&mut self, now: Instant) {
        let Some((at, timestamp)) = self.last else {
            return;
        };
        let passed = ticks_in(now.saturating_duration_since(at), self.clock_rate);
        let missed = timestamp.wrapping_add(passed).wrapping_sub(self.timestamp);
        if (missed as i32) > 0 {
            self.skip(missed);
        }
    }

    /// Lets `ticks` pass without a packet; the next audio packet begins a talk spurt.
    pub fn skip(&mut self, ticks: u32) {
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.talking = false;
    }

    /// The sequence number that the next packet will carry.
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// The timestamp that the next audio packet will carry.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// Whether what was sent last was sound, so that what follows begins no talk spurt.
    pub(crate) fn is_talking(&self) -> bool {
        self.talking
    }

    /// The stream's synchronisation source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Ticks a second of the stream's clock.
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// Goes on with a codec of another clock rate; the timestamp runs on from where it is
    /// (RFC 7160 §4.1).
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if self.clock_rate == clock_rate {
            return;
        }
        self.clock_rate = clock_rate;
        self.last = None;
    }

    /// Goes on under another SSRC, after a collision (RFC 3550 §8.2). Sender reports count anew.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        self.before = self.stats;
        self.talking = false;
    }

    /// Counters since construction.
    pub fn stats(&self) -> SendStats {
        self.stats
    }

    /// When the last audio packet was sent.
    pub fn last_sent(&self) -> Option<Instant> {
        self.last.map(|(at, _)| at)
    }

    /// The sender information of a report made `now`, which is `wall` on the civil clock.
    pub fn info(&self, now: Instant, wall: WallTime) -> SenderInfo {
        let rtp_timestamp = match self.last {
            Some((at, timestamp)) => {
                let passed = ticks_in(now.saturating_duration_since(at), self.clock_rate);
                timestamp.wrapping_add(passed)
            }
            None => self.timestamp,
        };
        SenderInfo {
            ntp: wall.to_ntp(),
            rtp_timestamp,
            packets: (self.stats.packets - self.before.packets) as u32,
            octets: (self.stats.bytes - self.before.bytes) as u32,
        }
    }

    fn number(
        &mut self,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        payload_len: usize,
    ) -> Header {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.stats.packets += 1;
        self.stats.bytes += payload_len as u64;
        Header {
            payload_type,
            marker,
            sequence,
            timestamp,
            ssrc: self.ssrc,
        }
    }
}

/// The ticks of a clock of `rate` Hz in `time`, modulo 2³²; never overflows, however long the time.
pub(super) fn ticks_in(time: Duration, rate: u32) -> u32 {
    let rate = u64::from(rate);
    let whole = time.as_secs().wrapping_mul(rate);
    let part = u64::from(time.subsec_nanos()) * rate / 1_000_000_000;
    whole.wrapping_add(part) as u32
}

/// The time that `ticks` of a clock of `rate` Hz take.
pub(crate) fn ticks_to_time(ticks: u32, rate: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / u64::from(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn the_same_clock_again_is_no_change() {
        let mut sender = Sender::new(1, 1, 1_000, 8_000);
        sender.audio(at(0), 0, 160, 160);
        sender.set_clock_rate(8_000);
        let info = sender.info(at(40), WallTime::default());
        assert_eq!(info.rtp_timestamp, 1_320);
        assert_eq!(sender.last_sent(), Some(at(0)));
    }

    #[test]
    fn numbers_wrap_and_silence_sets_the_marker() {
        let mut sender = Sender::new(1, 0xFFFF, u32::MAX - 159, 8000);
        let a = sender.audio(at(0), 8, 160, 160);
        let b = sender.audio(at(20), 8, 160, 160);
        assert_eq!(
            (a.sequence, a.timestamp, a.marker),
            (0xFFFF, u32::MAX - 159, true)
        );
        assert_eq!((b.sequence, b.timestamp, b.marker), (0, 0, false));
        sender.skip(160);
        sender.skip(160);
        let c = sender.audio(at(80), 8, 160, 160);
        assert_eq!((c.sequence, c.timestamp, c.marker), (1, 480, true));
        assert_eq!(
            sender.stats(),
            SendStats {
                packets: 3,
                bytes: 480
            }
        );
    }

    #[test]
    fn what_is_passed_on_and_what_is_made_are_one_stream() {
        let mut sender = Sender::new(1, 10, 1_000, 8_000);
        sender.audio(at(0), 0, 160, 160);
        let numbered = |sequence, timestamp| Header {
            payload_type: 8,
            sequence,
            timestamp,
            ..Header::default()
        };
        let passed = sender.pass(at(20), &numbered(12, 1_320), 160, 160);
        assert_eq!((passed.sequence, passed.ssrc), (12, 1));
        // Overtaken on its way here.
        sender.pass(at(21), &numbered(11, 1_160), 160, 160);
        sender.catch_up(at(30));
        let made = sender.audio(at(40), 0, 160, 160);
        assert_eq!(
            (made.sequence, made.timestamp, made.marker),
            (13, 1_480, false)
        );
        sender.catch_up(at(140));
        let made = sender.audio(at(140), 0, 160, 160);
        assert_eq!(
            (made.sequence, made.timestamp, made.marker),
            (14, 2_280, true)
        );
        assert_eq!(sender.stats().packets, 5);
    }

    #[test]
    fn events_share_the_sequence_and_keep_their_timestamp() {
        let mut sender = Sender::new(1, 10, 1000, 8000);
        sender.audio(at(0), 0, 160, 160);
        let start = sender.timestamp();
        let first = sender.event(101, start, true, 4);
        sender.skip(160);
        let second = sender.event(101, start, false, 4);
        sender.skip(160);
        let audio = sender.audio(at(60), 0, 160, 160);
        assert_eq!(
            (first.sequence, first.timestamp, first.marker),
            (11, 1160, true)
        );
        assert_eq!(
            (second.sequence, second.timestamp, second.marker),
            (12, 1160, false)
        );
        assert_eq!(
            (audio.sequence, audio.timestamp, audio.marker),
            (13, 1480, true)
        );
    }

    #[test]
    fn report_maps_wall_time_to_the_stream_clock() {
        let mut sender = Sender::new(1, 0, 1000, 8000);
        sender.audio(at(0), 0, 160, 160);
        let info = sender.info(at(500), WallTime::from_unix_nanos(0));
        assert_eq!(info.rtp_timestamp, 1000 + 4000);
        assert_eq!((info.packets, info.octets), (1, 160));
        sender.set_ssrc(2);
        let info = sender.info(at(500), WallTime::from_unix_nanos(0));
        assert_eq!((info.packets, info.octets), (0, 0));
    }

    #[test]
    fn ticks_survive_centuries() {
        assert_eq!(ticks_in(Duration::from_millis(20), 8000), 160);
        assert_eq!(ticks_in(Duration::from_secs(1 << 40), 48_000), 0);
        ticks_in(Duration::from_secs(u64::MAX), 48_000);
    }
}
