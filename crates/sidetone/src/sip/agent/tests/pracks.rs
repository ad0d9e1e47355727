//! Reliable provisional responses, both roles (RFC 3262).

use super::peers::{call_raw, got, header, response};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Tells the answer in a 183, and answers at once.
fn early(agent: &mut Agent, now: Instant, event: &Event) {
    let Event::Incoming { session, .. } = event else {
        return;
    };
    let body = || Some(Body::sdp(ANSWER));
    agent
        .ring(now, *session, StatusCode::SESSION_PROGRESS, vec![], body())
        .unwrap();
    assert!(agent.answers_reliably(*session));
    agent.answer(now, *session, vec![], body()).unwrap();
    let twice = agent.answer(now, *session, vec![], body());
    assert!(twice.is_err());
}

/// Tells of progress, and rings.
fn ringing(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Incoming { session, .. } = event {
        for status in [StatusCode::SESSION_PROGRESS, StatusCode::RINGING] {
            agent.ring(now, *session, status, vec![], None).unwrap();
        }
    }
}

fn hang_up(mut net: Net, session: SessionId) {
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn the_answer_waits_for_the_acknowledgement_of_the_early_one() {
    let mut net = Net::pair(1, early);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    assert_eq!(
        net.sent(1),
        [
            "100 INVITE 1",
            "183 INVITE 1 +",
            "200 PRACK 2",
            "200 INVITE 1"
        ]
    );
    assert_eq!(net.sent(0), ["INVITE 1 +", "PRACK 2", "ACK 1"]);
    assert_eq!(net.events(0), ["183", "answered false"]);
    assert_eq!(net.events(1), ["incoming", "pracked true", "acked 0"]);
    let Event::Provisional { reliable, .. } = &net.nodes[0].events[0] else {
        panic!()
    };
    assert!(reliable);
    hang_up(net, session);
}

#[test]
fn a_lost_response_or_acknowledgement_is_sent_again() {
    // 0 is the INVITE, 1 the 100, 2 the 183, 3 the PRACK, 4 its 200.
    for lost in 2..5 {
        let mut net = Net::pair(1, early);
        net.drop = Some(lost);
        let session = net.call(0, 1, Some(OFFER));
        net.run(SECOND * 2);
        assert_eq!(net.events(0), ["183", "answered false"], "{lost}");
        assert_eq!(net.events(1)[1..], ["pracked true", "acked 0"], "{lost}");
        hang_up(net, session);
    }
}

#[test]
fn without_an_acknowledgement_the_call_is_refused() {
    let mut net = Net::pair(1, early);
    net.drop_if = Some(|line| line.starts_with("PRACK"));
    net.call(0, 1, Some(OFFER));
    net.run(SECOND * 40);
    assert_eq!(net.events(1), ["incoming", "ended no prack"]);
    assert_eq!(net.events(0), ["183", "ended rejected 504"]);
    let again = net.sent(1).iter().filter(|l| l.starts_with("183")).count();
    // At 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
    assert_eq!(again, 7);
    net.settle();
}

#[test]
fn responses_go_out_one_after_the_other() {
    let mut net = Net::new(1);
    net.add("192.0.2.1:5060", acknowledging, |_| {});
    net.add("192.0.2.2:5060", ringing, |config| {
        config.reliable_provisional = crate::sip::agent::config::ReliableProvisional::Always;
    });
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let sent = net.sent(1);
    assert_eq!(
        sent,
        [
            "100 INVITE 1",
            "183 INVITE 1",
            "200 PRACK 2",
            "180 INVITE 1",
            "200 PRACK 3"
        ]
    );
    let callee = net.session_of(1);
    net.run(SECOND * 61);
    // The long ringing is told of again, with a number of its own.
    assert_eq!(net.sent(1)[5..], ["180 INVITE 1", "200 PRACK 4"]);
    let now = net.now;
    net.agent(1)
        .answer(now, callee, vec![], Some(Body::sdp(ANSWER)))
        .unwrap();
    net.run(SECOND);
    assert_eq!(net.events(0)[..2], ["183", "180"]);
    assert_eq!(net.sent(1).last(), Some(&"200 INVITE 1 +"));
    hang_up(net, session);
}

#[test]
fn responses_are_acknowledged_once_and_in_order() {
    let (mut net, session, invite) = call_raw(&[]);
    assert!(header(&invite, "Supported").contains("100rel"));
    let ring = |net: &mut Net, tag: &str, rseq: u32| {
        let more = format!("Contact: <sip:{tag}@192.0.2.9>\nRequire: 100rel\nRSeq: {rseq}\n");
        let text = response(&invite, "183 Session Progress", tag, &more);
        net.inject("192.0.2.9:5060", 0, &text);
        let mut pracks = got(net);
        for prack in &pracks {
            net.inject("192.0.2.9:5060", 0, &response(prack, "200 OK", "", ""));
        }
        pracks.pop()
    };
    let first = ring(&mut net, "one", 7).unwrap();
    assert!(first.starts_with("PRACK sip:one@192.0.2.9 "), "{first}");
    assert_eq!(header(&first, "RAck"), "7 1 INVITE");
    assert_eq!(ring(&mut net, "one", 7), None);
    assert_eq!(ring(&mut net, "one", 9), None);
    assert!(ring(&mut net, "one", 8).is_some());
    // Another branch counts for itself.
    let other = ring(&mut net, "two", 3).unwrap();
    assert!(header(&other, "To").ends_with("tag=two"));
    assert_eq!(header(&other, "RAck"), "3 1 INVITE");
    assert_eq!(net.events(0), ["183", "183", "183"]);
    let now = net.now;
    net.agent(0).cancel(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn an_acknowledgement_of_nothing_gets_481() {
    let mut net = Net::pair(1, |agent, now, event| {
        if let Event::Incoming { session, .. } = event {
            let body = Some(Body::sdp(ANSWER));
            agent
                .ring(now, *session, StatusCode::SESSION_PROGRESS, vec![], body)
                .unwrap();
        }
    });
    net.drop_if = Some(|line| line.starts_with("PRACK"));
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    let dialog = net.nodes[0].agent.sessions[&session].early[0].clone();
    let prack = super::changes::in_dialog(&dialog, "PRACK", 10, "z9hG4bKp");
    for (rack, branch) in [("", "a"), ("RAck: 1 1 INVITE\n", "b"), ("RAck: x\n", "c")] {
        let text = prack
            .replace("z9hG4bKp", &format!("z9hG4bKp{branch}"))
            .replace("CSeq: 10", &format!("CSeq: 1{}", branch.as_bytes()[0]))
            .replace("Content-Length", &format!("{rack}Content-Length"));
        net.inject("192.0.2.1:5060", 1, &text);
        assert!(
            net.sent(1).last().unwrap().starts_with("481 PRACK"),
            "{rack}"
        );
    }
    let now = net.now;
    net.agent(0).cancel(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn a_caller_who_cannot_gets_plain_responses_and_one_who_must_gets_reliable_ones() {
    for (header, reliable) in [("", false), ("Require: 100rel\n", true)] {
        let mut net = Net::pair(1, answering);
        net.inject(
            "192.0.2.9:5060",
            1,
            &format!(
                "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
                 Max-Forwards: 70\nFrom: <sip:a@192.0.2.9>;tag=1\nTo: <sip:bob@192.0.2.2>\n\
                 Call-ID: p\nCSeq: 1 INVITE\nContact: <sip:a@192.0.2.9>\n{header}\
                 Content-Length: 0\n\n"
            ),
        );
        net.run(SECOND / 10);
        let text = net.raw_text();
        let ringing = text.split("SIP/2.0 180").nth(1).unwrap();
        let ringing = ringing.split("\r\n\r\n").next().unwrap();
        assert_eq!(ringing.contains("RSeq: "), reliable, "{ringing}");
        assert_eq!(ringing.contains("Require: 100rel"), reliable);
        net.settle();
    }
}
