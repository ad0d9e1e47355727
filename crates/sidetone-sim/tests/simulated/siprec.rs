//! Recording sessions between two engines: one has the calls, the other records them (RFC 7866).

use std::f64::consts::TAU;
use std::io::Cursor;
use std::path::Path;

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::engine::recording::RecordingPlan;
use sidetone::engine::recording::policy::{RecordingChoice, RecordingPolicy, Rule, When};
use sidetone::engine::remote::RemotePlan;
use sidetone::face::call::Call;
use sidetone::media::recorder::disk::Disk;
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::verify::{Verdict, verify};
use sidetone::media::tone::{Sine, Tone};
use sidetone::media::wav::Header;
use sidetone::sdp::negotiate::security::MediaSecurity;
use sidetone::sip::status::StatusCode;
use sidetone_sim::engine::Machine;
use sidetone_sim::peer::offer::{Abilities, Direction, describe};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{Diary, SECOND, serve};

const ALICE: f64 = 500.0;
const BOB: f64 = 700.0;
const CAROL: f64 = 1_100.0;
const LOUD: f64 = -30.0;
const QUIET: f64 = -50.0;

fn config() -> Config {
    let mut config = Config::default();
    config.recording.least_free = 0;
    config.recording.sealed = true;
    config
}

/// A recorder on the host of this name, which writes down who it is told of.
fn recorder(sim: &Sim, name: &str, config: Config, diary: &Diary) -> Machine {
    let mut config = config;
    for listener in &mut config.listeners {
        listener.records = true;
    }
    let (engine, machine) = sim.machine(name, config).expect("an engine");
    let diary = diary.clone();
    serve(sim, &engine, move |call| {
        let diary = diary.clone();
        async move {
            let caller = call.caller().and_then(|caller| caller.recorded());
            let metadata = caller.expect("a recording session").clone();
            diary.write(format!("{} are recorded", metadata.participants.len()));
            call.answer().await?;
            let tracks = Tracks::new(&[Track::Caller, Track::Agent, Track::Agent2]);
            let plan = RecordingPlan::conversation("session.wav", tracks.expect("tracks"));
            let recording = call.record_as(plan).await?;
            while let Some(event) = call.next_event().await {
                if let CallEvent::Recorded(metadata) = event {
                    let here = metadata.attendances.iter().filter(|it| !it.span.is_over());
                    let flows = metadata.flows.iter().filter(|it| !it.span.is_over());
                    let held = flows.filter(|it| it.sends.is_empty()).count();
                    let but = match held {
                        0 => String::new(),
                        held => format!(", {held} of them on hold"),
                    };
                    diary.write(format!("{} are recorded{but}", here.count()));
                }
            }
            diary.write(format!("closed {}", recording.closed().await.is_ok()));
            Ok(())
        }
    });
    machine
}

struct Left {
    verdict: Verdict,
    samples: Vec<i16>,
}

impl Left {
    fn of(machine: &Machine) -> Self {
        let read = |path| machine.disk().read(path).expect("a file");
        let (audio, seal) = (read("session.wav"), read("session.wav.seal"));
        let verdict = verify(&mut Cursor::new(&audio), &seal, &[]).expect("memory");
        assert!(verdict.findings.is_empty(), "{:?}", verdict.findings);
        let samples = audio[Header::LEN..].as_chunks::<2>().0;
        Self {
            verdict,
            samples: samples.iter().map(|&s| i16::from_le_bytes(s)).collect(),
        }
    }

    /// The level of a tone on a channel in the second that begins there, in dBov.
    fn level(&self, channel: usize, second: usize, hertz: f64) -> f64 {
        let samples = self.samples.iter().skip(channel).step_by(3);
        let (mut re, mut im) = (0.0, 0.0);
        for (n, sample) in samples.skip(second * 8_000).take(8_000).enumerate() {
            let phase = hertz * TAU * n as f64 / 8_000.0;
            re += f64::from(*sample) * phase.cos();
            im += f64::from(*sample) * phase.sin();
        }
        let amplitude = 2.0 * f64::hypot(re, im) / 8_000.0;
        20.0 * (amplitude / 2f64.sqrt() / 32_768.0).max(1e-9).log10()
    }

    fn told(&self, kind: &str) -> Vec<String> {
        let notes = self.verdict.timeline.iter().filter(|it| it.kind == kind);
        notes
            .map(|it| format!("{} {}", it.track.as_deref().unwrap_or(""), it.text))
            .collect()
    }
}

/// Alice calls an engine that does with her call as `flow` says, and speaks until that is over; what the engine and
/// others had to say is over 5 s later.
fn alice_calls<F, T>(sim: &Sim, config: Config, dial: Dial, flow: F) -> (SipPeer, Machine)
where
    F: Fn(Call) -> T + 'static,
    T: Future<Output = Result<(), CallError>> + Send + 'static,
{
    let (engine, machine) = sim.machine("engine", config).expect("an engine");
    serve(sim, &engine, flow);
    let alice = SipPeer::open(sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.dial("sip:100@engine", dial).expect("a call");
        call.answered().await.expect("an answer");
        call.media()
            .keep_saying(&Sound::tone(ALICE, -20.0, SECOND * 600));
        call.ended().await;
    });
    sim.run_for(SECOND * 5);
    (alice, machine)
}

/// Somebody on the host of this name who answers and says a tone.
fn party(sim: &Sim, name: &str, hertz: f64) {
    let peer = SipPeer::open(sim, name).expect("a peer");
    sim.spawn(async move {
        let call = peer.incoming().await.expect("a call");
        call.answer().await.expect("an answer");
        call.media()
            .keep_saying(&Sound::tone(hertz, -20.0, SECOND * 30));
        call.ended().await;
    });
}

fn converse(media: MediaSecurity) -> (Left, Vec<String>) {
    let sim = Sim::seeded(7);
    let diary = Diary::default();
    let mut secured = config();
    secured.media_security = media;
    secured.sdes_in_clear = true;
    let machine = recorder(&sim, "recorder", secured, &diary);
    let mut telling = config();
    telling.sdes_in_clear = true;
    let told = diary.clone();
    party(&sim, "bob", BOB);
    party(&sim, "carol", CAROL);
    alice_calls(&sim, telling, Dial::default(), move |call| {
        let told = told.clone();
        async move {
            call.answer().await?;
            let mut plan = RemotePlan::to("sip:srs@nobody.invalid").or("sip:srs@recorder");
            plan.media_security = Some(media);
            let recording = call.record_remotely(plan).await?;
            let engine = call.engine();
            engine.sleep(SECOND * 3).await;
            let bob = engine.dial("sip:bob@bob").await?;
            let bridge = call.bridge(&bob).await?;
            engine.sleep(SECOND * 4).await;
            recording.pause().await?;
            engine.sleep(SECOND * 2).await;
            recording.resume().await?;
            engine.sleep(SECOND * 3).await;
            drop(bridge);
            bob.hang_up().await?;
            let carol = engine.dial("sip:carol@carol").await?;
            let _bridge = call.bridge(&carol).await?;
            engine.sleep(SECOND * 4).await;
            recording.stop();
            engine.sleep(SECOND).await;
            call.hang_up().await?;
            while let Some(event) = call.next_event().await {
                match event {
                    CallEvent::RemoteStarted { server, .. } => {
                        told.write(format!("started {server}"))
                    }
                    CallEvent::RemoteFailed { server, .. } => {
                        told.write(format!("failed {server}"))
                    }
                    CallEvent::RemoteEnded { .. } => told.write("ended"),
                    _ => {}
                }
            }
            Ok(())
        }
    });
    (Left::of(&machine), diary.lines())
}

#[test]
fn a_conversation_is_recorded_elsewhere_as_its_parties_come_and_go() {
    for media in [MediaSecurity::Off, MediaSecurity::Mandatory] {
        let (left, diary) = converse(media);
        let expected = [
            "1 are recorded",
            "2 are recorded",
            "2 are recorded",
            "2 are recorded",
            "1 are recorded",
            "2 are recorded",
            "closed true",
            "failed sip:srs@nobody.invalid",
            "started sip:srs@recorder",
            "ended",
        ];
        assert_eq!(diary, expected);
        let grid: Vec<String> = (0..17)
            .map(|second| {
                let tones = [(0, ALICE), (1, BOB), (1, CAROL), (0, BOB), (1, ALICE)];
                let levels = tones
                    .iter()
                    .map(|(channel, hertz)| left.level(*channel, second, *hertz));
                levels
                    .map(|level| match level {
                        loud if loud > LOUD => 'x',
                        quiet if quiet < QUIET => '.',
                        _ => '/',
                    })
                    .collect()
            })
            .collect();
        // Alice alone, with Bob, the pause, with Bob, with Carol; nobody on another's track.
        let expected = [
            "x....", "x....", "xx...", "xx...", "xx...", "xx...", ".....", ".....", "xx...",
            "xx...", "xx...", "x.x..", "x.x..", "x.x..", "x.x..", ".....",
        ];
        assert_eq!(grid[1..], expected);
        let joined = ["agent sip:bob@bob", "agent sip:carol@carol"];
        assert_eq!(left.told("joined")[1..], joined);
        let marks = [
            "paused caller",
            "paused agent",
            "resumed caller",
            "resumed agent",
        ];
        assert_eq!(
            left.told("mark"),
            marks.map(|mark| format!(" client {mark}"))
        );
    }
}

#[test]
fn the_recorder_hears_who_is_on_hold() {
    let sim = Sim::seeded(9);
    let diary = Diary::default();
    let machine = recorder(&sim, "recorder", config(), &diary);
    party(&sim, "bob", BOB);
    alice_calls(&sim, config(), Dial::default(), |call| async move {
        call.answer().await?;
        let plan = RemotePlan::to("sip:srs@recorder");
        let recording = call.record_remotely(plan).await?;
        let engine = call.engine();
        let bob = engine.dial("sip:bob@bob").await?;
        let _bridge = call.bridge(&bob).await?;
        engine.sleep(SECOND * 3).await;
        bob.hold().await?;
        engine.sleep(SECOND * 3).await;
        bob.resume().await?;
        engine.sleep(SECOND * 3).await;
        // The party whose call the recording hangs on is told of too.
        call.hold().await?;
        engine.sleep(SECOND * 2).await;
        recording.stop();
        engine.sleep(SECOND).await;
        call.hang_up().await?;
        Ok(())
    });
    // The server sees that it is he who is on hold, and does not ask who speaks.
    let expected = [
        "1 are recorded",
        "2 are recorded",
        "2 are recorded, 1 of them on hold",
        "2 are recorded",
        "2 are recorded, 1 of them on hold",
        "closed true",
    ];
    assert_eq!(diary.lines(), expected);
    let left = Left::of(&machine);
    assert!(left.level(1, 2, BOB) > LOUD && left.level(1, 8, BOB) > LOUD);
    assert!(left.level(1, 5, BOB) < QUIET);
}

#[test]
fn a_lost_recorder_is_replaced_and_the_call_hears_nothing_of_it() {
    let sim = Sim::seeded(8);
    let mut faithless = config();
    for listener in &mut faithless.listeners {
        listener.records = true;
    }
    let (first, _machine) = sim.machine("first", faithless).expect("an engine");
    serve(&sim, &first, |call| async move {
        call.answer().await?;
        call.engine().sleep(SECOND * 3).await;
        call.hang_up().await
    });
    let diary = Diary::default();
    let machine = recorder(&sim, "second", config(), &diary);
    let (engine, _machine) = sim.machine("engine", config()).expect("an engine");
    let told = diary.clone();
    serve(&sim, &engine, move |call| {
        let told = told.clone();
        async move {
            call.answer().await?;
            let plan = RemotePlan::to("sip:srs@first").or("sip:srs@second");
            call.record_remotely(plan).await?;
            let _tone = call
                .play_tone(Tone::steady(
                    Sine {
                        hz: 900.0,
                        dbm0: -16.0,
                    },
                    None,
                ))
                .start()
                .await?;
            while let Some(event) = call.next_event().await {
                match event {
                    CallEvent::RemoteStarted { server, .. } => {
                        told.write(format!("started {server}"))
                    }
                    CallEvent::RemoteFailed { server, reason, .. } => {
                        told.write(format!("failed {server}: {reason}"));
                    }
                    _ => {}
                }
            }
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media()
            .keep_saying(&Sound::tone(ALICE, -20.0, SECOND * 30));
        sim.sleep(SECOND).await;
        let heard = call.media().hear_for(SECOND * 7).await;
        assert!(heard.tone_level(900.0) > -25.0);
        assert_eq!(call.media().statistics().lost, 0);
        call.hang_up().await.expect("an answer");
    });
    sim.run_for(SECOND * 5);
    let lines = diary.lines();
    assert_eq!(
        lines.first().map(String::as_str),
        Some("started sip:srs@first")
    );
    assert!(lines[1].starts_with("failed sip:srs@first: "), "{lines:?}");
    assert!(
        lines.contains(&"started sip:srs@second".to_owned()),
        "{lines:?}"
    );
    let left = Left::of(&machine);
    assert!(left.level(0, 2, ALICE) > LOUD);
}

/// A caller who wants to know whether it is recorded.
fn aware() -> Dial {
    Dial {
        headers: vec!["Supported: record-aware".into()],
        ..Dial::default()
    }
}

/// What somebody was told of being recorded, each change once.
fn told(peer: &SipPeer) -> Vec<String> {
    let told = peer.log().into_iter().filter_map(|logged| {
        let text = String::from_utf8_lossy(&logged.message.body()).into_owned();
        let state = text.split("a=record:").nth(1)?;
        Some(state.lines().next()?.to_owned())
    });
    let mut told: Vec<String> = told.collect();
    told.dedup();
    told
}

#[test]
fn who_wants_to_know_is_told_whether_it_is_recorded() {
    let sim = Sim::seeded(9);
    let _machine = recorder(&sim, "recorder", config(), &Diary::default());
    let (alice, _machine) = alice_calls(&sim, config(), aware(), |call| async move {
        call.answer().await?;
        let engine = call.engine();
        let recording = call
            .record_remotely(RemotePlan::to("sip:srs@recorder"))
            .await?;
        engine.sleep(SECOND * 2).await;
        recording.pause().await?;
        engine.sleep(SECOND * 2).await;
        recording.stop();
        engine.sleep(SECOND * 2).await;
        call.hang_up().await
    });
    assert_eq!(told(&alice), ["off", "on", "paused", "off"]);
}

#[test]
fn who_wants_to_know_is_told_of_files_here_too() {
    let sim = Sim::seeded(9);
    let (alice, _machine) = alice_calls(&sim, config(), aware(), |call| async move {
        call.answer().await?;
        let engine = call.engine();
        let recording = call.record("here.wav").await?;
        engine.sleep(SECOND * 2).await;
        recording.pause().await?;
        engine.sleep(SECOND * 2).await;
        recording.resume().await?;
        engine.sleep(SECOND * 2).await;
        let _report = recording.stop().await;
        engine.sleep(SECOND * 2).await;
        call.hang_up().await
    });
    assert_eq!(told(&alice), ["off", "on", "paused", "on", "off"]);
}

#[test]
fn a_party_says_whether_it_wants_to_be_recorded_and_is_heeded_where_that_is_configured() {
    for heeds in [false, true] {
        let sim = Sim::seeded(12);
        let diary = Diary::default();
        let mut config = config();
        config.recording.heeds_preferences = heeds;
        let (engine, machine) = sim.machine("engine", config).expect("an engine");
        let said = diary.clone();
        serve(&sim, &engine, move |call| {
            let said = said.clone();
            async move {
                call.answer().await?;
                let _recording = call.record("session.wav").await?;
                while let Some(event) = call.next_event().await {
                    if let CallEvent::RecordingPreferred(what) = event {
                        said.write(format!("{what:?}"));
                    }
                }
                Ok(())
            }
        });
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            call.media()
                .keep_saying(&Sound::tone(ALICE, -20.0, SECOND * 60));
            for (version, wish) in [(2, "pause"), (3, "on"), (4, "nonsense")] {
                sim.sleep(SECOND * 3).await;
                let (own, abilities) = (call.media().address(), Abilities::default());
                let offer = describe(own, version, &abilities, Direction::SendReceive, None);
                let offer = format!("{offer}a=recordpref:{wish}\r\n");
                let body = ("application/sdp", offer.as_str());
                let answer = call.request("UPDATE", &[], body).await.expect("an answer");
                assert_eq!(answer.status().map(StatusCode::code), Some(200));
            }
            sim.sleep(SECOND * 3).await;
            call.hang_up().await.expect("an answer");
        });
        sim.run_for(SECOND * 5);
        assert_eq!(diary.lines(), ["Pause", "On"]);
        let left = Left::of(&machine);
        let marks: Vec<_> = left.verdict.timeline.iter().map(|it| &*it.kind).collect();
        assert_eq!(marks.contains(&"paused"), heeds, "{marks:?}");
        assert_eq!(marks.contains(&"resumed"), heeds, "{marks:?}");
    }
}

#[test]
fn a_policy_has_conversations_recorded_elsewhere_and_a_call_can_say_otherwise() {
    for (percent, choice, expected) in [
        (100.0, RecordingChoice::Policy, true),
        (0.0, RecordingChoice::Policy, false),
        (0.0, RecordingChoice::Always, true),
        (100.0, RecordingChoice::Never, false),
    ] {
        let sim = Sim::seeded(13);
        let diary = Diary::default();
        let _machine = recorder(&sim, "recorder", config(), &diary);
        let mut rule = Rule::share(When::any(), percent);
        rule.form.remote = Some(RemotePlan::to("sip:srs@recorder"));
        let mut config = config();
        config.recording.policy = Some(RecordingPolicy::new("here", vec![rule]));
        let (_alice, machine) =
            alice_calls(&sim, config, Dial::default(), move |call| async move {
                call.set_recorded(choice).await?;
                call.answer().await?;
                call.engine().sleep(SECOND * 3).await;
                call.hang_up().await
            });
        let lines = diary.lines();
        let was = lines.first().is_some_and(|line| line == "1 are recorded");
        assert_eq!(was, expected, "{percent} {choice:?}: {lines:?}");
        assert!(
            machine
                .disk()
                .list(Path::new("here"))
                .expect("a disk")
                .is_empty()
        );
    }
}

#[test]
fn a_server_pauses_its_session_and_asks_for_everything() {
    let sim = Sim::seeded(14);
    let server = SipPeer::open(&sim, "recorder").expect("a peer");
    let seen = Diary::default();
    let (log, diary) = (server.clone(), seen.clone());
    sim.spawn(async move {
        let call = server.incoming().await.expect("a call");
        call.answer().await.expect("an answer");
        call.media().hear_for(SECOND * 2).await;
        for direction in [Direction::Inactive, Direction::ReceiveOnly] {
            let answer = call.redirect_media(direction).await.expect("an answer");
            let answer = String::from_utf8_lossy(&answer.body()).into_owned();
            let line = answer.lines().find(|line| line.ends_with("ive") || line.ends_with("only"));
            let heard = call.media().hear_for(SECOND * 2).await;
            let level = if heard.tone_level(ALICE) > LOUD { "speech" } else { "silence" };
            diary.write(format!("{} {level}", line.unwrap_or_default()));
        }
        let before = server.received("INVITE");
        let please = "<?xml version=\"1.0\"?><requestsnapshot xmlns=\"urn:ietf:params:xml:ns:recording:1\"/>";
        let body = ("application/rs-metadata-request", please);
        let headers = ["Content-Disposition: recording-session".to_owned()];
        let answer = call.request("UPDATE", &headers, body).await.expect("an answer");
        assert_eq!(answer.status().map(StatusCode::code), Some(200));
        call.media().hear_for(SECOND * 2).await;
        diary.write(format!("{} more", server.received("INVITE") - before));
    });
    alice_calls(&sim, config(), Dial::default(), |call| async move {
        call.answer().await?;
        call.record_remotely(RemotePlan::to("sip:srs@recorder"))
            .await?;
        call.engine().sleep(SECOND * 10).await;
        call.hang_up().await
    });
    let expected = ["a=inactive silence", "a=sendonly speech", "1 more"];
    assert_eq!(seen.lines(), expected);
    let whole = log.log().into_iter().filter(|logged| {
        let text = String::from_utf8_lossy(&logged.message.body()).into_owned();
        text.contains("<datamode>complete") && text.contains("sip:alice@")
    });
    assert_eq!(whole.count(), 2);
}

#[test]
fn the_session_goes_on_when_the_recorded_leg_is_replaced() {
    let sim = Sim::seeded(15);
    let diary = Diary::default();
    let machine = recorder(&sim, "recorder", config(), &diary);
    party(&sim, "bob", BOB);
    party(&sim, "carol", CAROL);
    alice_calls(&sim, config(), Dial::default(), |call| async move {
        call.answer().await?;
        let engine = call.engine();
        let bob = engine.dial("sip:bob@bob").await?;
        let carol = engine.dial("sip:carol@carol").await?;
        let recording = call
            .record_remotely(RemotePlan::to("sip:srs@recorder"))
            .await?;
        let mut bridge = call.bridge(&bob).await?;
        engine.sleep(SECOND * 4).await;
        // She goes on by another leg: hers ends.
        bridge.replace(&call, &carol).await?;
        call.hang_up().await?;
        engine.sleep(SECOND * 4).await;
        recording.stop();
        engine.sleep(SECOND).await;
        carol.hang_up().await?;
        bob.hang_up().await
    });
    sim.run_for(SECOND * 15);
    let lines = diary.lines();
    assert_eq!(
        lines.last().map(String::as_str),
        Some("closed true"),
        "{lines:?}"
    );
    let left = Left::of(&machine);
    let channel = |hertz: f64, second| (0..3).find(|it| left.level(*it, second, hertz) > LOUD);
    let (alice, bob) = (channel(ALICE, 2), channel(BOB, 2));
    assert!(alice.is_some() && bob.is_some() && alice != bob);
    assert_eq!(channel(BOB, 6), bob, "{lines:?}");
    let carol = channel(CAROL, 6);
    assert!(
        carol.is_some() && carol != bob && channel(ALICE, 6).is_none(),
        "{lines:?}"
    );
}

#[test]
fn a_session_is_refreshed_for_as_long_as_the_call_lasts() {
    const MINUTES: u32 = 5;
    let sim = Sim::seeded(11);
    let diary = Diary::default();
    let brief = || {
        let mut config = config();
        config.session_expires = Some(SECOND * 90);
        config
    };
    let machine = recorder(&sim, "recorder", brief(), &diary);
    let (engine, _machine) = sim.machine("engine", brief()).expect("an engine");
    let told = diary.clone();
    serve(&sim, &engine, move |call| {
        let told = told.clone();
        async move {
            call.answer().await?;
            let _recording = call
                .record_remotely(RemotePlan::to("sip:srs@recorder"))
                .await?;
            while let Some(event) = call.next_event().await {
                match event {
                    CallEvent::RemoteStarted { server, .. } => {
                        told.write(format!("started {server}"));
                    }
                    CallEvent::RemoteFailed { .. } | CallEvent::RemoteEnded { .. } => {
                        told.write("over");
                    }
                    _ => {}
                }
            }
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let sound = Sound::tone(ALICE, -20.0, SECOND * 60 * MINUTES);
        call.media().speak(&sound).await;
        // Neither side has ended a session that lasts three times as long as it would unrefreshed.
        let now = diary.lines();
        assert_eq!(now[0], "1 are recorded");
        assert!(
            now.contains(&"started sip:srs@recorder".to_owned()),
            "{now:?}"
        );
        assert!(!now.contains(&"over".to_owned()), "{now:?}");
        assert!(!now.contains(&"closed true".to_owned()), "{now:?}");
        call.hang_up().await.expect("an end");
    });
    sim.run_for(SECOND * 5);
    let left = Left::of(&machine);
    for second in [2, 88, 92, 178, 182, 290] {
        let level = left.level(0, second, ALICE);
        assert!(level > LOUD, "second {second}: {level} dB");
    }
}
