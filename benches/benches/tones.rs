//! Nanoseconds of what a leg listens for and of conversion, per frame of 20 ms.

use std::hint::black_box;
use std::time::Duration as WallDuration;

use criterion::{BenchmarkId, Criterion};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};
use sidetone::media::detect::ToneDetector;
use sidetone::media::dtmf::detect::DtmfDetector;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::level::LevelMeter;
use sidetone::media::level::agc::{GainConfig, GainControl};
use sidetone::media::level::vad::SpeechDetector;
use sidetone::media::resample::Resampler;
use sidetone::media::tone::{Generator, Tone};
use sidetone::media::wav::Clip;
use sidetone::time::Duration;

const NARROW: SampleRate = SampleRate::HZ_8000;
/// Debian's `asterisk-core-sounds-en-wav`, which the set-up installs.
const SPEECH: &str = "/usr/share/asterisk/sounds/en_US_f_Allison/demo-congrats.wav";

/// Half a minute of real speech where it is installed, else of something louder and softer.
fn speech(rate: SampleRate) -> Vec<Frame> {
    let samples = std::fs::read(SPEECH)
        .ok()
        .and_then(|file| Clip::read(&file, rate).ok())
        .map(|clip| clip.samples().to_vec());
    let samples = samples.unwrap_or_else(|| {
        let turn = std::f64::consts::TAU / f64::from(rate.hz());
        let sample = |n: usize| {
            let t = n as f64 * turn;
            ((t * 210.0).sin() + (t * 650.0).sin() * (t * 3.0).sin()) * 5_000.0
        };
        (0..rate.hz() as usize * 10)
            .map(|n| sample(n) as i16)
            .collect()
    });
    frames(rate, &samples)
}

fn frames(rate: SampleRate, samples: &[i16]) -> Vec<Frame> {
    let parts = samples.chunks_exact(rate.frame_samples());
    parts.map(|part| Frame::from_samples(rate, part)).collect()
}

/// Sounds to be listened to, with their names.
fn sounds() -> [(&'static str, Vec<Frame>); 3] {
    let mut digits = vec![0; 80_000];
    let key = Tone::dtmf('5', Duration::from_millis(100)).expect("a digit");
    for part in digits.chunks_mut(1_600) {
        Generator::new(&key, NARROW).fill(part);
    }
    [
        ("speech", speech(NARROW)),
        ("digits", frames(NARROW, &digits)),
        ("silence", vec![Frame::silence(NARROW); 100]),
    ]
}

fn each<T>(c: &mut Criterion, name: &str, mut process: impl FnMut(&mut Frame) -> T) {
    let mut group = c.benchmark_group(name);
    for (sound, mut frames) in sounds() {
        let mut n = 0;
        group.bench_function(sound, |b| {
            b.iter(|| {
                n = (n + 1) % frames.len();
                black_box(process(black_box(&mut frames[n])));
            });
        });
    }
    group.finish();
}

fn listen(c: &mut Criterion) {
    let mut digits = DtmfDetector::new(NARROW);
    each(c, "dtmf_detect", |frame| {
        digits.process(frame);
        while digits.poll_event().is_some() {}
    });
    let mut tones = ToneDetector::new(NARROW);
    each(c, "tone_detect", |frame| tones.process(frame));
    let mut voice = SpeechDetector::new(NARROW, Default::default());
    each(c, "speech_detect", |frame| voice.process(frame));
    let mut meter = LevelMeter::new(NARROW);
    each(c, "level_meter", |frame| meter.process(frame.samples()));
    let mut control = GainControl::new(GainConfig::default());
    let mut copy = Frame::silence(NARROW);
    each(c, "gain_control", |frame| {
        copy.copy_from(frame.samples());
        control.process(&mut copy);
    });
}

/// Ours next to rubato's transform, which takes whole blocks of its own length.
fn resample(c: &mut Criterion) {
    let mut group = c.benchmark_group("resample_peers");
    let rates = [NARROW, SampleRate::HZ_16000, SampleRate::HZ_48000];
    let pairs = rates.into_iter().flat_map(|a| rates.map(|b| (a, b)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let input = &speech(from)[20];
        let name = format!("{}-{}", from.hz(), to.hz());
        let mut own = Resampler::new(from, to);
        let mut out = Frame::silence(to);
        group.bench_function(BenchmarkId::new("own", &name), |b| {
            b.iter(|| own.process(black_box(input), black_box(&mut out)));
        });
        let (hz_in, hz_out) = (from.hz() as usize, to.hz() as usize);
        let frame = from.frame_samples();
        let mut peer =
            Fft::<f32>::new(hz_in, hz_out, frame, 1, FixedSync::Both).expect("a resampler");
        let samples: Vec<f32> = input.samples().iter().map(|&s| f32::from(s)).collect();
        let input = InterleavedSlice::new(&samples, 1, frame).expect("whole");
        let mut converted = vec![0.0; to.frame_samples()];
        group.bench_function(BenchmarkId::new("rubato", &name), |b| {
            b.iter(|| {
                let mut out = InterleavedSlice::new_mut(&mut converted, 1, to.frame_samples())
                    .expect("whole");
                let done = peer.process_into_buffer(black_box(&input), &mut out, None);
                black_box(done.expect("fits"));
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(WallDuration::from_millis(300))
        .measurement_time(WallDuration::from_millis(1_000))
        .sample_size(30)
        .configure_from_args();
    for part in [listen, resample] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
