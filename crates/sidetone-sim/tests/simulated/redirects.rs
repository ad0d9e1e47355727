//! Redirections in the simulator: followed under a policy, and sent.

use sidetone::call::cause::EndReason;
use sidetone::call::details::Details;
use sidetone::call::redirect::{RedirectPolicy, Telling};
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::sip::header::history::Origin;
use sidetone_sim::peer::sip::SipPeer;
use sidetone_sim::peer::sip::call::SipCall;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

fn peers<const N: usize>(sim: &Sim, hosts: [&str; N]) -> [SipPeer; N] {
    hosts.map(|host| SipPeer::open(sim, host).expect("a peer"))
}

/// A policy that lets these peers be called.
fn to(peers: &[&SipPeer]) -> RedirectPolicy {
    RedirectPolicy::to_hosts(peers.iter().map(|peer| peer.address().ip().to_string()))
}

fn contacts(contacts: &[String]) -> Vec<String> {
    let row = |contact: &String| format!("Contact: {contact}");
    contacts.iter().map(row).collect()
}

/// The next call that a peer gets is sent elsewhere.
async fn send_on(peer: &SipPeer, status: u16, to: &[String]) -> SipCall {
    let call = peer.incoming().await.expect("media ports");
    call.respond(status, false, &contacts(to));
    call
}

async fn redirected(call: &Call) -> Vec<String> {
    let mut targets = Vec::new();
    while let Some(event) = call.next_event().await {
        match event {
            CallEvent::Redirected { target } => targets.push(target),
            CallEvent::Answered => return targets,
            _ => {}
        }
    }
    targets
}

#[test]
fn a_redirection_is_followed_and_told_to_the_next() {
    for lost in [0, 1] {
        let sim = Sim::seeded(1);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let [bob, carol, dave] = peers(&sim, ["bob", "carol", "dave"]);
        sim.block_on(async {
            let policy = to(&[&carol, &dave]).telling(Telling::Both);
            let call = engine.dial(&bob.uri("bob")).redirects(policy);
            let call = call.start().await.expect("a way");
            bob.drop_outgoing(lost);
            // The better one first; strangers, numbers and the sender itself not at all.
            send_on(
                &bob,
                302,
                &[
                    format!("<{}>;q=0.5", dave.uri("dave")),
                    "<sip:+1900@192.0.2.99>;q=1.0".to_owned(),
                    "<tel:+1900>".to_owned(),
                    format!("<{}>;q=1", bob.uri("bob")),
                    format!("\"Carol\" <{}?Subject=x>;q=0.7", carol.uri("carol")),
                ],
            )
            .await;
            let busy = carol.incoming().await.expect("media ports");
            let invite = busy.invite().expect("an INVITE");
            assert_eq!(invite.to().expect("To").uri().as_str(), bob.uri("bob"));
            let history: Vec<_> = invite.history().filter_map(Result::ok).collect();
            assert_eq!(history.len(), 2);
            assert_eq!(history[0].uri().as_str(), bob.uri("bob"));
            assert_eq!(history[0].reasons()[0].cause(), Some(302));
            assert_eq!(
                (history[1].index(), history[1].uri().as_str()),
                ("1.1", carol.uri("carol").as_str())
            );
            assert_eq!(history[1].origin(), Some(Origin::Mapped("1".into())));
            let diversion = invite
                .diversions()
                .next()
                .expect("a diversion")
                .expect("a value");
            assert_eq!(diversion.address().uri().as_str(), bob.uri("bob"));
            assert!(
                invite
                    .header(sidetone::sip::header::Name::Subject)
                    .is_none()
            );
            busy.refuse(486);
            let last = dave.incoming().await.expect("media ports");
            let invite = last.invite().expect("an INVITE");
            let history: Vec<_> = invite.history().filter_map(Result::ok).collect();
            let indices: Vec<_> = history.iter().map(|entry| entry.index()).collect();
            assert_eq!(indices, ["1", "1.1", "1.2"]);
            assert_eq!(history[1].reasons()[0].cause(), Some(486));
            assert_eq!(invite.diversions().count(), 1);
            last.answer().await.expect("an ACK");
            assert_eq!(
                redirected(&call).await,
                [carol.uri("carol"), dave.uri("dave")]
            );
            sim.sleep(SECOND).await;
            call.hang_up().await.expect("hung up");
            last.ended().await;
        });
        assert_eq!(engine.call_count(), 0);
    }
}

#[test]
fn nothing_is_followed_unless_it_is_allowed() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [bob, carol] = peers(&sim, ["bob", "carol"]);
    sim.block_on(async {
        let refused = |status| Err::<(), _>(CallError::Ended(EndReason::Refused(status)));
        // By default; to a host that is not named; with another host hidden behind the name.
        let hidden = format!("<sip:x@{};maddr=192.0.2.99>", carol.address().ip());
        for (policy, target) in [
            (None, format!("<{}>", carol.uri("carol"))),
            (Some(to(&[&bob])), format!("<{}>", carol.uri("carol"))),
            (Some(to(&[&carol])), hidden),
            (Some(to(&[&carol])), "<sips:x@carol>".to_owned()),
        ] {
            let mut dial = engine.dial(&bob.uri("bob"));
            if let Some(policy) = policy {
                dial = dial.redirects(policy);
            }
            let call = dial.start().await.expect("a way");
            send_on(&bob, 302, &[target]).await;
            assert_eq!(call.answered().await, refused(302));
        }
    });
    assert_eq!(carol.received("INVITE"), 0);
}

#[test]
fn loops_and_long_ways_end() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [bob, carol] = peers(&sim, ["bob", "carol"]);
    let serve = |peer: &SipPeer, uri: Box<dyn Fn(usize) -> String>| {
        let peer = peer.clone();
        sim.spawn(async move {
            for number in 0.. {
                send_on(&peer, 302, &[format!("<{}>", uri(number))]).await;
            }
        });
    };
    let (there, back) = (carol.uri("carol"), bob.uri("bob"));
    serve(&bob, Box::new(move |_| there.clone()));
    serve(&carol, Box::new(move |_| back.clone()));
    sim.block_on(async {
        let policy = to(&[&bob, &carol]);
        let call = engine.dial(&bob.uri("bob")).redirects(policy).start().await;
        let ended = call.expect("a way").answered().await;
        assert_eq!(ended, Err(CallError::Ended(EndReason::Refused(302))));
        assert_eq!((bob.received("INVITE"), carol.received("INVITE")), (1, 1));
    });
    // Always to somebody new.
    let [eve] = peers(&sim, ["eve"]);
    let host = eve.address();
    serve(&eve, Box::new(move |number| format!("sip:{number}@{host}")));
    sim.block_on(async {
        let policy = to(&[&eve]);
        let hops = usize::from(policy.max_hops);
        let call = engine.dial(&eve.uri("eve")).redirects(policy).start().await;
        let ended = call.expect("a way").answered().await;
        assert_eq!(ended, Err(CallError::Ended(EndReason::Refused(302))));
        assert_eq!(eve.received("INVITE"), 1 + hops);
    });
}

#[test]
fn each_target_of_a_redirection_rings_for_its_own_time() {
    let sim = Sim::seeded(1);
    let mut config = Config::default();
    config.ring_timeout = 20 * SECOND;
    let engine = sim.engine("engine", config).expect("an engine");
    let [bob, carol, dave] = peers(&sim, ["bob", "carol", "dave"]);
    sim.block_on(async {
        let dial = engine.dial(&bob.uri("bob"));
        let call = dial.redirects(to(&[&carol, &dave])).start().await;
        let call = call.expect("a way");
        let incoming = bob.incoming().await.expect("media ports");
        incoming.ring(180);
        sim.sleep(SECOND * 15).await;
        let others = [
            format!("<{}>;q=0.9", carol.uri("carol")),
            format!("<{}>;q=0.1", dave.uri("dave")),
        ];
        incoming.respond(302, false, &contacts(&others));
        // Nobody is there; she rings for all of her 20 s, and the next one after her.
        let ringing = carol.incoming().await.expect("media ports");
        ringing.ring(180);
        sim.sleep(SECOND * 15).await;
        assert_eq!(dave.received("INVITE"), 0);
        let answering = dave.incoming().await.expect("media ports");
        answering.answer().await.expect("an ACK");
        call.answered().await.expect("an answer");
        call.hang_up().await.expect("up");
        sim.sleep(SECOND * 40).await;
    });
    assert_eq!(carol.received("CANCEL"), 1);
    assert_eq!(engine.call_count(), 0);
}

#[test]
fn a_caller_who_gives_up_is_not_called_on_for() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [bob, carol] = peers(&sim, ["bob", "carol"]);
    sim.block_on(async {
        let dial = engine.dial(&bob.uri("bob")).redirects(to(&[&carol]));
        let call = dial.start().await.expect("a way");
        let incoming = bob.incoming().await.expect("media ports");
        call.hang_up().await.expect("given up");
        incoming.respond(
            302,
            false,
            &contacts(&[format!("<{}>", carol.uri("carol"))]),
        );
        sim.sleep(SECOND * 40).await;
    });
    assert_eq!(carol.received("INVITE"), 0);
    assert_eq!(engine.call_count(), 0);
}

#[test]
fn a_caller_is_sent_elsewhere() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [alice] = peers(&sim, ["alice"]);
    let served = engine.clone();
    sim.spawn(async move {
        served
            .serve(|call| async move {
                for (status, targets) in [
                    (200, &["sip:a@b"][..]),
                    (302, &[]),
                    (302, &["sip:a@b>\r\nEvil: x"]),
                ] {
                    let refused = call.redirect(status, targets).await;
                    assert!(matches!(refused, Err(CallError::Invalid(_))));
                }
                let diverted = "<sip:100@engine.example>;reason=time-of-day";
                let details = Details {
                    diversions: sidetone::sip::header::diversion::Diversion::parse(diverted)
                        .into_iter()
                        .collect(),
                    ..Details::default()
                };
                call.set_details(details).await?;
                call.redirect(302, &["sip:night@pbx.example", "tel:+4930"])
                    .await
            })
            .await;
    });
    sim.block_on(async {
        // The redirection is lost once, and repeated.
        let call = alice.dial("sip:100@engine", sidetone_sim::peer::sip::Dial::default());
        let call = call.expect("a way");
        alice.drop_incoming(2);
        call.ended().await;
        let answer = call.responses().pop().expect("a response");
        let status = answer.status().map(|status| status.code());
        assert_eq!(status, Some(302));
        let contacts: Vec<_> = answer.contacts().filter_map(Result::ok).collect();
        assert_eq!(contacts[0].uri().as_str(), "sip:night@pbx.example");
        assert_eq!(contacts[1].uri().as_str(), "tel:+4930");
        let q = |index: usize| contacts[index].param("q").map(|q| q.into_owned());
        assert!(q(0) > q(1));
        assert_eq!(answer.diversions().count(), 1);
        sim.sleep(SECOND).await;
    });
    assert_eq!(engine.call_count(), 0);
}
