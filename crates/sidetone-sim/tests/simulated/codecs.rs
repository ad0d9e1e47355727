//! Engines that call each other with every codec: what is agreed on, and how wide the sound is.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::media::codec::Codec;
use sidetone::media::codec::cn::ComfortNoise;
use sidetone::media::codec::g711::Law;
use sidetone::media::codec::g722::G722;
use sidetone::media::codec::l16::L16;
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::config::Redundancy;
use sidetone::media::wav::{Encoding, Header};
use sidetone_opus::codec::Opus;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

type Codecs = Vec<Arc<dyn Codec>>;

fn opus() -> Arc<dyn Codec> {
    Arc::new(Opus::new().bit_rate(48_000))
}

fn l16(rate: SampleRate) -> Arc<dyn Codec> {
    Arc::new(L16::new(rate))
}

fn with(codecs: Codecs) -> Config {
    let mut config = Config::default();
    config.codecs = codecs;
    config
}

/// Three seconds of tones, each at -23 dBov, as a WAV file of 48 kHz.
fn tones(hertz: &[f64]) -> Prompt {
    tones_of(&[hertz])
}

/// The same with tones of their own in each channel.
fn tones_of(channels: &[&[f64]]) -> Prompt {
    let rate = SampleRate::HZ_48000;
    let sample = |hertz: &[f64], n: usize| -> i16 {
        let time = n as f64 / f64::from(rate.hz());
        let sum: f64 = hertz.iter().map(|hz| (hz * TAU * time).sin()).sum();
        (sum * 3_300.0) as i16
    };
    let frames = (0..3 * 48_000).flat_map(|n| channels.iter().map(move |hertz| sample(hertz, n)));
    let samples: Vec<i16> = frames.collect();
    let header = Header {
        encoding: Encoding::Pcm16,
        channels: channels.len() as u16,
        rate,
    };
    let mut file = header.to_bytes(samples.len() as u64 * 2).to_vec();
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    Prompt::from_wav(&file).expect("a WAV file")
}

/// What a recording holds: its rate, and the caller's track.
struct Track {
    hz: u32,
    samples: Vec<f64>,
}

impl Track {
    fn of(machine: &Machine, path: &str) -> Self {
        let wav = machine.disk().read(path).expect("the recording");
        let format = wav.windows(4).position(|w| w == b"fmt ").expect("a format") + 12;
        let hz = u32::from_le_bytes([
            wav[format],
            wav[format + 1],
            wav[format + 2],
            wav[format + 3],
        ]);
        let frames = wav[Header::LEN..].chunks_exact(4);
        let left = frames.map(|f| f64::from(i16::from_le_bytes([f[0], f[1]])));
        Self {
            hz,
            samples: left.collect(),
        }
    }

    /// Left and right.
    fn both_of(machine: &Machine, path: &str) -> [Self; 2] {
        let left = Self::of(machine, path);
        let wav = machine.disk().read(path).expect("the recording");
        let frames = wav[Header::LEN..].chunks_exact(4);
        let right = frames.map(|f| f64::from(i16::from_le_bytes([f[2], f[3]])));
        let samples = right.collect();
        let hz = left.hz;
        [left, Self { hz, samples }]
    }

    /// The level of a tone in dBov, in the best half second.
    fn level(&self, hertz: f64) -> f64 {
        let half = self.hz as usize / 2;
        let levels = self.samples.chunks_exact(half).map(|piece| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, sample) in piece.iter().enumerate() {
                let phase = hertz * TAU * n as f64 / f64::from(self.hz);
                re += sample * phase.cos();
                im += sample * phase.sin();
            }
            let amplitude = 2.0 * (re * re + im * im).sqrt() / piece.len() as f64;
            20.0 * (amplitude / 2f64.sqrt() / 32_768.0).max(1e-9).log10()
        });
        levels.fold(-180.0, f64::max)
    }
}

/// Answers every call and records what it says.
fn serve_recorder(sim: &Sim, engine: &Engine) {
    let engine = engine.clone();
    sim.spawn(async move {
        engine
            .serve(|call| async move {
                call.answer().await?;
                let recording = call.record("heard.wav").await?;
                call.ended().await?;
                drop(recording.closed().await);
                Ok::<(), CallError>(())
            })
            .await;
    });
}

/// Bridges every caller with `callee`.
fn serve_bridge(sim: &Sim, engine: &Engine, callee: &'static str) {
    let engine = engine.clone();
    sim.spawn(async move {
        engine
            .serve(move |caller| async move {
                caller.answer().await?;
                let other = caller.engine().dial(callee).await?;
                let bridge = caller.bridge(&other).await?;
                bridge.ended().await?;
                Ok::<(), CallError>(())
            })
            .await;
    });
}

/// The first engine calls the last through a bridge between them, plays tones, and what the last one
/// heard is its recording.
fn through_a_bridge(first: Codecs, bridge: Codecs, last: Codecs, hertz: &[f64]) -> Track {
    let sim = Sim::seeded(11);
    let (first, _one) = sim.machine("first", with(first)).expect("an engine");
    let (bridge, _two) = sim.machine("bridge", with(bridge)).expect("an engine");
    let (last, three) = sim.machine("last", with(last)).expect("an engine");
    serve_recorder(&sim, &last);
    serve_bridge(&sim, &bridge, "sip:x@last");
    let prompt = tones(hertz);
    sim.block_on(async {
        let call = first.dial("sip:x@bridge").await.expect("an answer");
        sim.sleep(SECOND * 2).await;
        call.play(&prompt).await.expect("a prompt");
        sim.sleep(SECOND).await;
        call.hang_up().await.expect("an end");
    });
    sim.run_for(SECOND * 5);
    Track::of(&three, "heard.wav")
}

#[test]
fn every_codec_carries_a_call() {
    let rates = [
        SampleRate::HZ_8000,
        SampleRate::HZ_16000,
        SampleRate::HZ_48000,
    ];
    let mut all: Vec<(Arc<dyn Codec>, u32)> = vec![
        (Arc::new(Law::A), 8_000),
        (Arc::new(Law::Mu), 8_000),
        (Arc::new(G722), 16_000),
        (opus(), 48_000),
    ];
    all.extend(rates.map(|rate| (l16(rate), rate.hz())));
    for (codec, hz) in all {
        let one = || vec![codec.clone()];
        let highest = f64::from(hz).min(20_000.0) * 0.35;
        let heard = through_a_bridge(one(), one(), one(), &[400.0, highest]);
        assert_eq!(heard.hz, hz, "{codec:?}");
        for hertz in [400.0, highest] {
            let level = heard.level(hertz);
            assert!(
                (-26.0..-20.0).contains(&level),
                "{codec:?} at {hertz} Hz: {level:.1}"
            );
        }
    }
}

#[test]
fn left_and_right_cross_a_bad_network_apart() {
    let stereo = || -> Codecs { vec![Arc::new(Opus::new().stereo(true))] };
    for (caller, is_stereo) in [(stereo(), true), (vec![opus()], false)] {
        let sim = Sim::seeded(17);
        let link = Link::delay(SECOND / 50).jitter(SECOND / 100);
        sim.network()
            .set_default_link(link.loss(Loss::Random(0.02)));
        let (first, _one) = sim.machine("first", with(caller)).expect("an engine");
        let (last, two) = sim.machine("last", with(stereo())).expect("an engine");
        sim.spawn(async move {
            last.serve(|call| async move {
                call.answer().await?;
                let recording = call.record_party_alone("heard.wav").await?;
                call.ended().await?;
                drop(recording.closed().await);
                Ok::<(), CallError>(())
            })
            .await;
        });
        let prompt = tones_of(&[&[700.0], &[2_900.0]]);
        sim.block_on(async {
            let call = first.dial("sip:x@last").await.expect("an answer");
            sim.sleep(SECOND * 2).await;
            call.play(&prompt).await.expect("a prompt");
            sim.sleep(SECOND).await;
            call.hang_up().await.expect("an end");
        });
        sim.run_for(SECOND * 5);
        let tracks = Track::both_of(&two, "heard.wav");
        for (track, [own, other]) in tracks.iter().zip([[700.0, 2_900.0], [2_900.0, 700.0]]) {
            let (own, other) = (track.level(own), track.level(other));
            match is_stereo {
                true => assert!(own > -26.0 && other < -45.0, "{own:.1}, {other:.1}"),
                // Who does not send stereo is heard in both ears, the mean of both.
                false => assert!((own - other).abs() < 3.0, "{own:.1}, {other:.1}"),
            }
        }
    }
}

#[test]
fn a_bridge_is_as_wide_as_both_of_its_sides() {
    let bridge = || -> Codecs { vec![opus(), Arc::new(G722), Arc::new(Law::A)] };
    let (high, low) = (6_000.0, 1_000.0);
    // Opus on one side, G.722 on the other: wide band goes through.
    let heard = through_a_bridge(vec![opus()], bridge(), vec![Arc::new(G722)], &[low, high]);
    assert!(
        (-27.0..-20.0).contains(&heard.level(high)),
        "{}",
        heard.level(high)
    );
    // G.711 on the other: it hears what it can, and nothing folds back.
    let heard = through_a_bridge(vec![opus()], bridge(), vec![Arc::new(Law::A)], &[low, high]);
    assert_eq!(heard.hz, 8_000);
    assert!((-26.0..-20.0).contains(&heard.level(low)));
    assert!(heard.level(2_000.0) < -60.0, "{}", heard.level(2_000.0));
    // And the other way round.
    let heard = through_a_bridge(vec![Arc::new(Law::A)], bridge(), vec![opus()], &[low, high]);
    assert_eq!(heard.hz, 48_000);
    assert!((-26.0..-20.0).contains(&heard.level(low)));
}

#[test]
fn the_caller_s_first_codec_that_both_have_is_taken() {
    let sim = Sim::seeded(12);
    let caller = with(vec![opus(), Arc::new(G722), Arc::new(Law::Mu)]);
    let callee = with(vec![Arc::new(Law::A), Arc::new(Law::Mu), Arc::new(G722)]);
    let (first, _one) = sim.machine("first", caller).expect("an engine");
    let (last, two) = sim.machine("last", callee).expect("an engine");
    serve_recorder(&sim, &last);
    sim.block_on(async {
        let call = first.dial("sip:x@last").await.expect("an answer");
        sim.sleep(SECOND).await;
        call.hang_up().await.expect("an end");
    });
    sim.run_for(SECOND * 3);
    assert_eq!(Track::of(&two, "heard.wav").hz, 16_000);
}

#[test]
fn without_a_common_codec_there_is_no_call() {
    let sim = Sim::seeded(13);
    let (first, _one) = sim.machine("first", with(vec![opus()])).expect("an engine");
    let callee = with(vec![Arc::new(Law::A)]);
    let (last, _two) = sim.machine("last", callee).expect("an engine");
    serve_recorder(&sim, &last);
    let refused = sim.block_on(async { first.dial("sip:x@last").await });
    assert!(refused.is_err(), "488");
}

#[test]
fn keys_travel_on_the_clock_of_the_codec() {
    for codec in [opus(), Arc::new(G722) as Arc<dyn Codec>] {
        let sim = Sim::seeded(14);
        let both = || with(vec![codec.clone(), Arc::new(Law::A)]);
        let (first, _one) = sim.machine("first", both()).expect("an engine");
        let (last, _two) = sim.machine("last", both()).expect("an engine");
        let typed = Arc::new(std::sync::Mutex::new(String::new()));
        let (engine, told) = (last.clone(), typed.clone());
        sim.spawn(async move {
            engine
                .serve(|call| {
                    let told = told.clone();
                    async move {
                        call.answer().await?;
                        let keys = call.collect(Collect::digits(4)).await?;
                        *told.lock().expect("one thread") = keys.digits;
                        call.hang_up().await
                    }
                })
                .await;
        });
        sim.block_on(async {
            let call = first.dial("sip:x@last").await.expect("an answer");
            sim.sleep(SECOND).await;
            call.send_digits("12#4").await.expect("telephone events");
            call.ended().await.expect("an end");
        });
        assert_eq!(*typed.lock().expect("one thread"), "12#4", "{codec:?}");
    }
}

/// What the last engine of a call heard over a way that loses one packet in twenty: concealed and
/// filled by copies, in ms and in packets.
fn over_a_lossy_way(codec: Arc<dyn Codec>, redundancy: Redundancy) -> (u128, u64) {
    let sim = Sim::seeded(15);
    let config = || {
        let mut config = with(vec![codec.clone()]);
        config.redundancy = redundancy;
        config
    };
    let (first, _one) = sim.machine("first", config()).expect("an engine");
    let (last, _two) = sim.machine("last", config()).expect("an engine");
    let reports = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (engine, told) = (last.clone(), reports.clone());
    sim.spawn(async move {
        engine
            .serve(|call| {
                let told = told.clone();
                async move {
                    call.answer().await?;
                    let end = call.ended().await?;
                    told.lock().expect("one thread").extend(end.media);
                    Ok::<(), CallError>(())
                }
            })
            .await;
    });
    let prompt = tones(&[700.0]);
    sim.block_on(async {
        let call = first.dial("sip:x@last").await.expect("an answer");
        let lossy = Link::delay(Duration::from_millis(20)).loss(Loss::bursty(0.05, 1.0));
        sim.network().set_default_link(lossy);
        let _music = call.play(&prompt).looped().start().await.expect("a prompt");
        sim.sleep(SECOND * 60).await;
        call.hang_up().await.expect("an end");
    });
    sim.run_for(SECOND * 5);
    let reports = reports.lock().expect("one thread");
    let report = reports.first().expect("a call");
    (
        report.concealment.concealed.as_millis(),
        report.jitter.redundant,
    )
}

#[test]
fn copies_fill_the_holes_of_a_lossy_way() {
    for codec in [Arc::new(G722) as Arc<dyn Codec>, Arc::new(Law::Mu)] {
        let (bare, none) = over_a_lossy_way(codec.clone(), Redundancy::Off);
        let (always, copies) = over_a_lossy_way(codec.clone(), Redundancy::Always);
        let (steered, some) = over_a_lossy_way(codec.clone(), Redundancy::OnLoss);
        assert_eq!(none, 0);
        assert!(copies > 80, "{codec:?}: {copies} of some 150 holes");
        assert!(always * 3 < bare, "{codec:?}: {always} of {bare} ms");
        assert!(
            some > 30 && steered * 3 < bare * 2,
            "{codec:?}: {some}, {steered} ms"
        );
    }
}

#[test]
fn pauses_are_described_and_not_sent() {
    let sim = Sim::seeded(16);
    let quiet = || with(vec![Arc::new(Law::A), Arc::new(ComfortNoise)]);
    let (first, _one) = sim.machine("first", quiet()).expect("an engine");
    let (last, two) = sim.machine("last", quiet()).expect("an engine");
    serve_recorder(&sim, &last);
    let prompt = tones(&[700.0]);
    let report = sim.block_on(async {
        let call = first.dial("sip:x@last").await.expect("an answer");
        sim.sleep(SECOND * 10).await;
        call.play(&prompt).await.expect("a prompt");
        sim.sleep(SECOND * 10).await;
        let report = call.report().await.expect("a report");
        call.hang_up().await.expect("an end");
        report
    });
    sim.run_for(SECOND * 3);
    // Of some 1,150 packets, the prompt's 150, what precedes the pauses, and one a second.
    assert!(
        (150..260).contains(&report.send.packets),
        "{}",
        report.send.packets
    );
    let heard = Track::of(&two, "heard.wav");
    assert!(
        (-26.0..-20.0).contains(&heard.level(700.0)),
        "{}",
        heard.level(700.0)
    );
}
