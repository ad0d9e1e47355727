//! Engines at their edges: what is dropped half-way, refused, crossed or silent.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use sidetone::call::cause::EndReason;
use sidetone::call::collect::{Collect, CollectEnd};
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::prompt::Prompt;
use sidetone::media::mixer::Gain;
use sidetone::sip::header::Name;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::rtp::Habits;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::peer::sip::{Dial, Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{Diary, SECOND, serve};

fn tone(hertz: f64, length: Duration) -> Prompt {
    Prompt::from_wav(&Sound::tone(hertz, -20.0, length).to_wav()).expect("a WAV file")
}

fn config(workers: u16) -> Config {
    let mut config = Config::default();
    config.media_workers = workers;
    // Their disks are small.
    config.recording.least_free = 0;
    config
}

/// An agent's phone that answers `after` a while, for ever.
fn take_calls(sim: &Sim, peer: &SipPeer, after: Duration) -> Arc<Mutex<usize>> {
    let taken = Arc::new(Mutex::new(0));
    let (peer, count, handle) = (peer.clone(), taken.clone(), sim.handle());
    sim.spawn(async move {
        loop {
            let call = peer.incoming().await.expect("media ports");
            let (count, handle) = (count.clone(), handle.clone());
            let follow = handle.clone();
            follow.spawn(async move {
                call.ring(180);
                handle.sleep(after).await;
                if call.answer().await.is_ok() {
                    *count.lock().expect("one thread") += 1;
                }
            });
        }
    });
    taken
}

/// Nothing is left of any call, nobody waits, and every port is back.
fn assert_nothing_held(sim: &Sim, engine: &Engine) {
    sim.run_for(SECOND * 200);
    let report = sim.block_on(engine.report()).expect("a running engine");
    let held = report.held;
    assert_eq!(
        (
            held.calls,
            held.legs,
            held.rooms,
            held.plays,
            held.recordings,
            held.collections,
            held.waiters
        ),
        (0, 0, 0, 0, 0, 0, 0),
        "{report:?}"
    );
    assert_eq!(held.free_ports, held.ports, "{report:?}");
}

/// Lets a future go as far as it can without waiting, and drops it.
fn begin<T>(future: impl Future<Output = T>) {
    let mut context = Context::from_waker(Waker::noop());
    let future = pin!(future);
    assert!(future.poll(&mut context).is_pending(), "done already");
}

#[test]
fn handles_dropped_before_they_are_taken_leave_nothing() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let taken = take_calls(&sim, &bob, SECOND);
    let uri = bob.uri("bob");
    sim.block_on(async {
        // The request is on its way when nobody wants its answer any more.
        for _ in 0..3 {
            begin(engine.dial(&uri).start());
            begin(engine.room());
        }
        let call = engine.dial(&uri).await.expect("an answer");
        let endless = tone(440.0, SECOND);
        begin(call.play(&endless).looped().start());
        let patient = || Collect::digits(1).first_digit_within(SECOND);
        begin(call.collect(patient()));
        let collected = call.collect(patient()).await.expect("nothing runs");
        assert_eq!(collected.end, CollectEnd::NoInput);
        let held = engine.report().await.expect("a report").held;
        assert_eq!((held.calls, held.rooms, held.plays), (1, 0, 0));
    });
    assert_eq!(*taken.lock().expect("one thread"), 1);
    assert_nothing_held(&sim, &engine);
}

#[test]
fn what_waits_when_the_call_ends_says_why() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await?;
            let ended = CallError::Ended(EndReason::RemoteHangup);
            let collected = call.collect(Collect::digits(1)).await;
            seen.write(format!("{}", collected == Err(ended.clone())));
            seen.write(format!("{}", call.hold().await == Err(ended.clone())));
            let report = call.report().await.map(drop);
            seen.write(format!("{}", report == Err(ended.clone())));
            let recording = call.record("late.wav").await.map(drop);
            seen.write(format!("{}", recording == Err(ended)));
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND).await;
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_nothing_held(&sim, &engine);
    assert_eq!(diary.lines(), ["true"; 4]);
}

#[test]
fn a_quiet_party_that_holds_is_not_hung_up() {
    for direction in [Direction::SendOnly, Direction::Inactive] {
        let sim = Sim::seeded(1);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        serve(&sim, &engine, |call| async move {
            call.answer().await?;
            call.ended().await.map(drop)
        });
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            sim.sleep(SECOND).await;
            call.redirect_media(direction).await.expect("an answer");
            call.media()
                .set_habits(|habits| habits.sends_silence = false);
            sim.sleep(SECOND * 120).await;
            assert_eq!(call.end(), None, "{direction:?}");
            call.redirect_media(Direction::SendReceive)
                .await
                .expect("an answer");
            sim.sleep(SECOND * 25).await;
            assert_eq!(call.end(), None, "the time counts from the resumption");
            sim.sleep(SECOND * 10).await;
            assert!(call.end().is_some(), "a silent call is ended");
        });
        assert_nothing_held(&sim, &engine);
    }
}

#[test]
fn silence_before_the_answer_ends_no_call() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let profile = Profile {
        habits: Habits {
            sends_silence: false,
            ..Habits::default()
        },
        ..Profile::default()
    };
    let bob = SipPeer::with_profile(&sim, "bob", profile).expect("a peer");
    let uri = bob.uri("bob");
    sim.block_on(async {
        let call = engine
            .dial(&uri)
            .ring_timeout(SECOND * 100)
            .start()
            .await
            .expect("a call");
        let theirs = bob.incoming().await.expect("a call");
        theirs.ring_with_media();
        sim.sleep(SECOND * 50).await;
        theirs.answer().await.expect("an ACK");
        call.answered().await.expect("an answer");
        sim.sleep(SECOND * 25).await;
        call.send_info("text/plain", b"still there")
            .await
            .expect("the time counts from the answer");
        let end = call.ended().await.expect("an end");
        assert_eq!(end.reason, EndReason::MediaTimeout);
        assert!(end.talk_time() < SECOND * 31);
    });
    assert_nothing_held(&sim, &engine);
}

#[test]
fn a_change_of_the_peer_after_glare_comes_first() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await?;
            call.engine().sleep(SECOND).await;
            seen.write(format!("{:?}", call.hold().await));
            call.engine().sleep(SECOND * 5).await;
            seen.write(format!("{:?}", call.hold().await));
            seen.write(format!("{:?}", call.resume().await));
            call.ended().await.map(drop)
        }
    });
    let profile = Profile {
        automatic: false,
        ..Profile::default()
    };
    let alice = SipPeer::with_profile(&sim, "alice", profile).expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let ours = alice.next_request().await;
        alice.respond(&ours, 491, &[]);
        // The engine waits to try again, and meanwhile the caller changes the session.
        sim.sleep(Duration::from_millis(5)).await;
        let theirs = call.reinvite(&Dial::default()).await.expect("an answer");
        assert_eq!(theirs.status().map(|s| s.code()), Some(200));
        let description = call.description().expect("a description");
        assert_eq!(description.direction, Direction::SendReceive);
        sim.sleep(SECOND * 4).await;
        assert_eq!(diary.lines(), ["Err(Refused(491))"]);
        assert_eq!(call.end(), None);
        for _ in 0..2 {
            let again = alice.next_request().await;
            alice.respond(&again, 488, &[]);
        }
        sim.sleep(SECOND).await;
        assert_eq!(diary.lines()[1..], ["Err(Refused(488))"; 2]);
        assert_eq!(call.end(), None);
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_nothing_held(&sim, &engine);
}

#[test]
fn a_change_that_met_glare_is_tried_again_after_a_bad_one_of_the_peer() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await?;
            call.engine().sleep(SECOND).await;
            seen.write(format!("{:?}", call.hold().await));
            call.ended().await.map(drop)
        }
    });
    let profile = Profile {
        automatic: false,
        ..Profile::default()
    };
    let alice = SipPeer::with_profile(&sim, "alice", profile).expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let ours = alice.next_request().await;
        alice.respond(&ours, 491, &[]);
        sim.sleep(Duration::from_millis(5)).await;
        let nonsense = ("application/sdp", "nonsense");
        let theirs = call.request("INVITE", &[], nonsense).await;
        let status = theirs.expect("an answer").status().map(|s| s.code());
        assert_eq!(status, Some(400));
        let again = alice.next_request().await;
        assert_eq!(again.body(), ours.body());
        alice.respond(&again, 403, &[]);
        sim.sleep(SECOND).await;
        assert_eq!(diary.lines(), ["Err(Refused(403))"]);
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_nothing_held(&sim, &engine);
}

/// An INVITE without an offer, and an ACK with this body, or none at all.
fn delayed_offer(ack: Option<&str>) -> (Vec<String>, usize) {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            let answered = call.answer().await;
            seen.write(format!("{answered:?}"));
            let end = call.ended().await?;
            seen.write(format!("{:?}", end.reason));
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    let (own, there) = (alice.address(), engine.listening()[0]);
    let request = |method: &str, tag: &str, body: &str| {
        let kind = match body {
            "" => "",
            _ => "Content-Type: application/sdp\r\n",
        };
        format!(
            "{method} sip:100@engine SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@{own}>;tag=1\r\nTo: <sip:100@engine>{tag}\r\n\
             Call-ID: delayed\r\nCSeq: 1 {method}\r\nContact: <sip:a@{own}>\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    alice.send_raw(there, request("INVITE", "", ""));
    sim.run_for(SECOND);
    let answer = alice.log().into_iter().rfind(|entry| !entry.sent);
    let answer = answer.expect("an answer").message;
    assert_eq!(answer.status().map(|s| s.code()), Some(200));
    assert!(!answer.body().is_empty(), "no offer in the 200");
    let to = answer.to().expect("To");
    let tag = format!(";tag={}", to.tag().expect("a tag"));
    if let Some(body) = ack {
        alice.send_raw(there, request("ACK", &tag, body));
    }
    assert_nothing_held(&sim, &engine);
    (diary.lines(), alice.received("BYE"))
}

#[test]
fn a_delayed_offer_without_a_good_answer_ends_the_call() {
    let incompatible = ["Err(Ended(Incompatible))", "Incompatible"];
    for body in [
        "",
        "nonsense",
        "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nt=0 0\r\n",
    ] {
        let (lines, byes) = delayed_offer(Some(body));
        assert_eq!(lines, incompatible, "{body:?}");
        assert!(byes > 0, "{body:?}");
    }
    let (lines, byes) = delayed_offer(None);
    assert_eq!(lines, ["Err(Ended(TimedOut))", "TimedOut"]);
    assert!(byes > 0);
}

#[test]
fn an_answer_without_a_body_needs_an_early_one() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let uri = bob.uri("bob");
    sim.block_on(async {
        let call = engine.dial(&uri).start().await.expect("a call");
        let theirs = bob.incoming().await.expect("a call");
        theirs.respond(200, false, &[]);
        let answered = call.answered().await;
        assert_eq!(answered, Err(CallError::Ended(EndReason::Incompatible)));
        theirs.ended().await;

        let call = engine.dial(&uri).start().await.expect("a call");
        let theirs = bob.incoming().await.expect("a call");
        theirs.ring_with_media();
        sim.sleep(SECOND).await;
        theirs.respond(200, false, &[]);
        call.answered().await.expect("the early answer stands");
        let prompt = tone(440.0, SECOND);
        let playing = call.play(&prompt).start().await.expect("a playback");
        let heard = theirs.media().hear_for(SECOND).await;
        assert!(heard.tone_level(440.0) > -30.0);
        assert!(playing.ended().await.expect("its end").finished);
        call.hang_up().await.expect("a call");
        theirs.ended().await;
    });
    assert_nothing_held(&sim, &engine);
}

#[test]
fn a_crossing_of_ends_is_one_end() {
    for early in [0, 5, 10, 15, 20, 25, 30, 35, 40, 45] {
        let sim = Sim::seeded(1);
        let delay = Duration::from_millis(20);
        sim.network().set_default_link(Link::delay(delay));
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let bob = SipPeer::open(&sim, "bob").expect("a peer");
        let uri = bob.uri("bob");
        sim.block_on(async {
            // CANCEL crosses the 200.
            let call = engine.dial(&uri).start().await.expect("a call");
            let theirs = bob.incoming().await.expect("a call");
            theirs.respond(200, true, &[]);
            sim.sleep(Duration::from_millis(early)).await;
            let _may_be_up = call.hang_up().await;
            let mut ends = 0;
            while let Some(event) = call.next_event().await {
                ends += usize::from(matches!(event, CallEvent::Ended(_)));
            }
            assert_eq!(ends, 1, "{early} ms");
            sim.sleep(SECOND * 5).await;
            assert!(theirs.end().is_some(), "{early} ms: the callee hangs");

            // Both hang up, in the middle of a re-INVITE.
            let call = engine.dial(&uri).start().await.expect("a call");
            let theirs = bob.incoming().await.expect("a call");
            theirs.answer().await.expect("an ACK");
            call.answered().await.expect("an answer");
            let patience = Duration::from_millis(early);
            let held = engine.timeout(patience, call.hold()).await;
            sim.spawn({
                let theirs = theirs.clone();
                async move { drop(theirs.hang_up().await) }
            });
            sim.sleep(Duration::from_millis(early / 2)).await;
            let _may_be_over = call.hang_up().await;
            let mut ends = 0;
            while let Some(event) = call.next_event().await {
                ends += usize::from(matches!(event, CallEvent::Ended(_)));
            }
            assert_eq!(ends, 1, "{early} ms, {held:?}");
        });
        assert_nothing_held(&sim, &engine);
    }
}

#[test]
fn gains_set_while_a_member_is_on_its_way_hold() {
    for workers in [1, 3] {
        let sim = Sim::seeded(1);
        let engine = sim.engine("engine", config(workers)).expect("an engine");
        let (bob, carol, dave) = (
            SipPeer::open(&sim, "bob").expect("a peer"),
            SipPeer::open(&sim, "carol").expect("a peer"),
            SipPeer::open(&sim, "dave").expect("a peer"),
        );
        let calls: Arc<Mutex<Vec<SipCall>>> = Arc::default();
        for peer in [&bob, &carol, &dave] {
            let (peer, calls) = (peer.clone(), calls.clone());
            sim.spawn(async move {
                let call = peer.incoming().await.expect("a call");
                call.answer().await.expect("an ACK");
                calls.lock().expect("one thread").push(call);
            });
        }
        sim.block_on(async {
            let a = engine.dial(&bob.uri("bob")).await.expect("an answer");
            let b = engine.dial(&carol.uri("carol")).await.expect("an answer");
            let c = engine.dial(&dave.uri("dave")).await.expect("an answer");
            sim.sleep(SECOND).await;
            let room = engine.room().await.expect("a room");
            for call in [&a, &b, &c] {
                room.join(call).await.expect("a place");
            }
            for (from, to) in [(&a, &b), (&a, &c), (&b, &a), (&b, &c), (&c, &a), (&c, &b)] {
                if from.id() != a.id() || to.id() != c.id() {
                    room.set_gain(from, to, Gain::MUTE).await.expect("members");
                }
            }
            let peers = calls.lock().expect("one thread").clone();
            let hertz = [440.0, 620.0, 1_000.0];
            for (peer, hertz) in peers.iter().zip(hertz) {
                peer.media().keep_saying(&Sound::tone(hertz, -20.0, SECOND));
            }
            sim.sleep(SECOND).await;
            for (hearer, peer) in peers.iter().enumerate() {
                let heard = peer.media().hear_for(SECOND).await;
                for (speaker, hertz) in hertz.iter().enumerate() {
                    let level = heard.tone_level(*hertz);
                    let audible = speaker == 0 && hearer == 2;
                    let what = format!("{workers} workers: {speaker} to {hearer}: {level}");
                    assert_eq!(level > -40.0, audible, "{what}");
                }
            }
            drop(room);
        });
        assert_nothing_held(&sim, &engine);
    }
}

#[test]
fn a_recording_that_failed_can_be_begun_again() {
    let sim = Sim::seeded(1);
    let (engine, machine) = sim.machine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await?;
            let first = call.record("a.wav").await?;
            assert!(first.started().await.is_ok());
            let again = call.record("b.wav").await.map(drop);
            seen.write(format!("{again:?}"));
            call.engine().sleep(SECOND).await;
            seen.write(format!("{}", first.stop().await.is_ok()));
            // The file exists: refused, once, and the call goes on.
            let exists = call.record("a.wav").await?;
            assert!(exists.started().await.is_err());
            seen.write(format!("{}", exists.stop().await.is_ok()));
            let second = call.record("c.wav").await?;
            call.engine().sleep(SECOND).await;
            seen.write(format!("{}", second.stop().await.is_ok()));
            let mut failures = 0;
            let mut ends = 0;
            call.hang_up().await?;
            while let Some(event) = call.next_event().await {
                match event {
                    CallEvent::RecordingFailed { .. } => failures += 1,
                    CallEvent::RecordingEnded { .. } => ends += 1,
                    _ => {}
                }
            }
            seen.write(format!("{failures} of {ends}"));
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        call.ended().await;
    });
    let busy = r#"Err(WrongState("the call is being recorded already"))"#;
    assert_eq!(diary.lines(), [busy, "true", "false", "true", "1 of 3"]);
    assert_eq!(machine.counters().map(|c| c.recordings_failed), Some(1));
    assert_nothing_held(&sim, &engine);
}

#[test]
fn sixty_four_callers_wait_and_the_next_is_told_when_to_come_back() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let mut calls = Vec::new();
        for _ in 0..65 {
            calls.push(
                alice
                    .dial("sip:100@engine", Dial::default())
                    .expect("a call"),
            );
        }
        sim.sleep(SECOND).await;
        let refused: Vec<&SipCall> = calls.iter().filter(|call| call.end().is_some()).collect();
        let [refused] = refused[..] else {
            panic!("{} were refused", refused.len());
        };
        let last = refused.responses().pop().expect("a response");
        assert_eq!(last.status().map(|s| s.code()), Some(503));
        assert!(last.header(Name::RetryAfter).is_some(), "no Retry-After");
        for call in &calls {
            call.cancel();
        }
        sim.sleep(SECOND * 40).await;
        assert_eq!(engine.call_count(), 0);
        // Those that have given up wait no more: others may.
        let next = alice.dial("sip:100@engine", Dial::default());
        let next = next.expect("a call");
        let call = engine.incoming().await.expect("a caller");
        call.answer().await.expect("an ACK");
        next.answered().await.expect("an answer");
        call.hang_up().await.expect("up");
        sim.sleep(SECOND * 40).await;
    });
    assert_nothing_held(&sim, &engine);
}

#[test]
fn abandoned_sleepers_do_not_pile_up() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    sim.block_on(async {
        for _ in 0..1_000 {
            let soon = engine.sleep(Duration::from_millis(1));
            engine.timeout(SECOND * 3_600, soon).await.expect("soon");
        }
    });
    assert_nothing_held(&sim, &engine);
}

/// One flow of everything, by chance: every await may be where the caller leaves.
async fn wander(call: Call, agents: Vec<String>, mut chance: sidetone::rng::Rng) {
    let prompt = tone(440.0, Duration::from_millis(700));
    let mut pick = |below: u64| chance.below(below);
    let engine = call.engine();
    let mut kept = Vec::new();
    let mut recordings = Vec::new();
    if pick(8) == 0 {
        return drop(call.reject(486).await);
    }
    if pick(3) == 0 {
        let _may_fail = call.early_media().await;
        let _may_fail = call.play(&prompt).await;
    }
    if pick(8) == 0 {
        return;
    }
    let _may_fail = call.answer().await;
    for round in 0..pick(12) {
        let patience = Duration::from_millis(pick(1_500));
        match pick(14) {
            0 => drop(
                engine
                    .timeout(patience, call.play(&prompt).into_future())
                    .await,
            ),
            1 => {
                if let Ok(playing) = call.play(&prompt).looped().start().await {
                    kept.push(playing);
                }
            }
            2 => {
                let digits = Collect::digits(3).first_digit_within(SECOND);
                let work = call.prompt_and_collect(&prompt, digits);
                drop(engine.timeout(patience, work).await);
            }
            3 => drop(engine.timeout(patience, call.hold()).await),
            4 => drop(engine.timeout(patience, call.resume()).await),
            5 | 6 => {
                let path = format!("{}-{round}.wav", call.id());
                if let Ok(recording) = call.record(path).await {
                    recordings.push(recording);
                }
            }
            7 => {
                if let Some(recording) = recordings.pop() {
                    drop(recording.stop().await);
                }
            }
            8 | 9 => {
                let uri = &agents[pick(agents.len() as u64) as usize];
                let dialled = engine.timeout(patience * 2, engine.dial(uri).into_future());
                if let Some(Ok(agent)) = dialled.await
                    && let Ok(bridge) = call.bridge(&agent).await
                {
                    let gain = bridge.room().set_gain(&call, &agent, Gain::MUTE);
                    let _may_fail = gain.await;
                    let _may_fail = bridge.room().play(&prompt).start().await;
                    drop(engine.timeout(patience, bridge.ended()).await);
                }
            }
            10 => drop(call.send_digits("12#").await),
            11 => drop(call.report().await),
            12 => kept.clear(),
            _ => {
                if pick(3) == 0 {
                    let _may_fail = call.hang_up().await;
                }
            }
        }
    }
    for recording in recordings {
        if pick(2) == 0 {
            let _may_fail = call.hang_up().await;
            drop(recording.closed().await);
        }
    }
}

/// A caller that does by chance what callers do, and leaves.
async fn caller(sim: sidetone_sim::sim::Handle, peer: SipPeer, mut chance: sidetone::rng::Rng) {
    let dial = Dial {
        offer: chance.below(4) != 0,
        ..Dial::default()
    };
    let Ok(call) = peer.dial("sip:100@engine", dial) else {
        return;
    };
    let patience = Duration::from_millis(chance.below(3_000));
    if !matches!(sim.timeout(patience, call.answered()).await, Some(Ok(()))) {
        return call.cancel();
    }
    for _ in 0..chance.below(6) {
        sim.sleep(Duration::from_millis(chance.below(1_500))).await;
        match chance.below(5) {
            0 => call.media().start_pressing("12"),
            1 => drop(call.redirect_media(Direction::SendOnly).await),
            2 => drop(call.redirect_media(Direction::SendReceive).await),
            3 => {
                let offerless = Dial {
                    offer: false,
                    ..Dial::default()
                };
                drop(call.reinvite(&offerless).await);
            }
            _ => call.media().say(&Sound::speech(1, SECOND)),
        }
    }
    if chance.below(6) == 0 {
        // Gone without a word.
        return call.media().mute();
    }
    drop(call.hang_up().await);
}

/// Calls come and go by chance; the engine stops in their midst where `cut` says so.
fn storm(seed: u64, cut: bool) {
    let sim = Sim::seeded(seed);
    let mut chance = sim.fork_rng();
    let workers = 1 + chance.below(3) as u16;
    let loss = [0.0, 0.0, 0.05, 0.3][chance.below(4) as usize];
    sim.network().set_default_link(
        Link::delay(Duration::from_millis(20))
            .jitter(Duration::from_millis(5))
            .loss(Loss::Random(loss)),
    );
    let (engine, machine) = sim.machine("engine", config(workers)).expect("an engine");
    match chance.below(4) {
        0 => machine.disk().set_capacity(60_000),
        1 => machine.disk().set_capacity(40),
        _ => {}
    }
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    take_calls(&sim, &bob, Duration::from_millis(300));
    let agents = vec![
        bob.uri("bob"),
        "sip:nobody@192.0.2.250".to_owned(),
        "sip:nobody@unknown.invalid".to_owned(),
    ];
    let flows = Mutex::new(sim.fork_rng());
    serve(&sim, &engine, move |call| {
        let chance = flows.lock().expect("one thread").fork();
        let agents = agents.clone();
        async move {
            wander(call, agents, chance).await;
            Ok(())
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        for _ in 0..25 {
            let next = caller(sim.handle(), alice.clone(), sim.fork_rng());
            sim.spawn(next);
            sim.sleep(Duration::from_millis(chance.below(700))).await;
        }
        if !cut {
            sim.sleep(SECOND * 120).await;
        }
    });
    if !cut {
        assert_nothing_held(&sim, &engine);
    }
    let stopped = sim.block_on(sim.timeout(SECOND * 10, engine.shutdown(SECOND)));
    assert!(stopped.is_some(), "seed {seed}: it does not stop");
    assert!(machine.has_stopped());
    for worker in machine.workers() {
        assert_eq!(worker.legs, 0, "seed {seed}: {worker:?}");
    }
}

#[test]
fn after_a_storm_nothing_is_left() {
    for seed in 0..12 {
        storm(1_000 + seed, false);
    }
}

#[test]
fn an_engine_stops_in_the_midst_of_a_storm() {
    for seed in 0..40 {
        storm(2_000 + seed, true);
    }
}
