//! Transfers in the simulator: as transferor, transferee and target (RFC 3515, RFC 3891).

use std::sync::{Arc, Mutex};

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::engine::Engine;
use sidetone::sip::header::Name;
use sidetone::sip::message::Message;
use sidetone_sim::peer::sip::call::{CallError as PeerError, End, SipCall};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{SECOND, serve};

type Diary = Arc<Mutex<Vec<String>>>;

fn write(diary: &Diary, line: impl Into<String>) {
    diary.lock().expect("one thread").push(line.into());
}

fn lines(diary: &Diary) -> Vec<String> {
    diary.lock().expect("one thread").clone()
}

fn status(message: &Message) -> u16 {
    message.status().map_or(0, |status| status.code())
}

fn text(message: &Message, name: Name<'static>) -> String {
    let header = message.header(name).expect("a header field");
    header.text().into_owned()
}

/// Tells how a referral goes.
async fn notify(call: &SipCall, state: &str, fragment: &str) -> u16 {
    let headers = [
        "Event: refer".to_owned(),
        format!("Subscription-State: {state}"),
    ];
    let answer = call.request(
        "NOTIFY",
        &headers,
        ("message/sipfrag;version=2.0", fragment),
    );
    status(&answer.await.expect("an answer"))
}

#[test]
fn a_blind_transfer_waits_for_what_the_party_tells() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.answer().await?;
            for _ in 0..4 {
                let went = call.transfer("sip:sales@192.0.2.77?Subject=x").await;
                write(&seen, format!("{went:?}"));
            }
            call.hang_up().await
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        // Not wanted.
        let refer = alice.next_request().await;
        assert_eq!(text(&refer, Name::ReferTo), "<sip:sales@192.0.2.77>");
        assert!(text(&refer, Name::ReferredBy).contains("@"));
        alice.respond(&refer, 603, &[]);
        // Followed, with news.
        let refer = alice.next_request().await;
        alice.respond(&refer, 202, &[]);
        assert_eq!(
            notify(&call, "active;expires=60", "SIP/2.0 180 Ringing\r\n").await,
            200
        );
        assert_eq!(notify(&call, "terminated", "SIP/2.0 200 OK\r\n").await, 200);
        // Followed in vain; then the news stop.
        let refer = alice.next_request().await;
        alice.respond(&refer, 202, &[]);
        assert_eq!(
            notify(&call, "terminated", "SIP/2.0 486 Busy Here\r\n").await,
            200
        );
        let refer = alice.next_request().await;
        alice.respond(&refer, 202, &[]);
        assert_eq!(notify(&call, "terminated;reason=timeout", "").await, 200);
        // News that nobody asked for.
        assert!(matches!(
            notify(&call, "active", "SIP/2.0 180 R\r\n").await,
            481
        ));
    });
    let refused = |status| format!("{:?}", Err::<(), _>(CallError::Refused(status)));
    let expected = [refused(603), "Ok(())".into(), refused(486), refused(408)];
    assert_eq!(lines(&diary), expected);
}

/// Bridges callers with `agent`, and follows the agent's transfers to `allowed` only.
fn serve_bridge(sim: &Sim, engine: &Engine, agent: String, allowed: String, diary: &Diary) {
    let seen = diary.clone();
    serve(sim, engine, move |caller| {
        let (agent, allowed, seen) = (agent.clone(), allowed.clone(), seen.clone());
        async move {
            caller.answer().await?;
            let room = caller.engine().room().await?;
            let agent = caller.engine().dial(&agent).await?;
            room.join(&caller).await?;
            room.join(&agent).await?;
            let mut followers = Vec::new();
            while let Some(event) = agent.next_event().await {
                match event {
                    CallEvent::TransferRequested(wish) if wish.target() == allowed => {
                        write(&seen, format!("by {:?}", wish.referred_by()));
                        followers.push(agent.accept_transfer().await?);
                    }
                    CallEvent::TransferRequested(wish) if wish.target().contains("ignored") => {}
                    CallEvent::TransferRequested(_) => agent.decline_transfer(403).await?,
                    CallEvent::Ended(end) => write(&seen, end.reason.to_string()),
                    _ => {}
                }
            }
            caller.ended().await.map(drop)
        }
    });
}

#[test]
fn a_transfer_that_is_not_wanted_is_declined() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [alice, bob, carol] =
        ["alice", "bob", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let diary = Diary::default();
    serve_bridge(&sim, &engine, bob.uri("bob"), carol.uri("carol"), &diary);
    sim.block_on(async {
        let dialling = sim.spawn({
            let alice = alice.clone();
            async move { alice.call("sip:100@engine").await.expect("an answer") }
        });
        let agent = bob.incoming().await.expect("media ports");
        agent.answer().await.expect("an ACK");
        let _caller = dialling.await;
        sim.sleep(SECOND).await;
        // To where it is not allowed, to nobody's attention, and to nowhere.
        for (to, expected) in [
            ("sip:premium@192.0.2.99", 403),
            ("sip:ignored@192.0.2.99", 603),
            ("sip:premium@192.0.2.99", 403),
            ("tel:+1900", 416),
        ] {
            let refer = [format!("Refer-To: <{to}>")];
            let answer = agent.request("REFER", &refer, ("", "")).await;
            let answer = answer.expect("an answer");
            assert_eq!(status(&answer), expected, "{to}");
        }
    });
    assert_eq!(carol.received("INVITE"), 0);
}

#[test]
fn an_agents_transfer_puts_a_third_party_in_its_place() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let [alice, bob, carol] =
        ["alice", "bob", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let diary = Diary::default();
    serve_bridge(&sim, &engine, bob.uri("bob"), carol.uri("carol"), &diary);
    sim.block_on(async {
        let dialling = sim.spawn({
            let alice = alice.clone();
            async move { alice.call("sip:100@engine").await.expect("an answer") }
        });
        let agent = bob.incoming().await.expect("media ports");
        agent.answer().await.expect("an ACK");
        let caller = dialling.await;
        sim.sleep(SECOND).await;
        let changes = alice.received("INVITE");
        let refer = [
            format!("Refer-To: <{}>", carol.uri("carol")),
            "Referred-By: <sip:bob@example.com>".to_owned(),
        ];
        let answer = agent.request("REFER", &refer, ("", "")).await;
        assert_eq!(status(&answer.expect("an answer")), 202);
        let third = carol.incoming().await.expect("media ports");
        let invite = third.invite().expect("an INVITE");
        assert_eq!(text(&invite, Name::ReferredBy), "<sip:bob@example.com>");
        third.ring(180);
        sim.sleep(SECOND).await;
        third.answer().await.expect("an ACK");
        for expected in ["SIP/2.0 100", "SIP/2.0 180", "SIP/2.0 200"] {
            let news = agent.next_request().await;
            assert!(news.body().starts_with(expected.as_bytes()), "{news:?}");
            let over = expected.ends_with("200");
            let state = text(&news, Name::SubscriptionState);
            assert_eq!(state.starts_with("terminated"), over, "{state}");
        }
        agent.hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND).await;
        // The caller hears the third party and the other way round, without a word of SIP.
        let voice = Sound::speech(7, SECOND * 2);
        let media = caller.media().clone();
        let hearing = sim.spawn(async move { media.hear_for(SECOND * 4).await });
        third.media().speak(&voice).await;
        assert!(hearing.await.find(&voice).is_some_and(|f| f.likeness > 0.9));
        assert_eq!(alice.received("INVITE"), changes);
        caller.hang_up().await.expect("an answer to BYE");
    });
    let by = "by Some(\"<sip:bob@example.com>\")";
    assert_eq!(lines(&diary), [by, "the other party hung up"]);
}

#[test]
fn an_attended_transfer_names_the_other_call() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let uri = bob.uri("bob");
    serve(&sim, &engine, move |call| {
        let uri = uri.clone();
        async move {
            call.answer().await?;
            let other = call.engine().dial(&uri).await?;
            call.transfer_to(&other).await?;
            call.hang_up().await
        }
    });
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let calling = sim.spawn({
            let alice = alice.clone();
            async move { alice.call("sip:100@engine").await.expect("an answer") }
        });
        let other = bob.incoming().await.expect("media ports");
        other.answer().await.expect("an ACK");
        let call = calling.await;
        let refer = alice.next_request().await;
        let target = refer.refer_to().expect("a value").expect("Refer-To");
        let replaces = target
            .uri()
            .header("Replaces")
            .expect("Replaces")
            .into_owned();
        let invite = other.invite().expect("an INVITE");
        let from = invite.from().expect("From");
        let from_tag = format!("from-tag={}", from.tag().expect("a tag"));
        assert!(replaces.starts_with(&other.call_id()), "{replaces}");
        assert!(replaces.contains(&from_tag), "{replaces}");
        assert!(
            target
                .uri()
                .to_string()
                .contains(&bob.address().to_string())
        );
        alice.respond(&refer, 202, &[]);
        assert_eq!(notify(&call, "terminated", "SIP/2.0 200 OK\r\n").await, 200);
        assert!(matches!(call.ended().await, End::Theirs { .. }));
    });
}

#[test]
fn a_caller_takes_the_place_of_another_where_it_may() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            let caller = call.caller().expect("a caller");
            match caller.replaces() {
                Some(_) if caller.to().contains("plain") => {
                    write(&seen, format!("{:?}", call.answer().await.is_err()));
                    return call.reject(403).await;
                }
                Some(_) => call.replace().await?,
                None => call.answer().await?,
            }
            let end = call.ended().await?;
            write(&seen, end.reason.to_string());
            Ok(())
        }
    });
    let [alice, carol] = ["alice", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    sim.block_on(async {
        let first = alice.call("sip:100@engine").await.expect("an answer");
        let ok = first.responses().pop().expect("the 200");
        let tag = |party: sidetone::sip::header::address::NameAddr| {
            party.tag().expect("a tag").to_owned()
        };
        let (to, from) = (tag(ok.to().expect("To")), tag(ok.from().expect("From")));
        let id = first.call_id();
        let dial = |replaces: String| Dial {
            headers: vec![format!("Replaces: {replaces}")],
            ..Dial::default()
        };
        let right = format!("{id};to-tag={to};from-tag={from}");
        for (uri, replaces, expected) in [
            (
                "sip:100@engine",
                format!("{id};to-tag={to};from-tag=x"),
                481,
            ),
            (
                "sip:100@engine",
                format!("other;to-tag={to};from-tag={from}"),
                481,
            ),
            ("sip:100@engine", format!("{right};early-only"), 486),
            ("sip:100@engine", "nonsense".to_owned(), 400),
            ("sip:plain@engine", right.clone(), 403),
        ] {
            let call = alice.dial(uri, dial(replaces.clone())).expect("a call");
            let refused = call.answered().await;
            assert_eq!(refused, Err(PeerError::Refused(expected)), "{replaces}");
        }
        let second = carol.dial("sip:100@engine", dial(right)).expect("a call");
        second.answered().await.expect("an answer");
        assert!(matches!(first.ended().await, End::Theirs { .. }));
        sim.sleep(SECOND).await;
        second.hang_up().await.expect("an answer to BYE");
        sim.sleep(SECOND).await;
    });
    let expected = [
        "true",
        "another call took its place",
        "the other party hung up",
    ];
    assert_eq!(lines(&diary), expected);
}
