//! Speech robots: forks of what callers say, and speech that is written while they hear it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone::face::fork::Fork;
use sidetone::face::forks::{ForkNews, Forks};
use sidetone::media::fork::{Content, ForkFrame, ForkSound, ForkState};
use sidetone::media::frame::SampleRate;
use sidetone::media::leg::ears::Listening;
use sidetone::media::level::vad::SpeechConfig;
use sidetone::media::speech::SpeechReport;
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{Diary, SECOND, serve};

const RATE: SampleRate = SampleRate::HZ_8000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn start(sim: &Sim) -> Engine {
    sim.engine("engine", Config::default()).expect("an engine")
}

/// Samples at 24 kHz of what is a sound at 8 kHz, as a synthesiser gives them.
fn at_24_khz(sound: &Sound) -> Vec<i16> {
    let pairs = sound.samples().windows(2);
    let between = |pair: &[i16], n: i32| {
        let (a, b) = (i32::from(pair[0]), i32::from(pair[1]));
        (a + (b - a) * n / 3) as i16
    };
    pairs
        .flat_map(|pair| (0..3).map(|n| between(pair, n)).collect::<Vec<_>>())
        .collect()
}

/// Reads the fork until the caller has spoken and fallen silent.
async fn sentence(fork: &mut Fork) -> Option<Vec<i16>> {
    let (mut said, mut has_begun, mut pause) = (Vec::new(), false, 0);
    while let Some(frame) = fork.next().await {
        let speaks = frame.speech == Some(true);
        has_begun |= speaks;
        pause = if speaks { 0 } else { pause + 1 };
        // No pause between words is that long.
        if has_begun && pause > 40 {
            return Some(said);
        }
        said.extend_from_slice(frame.samples());
    }
    None
}

async fn listen(call: &Call) -> Result<(), CallError> {
    let speech = Some(SpeechConfig::default());
    call.listen(Listening {
        speech,
        ..Listening::default()
    })
    .await
}

/// Whether three seconds were heard, as near as converting the rate comes to them.
fn whole(heard: Duration) -> String {
    match (ms(2_990)..ms(3_010)).contains(&heard) {
        true => "all".to_owned(),
        false => format!("{heard:?}"),
    }
}

#[test]
fn a_robot_hears_a_sentence_answers_and_knows_when_it_was_heard() {
    let sim = Sim::seeded(1);
    let engine = start(&sim);
    let (question, answer) = (Sound::speech(3, SECOND * 2), Sound::speech(4, SECOND * 3));
    let (heard, said) = (Arc::new(Mutex::new(Vec::new())), answer.clone());
    let (own, diary) = (Arc::clone(&heard), Diary::default());
    let log = diary.clone();
    serve(&sim, &engine, move |call| {
        let (own, said, log) = (Arc::clone(&own), at_24_khz(&said), log.clone());
        async move {
            call.answer().await?;
            listen(&call).await?;
            let mut fork = call.fork().rate(RATE).await?;
            let mut speech = call.speak().await?;
            *own.lock().expect("one thread") = sentence(&mut fork).await.unwrap_or_default();
            // In pieces, as they come out of a synthesiser.
            for piece in said.chunks(2_500) {
                speech.say(24_000, piece).await?;
            }
            speech.mark(7)?;
            while let Some(report) = speech.next().await {
                match report {
                    SpeechReport::Reached { mark: 7, heard } => log.write(whole(heard)),
                    SpeechReport::Quiet { heard } => {
                        log.write(whole(heard));
                        break;
                    }
                    other => log.write(format!("{other:?}")),
                }
            }
            let end = speech.finish().await?;
            log.write(format!("{} {}", end.finished, whole(end.played)));
            call.hang_up().await
        }
    });
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let (listened, ended) = sim.block_on(async {
        let call = peer.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND).await;
        call.media().speak(&question).await;
        call.ended().await;
        (call.media().heard(), sim.now())
    });
    let heard = heard.lock().expect("one thread").clone();
    let place = Sound::new(heard)
        .as_heard()
        .find(&question)
        .expect("the question");
    assert!(place.likeness > 0.95, "{place:?}");
    let found = listened.find(&answer).expect("the answer");
    assert!(found.likeness > 0.9, "{found:?}");
    // The robot hung up when the last word had been sent, not when it had been written.
    let lasted = ended - found.arrived;
    assert!((ms(2_990)..ms(3_120)).contains(&lasted), "{lasted:?}");
    assert_eq!(diary.lines(), ["all", "all", "true all"]);
}

#[test]
fn a_caller_who_interrupts_is_heard_and_the_robot_falls_silent_at_once() {
    let sim = Sim::seeded(2);
    let engine = start(&sim);
    let monologue = Sound::tone(440.0, -20.0, SECOND * 9);
    let (said, diary) = (monologue.clone(), Diary::default());
    let log = diary.clone();
    serve(&sim, &engine, move |call| {
        let (said, log) = (said.clone(), log.clone());
        async move {
            call.answer().await?;
            listen(&call).await?;
            let mut fork = call.fork().rate(RATE).await?;
            let mut speech = call.speak().await?;
            speech.say(8_000, said.samples()).await?;
            speech.mark(1)?;
            while let Some(frame) = fork.next().await {
                if frame.speech == Some(true) {
                    break;
                }
            }
            speech.clear();
            let report = speech.next().await;
            log.write(format!(
                "{}",
                matches!(report, Some(SpeechReport::Cleared { mark: 1, .. }))
            ));
            log.write(format!("{}", speech.quiet().await?.as_millis()));
            call.ended().await?;
            Ok(())
        }
    });
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let (heard, interrupted) = sim.block_on(async {
        let call = peer.call("sip:100@engine").await.expect("an answer");
        sim.sleep(SECOND * 3).await;
        let interrupted = call.media().speak(&Sound::speech(5, SECOND)).await;
        sim.sleep(SECOND * 2).await;
        let heard = call.media().heard();
        call.hang_up().await.expect("an answer");
        (heard, interrupted)
    });
    let lines = diary.lines();
    assert_eq!(lines[0], "true");
    let told: usize = lines[1].parse().expect("milliseconds");
    let loud = heard
        .samples()
        .iter()
        .filter(|s| s.unsigned_abs() > 100)
        .count()
        / 8;
    // A sine is near zero now and then; what was told is what the caller heard.
    assert!(
        told.abs_diff(loud * 102 / 100) < 60,
        "{told} told, {loud} heard"
    );
    let last = heard
        .samples()
        .iter()
        .rposition(|s| s.unsigned_abs() > 100)
        .expect("sound");
    let silent = heard.arrived(ms(last as u64 / 8));
    let took = silent - interrupted;
    // Speech is found after some 100 ms of it, and so is what is on its way; then it is one tick.
    assert!(took < ms(500), "{took:?}");
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_never_behind_for_good() {
    let sim = Sim::seeded(3);
    let engine = start(&sim);
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let diary = Diary::default();
    let log = diary.clone();
    serve(&sim, &engine, move |call| {
        let log = log.clone();
        async move {
            call.answer().await?;
            let mut fork = call.fork().queue(ms(200)).await?;
            call.engine().sleep(SECOND * 2).await;
            log.write(format!("{:?}", fork.behind()));
            let gap = fork.next().await.map(|frame| (frame.gap, frame.sequence));
            let Some((gap, sequence)) = gap else {
                return Ok(());
            };
            assert_eq!(
                (gap.length, gap.unread),
                (ms(20) * sequence as u32, gap.length)
            );
            assert_eq!(fork.lost(), gap.unread);
            log.write(format!("{}", (ms(1_700)..ms(1_860)).contains(&gap.length)));
            // Who reads what waits has caught up.
            let mut frame = ForkFrame::new();
            while fork.read(&mut frame) == ForkState::Frame {
                assert!(frame.gap.is_none());
            }
            log.write(format!("{:?}", fork.behind()));
            call.hang_up().await
        }
    });
    sim.block_on(async {
        let call = peer.call("sip:100@engine").await.expect("an answer");
        call.ended().await;
    });
    assert_eq!(diary.lines(), ["200ms", "true", "0ns"]);
}

/// What came of a fork, in runs of equal frames of a tenth of a second at least.
fn runs(frames: &[(Content, i16)]) -> Vec<&'static str> {
    let mut runs: Vec<(&'static str, usize)> = Vec::new();
    for (content, peak) in frames {
        let name = match (content, peak) {
            (Content::Sound, 2_000..) => "speech",
            (Content::Sound | Content::Concealed | Content::Noise, _) => "quiet",
            (Content::Silence, _) => "silence",
        };
        match runs.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => runs.push((name, 1)),
        }
    }
    let mut names: Vec<_> = runs
        .iter()
        .filter(|(_, count)| *count >= 5)
        .map(|it| it.0)
        .collect();
    names.dedup();
    names
}

#[test]
fn a_fork_goes_on_over_a_hold_a_bridge_and_a_transfer_to_the_end_of_its_call() {
    let sim = Sim::seeded(4);
    let engine = start(&sim);
    let peers = ["alice", "bob", "carol"].map(|name| SipPeer::open(&sim, name).expect("a peer"));
    let [alice, bob, carol] = &peers;
    for peer in [bob, carol] {
        let peer = peer.clone();
        sim.spawn(async move {
            let call = peer.incoming().await.expect("a call");
            call.answer().await.expect("an ACK");
            call.media().keep_saying(&Sound::tone(300.0, -20.0, SECOND));
            call.ended().await;
        });
    }
    let frames: Arc<Mutex<Vec<(Content, i16)>>> = Arc::default();
    let gaps = Arc::new(Mutex::new(0));
    let (own, missing) = (Arc::clone(&frames), Arc::clone(&gaps));
    let uris = [bob.uri("bob"), carol.uri("carol")];
    let is_over = Diary::default();
    let log = is_over.clone();
    let handle = sim.handle();
    let forks = Arc::new(Mutex::new(None::<Fork>));
    let handed = Arc::clone(&forks);
    serve(&sim, &engine, move |call| {
        let (uris, handed) = (uris.clone(), Arc::clone(&handed));
        async move {
            call.answer().await?;
            let fork = call.fork().rate(RATE).sound(ForkSound::Said).await?;
            *handed.lock().expect("one thread") = Some(fork);
            let bob = call.engine().dial(&uris[0]).await?;
            let bridge = call.bridge(&bob).await?;
            call.engine().sleep(SECOND * 3).await;
            drop(bridge);
            let carol = call.engine().dial(&uris[1]).await?;
            let _bridge = call.bridge(&carol).await?;
            drop(bob);
            call.ended().await?;
            Ok(())
        }
    });
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let mut fork = loop {
            if let Some(fork) = forks.lock().expect("one thread").take() {
                break fork;
            }
            sim.sleep(ms(10)).await;
        };
        handle.spawn(async move {
            while let Some(frame) = fork.next().await {
                let peak = frame.samples().iter().map(|s| s.saturating_abs()).max();
                own.lock()
                    .expect("one thread")
                    .push((frame.content, peak.unwrap_or(0)));
                *missing.lock().expect("one thread") += u32::from(!frame.gap.is_none());
            }
            log.write("over");
        });
        call.media().keep_saying(&Sound::tone(500.0, -15.0, SECOND));
        sim.sleep(SECOND).await;
        call.redirect_media(Direction::Inactive)
            .await
            .expect("an answer");
        call.media().mute();
        sim.sleep(SECOND).await;
        call.redirect_media(Direction::SendReceive)
            .await
            .expect("an answer");
        call.media().keep_saying(&Sound::tone(500.0, -15.0, SECOND));
        sim.sleep(SECOND * 5).await;
        call.hang_up().await.expect("an answer");
        sim.sleep(SECOND).await;
    });
    assert_eq!(is_over.lines(), ["over"]);
    let frames = frames.lock().expect("one thread");
    assert_eq!(runs(&frames), ["speech", "silence", "speech"], "{frames:?}");
    assert!(
        (7 * 50 - 10..=7 * 50 + 20).contains(&frames.len()),
        "{}",
        frames.len()
    );
    assert_eq!(*gaps.lock().expect("one thread"), 0);
}

#[test]
fn one_task_serves_many_forks_and_wakes_once_a_tick() {
    let sim = Sim::seeded(5);
    let engine = start(&sim);
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let answering = peer.clone();
    let handle = sim.handle();
    sim.spawn(async move {
        while let Ok(call) = answering.incoming().await {
            handle.spawn(async move {
                call.answer().await.expect("an ACK");
                call.media().keep_saying(&Sound::tone(500.0, -15.0, SECOND));
                call.ended().await;
            });
        }
    });
    sim.block_on(async {
        let (mut calls, mut forks) = (Vec::new(), Forks::new(&engine));
        for n in 0..20 {
            let call = engine.dial(&peer.uri("x")).await.expect("an answer");
            forks.add(call.fork().rate(RATE).await.expect("a fork"), (n, 0));
            calls.push(call);
        }
        sim.sleep(ms(100)).await;
        let (begin, mut ends) = (sim.now(), Vec::new());
        for tick in 0..60 {
            if tick == 50 {
                calls.truncate(5);
            }
            let told = forks.tick(|(n, frames), news| match news {
                ForkNews::Frame(frame) => {
                    assert!(frame.samples().len() == 160);
                    *frames += 1;
                }
                ForkNews::Ended => ends.push(*n),
            });
            told.await.expect("the engine runs");
        }
        let took = sim.now() - begin;
        assert!((ms(1_180)..=ms(1_220)).contains(&took), "{took:?}");
        assert_eq!((forks.len(), ends.len()), (5, 15));
        let counts: Vec<usize> = forks
            .iter_mut()
            .map(|(fork, (_, frames))| {
                assert_eq!(fork.lost(), ms(0));
                *frames
            })
            .collect();
        assert!(counts.iter().all(|count| *count >= 60), "{counts:?}");
        let held = engine.report().await.expect("it runs").held;
        assert_eq!((held.forks, held.calls), (5, 5));
        drop((forks, calls));
        sim.sleep(SECOND).await;
        let held = engine.report().await.expect("it runs").held;
        assert_eq!((held.forks, held.waiters), (0, 0));
    });
}

#[test]
fn a_machine_with_too_much_to_do_suspends_optional_forks_and_tells_it() {
    let sim = Sim::seeded(6);
    let (engine, machine) = sim.machine("engine", Config::default()).expect("an engine");
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let answering = peer.clone();
    sim.spawn(async move {
        let call = answering.incoming().await.expect("a call");
        call.answer().await.expect("an ACK");
        call.media().keep_saying(&Sound::tone(500.0, -15.0, SECOND));
        call.ended().await;
    });
    sim.block_on(async {
        let mut watch = engine.watch_shedding().await.expect("it runs");
        let call = engine.dial(&peer.uri("x")).await.expect("an answer");
        let mut optional = call.fork().optional().await.expect("a fork");
        let mut needed = call.fork().await.expect("a fork");
        sim.sleep(ms(500)).await;
        machine.set_late(ms(15));
        sim.sleep(SECOND * 2).await;
        let news = watch.next().await.expect("news");
        assert!(news.is_shedding && news.late == ms(15), "{news:?}");
        machine.set_late(ms(1));
        sim.sleep(SECOND * 6).await;
        let news = watch.next().await.expect("news");
        assert!(!news.is_shedding, "{news:?}");
        let mut frame = ForkFrame::new();
        let mut suspended = ms(0);
        while optional.read(&mut frame) == ForkState::Frame {
            suspended += frame.gap.suspended;
        }
        assert!((ms(6_500)..ms(7_200)).contains(&suspended), "{suspended:?}");
        while needed.read(&mut frame) == ForkState::Frame {
            assert_eq!(frame.gap.suspended, ms(0));
        }
        assert_eq!(engine.report().await.expect("it runs").core.sheddings, 1);
    });
}

#[test]
fn a_room_is_forked_whole_and_spoken_to_whole() {
    let sim = Sim::seeded(7);
    let engine = start(&sim);
    let peer = SipPeer::open(&sim, "peer").expect("a peer");
    let said = Arc::new(Mutex::new(Vec::new()));
    let (answering, handle, told) = (peer.clone(), sim.handle(), Arc::clone(&said));
    sim.spawn(async move {
        for hertz in [500.0, 900.0] {
            let call = answering.incoming().await.expect("a call");
            let told = Arc::clone(&told);
            handle.spawn(async move {
                call.answer().await.expect("an ACK");
                call.media().keep_saying(&Sound::tone(hertz, -20.0, SECOND));
                call.ended().await;
                let level = call.media().heard().tone_level(1_500.0);
                told.lock().expect("one thread").push(level);
            });
        }
    });
    sim.block_on(async {
        let room = engine.room().await.expect("a room");
        let mut fork = room
            .fork()
            .rate(RATE)
            .queue(SECOND * 2)
            .await
            .expect("a fork");
        let mut calls = Vec::new();
        for _ in 0..2 {
            let call = engine.dial(&peer.uri("x")).await.expect("an answer");
            room.join(&call).await.expect("a place");
            calls.push(call);
        }
        let mut speech = room.speak().await.expect("a voice");
        let tone = Sound::tone(1_500.0, -20.0, SECOND * 2);
        speech
            .say(8_000, tone.samples())
            .await
            .expect("it is heard");
        speech.quiet().await.expect("it is heard");
        let (mut frame, mut sound) = (ForkFrame::new(), Vec::new());
        while fork.read(&mut frame) == ForkState::Frame {
            sound.extend_from_slice(frame.samples());
        }
        let heard = Sound::new(sound[8_000..].to_vec()).as_heard();
        for hertz in [500.0, 900.0, 1_500.0] {
            let level = heard.tone_level(hertz);
            assert!(
                (-24.0..-18.0).contains(&level),
                "{hertz} Hz at {level} dBov"
            );
        }
        drop(room);
        assert_eq!(fork.next().await.map(|frame| frame.sequence), None);
        assert!(speech.say(8_000, &[0; 8]).await.is_err());
        assert!(speech.quiet().await.is_ok());
        drop(calls);
        sim.sleep(SECOND).await;
    });
    let levels = said.lock().expect("one thread").clone();
    assert_eq!(levels.len(), 2);
    assert!(levels.iter().all(|level| *level > -32.0), "{levels:?}");
}
