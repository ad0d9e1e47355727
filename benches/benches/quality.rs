//! What watching the quality of a leg costs: a tick, and a second's judgement.

use std::hint::black_box;
use std::time::Duration as WallDuration;

use criterion::Criterion;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::quality::emodel::{Band, Conditions, Equipment, rate};
use sidetone::media::quality::monitor::{Counted, Monitor, Situation};
use sidetone::time::{Duration, Instant};

const PCM: Equipment = Equipment {
    band: Band::Narrow,
    impairment: 0.0,
    robustness: 25.1,
};

const SITUATION: Situation = Situation {
    receives: true,
    converses: true,
    sends: true,
    received: PCM,
    sent: PCM,
};

fn frame(rate: SampleRate) -> Frame {
    let samples: Vec<i16> = (0..rate.frame_samples() as i16)
        .map(|n| n % 40 * 100 - 2_000)
        .collect();
    Frame::from_samples(rate, &samples)
}

/// One tick of a leg: a packet, what is heard, what is sent.
fn tick(monitor: &mut Monitor, frame: &Frame, number: u64) -> bool {
    let now = Instant::from_nanos(number * 20_000_000);
    monitor.packet(now, number as u32 * 160, 8_000, false);
    monitor.heard(frame, true);
    monitor.sent(frame);
    monitor.tick(Duration::ZERO, 0, number, 0)
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(WallDuration::from_secs(2))
        .warm_up_time(WallDuration::from_millis(300))
        .configure_from_args();
    let mut group = criterion.benchmark_group("quality");
    for (name, rate) in [
        ("tick at 8 kHz", SampleRate::HZ_8000),
        ("tick at 48 kHz", SampleRate::HZ_48000),
    ] {
        let (mut monitor, frame, mut number) = (Monitor::new(0), frame(rate), 0);
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                tick(&mut monitor, black_box(&frame), number)
            });
        });
    }
    let (mut monitor, frame, mut number) = (Monitor::new(0), frame(SampleRate::HZ_8000), 0);
    group.bench_function("50 ticks and a judgement", |b| {
        b.iter(|| {
            for _ in 0..50 {
                number += 1;
                tick(&mut monitor, black_box(&frame), number);
            }
            let counted = Counted {
                received: number,
                played: number,
                sent: number,
                sound: Duration::from_millis(number * 20),
                ..Counted::default()
            };
            monitor.judge(black_box(&counted), &SITUATION);
            monitor.poll_change()
        });
    });
    group.bench_function("rate", |b| {
        b.iter(|| rate(black_box(&PCM), black_box(&Conditions::default())));
    });
    group.finish();
    criterion.final_summary();
}
