//! Traces of arrivals, played in virtual time.

mod adaptive;

use super::buffer::{JitterBuffer, Span};
use super::playout::{Heard, Playout};
use super::statistics::Statistics;
use super::*;
use crate::media::codec::{CodecError, Decoder};
use crate::media::frame::{Frame, SampleRate};
use crate::rng::Rng;
use crate::time::Instant;

/// Decodes a payload of two bytes a sample tick group: each sample is the packet's number.
#[derive(Debug)]
struct Numbers;

const LOUD: i16 = 2_000;

impl Decoder for Numbers {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }
    fn rtp_clock(&self) -> u32 {
        8_000
    }
    fn samples_in(&self, payload: &[u8]) -> Result<usize, CodecError> {
        match payload.len() {
            4.. => Ok(payload.len()),
            _ => Err(CodecError::Malformed),
        }
    }
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let number = i16::from_be_bytes([payload[0], payload[1]]);
        // Loud, so that it is no background.
        out[..payload.len()].fill(number + LOUD);
        Ok(payload.len())
    }
}

/// A packet as sent: when, with which numbers, and how long it takes to arrive.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: i16,
    sequence: u16,
    timestamp: u32,
    ptime: u32,
    marker: bool,
    arrives: Duration,
    resync: bool,
}

/// A buffer that holds 60 ms.
const FIXED: Config = Config {
    mode: Mode::Fixed(MS(60)),
    packets: 32,
    bytes: 16_384,
};

#[allow(non_snake_case)]
const fn MS(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// `count` packets of 20 ms from zero on, each taking 30 ms.
fn steady(count: u16) -> Vec<Sent> {
    (0..count)
        .map(|n| Sent {
            number: n as i16 + 1,
            sequence: n.wrapping_add(65_500),
            timestamp: (u32::from(n) * 160).wrapping_add(4_294_960_000),
            ptime: 20,
            marker: n == 0,
            arrives: MS(30 + 20 * u64::from(n)),
            resync: false,
        })
        .collect()
}

/// What a run showed, tick by tick.
struct Run {
    playout: Playout,
    heard: Vec<Heard>,
    /// The middle sample of each frame, where it was sound.
    numbers: Vec<Option<i16>>,
    /// How long the last packet had waited, each tick.
    delays: Vec<Duration>,
}

impl Run {
    fn new(sent: &[Sent]) -> Self {
        Self::with(FIXED, sent, MS(20))
    }

    /// Plays `sent` with a tick each `tick`, until 300 ms after the last arrival.
    fn with(config: Config, sent: &[Sent], tick: Duration) -> Self {
        let mut playout = Playout::new(config, vec![(0, Box::new(Numbers))]).expect("one decoder");
        let mut order: Vec<Sent> = sent.to_vec();
        order.sort_by_key(|s| s.arrives);
        let end = order.last().map_or(MS(0), |s| s.arrives) + MS(300);
        let mut arrivals = order.into_iter().peekable();
        let (mut heard, mut numbers, mut delays) = (vec![], vec![], vec![]);
        let mut frame = Frame::silence(SampleRate::HZ_8000);
        let mut now = MS(5);
        while now < end {
            while let Some(sent) = arrivals.next_if(|s| s.arrives <= now) {
                put(&mut playout, &sent);
            }
            let what = playout.fill(Instant::ZERO + now, &mut frame);
            heard.push(what);
            numbers.push((what == Heard::Sound).then_some(frame.samples()[80] - LOUD));
            delays.push(playout.statistics().delay);
            now += tick;
        }
        Self {
            playout,
            heard,
            numbers,
            delays,
        }
    }

    fn statistics(&self) -> &Statistics {
        self.playout.statistics()
    }

    fn count(&self, what: Heard) -> usize {
        self.heard.iter().filter(|&&h| h == what).count()
    }

    /// The numbers that were heard, without repetitions.
    fn distinct(&self) -> Vec<i16> {
        let mut numbers: Vec<i16> = self.numbers.iter().flatten().copied().collect();
        numbers.dedup();
        numbers
    }

    /// Ticks in `range` that had no sound.
    fn silent(&self, range: std::ops::Range<usize>) -> usize {
        self.numbers[range].iter().filter(|n| n.is_none()).count()
    }
}

fn put(playout: &mut Playout, sent: &Sent) -> Arrival {
    let mut payload = vec![0; sent.ptime as usize * 8];
    payload[..2].copy_from_slice(&sent.number.to_be_bytes());
    if sent.resync {
        playout.resync();
    }
    let packet = Packet {
        sequence: sent.sequence,
        timestamp: sent.timestamp,
        payload_type: 0,
        marker: sent.marker,
        redundant: false,
        payload: &payload,
    };
    playout.put(Instant::ZERO + sent.arrives, &packet)
}

#[test]
fn steady_stream_plays_whole_after_the_target_and_over_wraps() {
    let run = Run::new(&steady(500));
    assert_eq!(run.distinct(), (1..=500).collect::<Vec<i16>>());
    let statistics = run.statistics();
    assert_eq!((statistics.put, statistics.played), (500, 500));
    assert_eq!(statistics.lost + statistics.late + statistics.resyncs, 0);
    let mean = statistics.mean_delay();
    assert!(mean >= MS(50) && mean <= MS(80), "{mean:?}");
    let first = run.heard.iter().position(|&h| h == Heard::Sound);
    assert_eq!(run.silent(first.expect("sound")..500), 0);
}

#[test]
fn reordered_and_duplicate_packets_change_nothing() {
    let mut sent = steady(200);
    for n in (10..190).step_by(10) {
        sent[n].arrives += MS(45);
    }
    let copies: Vec<Sent> = sent.iter().skip(3).step_by(7).copied().collect();
    let copied = copies.len() as u64;
    sent.extend(copies.into_iter().map(|s| Sent {
        arrives: s.arrives + MS(400),
        ..s
    }));
    let run = Run::new(&sent);
    assert_eq!(run.distinct(), (1..=200).collect::<Vec<i16>>());
    assert_eq!(run.statistics().duplicate, copied);
    assert_eq!(run.statistics().late, 0);
}

#[test]
fn lost_packets_are_concealed_and_counted() {
    let mut rng = Rng::new(4);
    let all = steady(1_000);
    let sent: Vec<Sent> = all
        .iter()
        .enumerate()
        .filter(|(n, _)| *n == 0 || *n == 999 || rng.below(20) != 0)
        .map(|(_, s)| *s)
        .collect();
    let lost = 1_000 - sent.len();
    assert!(lost > 30);
    let run = Run::new(&sent);
    assert_eq!(run.statistics().lost, lost as u64);
    let heard = run.distinct();
    assert!(sent.iter().all(|s| heard.contains(&s.number)));
    // The faded tail after the last packet is concealment too: three frames.
    assert_eq!(run.count(Heard::Concealed), lost + 3);
}

#[test]
fn late_packets_are_counted_and_do_not_shift() {
    let mut sent = steady(200);
    for n in (20..180).step_by(20) {
        sent[n].arrives += MS(90);
    }
    let run = Run::new(&sent);
    assert_eq!(run.statistics().late, 8);
    assert_eq!(run.statistics().lost, 8);
    assert_eq!(run.distinct().len(), 192);
    assert!(*run.delays.last().expect("ticks") <= MS(80));
}

#[test]
fn packets_played_elsewhere_are_not_lost() {
    let mut playout = Playout::new(FIXED, vec![(0, Box::new(Numbers))]).expect("fine");
    let sent = steady(100);
    let mut frame = Frame::silence(SampleRate::HZ_8000);
    for (n, sent) in sent.iter().enumerate() {
        match n {
            40..46 => playout.aside(sent.sequence),
            60 => {}
            _ => assert_eq!(put(&mut playout, sent), Arrival::Queued),
        }
        playout.fill(Instant::ZERO + sent.arrives, &mut frame);
    }
    assert_eq!(playout.statistics().lost, 1);
    assert!(playout.concealment().concealed > MS(0));
}

/// Delays of a wireless link: mostly small, with a spike now and then that drains in a burst.
fn wireless(count: u16, seed: u64, spike: u64, spikes_in: u64) -> Vec<Sent> {
    let mut rng = Rng::new(seed);
    let mut sent = steady(count);
    let mut free = MS(0);
    for s in &mut sent {
        if rng.below(spikes_in) == 0 {
            free = s.arrives + MS(rng.below(spike));
        }
        let jitter = -(1.0 - rng.next_f64()).ln() * 4_000.0;
        s.arrives = (s.arrives + Duration::from_micros(jitter as u64)).max(free);
    }
    sent
}

#[test]
fn wireless_traces_stay_near_the_constant_delay() {
    // Seed, longest spike in ms, one packet in so many begins one; at most so much concealed.
    for (seed, spike, spikes_in, most) in [(1, 120, 150, 0.006), (2, 200, 100, 0.05)] {
        let sent = wireless(15_000, seed, spike, spikes_in);
        let run = Run::new(&sent);
        let late = run.statistics().late as f64 / 15_000.0;
        let ticks = run.heard.len() as f64;
        let concealed = run.count(Heard::Concealed) as f64 / ticks;
        let mean = run.statistics().mean_delay();
        assert!(concealed < most, "seed {seed}: {concealed}, late {late}");
        assert!(mean < MS(85), "seed {seed}: {mean:?}");
    }
}

#[test]
fn silence_without_packets_costs_nothing() {
    let mut sent = steady(200);
    for s in &mut sent[100..] {
        s.timestamp = s.timestamp.wrapping_add(8_000 * 7);
        s.arrives += MS(7_000);
    }
    sent[100].marker = true;
    let run = Run::new(&sent);
    assert_eq!(run.distinct(), (1..=200).collect::<Vec<i16>>());
    let statistics = run.statistics();
    assert_eq!(statistics.lost + statistics.late + statistics.resyncs, 0);
    assert!(*run.delays.last().expect("ticks") <= MS(80));
}

#[test]
fn hold_with_stopped_timestamps_resumes_within_the_late_span() {
    for marker in [false, true] {
        let mut sent = steady(200);
        for s in &mut sent[100..] {
            s.arrives += MS(1_500);
        }
        sent[100].marker = marker;
        let run = Run::new(&sent);
        assert_eq!(run.statistics().resyncs, 1);
        let missing = 200 - run.distinct().len();
        assert!(missing <= if marker { 0 } else { 6 }, "{missing}");
        assert!(*run.delays.last().expect("ticks") <= MS(80));
    }
}

#[test]
fn leaping_timestamps_play_on_without_a_gap() {
    for leap in [1 << 20, 1 << 31, u32::MAX - (1 << 22), 40_000] {
        let mut sent = steady(200);
        for s in &mut sent[100..] {
            s.timestamp = s.timestamp.wrapping_add(leap);
        }
        let run = Run::new(&sent);
        assert_eq!(run.distinct(), (1..=200).collect::<Vec<i16>>(), "{leap}");
        assert_eq!(run.statistics().resyncs, 1);
        assert_eq!(run.silent(10..200), 0);
    }
}

#[test]
fn another_source_takes_over_announced_or_not() {
    for announced in [true, false] {
        let mut sent = steady(200);
        for s in &mut sent[100..] {
            s.timestamp = s.timestamp.wrapping_add(0x7654_3210);
            s.sequence = s.sequence.wrapping_add(20_000);
        }
        sent[100].resync = announced;
        let run = Run::new(&sent);
        // Unannounced, its first packet is only believed when the second agrees.
        let played = if announced { 200 } else { 199 };
        assert_eq!(run.distinct().len(), played);
        assert_eq!(run.statistics().strange, 200 - played as u64);
        assert_eq!(run.statistics().resyncs, 1);
    }
}

#[test]
fn single_strange_packets_are_not_believed() {
    let mut sent = steady(200);
    for n in (10..190).step_by(9) {
        let stray = Sent {
            number: 9_999,
            sequence: sent[n].sequence.wrapping_add(30_000),
            timestamp: sent[n].timestamp ^ 0x4000_0000,
            ..sent[n]
        };
        sent.push(stray);
    }
    let run = Run::new(&sent);
    assert_eq!(run.distinct(), (1..=200).collect::<Vec<i16>>());
    assert_eq!(run.statistics().strange, 20);
}

#[test]
fn stall_of_260_ms_leaves_no_delay() {
    let mut sent = steady(300);
    let (from, to) = (MS(2_000), MS(2_260));
    for s in &mut sent {
        if s.arrives >= from && s.arrives < to {
            s.arrives = to;
        }
    }
    let run = Run::new(&sent);
    let last = *run.delays.last().expect("ticks");
    assert!(last <= MS(80), "{last:?}");
    // 260 ms less what was buffered.
    let missing = 300 - run.distinct().len();
    assert!(missing <= 11, "{missing}");
    assert_eq!(run.statistics().resyncs, 0);
}

#[test]
fn route_change_of_120_ms_and_back() {
    let mut sent = steady(1_500);
    for s in &mut sent[250..750] {
        s.arrives += MS(120);
    }
    let run = Run::new(&sent);
    // There: silence for at most 240 ms, then the target again.
    assert!(run.silent(250..350) <= 12, "{}", run.silent(250..350));
    assert_eq!(run.silent(350..740), 0);
    // Back: nothing is lost but what the correction leaves out, and within 5 s the delay is right.
    let late_in_route = run.delays[1_100];
    assert!(late_in_route <= MS(100), "{late_in_route:?}");
    assert_eq!(run.silent(760..1_500), 0);
    assert!(run.playout.concealment().accelerated >= MS(80));
}

#[test]
fn drifting_senders_are_followed() {
    for ppm in [-1_000i64, -200, 200, 1_000] {
        let mut sent = steady(15_000);
        for (n, s) in sent.iter_mut().enumerate() {
            let exact = 20_000_000 * n as i64;
            let drifted = exact - exact / 1_000_000 * ppm;
            s.number = (n % 30_000) as i16 + 1;
            s.arrives = MS(30) + Duration::from_nanos(drifted as u64);
        }
        let run = Run::new(&sent);
        let statistics = run.statistics();
        assert_eq!(
            (statistics.late, statistics.overrun, statistics.resyncs),
            (0, 0, 0),
            "{ppm}"
        );
        let worst = run.delays.iter().max().expect("ticks");
        assert!(*worst <= MS(120), "{ppm}: {worst:?}");
        // 300 s × ppm, in frames.
        let drift = MS(300 * ppm.unsigned_abs() / 1_000);
        let concealment = run.playout.concealment();
        let (corrected, other) = match ppm {
            1.. => (concealment.accelerated, concealment.slowed),
            _ => (concealment.slowed, concealment.accelerated),
        };
        let difference = (corrected - other).abs_diff(drift);
        assert!(
            difference <= MS(50),
            "{ppm}: {corrected:?} and {other:?} for {drift:?}"
        );
        assert!(other < MS(50), "{ppm}: {other:?}");
    }
}

#[test]
fn packet_times_from_10_to_60_ms_and_changes_between() {
    let mut timestamp = 0u32;
    let mut sent = vec![];
    for (n, ptime) in [10, 20, 30, 40, 60, 10, 60, 20]
        .into_iter()
        .flat_map(|ptime| std::iter::repeat_n(ptime, 60))
        .enumerate()
    {
        sent.push(Sent {
            number: n as i16 + 1,
            sequence: n as u16,
            timestamp: timestamp * 8,
            ptime,
            marker: false,
            // A packet leaves when its last sample has been spoken.
            arrives: MS(u64::from(timestamp + ptime)),
            resync: false,
        });
        timestamp += ptime;
    }
    let run = Run::new(&sent);
    let statistics = run.statistics();
    assert_eq!(statistics.played, 480);
    assert_eq!(statistics.lost + statistics.late + statistics.overrun, 0);
    assert!(run.playout.concealment().concealed < MS(200));
    let played = run.playout.concealment().played;
    assert!(played >= MS(u64::from(timestamp)));
}

#[test]
fn full_buffer_drops_the_oldest() {
    let mut playout = Playout::new(FIXED, vec![(0, Box::new(Numbers))]).expect("fine");
    for sent in steady(100) {
        put(&mut playout, &sent);
    }
    assert_eq!(playout.statistics().overrun, 68);
    let mut frame = Frame::silence(SampleRate::HZ_8000);
    assert_eq!(
        playout.fill(Instant::ZERO + MS(3_000), &mut frame),
        Heard::Sound
    );
    // What is left is older than the delay allows.
    assert_eq!(playout.statistics().discarded, 31);
    assert_eq!(frame.samples()[80], LOUD + 100);
}

#[test]
fn oversized_empty_and_unknown_payloads_are_refused() {
    let mut playout = Playout::new(FIXED, vec![(0, Box::new(Numbers))]).expect("fine");
    for (payload_type, len) in [(0, 1_501), (0, 0), (0, 3), (8, 160)] {
        let packet = Packet {
            sequence: 1,
            timestamp: 1,
            payload_type,
            marker: false,
            redundant: false,
            payload: &vec![0; len],
        };
        assert_eq!(playout.put(Instant::ZERO, &packet), Arrival::Refused);
    }
    assert_eq!(playout.statistics().refused, 4);
    assert_eq!(playout.media_time(), None);
}

#[test]
fn random_packets_never_break_it() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut buffer = JitterBuffer::new(Config::default());
        let mut now = Instant::ZERO;
        let (mut sequence, mut timestamp) = (0u16, 0u32);
        for _ in 0..20_000 {
            sequence = sequence.wrapping_add(match rng.below(50) {
                0 => rng.next_u32() as u16,
                1..5 => rng.below(9) as u16,
                5..9 => 65_530,
                _ => 1,
            });
            timestamp = timestamp.wrapping_add(match rng.below(50) {
                0 => rng.next_u32(),
                1..5 => rng.below(2_000) as u32,
                5..9 => 4_294_966_000,
                _ => 160,
            });
            let payload = vec![0; rng.below(600) as usize];
            let packet = Packet {
                sequence,
                timestamp,
                payload_type: 0,
                marker: rng.below(5) == 0,
                redundant: rng.below(9) == 0,
                payload: &payload,
            };
            let span = Span {
                clock: 8_000,
                ticks: payload.len() as u32,
            };
            buffer.put(now, &packet, span);
            if rng.below(200) == 0 {
                buffer.resync();
            }
            if rng.below(3) > 0 {
                match buffer.head() {
                    Some(_) => drop(buffer.take(now)),
                    None => buffer.advance(960),
                }
                now += MS(rng.below(50));
            }
            buffer.check();
        }
        let statistics = buffer.statistics();
        assert!(statistics.played > 1_000, "seed {seed}: {statistics:?}");
    }
}
