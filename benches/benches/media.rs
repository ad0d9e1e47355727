//! Nanoseconds of the media plane's parts, per frame of 20 ms or per packet.

use std::hint::black_box;
use std::time::Duration as WallDuration;

use criterion::{BenchmarkId, Criterion, Throughput};
use sidetone::media::codec::g711::{G711, Law};
use sidetone::media::codec::{Decoder, Encoder};
use sidetone::media::conceal::Concealer;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::jitter::buffer::{JitterBuffer, Span};
use sidetone::media::jitter::playout::Playout;
use sidetone::media::jitter::{Config, Packet};
use sidetone::media::mixer::{Capacity, Room};
use sidetone::media::player::{Player, Repeat};
use sidetone::media::resample::Resampler;
use sidetone::media::stretch::{Manner, Stretcher};
use sidetone::media::tone::{Generator, Tone};
use sidetone::media::wav::Clip;
use sidetone::rng::Rng;
use sidetone::time::{Duration, Instant};

const NARROW: SampleRate = SampleRate::HZ_8000;

/// Something like speech: a few harmonics and noise, louder and softer.
fn speech(rate: SampleRate, samples: usize) -> Vec<i16> {
    let mut rng = Rng::new(1);
    let turn = std::f64::consts::TAU / f64::from(rate.hz());
    let sample = |n: usize| {
        let t = n as f64 * turn;
        let voice: f64 = (1..8)
            .map(|h| (t * 130.0 * f64::from(h)).sin() / f64::from(h))
            .sum();
        let loudness = 1.0 + (t * 3.0).sin();
        (voice * loudness * 3_000.0 + rng.next_f64() * 200.0) as i16
    };
    (0..samples).map(sample).collect()
}

fn g711(c: &mut Criterion) {
    let samples = speech(NARROW, 160);
    let mut group = c.benchmark_group("g711");
    group.throughput(Throughput::Elements(160));
    for law in [Law::A, Law::Mu] {
        let mut codec = G711::new(law);
        let mut payload = [0; 160];
        group.bench_function(BenchmarkId::new("encode", format!("{law:?}")), |b| {
            b.iter(|| codec.encode(black_box(&samples), black_box(&mut payload)));
        });
        let mut decoded = [0; 160];
        group.bench_function(BenchmarkId::new("decode", format!("{law:?}")), |b| {
            b.iter(|| codec.decode(black_box(&payload), black_box(&mut decoded)));
        });
    }
    group.finish();
}

fn mix(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    for rate in [NARROW, SampleRate::HZ_48000] {
        for parties in [2u16, 3, 16, 100, 200] {
            let capacity = Capacity {
                sources: parties,
                sinks: parties,
                exceptions: 0,
            };
            let mut room = Room::new(rate, capacity);
            let open = (0..parties).map(|_| room.open_party().expect("room for all"));
            let slots: Vec<_> = open.collect();
            let sound = Frame::from_samples(rate, &speech(rate, rate.frame_samples()));
            let mut heard = Frame::silence(rate);
            group.throughput(Throughput::Elements(u64::from(parties)));
            let id = BenchmarkId::new(format!("{}", rate.hz()), parties);
            group.bench_function(id, |b| {
                b.iter(|| {
                    for &(source, _) in &slots {
                        room.put(source, black_box(&sound)).expect("open");
                    }
                    for &(_, sink) in &slots {
                        room.take(sink, black_box(&mut heard)).expect("open");
                    }
                    room.end_tick();
                });
            });
        }
    }
    group.finish();
}

/// The floor that mixing is compared with: sum once, subtract the own, saturate.
fn mix_floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix_floor");
    for parties in [16usize, 200] {
        let frames = vec![speech(NARROW, 160); parties];
        let mut sum = vec![0i32; 160];
        let mut out = vec![0i16; 160];
        group.throughput(Throughput::Elements(parties as u64));
        group.bench_function(BenchmarkId::new("8000", parties), |b| {
            b.iter(|| {
                sum.fill(0);
                for frame in black_box(&frames) {
                    for (sum, &s) in sum.iter_mut().zip(frame) {
                        *sum += i32::from(s);
                    }
                }
                for frame in black_box(&frames) {
                    for ((out, &sum), &own) in out.iter_mut().zip(&sum).zip(frame) {
                        let sample = sum - i32::from(own);
                        *out = sample.clamp(-32_768, 32_767) as i16;
                    }
                    black_box(&mut out);
                }
            });
        });
    }
    group.finish();
}

fn packet(n: u64, payload: &[u8]) -> Packet<'_> {
    Packet {
        sequence: n as u16,
        timestamp: (n * 160) as u32,
        payload_type: 0,
        marker: false,
        redundant: false,
        payload,
    }
}

fn jitter(c: &mut Criterion) {
    let mut group = c.benchmark_group("jitter");
    let payload = [0xFF; 160];
    let at = |n: u64| Instant::ZERO + Duration::from_millis(20 * n);
    let mut buffer = JitterBuffer::new(Config::default());
    let mut n = 0;
    let span = Span {
        clock: 8_000,
        ticks: 160,
    };
    group.bench_function("put and take", |b| {
        b.iter(|| {
            buffer.put(at(n), black_box(&packet(n, &payload)), span);
            black_box(buffer.head());
            black_box(buffer.take(at(n)));
            n += 1;
        });
    });
    let mut playout =
        Playout::new(Config::default(), vec![(0, Box::new(G711::new(Law::Mu)))]).expect("fine");
    let mut frame = Frame::silence(NARROW);
    let mut n = 0;
    group.bench_function("put and fill, decoded", |b| {
        b.iter(|| {
            playout.put(at(n), black_box(&packet(n, &payload)));
            black_box(playout.fill(at(n), &mut frame));
            n += 1;
        });
    });
    group.finish();
}

fn conceal(c: &mut Criterion) {
    let mut group = c.benchmark_group("conceal");
    for rate in [NARROW, SampleRate::HZ_48000] {
        let frame = rate.frame_samples();
        let sound = speech(rate, frame * 50);
        let mut concealer = Concealer::new(rate);
        let mut part = vec![0; frame];
        let mut n = 0;
        // Every tenth frame is lost; the time is an average over all.
        group.bench_function(BenchmarkId::new("10 % lost", rate.hz()), |b| {
            b.iter(|| {
                part.copy_from_slice(&sound[n % 50 * frame..][..frame]);
                let past = &sound[..(n % 50 + 1) * frame];
                if n % 10 == 9 {
                    concealer.conceal(past, black_box(&mut part));
                } else {
                    concealer.learn(&part);
                    concealer.merge(black_box(&mut part));
                }
                n += 1;
            });
        });
    }
    for rate in [NARROW, SampleRate::HZ_48000] {
        let frame = rate.frame_samples();
        let sound = speech(rate, frame * 50);
        let mut concealer = Concealer::new(rate);
        let (mut part, mut next) = (vec![0; frame], sound[frame * 40..frame * 41].to_vec());
        group.bench_function(BenchmarkId::new("a bridge of 20 ms", rate.hz()), |b| {
            b.iter(|| concealer.bridge(&sound[..frame * 20], black_box(&mut part), &mut next));
        });
    }
    group.finish();
}

fn stretch(c: &mut Criterion) {
    let mut group = c.benchmark_group("stretch");
    for rate in [NARROW, SampleRate::HZ_48000] {
        let reach = Stretcher::reach(rate);
        let sound = speech(rate, 2 * reach);
        let mut stretcher = Stretcher::new(rate);
        let mut future = sound[reach..].to_vec();
        group.bench_function(BenchmarkId::new("shorten", rate.hz()), |b| {
            b.iter(|| stretcher.shorten(black_box(&mut future), Manner::Periodic(0.0)));
        });
        let mut piece = vec![0; Stretcher::longest(rate)];
        group.bench_function(BenchmarkId::new("lengthen", rate.hz()), |b| {
            b.iter(|| {
                let manner = Manner::Periodic(0.0);
                stretcher.lengthen(black_box(&sound), reach, manner, &mut piece)
            });
        });
    }
    group.finish();
}

fn resample(c: &mut Criterion) {
    let mut group = c.benchmark_group("resample");
    for (from, to) in [(8, 16), (16, 8), (8, 48), (48, 8), (16, 48), (48, 16)] {
        let rate = |khz: u32| SampleRate::from_hz(khz * 1_000).expect("a voice rate");
        let mut resampler = Resampler::new(rate(from), rate(to));
        let input = Frame::from_samples(rate(from), &speech(rate(from), 20 * from as usize));
        let mut output = Frame::silence(rate(to));
        group.bench_function(BenchmarkId::new(format!("{from} kHz"), to), |b| {
            b.iter(|| resampler.process(black_box(&input), black_box(&mut output)));
        });
    }
    group.finish();
}

fn sources(c: &mut Criterion) {
    let mut group = c.benchmark_group("sources");
    let mut samples = [0; 160];
    let mut ringback = Generator::new(&Tone::dtmf('5', Duration::MAX / 2).expect("digit"), NARROW);
    group.bench_function("two sines", |b| {
        b.iter(|| ringback.fill(black_box(&mut samples)));
    });
    let clip = Clip::from_samples(NARROW, speech(NARROW, 8_000));
    let mut player = Player::clip(clip, NARROW, Repeat::Forever).expect("same rate");
    let mut frame = Frame::silence(NARROW);
    group.bench_function("player", |b| b.iter(|| player.fill(black_box(&mut frame))));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(WallDuration::from_millis(300))
        .measurement_time(WallDuration::from_millis(1_000))
        .sample_size(30)
        .configure_from_args();
    for part in [
        g711, mix, mix_floor, jitter, conceal, stretch, resample, sources,
    ] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
