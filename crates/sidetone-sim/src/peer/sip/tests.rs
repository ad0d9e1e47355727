//! Tests of the scripted user agent against itself.

use std::time::Duration;

use super::call::{CallError, End};
use super::*;
use crate::executor::JoinHandle;
use crate::network::link::{Link, Loss};
use crate::peer::offer::Direction;
use crate::peer::sound::Sound;
use crate::sim::Sim;

fn pair(sim: &Sim, transport: Transport) -> (SipPeer, SipPeer) {
    let profile = Profile {
        transport,
        ..Profile::default()
    };
    let open = |host| SipPeer::with_profile(sim, host, profile.clone()).expect("a peer");
    (open("alice"), open("bob"))
}

/// Bob answers one call after a second of ringing.
fn answer(sim: &Sim, bob: &SipPeer) -> JoinHandle<SipCall> {
    let (bob, handle) = (bob.clone(), sim.handle());
    sim.spawn(async move {
        let call = bob.incoming().await.expect("media ports");
        call.ring(180);
        handle.sleep(Duration::from_secs(1)).await;
        call.answer().await.expect("an ACK");
        call
    })
}

#[test]
fn a_call_carries_speech_both_ways_and_digits() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let sim = Sim::new(1);
        let (alice, bob) = pair(&sim, transport);
        let answering = answer(&sim, &bob);
        sim.block_on(async {
            let call = alice.call(&bob.uri("bob")).await.expect("an answer");
            call.expect(180).await.expect("it rang");
            let other = answering.await;
            let (mine, theirs) = (
                Sound::speech(1, Duration::from_secs(1)),
                Sound::speech(2, Duration::from_secs(1)),
            );
            call.media().say(&mine);
            other.media().say(&theirs);
            let window = Duration::from_secs(2);
            let heard = sim.spawn({
                let other = other.clone();
                async move { other.media().hear_for(window).await }
            });
            let back = call.media().hear_for(window).await;
            assert!(back.find(&theirs).is_some_and(|m| m.likeness > 0.99));
            assert!(heard.await.find(&mine).is_some_and(|m| m.likeness > 0.99));
            call.media().press("12#").await;
            let digits = other.media().digits();
            assert_eq!(digits.len(), 3, "{digits:?}");
            call.hang_up().await.expect("an answer to BYE");
            let reason = String::new();
            assert_eq!(other.ended().await, End::Theirs { reason });
        });
    }
}

#[test]
fn hold_stops_the_media_and_resume_brings_it_back() {
    let sim = Sim::new(1);
    let (alice, bob) = pair(&sim, Transport::Udp);
    let answering = answer(&sim, &bob);
    sim.block_on(async {
        let call = alice.call(&bob.uri("bob")).await.expect("an answer");
        let other = answering.await;
        let second = Duration::from_secs(1);
        for (direction, flows) in [(Direction::SendOnly, false), (Direction::SendReceive, true)] {
            let response = call.redirect_media(direction).await.expect("an answer");
            assert_eq!(response.status().map(|s| s.code()), Some(200));
            sim.sleep(second).await;
            let heard = call.media().hear_for(second).await;
            assert_eq!(heard.packets() > 0, flows, "{direction:?}");
        }
        other.hang_up().await.expect("an answer to BYE");
        assert!(matches!(call.ended().await, End::Theirs { .. }));
    });
}

#[test]
fn a_delayed_offer_is_answered_in_the_ack() {
    let sim = Sim::new(1);
    let (alice, bob) = pair(&sim, Transport::Udp);
    let answering = answer(&sim, &bob);
    sim.block_on(async {
        let dial = Dial {
            offer: false,
            ..Dial::default()
        };
        let call = alice.dial(&bob.uri("bob"), dial).expect("a call");
        call.answered().await.expect("an answer");
        let other = answering.await;
        let heard = other.media().hear_for(Duration::from_secs(1)).await;
        assert!(heard.packets() > 45);
        let heard = call.media().hear_for(Duration::from_secs(1)).await;
        assert!(heard.packets() > 45);
    });
}

#[test]
fn refused_cancelled_and_unanswered_calls_say_so() {
    let sim = Sim::new(1);
    let (alice, bob) = pair(&sim, Transport::Udp);
    let uri = bob.uri("bob");
    sim.block_on(async {
        let call = alice.dial(&uri, Dial::default()).expect("a call");
        let other = bob.incoming().await.expect("media ports");
        other.refuse(486);
        assert_eq!(call.answered().await, Err(CallError::Refused(486)));

        let call = alice.dial(&uri, Dial::default()).expect("a call");
        let other = bob.incoming().await.expect("media ports");
        other.ring(180);
        call.expect(180).await.expect("it rings");
        call.cancel();
        assert_eq!(call.answered().await, Err(CallError::Refused(487)));
        assert_eq!(other.ended().await, End::Cancelled);

        bob.die();
        let start = sim.now();
        let error = alice.call(&uri).await.map(|_| ());
        assert_eq!(error, Err(CallError::TimedOut));
        assert_eq!(sim.now() - start, Duration::from_secs(32));
    });
    // One INVITE for each of the first two calls, and seven until the third is given up.
    assert_eq!(alice.sent("INVITE"), 9);
}

#[test]
fn calls_come_about_on_a_bad_network() {
    let sim = Sim::new(11);
    let (alice, bob) = pair(&sim, Transport::Udp);
    let bad = Link::delay(Duration::from_millis(80))
        .jitter(Duration::from_millis(100))
        .loss(Loss::Random(0.3))
        .reorder(0.2, Duration::from_millis(200))
        .duplicate(0.2);
    sim.network().set_default_link(bad);
    for _ in 0..20 {
        let answering = answer(&sim, &bob);
        sim.block_on(async {
            let call = alice.call(&bob.uri("bob")).await.expect("an answer");
            let other = answering.await;
            call.hang_up().await.expect("an answer to BYE");
            assert!(matches!(other.ended().await, End::Theirs { .. }));
        });
    }
    assert!(alice.sent("INVITE") > 20);
}

#[test]
fn lost_messages_are_sent_again() {
    let sim = Sim::new(1);
    let (alice, bob) = pair(&sim, Transport::Udp);
    bob.drop_incoming(2);
    let answering = answer(&sim, &bob);
    sim.block_on(async {
        let call = alice.call(&bob.uri("bob")).await.expect("an answer");
        answering.await;
        call.hang_up().await.expect("an answer to BYE");
    });
    assert_eq!((alice.sent("INVITE"), bob.received("INVITE")), (3, 1));
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let run = |seed| {
        let sim = Sim::new(seed);
        let (alice, bob) = pair(&sim, Transport::Udp);
        let answering = answer(&sim, &bob);
        sim.block_on(async {
            let call = alice.call(&bob.uri("bob")).await.expect("an answer");
            answering.await;
            call.media().press("5").await;
            call.hang_up().await.expect("an answer to BYE");
        });
        let trace = sim.trace();
        (trace.text().to_owned(), trace.digest())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(1).0.contains("INVITE sip:bob@"));
}
