//! Recordings by policy in the simulator, the tone that tells of them, and prompts of rooms.

use std::io::Cursor;

use sidetone::b2bua::trunk::{Address, Trunk};
use sidetone::engine::config::{Config, ConfigError};
use sidetone::engine::event::CallError;
use sidetone::engine::recording::RecordingPlan;
use sidetone::engine::recording::beep::{Beep, HeardBy};
use sidetone::engine::recording::policy::{RecordingChoice, RecordingPolicy, Rule, When};
use sidetone::face::call::Call;
use sidetone::face::prompt::Prompt;
use sidetone::media::recorder::track::{Role, Track, Tracks};
use sidetone::media::recorder::verify::{Verdict, verify};
use sidetone::media::tone::{Sine, Tone};
use sidetone::media::wav::Header;
use sidetone_sim::engine::Machine;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sip::call::CallError as PeerError;
use sidetone_sim::sim::Sim;

use crate::stage::{SECOND, serve};

fn by_rules(rules: Vec<Rule>) -> Config {
    let mut config = Config::default();
    config.recording.sealed = true;
    config.recording.policy = Some(RecordingPolicy::new("spool", rules));
    config
}

/// The names of the recordings that a machine has made.
fn recordings(machine: &Machine) -> Vec<String> {
    let paths = machine.disk().paths().into_iter();
    let names = paths.map(|path| path.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".wav")).collect()
}

fn judge(machine: &Machine, path: &str) -> Verdict {
    let (audio, seal) = (
        machine.disk().read(path).expect("a file"),
        machine
            .disk()
            .read(format!("{path}.seal"))
            .expect("a record"),
    );
    let verdict = verify(&mut Cursor::new(audio), &seal, &[]).expect("memory");
    assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
    verdict
}

/// Callers one after the other who talk for a second each.
fn callers(sim: &Sim, count: usize) {
    let alice = SipPeer::open(sim, "alice").expect("a peer");
    sim.block_on(async {
        for _ in 0..count {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            call.ended().await;
        }
    });
}

async fn talk(call: Call) -> Result<(), CallError> {
    call.answer().await?;
    call.engine().sleep(SECOND).await;
    call.hang_up().await
}

#[test]
fn a_share_of_calls_is_recorded_drawn_by_the_seed() {
    let run = |seed| {
        let sim = Sim::new(seed);
        sim.set_time_limit(SECOND * 3_600);
        let config = by_rules(vec![Rule::share(When::any(), 30.0)]);
        let (engine, machine) = sim.machine("engine", config).expect("an engine");
        serve(&sim, &engine, talk);
        callers(&sim, 60);
        recordings(&machine)
    };
    let names = run(1);
    assert!((8..=30).contains(&names.len()), "{}", names.len());
    assert_eq!(run(1), names);
    assert_ne!(run(2), names);
    assert!(names.iter().all(|name| name.starts_with("spool/")));
}

#[test]
fn a_call_can_say_otherwise() {
    let sim = Sim::seeded(1);
    let config = by_rules(vec![Rule::share(When::user("alice"), 0.0)]);
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    serve(&sim, &engine, |call| async move {
        call.set_recorded(RecordingChoice::Always).await?;
        call.answer().await?;
        let recording = call.recording().await?.expect("it is recorded");
        recording.started().await.expect("a file");
        call.engine().sleep(SECOND).await;
        call.set_recorded(RecordingChoice::Never).await?;
        let report = recording.closed().await.expect("a file");
        assert!(report.duration <= SECOND + SECOND / 10, "{report:?}");
        assert!(call.recording().await?.is_none());
        call.hang_up().await
    });
    callers(&sim, 1);
    assert_eq!(recordings(&machine).len(), 1);
}

#[test]
fn trunks_and_roles_decide() {
    let sim = Sim::seeded(1);
    let rules = vec![
        Rule::always(When::from_trunk("carrier")),
        Rule::always(When::role(Role::Robot)),
    ];
    let (engine, machine) = sim.machine("engine", by_rules(rules)).expect("an engine");
    let carrier = SipPeer::open(&sim, "carrier").expect("a peer");
    let address = Address::new(&format!("sip:{}", carrier.address()));
    let trunk = Trunk::new("carrier", [address]).pinging(None);
    let adding = engine.clone();
    sim.block_on(async move { adding.add_trunk(trunk).await })
        .expect("a trunk");
    serve(&sim, &engine, |call| async move {
        call.answer().await?;
        let is_robot = call.caller().is_some_and(|it| it.to().contains("robot"));
        if is_robot {
            call.set_role(Role::Robot).await?;
        }
        call.engine().sleep(SECOND).await;
        call.hang_up().await
    });
    let call = |peer: &SipPeer, target: &'static str| {
        let peer = peer.clone();
        sim.block_on(async move {
            let call = peer.call(target).await?;
            call.ended().await;
            Ok::<(), PeerError>(())
        })
        .expect("an answer");
        recordings(&machine).len()
    };
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    assert_eq!(call(&alice, "sip:100@engine"), 0);
    assert_eq!(call(&carrier, "sip:100@engine"), 1);
    assert_eq!(call(&alice, "sip:robot@engine"), 2);
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let config = by_rules(vec![Rule::share(When::any(), 101.0)]);
    assert!(matches!(config.validate(), Err(ConfigError::Recording)));
}

/// How loud 1,400 Hz is at a party in each half second of 8 s, in which a conversation is recorded for 6 s and
/// paused in the midst of them; and how many beeps the timeline tells.
fn beeps(heard_by: HeardBy) -> ([Vec<bool>; 2], usize) {
    let sim = Sim::seeded(2);
    let mut config = Config::default();
    config.recording.sealed = true;
    config.recording.beep = Some(Beep {
        interval: SECOND * 2,
        heard_by,
        ..Beep::default()
    });
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    serve(&sim, &engine, |caller| async move {
        let engine = caller.engine();
        caller.answer().await?;
        let bob = engine.dial("sip:b@bob").await?;
        let bridge = caller.bridge(&bob).await?;
        engine.sleep(SECOND).await;
        let plan = RecordingPlan::conversation("a.wav", Tracks::STEREO);
        let recording = caller.record_as(plan).await?;
        engine.sleep(SECOND * 3).await;
        recording.pause().await?;
        engine.sleep(SECOND * 2).await;
        recording.resume().await?;
        engine.sleep(SECOND).await;
        assert!(recording.stop().await.is_ok());
        engine.sleep(SECOND * 3).await;
        drop(bridge);
        bob.hang_up().await?;
        caller.hang_up().await
    });
    let (alice, bob) = (
        SipPeer::open(&sim, "alice").expect("a peer"),
        SipPeer::open(&sim, "bob").expect("a peer"),
    );
    let loud = |heard: &sidetone_sim::peer::sound::Heard| heard.tone_level(1_400.0) > -40.0;
    let listening = sim.spawn(async move {
        let call = bob.incoming().await.expect("a call");
        call.answer().await.expect("an answer");
        let mut levels = Vec::new();
        for _ in 0..16 {
            levels.push(loud(&call.media().hear_for(SECOND / 2).await));
        }
        call.ended().await;
        levels
    });
    let (alice, bob) = sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let mut levels = Vec::new();
        for _ in 0..16 {
            levels.push(loud(&call.media().hear_for(SECOND / 2).await));
        }
        call.ended().await;
        (levels, listening.await)
    });
    let verdict = judge(&machine, "a.wav");
    let told = verdict.timeline.iter().filter(|note| note.kind == "beep");
    let at: Vec<u64> = told.map(|note| note.at / 8_000).collect();
    assert_eq!(at, [0, 2, 5]);
    ([alice, bob], at.len())
}

#[test]
fn parties_are_told_by_a_beep_while_they_are_recorded() {
    let heard = |levels: &[bool]| levels.iter().filter(|loud| **loud).count();
    // One may fall on the border of two halves.
    let ([alice, bob], told) = beeps(HeardBy::Everybody);
    for levels in [&alice, &bob] {
        assert!((told..=2 * told).contains(&heard(levels)), "{levels:?}");
        assert!(!levels[0] && !levels[14] && !levels[15], "{levels:?}");
    }
    let ([alice, bob], _) = beeps(HeardBy::Party);
    assert!(heard(&alice) >= 3 && heard(&bob) == 0, "{alice:?} {bob:?}");
    let ([alice, bob], _) = beeps(HeardBy::Others);
    assert!(heard(&alice) == 0 && heard(&bob) >= 3, "{alice:?} {bob:?}");
}

/// The level of a tone on a channel in the second that begins there, in parts of full scale.
fn level(samples: &[u8], channels: usize, channel: usize, second: usize, hertz: f64) -> f64 {
    let (pairs, _) = samples.as_chunks::<2>();
    let own = pairs.iter().skip(channel).step_by(channels);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in own.skip(second * 8_000).take(8_000).enumerate() {
        let phase = hertz * std::f64::consts::TAU * n as f64 / 8_000.0;
        let sample = f64::from(i16::from_le_bytes(*sample));
        re += sample * phase.cos();
        im += sample * phase.sin();
    }
    f64::hypot(re, im) / 4_000.0 / 32_768.0
}

#[test]
fn prompts_of_a_room_have_a_track() {
    let both = [Track::Caller, Track::Agent, Track::Prompts, Track::Room];
    for (tracks, own, shared) in [(&both[..], 2, 3), (&both[..3], 2, 2)] {
        let tracks = Tracks::new(tracks).expect("tracks");
        let sim = Sim::seeded(6);
        let (engine, machine) = sim.machine("engine", Config::default()).expect("an engine");
        serve(&sim, &engine, move |caller| async move {
            let tone = |hz| {
                let sine = Sine { hz, dbm0: -20.0 };
                Prompt::tone(Tone::once(sine, None, SECOND * 2))
            };
            let engine = caller.engine();
            caller.answer().await?;
            let bob = engine.dial("sip:b@bob").await?;
            let room = engine.room().await?;
            room.join(&caller).await?;
            room.join(&bob).await?;
            let plan = RecordingPlan::conversation("a.wav", tracks);
            let recording = caller.record_as(plan).await?;
            engine.sleep(SECOND).await;
            let playing = room.play(&tone(700.0)).start().await?;
            caller.play(&tone(1_100.0)).await?;
            drop(playing);
            engine.sleep(SECOND).await;
            assert!(recording.stop().await.is_ok());
            bob.hang_up().await?;
            caller.hang_up().await
        });
        let bob = SipPeer::open(&sim, "bob").expect("a peer");
        sim.spawn(async move {
            let call = bob.incoming().await.expect("a call");
            call.answer().await.expect("an answer");
            call.ended().await;
        });
        callers(&sim, 1);
        let file = machine.disk().read("a.wav").expect("a file");
        let channels = usize::from(tracks.channels());
        let level = |channel, hertz| {
            let samples = &file[Header::LEN..];
            level(samples, channels, channel, 1, hertz)
        };
        assert!(level(shared, 700.0) > 0.02, "{}", level(shared, 700.0));
        assert!(level(own, 1_100.0) > 0.02, "{}", level(own, 1_100.0));
        if own != shared {
            assert!(level(own, 700.0) < 0.005 && level(shared, 1_100.0) < 0.005);
        }
        for silent in 0..2 {
            assert!(level(silent, 700.0) < 0.005, "{}", level(silent, 700.0));
        }
    }
}
