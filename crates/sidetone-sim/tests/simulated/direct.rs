//! Third-party call control in the simulator (RFC 3725): the engine signals, media flows between the
//! parties.

use std::time::Duration;

use sidetone::engine::config::Config;
use sidetone::engine::event::CallError;
use sidetone::face::call::Call;
use sidetone::face::engine::Engine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::sip::call::{End, SipCall};
use sidetone_sim::peer::sip::{Profile, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

/// Calls a party without media, which answers after it has rung as long as a person takes.
async fn call(sim: &Sim, engine: &Engine, peer: &SipPeer) -> (Call, SipCall) {
    let answering = sim.spawn({
        let (peer, handle) = (peer.clone(), sim.handle());
        async move {
            let call = peer.incoming().await.expect("media ports");
            call.ring(180);
            handle.sleep(SECOND * 20).await;
            call.answer().await.expect("an ACK");
            call
        }
    });
    let call = engine.dial(&peer.uri("party")).without_media().await;
    (call.expect("an answer"), answering.await)
}

/// Whether `to` hears what `from` says.
async fn hears(sim: &Sim, from: &SipCall, to: &SipCall) -> bool {
    let voice = Sound::speech(7, SECOND * 2);
    let media = to.media().clone();
    let hearing = sim.spawn(async move { media.hear_for(SECOND * 4).await });
    from.media().speak(&voice).await;
    let found = hearing.await.find(&voice);
    found.is_some_and(|found| found.likeness > 0.9)
}

async fn change(call: &SipCall, direction: Direction) {
    let answer = call.redirect_media(direction).await.expect("an answer");
    assert!(answer.status().is_some_and(|status| status.is_success()));
}

#[test]
fn two_parties_are_connected_and_media_flows_between_them() {
    for loss in [0.0, 0.2] {
        let sim = Sim::seeded(3);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let [alice, bob, carol] =
            ["alice", "bob", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
        sim.block_on(async {
            let bad = Link::delay(Duration::from_millis(20)).loss(Loss::Random(loss));
            sim.network().set_default_link(bad);
            let (first, desk) = call(&sim, &engine, &alice).await;
            let (second, customer) = call(&sim, &engine, &bob).await;
            let offer = desk.invite().expect("an INVITE").body();
            assert!(offer.is_empty(), "an offer of ours");
            assert!(first.hold().await.is_err() && first.bridge(&second).await.is_err());
            let connected = first.connect_directly(&second).await;
            connected.expect("agreement");
            sim.sleep(SECOND).await;
            let good = Link::delay(Duration::from_millis(20));
            sim.network().set_default_link(good);
            assert!(hears(&sim, &desk, &customer).await);
            assert!(hears(&sim, &customer, &desk).await);
            // One party's change is the other's.
            change(&customer, Direction::SendOnly).await;
            let shown = desk.description().expect("a description").direction;
            assert_eq!(shown, Direction::SendOnly);
            change(&customer, Direction::SendReceive).await;
            // Another party takes the customer's place.
            let (third, other) = call(&sim, &engine, &carol).await;
            first.connect_directly(&third).await.expect("agreement");
            sim.sleep(SECOND).await;
            assert!(hears(&sim, &other, &desk).await);
            customer.hang_up().await.expect("an answer to BYE");
            other.hang_up().await.expect("an answer to BYE");
            third.ended().await.expect("an end");
            let late = first.connect_directly(&third).await;
            assert!(matches!(late, Err(CallError::Ended(_) | CallError::Gone)));
            first.hang_up().await.expect("hung up");
            assert!(matches!(desk.ended().await, End::Theirs { .. }));
            sim.sleep(SECOND * 2).await;
        });
        assert_eq!(engine.call_count(), 0);
    }
}

#[test]
fn parties_that_cannot_agree_stay_up() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    let profile = Profile {
        automatic: false,
        ..Profile::default()
    };
    let bob = SipPeer::with_profile(&sim, "bob", profile).expect("a peer");
    sim.block_on(async {
        let (first, desk) = call(&sim, &engine, &alice).await;
        let (second, _customer) = call(&sim, &engine, &bob).await;
        sim.spawn({
            let bob = bob.clone();
            async move {
                for status in [488, 200] {
                    let request = bob.next_request().await;
                    bob.respond(&request, status, &[]);
                }
            }
        });
        let refused = first.connect_directly(&second).await;
        assert_eq!(refused, Err(CallError::Refused(488)));
        assert_eq!(desk.end(), None);
        second.hang_up().await.expect("hung up");
        first.hang_up().await.expect("hung up");
        assert!(matches!(desk.ended().await, End::Theirs { .. }));
        sim.sleep(SECOND * 40).await;
    });
    assert_eq!(engine.call_count(), 0);
}
