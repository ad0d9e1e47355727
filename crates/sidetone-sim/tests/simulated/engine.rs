//! Whole engines in the simulator, driven through the handles that integrators use.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sidetone::call::cause::EndReason;
use sidetone::call::collect::Collect;
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::network::nat::NatKind;
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::sip::call::{CallError as PeerError, End, SipCall};
use sidetone_sim::peer::sip::{Dial, Profile, SipPeer, Transport};
use sidetone_sim::peer::sound::{Heard, Sound};
use sidetone_sim::sim::{Handle, Sim};

use crate::stage::{Diary, SECOND, serve};

fn prompt(sound: &Sound) -> Prompt {
    Prompt::from_wav(&sound.to_wav()).expect("a WAV file")
}

fn has(heard: &Heard, sound: &Sound) -> bool {
    heard.find(sound).is_some_and(|found| found.likeness > 0.9)
}

/// An engine on the host `engine`, and what only a test sees of it.
fn start(sim: &Sim) -> (Engine, Machine) {
    let mut config = Config::default();
    // Their disks are small.
    config.recording.least_free = 0;
    sim.machine("engine", config).expect("an engine")
}

/// Nothing of any call is left after the farewells.
fn assert_clean(sim: &Sim, engine: &Engine, machine: &Machine) {
    sim.run_for(Duration::from_secs(120));
    assert_eq!(engine.call_count(), 0, "calls are left");
    for worker in machine.workers() {
        assert_eq!((worker.legs, worker.rooms), (0, 0), "media is left");
        assert_eq!(worker.rejected_commands, 0, "commands were rejected");
        assert_eq!(worker.skipped_ticks, 0);
    }
}

/// Answers, says the greeting, collects one digit, says it back as a tone, hangs up.
async fn menu(call: Call, greeting: Prompt, thanks: Prompt, diary: Diary) -> Result<(), CallError> {
    call.answer().await?;
    let choice = call
        .prompt_and_collect(&greeting, Collect::digits(1))
        .await?;
    diary.write(format!("chose {:?}", choice.digits));
    call.play(&thanks).await?;
    call.hang_up().await
}

struct Menu {
    greeting: Sound,
    thanks: Sound,
    diary: Diary,
}

fn serve_menu(sim: &Sim, engine: &Engine) -> Menu {
    let menu_ = Menu {
        greeting: Sound::speech(100, SECOND * 3),
        thanks: Sound::speech(101, SECOND),
        diary: Diary::default(),
    };
    let (greeting, thanks) = (prompt(&menu_.greeting), prompt(&menu_.thanks));
    let diary = menu_.diary.clone();
    serve(sim, engine, move |call| {
        menu(call, greeting.clone(), thanks.clone(), diary.clone())
    });
    menu_
}

#[test]
fn a_caller_hears_a_prompt_and_chooses() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let sim = Sim::seeded(1);
        let (engine, machine) = start(&sim);
        let menu = serve_menu(&sim, &engine);
        let profile = Profile {
            transport,
            ..Profile::default()
        };
        let alice = SipPeer::with_profile(&sim, "alice", profile).expect("a peer");
        let uri = match transport {
            Transport::Udp => "sip:100@engine",
            Transport::Tcp => "sip:100@engine;transport=tcp",
        };
        sim.block_on(async {
            let call = alice.call(uri).await.expect("an answer");
            let heard = call.media().hear_for(SECOND * 4).await;
            let found = heard.find(&menu.greeting).expect("the greeting");
            assert!(found.likeness > 0.98, "{found:?}");
            assert!(found.offset < Duration::from_millis(200), "{found:?}");
            call.media().start_pressing("7");
            let heard = call.media().hear_for(SECOND * 2).await;
            assert!(has(&heard, &menu.thanks));
            let End::Theirs { reason } = call.ended().await else {
                panic!("the engine hangs up");
            };
            assert!(reason.contains("cause=16"), "{reason}");
            assert_eq!(call.media().statistics().lost, 0);
            assert_eq!(call.media().statistics().streams, 1);
        });
        assert_eq!(menu.diary.lines(), ["chose \"7\""]);
        assert_clean(&sim, &engine, &machine);
    }
}

#[test]
fn both_address_families_carry_calls() {
    let sim = Sim::seeded(1);
    let six = {
        let mut network = sim.network();
        let host = network.add_host("engine", &[]).expect("a host");
        network.addresses(host)[1]
    };
    let engine = sim.engine("engine", Config::on(six)).expect("an engine");
    let menu = serve_menu(&sim, &engine);
    let host = sim.network().add_host("alice", &[]).expect("a host");
    let own = sim.network().addresses(host)[1];
    let profile = Profile {
        ip: Some(own),
        ..Profile::default()
    };
    let alice = SipPeer::with_profile(&sim, "alice", profile).expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.media().start_pressing("3");
        let heard = call.media().hear_for(SECOND * 2).await;
        assert!(has(&heard, &menu.thanks));
    });
    assert_eq!(menu.diary.lines(), ["chose \"3\""]);
}

/// A flow that bridges each caller with the agent, and records.
fn serve_bridge(sim: &Sim, engine: &Engine, agent: String, diary: &Diary) {
    let diary = diary.clone();
    serve(sim, engine, move |caller| {
        let (agent, diary) = (agent.clone(), diary.clone());
        async move {
            caller.answer().await?;
            let recording = caller.record(format!("rec/{}.wav", caller.id())).await?;
            let agent = caller.unless_ended(caller.engine().dial(&agent)).await??;
            let bridge = caller.bridge(&agent).await?;
            let end = bridge.ended().await?;
            let who = if end.call == caller.id() {
                "caller"
            } else {
                "agent"
            };
            diary.write(format!("{who}: {}", end.reason));
            drop(bridge);
            drop(agent);
            drop(caller.hang_up().await);
            match recording.closed().await {
                Ok(report) => diary.write(format!("recorded {} s", report.duration.as_secs())),
                Err(error) => diary.write(error.to_string()),
            }
            Ok(())
        }
    });
}

/// The agent's phone: answers every call and stays until the other side leaves.
fn take_calls(sim: &Sim, peer: &SipPeer) -> Rc<RefCell<Vec<SipCall>>> {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (peer, list, handle) = (peer.clone(), taken.clone(), sim.handle());
    sim.spawn(async move {
        loop {
            let call = peer.incoming().await.expect("media ports");
            call.ring(180);
            handle.sleep(SECOND).await;
            if call.answer().await.is_ok() {
                list.borrow_mut().push(call);
            }
        }
    });
    taken
}

#[test]
fn a_bridge_carries_both_voices_and_records_them_aligned() {
    let sim = Sim::seeded(3);
    let (engine, machine) = start(&sim);
    let (alice, bob) = (
        SipPeer::open(&sim, "alice").expect("a peer"),
        SipPeer::open(&sim, "bob").expect("a peer"),
    );
    let diary = Diary::default();
    serve_bridge(&sim, &engine, bob.uri("bob"), &diary);
    let agents = take_calls(&sim, &bob);
    let (ask, reply) = (Sound::speech(1, SECOND * 2), Sound::speech(2, SECOND * 2));
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 2).await;
        let agent = agents.borrow()[0].clone();
        let hearing = listen(&sim, &agent, SECOND * 4);
        let asked = call.media().speak(&ask).await;
        let heard = hearing.await;
        let found = heard.find(&ask).expect("the caller's voice");
        assert!(found.likeness > 0.95, "{found:?}");
        let delay = found.arrived - asked;
        assert!(delay < Duration::from_millis(150), "{delay:?}");

        let hearing = listen(&sim, &call, SECOND * 4);
        agent.media().speak(&reply).await;
        let heard = hearing.await;
        assert!(has(&heard, &reply), "the agent's voice");

        call.media().press("5#").await;
        sim.sleep(SECOND).await;
        let pressed: String = agent
            .media()
            .digits()
            .iter()
            .map(|digit| digit.digit)
            .collect();
        assert_eq!(pressed, "5#", "keys go through a bridge");
        assert!(call.media().digits().is_empty(), "and do not come back");
        call.hang_up().await.expect("an answer to BYE");
        assert!(matches!(agent.ended().await, End::Theirs { .. }));
    });
    assert_clean(&sim, &engine, &machine);
    assert_eq!(diary.lines().len(), 2, "{:?}", diary.lines());
    let disk = machine.disk();
    assert_eq!(disk.paths().len(), 1);
    let wav = disk.read(&disk.paths()[0]).expect("the recording");
    let [left, right] = Sound::of_recording(&wav).expect("stereo");
    let question = left.as_heard().find(&ask).expect("the caller, left");
    let answer = right.as_heard().find(&reply).expect("the agent, right");
    assert!(question.likeness > 0.95 && answer.likeness > 0.95);
    assert!(
        left.as_heard()
            .find(&reply)
            .is_none_or(|m| m.likeness < 0.8)
    );
    // The agent began 4 s after the caller had, and a packet time or two for the way.
    let distance = answer.offset.as_millis() as i64 - question.offset.as_millis() as i64;
    assert!((4_000..4_200).contains(&distance), "{distance}");
}

fn listen(
    sim: &Handle,
    call: &SipCall,
    duration: Duration,
) -> sidetone_sim::executor::JoinHandle<Heard> {
    let media = call.media().clone();
    sim.spawn(async move { media.hear_for(duration).await })
}

#[test]
fn callers_are_rung_refused_and_heard_early() {
    let sim = Sim::seeded(1);
    let (engine, machine) = start(&sim);
    let tune = Sound::speech(5, SECOND * 2);
    let clip = prompt(&tune);
    serve(&sim, &engine, move |call| {
        let clip = clip.clone();
        async move {
            let to = call.caller().map(|caller| caller.to()).unwrap_or_default();
            if to.contains("busy") {
                return call.reject(486).await;
            }
            call.ring().await?;
            call.early_media().await?;
            call.play(&clip).await?;
            call.reject(603).await
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let refused = alice.call("sip:busy@engine").await.map(|_| ());
        assert_eq!(refused, Err(PeerError::Refused(486)));
        let call = alice
            .dial("sip:early@engine", Dial::default())
            .expect("a call");
        call.expect(180).await.expect("ringing");
        call.expect(183).await.expect("early media");
        let heard = call.media().hear_for(SECOND * 2).await;
        assert!(has(&heard, &tune));
        assert_eq!(call.answered().await, Err(PeerError::Refused(603)));
    });
    assert_clean(&sim, &engine, &machine);
}

#[test]
fn a_delayed_offer_and_a_session_change_work() {
    let sim = Sim::seeded(1);
    let (engine, machine) = start(&sim);
    let tone = Sound::tone(440.0, -20.0, SECOND * 60);
    let clip = prompt(&tone);
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let (clip, seen) = (clip.clone(), seen.clone());
        async move {
            call.answer().await?;
            let playing = call.play(&clip).start().await?;
            while let Some(event) = call.next_event().await {
                match event {
                    CallEvent::Held => seen.write("held"),
                    CallEvent::Resumed => seen.write("resumed"),
                    CallEvent::Ended(end) => seen.write(end.reason.to_string()),
                    _ => {}
                }
            }
            drop(playing);
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let dial = Dial {
            offer: false,
            ..Dial::default()
        };
        let call = alice.dial("sip:100@engine", dial).expect("a call");
        call.answered().await.expect("an answer");
        let heard = call.media().hear_for(SECOND).await;
        assert!((heard.tone_level(440.0) + 20.0).abs() < 2.0);

        let held = call.redirect_media(Direction::Inactive).await;
        assert_eq!(
            held.expect("an answer").status().map(|s| s.code()),
            Some(200)
        );
        sim.sleep(SECOND).await;
        let heard = call.media().hear_for(SECOND).await;
        assert_eq!(heard.packets(), 0, "nothing is sent on hold");

        let resumed = call.redirect_media(Direction::SendReceive).await;
        assert_eq!(
            resumed.expect("an answer").status().map(|s| s.code()),
            Some(200)
        );
        sim.sleep(SECOND).await;
        let heard = call.media().hear_for(SECOND).await;
        assert!((heard.tone_level(440.0) + 20.0).abs() < 2.0);
        assert_eq!(
            call.media().statistics().streams,
            1,
            "one stream throughout"
        );
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_clean(&sim, &engine, &machine);
    let expected = ["held", "resumed", "the other party hung up"];
    assert_eq!(diary.lines(), expected);
}

#[test]
fn dialling_ends_as_the_other_side_decides() {
    let sim = Sim::seeded(1);
    let (engine, machine) = start(&sim);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    sim.block_on(async {
        let dialling = sim.spawn(dial(engine.clone(), bob.uri("bob")));
        let call = bob.incoming().await.expect("media ports");
        call.ring(180);
        call.refuse(486);
        assert_eq!(
            dialling.await,
            Err(CallError::Ended(EndReason::Refused(486)))
        );

        // Nobody decides: the attempt is given up and cancelled.
        let dialling = sim.spawn(dial(engine.clone(), bob.uri("bob")));
        let call = bob.incoming().await.expect("media ports");
        call.ring(180);
        assert_eq!(call.ended().await, End::Cancelled);
        assert_eq!(dialling.await, Err(CallError::Ended(EndReason::TimedOut)));

        // Giving up drops the call.
        let waited = engine
            .timeout(SECOND, dial(engine.clone(), bob.uri("bob")))
            .await;
        assert!(waited.is_none());
        let call = bob.incoming().await.expect("media ports");
        call.ring(180);
        assert_eq!(call.ended().await, End::Cancelled);

        // No such host, and nobody there.
        let nowhere = dial(engine.clone(), "sip:x@nowhere".into()).await;
        assert_eq!(nowhere, Err(CallError::Ended(EndReason::Unreachable)));
        bob.die();
        let silent = dial(engine.clone(), bob.uri("bob")).await;
        assert_eq!(silent, Err(CallError::Ended(EndReason::TimedOut)));
    });
    assert_clean(&sim, &engine, &machine);
}

async fn dial(engine: Engine, uri: String) -> Result<(), CallError> {
    engine.dial(&uri).await.map(|_| ())
}

#[test]
fn two_engines_call_each_other() {
    let sim = Sim::seeded(4);
    let (first, one) = sim.machine("first", Config::default()).expect("an engine");
    let (second, two) = sim.machine("second", Config::default()).expect("an engine");
    let diary = Diary::default();
    let written = diary.clone();
    let tone = prompt(&Sound::tone(700.0, -20.0, SECOND * 3));
    serve(&sim, &second, move |call| {
        let (tone, diary) = (tone.clone(), written.clone());
        async move {
            call.answer().await?;
            call.play(&tone).await?;
            let digits = call.collect(Collect::digits(4)).await?;
            diary.write(digits.digits);
            call.hang_up().await
        }
    });
    sim.block_on(async {
        let call = first.dial("sip:x@second").await.expect("an answer");
        let recording = call.record("heard.wav").await.expect("a recording");
        sim.sleep(SECOND * 2).await;
        call.send_digits("12#4").await.expect("telephone events");
        let end = call.ended().await.expect("an end");
        assert_eq!(end.reason, EndReason::RemoteHangup);
        recording.closed().await.expect("a file");
    });
    assert_eq!(diary.lines(), ["12#4"]);
    let wav = one.disk().read("heard.wav").expect("the recording");
    let [left, _] = Sound::of_recording(&wav).expect("stereo");
    // Three seconds of a file that is longer.
    let level = left.as_heard().tone_level(700.0);
    assert!((-33.0..-20.0).contains(&level), "{level}");
    assert_clean(&sim, &first, &one);
    assert_clean(&sim, &second, &two);
}

#[test]
fn silence_after_a_partition_ends_both_legs() {
    let sim = Sim::seeded(5);
    let (engine, machine) = start(&sim);
    let (alice, bob) = (
        SipPeer::open(&sim, "alice").expect("a peer"),
        SipPeer::open(&sim, "bob").expect("a peer"),
    );
    let diary = Diary::default();
    serve_bridge(&sim, &engine, bob.uri("bob"), &diary);
    let agents = take_calls(&sim, &bob);
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 5).await;
        let cut = sim.now();
        sim.network()
            .partition("alice", "engine", cut, None)
            .expect("hosts");
        let agent = agents.borrow()[0].clone();
        let end = agent.ended().await;
        assert!(matches!(end, End::Theirs { .. }), "{end:?}");
        let waited = sim.now() - cut;
        assert!(
            (SECOND * 29..SECOND * 33).contains(&waited),
            "ended after {waited:?}"
        );
        drop(call);
    });
    assert_clean(&sim, &engine, &machine);
    assert_eq!(diary.lines()[0], "caller: no media arrived");
}

#[test]
fn a_caller_behind_nat_is_heard_and_hears() {
    for kind in [
        NatKind::FullCone,
        NatKind::PortRestricted,
        NatKind::Symmetric,
    ] {
        let sim = Sim::seeded(6);
        let (engine, machine) = start(&sim);
        let menu = serve_menu(&sim, &engine);
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        let public = "203.0.113.5".parse().expect("an address");
        sim.network()
            .put_behind_nat("alice", kind, public)
            .expect("a host");
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            let heard = call.media().hear_for(SECOND * 4).await;
            assert!(
                heard.packets() > 150,
                "{kind:?}: {} packets",
                heard.packets()
            );
            call.media().start_pressing("4");
            let heard = call.media().hear_for(SECOND).await;
            assert!(has(&heard, &menu.thanks), "{kind:?}");
            // The engine's own BYE goes to the Contact, which is inside.
            call.hang_up().await.expect("an answer to BYE");
        });
        assert_eq!(menu.diary.lines(), ["chose \"4\""], "{kind:?}");
        assert_clean(&sim, &engine, &machine);
    }
}

#[test]
fn callers_may_hang_up_at_any_moment() {
    let sim = Sim::seeded(7);
    let (engine, machine) = start(&sim);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    let (greeting, agent) = (prompt(&Sound::speech(8, SECOND)), bob.uri("bob"));
    serve(&sim, &engine, move |caller| {
        let (greeting, agent) = (greeting.clone(), agent.clone());
        async move {
            caller.engine().sleep(Duration::from_millis(100)).await;
            caller.ring().await?;
            caller.engine().sleep(Duration::from_millis(100)).await;
            caller.answer().await?;
            let recording = caller.record(format!("{}.wav", caller.id())).await?;
            let digits = caller
                .prompt_and_collect(&greeting, Collect::digits(1).first_digit_within(SECOND))
                .await?;
            drop(digits);
            let agent = caller.unless_ended(caller.engine().dial(&agent)).await??;
            caller.bridge(&agent).await?.ended().await?;
            drop(recording);
            Ok(())
        }
    });
    let _agents = take_calls(&sim, &bob);
    sim.block_on(async {
        for step in 0..130u32 {
            let call = alice
                .dial("sip:100@engine", Dial::default())
                .expect("a call");
            let patience = Duration::from_millis(40) * step;
            match sim.timeout(patience, call.answered()).await {
                None => call.cancel(),
                Some(answered) => {
                    answered.expect("an answer");
                    let left = patience.saturating_sub(Duration::from_millis(210));
                    sim.sleep(left).await;
                    call.hang_up().await.expect("an answer to BYE");
                }
            }
            sim.sleep(SECOND * 40).await;
            assert_eq!(engine.call_count(), 0, "after {patience:?}");
        }
    });
    assert_clean(&sim, &engine, &machine);
}

#[test]
fn calls_survive_bad_networks() {
    for seed in 20..24 {
        let sim = Sim::seeded(seed);
        let (engine, machine) = start(&sim);
        let menu = serve_menu(&sim, &engine);
        let bad = Link::delay(Duration::from_millis(60))
            .jitter(Duration::from_millis(40))
            .loss(Loss::bursty(0.1, 2.0))
            .reorder(0.05, Duration::from_millis(50))
            .duplicate(0.05);
        sim.network().set_default_link(bad);
        let peers: Vec<SipPeer> = (0..8)
            .map(|n| SipPeer::open(&sim, &format!("peer{n}")).expect("a peer"))
            .collect();
        sim.block_on(async {
            let calls: Vec<_> = peers
                .iter()
                .map(|peer| {
                    let (peer, handle) = (peer.clone(), sim.handle());
                    sim.spawn(async move {
                        let call = peer.call("sip:100@engine").await.expect("an answer");
                        handle.sleep(SECOND * 2).await;
                        call.media().press("5").await;
                        handle.timeout(SECOND * 60, call.ended()).await
                    })
                })
                .collect();
            for call in calls {
                let end = call.await;
                assert!(matches!(end, Some(End::Theirs { .. })), "{end:?}");
            }
        });
        let lines = menu.diary.lines();
        assert_eq!(lines.len(), 8);
        assert!(lines.iter().all(|line| line == "chose \"5\""), "{lines:?}");
        assert_clean(&sim, &engine, &machine);
    }
}

#[test]
fn disks_that_fill_or_hang_disturb_no_call() {
    let sim = Sim::seeded(8);
    let (engine, machine) = start(&sim);
    let (alice, bob) = (
        SipPeer::open(&sim, "alice").expect("a peer"),
        SipPeer::open(&sim, "bob").expect("a peer"),
    );
    let diary = Diary::default();
    serve_bridge(&sim, &engine, bob.uri("bob"), &diary);
    let agents = take_calls(&sim, &bob);
    machine.disk().set_capacity(100_000);
    let voice = Sound::speech(1, SECOND * 2);
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 10).await;
        let agent = agents.borrow()[0].clone();
        let hearing = listen(&sim, &agent, SECOND * 4);
        call.media().speak(&voice).await;
        assert!(has(&hearing.await, &voice), "the call goes on");
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_clean(&sim, &engine, &machine);
    let lines = diary.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].contains("recording failed"), "{lines:?}");

    machine.disk().set_capacity(usize::MAX);
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 5).await;
        machine.disk().stall(true);
        sim.sleep(SECOND * 5).await;
        let agent = agents.borrow()[1].clone();
        let hearing = listen(&sim, &agent, SECOND * 4);
        call.media().speak(&voice).await;
        assert!(has(&hearing.await, &voice), "the call goes on");
        machine.disk().stall(false);
        sim.sleep(SECOND * 5).await;
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_clean(&sim, &engine, &machine);
    let wav = machine.disk().read(&machine.disk().paths()[1]);
    let [left, _] = Sound::of_recording(&wav.expect("the recording")).expect("stereo");
    assert!(
        left.duration() > SECOND * 18,
        "the place of what was lost is kept"
    );
}

#[test]
fn stopping_lets_calls_end_and_refuses_new_ones() {
    let sim = Sim::seeded(9);
    let (engine, machine) = start(&sim);
    let long = prompt(&Sound::tone(500.0, -20.0, SECOND * 100));
    serve(&sim, &engine, move |call| {
        let long = long.clone();
        async move {
            call.answer().await?;
            call.play(&long).await?;
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let stopping = sim.spawn({
            let engine = engine.clone();
            async move { engine.shutdown(SECOND * 10).await }
        });
        sim.sleep(SECOND).await;
        let refused = alice.call("sip:100@engine").await.map(|_| ());
        assert_eq!(refused, Err(PeerError::Refused(503)));
        let start = sim.now();
        assert!(matches!(call.ended().await, End::Theirs { .. }));
        assert!((SECOND * 8..SECOND * 10).contains(&(sim.now() - start)));
        stopping.await;
        assert!(machine.has_stopped());
    });
}

#[test]
fn dropping_every_handle_stops_the_engine() {
    let sim = Sim::seeded(9);
    let (engine, machine) = start(&sim);
    drop(engine);
    sim.run_for(SECOND * 5);
    assert!(machine.has_stopped());
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed: u64| {
        let sim = Sim::new(seed);
        let (engine, machine) = start(&sim);
        let (alice, bob) = (
            SipPeer::open(&sim, "alice").expect("a peer"),
            SipPeer::open(&sim, "bob").expect("a peer"),
        );
        let bad = Link::delay(Duration::from_millis(40))
            .jitter(Duration::from_millis(40))
            .loss(Loss::Random(0.05));
        sim.network().set_default_link(bad);
        let diary = Diary::default();
        serve_bridge(&sim, &engine, bob.uri("bob"), &diary);
        let _agents = take_calls(&sim, &bob);
        sim.block_on(async {
            for _ in 0..5 {
                let call = alice.call("sip:100@engine").await.expect("an answer");
                call.media().say(&Sound::speech(1, SECOND * 3));
                sim.sleep(SECOND * 8).await;
                call.hang_up().await.expect("an answer to BYE");
            }
        });
        assert_clean(&sim, &engine, &machine);
        let trace = sim.trace();
        assert!(trace.media_packets() > 1_000);
        let files = machine.disk();
        let recordings: Vec<_> = files.paths().iter().map(|path| files.read(path)).collect();
        (
            trace.text().to_owned(),
            trace.digest(),
            diary.lines(),
            recordings,
        )
    };
    let first = run(1);
    assert!(first == run(1), "the same seed");
    assert!(first != run(2), "another seed");
}
