//! Recordings made in memory, from pushed frames and from whole simulated streams.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use super::clock::TrackClock;
use super::writer::{HOLD, Progress, RecordError, Report, Sink, TrackWriter};
use super::*;
use crate::media::codec::g711::{G711, Law, encode_mu};
use crate::media::jitter::playout::Playout;
use crate::media::jitter::{Config, MEDIA_CLOCK, Packet};
use crate::media::wav::{Encoding, Header};
use crate::rng::Rng;
use crate::time::Instant;

const RATE: SampleRate = SampleRate::HZ_8000;

fn frame(value: i16) -> Frame {
    Frame::from_samples(RATE, &[value; 160])
}

fn open() -> (Tap, TrackWriter<Cursor<Vec<u8>>>) {
    let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let writer = TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(vec![])).expect("memory");
    (tap, writer)
}

fn close(tap: Tap, mut writer: TrackWriter<Cursor<Vec<u8>>>) -> (Vec<[i16; 2]>, Report) {
    drop(tap);
    assert_eq!(writer.drain().expect("memory"), Progress::Finished);
    let (file, report) = writer.close();
    let report = report.expect("memory");
    (samples(&file.into_inner()), report)
}

/// Sample pairs of a finished file, whose header must be true.
fn samples(file: &[u8]) -> Vec<[i16; 2]> {
    let header = Header {
        encoding: Encoding::Pcm16,
        channels: 2,
        rate: RATE,
    };
    let (head, data) = file.split_at(Header::LEN);
    assert_eq!(head, header.to_bytes(data.len() as u64));
    let sample = |b: &[u8]| i16::from_le_bytes([b[0], b[1]]);
    data.chunks_exact(4)
        .map(|b| [sample(&b[..2]), sample(&b[2..])])
        .collect()
}

#[test]
fn gaps_are_silence_and_late_frames_find_their_place() {
    let (mut tap, writer) = open();
    for (position, value) in [(0, 1), (480, 4), (160, 2)] {
        assert!(tap.push(Track::Caller, position, &frame(value)));
    }
    assert!(tap.push(Track::Agent, 240, &frame(9)));
    tap.extend_to(800);
    let (pairs, report) = close(tap, writer);
    assert_eq!(report.duration, Duration::from_millis(100));
    assert_eq!(pairs.len(), 800);
    for (n, pair) in pairs.iter().enumerate() {
        let caller = [1, 2, 0, 4, 0][n / 160];
        let agent = if (240..400).contains(&n) { 9 } else { 0 };
        assert_eq!(*pair, [caller, agent], "sample {n}");
    }
    assert_eq!(report.tracks[0].samples, 480);
    assert_eq!(report.bytes, 82 + 800 * 4);
}

#[test]
fn overlaps_take_the_later_frame_and_the_past_is_cut() {
    let (mut tap, writer) = open();
    for (position, value) in [(-40, 1), (100, 2), (90, 3)] {
        assert!(tap.push(Track::Caller, position, &frame(value)));
    }
    tap.push(Track::Agent, -500, &frame(7));
    let (pairs, _) = close(tap, writer);
    assert_eq!(pairs.len(), 260);
    assert_eq!(
        (pairs[89][0], pairs[90][0], pairs[249][0], pairs[250][0]),
        (1, 3, 3, 2)
    );
    assert!(pairs.iter().all(|p| p[1] == 0));
}

#[test]
fn frames_too_late_for_the_file_are_counted() {
    let (mut tap, mut writer) = open();
    let hold = RATE.samples_in(HOLD) as i64;
    tap.push(Track::Caller, 10 * hold, &frame(1));
    writer.drain().expect("memory");
    tap.push(Track::Agent, 160, &frame(2));
    // Half of this one is still wanted.
    tap.push(Track::Agent, 9 * hold + 80, &frame(3));
    let (pairs, report) = close(tap, writer);
    assert_eq!(report.tracks[1].late_samples, 160 + 80);
    assert_eq!(report.tracks[1].samples, 80);
    assert_eq!(pairs[9 * hold as usize + 160][1], 3);
    assert_eq!(pairs[9 * hold as usize + 159][1], 0);
    assert_eq!(pairs.len() as i64, 10 * hold + 160);
}

#[test]
fn a_full_queue_drops_and_nothing_shifts() {
    let (mut tap, feed) = recording(RATE, Duration::from_millis(200));
    let mut writer = TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(vec![])).expect("memory");
    let mut lost = 0;
    for n in 0..60 {
        let fits = tap.push(Track::Caller, n * 160, &frame(n as i16 + 1));
        lost += u64::from(!fits);
        // Storage stalls between the 10th and the 50th frame.
        if !(10..50).contains(&n) {
            writer.drain().expect("memory");
        }
    }
    assert_eq!(lost, 21);
    assert_eq!(tap.lost_frames(Track::Caller), 21);
    let (pairs, report) = close(tap, writer);
    assert_eq!(report.tracks[0].lost_frames, 21);
    assert_eq!(pairs.len(), 60 * 160);
    for (n, part) in pairs.chunks(160).enumerate() {
        let expected = if (30..=50).contains(&n) {
            0
        } else {
            n as i16 + 1
        };
        assert!(part.iter().all(|p| *p == [expected, 0]), "frame {n}");
    }
}

#[test]
fn the_file_is_playable_at_each_flush() {
    let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let mut file = Cursor::new(vec![]);
    let mut writer = TrackWriter::new(feed, Encoding::Pcm16, &mut file).expect("memory");
    for n in 0..100 {
        tap.push(Track::Agent, n * 160, &frame(5));
        writer.drain().expect("memory");
    }
    writer.flush().expect("memory");
    let written = writer.report().duration;
    assert_eq!(written, Duration::from_millis(2_000) - HOLD);
    drop(writer);
    // As if killed here.
    assert_eq!(
        samples(file.get_ref()).len() as u64,
        RATE.samples_in(written)
    );
}

#[test]
fn frames_of_another_rate_are_dropped_and_long_frames_split() {
    let rate = SampleRate::HZ_48000;
    let (mut tap, feed) = recording(rate, DEFAULT_QUEUE);
    let mut writer = TrackWriter::new(feed, Encoding::Pcm16, Cursor::new(vec![])).expect("memory");
    assert!(!tap.push(Track::Caller, 0, &frame(1)));
    let ramp: Vec<i16> = (0..960).collect();
    assert!(tap.push(Track::Caller, 10, &Frame::from_samples(rate, &ramp)));
    drop(tap);
    writer.drain().expect("memory");
    let (file, report) = writer.close();
    let report = report.expect("memory");
    assert_eq!(
        (report.tracks[0].lost_frames, report.tracks[0].samples),
        (1, 960)
    );
    let bytes = file.into_inner();
    let last = &bytes[bytes.len() - 4..];
    assert_eq!(i16::from_le_bytes([last[0], last[1]]), 959);
}

/// A disk with room for so many bytes.
struct Disk {
    file: Cursor<Vec<u8>>,
    room: usize,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.position() as usize + bytes.len() > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn a_full_disk_is_told_once_and_never_disturbs_the_media_side() {
    let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let disk = Disk {
        file: Cursor::new(vec![]),
        room: 20_000,
    };
    let mut writer = TrackWriter::new(feed, Encoding::Pcm16, disk).expect("room for the header");
    let mut errors = 0;
    for n in 0..1_000 {
        assert!(tap.push(Track::Caller, n * 160, &frame(1)), "frame {n}");
        match writer.drain() {
            Ok(progress) => assert_eq!(progress, Progress::Open),
            Err(RecordError::Write(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                errors += 1;
            }
        }
        writer.flush().expect("told already, or fine");
    }
    assert_eq!(errors, 1);
    drop(tap);
    assert_eq!(writer.drain().expect("told already"), Progress::Finished);
    let (disk, report) = writer.close();
    let report = report.expect("told already");
    assert!(report.is_cut);
    let file = disk.file.into_inner();
    assert_eq!(file.len() as u64, report.bytes);
    assert!(samples(&file).iter().all(|p| *p == [1, 0]));
}

#[test]
fn clocks_follow_drift_and_leaps() {
    let mut clock = TrackClock::new(RATE, 8_000);
    let mut error = 0i64;
    // 200 ppm fast for an hour.
    for n in 0..180_000i64 {
        let tick = 10_000 + n * 160;
        let media_time = n * 160 + n * 160 / 5_000;
        let position = clock.position(media_time, tick, 480, Some(0));
        error = error.max((position - (tick - 480)).abs());
    }
    assert!(error <= SLACK / 2, "{error}");
    assert_eq!(clock.anchored(), 1);
    // 5,760 samples ahead.
    assert!(clock.slewed() < -5_750);

    assert_eq!(clock.position(1 << 40, 50_000_000, 480, None), 49_999_520);
    assert_eq!(clock.anchored(), 2);
    clock.reanchor();
    assert_eq!(clock.position(5, 160, 480, None), -320);
    assert_eq!(clock.anchored(), 3);
}

/// A millisecond, in samples.
const SLACK: i64 = 8;

#[test]
fn other_rtp_clocks_map_exactly() {
    // 48 kHz ticks into 8 kHz samples, and 8 kHz ticks into 16 kHz samples as for G.722.
    let mut opus = TrackClock::new(RATE, 48_000);
    opus.position(1_000, 0, 0, None);
    assert_eq!(opus.position(1_000 + 960 * 50, 8_000, 0, None), 8_000);
    let mut g722 = TrackClock::new(SampleRate::HZ_16000, 8_000);
    g722.position(1_000, 0, 0, None);
    assert_eq!(g722.position(1_160, 320, 0, None), 320);
}

#[test]
fn routes_move_no_speech_and_clocks_that_change_their_pace_are_followed() {
    let mut rng = Rng::new(3);
    // Seconds from which on; the network's delay in samples; how many ppm the sender is slow.
    let events = [
        (0, 240, 100),
        (300, 400, 100),
        (600, 240, 100),
        (900, 240, -400),
    ];
    let mut clock = TrackClock::new(RATE, 8_000);
    let (mut sent, mut truth) = (0.0, 0i64);
    let mut worst = [0; 4];
    for n in 0..1_500 * 50 {
        let second = n / 50;
        let event = (events.iter().rposition(|it| it.0 <= second)).expect("the first");
        let (from, network, ppm) = events[event];
        let came = sent + f64::from(network) + rng.below(120) as f64;
        let tick = came as i64 / 160 * 160 + 640;
        let age = tick - (sent as i64 + i64::from(network));
        let late = age - (tick - came as i64);
        let position = clock.position(n * 160, tick, age, Some(late));
        if n == 0 {
            truth = position;
        }
        // A clock that has changed by 500 ppm is known after a while.
        if second > 5 && !(from..from + 60).contains(&second) {
            let off = position - truth - sent as i64;
            worst[event] = worst[event].max(off.abs());
        }
        sent += 160.0 * (1.0 + f64::from(ppm) / 1e6);
    }
    assert!(worst.iter().all(|&off| off <= 2 * SLACK), "{worst:?}");
    assert_eq!(clock.anchored(), 1);
}

/// One side of a call: a click each second of its own time, sent over a bad network.
struct Side {
    playout: Playout,
    clock: TrackClock,
    arrivals: Vec<(Duration, u16, u32)>,
    track: Track,
    /// Positions, and how far the clock says they were off.
    placed: Vec<(i64, i64)>,
}

const CLICK: i16 = 16_000;

/// When a sample is spoken whose sender's clock is fast by `ppm`.
fn spoken(sample: u64, ppm: i64) -> Duration {
    Duration::from_nanos((sample * 125_000).saturating_add_signed(-(sample as i64) * ppm / 8))
}

/// Where each track has its clicks; the samples themselves are not kept.
#[derive(Debug, Default)]
struct Clicks {
    at: usize,
    tracks: [Vec<usize>; 2],
}

impl Sink for Clicks {
    fn append(&mut self, bytes: &[u8], _samples: u64) -> io::Result<()> {
        for pair in bytes.chunks_exact(4) {
            for (track, sample) in self.tracks.iter_mut().zip(pair.chunks_exact(2)) {
                if (i16::from_le_bytes([sample[0], sample[1]]) - CLICK).abs() < 600 {
                    track.push(self.at);
                }
            }
            self.at += 1;
        }
        Ok(())
    }

    fn set_head(&mut self, _head: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn note(&mut self, _position: u64, _note: &Note) -> io::Result<()> {
        Ok(())
    }
}

/// Where the click of each second lies against where the fastest packet would have brought it, in milliseconds.
fn errors(clicks: &[usize], network: Duration, seconds: u64, ppm: i64) -> Vec<Option<f64>> {
    let error = |second: u64| {
        let due = (network + spoken(second * 8_000 + 80, ppm)).as_secs_f64() * 8_000.0;
        let next = clicks.partition_point(|&at| (at as f64) < due - 400.0);
        let at = *clicks.get(next)? as f64;
        (at < due + 400.0).then_some((at - due) / 8.0)
    };
    (0..seconds).map(error).collect()
}

#[test]
fn an_hour_of_drift_loss_and_jitter_leaves_both_sides_in_step() {
    let seed = 11;
    let mut rng = Rng::new(seed);
    let seconds = 3_600;
    let drifts = [200, -200];
    let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let mut writer = TrackWriter::new(feed, Encoding::Pcm16, Clicks::default()).expect("memory");
    let (network, calm) = (Duration::from_millis(30), Some(Duration::ZERO));
    let tracks = Track::STEREO.into_iter().zip(drifts);
    let mut sides = Vec::from_iter(
        tracks.map(|(track, ppm)| Side::new(track, &mut rng, (network, calm), seconds, ppm)),
    );
    let starts: Vec<(u16, u32)> = sides
        .iter()
        .map(|s| s.arrivals.last().map(|a| (a.1, a.2)).expect("packets"))
        .collect();
    let mut now = Duration::ZERO;
    while now < Duration::from_secs(seconds) {
        for (side, start) in sides.iter_mut().zip(&starts) {
            side.tick(now, &mut tap, *start);
        }
        writer.drain().expect("memory");
        now += Duration::from_millis(20);
    }
    drop(tap);
    let (clicks, _) = writer.close();
    let [left, right] = [0, 1].map(|n| errors(&clicks.tracks[n], network, seconds, drifts[n]));
    let slewed = Vec::from_iter(sides.iter().map(|side| side.clock.slewed()));
    // 720 ms each way, all of it counted.
    assert!(slewed[0] < -5_700 && slewed[1] > 5_700, "{slewed:?}");
    let (mut pairs, mut early, mut worst) = (0, 0.0f64, 0.0f64);
    for (second, (left, right)) in left.iter().zip(&right).enumerate().skip(4) {
        // A click that came too late for its turn is concealed, and on one side only.
        let Some((left, right)) = left.zip(*right) else {
            continue;
        };
        pairs += 1;
        let worst = if second < 20 { &mut early } else { &mut worst };
        *worst = worst
            .max((left - right).abs())
            .max(left.abs())
            .max(right.abs());
    }
    assert!(pairs > 3_300, "seed {seed}: {pairs} pairs of clicks");
    assert!(
        early <= 2.0 && worst <= 1.0,
        "seed {seed}: {early} ms in the first 20 s, {worst} ms then"
    );
}

impl Side {
    /// Packets on a network of this least delay and 35 ms of jitter; the first one has this jitter, if it is said.
    fn new(
        track: Track,
        rng: &mut Rng,
        (network, first): (Duration, Option<Duration>),
        seconds: u64,
        ppm: i64,
    ) -> Self {
        let mut arrivals = vec![];
        let (sequence, timestamp) = (rng.next_u32() as u16, rng.next_u32());
        for n in 0..seconds * 50 {
            let jitter = Duration::from_micros(rng.below(35_000));
            // Frames with clicks and those after them are never lost, lest concealment repeat a click.
            let jitter = first.filter(|_| n == 0).unwrap_or(jitter);
            if n % 50 < 4 || rng.below(20) > 0 {
                arrivals.push((
                    network + spoken(n * 160, ppm) + jitter,
                    sequence.wrapping_add(n as u16),
                    timestamp.wrapping_add(n as u32 * 160),
                ));
            }
        }
        arrivals.sort();
        arrivals.reverse();
        let mu: Vec<(u8, Box<dyn crate::media::codec::Decoder>)> =
            vec![(0, Box::new(G711::new(Law::Mu)))];
        Self {
            playout: Playout::new(Config::default(), mu).expect("one decoder"),
            clock: TrackClock::new(RATE, MEDIA_CLOCK),
            arrivals,
            track,
            placed: Vec::new(),
        }
    }

    fn tick(&mut self, now: Duration, tap: &mut Tap, start: (u16, u32)) {
        while let Some((at, sequence, timestamp)) = self.arrivals.pop_if(|a| a.0 <= now) {
            // Not quite silent, as no room is.
            let mut samples: [i16; 160] = std::array::from_fn(|n| {
                let hash = timestamp.wrapping_add(n as u32).wrapping_mul(2_654_435_761);
                (hash >> 26) as i16 - 32
            });
            if timestamp.wrapping_sub(start.1) % 8_000 == 0 {
                samples[80] = CLICK;
            }
            let mut payload = [0; 160];
            encode_mu(&samples, &mut payload);
            let packet = Packet {
                sequence,
                timestamp,
                payload_type: 0,
                marker: false,
                redundant: false,
                payload: &payload,
            };
            self.playout.put(Instant::ZERO + at, &packet);
        }
        let mut frame = Frame::silence(RATE);
        let tick = RATE.samples_in(now) as i64;
        let (clock, track, placed) = (&mut self.clock, self.track, &mut self.placed);
        self.playout
            .fill_and_tell(Instant::ZERO + now, &mut frame, &mut |piece| {
                let position = clock.position(piece.media_time, tick, piece.age, piece.late);
                assert!(tap.push(track, position, &Frame::from_samples(RATE, piece.samples)));
                placed.extend(clock.poll_placed());
            });
    }
}

/// How far a side's clicks lie from where they belong by the recording's own log, in milliseconds.
fn corrected(errors: &[Option<f64>], placed: &[(i64, i64)], second: usize) -> Option<f64> {
    let at = second as i64 * 8_000 + 4_000;
    let known = placed.iter().rfind(|(position, _)| *position <= at);
    let off = known.filter(|(position, _)| at - *position < 10_000);
    Some((*errors.get(second)?)? - off.map_or(0.0, |(_, samples)| *samples as f64) / 8.0)
}

#[test]
fn the_log_says_where_the_first_seconds_belong() {
    let seconds = 40;
    for seed in 20..32 {
        let mut rng = Rng::new(seed);
        let drifts = [200, -200];
        let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
        let mut writer =
            TrackWriter::new(feed, Encoding::Pcm16, Clicks::default()).expect("memory");
        let network = Duration::from_millis(30);
        // Whatever the first packet's delay is.
        let tracks = Track::STEREO.into_iter().zip(drifts);
        let mut sides = Vec::from_iter(
            tracks.map(|(track, ppm)| Side::new(track, &mut rng, (network, None), seconds, ppm)),
        );
        let starts: Vec<(u16, u32)> = sides
            .iter()
            .map(|s| {
                s.arrivals
                    .iter()
                    .min_by_key(|a| a.2.wrapping_sub(s.arrivals[0].2) as i32)
            })
            .map(|a| a.map(|a| (a.1, a.2)).expect("packets"))
            .collect();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(seconds) {
            for (side, start) in sides.iter_mut().zip(&starts) {
                side.tick(now, &mut tap, *start);
            }
            writer.drain().expect("memory");
            now += Duration::from_millis(20);
        }
        drop(tap);
        let (clicks, _) = writer.close();
        let told = [0, 1].map(|n| {
            let errors = errors(&clicks.tracks[n], network, seconds, drifts[n]);
            let placed = &sides[n].placed;
            Vec::from_iter((1..38).map(|second| corrected(&errors, placed, second)))
        });
        let (mut pairs, mut worst) = (0, 0.0f64);
        for (left, right) in told[0].iter().zip(&told[1]) {
            if let Some((left, right)) = left.zip(*right) {
                pairs += 1;
                worst = worst
                    .max(left.abs())
                    .max(right.abs())
                    .max((left - right).abs());
            }
        }
        assert!(pairs > 28, "seed {seed}: {pairs} pairs of clicks");
        assert!(worst <= 1.0, "seed {seed}: {worst} ms; {told:?}");
    }
}

#[test]
fn markers_of_both_sides_stay_in_step_over_loss_and_jitter() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let (mut tap, mut writer) = open();
        let (seconds, networks) = (60, [30, 30]);
        let mut sides =
            Vec::from_iter(Track::STEREO.iter().zip(networks).map(|(&track, network)| {
                Side::new(
                    track,
                    &mut rng,
                    (Duration::from_millis(network), Some(Duration::ZERO)),
                    seconds,
                    0,
                )
            }));
        let starts: Vec<(u16, u32)> = sides
            .iter()
            .map(|s| s.arrivals.last().map(|a| (a.1, a.2)).expect("packets"))
            .collect();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(seconds) {
            for (side, start) in sides.iter_mut().zip(&starts) {
                side.tick(now, &mut tap, *start);
            }
            writer.drain().expect("memory");
            now += Duration::from_millis(20);
        }
        let (pairs, report) = close(tap, writer);
        let lost = sides[0].playout.statistics().lost;
        assert!(lost > 50, "seed {seed}: the network was good");
        assert_eq!(report.tracks[0].lost_frames, 0);
        let clicks = |track: usize| -> Vec<usize> {
            let near = |p: &[i16; 2]| (p[track] - CLICK).abs() < 600;
            (0..pairs.len()).filter(|&n| near(&pairs[n])).collect()
        };
        let (left, right) = (clicks(0), clicks(1));
        // A click that came too late for its turn is concealed, and on one side only.
        let near = |l: usize| right.iter().find(|r| r.abs_diff(l) < 4_000);
        let heard = Vec::from_iter(left.iter().filter_map(|&l| Some((l, *near(l)?))));
        assert!(
            heard.len() + 5 >= seconds as usize,
            "seed {seed}: {heard:?}"
        );
        for (l, r) in heard {
            let most = if l < 20 * 8_000 { 16 } else { 8 };
            assert!(l.abs_diff(r) <= most, "seed {seed}: {l} and {r}");
            let off = (l + 4_000 - left[0]) % 8_000;
            assert!(off.abs_diff(4_000) <= most, "seed {seed}: {l}");
        }
    }
}
