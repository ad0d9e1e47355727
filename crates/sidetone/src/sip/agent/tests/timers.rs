//! Session timers, both roles (RFC 4028).

use super::peers::{call_raw, got, header, response};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A call of two agents that is up; the callee asks for an interval of its own.
fn up(callee: fn(&mut AgentConfig)) -> (Net, SessionId) {
    let mut net = Net::new(1);
    net.add("192.0.2.1:5060", acknowledging, |config| {
        config.session_expires = Some(SECOND * 100);
    });
    net.add("192.0.2.2:5060", updating, callee);
    let session = net.call(0, 1, Some(OFFER));
    net.run(SECOND);
    (net, session)
}

/// Answers calls and UPDATEs.
fn updating(agent: &mut Agent, now: Instant, event: &Event) {
    if let Event::Request {
        session, ticket, ..
    } = event
    {
        agent
            .reply(now, *session, *ticket, StatusCode::OK, vec![], None)
            .unwrap();
    }
    answering(agent, now, event);
}

fn updates(net: &Net, node: usize) -> usize {
    let sent = net.sent(node);
    sent.iter()
        .filter(|line| line.starts_with("UPDATE"))
        .count()
}

#[test]
fn the_caller_refreshes_by_update_and_the_session_lives_on() {
    let (mut net, session) = up(|_| {});
    net.run(SECOND * 505);
    assert_eq!((updates(&net, 0), updates(&net, 1)), (10, 0));
    assert_eq!(net.events(0), ["180", "answered false"]);
    assert_eq!(net.agent(0).sessions(), 1);
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn without_a_refresh_either_side_ends_the_session() {
    for silent in 0..2 {
        let (mut net, _) = up(|_| {});
        let other = 1 - silent;
        // One side is gone without a word.
        let address = net.nodes[silent].address;
        net.nodes[silent].address = "203.0.113.200:1".parse().unwrap();
        net.nodes[silent].agent = Agent::new(config(address), Rng::new(5));
        net.nodes[silent].ended.clear();
        net.run(SECOND * 160);
        // The caller's refresh at 50 s would get no answer until 82 s; the time is up after 68 s.
        assert_eq!(net.events(other).last().unwrap(), "ended session expired");
        assert_eq!(net.agent(other).sessions(), 0);
        assert!(net.sent(other).iter().any(|line| line.starts_with("BYE")));
    }
}

#[test]
fn an_interval_that_is_too_short_is_raised() {
    let (mut net, session) = up(|config| config.min_session_expires = SECOND * 300);
    let sent = net.sent(0);
    assert_eq!(sent, ["INVITE 1 +", "ACK 1", "INVITE 2 +", "ACK 2"]);
    assert_eq!(net.sent(1)[0], "422 INVITE 1");
    net.run(SECOND * 155);
    // The interval is 300 s now.
    assert_eq!(updates(&net, 0), 1);
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn a_peer_who_drives_the_interval_up_without_end_is_left() {
    let (mut net, _, mut invite) = call_raw(&[]);
    for round in 1..=4 {
        let more = format!("Min-SE: {}\n", 2000 * round);
        let text = response(&invite, "422 Session Interval Too Small", "x", &more);
        net.inject("192.0.2.9:5060", 0, &text);
        let again = got(&mut net);
        assert!(again[0].starts_with("ACK "));
        match again.get(1) {
            Some(text) => invite.clone_from(text),
            None => assert_eq!(round, 4),
        }
        if round < 4 {
            let asked = format!("{}", 2000 * round);
            assert_eq!(header(&invite, "Session-Expires"), asked);
            assert_eq!(header(&invite, "Min-SE"), asked);
        }
    }
    assert_eq!(net.events(0), ["ended rejected 422"]);
    net.settle();
}

#[test]
fn a_peer_without_update_is_refreshed_by_the_users_reinvite() {
    let (mut net, session, invite) = call_raw(&[]);
    assert_eq!(header(&invite, "Session-Expires"), "1800");
    let more = "Contact: <sip:bob@192.0.2.9>\nSession-Expires: 100;refresher=uac\n";
    net.inject("192.0.2.9:5060", 0, &response(&invite, "200 OK", "t", more));
    net.nodes[0].policy = |agent, now, event| {
        if let Event::RefreshDue { session } = event {
            let body = Some(Body::sdp(OFFER));
            agent.reinvite(now, *session, vec![], body).unwrap();
        }
    };
    net.run(SECOND * 51);
    let again = got(&mut net);
    let again = again
        .iter()
        .find(|text| text.starts_with("INVITE"))
        .unwrap();
    assert_eq!(header(again, "Session-Expires"), "100;refresher=uac");
    // An answer without an interval switches the timer off.
    net.inject(
        "192.0.2.9:5060",
        0,
        &response(again, "200 OK", "t", "Contact: <sip:bob@192.0.2.9>\n"),
    );
    net.run(SECOND * 200);
    assert_eq!(
        net.events(0),
        ["answered false", "refresh due", "reinvite answered false"]
    );
    let now = net.now;
    net.agent(0).bye(now, session, vec![]).unwrap();
    net.settle();
}

#[test]
fn the_callee_decides_who_refreshes() {
    let cases = [
        (
            "Supported: timer\nSession-Expires: 200\n",
            Some("200;refresher=uac"),
            true,
        ),
        (
            "Supported: timer\nSession-Expires: 200;refresher=uas\n",
            Some("200;refresher=uas"),
            true,
        ),
        ("Session-Expires: 200\n", Some("200;refresher=uas"), false),
        // Too short, but the caller would not understand 422.
        ("Session-Expires: 5\n", Some("90;refresher=uas"), false),
        ("Supported: timer\n", Some("1800;refresher=uas"), true),
        ("", None, false),
    ];
    for (more, expected, required) in cases {
        let mut net = Net::pair(1, answering);
        net.inject(
            "192.0.2.9:5060",
            1,
            &format!(
                "INVITE sip:bob@192.0.2.2 SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\n\
                 Max-Forwards: 70\nFrom: <sip:a@192.0.2.9>;tag=1\nTo: <sip:bob@192.0.2.2>\n\
                 Call-ID: p\nCSeq: 1 INVITE\nContact: <sip:a@192.0.2.9>\n{more}\
                 Content-Length: 0\n\n"
            ),
        );
        let text = got(&mut net)
            .into_iter()
            .find(|t| t.starts_with("SIP/2.0 200"))
            .unwrap();
        let lines: Vec<_> = text.lines().collect();
        let said = lines
            .iter()
            .find_map(|l| l.strip_prefix("Session-Expires: "));
        assert_eq!(said, expected, "{more}");
        assert_eq!(lines.contains(&"Require: timer"), required, "{more}");
    }
}
