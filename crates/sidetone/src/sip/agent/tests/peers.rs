//! Peers that are no agent of ours: forks, strict routers, old and odd ones.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The value of the first header field called `name`.
pub(super) fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A call to a raw peer at 192.0.2.9, and the INVITE that it got.
pub(super) fn call_raw(routes: &[&str]) -> (Net, SessionId, String) {
    let mut net = Net::pair(1, ignore);
    let session = net.call_with(0, 1, "", |invite| {
        invite.target = "sip:bob@192.0.2.9".parse().unwrap();
        invite.route = routes.iter().map(|route| route.parse().unwrap()).collect();
        invite.body = Some(Body::sdp(OFFER));
    });
    net.run(SECOND / 4);
    let text = net.raw_text();
    net.raw.clear();
    (net, session, text)
}

/// A response of a raw peer to a request.
pub(super) fn response(request: &str, status: &str, tag: &str, more: &str) -> String {
    let to = header(request, "To");
    let tag = if to.contains("tag=") {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    format!(
        "SIP/2.0 {status}\nVia: {}\nFrom: {}\nTo: {to}{tag}\nCall-ID: {}\nCSeq: {}\n{more}\
         Content-Length: 0\n\n",
        header(request, "Via"),
        header(request, "From"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
    )
}

/// What the raw peer got, one text a message.
pub(super) fn got(net: &mut Net) -> Vec<String> {
    net.run(SECOND / 4);
    std::mem::take(&mut net.raw)
        .into_iter()
        .map(|(_, bytes)| String::from_utf8(bytes).unwrap().replace("\r\n", "\n"))
        .collect()
}

#[test]
fn a_fork_that_answers_late_is_acknowledged_and_hung_up() {
    let (mut net, session, invite) = call_raw(&[]);
    for tag in ["one", "two", "three"] {
        let contact = format!("Contact: <sip:{tag}@192.0.2.9>\n");
        net.inject(
            "192.0.2.9:5060",
            0,
            &response(&invite, "180 Ringing", tag, &contact),
        );
    }
    assert_eq!(net.events(0), ["180", "180", "180"]);
    assert_eq!(net.nodes[0].agent.sessions[&session].early.len(), 3);
    let answer = |tag: &str| {
        response(
            &invite,
            "200 OK",
            tag,
            &format!("Contact: <sip:{tag}@192.0.2.9>\n"),
        )
    };
    net.inject("192.0.2.9:5060", 0, &answer("two"));
    let first = got(&mut net);
    assert!(
        first.len() == 1 && first[0].starts_with("ACK sip:two@192.0.2.9 "),
        "{first:?}"
    );
    net.inject("192.0.2.9:5060", 0, &answer("three"));
    let second = got(&mut net);
    assert!(
        second[0].starts_with("ACK sip:three@192.0.2.9 "),
        "{second:?}"
    );
    assert!(
        second[1].starts_with("BYE sip:three@192.0.2.9 "),
        "{second:?}"
    );
    assert!(header(&second[1], "To").ends_with(";tag=three"));
    assert_eq!(header(&second[1], "CSeq"), "2 BYE");
    net.inject("192.0.2.9:5060", 0, &response(&second[1], "200 OK", "", ""));
    for tag in ["two", "three"] {
        net.inject("192.0.2.9:5060", 0, &answer(tag));
        let again = got(&mut net);
        assert!(
            again.len() == 1 && again[0].starts_with(&format!("ACK sip:{tag}")),
            "{again:?}"
        );
    }
    assert_eq!(net.events(0)[3..], ["answered false"]);
    assert_eq!(net.agent(0).counters().forks_hung_up, 1);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    let bye = got(&mut net);
    assert!(bye[0].starts_with("BYE sip:two@192.0.2.9 "), "{bye:?}");
    net.settle();
}

#[test]
fn forks_without_number_are_bounded() {
    let (mut net, session, invite) = call_raw(&[]);
    for n in 0..1_000 {
        let contact = format!("Contact: <sip:{n}@192.0.2.9>\n");
        let tag = format!("t{n}");
        net.inject(
            "192.0.2.9:5060",
            0,
            &response(&invite, "180 Ringing", &tag, &contact),
        );
    }
    assert_eq!(net.nodes[0].agent.sessions[&session].early.len(), 12);
    for n in 0..1_000 {
        let contact = format!("Contact: <sip:{n}@192.0.2.9>\n");
        let tag = format!("t{n}");
        net.inject(
            "192.0.2.9:5060",
            0,
            &response(&invite, "200 OK", &tag, &contact),
        );
    }
    assert!(net.agent(0).counters().forks_hung_up <= 12);
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn the_route_set_is_kept_and_reversed_for_the_caller() {
    let (mut net, session, invite) = call_raw(&["sip:192.0.2.9;lr"]);
    assert!(invite.starts_with("INVITE sip:bob@192.0.2.9 SIP/2.0"));
    assert_eq!(header(&invite, "Route"), "<sip:192.0.2.9;lr>");
    let answer = response(
        &invite,
        "200 OK",
        "b",
        "Record-Route: <sip:p2.example;lr>\nRecord-Route: <sip:192.0.2.9;lr>\n\
         Contact: <sip:bob@10.9.9.9:5099>\n",
    );
    net.inject("192.0.2.9:5060", 0, &answer);
    let ack = got(&mut net).remove(0);
    assert!(
        ack.starts_with("ACK sip:bob@10.9.9.9:5099 SIP/2.0"),
        "{ack}"
    );
    let routes: Vec<_> = ack
        .lines()
        .filter(|line| line.starts_with("Route: "))
        .collect();
    assert_eq!(
        routes,
        ["Route: <sip:192.0.2.9;lr>", "Route: <sip:p2.example;lr>"]
    );
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn a_strict_router_gets_its_uri_in_the_request_line() {
    let (mut net, session, invite) = call_raw(&[]);
    let answer = response(
        &invite,
        "200 OK",
        "b",
        "Record-Route: <sip:p2.example;lr>, <sip:192.0.2.9:5060>\n\
         Contact: <sip:bob@10.9.9.9:5099>\n",
    );
    net.inject("192.0.2.9:5060", 0, &answer);
    let ack = got(&mut net).remove(0);
    assert!(ack.starts_with("ACK sip:192.0.2.9:5060 SIP/2.0"), "{ack}");
    let routes: Vec<_> = ack
        .lines()
        .filter(|line| line.starts_with("Route: "))
        .collect();
    assert_eq!(
        routes,
        [
            "Route: <sip:p2.example;lr>",
            "Route: <sip:bob@10.9.9.9:5099>"
        ]
    );
    let now = net.now;
    net.agent(0).bye(now, session, Headers::new()).unwrap();
    net.settle();
}

#[test]
fn the_callee_keeps_the_route_set_in_order_and_a_new_contact_moves_the_target() {
    let mut net = Net::pair(1, answering);
    let invite = "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
        Max-Forwards: 70\nFrom: <sip:a@b>;tag=a\nTo: <sip:bob@192.0.2.2>\nCall-ID: 1\n\
        CSeq: 7 INVITE\nContact: <sip:a@10.1.1.1>\n\
        Record-Route: <sip:192.0.2.9;lr>\nRecord-Route: <sip:p1.example;lr>\n\
        Content-Length: 0\n\n";
    net.inject("192.0.2.9:5060", 1, invite);
    let answer = got(&mut net).pop().unwrap();
    let recorded: Vec<_> = answer
        .lines()
        .filter(|line| line.starts_with("Record-Route: "))
        .collect();
    assert_eq!(
        recorded,
        [
            "Record-Route: <sip:192.0.2.9;lr>",
            "Record-Route: <sip:p1.example;lr>"
        ]
    );
    let to = header(&answer, "To").to_owned();
    let again = |method: &str, number: u32, contact: &str| {
        invite
            .replace("INVITE", method)
            .replace("CSeq: 7", &format!("CSeq: {number}"))
            .replace("z9hG4bK1", &format!("z9hG4bK{method}{number}"))
            .replace("To: <sip:bob@192.0.2.2>", &format!("To: {to}"))
            .replace("10.1.1.1", contact)
    };
    net.inject("192.0.2.9:5060", 1, &again("ACK", 7, "10.1.1.1"));
    net.inject("192.0.2.9:5060", 1, &again("INVITE", 8, "10.2.2.2"));
    net.inject("192.0.2.9:5060", 1, &again("ACK", 8, "10.2.2.2"));
    got(&mut net);
    let (now, session) = (net.now, net.session_of(1));
    net.agent(1).bye(now, session, Headers::new()).unwrap();
    let bye = got(&mut net).remove(0);
    assert!(bye.starts_with("BYE sip:a@10.2.2.2 SIP/2.0"), "{bye}");
    let routes: Vec<_> = bye
        .lines()
        .filter(|line| line.starts_with("Route: "))
        .collect();
    assert_eq!(
        routes,
        ["Route: <sip:192.0.2.9;lr>", "Route: <sip:p1.example;lr>"]
    );
    net.inject("192.0.2.9:5060", 1, &response(&bye, "200 OK", "", ""));
    net.settle();
}

#[test]
fn a_peer_of_rfc_2543_without_branch_and_tags() {
    let mut net = Net::pair(1, answering);
    let invite = "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9\n\
        From: sip:a@b\nTo: sip:bob@192.0.2.2\nCall-ID: 1\n\
        CSeq: 7 INVITE\nMax-Forwards: 9\nContact: <sip:a@192.0.2.9>\nContent-Length: 0\n\n";
    net.inject("192.0.2.9:5060", 1, invite);
    net.inject("192.0.2.9:5060", 1, invite);
    let answers = got(&mut net);
    assert_eq!(net.agent(1).sessions(), 1);
    let to = header(answers.last().unwrap(), "To").to_owned();
    let ack = invite
        .replace("INVITE", "ACK")
        .replace("To: sip:bob@192.0.2.2", &format!("To: {to}"));
    net.inject("192.0.2.9:5060", 1, &ack);
    assert_eq!(net.events(1), ["incoming", "acked 0"]);
    let bye = ack.replace("ACK", "BYE").replace("CSeq: 7", "CSeq: 8");
    net.inject("192.0.2.9:5060", 1, &bye);
    net.settle();
    assert_eq!(net.events(1).last().unwrap(), "ended remote bye");
}

#[test]
fn a_bye_before_the_answer_ends_the_call() {
    let mut net = Net::pair(1, |agent, now, event| {
        if let Event::Incoming { session, .. } = event {
            agent
                .ring(now, *session, StatusCode::RINGING, Headers::new(), None)
                .unwrap();
        }
    });
    let invite = "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
        Max-Forwards: 70\nFrom: <sip:a@b>;tag=a\nTo: <sip:bob@192.0.2.2>\nCall-ID: 1\n\
        CSeq: 7 INVITE\nContact: <sip:a@192.0.2.9>\nContent-Length: 0\n\n";
    net.inject("192.0.2.9:5060", 1, invite);
    let ringing = got(&mut net).pop().unwrap();
    let bye = invite
        .replace("INVITE", "BYE")
        .replace("CSeq: 7", "CSeq: 8")
        .replace("z9hG4bK1", "z9hG4bK2")
        .replace(
            "To: <sip:bob@192.0.2.2>",
            &format!("To: {}", header(&ringing, "To")),
        );
    net.inject("192.0.2.9:5060", 1, &bye);
    net.run(SECOND);
    assert_eq!(net.sent(1)[2..4], ["200 BYE 8", "487 INVITE 7"]);
    assert_eq!(net.events(1), ["incoming", "ended remote bye"]);
    net.settle();
}

#[test]
fn a_redirection_is_an_end_with_the_response() {
    let (mut net, _, invite) = call_raw(&[]);
    let moved = response(
        &invite,
        "302 Moved Temporarily",
        "b",
        "Contact: <sip:else@192.0.2.10>\n",
    );
    net.inject("192.0.2.9:5060", 0, &moved);
    let ack = got(&mut net).remove(0);
    assert!(ack.starts_with("ACK sip:bob@192.0.2.9 SIP/2.0"), "{ack}");
    assert_eq!(header(&ack, "Via"), header(&invite, "Via").trim_end());
    let Some(Event::Ended {
        cause: Cause::Rejected { response },
        ..
    }) = net.nodes[0].events.last()
    else {
        panic!()
    };
    assert_eq!(
        response.contact().unwrap().uri().as_str(),
        "sip:else@192.0.2.10"
    );
    net.settle();
}
