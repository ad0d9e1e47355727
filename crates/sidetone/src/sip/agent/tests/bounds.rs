//! What is refused, and how: unknown, malformed and hostile requests, full tables, draining.

use super::*;
use crate::sip::agent::command::{CommandError, Options};

const SECOND: Duration = Duration::from_secs(1);

/// A request as a stranger sends it; `{}` stands for further header fields.
fn request(method: &str, more: &str, body: &str) -> String {
    format!(
        "{method} sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bK{}\n\
         Max-Forwards: 70\nFrom: <sip:eve@203.0.113.1>;tag=e\nTo: <sip:bob@192.0.2.2>\n\
         Call-ID: {}@203.0.113.1\nCSeq: 1 {method}\nContact: <sip:eve@203.0.113.1>\n\
         {more}Content-Length: {}\n\n{body}",
        method.len() + more.len(),
        body.len() + more.len(),
        body.len()
    )
}

/// What a lone agent answers to one request; empty for silence.
fn answer_to(text: &str) -> (String, Net) {
    let mut net = Net::pair(1, ignore);
    net.inject("203.0.113.1:5060", 1, text);
    net.run(Duration::from_millis(100));
    (net.raw_text(), net)
}

#[test]
fn trouble_gets_its_own_answer() {
    let invite = request("INVITE", "", "");
    let sdp = "Content-Type: application/sdp\n";
    let with = |header: &str, body: &str| request("INVITE", header, body);
    let cases = [
        ("an unknown method", request("FROBNICATE", "", ""), "501"),
        (
            "a method that is not supported",
            request("SUBSCRIBE", "", ""),
            "405",
        ),
        ("REGISTER", request("REGISTER", "", ""), "405"),
        ("PUBLISH, not advertised", request("PUBLISH", "", ""), "405"),
        (
            "an extension that is not known",
            with("Require: teleport\n", ""),
            "420",
        ),
        (
            "a body of another type",
            with("Content-Type: text/plain\n", "hello"),
            "415",
        ),
        (
            "a body in another coding",
            with(&format!("{sdp}Content-Encoding: gzip\n"), "x"),
            "415",
        ),
        ("BYE to nothing", request("BYE", "", ""), "481"),
        ("INFO to nothing", request("INFO", "", ""), "481"),
        ("CANCEL of nothing", request("CANCEL", "", ""), "481"),
        (
            "a dialog that is not ours",
            invite.replace("2.2>\n", "2.2>;tag=x\n"),
            "481",
        ),
        (
            "another version",
            invite.replacen("SIP/2.0", "SIP/7.0", 1),
            "505",
        ),
        (
            "another scheme",
            invite.replacen("sip:bob@192.0.2.2", "http://a/b", 1),
            "416",
        ),
        (
            "sips without TLS",
            invite.replacen("sip:", "sips:", 1),
            "416",
        ),
        (
            "no Contact",
            invite.replace("Contact: <sip:eve@203.0.113.1>\n", ""),
            "400",
        ),
        ("no From", invite.replace("From", "X-From"), "400"),
        (
            "two Call-IDs",
            invite.replace("CSeq", "Call-ID: 2\nCSeq"),
            "400",
        ),
        (
            "another method in CSeq",
            invite.replace("1 INVITE", "1 BYE"),
            "400",
        ),
        (
            "a broken Record-Route",
            with("Record-Route: <sip:a\n", ""),
            "400",
        ),
        ("an INVITE", invite.clone(), "100"),
        ("an INVITE with SDP", with(sdp, "v=0"), "100"),
        (
            "several parts",
            with("Content-Type: multipart/mixed;boundary=x\n", "--x"),
            "100",
        ),
        (
            "a body that need not be understood",
            with(
                "Content-Type: a/b\nContent-Disposition: icon;handling=optional\n",
                "x",
            ),
            "100",
        ),
        ("OPTIONS", request("OPTIONS", "", ""), "200"),
        (
            "the last hop",
            request("OPTIONS", "", "").replace("rds: 70", "rds: 0"),
            "200",
        ),
        ("ACK to nothing", request("ACK", "", ""), ""),
        ("no Via", invite.replace("Via", "X-Via"), ""),
    ];
    for (what, text, status) in cases {
        let (answer, mut net) = answer_to(&text);
        let expected = if status.is_empty() {
            String::new()
        } else {
            format!("SIP/2.0 {status}")
        };
        assert!(answer.starts_with(&expected), "{what}: {answer}");
        assert_eq!(answer.is_empty(), status.is_empty(), "{what}: {answer}");
        assert!(
            answer.len() <= text.len() * 2,
            "{what}: {} to {}",
            answer.len(),
            text.len()
        );
        let begun = usize::from(status == "100");
        assert_eq!(net.agent(1).sessions(), begun, "{what}");
        if begun == 0 {
            assert!(net.agent(1).is_idle(), "{what} left state behind");
        }
    }
}

#[test]
fn refusals_explain_themselves() {
    for (text, header) in [
        (
            request("SUBSCRIBE", "", ""),
            "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO",
        ),
        (
            request("FROB", "", ""),
            "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO",
        ),
        (
            request("INVITE", "Require: a, b\n", ""),
            "Unsupported: a, b",
        ),
        (
            request("INVITE", "Content-Type: text/plain\n", "x"),
            "Accept: application/sdp",
        ),
    ] {
        let (answer, _) = answer_to(&text);
        assert!(answer.contains(header), "{answer}");
    }
}

#[test]
fn a_refusal_is_the_same_for_every_repetition() {
    let text = request("INVITE", "Require: a\n", "");
    let mut net = Net::pair(1, ignore);
    net.inject("203.0.113.1:5060", 1, &text);
    net.inject("203.0.113.1:5060", 1, &text);
    net.run(SECOND);
    assert_eq!(net.raw.len(), 2);
    assert_eq!(net.raw[0], net.raw[1]);
}

#[test]
fn responses_go_to_the_source_and_nowhere_else() {
    let text = request("OPTIONS", "", "");
    for (via, port) in [
        ("Via: SIP/2.0/UDP 203.0.113.1;branch", 5060),
        ("Via: SIP/2.0/UDP 203.0.113.1:5099;branch", 5099),
        ("Via: SIP/2.0/UDP 203.0.113.1:5099;rport;branch", 7777),
        (
            "Via: SIP/2.0/UDP victim.example:5099;received=198.51.100.1;branch",
            5099,
        ),
        (
            "Via: SIP/2.0/UDP 203.0.113.1;maddr=198.51.100.1;branch",
            5060,
        ),
    ] {
        let text = text.replace("Via: SIP/2.0/UDP 203.0.113.1;branch", via);
        let mut net = Net::pair(1, ignore);
        net.inject("203.0.113.1:7777", 1, &text);
        net.run(SECOND);
        assert_eq!(
            net.raw[0].0,
            SocketAddr::new("203.0.113.1".parse().unwrap(), port),
            "{via}"
        );
        let answer = net.raw_text();
        if via.contains("victim") || via.contains("rport") {
            assert!(answer.contains(";received=203.0.113.1"), "{answer}");
        }
        if via.contains("rport") {
            assert!(answer.contains(";rport=7777"), "{answer}");
        }
    }
}

#[test]
fn the_same_request_by_two_ways_gets_482() {
    let mut net = Net::pair(1, ignore);
    let text = request("INVITE", "", "");
    net.inject("203.0.113.1:5060", 1, &text);
    net.inject(
        "203.0.113.1:5060",
        1,
        &text.replace("branch=z9hG4bK", "branch=z9hG4bKother"),
    );
    net.run(SECOND);
    assert_eq!(net.sent(1), ["100 INVITE 1", "482 INVITE 1"]);
    assert_eq!(net.agent(1).counters().rejected_merged, 1);
    assert_eq!(net.agent(1).sessions(), 1);
    net.settle();
}

#[test]
fn a_cancel_must_name_the_call_it_cancels() {
    let mut net = Net::pair(1, ignore);
    let invite = request("INVITE", "", "");
    net.inject("203.0.113.1:5060", 1, &invite);
    let cancel = invite.replace("INVITE", "CANCEL");
    for wrong in [
        cancel.replace("z9hG4bK", "z9hG4bKguess"),
        cancel.replace("Call-ID: ", "Call-ID: x"),
        cancel.replace("tag=e", "tag=f"),
    ] {
        net.inject("203.0.113.66:5060", 1, &wrong);
        assert_eq!(net.sent(1).last(), Some(&"481 CANCEL 1"));
    }
    assert_eq!(net.agent(1).sessions(), 1);
    net.inject("203.0.113.1:5060", 1, &cancel);
    net.run(SECOND);
    assert_eq!(net.events(1), ["incoming", "ended remote cancel"]);
    net.settle();
}

#[test]
fn responses_that_nobody_asked_for_are_dropped() {
    let mut net = Net::pair(1, ignore);
    net.call(0, 1, None);
    net.run(SECOND);
    let via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK";
    let response = |via: &str| {
        format!(
            "SIP/2.0 200 OK\n{via}\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>;tag=2\nCall-ID: 1\n\
             CSeq: 1 INVITE\nContact: <sip:x@203.0.113.1>\nContent-Length: 0\n\n"
        )
    };
    for guess in [
        format!("{via}0123456789abcdef"),
        format!("{via}x"),
        "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK0123456789abcdef".into(),
        format!("{via}0123456789abcdef\n{via}1"),
    ] {
        net.inject("203.0.113.1:5060", 0, &response(&guess));
    }
    assert_eq!(net.agent(0).counters().dropped_stray_responses, 4);
    assert!(net.events(0).is_empty());
    for (bytes, malformed) in [
        (&b"hello"[..], true),
        (b"\r\n\r\n", false),
        (b"\0\0\0\0", false),
    ] {
        let before = net.agent(0).counters();
        let source = "203.0.113.1:5060".parse().unwrap();
        let now = net.now;
        net.agent(0)
            .handle_datagram(now, ListenerId(0), source, bytes);
        let after = net.agent(0).counters();
        assert_eq!(
            after.dropped_malformed - before.dropped_malformed,
            u64::from(malformed)
        );
        assert_eq!(after.keepalives - before.keepalives, u64::from(!malformed));
    }
    net.settle();
}

#[test]
fn full_tables_answer_503_and_calls_go_on() {
    let mut net = Net::pair(1, answering);
    net.nodes[1].agent.config.max_sessions = 2;
    let first = net.call(0, 1, Some(OFFER));
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    assert_eq!(net.events(0).last().unwrap(), "ended rejected 503");
    let Some(Event::Ended {
        cause: Cause::Rejected { response },
        ..
    }) = net.nodes[0].events.last()
    else {
        panic!()
    };
    assert_eq!(response.retry_after().unwrap().unwrap().seconds, 5);
    assert_eq!(net.agent(1).counters().refused_full, 1);
    let from = NameAddr::new(&"sip:a@192.0.2.2".parse().unwrap());
    let now = net.now;
    let invite = Invite::new("sip:192.0.2.1".parse().unwrap(), from);
    assert_eq!(net.agent(1).invite(now, invite), Err(CommandError::Full));
    net.agent(0).bye(now, first, Headers::new()).unwrap();
    net.run(SECOND);
    net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    assert_eq!(net.events(0).last().unwrap(), "answered false");
    for session in net.nodes[0]
        .ended
        .clone()
        .keys()
        .copied()
        .collect::<Vec<_>>()
    {
        let now = net.now;
        let again = net.agent(0).bye(now, session, vec![]);
        assert_eq!(again, Err(CommandError::NoSuchSession));
    }
    let open: Vec<_> = net.nodes[0]
        .agent
        .sessions
        .iter()
        .filter(|(_, s)| !s.ended)
        .map(|(id, _)| *id)
        .collect();
    for session in open {
        let now = net.now;
        net.agent(0).bye(now, session, Headers::new()).unwrap();
    }
    net.settle();
}

#[test]
fn a_flood_is_bounded_and_forgotten() {
    let mut net = Net::pair(1, ignore);
    net.nodes[1].agent.config.max_pending_per_source = 50;
    let flood = |net: &mut Net, source: &str| {
        for n in 0..200 {
            let text = request("INVITE", "", "")
                .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{source}{n}"))
                .replace("Call-ID: ", &format!("Call-ID: {source}{n}"));
            net.inject(&format!("{source}:5060"), 1, &text);
        }
    };
    flood(&mut net, "203.0.113.1");
    assert_eq!(net.agent(1).sessions(), 50);
    flood(&mut net, "203.0.113.2");
    assert_eq!(net.agent(1).sessions(), 100);
    assert_eq!(net.agent(1).counters().refused_full, 300);
    net.settle();
    assert_eq!(net.agent(1).counters().sessions, 100);
}

#[test]
fn the_bound_on_transactions_holds() {
    let mut net = Net::new(1);
    net.add("192.0.2.1:5060", ignore, |_| {});
    net.add("192.0.2.2:5060", ignore, |config| {
        config.max_transactions = 10
    });
    for n in 0..30 {
        let text = request("INVITE", "", "")
            .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{n}x"))
            .replace("Call-ID: ", &format!("Call-ID: {n}"));
        net.inject("203.0.113.1:5060", 1, &text);
    }
    assert_eq!(net.agent(1).transactions(), 10);
    assert_eq!(net.agent(1).sessions(), 10);
    net.settle();
}

#[test]
fn draining_begins_nothing_new() {
    let mut net = Net::pair(1, answering);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    net.agent(1).drain();
    net.call(0, 1, Some(OFFER));
    let from = NameAddr::new(&"sip:a@192.0.2.1".parse().unwrap());
    let now = net.now;
    net.agent(0)
        .options(now, Options::new("sip:192.0.2.2".parse().unwrap(), from))
        .unwrap();
    net.run(SECOND);
    let events = net.events(0);
    assert_eq!(
        events[events.len() - 2..],
        ["ended rejected 503", "options 503"]
    );
    assert_eq!(net.agent(1).counters().refused_draining, 2);
    let now = net.now;
    net.agent(0)
        .reinvite(now, session, vec![], Some(Body::sdp("hold")))
        .unwrap();
    net.run(SECOND);
    assert_eq!(net.events(0).last().unwrap(), "reinvite answered false");
    let (now, callee) = (net.now, net.session_of(1));
    net.agent(1).bye(now, callee, Headers::new()).unwrap();
    net.settle();
    assert!(net.agent(1).is_idle());
}
