//! Codecs: 20 ms of each, to and fro.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use sidetone::media::codec::cn::ComfortNoise;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::l16::L16;
use sidetone::media::codec::{Codec, Terms};
use sidetone::media::frame::SampleRate;
use sidetone_opus::codec::Opus;

/// Something between speech and noise, loud enough to keep every codec busy.
fn sound(rate: SampleRate) -> Vec<i16> {
    let mut seed = 1_u32;
    let mut low = 0.0;
    let sample = |n: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low = low * 0.9 + ((seed >> 8) as f32 / 8_388_608.0 - 1.0) * 0.1;
        let time = n as f32 / rate.hz() as f32;
        let voice = (time * 140.0).fract() - 0.5;
        let swell = (time * 4.0 * std::f32::consts::TAU).sin().max(0.0);
        ((voice * 12_000.0 + low * 8_000.0) * swell) as i16
    };
    (0..rate.frame_samples() * 50).map(sample).collect()
}

fn both_ways(c: &mut Criterion) {
    let wide = SampleRate::HZ_16000;
    let codecs: [(&str, &dyn Codec); 6] = [
        ("PCMA", &Law::A),
        ("PCMU", &Law::Mu),
        ("G.722", &G722),
        ("L16 at 16 kHz", &L16::new(wide)),
        (
            "Opus at 16 kHz, 24 kbit/s",
            &Opus::new().sample_rate(wide).bit_rate(24_000),
        ),
        ("Opus at 48 kHz, 24 kbit/s", &Opus::new().bit_rate(24_000)),
    ];
    let mut group = c.benchmark_group("codec");
    for (name, codec) in codecs {
        let terms = Terms::new(codec.sample_rate());
        let frame = codec.sample_rate().frame_samples();
        let sound = sound(codec.sample_rate());
        let mut frames = sound.chunks_exact(frame).cycle();
        let mut encoder = codec.encoder(&terms).expect("to be had");
        let mut payload = [0; 2_000];
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            b.iter(|| encoder.encode(frames.next().expect("without end"), &mut payload));
        });
        let mut encoder = codec.encoder(&terms).expect("to be had");
        let payloads: Vec<Vec<u8>> = sound
            .chunks_exact(frame)
            .map(|samples| {
                let length = encoder.encode(samples, &mut payload).expect("a packet");
                payload[..length].to_vec()
            })
            .collect();
        let mut payloads = payloads.iter().cycle();
        let mut decoder = codec.decoder(&terms).expect("to be had");
        let mut out = [0; 960];
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| decoder.decode(payloads.next().expect("without end"), &mut out));
        });
    }
    group.finish();
}

/// A lost packet: the codec's own concealment, plain and deep, and comfort noise.
fn made_up(c: &mut Criterion) {
    let wide = SampleRate::HZ_16000;
    let mut group = c.benchmark_group("codec");
    for (name, complexity) in [("Opus PLC", 0), ("Opus deep PLC", 5)] {
        let opus = Opus::new().sample_rate(wide).decoder_complexity(complexity);
        let terms = Terms::new(wide);
        let mut encoder = opus.encoder(&terms).expect("to be had");
        let mut decoder = opus.decoder(&terms).expect("to be had");
        let (mut payload, mut out) = ([0; 1_500], [0; 320]);
        for samples in sound(wide).chunks_exact(320) {
            let length = encoder.encode(samples, &mut payload).expect("a packet");
            decoder.decode(&payload[..length], &mut out).expect("sound");
        }
        group.bench_function(name, |b| b.iter(|| decoder.conceal(&mut out)));
    }
    let terms = Terms::new(SampleRate::HZ_8000);
    let mut noise = ComfortNoise.decoder(&terms).expect("to be had");
    noise
        .decode(&[50, 200, 100, 140], &mut [])
        .expect("a packet");
    let mut out = [0; 160];
    group.bench_function("comfort noise", |b| b.iter(|| noise.conceal(&mut out)));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(300))
        .configure_from_args();
    both_ways(&mut criterion);
    made_up(&mut criterion);
    criterion.final_summary();
}
