//! What a call can do beyond answering and hanging up: changes, in the simulator.

use sidetone::engine::config::Config;
use sidetone::engine::event::{CallError, CallEvent};
use sidetone::face::call::Call;
use sidetone::face::prompt::Prompt;
use sidetone::sip::header::Name;
use sidetone::sip::header::value::Refresher;
use sidetone::sip::message::Message;
use sidetone_sim::peer::sip::call::{End, SipCall};
use sidetone_sim::peer::sip::{Dial, SipPeer};
use sidetone_sim::peer::sound::Sound;
use sidetone_sim::sim::Sim;

use crate::stage::{Diary, SECOND, serve};

/// Answers, and writes down what happens.
async fn watch(call: Call, diary: Diary) -> Result<(), CallError> {
    call.answer().await?;
    note(&call, &diary).await;
    Ok(())
}

async fn note(call: &Call, diary: &Diary) {
    while let Some(event) = call.next_event().await {
        match event {
            CallEvent::Held => diary.write("held"),
            CallEvent::Resumed => diary.write("resumed"),
            CallEvent::Ended(end) => diary.write(end.reason.to_string()),
            _ => {}
        }
    }
}

/// The description that a peer offered last, in another direction.
fn offer(peer: &SipPeer, direction: &str) -> String {
    let mut sent = peer.log().into_iter().rev().filter(|entry| entry.sent);
    let body = sent.find(|entry| !entry.message.body().is_empty());
    let body = body.expect("a description").message.body();
    String::from_utf8_lossy(&body).replace("sendrecv", direction)
}

async fn update(call: &SipCall, offer: &str) -> Message {
    let body = ("application/sdp", offer);
    call.request("UPDATE", &[], body).await.expect("an answer")
}

fn status(message: &Message) -> u16 {
    message.status().map_or(0, |status| status.code())
}

#[test]
fn an_update_changes_a_call_and_is_refused_by_cause() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| watch(call, seen.clone()));
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        let call = alice.call("sip:100@engine").await.expect("an answer");
        let both_ways = offer(&alice, "sendrecv");
        let held = update(&call, &both_ways.replace("sendrecv", "sendonly")).await;
        assert_eq!(status(&held), 200);
        let answer = String::from_utf8_lossy(&held.body()).into_owned();
        assert!(answer.contains("a=recvonly"), "{answer}");
        assert!(held.contact().is_ok(), "UPDATE refreshes the target");
        let alive = call.request("UPDATE", &[], ("", "")).await;
        assert_eq!(status(&alive.expect("an answer")), 200);

        // Nothing in common, then no description at all: refused by cause, and the call goes on.
        let strange = both_ways
            .replace("RTP/AVP 0", "RTP/AVP 3")
            .replace("PCMU", "GSM");
        let only_strange: String = strange
            .lines()
            .filter(|line| !line.starts_with("a=rtpmap") || line.contains("GSM"))
            .map(|line| match line.strip_prefix("m=audio ") {
                Some(rest) => {
                    let port = rest.split(' ').next().unwrap_or_default();
                    format!("m=audio {port} RTP/AVP 3\r\n")
                }
                None => format!("{line}\r\n"),
            })
            .collect();
        assert_eq!(status(&update(&call, &only_strange).await), 488);
        assert_eq!(status(&update(&call, "hello").await), 400);
        let json = call
            .request("UPDATE", &[], ("application/json", "{}"))
            .await;
        assert_eq!(status(&json.expect("an answer")), 415);
        assert_eq!(status(&update(&call, &both_ways).await), 200);
        sim.sleep(SECOND).await;
        call.hang_up().await.expect("an answer to BYE");
    });
    sim.run_for(SECOND);
    assert_eq!(
        diary.lines(),
        ["held", "resumed", "the other party hung up"]
    );
}

#[test]
fn early_media_is_told_reliably_to_callers_who_can() {
    for offer in [true, false] {
        let sim = Sim::seeded(1);
        let engine = sim.engine("engine", Config::default()).expect("an engine");
        let tune = Sound::speech(5, SECOND * 2);
        let clip = Prompt::from_wav(&tune.to_wav()).expect("a WAV file");
        serve(&sim, &engine, move |call| {
            let clip = clip.clone();
            async move {
                call.early_media().await?;
                call.engine().sleep(SECOND / 2).await;
                let playing = call.play(&clip).start().await;
                call.engine().sleep(SECOND * 3).await;
                drop(playing);
                call.answer().await?;
                call.ended().await.map(drop)
            }
        });
        let alice = SipPeer::open(&sim, "alice").expect("a peer");
        sim.block_on(async {
            let dial = Dial {
                offer,
                headers: vec!["Supported: 100rel".into()],
                ..Dial::default()
            };
            let call = alice.dial("sip:100@engine", dial).expect("a call");
            let early = call.expect(183).await.expect("early media");
            assert!(early.require().has("100rel") && !early.body().is_empty());
            let rack = early.rseq().expect("a number").expect("RSeq");
            let rack = [format!("RAck: {rack} 1 INVITE")];
            let (kind, answer) = match offer {
                true => ("", String::new()),
                // The offer came in the 183; the PRACK has the answer.
                false => {
                    let port = call.media().address().port();
                    let ip = call.media().address().ip();
                    let text = format!(
                        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
                         m=audio {port} RTP/AVP 0\r\n"
                    );
                    ("application/sdp", text)
                }
            };
            let acked = call.request("PRACK", &rack, (kind, &answer)).await;
            assert_eq!(status(&acked.expect("an answer")), 200);
            let heard = call.media().hear_for(SECOND * 5 / 2).await;
            assert!(heard.find(&tune).is_some_and(|f| f.likeness > 0.9));
            call.answered().await.expect("an answer");
            let ok = call.responses().pop().expect("the 200");
            assert_eq!((status(&ok), ok.body().len()), (200, 0));
            call.hang_up().await.expect("an answer to BYE");
        });
        sim.run_for(SECOND);
        assert_eq!(engine.call_count(), 0);
    }
}

/// A response of one branch of a fork, with a description for `port`.
fn branch(invite: &Message, status: &str, tag: &str, more: &str, media: Option<u16>) -> String {
    let row = |name| {
        let row = invite.header(name).expect("a header field");
        row.text().into_owned()
    };
    let ip = "10.0.0.2";
    let body = media.map_or(String::new(), |port| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\n"
        )
    });
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag={tag}\r\nCall-ID: {}\r\n\
         CSeq: {}\r\n{more}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        row(Name::Via),
        row(Name::From),
        row(Name::To),
        row(Name::CallId),
        row(Name::CSeq),
        body.len()
    )
}

#[test]
fn branches_of_a_fork_are_heard_one_at_a_time_and_the_winner_is_kept() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let bob = SipPeer::open(&sim, "bob").expect("a peer");
    let diary = Diary::default();
    let (seen, dialler, uri) = (diary.clone(), engine.clone(), bob.uri("bob"));
    sim.spawn(async move {
        let call = dialler.dial(&uri).start().await.expect("a call");
        while let Some(event) = call.next_event().await {
            match event {
                CallEvent::Progress { status } => seen.write(status.to_string()),
                CallEvent::EarlyMedia => seen.write("early media"),
                CallEvent::Answered => seen.write("answered"),
                CallEvent::Ended(end) => seen.write(end.reason.to_string()),
                _ => {}
            }
        }
    });
    sim.block_on(async {
        let call = bob.incoming().await.expect("media ports");
        let invite = call.invite().expect("an INVITE");
        assert!(invite.supported().has("100rel"));
        let there = engine.listening()[0];
        let contact = format!("Contact: <{}>\r\n", bob.uri("bob"));
        let reliable = format!("{contact}Require: 100rel\r\nRSeq: 1\r\n");
        let silent = format!("{contact}P-Early-Media: inactive\r\n");
        let send = |text: String| bob.send_raw(there, text.into_bytes());
        // The first may not be heard, the second is; the third answers, reliably and then for good.
        send(branch(
            &invite,
            "183 Session Progress",
            "a",
            &silent,
            Some(9000),
        ));
        sim.sleep(SECOND / 10).await;
        assert_eq!(diary.lines(), ["183"]);
        send(branch(
            &invite,
            "183 Session Progress",
            "b",
            &contact,
            Some(9002),
        ));
        send(branch(
            &invite,
            "183 Session Progress",
            "c",
            &reliable,
            Some(9004),
        ));
        sim.sleep(SECOND / 10).await;
        assert_eq!(bob.received("PRACK"), 1);
        send(branch(&invite, "200 OK", "c", &contact, None));
        sim.sleep(SECOND / 10).await;
        let expected = ["183", "183", "early media", "183", "answered"];
        assert_eq!(diary.lines(), expected);
        // A branch that answers too late is acknowledged and hung up.
        send(branch(&invite, "200 OK", "b", &contact, Some(9002)));
        sim.sleep(SECOND / 10).await;
        assert_eq!((bob.received("ACK"), bob.received("BYE")), (2, 1));
        assert_eq!(engine.call_count(), 1);
    });
}

#[test]
fn a_long_call_is_refreshed_and_ends_where_the_other_side_has_vanished() {
    let sim = Sim::seeded(1);
    let engine = sim.engine("engine", Config::default()).expect("an engine");
    let diary = Diary::default();
    let seen = diary.clone();
    serve(&sim, &engine, move |call| watch(call, seen.clone()));
    let alice = SipPeer::open(&sim, "alice").expect("a peer");
    sim.block_on(async {
        // Whoever answers is asked to refresh; alice takes no UPDATE at first, then she does.
        for (allow, method) in [("INVITE", "INVITE"), ("INVITE, UPDATE", "UPDATE")] {
            let dial = Dial {
                headers: vec![
                    "Supported: timer".into(),
                    "Session-Expires: 100;refresher=uas".into(),
                    format!("Allow: {allow}"),
                ],
                ..Dial::default()
            };
            let call = alice.dial("sip:100@engine", dial).expect("a call");
            call.answered().await.expect("an answer");
            let ok = call.responses().pop().expect("the 200");
            let said = ok.session_expires().expect("a value").expect("an interval");
            assert_eq!((said.seconds, said.refresher), (100, Some(Refresher::Uas)));
            let before = alice.received(method);
            sim.sleep(SECOND * 51).await;
            assert_eq!(alice.received(method), before + 1);
            call.hang_up().await.expect("an answer to BYE");
            sim.sleep(SECOND).await;
        }
        let dial = Dial {
            headers: vec![
                "Supported: timer".into(),
                "Session-Expires: 100;refresher=uac".into(),
            ],
            ..Dial::default()
        };
        let call = alice.dial("sip:100@engine", dial).expect("a call");
        call.answered().await.expect("an answer");
        sim.sleep(SECOND * 70).await;
        assert!(matches!(call.end(), Some(End::Theirs { reason }) if reason.contains("cause=102")));
    });
    let over = "the other party hung up";
    assert_eq!(diary.lines(), [over, over, "the session was not refreshed"]);
}
