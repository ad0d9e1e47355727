//! Recordings of simulated conversations: one file that follows the caller over bridge, transfer, conference and
//! the replacement of its own leg, a track for each role.

use std::f64::consts::TAU;
use std::io::Cursor;
use std::sync::Arc;

use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::engine::recording::RecordingPlan;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::media::codec::g711::Law;
use sidetone::media::recorder::seal::SigningKey;
use sidetone::media::recorder::track::{Role, Track, Tracks};
use sidetone::media::recorder::verify::{Verdict, VerifyingKey, verify};
use sidetone::media::wav::{Encoding, Header};
use sidetone_opus::codec::Opus;
use sidetone_sim::engine::Machine;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

fn key() -> SigningKey {
    SigningKey::from_seed("branch-7", &[1; 32]).expect("a key")
}

fn config() -> Config {
    let mut config = Config::default();
    config.codecs = vec![Arc::new(Opus::new()), Arc::new(Law::A)];
    config.media_workers = 2;
    config.recording.sealed = true;
    config.recording.key = Some(key());
    config
}

/// A tone as a prompt of 20 s.
fn tone(hertz: f64) -> Prompt {
    let rate = sidetone::media::frame::SampleRate::HZ_8000;
    let sample = |n: usize| ((hertz * TAU * n as f64 / 8_000.0).sin() * 3_300.0) as i16;
    let samples: Vec<i16> = (0..20 * 8_000).map(sample).collect();
    let header = Header {
        encoding: Encoding::Pcm16,
        channels: 1,
        rate,
    };
    let mut file = header.to_bytes(samples.len() as u64 * 2).to_vec();
    file.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    Prompt::from_wav(&file).expect("a WAV file")
}

/// A party that answers and says a tone until it is hung up on.
fn serve_party(sim: &Sim, engine: &Engine, hertz: f64) {
    let engine = engine.clone();
    sim.spawn(async move {
        engine
            .serve(move |call: Call| async move {
                call.answer().await?;
                for _ in 0..10 {
                    call.play(&tone(hertz)).await?;
                }
                Ok::<(), CallError>(())
            })
            .await;
    });
}

/// A recording as it was left.
struct Left {
    tracks: Tracks,
    verdict: Verdict,
    samples: Vec<i16>,
}

impl Left {
    fn of(machine: &Machine, path: &str, tracks: Tracks) -> Self {
        let audio = machine.disk().read(path).expect("a file");
        let seal = machine
            .disk()
            .read(format!("{path}.seal"))
            .expect("a record");
        let public = VerifyingKey {
            id: "branch-7".into(),
            bytes: key().public().try_into().expect("32 bytes"),
        };
        let samples = audio[Header::LEN..].as_chunks::<2>().0;
        let verdict = verify(&mut Cursor::new(&audio), &seal, &[public]).expect("memory");
        assert!(verdict.is_intact(), "{:?}", verdict.findings);
        Self {
            tracks,
            verdict,
            samples: samples.iter().map(|&s| i16::from_le_bytes(s)).collect(),
        }
    }

    /// The level of a tone on a track in the second that begins there, in dBov.
    fn level(&self, track: Track, second: usize, hertz: f64) -> f64 {
        let channels = usize::from(self.tracks.channels());
        let channel = self.tracks.channel_of(track);
        let samples = self.samples.iter().skip(channel).step_by(channels);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.skip(second * 8_000).take(8_000).enumerate() {
            let phase = hertz * TAU * n as f64 / 8_000.0;
            re += f64::from(*sample) * phase.cos();
            im += f64::from(*sample) * phase.sin();
        }
        let amplitude = 2.0 * f64::hypot(re, im) / 8_000.0;
        20.0 * (amplitude / 2f64.sqrt() / 32_768.0).max(1e-9).log10()
    }

    fn told(&self, kind: &str) -> Vec<(&str, &str)> {
        let of_kind = self.verdict.timeline.iter().filter(|n| n.kind == kind);
        of_kind
            .map(|n| (n.track.as_deref().unwrap_or(""), n.text.as_str()))
            .collect()
    }
}

const ALICE: f64 = 500.0;
const BOB: f64 = 700.0;
const CAROL: f64 = 1_100.0;
const DAVE: f64 = 1_700.0;
const PROMPT: f64 = 2_300.0;
const LOUD: f64 = -30.0;
const QUIET: f64 = -50.0;

/// Alice speaks for 20 s: 2 s of prompt, 4 s with Bob, 4 s with Carol, 4 s with Dave as well, 2 s alone.
fn converse(tracks: Tracks) -> Left {
    let sim = Sim::seeded(5);
    let (engine, machine) = sim.machine("engine", config()).expect("an engine");
    let (carol, _wide) = sim.machine("carol", config()).expect("an engine");
    serve_party(&sim, &carol, CAROL);
    let parties = [("bob", BOB), ("dave", DAVE)].map(|(name, hertz)| {
        let peer = SipPeer::open(&sim, name).expect("a peer");
        (peer, Sound::tone(hertz, -20.0, SECOND * 20))
    });
    for (peer, sound) in parties.clone() {
        sim.spawn(async move {
            let call = peer.incoming().await.expect("a call");
            call.answer().await.expect("an answer");
            call.media().keep_saying(&sound);
            call.ended().await;
        });
    }
    let flow = engine.clone();
    sim.spawn(async move {
        flow.serve(move |caller: Call| async move {
            let engine = caller.engine();
            caller.answer().await?;
            let bob = engine.dial("sip:b@bob").await?;
            let carol = engine.dial("sip:c@carol").await?;
            let dave = engine.dial("sip:d@dave").await?;
            dave.set_role(Role::Supervisor).await?;
            let plan = RecordingPlan::conversation("all.wav", tracks);
            let recording = caller.record_as(plan).await?;
            engine.timeout(SECOND * 2, caller.play(&tone(PROMPT))).await;
            let room = engine.room().await?;
            room.join(&caller).await?;
            room.join(&bob).await?;
            engine.sleep(SECOND * 4).await;
            room.join(&carol).await?;
            room.leave(&bob).await?;
            bob.hang_up().await?;
            engine.sleep(SECOND * 4).await;
            room.join(&dave).await?;
            engine.sleep(SECOND * 4).await;
            room.leave(&caller).await?;
            engine.sleep(SECOND * 2).await;
            let report = recording.stop().await.expect("a recording");
            assert_eq!(report.tracks.len(), usize::from(tracks.channels()));
            assert!(
                report.tracks.iter().all(|t| t.lost_frames == 0),
                "{report:?}"
            );
            carol.hang_up().await?;
            dave.hang_up().await?;
            caller.hang_up().await
        })
        .await;
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().keep_saying(&Sound::tone(ALICE, -20.0, SECOND));
        call.ended().await;
    });
    Left::of(&machine, "all.wav", tracks)
}

#[test]
fn everybody_has_a_track_for_as_long_as_they_take_part() {
    let left = converse(Tracks::ALL);
    // Seconds well within each part, and who sounds in it.
    let parts: [(usize, &[(Track, f64)]); 5] = [
        (0, &[(Track::Prompts, PROMPT)]),
        (3, &[(Track::Agent, BOB)]),
        (7, &[(Track::Agent2, CAROL)]),
        (11, &[(Track::Agent2, CAROL), (Track::Supervisor, DAVE)]),
        (14, &[]),
    ];
    for (second, sounding) in parts {
        assert!(left.level(Track::Caller, second, ALICE) > LOUD, "{second}");
        for track in Tracks::ALL.iter().skip(1) {
            for hertz in [ALICE, BOB, CAROL, DAVE, PROMPT] {
                let level = left.level(track, second, hertz);
                match sounding.contains(&(track, hertz)) {
                    true => assert!(level > LOUD, "{track:?} {hertz} at {second}: {level}"),
                    false => assert!(level < QUIET, "{track:?} {hertz} at {second}: {level}"),
                }
            }
        }
    }
    let joined = left.told("joined");
    let tracks: Vec<_> = joined.iter().map(|(track, _)| *track).collect();
    assert_eq!(tracks, ["caller", "agent", "agent2", "supervisor"]);
    assert!(joined[0].1.contains("alice@"), "{joined:?}");
    assert!(joined[2].1.contains("c@carol"), "{joined:?}");
    let mut gone: Vec<_> = left.told("left").iter().map(|(track, _)| *track).collect();
    gone.sort_unstable();
    assert_eq!(gone, ["agent", "agent2", "supervisor"]);
}

#[test]
fn a_stereo_file_has_the_caller_left_and_everybody_else_right() {
    let left = converse(Tracks::STEREO);
    let parts: [(usize, &[f64]); 5] = [
        (0, &[PROMPT]),
        (3, &[BOB]),
        (7, &[CAROL]),
        (11, &[CAROL, DAVE]),
        (14, &[]),
    ];
    for (second, sounding) in parts {
        assert!(left.level(Track::Caller, second, ALICE) > LOUD);
        for hertz in [ALICE, BOB, CAROL, DAVE, PROMPT] {
            let level = left.level(Track::Agent, second, hertz);
            match sounding.contains(&hertz) {
                true => assert!(level > LOUD, "{hertz} at {second}: {level}"),
                false => assert!(level < QUIET, "{hertz} at {second}: {level}"),
            }
        }
    }
}

#[test]
fn the_recording_goes_on_when_the_recorded_call_is_replaced() {
    let sim = Sim::seeded(6);
    let (engine, machine) = sim.machine("engine", config()).expect("an engine");
    let parties = [("bob", BOB), ("dave", DAVE)].map(|(name, hertz)| {
        let peer = SipPeer::open(&sim, name).expect("a peer");
        (peer, Sound::tone(hertz, -20.0, SECOND * 20))
    });
    for (peer, sound) in parties.clone() {
        sim.spawn(async move {
            let call = peer.incoming().await.expect("a call");
            call.answer().await.expect("an answer");
            call.media().keep_saying(&sound);
            call.ended().await;
        });
    }
    let flow = engine.clone();
    sim.spawn(async move {
        flow.serve(move |caller: Call| async move {
            let engine = caller.engine();
            caller.answer().await?;
            let bob = engine.dial("sip:b@bob").await?;
            let dave = engine.dial("sip:d@dave").await?;
            let plan = RecordingPlan::conversation("all.wav", Tracks::STEREO);
            let recording = caller.record_as(plan).await?;
            let mut bridge = caller.bridge(&bob).await?;
            engine.sleep(SECOND * 3).await;
            // The caller goes on by another leg, and the first one ends.
            bridge.replace(&caller, &dave).await?;
            caller.hang_up().await?;
            engine.sleep(SECOND * 3).await;
            recording.mark("still here").await?;
            dave.hang_up().await?;
            let report = recording.closed().await.expect("a recording");
            assert!(report.duration > SECOND * 6, "{report:?}");
            bob.hang_up().await
        })
        .await;
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().keep_saying(&Sound::tone(ALICE, -20.0, SECOND));
        call.ended().await;
        sim.sleep(SECOND * 5).await;
    });
    let left = Left::of(&machine, "all.wav", Tracks::STEREO);
    for (second, caller, other) in [(1, ALICE, DAVE), (4, DAVE, ALICE)] {
        assert!(left.level(Track::Caller, second, caller) > LOUD, "{second}");
        assert!(left.level(Track::Caller, second, other) < QUIET, "{second}");
        assert!(left.level(Track::Agent, second, BOB) > LOUD, "{second}");
    }
    assert_eq!(left.told("mark"), [("", "still here")]);
}
