//! What parties hear, and what recordings hold, over minutes and with clocks that drift.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone::call::collect::Collect;
use sidetone::engine::config::Config;
use sidetone::media::mixer::Gain;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::rtp::Habits;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::peer::sip::{Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{SECOND, serve};

fn drifting(sim: &Sim, host: &str, drift_ppm: i32) -> SipPeer {
    let profile = Profile {
        habits: Habits {
            drift_ppm,
            ..Habits::default()
        },
        ..Profile::default()
    };
    SipPeer::with_profile(sim, host, profile).expect("a peer")
}

fn answering(sim: &Sim, peer: &SipPeer) -> Rc<RefCell<Vec<SipCall>>> {
    let (calls, peer) = (Rc::new(RefCell::new(Vec::new())), peer.clone());
    let list = calls.clone();
    sim.spawn(async move {
        loop {
            let call = peer.incoming().await.expect("media ports");
            if call.answer().await.is_ok() {
                list.borrow_mut().push(call);
            }
        }
    });
    calls
}

#[test]
fn both_tracks_of_a_recording_stay_in_step_while_clocks_drift() {
    let sim = Sim::seeded(1);
    let link = Link::delay(Duration::from_millis(20))
        .jitter(Duration::from_millis(15))
        .loss(Loss::Random(0.005));
    sim.network().set_default_link(link);
    let (engine, machine) = sim.machine("engine", Config::default()).expect("an engine");
    let (alice, bob) = (drifting(&sim, "alice", 200), drifting(&sim, "bob", -200));
    let uri = bob.uri("bob");
    serve(&sim, &engine, move |caller| {
        let uri = uri.clone();
        async move {
            caller.answer().await?;
            drop(caller.record("long.wav").await?);
            let agent = caller.engine().dial(&uri).await?;
            drop(agent.record("other.wav").await?);
            caller.bridge(&agent).await?.ended().await?;
            Ok(())
        }
    });
    let agents = answering(&sim, &bob);
    let minutes = [0u32, 5, 10, 15, 20];
    let marks: Vec<_> = (0..5)
        .map(|n| (Sound::speech(n, SECOND), Sound::speech(100 + n, SECOND)))
        .collect();
    let said = sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let start = sim.now();
        sim.sleep(SECOND * 3).await;
        let agent = agents.borrow()[0].clone();
        let mut said = Vec::new();
        for (minute, (mine, theirs)) in minutes.iter().zip(&marks) {
            sim.sleep_until(start + SECOND * (60 * minute + 5)).await;
            let agent_speaks = sim.spawn({
                let (media, theirs) = (agent.media().clone(), theirs.clone());
                async move { media.speak(&theirs).await }
            });
            let mine = call.media().speak(mine).await;
            let theirs = agent_speaks.await;
            said.push(theirs.as_nanos() as i64 / 1_000 - mine.as_nanos() as i64 / 1_000);
        }
        sim.sleep(SECOND * 5).await;
        call.hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND * 40).await;
        said
    });
    let wav = machine.disk().read("long.wav").expect("the recording");
    let [left, right] = Sound::of_recording(&wav).expect("stereo");
    let other = machine
        .disk()
        .read("other.wav")
        .expect("the agent's recording");
    let [other, _] = Sound::of_recording(&other).expect("stereo");
    let (mut distances, mut apart) = (Vec::new(), Vec::new());
    for ((minute, (mine, theirs)), said) in minutes.iter().zip(&marks).zip(said) {
        let place = |track: &Sound, mark: &Sound| {
            let window = track.part(SECOND * (60 * minute + 3), SECOND * 5);
            let found = window.as_heard().find(mark).expect("the mark");
            found.offset.as_micros() as i64
        };
        distances.push(place(&right, theirs) - place(&left, mine) - said);
        apart.push(place(&other, theirs) - place(&left, mine) - said);
    }
    // What the caller hears comes through a jitter buffer and a room: it is later, and wanders as the
    // buffer's delay does.
    let slack = 60_000;
    // What each says stays about where it was spoken.
    for distance in &apart {
        let wandered = (distance - apart[0]).abs();
        assert!(wandered <= slack, "distances in microseconds: {apart:?}");
    }
    for distance in &distances {
        let wandered = (distance - distances[0]).abs();
        assert!(
            wandered <= slack,
            "distances in microseconds: {distances:?}"
        );
        assert!((-slack..150_000).contains(distance), "{distances:?}");
    }
}

#[test]
fn a_conference_is_heard_by_its_gains() {
    let sim = Sim::seeded(2);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let peers: Vec<SipPeer> = (0..3)
        .map(|n| drifting(&sim, &format!("peer{n}"), 0))
        .collect();
    let taken: Vec<_> = peers.iter().map(|peer| answering(&sim, peer)).collect();
    let tones = [400.0, 700.0, 1100.0];
    sim.block_on(async {
        let room = engine.room().await.expect("a room");
        let mut calls = Vec::new();
        for peer in &peers {
            let call = engine.dial(&peer.uri("x")).await.expect("an answer");
            room.join(&call).await.expect("a place");
            calls.push(call);
        }
        sim.sleep(SECOND).await;
        for (list, hertz) in taken.iter().zip(tones) {
            let tone = Sound::tone(hertz, -25.0, SECOND);
            list.borrow()[0].media().keep_saying(&tone);
        }
        sim.sleep(SECOND).await;
        assert_eq!(
            hears(&taken, &tones).await,
            [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
        );

        // The first is heard by the second alone.
        room.set_gain(&calls[0], &calls[2], Gain::MUTE)
            .await
            .expect("members");
        sim.sleep(SECOND).await;
        assert_eq!(
            hears(&taken, &tones).await,
            [[0, 1, 1], [1, 0, 1], [0, 1, 0]]
        );

        room.leave(&calls[1]).await.expect("a member");
        sim.sleep(SECOND).await;
        assert_eq!(
            hears(&taken, &tones).await,
            [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
        );
    });
}

/// Who hears which tone at about the level it was sent.
async fn hears(taken: &[Rc<RefCell<Vec<SipCall>>>], tones: &[f64; 3]) -> [[u8; 3]; 3] {
    let mut matrix = [[0; 3]; 3];
    for (list, row) in taken.iter().zip(&mut matrix) {
        let call = list.borrow()[0].clone();
        let heard = call.media().hear_for(SECOND).await;
        for (hertz, cell) in tones.iter().zip(row) {
            let level = heard.tone_level(*hertz);
            assert!(
                !(-50.0..-28.0).contains(&level),
                "{hertz} Hz at {level} dBov"
            );
            *cell = u8::from(level > -28.0);
        }
    }
    matrix
}

#[test]
fn digits_are_sent_with_their_lengths() {
    let sim = Sim::seeded(3);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let peer = drifting(&sim, "peer", 0);
    let taken = answering(&sim, &peer);
    sim.network()
        .set_default_link(Link::default().loss(Loss::Random(0.05)));
    sim.block_on(async {
        let call = engine.dial(&peer.uri("x")).await.expect("an answer");
        call.send_digits("0123456789*#ABCD").await.expect("events");
        sim.sleep(SECOND * 6).await;
        let digits = taken.borrow()[0].media().digits();
        let text: String = digits.iter().map(|digit| digit.digit).collect();
        assert_eq!(text, "0123456789*#ABCD");
        for digit in &digits {
            assert_eq!(digit.duration, Duration::from_millis(100), "{digit:?}");
        }
        for pair in digits.windows(2) {
            let apart = pair[1].at - pair[0].at;
            assert!(apart >= Duration::from_millis(140), "{apart:?}");
        }
    });
}

/// What each collection brought.
type Log = Arc<Mutex<Vec<String>>>;

#[test]
fn collections_end_when_they_should() {
    let sim = Sim::seeded(4);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let log = Log::default();
    let written = log.clone();
    serve(&sim, &engine, move |call| {
        let written = written.clone();
        async move {
            call.answer().await?;
            let collect = || {
                Collect::digits(4)
                    .terminated_by('#')
                    .first_digit_within(SECOND * 4)
                    .next_digit_within(SECOND * 2)
            };
            for _ in 0..4 {
                let end = call.collect(collect()).await?;
                written.lock().expect("one thread").push(end.digits);
            }
            call.hang_up().await
        }
    });
    let peer = drifting(&sim, "peer", 0);
    let ends = sim.block_on(async {
        let call = peer.call("sip:100@engine").await.expect("an answer");
        let mut ends = Vec::new();
        for digits in ["", "12", "34#", "56789"] {
            let known = log.lock().expect("one thread").len();
            let start = sim.now();
            call.media().start_pressing(digits);
            while log.lock().expect("one thread").len() == known {
                sim.sleep(Duration::from_millis(10)).await;
            }
            ends.push(sim.now() - start);
        }
        ends
    });
    let digits = log.lock().expect("one thread").clone();
    assert_eq!(digits, ["", "12", "34", "5678"]);
    let millis: Vec<u128> = ends.iter().map(Duration::as_millis).collect();
    // Nothing pressed: the first time-out. Two digits of 100 ms with 140 ms between: then the second.
    assert!((3_950..4_100).contains(&millis[0]), "{millis:?}");
    assert!((2_300..2_500).contains(&millis[1]), "{millis:?}");
    // The terminator and the fourth digit end it at once.
    assert!((550..750).contains(&millis[2]), "{millis:?}");
    assert!((780..1_050).contains(&millis[3]), "{millis:?}");
}
