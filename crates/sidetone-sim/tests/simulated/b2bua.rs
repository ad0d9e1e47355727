//! Callers connected to others in the simulator: what goes through between the two, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use sidetone::b2bua::headers::HeaderRules;
use sidetone::b2bua::plan::{EarlyMedia, Plan, Policy, Target, Transfers};
use sidetone::engine::config::Config;
use sidetone::face::engine::Engine;
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;
use sidetone_sim::engine::Machine;
use sidetone_sim::network::link::{Link, Loss};
use sidetone_sim::peer::offer::Direction;
use sidetone_sim::peer::sip::call::{CallError as PeerError, End, SipCall};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::SECOND;

/// How descriptions travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Anchored,
    Passed,
}

const BOTH: [Media; 2] = [Media::Anchored, Media::Passed];

/// An engine that connects every caller by `plan`.
fn exchange(sim: &Sim, media: Media, plan: Plan) -> (Engine, Machine) {
    let mut config = Config::default();
    for listener in &mut config.listeners {
        listener.passes_media = media == Media::Passed;
    }
    sim.set_time_limit(600 * SECOND);
    let (engine, machine) = sim.machine("exchange", config).expect("an engine");
    let serving = engine.clone();
    sim.spawn(async move {
        let flow = move |caller: sidetone::face::call::Call| {
            let plan = plan.clone();
            async move { caller.connect(plan).await?.ended().await }
        };
        serving.serve(flow).await;
    });
    (engine, machine)
}

pub(crate) fn peer(sim: &Sim, name: &str) -> SipPeer {
    SipPeer::open(sim, name).expect("a peer")
}

pub(crate) fn to(peer: &SipPeer) -> Target {
    Target::new(&peer.uri(peer.host()))
}

fn dial(from: &SipPeer, headers: &[&str]) -> SipCall {
    let dial = Dial {
        headers: headers.iter().map(|row| (*row).to_owned()).collect(),
        ..Dial::default()
    };
    from.dial("sip:100@exchange", dial).expect("a call")
}

fn reason(message: &Message) -> Vec<String> {
    let rows = message.header_all(Name::Reason);
    rows.map(|row| row.text().into_owned()).collect()
}

/// The last request with this method that arrived at a peer.
fn received(peer: &SipPeer, method: &str) -> Message {
    let log = peer.log();
    let mut arrived = log.iter().rev().filter(|entry| !entry.sent);
    let found = arrived.find(|entry| entry.message.method().is_some_and(|m| m.as_str() == method));
    found.expect("such a request").message.clone()
}

/// Nothing is left of any call: every leg has ended, every port is back.
pub(crate) fn assert_clean(sim: &Sim, engine: &Engine) {
    sim.run_for(40 * SECOND);
    assert_eq!(engine.call_count(), 0, "calls are left");
    let engine = engine.clone();
    let report = sim
        .block_on(async move { engine.report().await })
        .expect("a report");
    assert_eq!(report.held.calls, 0, "{:?}", report.held);
    assert_eq!(
        report.held.free_ports, report.held.ports,
        "{:?}",
        report.held
    );
    assert_eq!(report.held.rooms, 0, "{:?}", report.held);
    assert_eq!(report.held.waiters, 0, "{:?}", report.held);
}

#[test]
fn what_the_target_says_reaches_the_caller_and_both_hear_each_other() {
    for media in BOTH {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let out = dial(&alice, &["Subject: hello", "X-Internal: secret"]);
            let inward = bob.incoming().await.expect("a call");
            // The target is dialled before anybody is answered, and nothing of the caller's way shows.
            let invite = inward.invite().expect("an INVITE");
            let text = String::from_utf8_lossy(invite.as_bytes()).into_owned();
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            assert!(!head.contains(&alice.address().ip().to_string()), "{head}");
            assert!(
                !head.contains("secret") && head.contains("Subject: hello"),
                "{head}"
            );
            assert!(!head.contains(&out.call_id()), "{head}");
            assert_eq!(invite.from().expect("From").uri().user(), Some("alice"));
            inward.ring(181);
            assert_eq!(out.expect(181).await.expect("ringing").body().len(), 0);
            inward.ring_with_media();
            assert!(!out.expect(183).await.expect("sound").body().is_empty());
            sim.sleep(SECOND).await;
            assert_eq!(out.end(), None, "{media:?}");
            inward.answer().await.expect("an ACK");
            out.answered().await.expect("an answer");
            inward.media().speak(&Sound::speech(2, SECOND)).await;
            let heard = out.media().hear_for(SECOND).await;
            assert!(!heard.is_silent(), "{media:?}: the caller hears nothing");
            out.media().speak(&Sound::speech(3, SECOND)).await;
            let heard = inward.media().hear_for(SECOND).await;
            assert!(!heard.is_silent(), "{media:?}: the target hears nothing");
            out.hang_up().await.expect("an answer to BYE");
            inward.ended().await;
        });
        assert_clean(&sim, &engine);
    }
}

#[test]
fn whoever_hangs_up_the_other_learns_why() {
    for (media, caller_first) in BOTH.into_iter().flat_map(|m| [(m, true), (m, false)]) {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let out = dial(&alice, &[]);
            let inward = bob.incoming().await.expect("a call");
            inward.answer().await.expect("an ACK");
            out.answered().await.expect("an answer");
            let (first, second) = if caller_first {
                (&out, &inward)
            } else {
                (&inward, &out)
            };
            let why = ["Reason: Q.850;cause=16;text=\"done\", SIP;cause=200".to_owned()];
            first
                .request("BYE", &why, ("", ""))
                .await
                .expect("an answer");
            let end = second.ended().await;
            let expected = "Q.850;cause=16;text=\"done\"";
            assert!(
                matches!(&end, End::Theirs { reason } if reason == expected),
                "{end:?}"
            );
        });
        let asked = if caller_first { &bob } else { &alice };
        assert_eq!(reason(&received(asked, "BYE")).len(), 2);
        assert_clean(&sim, &engine);
    }
}

#[test]
fn both_may_hang_up_at_once() {
    for media in BOTH {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let out = dial(&alice, &[]);
            let inward = bob.incoming().await.expect("a call");
            inward.answer().await.expect("an ACK");
            out.answered().await.expect("an answer");
            let [mine, theirs] = [out.clone(), inward.clone()]
                .map(|call| sim.spawn(async move { call.request("BYE", &[], ("", "")).await }));
            for answer in [mine.await, theirs.await] {
                let status = answer.expect("an answer").status().map(|s| s.code());
                assert_eq!(status, Some(200), "{media:?}");
            }
        });
        assert_clean(&sim, &engine);
    }
}

#[test]
fn a_refusal_goes_through_with_its_reason() {
    // What the target says, and what the caller is told.
    for (said, told) in [
        (486, 486),
        (404, 404),
        (603, 603),
        (407, 403),
        (503, 500),
        (302, 480),
    ] {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, Media::Anchored, Plan::to(to(&bob)));
        sim.block_on(async {
            let out = dial(&alice, &[]);
            let inward = bob.incoming().await.expect("a call");
            let rows = [
                "Reason: Q.850;cause=17".to_owned(),
                "Proxy-Authenticate: Digest realm=\"carrier\", nonce=\"1\"".to_owned(),
                "Contact: <sip:elsewhere@192.0.2.9>".to_owned(),
            ];
            inward.respond(said, false, &rows);
            assert_eq!(out.ended().await, End::Refused(told), "{said}");
            let refusal = out.responses().pop().expect("a response");
            assert_eq!(reason(&refusal), ["Q.850;cause=17"], "{said}");
            let leak = [Name::ProxyAuthenticate, Name::Contact];
            assert!(
                leak.into_iter().all(|name| refusal.header(name).is_none()),
                "{said}"
            );
        });
        assert_clean(&sim, &engine);
    }
}

#[test]
fn a_caller_that_gives_up_reaches_the_target_even_if_it_answers_meanwhile() {
    for (media, crossing) in BOTH.into_iter().flat_map(|m| [(m, false), (m, true)]) {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let out = dial(&alice, &[]);
            let inward = bob.incoming().await.expect("a call");
            inward.ring(180);
            out.expect(180).await.expect("ringing");
            out.cancel();
            if crossing {
                // The 200 is on its way when the CANCEL arrives.
                inward.respond(200, true, &[]);
            }
            assert_eq!(out.ended().await, End::Refused(487));
            let end = inward.ended().await;
            match crossing {
                true => assert!(matches!(end, End::Theirs { .. }), "{media:?}: {end:?}"),
                false => assert_eq!(end, End::Cancelled, "{media:?}"),
            }
        });
        assert!(bob.received("CANCEL") > 0 || crossing);
        assert_clean(&sim, &engine);
    }
}

#[test]
fn of_several_that_ring_the_first_gets_the_call() {
    for media in BOTH {
        let sim = Sim::seeded(1);
        let alice = peer(&sim, "alice");
        let desks = ["bob", "carol", "dave"].map(|name| peer(&sim, name));
        let (engine, _) = exchange(&sim, media, Plan::to_all(desks.iter().map(to)));
        sim.block_on(async {
            let out = dial(&alice, &[]);
            let mut inward = Vec::new();
            for desk in &desks {
                let call = desk.incoming().await.expect("a call");
                call.ring(180);
                inward.push(call);
            }
            inward[1].answer().await.expect("an ACK");
            out.answered().await.expect("an answer");
            assert_eq!(inward[0].ended().await, End::Cancelled);
            assert_eq!(inward[2].ended().await, End::Cancelled);
            inward[1].hang_up().await.expect("an answer");
            out.ended().await;
        });
        for loser in [&desks[0], &desks[2]] {
            let why = reason(&received(loser, "CANCEL"));
            assert_eq!(why, ["SIP;cause=200;text=\"Call completed elsewhere\""]);
        }
        assert_clean(&sim, &engine);
    }
}

#[test]
fn those_who_fail_or_do_not_answer_are_passed_over() {
    let sim = Sim::seeded(1);
    let alice = peer(&sim, "alice");
    let [bob, carol, dave] = ["bob", "carol", "dave"].map(|name| peer(&sim, name));
    let nobody = Target::new("sip:x@192.0.2.99");
    let plan = Plan::to(nobody)
        .then(to(&bob))
        .then(to(&carol))
        .within(10 * SECOND)
        .then(to(&dave));
    let (engine, _) = exchange(&sim, Media::Anchored, plan);
    sim.block_on(async {
        let out = dial(&alice, &[]);
        bob.incoming().await.expect("a call").refuse(503);
        let rings = carol.incoming().await.expect("a call");
        rings.ring(180);
        let last = dave.incoming().await.expect("a call");
        assert_eq!(rings.ended().await, End::Cancelled);
        last.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        out.hang_up().await.expect("an answer");
    });
    assert_eq!(bob.received("CANCEL"), 0);
    assert_clean(&sim, &engine);
}

#[test]
fn hold_keys_and_infos_go_through() {
    let sim = Sim::seeded(1);
    let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
    let (engine, _) = exchange(&sim, Media::Anchored, Plan::to(to(&bob)));
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let held = out
            .redirect_media(Direction::SendOnly)
            .await
            .expect("an answer");
        assert_eq!(held.status().map(|s| s.code()), Some(200));
        sim.sleep(SECOND).await;
        let described = inward.description().expect("a description");
        assert_eq!(
            described.direction,
            Direction::SendOnly,
            "the other is held too"
        );
        out.redirect_media(Direction::SendReceive)
            .await
            .expect("an answer");
        sim.sleep(SECOND).await;
        let described = inward.description().expect("a description");
        assert_eq!(described.direction, Direction::SendReceive);
        out.media().press("7").await;
        sim.sleep(SECOND).await;
        let digits = inward.media().digits();
        assert_eq!(digits.iter().map(|d| d.digit).collect::<String>(), "7");
        out.request("INFO", &[], ("application/x-ours", "hello"))
            .await
            .expect("an answer");
        let info = inward.next_request().await;
        assert_eq!(&info.body()[..], b"hello");
        inward.hang_up().await.expect("an answer");
        out.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn descriptions_that_are_passed_on_are_not_touched() {
    let sim = Sim::seeded(1);
    let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
    let (engine, machine) = exchange(&sim, Media::Passed, Plan::to(to(&bob)));
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        assert_eq!(received(&bob, "INVITE").body(), sent_invite(&alice).body());
        // A re-INVITE and its answer go through, a hold among them.
        let held = out
            .redirect_media(Direction::SendOnly)
            .await
            .expect("an answer");
        assert_eq!(held.status().map(|s| s.code()), Some(200));
        assert_eq!(received(&bob, "INVITE").body(), sent_invite(&alice).body());
        let described = inward.description().expect("a description");
        assert_eq!(described.direction, Direction::SendOnly);
        inward
            .redirect_media(Direction::SendReceive)
            .await
            .expect("an answer");
        inward.hang_up().await.expect("an answer");
        out.ended().await;
    });
    let report = sim
        .block_on(async { engine.report().await })
        .expect("a report");
    assert_eq!(report.held.free_ports, report.held.ports);
    assert_eq!(report.held.legs, 0);
    assert!(machine.workers().iter().all(|worker| worker.legs == 0));
    assert_clean(&sim, &engine);
}

fn sent_invite(peer: &SipPeer) -> Message {
    let log = peer.log();
    let mut sent = log.iter().rev().filter(|entry| entry.sent);
    let is_invite = |m: &Message| m.method().is_some_and(|m| m.as_str() == "INVITE");
    sent.find(|entry| is_invite(&entry.message))
        .expect("an INVITE")
        .message
        .clone()
}

#[test]
fn a_caller_without_an_offer_gets_one() {
    for media in BOTH {
        let sim = Sim::seeded(1);
        let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let late = Dial {
                offer: false,
                ..Dial::default()
            };
            let out = alice.dial("sip:100@exchange", late).expect("a call");
            let inward = bob.incoming().await.expect("a call");
            inward.answer().await.expect("an ACK");
            out.answered().await.expect("an answer");
            inward.media().speak(&Sound::speech(2, SECOND)).await;
            let heard = out.media().hear_for(SECOND).await;
            assert!(!heard.is_silent(), "{media:?}");
            out.hang_up().await.expect("an answer");
            inward.ended().await;
        });
        assert_clean(&sim, &engine);
    }
}

#[test]
fn loops_end() {
    let sim = Sim::seeded(1);
    let alice = peer(&sim, "alice");
    let (engine, _) = exchange(
        &sim,
        Media::Anchored,
        Plan::to(Target::new("sip:100@exchange:5060")),
    );
    let address = engine.listening()[0];
    let (straight, _) = {
        let plan = Plan::to(Target::new("sip:100@192.0.2.99"));
        let (engine, machine) = sim.machine("other", Config::default()).expect("an engine");
        let serving = engine.clone();
        sim.spawn(async move {
            let flow = move |caller: sidetone::face::call::Call| {
                let plan = plan.clone();
                let own = Plan::to(Target::new(&format!("sip:100@{address}")));
                let plan = if caller.caller().is_some() { own } else { plan };
                async move { caller.connect(plan).await?.ended().await }
            };
            serving.serve(flow).await;
        });
        (engine, machine)
    };
    sim.block_on(async {
        // By name it is found out hop by hop: each one takes one off Max-Forwards.
        let out = alice
            .dial("sip:100@exchange", Dial::default())
            .expect("a call");
        let end = out.ended().await;
        assert!(matches!(end, End::Refused(482 | 483)), "{end:?}");
    });
    drop(straight);
    assert_clean(&sim, &engine);
}

#[test]
fn rules_say_what_each_side_sees() {
    let sim = Sim::seeded(1);
    let (alice, bob) = (peer(&sim, "alice"), peer(&sim, "bob"));
    let mut policy = Policy::default();
    policy.to_target = HeaderRules::default()
        .strip("Subject")
        .and_then(|rules| rules.rename("X-Ticket", "X-Case"))
        .and_then(|rules| rules.set("X-Gateway", "west"))
        .expect("rules");
    policy.to_caller = HeaderRules::nothing().pass("X-Desk").expect("rules");
    policy.early_media = EarlyMedia::Ringing;
    let plan = Plan::to(to(&bob)).policy(Arc::new(policy));
    let (engine, _) = exchange(&sim, Media::Anchored, plan);
    sim.block_on(async {
        let out = dial(
            &alice,
            &["Subject: hello", "X-Ticket: 7", "X-Gateway: forged"],
        );
        let inward = bob.incoming().await.expect("a call");
        let invite = inward.invite().expect("an INVITE");
        let text = |name| {
            invite
                .header(Name::Other(name))
                .map(|h| h.text().into_owned())
        };
        assert_eq!(text("Subject"), None);
        assert_eq!(text("X-Case").as_deref(), Some("7"));
        assert_eq!(text("X-Gateway").as_deref(), Some("west"));
        inward.ring_with_media();
        assert!(out.expect(180).await.expect("ringing").body().is_empty());
        let rows = ["X-Desk: 5".to_owned(), "X-Other: 6".to_owned()];
        inward.respond(200, true, &rows);
        out.answered().await.expect("an answer");
        let answer = out.expect(200).await.expect("the 200");
        let row = |name| {
            answer
                .header(Name::Other(name))
                .map(|h| h.text().into_owned())
        };
        assert_eq!(row("X-Desk").as_deref(), Some("5"));
        assert_eq!(row("X-Other"), None);
        out.hang_up().await.expect("an answer");
        inward.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn a_transfer_goes_where_it_may_and_the_other_side_stays() {
    let sim = Sim::seeded(1);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| peer(&sim, name));
    let mut policy = Policy::default();
    policy.transfers = Transfers::Performed;
    policy.transfer_targets = vec![("carol".into(), carol.address().ip().to_string())];
    let plan = Plan::to(to(&bob)).policy(Arc::new(policy));
    let (engine, _) = exchange(&sim, Media::Anchored, plan);
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let refer = |target: String| vec![format!("Refer-To: <{target}>")];
        let premium = refer(format!("sip:0900@{}", carol.address()));
        let declined = inward
            .request("REFER", &premium, ("", ""))
            .await
            .expect("an answer");
        assert_eq!(declined.status().map(|s| s.code()), Some(603));
        let wanted = refer(carol.uri("carol"));
        let taken = inward
            .request("REFER", &wanted, ("", ""))
            .await
            .expect("an answer");
        assert_eq!(taken.status().map(|s| s.code()), Some(202));
        // The one who transfers hangs up before the other answers.
        let third = carol.incoming().await.expect("a call");
        inward.hang_up().await.expect("an answer");
        sim.sleep(SECOND).await;
        assert!(out.end().is_none(), "the caller stays");
        third.answer().await.expect("an ACK");
        third.media().speak(&Sound::speech(2, SECOND)).await;
        assert!(!out.media().hear_for(SECOND).await.is_silent());
        third.hang_up().await.expect("an answer");
        out.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn an_attended_transfer_joins_two_calls_of_the_engine() {
    let sim = Sim::seeded(1);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| peer(&sim, name));
    let mut policy = Policy::default();
    policy.transfers = Transfers::Performed;
    let policy = Arc::new(policy);
    let (engine, _) = sim
        .machine("exchange", Config::default())
        .expect("an engine");
    let serving = engine.clone();
    let places = [to(&bob), to(&carol)];
    sim.spawn(async move {
        let flow = move |caller: sidetone::face::call::Call| {
            let called = caller
                .caller()
                .map(|caller| caller.to())
                .unwrap_or_default();
            let place = places[usize::from(called.contains("carol"))].clone();
            let plan = Plan::to(place).policy(policy.clone());
            async move { caller.connect(plan).await?.ended().await }
        };
        serving.serve(flow).await;
    });
    sim.block_on(async {
        let call = |name: &str| alice.dial(&format!("sip:{name}@exchange"), Dial::default());
        let first = call("bob").expect("a call");
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        first.answered().await.expect("an answer");
        first
            .redirect_media(Direction::SendOnly)
            .await
            .expect("an answer");
        let second = call("carol").expect("a call");
        let third = carol.incoming().await.expect("a call");
        third.answer().await.expect("an ACK");
        second.answered().await.expect("an answer");
        // Alice connects Bob with Carol and is free.
        let answer = second.expect(200).await.expect("the 200");
        let contact = answer.contact().expect("Contact").uri().to_string();
        let theirs = answer.to().expect("To").tag().expect("a tag").to_owned();
        let own = answer
            .from()
            .expect("From")
            .tag()
            .expect("a tag")
            .to_owned();
        let refer_to = format!(
            "Refer-To: <{contact}?Replaces={}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{own}>",
            second.call_id().replace('@', "%40"),
        );
        let taken = first
            .request("REFER", &[refer_to], ("", ""))
            .await
            .expect("an answer");
        assert_eq!(taken.status().map(|s| s.code()), Some(202));
        let news = first.next_request().await;
        assert!(news.body().starts_with(b"SIP/2.0 200"), "{news:?}");
        second.ended().await;
        sim.sleep(SECOND).await;
        inward.media().speak(&Sound::speech(2, SECOND)).await;
        assert!(!third.media().hear_for(SECOND).await.is_silent());
        sim.sleep(6 * SECOND).await;
        assert!(
            first.end().is_some(),
            "it is hung up where it does not hang up itself"
        );
        third.media().speak(&Sound::speech(3, SECOND)).await;
        assert!(!inward.media().hear_for(SECOND).await.is_silent());
        third.hang_up().await.expect("an answer");
        inward.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn a_transfer_is_carried_to_the_other_side_where_descriptions_are_passed_on() {
    let sim = Sim::seeded(1);
    let [alice, bob] = ["alice", "bob"].map(|name| peer(&sim, name));
    let mut policy = Policy::default();
    policy.transfers = Transfers::Carried;
    let plan = Plan::to(to(&bob)).policy(Arc::new(policy));
    let (engine, _) = exchange(&sim, Media::Passed, plan);
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let accepting = async {
            let refer = alice.next_request().await;
            assert_eq!(refer.method().map(|m| m.as_str()), Some("REFER"));
            let target = refer.refer_to().expect("Refer-To").expect("Refer-To");
            assert_eq!(target.uri().as_str(), "sip:carol@192.0.2.77");
            assert_eq!(refer.call_id().ok(), Some(out.call_id().as_str()));
            alice.respond(&refer, 202, &[]);
        };
        let rows = ["Refer-To: <sip:carol@192.0.2.77>".to_owned()];
        let asking = inward.request("REFER", &rows, ("", ""));
        let ((), taken) = tokio::join!(accepting, asking);
        let status = taken.expect("an answer").status().map(|s| s.code());
        assert_eq!(status, Some(202));
        // How it went comes back the same way.
        let rows = [
            "Event: refer".to_owned(),
            "Subscription-State: terminated;reason=noresource".to_owned(),
        ];
        let news = ("message/sipfrag", "SIP/2.0 486 Busy Here\r\n");
        let told = out.request("NOTIFY", &rows, news).await.expect("an answer");
        assert_eq!(told.status().map(|s| s.code()), Some(200));
        let heard = inward.next_request().await;
        assert_eq!(heard.method().map(|m| m.as_str()), Some("NOTIFY"));
        assert_eq!(&heard.body()[..], news.1.as_bytes());
        out.hang_up().await.expect("an answer");
        inward.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn an_update_goes_through_where_descriptions_are_passed_on() {
    let sim = Sim::seeded(1);
    let [alice, bob] = ["alice", "bob"].map(|name| peer(&sim, name));
    let (engine, _) = exchange(&sim, Media::Passed, Plan::to(to(&bob)));
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let offer = "v=0\r\no=- 1 2 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 8\r\n";
        let answer = inward.request("UPDATE", &[], ("application/sdp", offer));
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status().map(|s| s.code()), Some(200));
        let update = out.next_request().await;
        assert_eq!(update.method().map(|m| m.as_str()), Some("UPDATE"));
        assert_eq!(&update.body()[..], offer.as_bytes());
        // One without a description keeps the session alive, which is between the two of them.
        let answer = inward.request("UPDATE", &[], ("", "")).await;
        let status = answer.expect("an answer").status().map(|s| s.code());
        assert_eq!(status, Some(200));
        out.hang_up().await.expect("an answer");
        inward.ended().await;
    });
    assert_eq!(alice.received("UPDATE"), 1);
    assert_clean(&sim, &engine);
}

/// The formats of the audio line of a description.
fn formats(description: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(description).into_owned();
    let line = text.lines().find(|line| line.starts_with("m=audio"));
    let formats = line.expect("an audio line").split(' ').skip(3);
    formats.map(str::to_owned).collect()
}

#[test]
fn each_side_has_the_codecs_that_the_policy_allows_it() {
    let sim = Sim::seeded(1);
    let [alice, bob] = ["alice", "bob"].map(|name| peer(&sim, name));
    let mut policy = Policy::default();
    policy.caller_codecs = Some(vec!["PCMA".into()]);
    policy.target_codecs = Some(vec!["PCMU".into()]);
    let plan = Plan::to(to(&bob)).policy(Arc::new(policy));
    let (engine, _) = exchange(&sim, Media::Anchored, plan);
    sim.block_on(async {
        let out = dial(&alice, &[]);
        let inward = bob.incoming().await.expect("a call");
        let offered = formats(&inward.invite().expect("an INVITE").description());
        assert!(
            offered.contains(&"0".into()) && !offered.contains(&"8".into()),
            "{offered:?}"
        );
        inward.answer().await.expect("an ACK");
        out.answered().await.expect("an answer");
        let answered = formats(&out.expect(200).await.expect("the 200").description());
        assert!(
            answered.contains(&"8".into()) && !answered.contains(&"0".into()),
            "{answered:?}"
        );
        // Converted on the way.
        inward.media().speak(&Sound::speech(2, SECOND)).await;
        assert!(!out.media().hear_for(SECOND).await.is_silent());
        out.hang_up().await.expect("an answer");
        inward.ended().await;
    });
    assert_clean(&sim, &engine);
}

#[test]
fn what_a_caller_wants_kept_is_kept_or_the_call_fails() {
    for media in BOTH {
        let sim = Sim::seeded(1);
        let [alice, bob] = ["alice", "bob"].map(|name| peer(&sim, name));
        let (engine, _) = exchange(&sim, media, Plan::to(to(&bob)));
        sim.block_on(async {
            let rows = ["Privacy: user;header;id;critical", "Subject: my divorce"];
            let out = dial(&alice, &rows);
            let inward = bob.incoming().await.expect("a call");
            let invite = inward.invite().expect("an INVITE");
            let from = invite.from().expect("From");
            assert_eq!(from.uri().as_str(), "sip:anonymous@anonymous.invalid");
            assert_eq!(from.display_name().as_deref(), Some("Anonymous"));
            let text = String::from_utf8_lossy(invite.as_bytes()).into_owned();
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            assert!(
                !head.contains("alice") && !head.contains("divorce"),
                "{head}"
            );
            // What has been done is not asked of others again.
            assert_eq!(invite.privacy().expect("Privacy").to_string(), "id");
            out.cancel();
            inward.ended().await;
            // Nobody here knows what that would be; and media that is passed on shows where it is from.
            for (wish, fails) in [
                ("x-invisible;critical", true),
                ("x-invisible", false),
                ("session;critical", media == Media::Passed),
                ("none;session;critical", false),
            ] {
                let out = dial(&alice, &[&format!("Privacy: {wish}")]);
                if fails {
                    assert_eq!(out.ended().await, End::Refused(500), "{wish}");
                    continue;
                }
                let inward = bob.incoming().await.expect("a call");
                out.cancel();
                inward.ended().await;
            }
        });
        assert_clean(&sim, &engine);
    }
}

/// Calls of every kind over a bad network, each of which ends somehow.
fn soak(seed: u64, media: Media, calls: u32) {
    let sim = Sim::seeded(seed);
    let bad = Link::delay(Duration::from_millis(30)).loss(Loss::Random(0.05));
    sim.network().set_default_link(bad);
    let alice = peer(&sim, "alice");
    let desks = ["bob", "carol"].map(|name| peer(&sim, name));
    let plan = Plan::to_all(desks.iter().map(to))
        .within(4 * SECOND)
        .then(to(&desks[0]))
        .within(4 * SECOND)
        .hunting();
    let (engine, _) = exchange(&sim, media, plan);
    for (index, desk) in desks.iter().enumerate() {
        let (desk, handle) = (desk.clone(), sim.handle());
        let mut rng = sidetone::rng::Rng::new(seed + index as u64);
        sim.spawn(async move {
            loop {
                let Ok(call) = desk.incoming().await else {
                    return;
                };
                let choice = rng.below(8);
                let pause = Duration::from_millis(rng.below(3_000));
                let sleeper = handle.clone();
                handle.spawn(async move {
                    if choice < 6 {
                        call.ring(180);
                    }
                    sleeper.sleep(pause).await;
                    match choice {
                        0 => call.refuse(486),
                        1 => call.refuse(503),
                        2 => {}
                        _ => {
                            if call.answer().await.is_ok() {
                                sleeper.sleep(pause).await;
                                // Whoever is first.
                                let _over = call.hang_up().await;
                            }
                        }
                    }
                });
            }
        });
    }
    let mut rng = sidetone::rng::Rng::new(seed ^ 77);
    sim.block_on(async {
        let mut open = Vec::new();
        for _ in 0..calls {
            let call = dial(&alice, &[]);
            let pause = Duration::from_millis(rng.below(6_000));
            let (handle, choice) = (sim.handle(), rng.below(4));
            open.push(sim.spawn(async move {
                handle.sleep(pause).await;
                match choice {
                    0 => call.cancel(),
                    1 => {
                        // Whoever is first.
                        let _over = call.hang_up().await;
                    }
                    _ => {}
                }
                handle.timeout(Duration::from_secs(60), call.ended()).await
            }));
            sim.sleep(Duration::from_millis(rng.below(200))).await;
        }
        for call in open {
            call.await;
        }
    });
    assert_clean(&sim, &engine);
}

#[test]
fn random_calls_over_a_bad_network_leave_nothing_behind() {
    for seed in 1..=3 {
        soak(seed, Media::Passed, 60);
        soak(seed, Media::Anchored, 15);
    }
}

#[test]
fn a_caller_refused_hears_of_it_though_the_flow_fails() {
    let sim = Sim::seeded(1);
    let alice = peer(&sim, "alice");
    let (engine, _) = exchange(&sim, Media::Anchored, Plan::to_all([]));
    sim.block_on(async {
        let failed = alice.call("sip:100@exchange").await;
        assert!(matches!(failed, Err(PeerError::Refused(480))), "{failed:?}");
    });
    assert_clean(&sim, &engine);
}
