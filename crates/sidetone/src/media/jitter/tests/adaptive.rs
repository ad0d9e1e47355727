//! What networks and senders do to an adaptive playout, in virtual time.

use super::{MS, Run};
use crate::media::codec::g711::{G711, Law, encode_mu};
use crate::media::codec::{CodecError, Decoder};
use crate::media::frame::{Frame, SampleRate};
use crate::media::jitter::log::Action;
use crate::media::jitter::playout::{Heard, Playout};
use crate::media::jitter::statistics::{Concealment, Statistics};
use crate::media::jitter::{Config, MEDIA_CLOCK, Mode, Packet};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// 125 Hz with harmonics in bouts of a second and faint noise in the pauses of half a second.
fn voice(n: usize) -> i16 {
    let t = n as f64 / 8_000.0;
    let speaks = t % 1.5 < 1.0;
    let noise = ((n * 7_919) % 61) as f64 - 30.0;
    let harmonics = (1..10).map(|h| (t * 785.398 * f64::from(h)).sin() / f64::from(h));
    let loudness = if speaks { 4_000.0 } else { 0.0 };
    (harmonics.sum::<f64>() * loudness + noise) as i16
}

/// A packet on its way.
#[derive(Debug, Clone)]
struct Sent {
    arrives: Duration,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    redundant: bool,
    payload_type: u8,
    payload: Vec<u8>,
}

/// `count` packets of 20 ms of voice, each taking 30 ms and what `extra` says more; none where it
/// says nothing.
fn sent(count: usize, mut extra: impl FnMut(usize) -> Option<f64>) -> Vec<Sent> {
    let mut all = vec![];
    for n in 0..count {
        if let Some(extra) = extra(n) {
            let arrives = MS(30 + 20 * n as u64) + Duration::from_secs_f64(extra / 1_000.0);
            all.push(packet(n, arrives));
        }
    }
    all
}

fn packet(n: usize, arrives: Duration) -> Sent {
    let samples: Vec<i16> = (n * 160..(n + 1) * 160).map(voice).collect();
    let mut payload = vec![0; 160];
    encode_mu(&samples, &mut payload);
    Sent {
        arrives,
        sequence: (n as u16).wrapping_add(65_000),
        timestamp: (n as u32 * 160).wrapping_add(4_294_900_000),
        marker: n == 0,
        redundant: false,
        payload_type: 0,
        payload,
    }
}

/// What was heard, a tick at a time.
struct Outcome {
    playout: Playout,
    heard: Vec<Heard>,
    levels: Vec<Duration>,
    samples: Vec<i16>,
}

impl Outcome {
    fn statistics(&self) -> &Statistics {
        self.playout.statistics()
    }

    fn made(&self) -> Concealment {
        self.playout.concealment()
    }

    /// What was made up because something was missing.
    fn missing(&self) -> Duration {
        self.made().concealed + self.made().noise
    }

    fn mean_level(&self, ticks: std::ops::Range<usize>) -> Duration {
        let len = ticks.len() as u32;
        self.levels[ticks].iter().sum::<Duration>() / len
    }
}

fn mu() -> Vec<(u8, Box<dyn Decoder>)> {
    vec![(0, Box::new(G711::new(Law::Mu)))]
}

fn play(sent: &[Sent]) -> Outcome {
    play_with(Mode::ADAPTIVE, mu(), sent)
}

/// Plays until the last packet has come.
fn play_with(mode: Mode, decoders: Vec<(u8, Box<dyn Decoder>)>, sent: &[Sent]) -> Outcome {
    let config = Config {
        mode,
        ..Config::default()
    };
    let mut playout = Playout::new(config, decoders).expect("decoders");
    playout.log_decisions(100_000);
    let mut order: Vec<&Sent> = sent.iter().collect();
    order.sort_by_key(|s| s.arrives);
    let end = order.last().map_or(MS(0), |s| s.arrives);
    let mut order = order.into_iter().peekable();
    let mut frame = Frame::silence(SampleRate::HZ_8000);
    let (mut heard, mut levels, mut samples) = (vec![], vec![], vec![]);
    let mut now = MS(7);
    while now <= end {
        while let Some(sent) = order.next_if(|s| s.arrives <= now) {
            let packet = Packet {
                sequence: sent.sequence,
                timestamp: sent.timestamp,
                payload_type: sent.payload_type,
                marker: sent.marker,
                redundant: sent.redundant,
                payload: &sent.payload,
            };
            playout.put(Instant::ZERO + sent.arrives, &packet);
        }
        heard.push(playout.fill(Instant::ZERO + now, &mut frame));
        levels.push(playout.statistics().level);
        samples.extend_from_slice(frame.samples());
        now += MS(20);
    }
    Outcome {
        playout,
        heard,
        levels,
        samples,
    }
}

/// First in, first out, with delays of `jitter`.
fn queued(count: usize, mut jitter: impl FnMut(usize) -> f64) -> (Vec<Sent>, Vec<f64>) {
    let (mut free, mut delays) = (0.0f64, vec![]);
    let all = sent(count, |n| {
        let at = n as f64 * 20.0;
        free = free.max(at + jitter(n));
        delays.push(free - at);
        Some(free - at)
    });
    (all, delays)
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -(1.0 - rng.next_f64()).ln() * mean
}

/// A wireless link: short waits for the channel, and stalls that come in clusters and drain in a burst.
fn wifi(rng: &mut Rng) -> impl FnMut(usize) -> f64 {
    let mut is_bad = false;
    move |_| {
        let turn = if is_bad { 200.0 } else { 600.0 };
        is_bad ^= rng.next_f64() < 1.0 / turn;
        let stalls = if is_bad { 25.0 } else { 150.0 };
        match rng.next_f64() < 1.0 / stalls {
            true => exponential(rng, 50.0).min(250.0),
            false => exponential(rng, 4.0),
        }
    }
}

/// A mobile link: slow waves, a queue that fills at times and drains, retransmissions in steps of
/// 8 ms, and a hand-over now and then.
fn lte(rng: &mut Rng) -> impl FnMut(usize) -> f64 {
    let (mut wave, mut queue) = (0.0f64, 0.0f64);
    move |_| {
        wave = (wave * 0.99 + (rng.next_f64() - 0.5) * 6.0).clamp(-25.0, 40.0);
        if rng.next_f64() < 1.0 / 400.0 {
            queue += 40.0 + rng.next_f64() * 60.0;
        }
        queue *= 0.985;
        let stall = match rng.next_f64() < 1.0 / 1_500.0 {
            true => 80.0 + rng.next_f64() * 180.0,
            false => 0.0,
        };
        let again = if rng.next_f64() < 0.1 { 8.0 } else { 0.0 };
        wave.max(0.0) + queue + again + stall + rng.next_f64() * 10.0
    }
}

#[test]
fn clean_networks_hardly_wait_and_change_nothing() {
    let outcome = play(&sent(1_000, |_| Some(0.0)));
    let level = outcome.mean_level(100..1_000);
    assert!(level <= MS(30), "{level:?}");
    assert_eq!(outcome.missing(), Duration::ZERO);
    let made = outcome.made();
    assert!(
        made.accelerated <= MS(40) && made.slowed == MS(0),
        "{made:?}"
    );
    assert_eq!(outcome.statistics().starved, 0);
    // After the beginning it is the sender's voice, bit for bit.
    let said: Vec<i16> = (0..160_000).map(voice).collect();
    let mut codec = G711::new(Law::Mu);
    let mut payload = vec![0; said.len()];
    encode_mu(&said, &mut payload);
    let mut decoded = vec![0; said.len()];
    codec.decode(&payload, &mut decoded).expect("any bytes");
    let heard = &outcome.samples[80_000..88_000];
    assert!(
        decoded[78_000..90_000]
            .windows(8_000)
            .any(|part| part == heard)
    );
}

#[test]
fn jittery_traces_stay_below_the_constant_delays_curve() {
    for (name, most_missing, most_delay) in [("wifi", 0.0085, 120), ("lte", 0.0065, 100)] {
        for seed in 1..4 {
            let mut rng = Rng::new(seed);
            let (sent, mut delays) = match name {
                "wifi" => queued(15_000, wifi(&mut rng)),
                _ => queued(15_000, lte(&mut rng)),
            };
            let outcome = play(&sent);
            let missing = outcome.missing().as_secs_f64() / 300.0;
            let level = outcome.mean_level(50..15_000);
            assert!(missing < most_missing, "{name}, seed {seed}: {missing}");
            assert!(level < MS(most_delay), "{name}, seed {seed}: {level:?}");
            // A buffer of constant delay that waited as long would lose more than twice as much.
            let least = delays.iter().copied().fold(f64::MAX, f64::min);
            delays.retain(|d| d - least > level.as_secs_f64() * 1_000.0);
            let late = delays.len() as f64 / 15_000.0;
            assert!(
                missing < late,
                "{name}, seed {seed}: {missing} against {late}"
            );
            let made = outcome.made();
            let stretched = made.accelerated + made.slowed;
            assert!(stretched < Duration::from_secs(15), "{name}: {stretched:?}");
            assert_eq!(outcome.statistics().late, 0);
            stretches_are_logged_in_order(outcome.playout);
        }
    }
}

/// The log tells media time in order but for what is played again from its beginning.
fn stretches_are_logged_in_order(mut playout: Playout) {
    let mut last = i64::MIN;
    while let Some(decision) = playout.poll_decision() {
        if decision.action == Action::Accelerate || decision.action == Action::SlowDown {
            assert!(decision.media_time >= last);
            last = decision.media_time;
        }
    }
    assert!(last > i64::from(MEDIA_CLOCK));
}

#[test]
fn a_route_change_of_120_ms_and_back_costs_a_moment() {
    let outcome = play(&sent(1_500, |n| {
        Some(if (400..900).contains(&n) { 120.0 } else { 0.0 })
    }));
    assert!(outcome.missing() <= MS(180), "{:?}", outcome.made());
    let statistics = outcome.statistics();
    assert_eq!(
        (statistics.late, statistics.lost, statistics.discarded),
        (0, 0, 0)
    );
    assert_eq!(statistics.resyncs, 0);
    // Never silent, and every packet is played.
    assert!(statistics.played >= 1_498, "{statistics:?}");
    let nothing = outcome.heard[10..].iter().filter(|&&h| h == Heard::Nothing);
    assert_eq!(nothing.count(), 0);
    // Two seconds after each change the delay is what it was.
    for ticks in [520..900, 1_050..1_500] {
        let level = outcome.mean_level(ticks.clone());
        assert!(level <= MS(50), "{ticks:?}: {level:?}");
    }
}

#[test]
fn a_stall_of_260_ms_is_forgotten() {
    let outcome = play(&sent(1_000, |n| {
        let since = n as f64 * 20.0 - 4_000.0;
        Some(if (0.0..260.0).contains(&since) {
            260.0 - since
        } else {
            0.0
        })
    }));
    assert!(outcome.missing() <= MS(280), "{:?}", outcome.made());
    // Nothing of what was said is left out, and two seconds later it is as before.
    let statistics = outcome.statistics();
    assert_eq!(
        (statistics.late, statistics.lost, statistics.discarded),
        (0, 0, 0)
    );
    let level = outcome.mean_level(330..1_000);
    assert!(level <= MS(45), "{level:?}");
}

#[test]
fn peaks_that_come_again_are_waited_for_until_they_stop() {
    // Every four seconds of the first minute a packet takes 160 ms more, and those behind it wait.
    let outcome = play(&sent(6_000, |n| {
        let since = (n % 200) as f64 * 20.0 - 2_000.0;
        let is_peak = n < 3_000 && (0.0..160.0).contains(&since);
        Some(if is_peak { 160.0 - since } else { 0.0 })
    }));
    // The first ones are a surprise each; what is kept for the others covers most of them.
    let missing = outcome.missing();
    assert!(
        missing <= MS(1_200),
        "{missing:?}, 160 ms for each would be 2.4 s"
    );
    let shortened = outcome.made().accelerated;
    assert!(shortened <= MS(1_200), "{shortened:?}");
    // Ten seconds after the last it is forgotten.
    let level = outcome.mean_level(3_600..6_000);
    assert!(level <= MS(45), "{level:?}");
}

#[test]
fn drifting_clocks_are_followed_for_long() {
    for ppm in [-1_000i64, -200, 200, 1_000] {
        let mut all = sent(15_000, |_| Some(0.0));
        for (n, s) in all.iter_mut().enumerate() {
            let exact = 20_000_000 * n as i64;
            s.arrives = MS(30) + Duration::from_nanos((exact - exact / 1_000_000 * ppm) as u64);
        }
        let outcome = play(&all);
        assert!(outcome.missing() <= MS(300), "{ppm}: {:?}", outcome.made());
        let worst = outcome.levels[100..].iter().max().expect("ticks");
        assert!(*worst <= MS(80), "{ppm}: {worst:?}");
        let made = outcome.made();
        let drift = MS(300 * ppm.unsigned_abs() / 1_000);
        let (more, less) = match ppm {
            1.. => (made.accelerated, made.slowed),
            _ => (made.slowed + outcome.missing(), made.accelerated),
        };
        assert!((more - less).abs_diff(drift) <= MS(60), "{ppm}: {made:?}");
        let statistics = outcome.statistics();
        assert_eq!(
            (statistics.late, statistics.lost, statistics.resyncs),
            (0, 0, 0)
        );
    }
}

/// What a sender says, sample by sample.
type Saying = fn(usize) -> i16;

#[test]
fn a_fast_clock_is_followed_whatever_is_said() {
    // Half an hour of nothing at all, of a hum whose period is longer than what is left out at once,
    // and of loud noise, which resembles itself nowhere.
    let sayings: [(&str, Saying); 3] = [
        ("silence", |_| 0),
        ("hum", |n| if n % 160 < 80 { 1_500 } else { -1_500 }),
        ("noise", |n| {
            (n as u32).wrapping_mul(2_654_435_761).rotate_left(7) as i16 / 16
        }),
    ];
    for (name, saying) in sayings {
        let all: Vec<Sent> = (0..90_000u64)
            .map(|n| {
                let samples = n as usize * 160..(n as usize + 1) * 160;
                let samples: Vec<i16> = samples.map(saying).collect();
                let mut payload = vec![0; 160];
                encode_mu(&samples, &mut payload);
                Sent {
                    // 200 ppm fast: 4 µs a packet.
                    arrives: Duration::from_micros(400_000 + n * 19_996),
                    sequence: n as u16,
                    timestamp: n as u32 * 160,
                    marker: n == 0,
                    redundant: false,
                    payload_type: 0,
                    payload,
                }
            })
            .collect();
        let outcome = play(&all);
        let worst = outcome.levels[200..].iter().max().expect("ticks");
        assert!(*worst <= MS(90), "{name}: {worst:?}");
        let shortened = outcome.made().accelerated;
        assert!(
            shortened.abs_diff(MS(360)) <= MS(60),
            "{name}: {shortened:?}"
        );
        assert_eq!(outcome.missing(), Duration::ZERO, "{name}");
    }
}

#[test]
fn order_is_kept_whatever_overtakes_what() {
    let mut rng = Rng::new(9);
    // Each tenth packet is overtaken by two others.
    let outcome = play(&sent(2_000, |n| {
        Some(if n % 10 == 0 {
            45.0
        } else {
            rng.next_f64() * 5.0
        })
    }));
    let statistics = outcome.statistics();
    assert!(statistics.reordered > 150, "{statistics:?}");
    assert!(statistics.late <= 2, "{statistics:?}");
    assert!(outcome.missing() <= MS(100), "{:?}", outcome.made());
}

#[test]
fn pauses_without_packets_are_no_loss_and_set_the_delay_right() {
    // Five seconds of speech, seven of nothing, with a delay 100 ms longer afterwards and then as before.
    let mut all = vec![];
    for bout in 0..4usize {
        for n in bout * 600..bout * 600 + 250 {
            let extra = if bout == 1 { 100 } else { 0 };
            let mut one = packet(n, MS(30 + 20 * n as u64 + extra));
            one.sequence = (bout * 250 + n - bout * 600) as u16;
            one.marker = n == bout * 600;
            all.push(one);
        }
    }
    let outcome = play(&all);
    let statistics = outcome.statistics();
    assert_eq!(
        (statistics.lost, statistics.late, statistics.resyncs),
        (0, 0, 0)
    );
    assert_eq!(statistics.strange, 0);
    // What goes on into each pause is concealed for a moment, then it is quiet.
    assert!(
        outcome.made().concealed <= MS(4 * 80),
        "{:?}",
        outcome.made()
    );
    let level = outcome.mean_level(1_850..2_040);
    assert!(level <= MS(45), "{level:?}");
}

#[test]
fn packet_times_may_change_at_any_packet() {
    let (mut all, mut at, mut sequence) = (vec![], 0u64, 0u16);
    for ptime in [10u64, 20, 30, 40, 60, 10, 60, 20] {
        for _ in 0..3_000 / ptime {
            let samples: Vec<i16> = (at * 8..(at + ptime) * 8)
                .map(|n| voice(n as usize))
                .collect();
            let mut payload = vec![0; samples.len()];
            encode_mu(&samples, &mut payload);
            all.push(Sent {
                arrives: MS(at + ptime + 10),
                sequence,
                timestamp: at as u32 * 8,
                marker: false,
                redundant: false,
                payload_type: 0,
                payload,
            });
            at += ptime;
            sequence += 1;
        }
    }
    let outcome = play(&all);
    let statistics = outcome.statistics();
    assert_eq!(
        (statistics.lost, statistics.late, statistics.discarded),
        (0, 0, 0)
    );
    // Longer packets come later: what they are late is made up once a change.
    assert!(outcome.missing() <= MS(160), "{:?}", outcome.made());
    assert!(outcome.mean_level(300..1_190) <= MS(60));
}

#[test]
fn losses_are_concealed_for_as_long_as_they_last() {
    for rate in [0.01, 0.05, 0.1, 0.2] {
        let mut rng = Rng::new(7);
        let mut lost = 0;
        let all = sent(5_000, |n| {
            let is_lost = n > 0 && rng.next_f64() < rate;
            lost += u64::from(is_lost);
            (!is_lost).then(|| rng.next_f64() * 10.0)
        });
        let outcome = play(&all);
        assert!(outcome.statistics().lost.abs_diff(lost) <= 3, "{rate}");
        let missing = outcome.missing().as_secs_f64();
        let share = missing / 100.0;
        assert!(share <= lost as f64 / 5_000.0 + 0.01, "{rate}: {share}");
    }
}

#[test]
fn copies_fill_holes_and_are_no_duplicates() {
    let mut rng = Rng::new(8);
    let kept = sent(2_000, |n| (n == 0 || rng.next_f64() >= 0.1).then_some(0.0));
    let mut all = vec![];
    for (n, one) in kept.iter().enumerate() {
        // Each packet carries the one before it, which has been lost or not.
        let before = usize::from(one.sequence.wrapping_sub(65_001));
        if n > 0 {
            let mut copy = packet(before, one.arrives);
            copy.redundant = true;
            all.push(copy);
        }
        all.push(one.clone());
    }
    let outcome = play(&all);
    let statistics = outcome.statistics();
    let lost = 2_000 - kept.len() as u64;
    assert!(
        statistics.redundant * 100 >= lost * 80,
        "{statistics:?} of {lost}"
    );
    assert_eq!(statistics.duplicate, 0);
    let copies = all.len() as u64 - kept.len() as u64;
    assert!(statistics.needless + statistics.redundant + statistics.late >= copies - 3);
    assert!(
        outcome.missing() <= MS(20 * lost / 4),
        "{:?}",
        outcome.made()
    );
}

#[test]
fn fixed_delays_stay_fixed() {
    let mut rng = Rng::new(2);
    let (sent, _) = queued(3_000, |_| rng.next_f64() * 120.0);
    let outcome = play_with(Mode::Fixed(MS(80)), mu(), &sent);
    let level = outcome.mean_level(200..3_000);
    assert!(level.abs_diff(MS(80)) <= MS(25), "{level:?}");
    assert!(outcome.statistics().late > 20);
    let bounded = Mode::Adaptive {
        min: MS(60),
        max: MS(90),
    };
    let outcome = play_with(bounded, mu(), &sent);
    assert!(outcome.levels[100..].iter().all(|l| *l <= MS(200)));
    assert!(outcome.mean_level(200..3_000) >= MS(60));
}

/// A decoder of another rate and clock, whose payload is its samples' number and value.
#[derive(Debug)]
struct Wide;

impl Decoder for Wide {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }
    fn rtp_clock(&self) -> u32 {
        48_000
    }
    fn samples_in(&self, _: &[u8]) -> Result<usize, CodecError> {
        Ok(320)
    }
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        out[..320].fill(i16::from(payload[0]) * 100);
        Ok(320)
    }
}

#[test]
fn formats_of_other_rates_and_clocks_follow_each_other() {
    let mut all = sent(900, |n| Some((n % 3) as f64));
    for (n, one) in all.iter_mut().enumerate() {
        if (300..600).contains(&n) {
            one.payload_type = 96;
            one.payload = vec![50; 60];
            one.timestamp = 77 + n as u32 * 960;
        }
    }
    let decoders: Vec<(u8, Box<dyn Decoder>)> =
        vec![(0, Box::new(G711::new(Law::Mu))), (96, Box::new(Wide))];
    let outcome = play_with(Mode::ADAPTIVE, decoders, &all);
    let statistics = outcome.statistics();
    assert_eq!(
        (statistics.lost, statistics.late, statistics.strange),
        (0, 0, 0)
    );
    assert_eq!(statistics.resyncs, 2);
    assert!(outcome.missing() <= MS(60), "{:?}", outcome.made());
    assert!(outcome.samples.iter().filter(|&&s| s == 5_000).count() > 290 * 320);
}

/// Says that its sender falls silent where the payload is a byte, and then hums at 77.
#[derive(Debug)]
struct Hum;

impl Decoder for Hum {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }
    fn rtp_clock(&self) -> u32 {
        8_000
    }
    fn samples_in(&self, _: &[u8]) -> Result<usize, CodecError> {
        Ok(0)
    }
    fn decode(&mut self, _: &[u8], _: &mut [i16]) -> Result<usize, CodecError> {
        Ok(0)
    }
    fn conceal(&mut self, out: &mut [i16]) -> bool {
        out.fill(77);
        true
    }
    fn begins_silence(&self, _: &[u8]) -> bool {
        true
    }
}

#[test]
fn comfort_noise_is_played_until_speech_comes() {
    let mut all = sent(600, |n| (!(201..400).contains(&n)).then_some(0.0));
    for one in &mut all {
        if one.sequence == 65_200 {
            one.payload_type = 13;
            one.payload = vec![60];
        }
        if one.sequence.wrapping_sub(65_000) >= 400 {
            // Sequence numbers do not count what was never sent.
            one.sequence = one.sequence.wrapping_sub(199);
        }
    }
    let decoders: Vec<(u8, Box<dyn Decoder>)> =
        vec![(0, Box::new(G711::new(Law::Mu))), (13, Box::new(Hum))];
    let outcome = play_with(Mode::ADAPTIVE, decoders, &all);
    assert_eq!(outcome.statistics().lost, 0);
    assert_eq!(outcome.made().concealed, Duration::ZERO);
    let noise = outcome.made().noise;
    assert!(noise.abs_diff(MS(200 * 20)) <= MS(60), "{noise:?}");
    let hums = outcome.samples.iter().filter(|&&s| s == 77).count();
    assert!(hums > 195 * 160, "{hums}");
}

/// Remembers what it decoded last, and conceals with it.
#[derive(Debug)]
struct Stateful(i16);

impl Decoder for Stateful {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }
    fn rtp_clock(&self) -> u32 {
        8_000
    }
    fn samples_in(&self, _: &[u8]) -> Result<usize, CodecError> {
        Ok(160)
    }
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        self.0 = i16::from(payload[0]) * 10;
        out[..160].fill(self.0);
        Ok(160)
    }
    fn conceal(&mut self, out: &mut [i16]) -> bool {
        out.fill(self.0);
        true
    }
    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        out.fill(i16::from(next[1]) * 10);
        next[1] > 0
    }
}

/// 20 ms for the stateful decoder: its value, and that of the packet before it or nothing.
fn stateful(n: usize, late: u64, value: u8, before: u8) -> Sent {
    let mut one = packet(n, MS(30 + 20 * n as u64 + late));
    one.payload = vec![value, before];
    one
}

/// Counts how often its past is forgotten.
#[derive(Debug)]
struct Forgetful(Arc<AtomicU32>);

impl Decoder for Forgetful {
    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_8000
    }
    fn rtp_clock(&self) -> u32 {
        8_000
    }
    fn samples_in(&self, _: &[u8]) -> Result<usize, CodecError> {
        Ok(160)
    }
    fn decode(&mut self, _: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        out[..160].fill(100);
        Ok(160)
    }
    fn reset(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_decoder_forgets_one_source_before_the_next() {
    let resets = Arc::new(AtomicU32::new(0));
    let decoder = Forgetful(Arc::clone(&resets));
    let mut playout =
        Playout::new(Config::default(), vec![(0, Box::new(decoder))]).expect("one decoder");
    let mut frame = Frame::silence(SampleRate::HZ_8000);
    for n in 0..300_u16 {
        let now = Instant::ZERO + MS(20 * u64::from(n));
        let base = if n < 150 { 0 } else { 0x5555_5555 };
        if n == 150 {
            assert_eq!(resets.load(Ordering::Relaxed), 0);
            playout.resync();
        }
        let packet = Packet {
            sequence: n,
            timestamp: base + u32::from(n) * 160,
            payload_type: 0,
            marker: false,
            redundant: false,
            payload: &[1],
        };
        playout.put(now, &packet);
        playout.fill(now, &mut frame);
    }
    assert_eq!(resets.load(Ordering::Relaxed), 1);
}

#[test]
fn late_packets_mend_the_decoder() {
    let mut all: Vec<Sent> = (0..60).map(|n| stateful(n, 0, 100, 0)).collect();
    // What ends the stream comes 90 ms too late for a fixed 60: two more are never heard of.
    all[59] = stateful(59, 90, 200, 0);
    all.push(stateful(62, 120, 100, 0));
    let fixed = Mode::Fixed(MS(60));
    let outcome = play_with(fixed, vec![(0, Box::new(Stateful(0)))], &all);
    assert_eq!(
        outcome.statistics().repaired,
        1,
        "{:?}",
        outcome.statistics()
    );
    // It was never played, and yet concealment goes on from it.
    assert!(outcome.samples.contains(&2_000));
}

#[test]
fn the_next_packet_recovers_the_lost_one() {
    let lost = |n: usize| n % 10 == 5;
    let all: Vec<Sent> = (0..500)
        .filter(|&n| !lost(n))
        .map(|n| stateful(n, 0, 100, if lost(n.wrapping_sub(1)) { 50 } else { 0 }))
        .collect();
    let fixed = Mode::Fixed(MS(60));
    let outcome = play_with(fixed, vec![(0, Box::new(Stateful(0)))], &all);
    let recovered = outcome.statistics().recovered;
    assert!((46..=50).contains(&recovered), "{recovered}");
    assert_eq!(outcome.made().concealed, Duration::ZERO);
    let there = outcome.samples.iter().filter(|&&s| s == 500).count();
    assert_eq!(there, recovered as usize * 160);
}

#[test]
fn the_log_explains_a_stall() {
    let mut outcome = play(&sent(400, |n| {
        let since = n as f64 * 20.0 - 4_000.0;
        Some(if (0.0..200.0).contains(&since) {
            200.0 - since
        } else {
            0.0
        })
    }));
    let mut seen = vec![];
    while let Some(decision) = outcome.playout.poll_decision() {
        if seen.last() != Some(&decision.action) {
            seen.push(decision.action);
        }
    }
    let place = |action| seen.iter().position(|&a| a == action);
    let (conceal, rewind) = (place(Action::Conceal), place(Action::Rewind));
    assert!(
        place(Action::Begin) < conceal && conceal < rewind,
        "{seen:?}"
    );
    let after = rewind.map_or(0, |n| n + 1);
    assert!(seen[after..].contains(&Action::Accelerate), "{seen:?}");
    // A log that is off, or full, costs nothing and keeps the newest.
    outcome.playout.log_decisions(0);
    assert_eq!(outcome.playout.poll_decision(), None);
}

#[test]
fn numbers_of_a_fixed_run_come_in_order() {
    let run = Run::new(&super::steady(300));
    assert!(run.distinct().is_sorted());
}
