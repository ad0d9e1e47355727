//! What calls say beside who calls whom, in the simulator: identities and trust, reasons, the session's
//! identifier, early media, joins.

use std::sync::{Arc, Mutex};

use sidetone::call::details::Details;
use sidetone::call::early::EarlyMediaPolicy;
use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::sip::header::Name;
use sidetone::sip::header::early_media::{EarlyMedia, Flow};
use sidetone::sip::header::privacy::Privacy;
use sidetone::sip::header::reason::Reason;
use sidetone::sip::header::session_id::SessionUuid;
use sidetone::sip::message::Message;
use sidetone::sip::transport::trust::TrustDomain;
use sidetone_sim::peer::sip::call::End;
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::sim::Sim;

use crate::stage::{SECOND, serve};

type Diary = Arc<Mutex<Vec<String>>>;

fn write(diary: &Diary, line: impl Into<String>) {
    diary.lock().expect("one thread").push(line.into());
}

fn lines(diary: &Diary) -> Vec<String> {
    diary.lock().expect("one thread").clone()
}

fn text(message: &Message, name: Name<'static>) -> Option<String> {
    Some(message.header(name)?.text().into_owned())
}

fn dial(headers: &[&str]) -> Dial {
    Dial {
        headers: headers.iter().map(|line| (*line).to_owned()).collect(),
        ..Dial::default()
    }
}

/// The trust domain that holds only this peer.
fn trusting(peer: &SipPeer) -> Config {
    let network = format!("{}/32", peer.address().ip());
    let mut config = Config::default();
    config.trust = TrustDomain::default().network(network.parse().expect("a network"));
    config
}

/// The last request of this method that a peer got.
fn last(peer: &SipPeer, method: &str) -> Message {
    let arrived = peer.log().into_iter().rev().filter(|entry| !entry.sent);
    let mut found = arrived.filter(|entry| {
        let got = entry.message.method();
        got.is_some_and(|got| got.as_str() == method)
    });
    found.next().expect("a request").message
}

#[test]
fn only_the_trust_domain_asserts_and_is_told_identities() {
    let sim = Sim::seeded(1);
    let [alice, mallory] =
        ["alice", "mallory"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let engine = sim.engine("engine", trusting(&alice)).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            let caller = call.caller().expect("a caller");
            let details = caller.details();
            let raw = caller.invite().header(Name::PAssertedIdentity).is_some();
            write(
                &seen,
                format!(
                    "{} {:?} {} {}",
                    caller.is_trusted(),
                    details.asserted,
                    details.privacy,
                    raw
                ),
            );
            let answers = Details {
                asserted: vec!["<sip:100@engine.example>".parse().expect("an address")],
                call_info: details.call_info.clone(),
                ..Details::default()
            };
            call.set_details(answers).await?;
            call.ring().await?;
            call.answer().await?;
            call.ended().await.map(drop)
        }
    });
    sim.block_on(async {
        for (peer, told) in [(&alice, true), (&mallory, false)] {
            // The ringing is lost once, the answer repeated.
            peer.drop_incoming(2);
            let call = peer
                .dial(
                    "sip:100@engine",
                    dial(&[
                        "P-Asserted-Identity: <sip:ceo@bank.example>",
                        "Privacy: id",
                        "Call-Info: <http://bank.example/x>;purpose=card",
                    ]),
                )
                .expect("a way");
            call.answered().await.expect("an answer");
            let answer = call.expect(200).await.expect("200");
            assert_eq!(text(&answer, Name::PAssertedIdentity).is_some(), told);
            assert_eq!(
                text(&answer, Name::CallInfo).as_deref(),
                Some("<http://bank.example/x>;purpose=card")
            );
            call.hang_up().await.expect("an answer to BYE");
        }
    });
    let expected = [
        "true [NameAddr(\"<sip:ceo@bank.example>\")] id true",
        "false [] id false",
    ];
    assert_eq!(lines(&diary), expected);
}

#[test]
fn identities_leave_for_the_trust_domain_only() {
    let sim = Sim::seeded(1);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let details = Details {
        asserted: vec![
            "\"Alice\" <sip:+4930@carrier.example>"
                .parse()
                .expect("an address"),
            "<tel:+4930>".parse().expect("an address"),
        ],
        privacy: Privacy::ID,
        early_media: Some(EarlyMedia::SUPPORTED),
        ..Details::default()
    };
    sim.block_on(async {
        for trusted in [false, true] {
            let dial = engine
                .dial(&bob.uri("bob"))
                .details(details.clone())
                .header("P-Preferred-Identity", "<sip:x@y>")
                .trusted(trusted);
            let call = dial.start().await.expect("a way");
            let incoming = bob.incoming().await.expect("media ports");
            let invite = incoming.invite().expect("an INVITE");
            for name in [
                Name::PAssertedIdentity,
                Name::PPreferredIdentity,
                Name::PEarlyMedia,
            ] {
                assert_eq!(invite.header(name).is_some(), trusted, "{name}");
            }
            assert_eq!(
                invite.asserted_identities().count(),
                2 * usize::from(trusted)
            );
            assert_eq!(text(&invite, Name::Privacy).as_deref(), Some("id"));
            let from = invite.from().expect("From");
            assert_eq!(from.uri().as_str(), "sip:anonymous@anonymous.invalid");
            call.hang_up().await.expect("given up");
            assert!(matches!(incoming.ended().await, End::Cancelled));
        }
        let two = Details {
            asserted: vec!["<sip:a@b>".parse().expect("an address"); 2],
            ..Details::default()
        };
        let refused = engine.dial(&bob.uri("bob")).details(two).start().await;
        assert!(matches!(refused, Err(CallError::Invalid(_))));
    });
}

#[test]
fn answers_of_a_dialled_party_tell_their_details() {
    let sim = Sim::seeded(1);
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let engine = sim.engine("engine", trusting(&bob)).expect("an engine");
    sim.block_on(async {
        let call = engine.dial(&bob.uri("bob")).start().await.expect("a way");
        let incoming = bob.incoming().await.expect("media ports");
        let ringing = ["Alert-Info: <urn:alert:service:call-waiting>".to_owned()];
        incoming.respond(180, false, &ringing);
        let identity = [
            "P-Asserted-Identity: \"Bob\" <sip:bob@carrier.example>".to_owned(),
            "User-to-User: 0401;encoding=hex".to_owned(),
        ];
        incoming.respond(200, true, &identity);
        let mut told = Vec::new();
        while told.len() < 2 {
            match call.next_event().await.expect("the call goes on") {
                CallEvent::Details(details) => told.push(details),
                CallEvent::Answered => panic!("the answer came before its details"),
                _ => {}
            }
        }
        assert_eq!(
            told[0].alert_info[0].uri().as_str(),
            "urn:alert:service:call-waiting"
        );
        assert_eq!(told[1].asserted[0].display_name().as_deref(), Some("Bob"));
        assert_eq!(told[1].user_to_user[0].data(), [4, 1]);
        call.answered().await.expect("an answer");
    });
}

#[test]
fn reasons_go_with_whatever_ends_a_call() {
    let sim = Sim::seeded(1);
    let [alice, bob] = ["alice", "bob"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| {
        let seen = seen.clone();
        async move {
            call.ring().await?;
            let end = call.ended().await?;
            let elsewhere = end.reasons.iter().any(Reason::is_completed_elsewhere);
            write(
                &seen,
                format!("{} {elsewhere} {}", end.reason, end.reasons.len()),
            );
            Ok(())
        }
    });
    let reasons = [
        Reason::completed_elsewhere(),
        Reason::q850(26, "Non-selected user"),
    ];
    sim.block_on(async {
        // Ours: CANCEL, lost once, then BYE.
        let ringing = engine.dial(&bob.uri("bob")).start().await.expect("a way");
        let incoming = bob.incoming().await.expect("media ports");
        incoming.ring(180);
        sim.sleep(SECOND).await;
        bob.drop_incoming(1);
        ringing.hang_up_for(&reasons).await.expect("given up");
        assert!(matches!(incoming.ended().await, End::Cancelled));
        let cancel = last(&bob, "CANCEL");
        let told: Vec<_> = cancel.reasons().filter_map(Result::ok).collect();
        assert_eq!(told, reasons);
        let answering = sim.spawn({
            let bob = bob.clone();
            async move {
                let incoming = bob.incoming().await.expect("media ports");
                incoming.answer().await.expect("an ACK");
                incoming
            }
        });
        let call = engine.dial(&bob.uri("bob")).await.expect("an answer");
        let incoming = answering.await;
        call.hang_up_for(&reasons).await.expect("hung up");
        incoming.ended().await;
        assert_eq!(last(&bob, "BYE").reasons().count(), 2);
        // Theirs.
        let call = alice.dial("sip:100@engine", dial(&[])).expect("a way");
        call.expect(180).await.expect("180");
        call.cancel();
        call.ended().await;
    });
    assert_eq!(
        lines(&diary),
        ["the caller gave up before an answer false 0"]
    );
}

#[test]
fn the_sessions_identifier_is_kept_over_changes_and_passed_on() {
    let sim = Sim::seeded(1);
    let [alice, bob] = ["alice", "bob"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    const ALICE: &str = "a0000000000040008000000000000001";
    const BOB: &str = "b0000000000040008000000000000002";
    let uri = bob.uri("bob");
    serve(&sim, &engine, move |caller| {
        let uri = uri.clone();
        async move {
            let agent = caller.engine().dial(&uri).on_behalf_of(&caller).await?;
            let theirs = agent.session_identifier().await?.remote.expect("told");
            caller.set_session_uuid(theirs).await?;
            caller.answer().await?;
            agent.hold().await?;
            agent.resume().await?;
            caller.ended().await?;
            agent.hang_up().await
        }
    });
    sim.block_on(async {
        let answering = sim.spawn({
            let bob = bob.clone();
            async move {
                let incoming = bob.incoming().await.expect("media ports");
                let invite = incoming.invite().expect("an INVITE");
                let nil = SessionUuid::NIL;
                assert_eq!(
                    text(&invite, Name::SessionId),
                    Some(format!("{ALICE};remote={nil}"))
                );
                // Both are lost once.
                bob.drop_outgoing(1);
                let identifier = format!("Session-ID: {BOB};remote={ALICE}");
                incoming.respond(200, true, &[identifier]);
                incoming
            }
        });
        let headers = format!("Session-ID: {ALICE};remote={}", SessionUuid::NIL);
        let call = alice
            .dial("sip:100@engine", dial(&[&headers]))
            .expect("a way");
        call.answered().await.expect("an answer");
        let answer = call.expect(200).await.expect("200");
        assert_eq!(
            text(&answer, Name::SessionId),
            Some(format!("{BOB};remote={ALICE}"))
        );
        let incoming = answering.await;
        sim.sleep(SECOND * 3).await;
        let both = Some(format!("{ALICE};remote={BOB}"));
        assert_eq!(bob.received("INVITE"), 3, "hold and resume");
        for method in ["INVITE", "ACK"] {
            assert_eq!(text(&last(&bob, method), Name::SessionId), both, "{method}");
        }
        call.hang_up().await.expect("an answer to BYE");
        incoming.ended().await;
        assert_eq!(text(&last(&bob, "BYE"), Name::SessionId), both);
    });
}

#[test]
fn a_peer_with_one_identifier_for_both_keeps_it() {
    let sim = Sim::seeded(1);
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    serve(&sim, &engine, |call| async move {
        call.answer().await?;
        call.hang_up().await
    });
    const OLD: &str = "f81d4fae7dec11d0a76500a0c91e6bf6";
    sim.block_on(async {
        let headers = format!("Session-ID: {OLD}");
        let call = alice
            .dial("sip:100@engine", dial(&[&headers]))
            .expect("a way");
        call.ended().await;
        let answer = call.expect(200).await.expect("200");
        assert_eq!(text(&answer, Name::SessionId).as_deref(), Some(OLD));
        assert_eq!(
            text(&last(&alice, "BYE"), Name::SessionId).as_deref(),
            Some(OLD)
        );
    });
}

#[test]
fn early_media_is_heard_as_the_policy_says() {
    use EarlyMediaPolicy::{AsItComes, Authorized, Never};
    let permitted = EarlyMedia::flowing(Flow::SendRecv).to_string();
    let forbidden = EarlyMedia::flowing(Flow::Inactive).to_string();
    for (policy, trusted, header, heard) in [
        (AsItComes, false, None, true),
        (AsItComes, false, Some(&forbidden), false),
        (Authorized, true, None, false),
        (Authorized, false, Some(&permitted), false),
        (Authorized, true, Some(&permitted), true),
        (Never, true, Some(&permitted), false),
    ] {
        let sim = Sim::seeded(1);
        let bob = SipPeer::open(&sim, "bob").expect("a peer");
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        sim.block_on(async {
            let dial = engine.dial(&bob.uri("bob")).early_media(policy);
            let call = dial.trusted(trusted).start().await.expect("a way");
            let incoming = bob.incoming().await.expect("media ports");
            let headers: Vec<_> = header
                .map(|it| format!("P-Early-Media: {it}"))
                .into_iter()
                .collect();
            incoming.respond(183, true, &headers);
            // Several: the last one counts.
            sim.sleep(SECOND).await;
            incoming.ring(180);
            sim.sleep(SECOND).await;
            incoming.respond(200, true, &[]);
            let mut early = false;
            loop {
                match call.next_event().await.expect("the call goes on") {
                    CallEvent::EarlyMedia => early = true,
                    CallEvent::Answered => break,
                    _ => {}
                }
            }
            assert_eq!(early, heard, "{policy:?} {trusted} {header:?}");
        });
    }
}

#[test]
fn who_wants_to_join_a_call_is_refused_or_told_of() {
    for allowed in [false, true] {
        let sim = Sim::seeded(1);
        let mut config = Config::default();
        config.joins = allowed;
        let engine = sim.engine("engine", config).expect("an engine");
        let [alice, carol] =
            ["alice", "carol"].map(|host| SipPeer::open(&sim, host).expect("a peer"));
        serve(&sim, &engine, |call| async move {
            let joined = call.caller().and_then(|caller| caller.joins());
            match joined {
                Some(_) => call.reject(486).await,
                None => {
                    call.answer().await?;
                    call.ended().await.map(drop)
                }
            }
        });
        sim.block_on(async {
            let call = alice.call("sip:100@engine").await.expect("an answer");
            let answer = call.expect(200).await.expect("200");
            let (to, from) = (answer.to().expect("To"), answer.from().expect("From"));
            let (ours, theirs) = (to.tag().expect("a tag"), from.tag().expect("a tag"));
            let id = call.call_id();
            let known = format!("Join: {id};to-tag={ours};from-tag={theirs}");
            let replaces = format!("Replaces: {id};to-tag={ours};from-tag={theirs}");
            let unknown = "Join: nobody@nowhere;to-tag=1;from-tag=2".to_owned();
            let status = if allowed { 486 } else { 488 };
            for (headers, status) in [
                (vec![known.as_str()], status),
                (vec![unknown.as_str()], 481),
                (vec![known.as_str(), unknown.as_str()], 400),
                (vec![known.as_str(), replaces.as_str()], 400),
                (vec!["Join: x"], 400),
            ] {
                let attempt = carol.dial("sip:100@engine", dial(&headers)).expect("a way");
                assert!(attempt.answered().await.is_err());
                let statuses: Vec<_> = attempt
                    .responses()
                    .iter()
                    .filter_map(Message::status)
                    .collect();
                let last = statuses.last().map(|status| status.code());
                assert_eq!(last, Some(status), "{headers:?}");
            }
            call.hang_up().await.expect("an answer to BYE");
        });
    }
}
